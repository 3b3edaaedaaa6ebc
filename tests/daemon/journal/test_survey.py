"""A journal is looked through while its daemon goes on writing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from daemon.journal.survey import survey
from tests.daemon.fakes import allocations, events_batch, header_batch
from tests.daemon.storages import Life
from tests.simulation.disk import Disk, SimulatedFile, SimulatedFolder


class Interrupted(SimulatedFolder):
    """Something happens in the folder just before a file of some name is opened."""

    def __init__(self, disk: Disk, name: str, event: Callable[[], None]) -> None:
        super().__init__(disk)
        self._event = name, event

    def open(self, name: str) -> SimulatedFile:
        """Open; the event happens once."""
        prefix, event = self._event
        if name.startswith(prefix):
            self._event = "none", event
            event()
        return super().open(name)


def test_snapshot_taken_meanwhile_is_not_held_against_what_was_read() -> None:
    """It lies behind the end that the journal had when it was looked at."""
    disk = Disk(Random(1))
    life = Life(disk)
    life.offer(header_batch(), events_batch(2, allocations(2)))
    life.snapshot()

    def write_on() -> None:
        life.offer(events_batch(3, allocations(3, 10)))
        life.snapshot()

    found = survey(Interrupted(disk, "journal", write_on), deep=True)

    assert [None] == [one.trouble for one in found.snapshots]


def test_snapshot_removed_meanwhile_is_no_damaged_one() -> None:
    """A daemon keeps two, and removes the oldest when it has a third."""
    disk = Disk(Random(1))
    life = Life(disk)
    life.offer(header_batch())
    life.snapshot()
    life.offer(events_batch(2, allocations(2)))
    life.snapshot()

    def go_on() -> None:
        life.offer(events_batch(3, allocations(3, 10)))
        life.snapshot()

    found = survey(Interrupted(disk, "snapshot", go_on), deep=True)

    assert ["snapshot-0000000002"] == [one.name for one in found.snapshots]
