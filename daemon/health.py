"""What /healthz and /readyz say: whether the main loop turns, and whether batches are taken."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

STUCK_SECONDS: Final = 30.0
"""A main loop that has not turned for so long is stuck. The longest turn applies one
group of batches; its largest takes seconds on many interpreted models."""


class Health:
    """Written by the main loop, read by the HTTP workers; each field is one assignment."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turned_at = clock()
        self.waiting_for: str | None = "starting"
        """Why no batches are taken yet, or any more; None when they are."""
        self.blocked: str | None = None
        """Why no batches can be taken for now, though everything runs."""

    def turn(self) -> None:
        """The main loop has come round."""
        self._turned_at = self._clock()

    def take_time(self) -> None:
        """Something begins that may take long: the next turn may be long in coming."""
        self._turned_at = math.inf

    @property
    def not_ready(self) -> str | None:
        """Why batches are not taken now, or None."""
        return self.waiting_for or self.problem() or self.blocked

    def problem(self) -> str | None:
        """What is wrong with the process, or None."""
        age = self._clock() - self._turned_at
        if age < STUCK_SECONDS:
            return None
        return f"the main loop has not turned for {age:.0f} s"
