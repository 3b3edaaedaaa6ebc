"""A trace instead of a socket: every batch of a file or a pipe, in order, into the engine."""

from __future__ import annotations

import select
from typing import Final

from daemon.health import Health
from daemon.intake import Intake
from daemon.stop_signal import StopSignal
from tracegen.errors import BatchError
from tracegen.limits import BatchLimits
from tracegen.trace_file import Entry, TraceReader

POLL_MS: Final = 1000
"""How often the main loop turns while a pipe has nothing to give."""


class _StoppedReadingError(Exception):
    """A stop was asked for while the trace was waited for."""


class TraceFeed:
    """Reads a trace and has the intake take it, group by group."""

    def __init__(
        self, path: str, limits: BatchLimits, intake: Intake, health: Health, stop: StopSignal
    ) -> None:
        """Open ``path`` (``-`` is standard input); raises UnreadableError."""
        self._intake = intake
        self._health = health
        self._stop = stop
        self._group: list[Entry] = []
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
            self._intake.engine.connected = frozenset()
        return not self._stop.requested

    def _apply_all(self) -> None:
        try:
            for entry in self._reader:
                self._health.turn()
                self._admit(entry)
                self._group.append(entry)
                if self._intake.full:
                    self._commit()
                if self._stop.requested:
                    return
        finally:
            self._commit()

    def _admit(self, entry: Entry) -> None:
        """Have the engine decide; a refusal says where in the trace it is."""
        try:
            self._intake.admit(entry.batch, entry.data)
        except BatchError as error:
            raise error.at(batch=entry.number, start=entry.offset, file=self._reader.name) from None

    def _commit(self) -> None:
        """Have the group carried out, however long there is no room for it."""
        group, self._group = self._group, []
        while not self._intake.commit():
            while not self._intake.turn():
                self._wait(self._stop.fd)
            for entry in group:
                self._admit(entry)
        self._intake.engine.connected |= {entry.batch.source for entry in group}
        self._intake.turn()

    def _wait_for_input(self, fd: int) -> None:
        """Wait until ``fd`` can be read, and leave when a stop is asked for."""
        self._commit()  # what a pipe has given is applied before more is waited for
        while fd not in self._wait(fd):
            self._intake.turn()

    def _wait(self, fd: int) -> list[int]:
        """Wait a while for ``fd``; which of it and the stop signal can be read."""
        if self._stop.requested:
            raise _StoppedReadingError
        self._health.turn()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._stop.fd, select.POLLIN)
        return [ready for ready, _ in poll.poll(POLL_MS)]
