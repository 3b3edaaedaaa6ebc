"""The intake: written down before applied, all or nothing when there is no room."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from daemon.health import Health
from daemon.intake import GROUP_BATCHES, RETRY_SECONDS, Intake
from daemon.journal.writer import Journal
from daemon.sources import ModelFaultError
from tests.daemon.fakes import (
    FailingMachine,
    Machines,
    allocations,
    events_batch,
    header_batch,
    new_engine,
)
from tests.daemon.storages import Life
from tests.simulation.disk import Disk
from tracegen.batch import encode


@pytest.fixture
def disk() -> Disk:
    """A disk."""
    return Disk(Random(1))


def test_memory_alone_takes_a_group() -> None:
    """Without a storage a group is applied, and nothing else."""
    engine = new_engine()
    intake = Intake(engine, None, Health())
    for batch in (header_batch(), events_batch(2, allocations(3))):
        intake.admit(batch, encode(batch))
    assert () == engine.read().sources

    assert intake.commit()

    assert 3 == engine.read().sources[0].life.events


def test_group_is_full_by_number_and_by_size() -> None:
    """Whoever feeds commits then."""
    intake = Intake(new_engine(), None, Health())
    intake.admit(header_batch(), b"x" * 100)
    for seq in range(2, GROUP_BATCHES):
        intake.admit(events_batch(seq, b""), b"")
    full = [intake.full]
    intake.admit(events_batch(GROUP_BATCHES, b""), b"")
    full.append(intake.full)
    intake.commit()
    full.append(intake.full)
    intake.admit(events_batch(GROUP_BATCHES + 1, b""), bytes(1 << 20))
    full.append(intake.full)

    assert [False, True, False, True] == full


def test_group_is_written_before_it_is_applied(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the models see it the journal has it; when commit returns it is safe."""
    life = Life(disk)
    order: list[str] = []

    def noting(name: str, method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            order.append(name)
            return method(*arguments)

        return call

    monkeypatch.setattr(Journal, "append", noting("append", Journal.append))
    monkeypatch.setattr(Journal, "wait_until_safe", noting("safe", Journal.wait_until_safe))
    monkeypatch.setattr(life.engine, "apply", noting("apply", life.engine.apply))
    life.offer(header_batch(), events_batch(2, allocations(1)))

    assert ["append", "apply", "apply", "safe"] == order


class TestNoRoom:
    """A full disk."""

    @pytest.fixture
    def life(self, disk: Disk) -> Life:
        """A daemon whose disk has just become full."""
        life = Life(disk)
        life.offer(header_batch(), events_batch(2, allocations(3)))
        disk.capacity = disk.used + 10
        return life

    def test_group_is_as_if_it_had_never_come(self, life: Life, disk: Disk) -> None:
        """Nothing of it is applied, and the same batches can come again."""
        before = life.digests()
        group = (events_batch(3, allocations(1, 9)), events_batch(4, allocations(1, 10)))

        assert not life.offer(*group)

        assert before == life.digests()
        disk.capacity = 1 << 30
        assert life.offer(*group)

    def test_new_source_and_new_epoch_are_taken_back(self, life: Life, disk: Disk) -> None:
        """A header that could not be written opens nothing."""
        assert not life.offer(header_batch("b"), header_batch("a", epoch=6))

        assert life.engine.source("b") is None
        source = life.engine.source("a")
        assert source is not None
        assert 5 == source.epoch
        disk.capacity = 1 << 30
        assert life.offer(header_batch("b"), events_batch(3, allocations(1, 9)))

    def test_it_is_blocked_until_there_is_room(self, life: Life, disk: Disk) -> None:
        """Health says why; after a while the disk is looked at again."""
        life.offer(events_batch(3, allocations(1, 9)))
        assert "No space left on device" in str(life.intake.blocked)
        assert life.health.not_ready is not None

        assert not life.intake.turn()
        life.now = RETRY_SECONDS
        assert not life.intake.turn()
        disk.capacity = 1 << 30
        assert not life.intake.turn()  # it has just been looked at
        life.now = 2 * RETRY_SECONDS
        assert life.intake.turn()

        assert life.intake.blocked is None
        assert not life.intake.turn()


def test_stop_between_batches_loses_nothing(disk: Disk) -> None:
    """What was written and not applied is there at the next start; no snapshot denies it."""
    life = Life(disk)
    life.offer(header_batch())
    life.snapshot()
    stops = iter((False, True))
    life.intake._stopping = lambda: next(stops)

    life.offer(events_batch(2, allocations(1)), events_batch(3, allocations(1, 2)))

    source = life.engine.source("a")
    assert source is not None
    assert 2 == source.position(5)
    life.intake.close()
    assert 1 == life.storage.snapshots.taken
    source = Life(disk).engine.source("a")
    assert source is not None
    assert 3 == source.position(5)


def test_no_snapshot_is_taken_of_models_that_failed(disk: Disk) -> None:
    """Nobody knows what they hold; the journal does."""
    life = Life(disk)
    life.offer(header_batch())
    life.snapshot()
    life.engine._machine_factory = Machines(FailingMachine)
    life.offer(header_batch(epoch=6))

    with pytest.raises(ModelFaultError):
        life.offer(events_batch(2, allocations(1, 13), epoch=6))
    life.intake.close()

    assert 1 == life.storage.snapshots.taken
