"""What a folder gives back is what was there, or a refusal that says why."""

from __future__ import annotations

import re
from random import Random

import pytest

from daemon.journal.errors import CorruptJournalError
from daemon.journal.layout import SEGMENT_HEADER_SIZE, segment_name
from daemon.recovery import RecoveryError
from daemon.snapshots import snapshot_name
from daemon.sources import ModelFaultError, ModelledMachine
from tests.daemon.fakes import (
    VARIANTS,
    FailingMachine,
    allocations,
    events_batch,
    header_batch,
    mark,
)
from tests.daemon.storages import Life
from tests.simulation.disk import Disk, Inode
from tests.simulation.world import HashImages


@pytest.fixture
def disk() -> Disk:
    """A disk."""
    return Disk(Random(1))


def first_life(disk: Disk, **rules: object) -> Life:
    """Two sources, five batches."""
    life = Life(disk, **rules)
    life.offer(header_batch("a"), events_batch(2, allocations(3) + mark(1), source="a"))
    life.offer(header_batch("b"), events_batch(3, allocations(2, 9), source="a"))
    life.offer(events_batch(2, allocations(1), source="b"))
    return life


def test_empty_folder_begins_anew(disk: Disk) -> None:
    """Nothing is there, so nothing is known, and a journal begins."""
    life = Life(disk)

    assert {} == life.digests()
    assert [segment_name(1)] == list(disk.names)


def test_journal_alone_gives_everything_back(disk: Disk) -> None:
    """Machines, positions and counters are those of the life before."""
    first = first_life(disk)

    second = Life(disk)

    assert first.digests() == second.digests()
    assert 5 == second.storage.recovered.batches
    assert 7 == second.storage.recovered.events


def test_snapshot_spares_what_was_before_it(disk: Disk) -> None:
    """Only the journal's tail is read again, and the result is the same."""
    first = first_life(disk)
    first.snapshot()
    first.offer(events_batch(4, allocations(5, 50), source="a"))

    second = Life(disk)

    assert first.digests() == second.digests()
    assert 1 == second.storage.recovered.batches
    assert 1 == second.storage.recovered.used


def test_everything_of_a_source_survives(disk: Disk) -> None:
    """Counters, phase and marks are the same from a snapshot and from the journal."""
    first = first_life(disk)
    from_journal = Life(disk)
    first.snapshot()
    from_snapshot = Life(disk)

    for life in (from_journal, from_snapshot):
        for name in ("a", "b"):
            one, other = first.engine.source(name), life.engine.source(name)
            assert one is not None
            assert other is not None
            assert one.life is not None
            assert other.life is not None
            assert (one.epoch, one.fingerprint) == (other.epoch, other.fingerprint)
            for field in ("events", "last_ts_ns", "phase", "applied_seq", "admitted_seq"):
                assert getattr(one.life, field) == getattr(other.life, field)
            for field in ("marks", "events_applied", "batches_applied", "epochs", "bytes_received"):
                assert getattr(one, field) == getattr(other, field)


def test_recovered_source_goes_on(disk: Disk) -> None:
    """The next batch is due, the last one is a repetition."""
    first_life(disk).snapshot()

    second = Life(disk)

    assert second.offer(events_batch(4, allocations(1, 70), source="a"))
    assert Life(disk).digests() == second.digests()


def test_damaged_snapshot_is_passed_over_for_the_one_before(disk: Disk) -> None:
    """Two are kept for that."""
    first = first_life(disk)
    first.snapshot()
    first.offer(events_batch(4, allocations(5, 50), source="a"))
    first.snapshot()
    disk.flip_bit(snapshot_name(2))

    second = Life(disk)

    assert first.digests() == second.digests()
    assert (1, 1) == (second.storage.recovered.used, second.storage.recovered.damaged_snapshots)


def test_without_a_good_snapshot_the_whole_journal_is_read(disk: Disk) -> None:
    """As long as it reaches back to its beginning, nothing is lost."""
    first = first_life(disk)
    first.snapshot()
    disk.flip_bit(snapshot_name(1))

    second = Life(disk)

    assert first.digests() == second.digests()
    assert second.storage.recovered.used is None


class OtherCode(HashImages):
    """A program whose machines look otherwise."""

    def restore(self, machine: ModelledMachine, image: bytes) -> None:
        """Refuse, as allocator.snapshot does."""
        del machine, image
        raise ValueError("the snapshot was made by another version of the model")


