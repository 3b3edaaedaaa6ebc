"""The engine applies each batch once, in order, to all variants or none."""

from __future__ import annotations

import threading

import pytest

from allocator.events import PAGE_FREE, RECORD_SIZE
from daemon.engine import TooManySourcesError
from daemon.reading import Reading
from daemon.sources import ModelFaultError
from tests.daemon.fakes import (
    HEADER,
    OTHER_HEADER,
    VARIANTS,
    FailingMachine,
    FakeMachine,
    Machines,
    allocations,
    events_batch,
    header_batch,
    mark,
    new_engine,
    offer,
    record,
)
from tracegen.batch import Batch, encode
from tracegen.errors import BatchError


def test_header_makes_a_machine_for_each_variant() -> None:
    """A header builds what it describes, with the caches and the gfp flavour of the trace."""
    machines = Machines()
    engine = new_engine(machines)

    assert offer(engine, header_batch()) == "applied"

    assert [m.variant for m in machines.made] == list(VARIANTS)
    assert {m.gfp_flavour for m in machines.made} == {"v3.3"}
    assert machines.made[0].config == HEADER.machine
    assert machines.made[0].caches == HEADER.caches


def test_every_variant_gets_the_same_records() -> None:
    """One batch goes to all variants of its source."""
    machines = Machines()
    engine = new_engine(machines)
    offer(engine, header_batch())

    assert offer(engine, events_batch(2, allocations(3))) == "applied"

    assert [m.applied for m in machines.made] == [[allocations(3)]] * 2


def test_duplicates_are_skipped_and_counted() -> None:
    """A batch that was applied before changes nothing, the header included."""
    machines = Machines()
    engine = new_engine(machines)
    offer(engine, header_batch())
    offer(engine, events_batch(2, allocations(3)))

    assert offer(engine, header_batch()) == "duplicate"
    assert offer(engine, events_batch(2, allocations(3))) == "duplicate"

    (source,) = engine.read().sources
    assert (3, 2, 2) == (source.life.events, source.batches_applied, source.batches_duplicate)
    assert len(machines.made[0].applied) == 1


def test_gap_is_not_applied() -> None:
    """A batch after a missing one waits for that one; then it can come again."""
    engine = new_engine()
    offer(engine, header_batch())

    assert offer(engine, events_batch(3, allocations(1, 9))) == "gap"
    assert offer(engine, events_batch(2, allocations(1))) == "applied"
    assert offer(engine, events_batch(3, allocations(1, 9))) == "applied"

    (source,) = engine.read().sources
    assert (1, 2, 3) == (source.batches_gapped, source.life.events, source.life.seq)


def test_events_without_a_header_are_a_gap() -> None:
    """What is missing then is the header: it is asked for again, nothing is made up."""
    engine = new_engine()

    assert offer(engine, events_batch(2, allocations(1))) == "gap"
    assert engine.read().sources == ()


def test_new_epoch_begins_only_with_its_header() -> None:
    """Events of an epoch without a header are held back; its header starts new machines."""
    machines = Machines()
    engine = new_engine(machines)
    offer(engine, header_batch(epoch=5))
    offer(engine, events_batch(2, allocations(3), epoch=5))

    assert offer(engine, events_batch(3, allocations(1), epoch=6)) == "gap"
    assert offer(engine, header_batch(epoch=6)) == "applied"
    assert offer(engine, events_batch(2, allocations(1), epoch=6)) == "applied"

    (source,) = engine.read().sources
    assert (6, 2, 1) == (source.life.epoch, source.life.seq, source.life.events)
    assert (4, 2) == (source.events_applied, source.epochs)
    assert len(machines.made) == 4


def test_epoch_that_is_over_is_refused() -> None:
    """After a later epoch began, an earlier life of the source has no say."""
    engine = new_engine()
    offer(engine, header_batch(epoch=6))

    with pytest.raises(BatchError, match="epoch 5 of a is over, expected 6 or later"):
        offer(engine, events_batch(2, allocations(1), epoch=5))
    with pytest.raises(BatchError, match="is over"):
        offer(engine, header_batch(epoch=5))

    (source,) = engine.read().sources
    assert source.batches_refused == {"sequence": 2}


def test_epoch_cannot_begin_again_with_another_header() -> None:
    """The same epoch with a different header is another trace under the same name."""
    engine = new_engine()
    offer(engine, header_batch())

    with pytest.raises(BatchError, match="began with another header"):
        offer(engine, header_batch(header=OTHER_HEADER))


class UnbuildableMachine(FakeMachine):
    """Cannot be made."""

    def __init__(self, *args: object) -> None:
        raise ZeroDivisionError(len(args))


def test_header_that_no_machine_can_be_made_of_is_refused() -> None:
    """Whatever goes wrong while a machine is built, the batch is refused and the engine goes on."""
    engine = new_engine(Machines(UnbuildableMachine))

    with pytest.raises(BatchError, match="batch 1: header: no machine can be made of it: ZeroDiv"):
        offer(engine, header_batch())

    assert engine.read().sources == ()
    assert engine.read().messages_refused == {"header": 1}


def test_bad_event_refuses_the_whole_batch() -> None:
    """One unsound event: nothing of its batch reaches any machine, and the batch is still due."""
    machines = Machines()
    engine = new_engine(machines)
    offer(engine, header_batch())
    bad = allocations(2) + record(op=77) + allocations(1, 3)

    with pytest.raises(BatchError, match=r"batch 2, event 2: op is 77"):
        offer(engine, events_batch(2, bad))

    assert all(m.applied == [] for m in machines.made)
    assert engine.read().sources[0].batches_refused == {"op": 1}
    assert offer(engine, events_batch(2, allocations(1))) == "applied"


