"""Attempts of the machine beside the model's."""

from __future__ import annotations

from tracegen.truth.attempts import (
    AT_HAND,
    ELSEWHERE,
    HIGHER,
    LOWER,
    NOT_NEEDED,
    NOT_TRACED,
    WINDOW_NS,
    AttemptCount,
    Window,
    windows,
)
from tracegen.truth.ground_truth import Attempt

MEMALLOC = 0x20000


def attempt(ts_ns: int, gfp: int = MEMALLOC, aflags: int = 4, comm: str = "app") -> Attempt:
    """One of DMA32."""
    return Attempt(ts_ns, comm, 7, ".", gfp, 0, aflags, 100, 483, "DMA32")


def test_a_window_has_what_comes_shortly_behind_its_first_attempt() -> None:
    """Only attempts that ignore watermarks, and only within the readings."""
    times = (5, 10, 11, 10 + WINDOW_NS - 1, 10 + WINDOW_NS, 99 + WINDOW_NS)
    attempts = [attempt(ts_ns) for ts_ns in times] + [attempt(12, aflags=0)]

    found = windows(sorted(attempts, key=lambda a: a.ts_ns), 10, 50 + WINDOW_NS)

    assert [(10, 3), (10 + WINDOW_NS, 1)] == [(w.begin_ns, len(w.attempts)) for w in found]


def test_what_one_of_them_alone_did_has_a_reason() -> None:
    """By where the model stood, and by what the trace shows of the caller."""
    count = AttemptCount()
    below, above = {"DMA32": True}, {"DMA32": False}

    count.window(Window(1, 9, [attempt(1), attempt(2)]), 1, below, elsewhere=False)
    count.window(Window(10, 19, [attempt(10, gfp=0)]), 0, below, elsewhere=False)
    count.window(Window(20, 29, [attempt(20, gfp=0, comm="kswapd0")]), 0, above, elsewhere=False)
    count.window(Window(30, 39, [attempt(30)]), 0, above, elsewhere=True)
    count.window(Window(40, 49, [attempt(40)]), 3, below, elsewhere=False)
    count.outside(4, machine_below_min=False)
    count.outside(5, machine_below_min=True)
    count.outside(0, machine_below_min=True)

    assert 2 == count.both
    assert {AT_HAND: 1, NOT_TRACED: 1, HIGHER: 1, ELSEWHERE: 1} == count.machine_only
    assert {NOT_NEEDED: 7, LOWER: 4} == count.model_only
