"""What of a trace is played: a section of it, of that the events that a filter keeps.

A section that begins in the middle opens with a prelude, as an import does: what was in use there
is allocated again, in the order in which it had been, under the lowest reserve that the kernel
allows, and the reserve is set again. How much is in use is exact; where it lies is the model's
own choice. What an import's own prelude allocates is always played.

A filter decides about allocations. A free is played if its allocation was; what sets up the
machine (MIN_FREE, REAP, SHRINK, MARK) always is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from allocator.events import (
    CTX_PF_MEMALLOC,
    KMALLOC,
    MARK,
    MIN_FREE,
    OBJ_ALLOC,
    OBJ_FREE,
    PAGE_ALLOC,
    PAGE_FREE,
)
from tracegen.batch import RECORD
from tracegen.header import MAX_LABELS, Header
from tracegen.kernel_trace.population import BEGIN_LABEL, LOWEST_MIN_FREE_KBYTES
from tracegen.playback.event_filter import ARG, CTX, OP, EventFilter, Row
from tracegen.playback.section import Section

_HANDLE: Final = 1
_ALLOCATIONS: Final = frozenset({PAGE_ALLOC, OBJ_ALLOC, KMALLOC})
_FREES: Final = frozenset({PAGE_FREE, OBJ_FREE})


class Selection:
    """Selects from the lives of all sources of one play of a trace."""

    def __init__(self, section: Section | None, event_filter: EventFilter | None) -> None:
        self._section = section or Section()
        self._filter = event_filter
        self._lives: dict[str, _Life] = {}
        self._first_ns: int | None = None
        self._events = 0
        self.over = False
        """The end of the section was reached."""

    @property
    def changes(self) -> bool:
        """Whether anything may be left out."""
        return self._section != Section() or self._filter is not None

    def open(self, source: str, header: Header) -> Header:
        """Begin a life of a source; its header, with a label more if it needs one."""
        sets_up = BEGIN_LABEL in header.labels
        late = self._section.begin is not None
        if late and not sets_up:
            header = replace(header, labels=(*header.labels[: MAX_LABELS - 1], BEGIN_LABEL))
        keeps = None if self._filter is None else self._filter.bound(header)
        self._lives[source] = _Life(header, keeps, sets_up=sets_up, late=late)
        return header

    def take(self, source: str, records: bytes) -> bytes:
        """What is played of events of that life."""
        if not self.changes:
            return records
        life = self._lives[source]
        return b"".join(self._choose(life, records))

    def _choose(self, life: _Life, records: bytes) -> Iterator[bytes]:
        section = self._section
        for row in RECORD.iter_unpack(records):
            if life.sets_up:
                life.sets_up = row[OP] != MARK
                if not life.waits:
                    yield RECORD.pack(*row)
                else:
                    life.note(row)
                continue
            if self._first_ns is None:
                self._first_ns = row[0]
            place = row[0] - self._first_ns, self._events
            self._events += 1
            if section.end is not None and section.end.reached(*place):
                self.over = True
                return
            if life.waits:
                if section.begin is not None and not section.begin.reached(*place):
                    life.note(row)
                    continue
                yield from life.prelude(row[0])
            if life.plays(row):
                yield RECORD.pack(*row)


class _Life:
    """One life of a source: what is in use, and what was left out."""

    def __init__(
        self, header: Header, keeps: Callable[[Row], bool] | None, *, sets_up: bool, late: bool
    ) -> None:
        self._header = header
        self._keeps = keeps
        self.waits = late
        """The section has not begun."""
        self.sets_up = sets_up
        """What comes is an import's own prelude, which is no part of any section."""
        self._live: dict[int, Row] = {}
        self._left_out: set[int] = set()
        self._min_free_kbytes = header.machine.min_free_kbytes

    def note(self, row: Row) -> None:
        """An event before the section: keep in mind what it leaves behind."""
        op = row[OP]
        if op in _ALLOCATIONS:
            self._live[row[_HANDLE]] = row
        elif op in _FREES:
            self._live.pop(row[_HANDLE], None)
        elif op == MIN_FREE and not row[CTX] & CTX_PF_MEMALLOC:
            self._min_free_kbytes = row[ARG]

    def prelude(self, ts_ns: int) -> Iterator[bytes]:
        """What was in use where the section begins."""
        self.waits = False
        kbytes = self._min_free_kbytes
        if kbytes:
            lowest = min(kbytes, LOWEST_MIN_FREE_KBYTES)
            yield RECORD.pack(ts_ns, 0, 0, lowest, 0, -1, MIN_FREE, 0, 0)
        for _, handle, gfp, arg, cpu, node, op, _, zero in self._live.values():
            # Whoever asked had its context then; what it holds needs none.
            yield RECORD.pack(ts_ns, handle, gfp, arg, cpu, node, op, 0, zero)
        self._live.clear()
        if kbytes:
            yield RECORD.pack(ts_ns, 0, 0, kbytes, 0, -1, MIN_FREE, 0, 0)
        label = self._header.labels.index(BEGIN_LABEL)
        yield RECORD.pack(ts_ns, 0, 0, label, 0, -1, MARK, 0, 0)

    def plays(self, row: Row) -> bool:
        """Whether the filter lets an event of the section through."""
        if self._keeps is None:
            return True
        op = row[OP]
        if op in _ALLOCATIONS:
            if self._keeps(row):
                return True
            self._left_out.add(row[_HANDLE])
            return False
        if op in _FREES and row[_HANDLE] in self._left_out:
            self._left_out.discard(row[_HANDLE])
            return False
        return True