def test_several_batches_can_be_admitted_before_the_first_is_applied() -> None:
    """Admission knows what is on its way: a group of batches is decided on as a whole."""
    engine = new_engine()
    batches: list[Batch] = [
        header_batch(),
        events_batch(2, allocations(2)),
        events_batch(3, allocations(2, 3)),
        events_batch(3, allocations(2, 3)),
    ]

    verdicts = [engine.admit(batch, encode(batch)) for batch in batches]

    assert engine.read().sources == ()
    admitted = [v for v in verdicts if not hasattr(v, "value")]
    assert len(admitted) == 3
    for one in admitted:
        engine.apply(one)
    assert engine.read().sources[0].life.events == 4


def test_sources_are_bounded() -> None:
    """One source too many is refused with the limit, and counted; the others go on."""
    engine = new_engine(max_sources=2)
    offer(engine, header_batch("a"))
    offer(engine, header_batch("b"))

    with pytest.raises(TooManySourcesError, match="c would be one more than the 2"):
        offer(engine, header_batch("c"))

    reading = engine.read()
    assert [s.name for s in reading.sources] == ["a", "b"]
    assert reading.messages_refused == {"too_many_sources": 1}
    assert offer(engine, events_batch(2, allocations(1), source="b")) == "applied"


def test_live_handles_are_bounded() -> None:
    """A batch that could lead beyond the limit is refused; frees are always welcome."""
    engine = new_engine()
    engine.max_live_handles = 5
    offer(engine, header_batch())
    offer(engine, events_batch(2, allocations(3)))

    with pytest.raises(BatchError, match="could be 6 live handles after it, expected at most 5"):
        offer(engine, events_batch(3, allocations(3, 10)))

    assert {"too_many_handles": 1} == engine.read().sources[0].batches_refused
    frees = b"".join(record(PAGE_FREE, handle) for handle in range(1, 4))
    assert offer(engine, events_batch(3, allocations(2, 10) + frees)) == "applied"


def test_live_handles_count_what_is_on_its_way() -> None:
    """A group of batches cannot pass together where one alone could not."""
    engine = new_engine()
    engine.max_live_handles = 5
    offer(engine, header_batch())
    first = events_batch(2, allocations(4))
    engine.admit(first, encode(first))

    with pytest.raises(BatchError, match="could be 6 live handles"):
        offer(engine, events_batch(3, allocations(2, 10)))


def test_sources_are_independent() -> None:
    """Each source has machines of its own."""
    engine = new_engine()
    for name, count in (("a", 1), ("b", 4)):
        offer(engine, header_batch(name))
        offer(engine, events_batch(2, allocations(count), source=name))

    assert {s.name: s.life.events for s in engine.read().sources} == {"a": 1, "b": 4}


def test_marks_are_remembered() -> None:
    """The last MARK names the phase; each is counted under its label."""
    engine = new_engine()
    offer(engine, header_batch())
    offer(engine, events_batch(2, mark(0) + allocations(1) + mark(1) + mark(0)))

    (source,) = engine.read().sources
    assert source.life.phase == "outage"
    assert source.marks == {"outage": 2, "return": 1}
    assert source.life.phases == ("outage", "return")


def test_failing_model_stops_the_engine() -> None:
    """A model's failure names model, batch and what failed: the daemon cannot go on from it."""
    engine = new_engine(Machines(FailingMachine))
    offer(engine, header_batch())

    with pytest.raises(
        ModelFaultError,
        match="the model slub-seed failed in batch 2 of epoch 5 of a: AssertionError: free list",
    ):
        offer(engine, events_batch(2, allocations(1, 13)))


def test_digest_is_read_only_when_asked_for() -> None:
    """A scrape does not pay for digests; /state does, once a batch."""
    calls: list[int] = []

    class Counting(FakeMachine):
        def digest(self) -> str:
            calls.append(self.events)
            return super().digest()

    engine = new_engine(Machines(Counting))
    offer(engine, header_batch())
    offer(engine, events_batch(2, allocations(1)))

    engine.read()
    assert calls == []
    first = engine.read(digest=True).sources[0].life.variants
    second = engine.read(digest=True).sources[0].life.variants
    assert calls == [1, 1]  # one for each variant
    assert [v.digest for v in first] == [v.digest for v in second]
    offer(engine, events_batch(3, allocations(1, 2)))
    assert engine.read(digest=True).sources[0].life.variants[0].digest != first[0].digest


def test_readings_are_consistent_while_batches_are_applied() -> None:
    """A reading never shows half a batch: used and free add up, variants agree, seq fits events."""
    engine = new_engine()
    offer(engine, header_batch())
    per_batch = 50
    batch = allocations(per_batch)
    done = threading.Event()
    readings: list[Reading] = []

    def keep_reading() -> None:
        while not done.is_set() or not readings:
            readings.append(engine.read())

    reader = threading.Thread(target=keep_reading)
    reader.start()
    for seq in range(2, 502):
        offer(engine, events_batch(seq, batch))
    done.set()
    reader.join()

    for reading in readings:
        life = reading.sources[0].life
        assert life.events == (life.seq - 1) * per_batch
        for variant in life.variants:
            stats = variant.stats
            assert stats.events == life.events
            assert stats.zones[0].free_pages + life.events == FakeMachine.free_at_start


def test_bytes_are_counted_as_they_came() -> None:
    """Received bytes are those of the encoded batches."""
    engine = new_engine()
    batches = (header_batch(), events_batch(2, allocations(2)))
    for batch in batches:
        offer(engine, batch)

    received = engine.read().sources[0].bytes_received

    assert sum(len(encode(b)) for b in batches) == received
    assert received > 2 * RECORD_SIZE
