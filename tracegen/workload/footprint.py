"""What each step of the simulated kernel allocates: read from a table, made into requests.

A *step* is something the kernel does ("send a page", "receive a small packet"); its
*footprint* are the objects and pages that it takes for that, in order. The tables are
``footprints/linux-3.toml`` and ``linux-6.toml``: which kernel functions they stand for is
written there. Here masks become numbers, caches become the model's, and rights to the
reserve are spelt the way the model's revision grants them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from allocator.config import CacheSpec
from allocator.events import (
    CTX_MASK,
    CTX_PF_MEMALLOC,
    CTX_SOFTIRQ,
    KMALLOC,
    OBJ_ALLOC,
    PAGE_ALLOC,
)
from allocator.gfp import FLAVOURS, encode
from allocator.object_allocator import SLAB_HWCACHE_ALIGN, SLAB_RECLAIM_ACCOUNT
from allocator.revision import LINUX_6, Revision
from tracegen.workload.series import (
    GFP_MEMALLOC,
    SKB_PFMEMALLOC,
    SOCK_MEMALLOC,
    SOFTIRQ_MEMALLOC,
    SWAP_MEMALLOC,
)

_FOLDER: Final = Path(__file__).parent / "footprints"
_NEEDED: Final = {
    SKB_PFMEMALLOC: {SKB_PFMEMALLOC, GFP_MEMALLOC},
    # Nobody but the swap device calls sk_set_memalloc().
    SOCK_MEMALLOC: {SOCK_MEMALLOC, SWAP_MEMALLOC, GFP_MEMALLOC},
    SWAP_MEMALLOC: {SWAP_MEMALLOC, GFP_MEMALLOC},
}
"""What of the series must be there for a request that names a switch to ask for the reserve."""
_CACHE_FLAGS: Final = {"hwalign": SLAB_HWCACHE_ALIGN, "reclaim": SLAB_RECLAIM_ACCOUNT}


class Want:
    """One request to the model, ready to be made.

    ``ctx & keep | add`` is the context it is made in: how a right to the reserve is
    spelt for a revision that has no ``__GFP_MEMALLOC``.
    """

    __slots__ = (
        "add",
        "arg",
        "entitled",
        "fs",
        "gfp",
        "io",
        "keep",
        "marks",
        "name",
        "number",
        "op",
        "per",
        "stays",
        "then",
    )

    def __init__(self, name: str, op: int, arg: int, gfp: int) -> None:
        self.name = name
        """What is asked for: the name of a cache, or words for people."""
        self.op = op
        self.arg = arg
        """As in the trace: order, cache id or bytes."""
        self.number = -1
        """The cache's number in the model, once there is one."""
        self.gfp = gfp
        self.io = False
        self.fs = False
        self.keep = CTX_MASK
        self.add = 0
        self.entitled = False
        """It may use the reserve whoever asks."""
        self.marks = False
        """Granted, it makes its skb one of the reserve (``skb->pfmemalloc``)."""
        self.per = 1.0
        """How many a step takes."""
        self.stays = False
        """It outlives its step, in a cache that reclaim shrinks."""
        self.then: Want | None = None
        """What is asked for instead when it is denied."""


@dataclass(frozen=True, slots=True)
class Rights:
    """How a revision of the model and a choice of switches grant the reserve."""

    flavour: str
    series: frozenset[str]
    gfp_memalloc_bit: int
    softirq_ctx: int
    """Context of packet processing outside the reserve."""
    softirq_memalloc_ctx: int
    """Context of packet processing with PF_MEMALLOC set."""


def rights_of(revision: Revision, series: frozenset[str]) -> Rights:
    """Work out how rights are spelt.

    A revision without ``__GFP_MEMALLOC``, or one that pays no heed to PF_MEMALLOC in a softirq, is
    asked as by a task with PF_MEMALLOC: the same rights by its own rules (P1).
    """
    honours = revision.gfp_memalloc or revision.linux == LINUX_6
    processing = CTX_SOFTIRQ
    if SOFTIRQ_MEMALLOC in series:
        processing = CTX_SOFTIRQ | CTX_PF_MEMALLOC if honours else CTX_PF_MEMALLOC
    return Rights(
        flavour=revision.gfp_flavour,
        series=series,
        gfp_memalloc_bit=FLAVOURS[revision.gfp_flavour].get("__GFP_MEMALLOC", 0),
        softirq_ctx=CTX_SOFTIRQ,
        softirq_memalloc_ctx=processing,
    )


