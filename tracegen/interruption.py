"""SIGINT and SIGTERM as a question that is asked between two waits."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interruption:
    """Whether a signal has asked to stop; a second one does not wait for the question."""

    def __init__(self) -> None:
        self.signal = 0
        """The signal's number, 0 before it came."""
        self.seen = False
        """For whoever stops: that it was for the signal."""

    def requested(self) -> bool:
        """Tell whether a signal has asked to stop."""
        return self.signal != 0

    def note(self, number: int, _frame: object) -> None:
        """Take a signal."""
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def interruptible(*more: signal.Signals) -> Iterator[Interruption]:
    """Take the signals, and ``more`` of them, over while the block runs."""
    interruption = Interruption()
    numbers = (signal.SIGINT, signal.SIGTERM, *more)
    before = {number: signal.signal(number, interruption.note) for number in numbers}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
