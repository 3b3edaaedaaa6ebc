"""Runs models through a trace and holds them against the ground truth."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from allocator.events import KMALLOC, MARK, OBJ_ALLOC, OP_AT, PAGE_ALLOC, RECORD_SIZE
from allocator.machine import Machine
from allocator.revision import Variant
from tracegen.batch import Batch, HeaderBatch
from tracegen.errors import PfmemdError
from tracegen.header import Header
from tracegen.kernel_trace.balance import Balance
from tracegen.kernel_trace.population import BEGIN_LABEL
from tracegen.truth.attempts import Window, windows
from tracegen.truth.comparison import Comparison, Course
from tracegen.truth.ground_truth import GroundTruth
from tracegen.truth.live_pages import LivePages

_TIMES: Final = struct.Struct("<Q24x")
_NEVER: Final = 1 << 64
_ALLOCATES: Final = {PAGE_ALLOC, OBJ_ALLOC, KMALLOC}


class TruthError(PfmemdError):
    """A trace and a ground truth that cannot be held against each other."""


def compare_with_truth(
    batches: Iterable[Batch],
    truth: GroundTruth,
    variants: Sequence[Variant],
    balance: Balance | None = None,
    progress: Callable[[int], None] = lambda _events: None,
) -> list[Comparison]:
    """Run every variant through a trace of one source.

    The models are read wherever the machine was while the trace ran. Raises
    :class:`TruthError` if that is nowhere.
    """
    run: _Run | None = None
    for batch in batches:
        if isinstance(batch, HeaderBatch):
            if run is not None:
                raise TruthError("the trace has a second header, expected one life of one source")
            run = _Run(batch.header, truth, variants, balance)
        elif run is not None:
            run.take(batch.records)
            progress(batch.events)
    if run is not None:
        run.finish()
    if run is None or not run.courses[0].comparison.points:
        raise TruthError("the ground truth has no reading within the time of the trace")
    return [course.finish(truth) for course in run.courses]


class _Run:
    """All variants on their way through a trace."""

    def __init__(
        self,
        header: Header,
        truth: GroundTruth,
        variants: Sequence[Variant],
        balance: Balance | None,
    ) -> None:
        self.courses = [
            Course(
                variant.name,
                Machine(header.machine, variant, header.caches, header.gfp),
                balance,
                header.gfp,
            )
            for variant in variants
        ]
        self._truth = truth
        self._live = LivePages()
        self._readings = deque(truth.readings)
        self._windows: deque[Window] = deque()
        self._below_min: list[dict[str, bool]] = []
        """Of each course, when the window began that is open; empty if none is."""
        self._begun = False
        self._in_prelude = BEGIN_LABEL in header.labels
        self._held = b""
        """An allocation at the end of a batch: its free, if it failed, comes with the next."""

    def take(self, records: bytes) -> None:
        """Apply events, and read the models between them where the machine was read."""
        if self._in_prelude:
            records = self._apply_prelude(records)
        records = self._held + records
        self._held = b""
        if records and records[len(records) - RECORD_SIZE + OP_AT] in _ALLOCATES:
            self._held = records[-RECORD_SIZE:]
            records = records[:-RECORD_SIZE]
        if records:
            self._go_on(records)

    def finish(self) -> None:
        """Apply what was held back."""
        if self._held:
            self._go_on(self._held)

    def _go_on(self, records: bytes) -> None:
        times = [time for (time,) in _TIMES.iter_unpack(records)]
        if not self._begun:
            self._begin(times[0])
        at = 0
        while (moment := self._next_moment()) <= times[-1]:
            until = bisect_left(times, moment, at)
            self._apply(records[at * RECORD_SIZE : until * RECORD_SIZE])
            at = until
            self._stop_at(moment)
        self._apply(records[at * RECORD_SIZE :])

    def _begin(self, first_ns: int) -> None:
        self._begun = True
        while self._readings and self._readings[0].ts_ns < first_ns:
            self._readings.popleft()
        for course in self.courses:
            course.begin()
        if self._readings:
            span = (self._readings[0].ts_ns, self._readings[-1].ts_ns)
            self._windows.extend(windows(self._truth.attempts, *span))

    def _next_moment(self) -> int:
        """When the models are looked at next: a reading, or a window's beginning or end."""
        moments = [_NEVER]
        if self._readings:
            moments.append(self._readings[0].ts_ns)
        if self._windows:
            window = self._windows[0]
            moments.append(window.end_ns if self._below_min else window.begin_ns)
        return min(moments)

    def _stop_at(self, moment: int) -> None:
        if self._below_min and self._windows[0].end_ns == moment:
            window = self._windows.popleft()
            for course, below_min in zip(self.courses, self._below_min, strict=True):
                course.window_ends(window, below_min)
            self._below_min = []
        elif not self._below_min and self._windows and self._windows[0].begin_ns == moment:
            self._below_min = [course.window_begins() for course in self.courses]
        else:
            reading = self._readings.popleft()
            for course in self.courses:
                course.read(reading, self._live, in_window=bool(self._below_min))

    def _apply_prelude(self, records: bytes) -> bytes:
        """Apply what sets the machine up; return what is left behind its end."""
        end = len(records)
        for at in range(0, len(records), RECORD_SIZE):
            if records[at + OP_AT] == MARK:
                self._in_prelude = False
                end = at + RECORD_SIZE
                break
        self._live.apply(records[:end])
        for course in self.courses:
            course.set_up(records[:end])
        return records[end:]

    def _apply(self, records: bytes) -> None:
        if records:
            self._live.apply(records)
            for course in self.courses:
                course.apply(records)