class Footprint:
    """The tables of one kernel under one choice of switches."""

    def __init__(self, revision: Revision, series: frozenset[str]) -> None:
        self.rights = rights_of(revision, series)
        path = _FOLDER / f"linux-{revision.linux}.toml"
        table = tomllib.loads(path.read_text("utf-8"))
        self.completion_ctx = CTX_SOFTIRQ if table["completes_in"] == "softirq" else 0
        """Context in which a block device's requests end."""
        self.caches: list[CacheSpec] = []
        """Every cache of the machine; its place here is its id in a trace."""
        self._ids: dict[str, int] = {}
        self._number_of: Callable[[str], int] = lambda _name: -1
        self.add_caches(_cache(name, row) for name, row in table["caches"].items())
        self._steps: dict[str, tuple[Want, ...]] = {
            name: tuple(self._want(row) for row in rows) for name, rows in table["steps"].items()
        }

    def step(self, name: str) -> tuple[Want, ...]:
        """Everything that a step takes, in order."""
        return self._steps[name]

    def one(self, name: str) -> Want:
        """The one thing that a step takes."""
        (want,) = self._steps[name]
        return want

    def add_caches(self, caches: Iterable[CacheSpec]) -> None:
        """Have caches beside the kernel's own; one that is there already is left as it is."""
        for cache in caches:
            if cache.name not in self._ids:
                number = self._ids[cache.name] = len(self.caches)
                self.caches.append(replace(cache, id=number))

    def number_caches(self, number_of: Callable[[str], int]) -> None:
        """Tell every request the number that the model has given its cache."""
        self._number_of = number_of
        for wants in self._steps.values():
            for want in wants:
                step: Want | None = want
                while step is not None:
                    if step.op == OBJ_ALLOC:
                        step.number = number_of(step.name)
                    step = step.then

    def request(self, op: int, what: str, gfp: int) -> Want:
        """A request beside the steps: an object of a cache, N bytes, 2^N pages.

        Raises :class:`LookupError` if there is no such cache.
        """
        bits = FLAVOURS[self.rights.flavour]
        if op != OBJ_ALLOC:
            want = Want(what, op, int(what), gfp)
        elif what in self._ids:
            want = Want(what, op, self._ids[what], gfp)
            want.number = self._number_of(what)
        else:
            raise LookupError(f"there is no such cache; there are {', '.join(self._ids)}")
        want.io = gfp & bits["__GFP_IO"] != 0
        want.fs = gfp & bits["__GFP_FS"] != 0
        return want

    def _want(self, row: Mapping[str, Any]) -> Want:
        gfp_text: str = row["gfp"]
        switch: str | None = row.get("memalloc")
        asks = switch is not None and _NEEDED[switch] <= self.rights.series
        want = self._request(row, gfp_text, asks=asks)
        if row.get("spares_reserve") and SKB_PFMEMALLOC in self.rights.series:
            # kmalloc_reserve: first as if there were no reserve, then with it, and marked.
            first = self._request(row, f"{gfp_text}|__GFP_NOMEMALLOC|__GFP_NOWARN", asks=False)
            if asks:
                first.gfp |= self.rights.gfp_memalloc_bit
            want.marks = True
            first.then = want
            want = first
        if "fallback" in row:
            want.then = self._want(row["fallback"])
        return want

    def _request(self, row: Mapping[str, Any], gfp_text: str, *, asks: bool) -> Want:
        flavour = self.rights.flavour
        gfp = encode(gfp_text, flavour)
        bits = FLAVOURS[flavour]
        if "cache" in row:
            want = Want(row["cache"], OBJ_ALLOC, self._ids[row["cache"]], gfp)
        elif "bytes" in row:
            want = Want(f"kmalloc of {row['bytes']} bytes", KMALLOC, row["bytes"], gfp)
        else:
            order: int = row.get("order", 0)
            name = "a page" if order == 0 else f"{1 << order} pages in a row"
            want = Want(name, PAGE_ALLOC, order, gfp)
        want.io = gfp & bits["__GFP_IO"] != 0
        want.fs = gfp & bits["__GFP_FS"] != 0
        want.per = float(row.get("per", 1))
        want.stays = bool(row.get("stays", False))
        if asks:
            want.entitled = not gfp & bits["__GFP_NOMEMALLOC"]
            if self.rights.gfp_memalloc_bit:
                want.gfp |= self.rights.gfp_memalloc_bit
            else:
                want.add = CTX_PF_MEMALLOC
                want.keep = CTX_MASK & ~CTX_SOFTIRQ
        return want


def _cache(name: str, row: Mapping[str, Any]) -> CacheSpec:
    flags = 0
    for flag in row.get("flags", ()):
        flags |= _CACHE_FLAGS[flag]
    return CacheSpec(0, name, row["size"], row.get("align", 0), flags)
