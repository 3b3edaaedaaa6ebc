"""What a trace looks like in numbers: its mix of events, lifetimes and inter-arrival times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from allocator.events import CTX_PF_MEMALLOC, KMALLOC, OP_NAMES, PAGE_ALLOC, PAGE_FREE
from tracegen.header import Header
from tracegen.info import context_name
from tracegen.likeness.gfp_class import gfp_class
from tracegen.likeness.sample import Reservoir
from tracegen.likeness.walk import ALLOCATIONS, Event, Life, Part, walk

SAMPLE: Final = 100_000
"""Lifetimes, and inter-arrival times, that are kept of a trace."""
ASPECTS: Final = ("op", "cache", "order", "gfp", "context")


@dataclass(slots=True)
class Portrait:
    """The numbers that two traces are compared by."""

    events: int = 0
    span_ns: int = 0
    mix: Counter[str] = field(default_factory=Counter)
    """Events by op, cache or order or size, gfp class and context together."""
    aspects: dict[str, Counter[str]] = field(
        default_factory=lambda: {aspect: Counter() for aspect in ASPECTS}
    )
    """The same by each of these alone."""
    page_lives: Reservoir = field(default_factory=lambda: Reservoir(SAMPLE))
    """Nanoseconds from allocation to free, of pages."""
    object_lives: Reservoir = field(default_factory=lambda: Reservoir(SAMPLE))
    gaps: Reservoir = field(default_factory=lambda: Reservoir(SAMPLE))
    """Nanoseconds between one event and the next."""


def portray(path: str, part: Part | None = None) -> Portrait:
    """Read a trace, or a part of it, once through; memory grows with what is live at a time."""
    painter = _Painter()
    for found in walk(path, part or Part()):
        if isinstance(found, Life):
            painter.begin(found)
        elif found.inside:
            painter.add(found)
    return painter.portrait


class _Painter:
    """Counts events; several sources or lives of a trace are counted together."""

    def __init__(self) -> None:
        self.portrait = Portrait()
        self._born: dict[tuple[str, int], int] = {}
        self._last = 0
        self._kinds: dict[tuple[str, int, int, int, int], tuple[str, ...]] = {}
        self._headers: dict[str, Header] = {}

    def begin(self, life: Life) -> None:
        """A source begins, or begins anew."""
        self._headers[life.source] = life.header
        self._born = {key: born for key, born in self._born.items() if key[0] != life.source}
        self._kinds.clear()

    def add(self, event: Event) -> None:
        """Count one event."""
        self._count(event)
        self._live(event)

    def _count(self, event: Event) -> None:
        portrait = self.portrait
        if portrait.events:
            gap = max(0, event.ts_ns - self._last)
            portrait.gaps.add(gap)
            portrait.span_ns += gap
        self._last = event.ts_ns
        portrait.events += 1
        key = (event.source, event.op, event.arg, event.gfp, event.ctx)
        words = self._kinds.get(key)
        if words is None:
            words = self._kinds[key] = self._words(*key)
        whole, name, what, wants, context = words
        portrait.mix[whole] += 1
        aspects = portrait.aspects
        aspects["op"][name] += 1
        aspects["context"][context] += 1
        if wants:
            aspects["gfp"][wants] += 1
            aspects["order" if event.op == PAGE_ALLOC else "cache"][what] += 1

    def _words(self, source: str, op: int, arg: int, gfp: int, ctx: int) -> tuple[str, ...]:
        what = wants = ""
        if op in ALLOCATIONS:
            header = self._headers[source]
            wants = gfp_class(gfp, header.gfp)
            what = _what(op, arg, header)
            if "memalloc" in wants.split("+"):
                # The same right by another name; a kernel's tracer does not show this one.
                ctx &= ~CTX_PF_MEMALLOC
        name, context = OP_NAMES[op], context_name(ctx)
        return f"{name}|{what}|{wants}|{context}", name, what, wants, context

    def _live(self, event: Event) -> None:
        key = (event.source, event.handle)
        if event.op in ALLOCATIONS:
            self._born[key] = event.ts_ns
        elif (born := self._born.pop(key, None)) is not None:
            is_page = event.op == PAGE_FREE
            lives = self.portrait.page_lives if is_page else self.portrait.object_lives
            lives.add(max(0, event.ts_ns - born))


def _what(op: int, arg: int, header: Header) -> str:
    if op == PAGE_ALLOC:
        return f"order {arg}"
    if op == KMALLOC:
        return f"kmalloc-{kmalloc_size(arg)}"
    return next(cache.name for cache in header.caches if cache.id == arg)


def kmalloc_size(size: int) -> int:
    """The size of the general cache that ``size`` bytes come from, but for 96 and 192."""
    return 1 << max(3, (max(size, 1) - 1).bit_length())
