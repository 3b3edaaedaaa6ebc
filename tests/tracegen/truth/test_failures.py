"""Failures of the machine beside the model's."""

from __future__ import annotations

from allocator.events import KMALLOC, OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC, PAGE_FREE
from allocator.outcome import (
    DENIED_WATERMARK,
    OBJ_CPU_FREELIST,
    OBJ_NEW_SLAB,
    PAGE_PCP,
    STALLED_OOM,
)
from tracegen.batch import RECORD
from tracegen.truth.failures import (
    AT_HAND,
    BLOCKS,
    FEWER_FREE,
    GROWN,
    MORE_FREE,
    RECLAIM,
    Failures,
)

ATOMIC, KERNEL = 0xA20, 0xCC0


def count(*events: tuple[int, int, int, int, int, int]) -> Failures:
    """Of (op, ts_ns, handle, gfp, arg, outcome)."""
    records = b"".join(
        RECORD.pack(ts_ns, handle, gfp, arg, 0, -1, op, 0, 0)
        for op, ts_ns, handle, gfp, arg, _ in events
    )
    told = b"".join(bytes([outcome, 0]) for *_, outcome in events)
    found = Failures("v6.1")
    found.count(records, told)
    return found


def test_an_allocation_freed_at_once_failed_on_the_machine() -> None:
    """At the same time and under the same handle; what lives a while did not."""
    found = count(
        (PAGE_ALLOC, 1, 1, ATOMIC, 0, DENIED_WATERMARK),
        (PAGE_FREE, 1, 1, 0, 0, 0),
        (PAGE_ALLOC, 2, 2, ATOMIC, 0, PAGE_PCP),
        (PAGE_FREE, 3, 2, 0, 0, 0),
        (PAGE_ALLOC, 4, 4, ATOMIC, 0, PAGE_PCP),
    )

    assert (1, 1, 1) == (found.machine, found.model, found.both)


def test_what_failed_on_one_side_alone_has_a_reason() -> None:
    """By kind and order of the request, and by how it was answered."""
    found = count(
        (PAGE_ALLOC, 1, 1, ATOMIC, 3, PAGE_PCP),
        (PAGE_FREE, 1, 1, 0, 0, 0),
        (PAGE_ALLOC, 2, 2, ATOMIC, 0, PAGE_PCP),
        (PAGE_FREE, 2, 2, 0, 0, 0),
        (OBJ_ALLOC, 3, 3, ATOMIC, 0, OBJ_CPU_FREELIST),
        (OBJ_FREE, 3, 3, 0, 0, 0),
        (KMALLOC, 4, 4, ATOMIC, 100, OBJ_NEW_SLAB),
        (OBJ_FREE, 4, 4, 0, 0, 0),
        (PAGE_ALLOC, 5, 5, KERNEL, 0, STALLED_OOM),
        (PAGE_ALLOC, 6, 6, ATOMIC, 3, DENIED_WATERMARK),
        (KMALLOC, 7, 7, ATOMIC, 100, DENIED_WATERMARK),
    )

    assert {BLOCKS: 1, MORE_FREE: 1, AT_HAND: 1, GROWN: 1} == found.machine_only
    assert {RECLAIM: 1, BLOCKS: 1, FEWER_FREE: 1} == found.model_only
