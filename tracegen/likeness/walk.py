"""The events of a trace, or of a part of it, that say something about the machine's habits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from allocator.events import KMALLOC, MARK, MIN_FREE, OBJ_ALLOC, PAGE_ALLOC, REAP, SHRINK
from tracegen.batch import RECORD, HeaderBatch
from tracegen.header import Header
from tracegen.trace_file import TraceReader

BEGINS: Final = "the trace begins"
"""Label of the MARK up to which an imported trace only sets up what was in use before."""
ALLOCATIONS: Final = (PAGE_ALLOC, OBJ_ALLOC, KMALLOC)
_NO_HABIT: Final = (REAP, SHRINK, MIN_FREE, MARK)
"""What a machine does once in a while is no habit."""
_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a trace, in seconds after its first event; ``until`` None is its end."""

    start: float = 0.0
    until: float | None = None

    def has(self, seconds: float) -> bool:
        """Whether a moment lies in it."""
        return seconds >= self.start and (self.until is None or seconds < self.until)


class Life(NamedTuple):
    """A source begins, or begins anew."""

    source: str
    header: Header


class Event(NamedTuple):
    """An allocation or a free of a source; ``inside`` if it lies in the part asked for."""

    source: str
    ts_ns: int
    handle: int
    gfp: int
    arg: int
    op: int
    ctx: int
    inside: bool


def walk(path: str, part: Part) -> Iterator[Life | Event]:
    """Every allocation and free after the setting up, in order."""
    setting_up: dict[str, int] = {}
    first: int | None = None
    with TraceReader(path) as reader:
        for entry in reader:
            batch = entry.batch
            source = batch.source
            if isinstance(batch, HeaderBatch):
                labels = batch.header.labels
                setting_up[source] = labels.index(BEGINS) if BEGINS in labels else -1
                yield Life(source, batch.header)
                continue
            for ts_ns, handle, gfp, arg, _, _, op, ctx, _ in RECORD.iter_unpack(batch.records):
                if setting_up[source] >= 0:
                    if op == MARK and arg == setting_up[source]:
                        setting_up[source] = -1
                elif op not in _NO_HABIT:
                    first = ts_ns if first is None else first
                    inside = part.has((ts_ns - first) / _SECOND)
                    yield Event(source, ts_ns, handle, gfp, arg, op, ctx, inside)
