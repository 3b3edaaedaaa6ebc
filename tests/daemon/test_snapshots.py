"""A snapshot file is whole or it is no snapshot."""

from __future__ import annotations

from random import Random

import pytest

from daemon.journal.layout import Position
from daemon.snapshots import (
    Snapshot,
    SnapshotFileError,
    generations,
    position_of,
    read_snapshot,
    remove_unfinished,
    snapshot_name,
    write_snapshot,
)
from daemon.sources import SourceImage
from tests.simulation.disk import Crash, Disk, SimulatedFolder

NAME = snapshot_name(3)


def image(name: str = "a") -> SourceImage:
    """A source with two machines."""
    return SourceImage(
        name=name,
        header=b"header",
        applied_seq=7,
        events=70,
        last_ts_ns=(1 << 64) - 1,
        phase=None,
        events_applied=100,
        batches_applied=9,
        bytes_received=1234,
        epochs=2,
        last_batch_at=1.5,
        marks={"outage": 2},
        machines={"slab-seed": b"slab" * 10, "slub-seed": b""},
    )


SNAPSHOT = Snapshot(bytes(range(16)), Position(4, 567), 99, "1.2.3", (image("a"), image("b")))


@pytest.fixture
def disk() -> Disk:
    """A disk that forgets."""
    return Disk(Random(1))


@pytest.fixture
def folder(disk: Disk) -> SimulatedFolder:
    """A folder on it."""
    return SimulatedFolder(disk)


def test_snapshot_comes_back_as_it_was(folder: SimulatedFolder) -> None:
    """Sources, counters, machines and place survive; the size is the file's."""
    size = write_snapshot(folder, 3, SNAPSHOT)

    assert [NAME] == folder.names()
    assert size == folder.size(NAME)
    assert SNAPSHOT == read_snapshot(folder, NAME)
    assert SNAPSHOT.position == position_of(folder, NAME)


def test_newest_generation_comes_first(folder: SimulatedFolder) -> None:
    """Names that are not of a whole snapshot do not count."""
    for generation in (9, 10, 2):
        write_snapshot(folder, generation, SNAPSHOT)
    folder.create(snapshot_name(11) + ".part")

    assert [10, 9, 2] == generations(folder)
    remove_unfinished(folder)
    assert [snapshot_name(n) for n in (2, 9, 10)] == folder.names()


def test_every_cut_and_every_flipped_bit_is_seen(disk: Disk, folder: SimulatedFolder) -> None:
    """There is no damage that reads as a snapshot."""
    write_snapshot(folder, 3, SNAPSHOT)
    inode = disk.names[NAME]
    data = bytes(inode.cached)
    for size in range(len(data)):
        inode.cached = bytearray(data[:size])
        with pytest.raises(SnapshotFileError):
            read_snapshot(folder, NAME)
    for at in range(len(data)):
        inode.cached = bytearray(data)
        inode.cached[at] ^= 1 << at % 8
        with pytest.raises(SnapshotFileError):
            read_snapshot(folder, NAME)
    inode.cached = bytearray(data) + b"x"
    with pytest.raises(SnapshotFileError, match="1 bytes follow"):
        read_snapshot(folder, NAME)


def test_a_crash_leaves_no_half_snapshot(disk: Disk, folder: SimulatedFolder) -> None:
    """After losing power at any step the name is there with all of it, or not there."""
    for step in range(1, 20):
        disk.names.clear()
        disk.sync_names()
        disk.crash_after(step)
        try:
            write_snapshot(folder, 3, SNAPSHOT)
        except Crash:
            disk.lose_power()
            if NAME in folder.names():
                assert SNAPSHOT == read_snapshot(folder, NAME)
            continue
        break

    disk.crash_at = None
    disk.lose_power()
    assert SNAPSHOT == read_snapshot(folder, NAME)


def test_snapshot_that_does_not_fit_leaves_nothing(disk: Disk, folder: SimulatedFolder) -> None:
    """A full disk is told to the caller, and its half of a file is removed."""
    disk.capacity = 100

    with pytest.raises(OSError, match="No space left"):
        write_snapshot(folder, 3, SNAPSHOT)
    assert [] == folder.names()


def test_missing_snapshot_is_told_like_a_damaged_one(folder: SimulatedFolder) -> None:
    """Whoever looks for a good one goes on to the next."""
    with pytest.raises(SnapshotFileError, match="cannot be read: No such file"):
        read_snapshot(folder, NAME)
