"""The verbs of a rule trace, and what may follow each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from allocator.config import CacheSpec, ConfigError, MachineConfig
from allocator.events import CTX_COLD, CTX_NAMES
from allocator.gfp import GfpError, encode
from allocator.object_allocator import (
    SLAB_CACHE_DMA,
    SLAB_HWCACHE_ALIGN,
    SLAB_MEM_SPREAD,
    SLAB_NOLEAKTRACE,
    SLAB_PANIC,
    SLAB_RECLAIM_ACCOUNT,
)
from tracegen.rule_trace.place import Place, Word
from tracegen.rule_trace.trace import Operation

CACHE_FLAGS: Final[dict[str, int]] = {
    "HWCACHE_ALIGN": SLAB_HWCACHE_ALIGN,
    "CACHE_DMA": SLAB_CACHE_DMA,
    "RECLAIM_ACCOUNT": SLAB_RECLAIM_ACCOUNT,
    "PANIC": SLAB_PANIC,
    "MEM_SPREAD": SLAB_MEM_SPREAD,
    "NOLEAKTRACE": SLAB_NOLEAKTRACE,
}
CONTEXT: Final[dict[str, int]] = {name: bit for bit, name in CTX_NAMES.items() if bit != CTX_COLD}

_HANDLE: Final = re.compile(r"([a-z]+)(\d{1,9})?(?:\.\.([a-z]+)?(\d{1,9}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shape:
    """What may follow a verb: arguments in order, then options and words in any order."""

    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    """Options that must be there."""


_ASKED: Final = ("cpu", "node")
VERBS: Final[dict[str, Shape]] = {
    "cache": Shape(("cache",), ("size", "align", "flags"), required=("size",)),
    "page": Shape(("handles", "gfp"), ("order", *_ASKED), tuple(CONTEXT)),
    "alloc": Shape(("handles", "cache", "gfp"), _ASKED, tuple(CONTEXT)),
    "kmalloc": Shape(("handles", "size", "gfp"), _ASKED, tuple(CONTEXT)),
    "free": Shape(("handles",), ("cpu",), ("cold",)),
    "reap": Shape((), ("cpu",)),
    "shrink": Shape(("cache",), ("cpu",)),
    "drain": Shape((), ("cpu",)),
    "tick": Shape(("jiffies",)),
    "min_free": Shape(("kbytes",)),
    "array": Shape(("cache",), ("cpu",)),
    "shared": Shape(("cache",), ("node",)),
    "alien": Shape(("cache",), ("node", "of"), required=("of",)),
    "slab": Shape(("cache", "pfn")),
    "slabs": Shape(("cache",), ("node",)),
    "cpuslab": Shape(("cache",), ("cpu",)),
    "partial": Shape(("cache",), ("node",)),
    "stats": Shape(("cache",)),
    "leaks": Shape(("cache",)),
}

_NAMES: Final[dict[str, str]] = {
    "handles": "a handle",
    "cache": "the name of a cache",
    "gfp": "gfp flags",
    "size": "a size in bytes",
    "kbytes": "a number of kilobytes",
    "jiffies": "a number of jiffies",
    "pfn": "the first pfn of a slab",
    "of": "whose objects: of=NODE",
}
_NODE_MEANT: Final = ("shared", "alien", "slabs", "partial")
"""Looks at one node, which is node 0 if it is not said."""


class OperationReader:
    """Reads operations of one trace, whose machine and gfp flavour are known."""

    def __init__(self, place: Place, machine: MachineConfig, flavour: str) -> None:
        """Read at ``place``; cpus and nodes must be the machine's."""
        self._place = place
        self._machine = machine
        self._flavour = flavour

    def read(self, verb: Word, words: list[Word]) -> Operation:
        """Read the words between a known verb and ``->``."""
        shape = VERBS[verb.text]
        made = Operation(verb.text, node=0 if verb.text in _NODE_MEANT else -1)
        wanted = list(shape.arguments)
        missing = set(shape.required)
        given: set[str] = set()
        for word in words:
            if word.key in shape.options:
                if word.key in given:
                    self._place.fail(f"{word.key!r} is said twice", word)
                given.add(word.key)
                missing.discard(word.key)
                self._option(made, word)
            elif wanted:
                self._argument(made, wanted.pop(0), word)
            elif word.text in shape.words:
                made.cold |= word.text == "cold"
                made.ctx |= CONTEXT.get(word.text, 0)
            elif verb.text == "free":
                made.handles += self._handles(word)
            else:
                may = [*(f"{option}=" for option in shape.options), *shape.words]
                known = f"; it takes {', '.join(may)}" if may else ""
                self._place.fail(
                    f"{word.text!r} is not understood after {verb.text!r}{known}", word
                )
        for name in [*wanted, *missing]:
            self._place.fail(f"{verb.text!r} lacks {_NAMES[name]}", words[-1] if words else verb)
        if verb.text == "cache":
            self._check_cache(made, verb)
        return made

    def _argument(self, made: Operation, name: str, word: Word) -> None:
        match name:
            case "cache":
                made.cache = word.text
            case "handles":
                made.handles += self._handles(word)
            case "gfp":
                try:
                    encode(word.text, self._flavour)
                except (GfpError, ValueError) as error:
                    self._place.fail(f"{word.text!r}, expected gfp flags: {error}", word)
                made.gfp = word.text
            case _:
                setattr(made, name, self._place.number_in(word.text, word))

    def _option(self, made: Operation, word: Word) -> None:
        if word.key == "flags":
            made.flags = self._cache_flags(word)
            return
        number = self._place.number(word)
        counts = {"cpu": (self._machine.cpus, "cpus")}
        counts["node"] = counts["of"] = (len(self._machine.nodes), "nodes")
        if word.key in counts and number >= counts[word.key][0]:
            count, things = counts[word.key]
            self._place.fail(f"{word.text!r}, the machine has {count} {things}", word)
        setattr(made, word.key, number)

    def _handles(self, word: Word) -> tuple[str, ...]:
        """A handle, or the run of them that ``a1..a9`` or ``a1..9`` is."""
        match = _HANDLE.match(word.text)
        run = match is not None and match[4] is not None
        if match is None or (run and (match[2] is None or match[3] not in {None, match[1]})):
            self._place.fail(
                f"{word.text!r}, expected a handle: letters, with or without a number, or a run"
                " such as a1..a9",
                word,
            )
        if not run:
            return (word.text,)
        return self._place.run(f"{match[1]}{match[2]}..{match[4]}", word)

    def _cache_flags(self, word: Word) -> int:
        bits = 0
        for name in word.value.split("|"):
            if name not in CACHE_FLAGS:
                self._place.fail(f"{name!r}, expected flags: {', '.join(CACHE_FLAGS)}", word)
            bits |= CACHE_FLAGS[name]
        return bits

    def _check_cache(self, made: Operation, verb: Word) -> None:
        try:
            CacheSpec(0, made.cache, made.size, made.align, made.flags)
        except ConfigError as error:
            self._place.fail(str(error), verb)
