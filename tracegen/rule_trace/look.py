"""Look at a state: a cpu's array, a slab, a list, a cache's counters.

A state is what a digest of the vectors is taken over. The model tells its own in the
same layout, so one look serves both. What is not there is ``none``; an array without
entries is ``empty``. A slab is named by its first pfn; ``*`` marks a tagged object or a
slab of the reserve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tracegen.rule_trace.answer import Answer
from tracegen.rule_trace.trace import Operation
from tracegen.rule_trace.vocabulary import values

_Cache = Mapping[str, Any]  # JSON: the vectors' README says what is where
NONE: Final = "none"
NOTHING: Final = Answer((NONE,))
EMPTY: Final = "empty"


@dataclass(frozen=True, slots=True)
class State:
    """A state and how many pages a slab of each cache has."""

    caches: Mapping[str, _Cache]
    pages: Mapping[str, int]


def state_of(whole: Mapping[str, Any], pages: Mapping[str, int]) -> State:
    """Take the caches out of a state as the vectors have it."""
    return State({cache["name"]: cache for cache in whole.get("caches", [])}, pages)


def look(state: State, operation: Operation) -> Answer:
    """Tell what is seen. A cache without slabs is not in every state: it has nothing."""
    cache = state.caches.get(operation.cache)
    if cache is None:
        return NOTHING
    slub = "avail" not in cache["cpus"][0]
    seer = (_SLUB if slub else _SLAB).get(operation.verb)
    if seer is None:
        return Answer((NONE, "in", "slub" if slub else "slab"))
    return seer(cache, operation, state.pages.get(operation.cache, 1))


def _entries(entries: Sequence[Sequence[int]]) -> Answer:
    if not entries:
        return Answer((EMPTY,))
    return Answer(tuple(f"{entry[0]}:{entry[1]}{_star(any(entry[2:]))}" for entry in entries))


def _star(marked: object) -> str:
    return "*" if marked else ""


def _array(cache: _Cache, operation: Operation, _: int) -> Answer:
    return _entries(cache["cpus"][operation.cpu]["entries"])


def _shared(cache: _Cache, operation: Operation, _: int) -> Answer:
    return _entries(cache["nodes"][operation.node]["shared"])


def _alien(cache: _Cache, operation: Operation, _: int) -> Answer:
    alien = cache["nodes"][operation.node].get("alien", [])
    return _entries(alien[operation.of]) if alien else NOTHING


def _flagged(mask: int, pages: int) -> tuple[str, ...]:
    """Which of a slab's pages carry the flag."""
    marked = tuple(f"page{page}" for page in range(pages) if mask & 1 << page)
    if len(marked) == pages:
        return ("all",)
    return marked or (NONE,)


_LISTS: Final = ("full", "partial", "free")


def _slabs(cache: _Cache, operation: Operation, _: int) -> Answer:
    node = cache["nodes"][operation.node]
    told = {name: [f"{slab[0]}{_star(slab[2])}" for slab in node[name]] for name in _LISTS}
    return Answer((), {name: values(slabs) for name, slabs in told.items()})


def _slab(cache: _Cache, operation: Operation, pages: int) -> Answer:
    for node in cache["nodes"]:
        for name in _LISTS:
            for slab in node[name]:
                if slab[0] == operation.pfn:
                    return Answer(
                        (name,),
                        {
                            "inuse": values(slab[1]),
                            "flagged": _flagged(slab[2], pages),
                            "free": values(slab[3] if len(slab) > len(("pfn", "n", "m")) else []),
                        },
                    )
    return NOTHING


def _stats(cache: _Cache, _operation: Operation, _: int) -> Answer:
    return Answer((), {key: values(value) for key, value in cache["stats"].items()})


def _cpuslab(cache: _Cache, operation: Operation, _: int) -> Answer:
    cpu = cache["cpus"][operation.cpu]
    slab = cpu["slab"]
    return Answer(
        (),
        {
            "slab": (NONE,) if slab is None else (_page(slab),),
            "freelist": values(cpu["freelist"]),
            "partial": values([_page(page) for page in cpu["partial"]]),
        },
    )


def _page(page: Sequence[Any]) -> str:
    return f"{page[0]}{_star(page[4])}"


def _partial(cache: _Cache, operation: Operation, _: int) -> Answer:
    pages = cache["nodes"][operation.node]["partial"]
    return Answer(tuple(_page(page) for page in pages) or (EMPTY,))


def _slub_slab(cache: _Cache, operation: Operation, _: int) -> Answer:
    for where, page in _slub_pages(cache):
        if page[0] == operation.pfn:
            return Answer(
                (where,),
                {
                    "inuse": values(page[1]),
                    "objects": values(page[2]),
                    "flagged": ("all" if page[4] else NONE,),
                    "free": values(page[5]),
                },
            )
    return NOTHING


def _slub_pages(cache: _Cache) -> Iterator[tuple[str, Sequence[Any]]]:
    """Every slab that is on a list or a cpu's. A full slab is neither."""
    for number, cpu in enumerate(cache["cpus"]):
        if cpu["slab"] is not None:
            yield f"cpu{number}", cpu["slab"]
        yield from ((f"cpu{number}-partial", page) for page in cpu["partial"])
    for number, node in enumerate(cache["nodes"]):
        yield from ((f"node{number}-partial", page) for page in node["partial"])


_Seer = Callable[[_Cache, Operation, int], Answer]

_SLAB: Final[dict[str, _Seer]] = {
    "array": _array,
    "shared": _shared,
    "alien": _alien,
    "slabs": _slabs,
    "slab": _slab,
    "stats": _stats,
}
_SLUB: Final[dict[str, _Seer]] = {
    "cpuslab": _cpuslab,
    "partial": _partial,
    "slab": _slub_slab,
    "stats": _stats,
}
