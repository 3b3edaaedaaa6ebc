"""Runs models through a trace and holds them against the ground truth."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from allocator.events import MARK, OP_AT, RECORD_SIZE
from allocator.machine import Machine
from allocator.revision import Variant
from tracegen.batch import Batch, HeaderBatch
from tracegen.errors import PfmemdError
from tracegen.header import Header
from tracegen.kernel_trace.balance import Balance
from tracegen.kernel_trace.population import BEGIN_LABEL
from tracegen.truth.comparison import Comparison, Course
from tracegen.truth.ground_truth import GroundTruth
from tracegen.truth.live_pages import LivePages

_TIMES: Final = struct.Struct("<Q24x")


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
            )
            for variant in variants
        ]
        self._live = LivePages()
        self._readings = deque(truth.readings)
        self._begun = False
        self._in_prelude = BEGIN_LABEL in header.labels

    def take(self, records: bytes) -> None:
        """Apply events, and read the models between them where the machine was read."""
        if self._in_prelude:
            records = self._apply_prelude(records)
        if not records:
            return
        times = [time for (time,) in _TIMES.iter_unpack(records)]
        while not self._begun and self._readings and self._readings[0].ts_ns < times[0]:
            self._readings.popleft()
        self._begun = True
        at = 0
        while self._readings and self._readings[0].ts_ns <= times[-1]:
            reading = self._readings.popleft()
            until = bisect_left(times, reading.ts_ns, at)
            self._apply(records[at * RECORD_SIZE : until * RECORD_SIZE])
            at = until
            for course in self.courses:
                course.read(reading, self._live)
        self._apply(records[at * RECORD_SIZE :])

    def _apply_prelude(self, records: bytes) -> bytes:
        """Apply what sets the machine up; return what is left behind its end."""
        for at in range(0, len(records), RECORD_SIZE):
            if records[at + OP_AT] == MARK:
                self._in_prelude = False
                self._apply(records[: at + RECORD_SIZE])
                return records[at + RECORD_SIZE :]
        self._apply(records)
        return b""

    def _apply(self, records: bytes) -> None:
        if records:
            self._live.apply(records)
            for course in self.courses:
                course.apply(records)
