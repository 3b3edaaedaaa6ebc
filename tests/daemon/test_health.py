"""Health tells whether the main loop turns."""

from __future__ import annotations

from daemon.health import STUCK_SECONDS, Health


def test_loop_that_turns_is_healthy() -> None:
    """A turn within the limit is no problem; none for longer is, with its age."""
    now = 100.0
    health = Health(lambda: now)
    now += STUCK_SECONDS - 1
    assert health.problem() is None
    now += 2

    assert health.problem() == "the main loop has not turned for 31 s"

    health.turn()
    assert health.problem() is None


def test_not_ready_before_the_start() -> None:
    """Until somebody says otherwise, no batches are taken."""
    assert Health().waiting_for == "starting"