def test_journal_without_its_beginning_needs_a_snapshot(disk: Disk) -> None:
    """What cannot be given back is refused with the reasons and the way out."""
    first = first_life(disk, segment_bytes=SEGMENT_HEADER_SIZE + 1, retention_bytes=0)
    first.snapshot()
    first.offer(events_batch(4, allocations(5, 50), source="a"))
    first.snapshot()
    assert segment_name(1) not in disk.names

    with pytest.raises(RecoveryError) as caught:
        Life(disk, images=OtherCode())

    text = str(caught.value)
    assert "the journal begins only with journal-0000000003" in text
    assert f"{snapshot_name(2)}: the snapshot was made by another version of the model" in text
    assert "--new-epoch" in text


def test_other_variants_are_made_from_the_journal(disk: Disk) -> None:
    """A snapshot that lacks a variant is of no use, the whole journal has everything."""
    first = Life(disk, variants=VARIANTS[:1])
    first.offer(header_batch("a"), events_batch(2, allocations(3), source="a"))
    first.snapshot()

    second = Life(disk, variants=VARIANTS)

    assert first.digests()["a"] == second.digests()["a"][:1]
    assert second.storage.recovered.used is None


def test_fewer_variants_are_taken_from_the_snapshot(disk: Disk) -> None:
    """What the snapshot has beyond the wanted variants is left out."""
    first = first_life(disk)
    first.snapshot()

    second = Life(disk, variants=VARIANTS[1:])

    assert first.digests()["a"][1:] == second.digests()["a"]
    assert 1 == second.storage.recovered.used


def test_damage_in_the_middle_is_refused_with_its_place(disk: Disk) -> None:
    """It is never skipped: everything after it would be wrong."""
    first_life(disk)
    disk.names[segment_name(1)].cached[SEGMENT_HEADER_SIZE + 60] ^= 1

    with pytest.raises(
        CorruptJournalError,
        match=re.escape(f"is damaged: {segment_name(1)}, byte {SEGMENT_HEADER_SIZE}: the checksum"),
    ):
        Life(disk)


def test_journal_that_has_lost_its_end_is_refused(disk: Disk) -> None:
    """A snapshot proves how far it went."""
    first = first_life(disk)
    first.snapshot()
    del disk.names[segment_name(1)].cached[-10:]

    with pytest.raises(CorruptJournalError, match="continues here, but the journal is not there"):
        Life(disk)


def test_snapshots_without_a_journal_are_refused(disk: Disk) -> None:
    """Somebody has removed it: what came after the snapshot is gone."""
    first_life(disk).snapshot()
    del disk.names[segment_name(1)]

    with pytest.raises(CorruptJournalError):
        Life(disk)


def test_snapshot_of_another_journal_is_of_no_use(disk: Disk) -> None:
    """Files of two folders are not mixed."""
    first = first_life(disk)
    first.storage.journal.id = bytes(16)
    first.snapshot()

    second = Life(disk)

    assert first.digests() == second.digests()
    assert second.storage.recovered.used is None


def test_what_a_crash_left_of_a_snapshot_is_removed(disk: Disk) -> None:
    """It has no name that counts."""
    first_life(disk)
    disk.names["snapshot-0000000001.part"] = Inode()

    Life(disk)

    assert [segment_name(1)] == list(disk.names)


def test_bounds_of_today_do_not_refuse_what_was_taken_yesterday(disk: Disk) -> None:
    """A lower limit on sources holds for new ones only."""
    first = first_life(disk)

    second = Life(disk, max_sources=1)

    assert first.digests() == second.digests()
    assert not second.engine.has_room_for(frozenset({"c"}))


def test_progress_is_told(disk: Disk) -> None:
    """After each group, how far it is."""
    first_life(disk)
    size = len(disk.names[segment_name(1)].cached)

    second = Life(disk)

    assert 3 == len(second.seen)
    recovered = second.storage.recovered
    assert recovered.bytes_total == recovered.bytes_done == size - SEGMENT_HEADER_SIZE


def test_batch_that_a_model_fails_at_is_named_with_the_ways_out(disk: Disk) -> None:
    """It fails at every start; without that model the daemon is there again."""
    Life(disk).offer(header_batch("a"), events_batch(2, allocations(1, 13), source="a"))

    with pytest.raises(
        ModelFaultError,
        match=r"the model slub-seed failed in batch 2 .*: leave that --variant out, or start anew",
    ):
        Life(disk, machines=FailingMachine)

    without = Life(disk, machines=FailingMachine, variants=VARIANTS[:1])
    source = without.engine.source("a")
    assert source is not None
    assert 2 == source.position(5)
