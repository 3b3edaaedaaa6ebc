"""Sends a trace to a daemon: as it is, or as new life, once or for ever, at its own pace.

A trace goes out unchanged, byte for byte, unless something about it is to be changed:
another source name, smaller batches, or a new epoch, which makes the daemon begin
with a fresh machine. An unchanged trace that the daemon has in part already is
resumed where the daemon says.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from allocator.events import RECORD_SIZE
from tracegen.batch import BatchMaker, EventBatch, HeaderBatch, encode
from tracegen.errors import BatchError, PfmemdError
from tracegen.keys import SenderKeys
from tracegen.sender import TURN, InterruptedSendError, Sender
from tracegen.trace_file import FileError, TraceReader

_GRACE: Final = 5.0
"""Seconds for the last acknowledgements when a replay ends before its time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a trace is to be sent.

    ``speed`` is a factor on the trace's own time, None is as fast as it goes. ``source``
    renames the trace's only source. ``new_epoch`` makes each play a new life; ``loop``
    implies it. ``batch_events`` cuts batches into ones of at most so many events.
    """

    url: str
    timeout: float | None
    speed: float | None = None
    loop: bool = False
    new_epoch: bool = False
    source: str | None = None
    batch_events: int | None = None
    keys: SenderKeys | None = None


@dataclass(slots=True)
class Sent:
    """What has been done so far."""

    batches: int = 0
    events: int = 0
    already_there: int = 0
    """Batches that the daemon had from an earlier run."""
    resent: int = 0
    plays: int = 0
    offset: int = 0
    """Bytes of the trace that this play is through with, decompressed."""
    epochs: dict[str, int] = field(default_factory=dict)
    """The last epoch of each source."""


@dataclass(slots=True)
class _Stream:
    """One source on its way: its connection, and the epoch that it is in."""

    sender: Sender
    maker: BatchMaker
    last_seq: int = 0


class Replay:
    """Plays traces to one daemon.

    ``interrupted`` is asked whenever it waits. ``progress`` is told, after each batch, what
    has been sent and how many bytes the trace has, if that is known.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        interrupted: Callable[[], bool] = lambda: False,
        progress: Callable[[Sent, int | None], None] = lambda _sent, _size: None,
        clock: Callable[[], float] = time.monotonic,
        epoch_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.sent = Sent()
        self._plan = plan
        self._interrupted = interrupted
        self._progress = progress
        self._clock = clock
        self._epoch_clock = epoch_clock
        self._last_epoch = 0
        self._streams: dict[str, _Stream] = {}
        self._current: Sender | None = None
        self._size: int | None = None
        self._pace_from: tuple[int, float] | None = None

    def run(self, path: str) -> Sent:
        """Play the trace, once or until interrupted, and wait until it is acknowledged.

        Raises :class:`InterruptedSendError` when it was interrupted before its end; what was
        on the way then has had a moment to be acknowledged.
        """
        grace = 0.0
        try:
            while True:
                self._play(path)
                self.sent.plays += 1
                if not self._plan.loop:
                    break
        except (InterruptedSendError, BatchError, FileError):
            grace = _GRACE  # the daemon is well: let it keep what it was given
            raise
        finally:
            for stream in self._streams.values():
                stream.sender.close(grace)
                self.sent.resent += stream.sender.state.resent
        return self.sent

    def _play(self, path: str) -> None:
        self._pace_from = None
        with TraceReader(path, check_events=False, before_read=self._await_input) as reader:
            for entry in reader:
                self._size = reader.size
                if isinstance(entry.batch, HeaderBatch):
                    self._open(entry.batch, entry.data)
                else:
                    self._forward(entry.batch, entry.data)
                self.sent.offset = entry.offset + len(entry.data)
        for stream in self._streams.values():
            self._finish(stream)

    def _open(self, batch: HeaderBatch, data: bytes) -> None:
        """Begin an epoch of a source, on a connection of its own."""
        source = self._plan.source or batch.source
        stream = self._streams.get(batch.source)
        if stream is not None:
            self._finish(stream)
        elif self._plan.source is not None and self._streams:
            raise PfmemdError(
                f"the trace has several sources, {batch.source} is another one:"
                f" they cannot all be called {source}"
            )
        maker = BatchMaker(source, self._epoch(batch.epoch))
        header = maker.header(batch.header)
        if self._changed:
            data = encode(header)
        if stream is None:
            sender = Sender(
                self._plan.url,
                source,
                timeout=self._plan.timeout,
                keys=self._plan.keys,
                interrupted=self._interrupted,
                clock=self._clock,
            )
            stream = self._streams[batch.source] = _Stream(sender, maker)
        stream.maker = maker
        self._current = stream.sender
        self.sent.epochs[source] = maker.epoch
        stream.sender.open(maker.epoch, data)
        self._send(stream, header.seq, data, b"")

    def _forward(self, batch: EventBatch, data: bytes) -> None:
        """Send on events; the reader has seen to it that their header came first."""
        stream = self._streams[batch.source]
        if not self._changed:
            self._send(stream, batch.seq, data, batch.records)
            return
        for records in _cut(batch.records, self._plan.batch_events):
            cut = stream.maker.events(records)
            self._send(stream, cut.seq, encode(cut), records)

    @property
    def _changed(self) -> bool:
        plan = self._plan
        return (
            plan.loop or plan.new_epoch or plan.source is not None or plan.batch_events is not None
        )

    def _epoch(self, epoch_of_trace: int) -> int:
        if not (self._plan.loop or self._plan.new_epoch):
            return epoch_of_trace
        self._last_epoch = max(self._epoch_clock(), self._last_epoch + 1)
        return self._last_epoch

    def _send(self, stream: _Stream, seq: int, data: bytes, records: bytes) -> None:
        stream.last_seq = seq
        sender = stream.sender
        self._current = sender
        if seq <= sender.state.acked:
            self.sent.already_there += 1
            return
        if self._plan.speed is not None and records:
            ts_ns = int.from_bytes(records[:8], "little")
            if self._pace_from is None:
                self._pace_from = ts_ns, self._clock()
            first_ns, started = self._pace_from
            sender.wait_until(started + (ts_ns - first_ns) / 1e9 / self._plan.speed)
        events = len(records) // RECORD_SIZE
        sender.send(seq, data, events)
        self.sent.batches += 1
        self.sent.events += events
        self._progress(self.sent, self._size)

    def _finish(self, stream: _Stream) -> None:
        """Wait for the last acknowledgement of the epoch."""
        sender = stream.sender
        sender.flush()
        if sender.state.acked > stream.last_seq:
            raise PfmemdError(
                f"the daemon has {sender.state.acked} batches of {sender.state.source}, epoch"
                f" {sender.state.epoch}; this trace ends after {stream.last_seq}, so it is not the"
                " one that was sent before (--new-epoch sends it as a new life)"
            )

    def _await_input(self, fd: int) -> None:
        """Tend the connections while a pipe has nothing to read."""
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return
        while True:
            if self._interrupted():
                raise InterruptedSendError("interrupted")
            if self._current is None:
                if select.select([fd], [], [], TURN)[0]:
                    return
                continue
            if self._current.wait_readable(fd):
                return
            for stream in self._streams.values():
                stream.sender.turn(0)


def _cut(records: bytes, batch_events: int | None) -> Iterator[bytes]:
    size = (batch_events or max(1, len(records) // RECORD_SIZE)) * RECORD_SIZE
    for at in range(0, max(1, len(records)), size):
        yield records[at : at + size]
