"""Models on their way through a trace, read where the machine was."""

from __future__ import annotations

import pytest

from allocator.config import MachineConfig
from allocator.revision import parse_variant
from tracegen.batch import RECORD, Batch, BatchMaker
from tracegen.header import Header
from tracegen.kernel_trace.balance import Balance
from tracegen.kernel_trace.population import BEGIN_LABEL
from tracegen.truth.comparison import BEFORE, CAUSES, DENIED, SLABS
from tracegen.truth.ground_truth import GroundTruth, Reading, ZoneReading
from tracegen.truth.run import TruthError, compare_with_truth

PAGE_ALLOC, PAGE_FREE, KMALLOC, MARK = 1, 2, 5, 9
GFP_KERNEL = 0xCC0
BIG = 3
"""Order of the blocks: beyond the per-cpu lists of the 3.x model."""
VARIANTS = [parse_variant("slub-seed"), parse_variant("slab-seed")]


def event(op: int, ts_ns: int, handle: int, arg: int = 0) -> bytes:
    """One record."""
    gfp = GFP_KERNEL if op in {PAGE_ALLOC, KMALLOC} else 0
    return RECORD.pack(ts_ns, handle, gfp, arg, 0, -1, op, 0, 0)


def trace(*events: bytes, labels: tuple[str, ...] = (BEGIN_LABEL,)) -> list[Batch]:
    """A trace of a machine with 64 MiB, its events in two batches."""
    machine = MachineConfig(1, (0,), ((0, 16384),), (4096, 16384, 16384))
    maker = BatchMaker("a", 1)
    half = len(events) // 2
    return [
        maker.header(Header(machine, (), "v6.1", "mono", labels)),
        maker.events(b"".join(events[:half])),
        maker.events(b"".join(events[half:])),
    ]


def truth(*free: tuple[int, int]) -> GroundTruth:
    """Readings of (time, free pages of DMA32)."""
    return GroundTruth(
        [Reading(ts_ns, {(0, "DMA32"): ZoneReading(n, 0, 100, 125, 150)}) for ts_ns, n in free]
    )


def test_models_are_read_where_the_machine_was() -> None:
    """Behind the prelude, between events, and not before or after the trace."""
    batches = trace(
        event(PAGE_ALLOC, 10, 1, BIG),
        event(MARK, 10, 0),
        event(PAGE_ALLOC, 20, 2, BIG),
        event(PAGE_ALLOC, 30, 3, BIG),
        event(PAGE_FREE, 40, 2),
        event(PAGE_ALLOC, 50, 4, BIG),
    )

    found = compare_with_truth(
        batches,
        truth((5, 0), (15, 0), (20, 1000), (35, 900), (36, 900), (41, 950), (99, 0)),
        VARIANTS,
    )

    assert ["slub-seed", "slab-seed"] == [comparison.variant for comparison in found]
    for comparison in found:
        points = comparison.points
        assert [20, 35, 36, 41] == [point.ts_ns for point in points]
        free = [point.model[0, "DMA32"] for point in points]
        assert [0, -16, -16, -8] == [pages - free[0] for pages in free]


def test_the_distance_is_the_sum_of_its_causes_from_the_beginning_on() -> None:
    """What the kernel's own events say of slabs and per-cpu lists is held against the model's."""
    balance = Balance()
    balance.slab.add(25, 5)
    balance.page(26, 0, 7)
    balance.page(26, 9, 512)
    batches = trace(
        event(MARK, 10, 0),
        event(PAGE_ALLOC, 20, 1, BIG),
        event(KMALLOC, 30, 2, 100),
        event(PAGE_ALLOC, 40, 3, BIG),
        event(PAGE_ALLOC, 45, 4, 10),
        event(PAGE_ALLOC, 46, 5, 10),
        event(PAGE_ALLOC, 47, 6, 13),
        event(PAGE_ALLOC, 60, 7, 0),
    )

    (comparison,) = compare_with_truth(
        batches, truth((20, 9000), (55, 8000)), VARIANTS[:1], balance
    )

    first, second = comparison.points
    assert dict.fromkeys(CAUSES, 0) | {BEFORE: first.distance} == first.causes
    assert second.distance == sum(second.causes.values())
    # 13 is an order that no kernel has: the model denies it, so its pages are missing there.
    assert 1 << 13 == second.causes[DENIED]
    slabs = second.causes[SLABS]
    assert 5 - 1 == slabs


def test_a_trace_without_a_prelude_begins_at_once() -> None:
    """Not every trace is an import."""
    batches = trace(event(PAGE_ALLOC, 20, 1), event(PAGE_ALLOC, 30, 2), labels=())

    (comparison,) = compare_with_truth(batches, truth((25, 9000)), VARIANTS[:1])

    assert [25] == [point.ts_ns for point in comparison.points]


def test_what_does_not_meet_in_time_cannot_be_compared() -> None:
    """Another recording's ground truth, say."""
    batches = trace(event(MARK, 10, 0), event(PAGE_ALLOC, 20, 1))

    with pytest.raises(TruthError, match="no reading within the time of the trace"):
        compare_with_truth(batches, truth((5, 0), (99, 0)), VARIANTS)
    with pytest.raises(TruthError, match="second header, expected one life of one source"):
        compare_with_truth([*batches, batches[0]], truth((5, 0)), VARIANTS)
