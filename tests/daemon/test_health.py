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


def test_what_takes_long_is_no_problem() -> None:
    """A recovery reads large machines in one go; from its first turn on it is watched again."""
    now = 100.0
    health = Health(lambda: now)
    health.take_time()
    now += 10 * STUCK_SECONDS
    assert health.problem() is None

    health.turn()
    now += STUCK_SECONDS
    assert health.problem() is not None


def test_full_disk_is_not_ready() -> None:
    """The process is well, and takes nothing."""
    health = Health()
    health.waiting_for = None
    assert health.not_ready is None

    health.blocked = "no room"

    assert health.not_ready == "no room"
