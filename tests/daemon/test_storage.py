"""When snapshots are taken, and what is removed after them."""

from __future__ import annotations

from random import Random

import pytest

from daemon.journal.layout import SEGMENT_HEADER_SIZE, segment_name
from daemon.snapshots import snapshot_name
from daemon.storage import LAST_SECONDS, RETRY_SECONDS, SHARE
from tests.daemon.fakes import allocations, events_batch, header_batch
from tests.daemon.storages import Life
from tests.simulation.disk import Disk


@pytest.fixture
def disk() -> Disk:
    """A disk."""
    return Disk(Random(1))


def snapshots(disk: Disk) -> list[str]:
    """The snapshots that are there."""
    return sorted(name for name in disk.names if name.startswith("snapshot"))


def turn(life: Life) -> None:
    """Let it begin what is due, and see it finished."""
    life.storage.turn(life.engine)
    life.storage.turn(life.engine)


def test_snapshot_is_taken_after_its_interval(disk: Disk) -> None:
    """Not before, and only if something was written since the last one."""
    life = Life(disk, interval_seconds=60.0)
    life.offer(header_batch())
    life.now = 59.0
    turn(life)
    assert [] == snapshots(disk)

    life.now = 60.0
    turn(life)
    assert [snapshot_name(1)] == snapshots(disk)

    life.now = 500.0
    turn(life)
    assert 1 == life.storage.snapshots.taken


def test_snapshot_is_taken_when_the_journal_has_grown(disk: Disk) -> None:
    """It bounds what a start has to read."""
    life = Life(disk, interval_seconds=60.0, journal_bytes=2000)
    life.offer(header_batch())
    turn(life)
    assert [] == snapshots(disk)

    life.offer(events_batch(2, allocations(60)))
    turn(life)

    assert [snapshot_name(1)] == snapshots(disk)


def test_what_a_start_had_to_read_counts_as_grown(disk: Disk) -> None:
    """Else a daemon that is killed again and again would read more each time."""
    Life(disk).offer(header_batch(), events_batch(2, allocations(60)))

    life = Life(disk, journal_bytes=2000)
    turn(life)

    assert [snapshot_name(1)] == snapshots(disk)


def test_snapshots_take_a_share_of_the_time_only(disk: Disk) -> None:
    """After a slow one the next one waits, however much is written."""
    life = Life(disk, journal_bytes=100)
    life.offer(header_batch())
    turn(life)
    assert 1 == life.storage.snapshots.taken
    life.storage.snapshots.seconds = 3.0
    life.storage._not_before = SHARE * 3.0
    life.offer(events_batch(2, allocations(10)))

    life.now = SHARE * 3.0 - 0.1
    turn(life)
    assert 1 == life.storage.snapshots.taken
    life.now = SHARE * 3.0
    turn(life)
    assert 2 == life.storage.snapshots.taken


def test_snapshot_that_fails_is_tried_again(disk: Disk) -> None:
    """The intake goes on meanwhile, and the older snapshot stays."""
    life = Life(disk, journal_bytes=1000)
    life.offer(header_batch(), events_batch(2, allocations(60)))
    turn(life)
    disk.capacity = disk.used + 2200
    assert life.offer(events_batch(3, allocations(60)))

    turn(life)
    assert (1, 1) == (life.storage.snapshots.taken, life.storage.snapshots.failed)
    assert [snapshot_name(1)] == snapshots(disk)

    disk.capacity = 1 << 30
    turn(life)
    assert 1 == life.storage.snapshots.taken
    life.now = RETRY_SECONDS
    turn(life)
    assert 2 == life.storage.snapshots.taken


def test_two_generations_are_kept_and_the_journal_they_need(disk: Disk) -> None:
    """The third snapshot removes the first, and the segments only that one needed."""
    life = Life(disk, segment_bytes=SEGMENT_HEADER_SIZE + 1, retention_bytes=0)
    life.offer(header_batch())
    for seq in range(2, 6):
        life.snapshot()
        life.offer(events_batch(seq, allocations(1, seq)))

    assert [snapshot_name(3), snapshot_name(4)] == snapshots(disk)
    segments = sorted(name for name in disk.names if name.startswith("journal"))
    assert [segment_name(n) for n in (3, 4, 5)] == segments


def test_generations_go_on_over_lives(disk: Disk) -> None:
    """A number is never used twice, not even that of a damaged one."""
    life = Life(disk)
    life.offer(header_batch())
    life.snapshot()
    life.snapshot()
    disk.flip_bit(snapshot_name(2))

    life = Life(disk)
    life.snapshot()

    assert [snapshot_name(1), snapshot_name(3)] == snapshots(disk)


def test_quick_snapshot_is_taken_at_the_end(disk: Disk) -> None:
    """The next start then has nothing to read."""
    life = Life(disk)
    life.offer(header_batch())
    life.snapshot()
    life.offer(events_batch(2, allocations(1)))
    life.intake.close()

    assert 0 == Life(disk).storage.recovered.batches


@pytest.mark.parametrize("seconds", [None, LAST_SECONDS + 0.1])
def test_slow_snapshot_is_left_out_of_the_end(disk: Disk, seconds: float | None) -> None:
    """A stop does not wait for it, nor for one of which nothing is known."""
    life = Life(disk)
    life.offer(header_batch())
    if seconds is not None:
        life.snapshot()
        life.storage.snapshots.seconds = seconds
        life.offer(events_batch(2, allocations(1)))
    taken = life.storage.snapshots.taken
    life.intake.close()

    assert taken == life.storage.snapshots.taken
    assert 1 == Life(disk).storage.recovered.batches
