"""Attempts at pages that ignored watermarks: the machine's beside the model's, and why not both.

An attempt is a call of ``get_page_from_freelist``, whether it came to anything. The two
are held against each other in windows of time, for the model makes its own at the
record of what the machine printed some time after its attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from allocator.gfp import FLAVOURS
from tracegen.kernel_trace.gfp_text import FLAVOUR
from tracegen.truth.ground_truth import Attempt

WINDOW_NS: Final = 2_000_000

HIGHER: Final = "the model had free pages above min"
ELSEWHERE: Final = "the model had pages free there that the machine had in another zone"
AT_HAND: Final = "the model needed no page: its slab or list had one"
NOT_TRACED: Final = "nothing in the trace entitles the caller"
LOWER: Final = "the machine had free pages above min"
NOT_NEEDED: Final = "the machine needed no page, or got it before its watermark fell"

_MEMALLOC: Final = FLAVOURS[FLAVOUR]["__GFP_MEMALLOC"]


@dataclass(slots=True)
class Window:
    """A short time in which the machine ignored watermarks."""

    begin_ns: int
    end_ns: int
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(slots=True)
class AttemptCount:
    """What it came to over a trace."""

    machine: int = 0
    model: int = 0
    both: int = 0
    machine_below_min: int = 0
    """Attempts of any kind that began with the preferred zone below min."""
    model_below_min: int = 0
    machine_only: Counter[str] = field(default_factory=Counter)
    """By why the model made none."""
    model_only: Counter[str] = field(default_factory=Counter)
    """By why the machine made none."""

    def window(
        self, window: Window, model: int, below_min: dict[str, bool], *, elsewhere: bool
    ) -> None:
        """Take a window in which the model made so many.

        ``below_min`` says of each zone whether the model was below min there as it began;
        ``elsewhere``, that at the last reading it had pages there which the machine had in
        another zone.
        """
        both = min(len(window.attempts), model)
        self.both += both
        for attempt in window.attempts[both:]:
            visible = attempt.gfp & _MEMALLOC or attempt.comm.startswith("kswapd")
            if not below_min.get(attempt.zone, False):
                why = ELSEWHERE if elsewhere else HIGHER
            else:
                why = AT_HAND if visible else NOT_TRACED
            self.machine_only[why] += 1
        if model > both:
            self.model_only[NOT_NEEDED] += model - both

    def outside(self, model: int, *, machine_below_min: bool) -> None:
        """Take a time without a window, in which the model made so many."""
        if model:
            self.model_only[NOT_NEEDED if machine_below_min else LOWER] += model


def windows(attempts: Sequence[Attempt], begin_ns: int, end_ns: int) -> list[Window]:
    """The windows between two times, none of which touches another."""
    found: list[Window] = []
    for attempt in attempts:
        if not attempt.ignores_watermarks or not begin_ns <= attempt.ts_ns <= end_ns:
            continue
        if not found or attempt.ts_ns >= found[-1].end_ns:
            found.append(Window(attempt.ts_ns, attempt.ts_ns + WINDOW_NS))
        found[-1].attempts.append(attempt)
    return found
