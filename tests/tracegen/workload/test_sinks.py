"""Real time against simulated time."""

from __future__ import annotations

import pytest

from tracegen.workload.sinks import Metronome


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds


def test_simulated_time_passes_as_real_time_at_1x() -> None:
    """In short sleeps, so that a signal is noticed."""
    clock = Clock()
    metronome = Metronome(1.0, clock, clock.sleep)

    metronome.wait(1.0, lambda: False)

    assert 101.0 == pytest.approx(clock.now)
    assert max(clock.slept) <= 0.25


@pytest.mark.parametrize(("factor", "real"), [(2.0, 0.5), (0.1, 10.0), (None, 0.0)])
def test_a_factor_makes_it_faster_or_slower(factor: float | None, real: float) -> None:
    """None is as fast as it goes."""
    clock = Clock()
    metronome = Metronome(factor, clock, clock.sleep)

    metronome.wait(1.0, lambda: False)

    assert real == pytest.approx(clock.now - 100.0)


def test_a_signal_ends_a_wait() -> None:
    """After the sleep in which it came."""
    clock = Clock()
    metronome = Metronome(1.0, clock, clock.sleep)

    metronome.wait(60.0, lambda: clock.now > 100.5)

    assert 100.75 == pytest.approx(clock.now)


def test_who_is_late_does_not_wait() -> None:
    """The moments are counted from the start, so that lateness is made up for."""
    clock = Clock()
    metronome = Metronome(1.0, clock, clock.sleep)
    clock.now += 5.0

    metronome.wait(1.0, lambda: False)

    assert [] == clock.slept
