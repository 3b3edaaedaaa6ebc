"""Plays traces as new lives of their sources: once, so many times, or for ever."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from allocator.events import RECORD_SIZE
from tracegen.batch import Batch, BatchMaker, EventBatch, HeaderBatch
from tracegen.errors import PfmemdError, StoppedError
from tracegen.playback.event_filter import EventFilter
from tracegen.playback.section import Section
from tracegen.playback.selection import Selection
from tracegen.trace_file import TraceReader

BATCH_EVENTS: Final = 4096
SMOOTH_NS: Final = 100_000_000
"""At a pace, a batch has events of no more than so much of the player's own time."""
_TURN: Final = 0.25


class InterruptedPlayError(StoppedError):
    """The caller's ``interrupted`` said so."""


class Target(Protocol):
    """Where batches go."""

    def write(self, batch: Batch) -> None:
        """Take the next batch of its source."""

    def wait_until(self, moment: float) -> None:
        """Wait until the monotonic clock shows ``moment``; do meanwhile what must be done."""


@dataclass(frozen=True, slots=True)
class Score:
    """What is played, and how.

    ``speed`` is a factor on the trace's own time, None as fast as it goes. ``plays`` None is
    without end. ``epoch`` is that of the first play.
    """

    path: str
    epoch: int
    speed: float | None = None
    plays: int | None = 1
    section: Section | None = None
    event_filter: EventFilter | None = None
    source: str | None = None
    batch_events: int = BATCH_EVENTS


@dataclass(slots=True)
class Played:
    """What has been done so far."""

    plays: int = 0
    batches: int = 0
    events: int = 0
    offset: int = 0
    """Bytes of the trace that this play is through with, decompressed."""
    size: int | None = None
    """Bytes that it has, if that is known."""
    epochs: dict[str, int] = field(default_factory=dict)
    """The last epoch of each source."""


class Player:
    """Plays one score. ``interrupted`` is asked between batches and while it waits."""

    def __init__(
        self,
        score: Score,
        target: Target,
        *,
        interrupted: Callable[[], bool] = lambda: False,
        progress: Callable[[Played], None] = lambda _played: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.played = Played()
        self._score = score
        self._target = target
        self._interrupted = interrupted
        self._progress = progress
        self._clock = clock
        self._epoch = score.epoch
        self._makers: dict[str, BatchMaker] = {}
        self._pace_from: tuple[int, float] | None = None

    def run(self) -> Played:
        """Play.

        Raises :class:`InterruptedPlayError`, and what reading and the target raise.
        """
        while self._score.plays is None or self.played.plays < self._score.plays:
            self._play()
            self.played.plays += 1
        return self.played

    def _play(self) -> None:
        selection = Selection(self._score.section, self._score.event_filter)
        self._pace_from = None
        self._makers = {}
        before = self.played.events
        with TraceReader(self._score.path, before_read=self._await_input) as reader:
            for entry in reader:
                self.played.size = reader.size
                batch = entry.batch
                if isinstance(batch, HeaderBatch):
                    self._open(batch, selection)
                else:
                    self._forward(batch, selection)
                self.played.offset = entry.offset + len(entry.data)
                if selection.over:
                    break
        if self.played.events == before:
            raise PfmemdError(f"{reader.name}: nothing of it is left to be played")

    def _await_input(self, fd: int) -> None:
        """Tend the target, and notice an interruption, while a pipe has nothing to read."""
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return
        while not select.select([fd], [], [], _TURN)[0]:
            if self._interrupted():
                raise InterruptedPlayError("interrupted")
            self._target.wait_until(self._clock())

    def _open(self, batch: HeaderBatch, selection: Selection) -> None:
        source = self._score.source or batch.source
        if self._score.source is not None and self._makers and batch.source not in self._makers:
            raise PfmemdError(
                f"the trace has several sources, {batch.source} is another one: they cannot all be"
                f" called {source}"
            )
        maker = self._makers[batch.source] = BatchMaker(source, self._epoch)
        self.played.epochs[source] = self._epoch
        self._epoch += 1
        self._write(maker.header(selection.open(batch.source, batch.header)), 0)

    def _forward(self, batch: EventBatch, selection: Selection) -> None:
        maker = self._makers[batch.source]
        for records in self._cut(selection.take(batch.source, batch.records)):
            self._keep_pace(records)
            self._write(maker.events(records), len(records) // RECORD_SIZE)

    def _write(self, batch: Batch, events: int) -> None:
        if self._interrupted():
            raise InterruptedPlayError("interrupted")
        self._target.write(batch)
        self.played.batches += 1
        self.played.events += events
        self._progress(self.played)

    def _keep_pace(self, records: bytes) -> None:
        speed = self._score.speed
        if speed is None:
            return
        ts_ns = _time(records, 0)
        if self._pace_from is None:
            self._pace_from = ts_ns, self._clock()
        first_ns, started = self._pace_from
        moment = started + (ts_ns - first_ns) / 1e9 / speed
        while (left := moment - self._clock()) > 0:
            if self._interrupted():
                raise InterruptedPlayError("interrupted")
            self._target.wait_until(self._clock() + min(left, _TURN))

    def _cut(self, records: bytes) -> Iterator[bytes]:
        """Cut events into batches, at a pace into such as go out smoothly."""
        size = self._score.batch_events * RECORD_SIZE
        speed = self._score.speed
        begin = 0
        for at in range(0, len(records), RECORD_SIZE):
            late = (
                speed is not None and _time(records, at) - _time(records, begin) > SMOOTH_NS * speed
            )
            if at - begin >= size or late:
                yield records[begin:at]
                begin = at
        if begin < len(records):
            yield records[begin:]


def _time(records: bytes, at: int) -> int:
    return int.from_bytes(records[at : at + 8], "little")
