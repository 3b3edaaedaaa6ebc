"""SIGTERM and SIGINT as a file descriptor that a poll can wait for.

A Python signal handler alone does not end a ``zmq.Poller.poll``: the call starts
its whole time-out again. A byte on a pipe does end it (``signal.set_wakeup_fd``).
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """A request to stop: by a signal while used as a context manager, or by :meth:`request`."""

    def __init__(self) -> None:
        self.requested = False
        self.fd, self._write_fd = os.pipe()
        """``fd`` becomes readable with the request and stays so."""
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._previous: dict[int, Any] = {}
        self._previous_fd = -1

    def request(self) -> None:
        """Ask for a stop without a signal."""
        self.requested = True
        os.write(self._write_fd, b"\0")

    def __enter__(self) -> Self:
        """Take over the signals; only the main thread can."""
        self._previous_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self.fd)
        os.close(self._write_fd)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True
