"""Where generated batches go: a trace file, or a daemon, one connection for each source."""

from __future__ import annotations

import time
from collections.abc import Callable

from tracegen.batch import EventBatch, HeaderBatch, encode
from tracegen.keys import SenderKeys
from tracegen.protocol import Answer
from tracegen.sender import Sender
from tracegen.trace_file import TraceWriter


class Metronome:
    """Real time against simulated time: a factor, or None for as fast as it goes."""

    def __init__(
        self,
        factor: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._factor = factor
        self._clock = clock
        self._sleep = sleep
        self._started = clock()

    def moment(self, seconds: float) -> float | None:
        """When, by the clock, so many simulated seconds are due; None if there is no pace."""
        return None if self._factor is None else self._started + seconds / self._factor

    def wait(self, seconds: float, interrupted: Callable[[], bool]) -> None:
        """Sleep until so many simulated seconds are due."""
        moment = self.moment(seconds)
        while moment is not None and (left := moment - self._clock()) > 0 and not interrupted():
            self._sleep(min(left, 0.25))


class FileSink:
    """A trace file, or standard output."""

    def __init__(
        self, writer: TraceWriter, metronome: Metronome, interrupted: Callable[[], bool]
    ) -> None:
        self._writer = writer
        self._metronome = metronome
        self._interrupted = interrupted

    def open(self, batch: HeaderBatch) -> None:
        """Begin a life of a source."""
        self._writer.write(batch)

    def send(self, batch: EventBatch) -> None:
        """Append a batch."""
        self._writer.write(batch)

    def wait_until(self, seconds: float) -> None:
        """Let real time pass."""
        self._metronome.wait(seconds, self._interrupted)


class DaemonSink:
    """A daemon, through a :class:`~tracegen.sender.Sender` for each source.

    ``answers`` is the variant whose answers are wanted to each batch, if any.
    """

    def __init__(
        self,
        url: str,
        metronome: Metronome,
        *,
        timeout: float | None,
        keys: SenderKeys | None,
        interrupted: Callable[[], bool],
        answers: str = "",
    ) -> None:
        self._url = url
        self._answers = answers
        self._metronome = metronome
        self._timeout = timeout
        self._keys = keys
        self._interrupted = interrupted
        self._senders: dict[str, Sender] = {}

    def open(self, batch: HeaderBatch) -> Answer | None:
        """Begin a life of a source, when the one before is acknowledged; the answer, if wanted."""
        sender = self._senders.get(batch.source)
        if sender is None:
            sender = self._senders[batch.source] = Sender(
                self._url,
                batch.source,
                timeout=self._timeout,
                keys=self._keys,
                agent="pfmemd generate",
                answers=self._answers,
                interrupted=self._interrupted,
            )
        else:
            sender.flush()
        data = encode(batch)
        sender.open(batch.epoch, data)
        return self._hand_over(sender, batch.seq, data, 0)

    def send(self, batch: EventBatch) -> Answer | None:
        """Hand a batch over, waiting for credit, or for the answer if answers are wanted."""
        sender = self._senders[batch.source]
        return self._hand_over(sender, batch.seq, encode(batch), batch.events)

    def _hand_over(self, sender: Sender, seq: int, data: bytes, events: int) -> Answer | None:
        if self._answers:
            return sender.ask(seq, data, events)
        sender.send(seq, data, events)
        return None

    def wait_until(self, seconds: float) -> None:
        """Tend every connection; let real time pass."""
        first, *others = self._senders.values()
        for sender in others:
            sender.turn(0)
        moment = self._metronome.moment(seconds)
        if moment is None:
            first.turn(0)
        else:
            first.wait_until(moment)

    def flush(self) -> None:
        """Wait until the daemon has acknowledged everything."""
        for sender in self._senders.values():
            sender.flush()

    def close(self, grace: float) -> None:
        """Let the connections go; for ``grace`` seconds the daemon may still acknowledge."""
        for sender in self._senders.values():
            sender.close(grace)
