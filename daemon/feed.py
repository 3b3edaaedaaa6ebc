"""A trace instead of a socket: every batch of a file or a pipe, in order, into the engine."""

from __future__ import annotations

import select
from typing import Final

from daemon.engine import Engine
from daemon.health import Health
from daemon.sources import Admitted, Verdict
from daemon.stop_signal import StopSignal
from tracegen.errors import BatchError
from tracegen.limits import BatchLimits
from tracegen.trace_file import Entry, TraceReader

POLL_MS: Final = 1000
"""How often the main loop turns while a pipe has nothing to give."""


class _StoppedReadingError(Exception):
    """A stop was asked for while the trace was waited for."""


class TraceFeed:
    """Reads a trace and has the engine apply it, batch by batch."""

    def __init__(
        self, path: str, limits: BatchLimits, engine: Engine, health: Health, stop: StopSignal
    ) -> None:
        """Open ``path`` (``-`` is standard input); raises UnreadableError."""
        self._engine = engine
        self._health = health
        self._stop = stop
        # The engine checks the events itself.
        self._reader = TraceReader(
            path, limits=limits, check_events=False, before_read=self._wait_for_input
        )

    def run(self) -> bool:
        """Apply the trace; False if a stop was asked for before its end.

        Raises :class:`BatchError` at the first bad batch, which says where it stands;
        everything before it is applied.
        """
        try:
            with self._reader:
                self._apply_all()
        except _StoppedReadingError:
            return False
        finally:
            self._engine.connected = frozenset()
        return not self._stop.requested

    def _apply_all(self) -> None:
        for entry in self._reader:
            self._health.turn()
            verdict = self._admit(entry)
            if isinstance(verdict, Admitted):
                self._engine.apply(verdict)
                self._engine.connected |= {entry.batch.source}
            if self._stop.requested:
                return

    def _admit(self, entry: Entry) -> Admitted | Verdict:
        """Have the engine decide; a refusal says where in the trace it is."""
        try:
            return self._engine.admit(entry.batch, entry.data)
        except BatchError as error:
            raise error.at(batch=entry.number, start=entry.offset, file=self._reader.name) from None

    def _wait_for_input(self, fd: int) -> None:
        """Wait until ``fd`` can be read, and leave when a stop is asked for."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._stop.fd, select.POLLIN)
        while not self._stop.requested:
            self._health.turn()
            if any(ready == fd for ready, _ in poll.poll(POLL_MS)):
                return
        raise _StoppedReadingError
