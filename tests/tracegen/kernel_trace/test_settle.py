"""Records that get what was not known when they were written."""

from __future__ import annotations

from array import array

from allocator.events import (
    CTX_PF_MEMALLOC,
    CTX_SOFTIRQ,
    KMALLOC,
    MIN_FREE,
    OBJ_ALLOC,
    OBJ_FREE,
    PAGE_ALLOC,
    PAGE_FREE,
)
from tracegen.batch import rows
from tracegen.kernel_trace.context import SLOT_SHIFT
from tracegen.kernel_trace.kernel_event import Key
from tracegen.kernel_trace.ledger import FIRST_HANDLE
from tracegen.kernel_trace.outbox import Outbox
from tracegen.kernel_trace.settle import Settling

Event = tuple[int, int, int, int, int, int, int, int]


def settle(
    *events: Event,
    handles: tuple[int, ...] = (),
    shift: int = 0,
    keys: tuple[Key, ...] = (),
    was_reclaiming: tuple[int, ...] = (),
) -> tuple[list[tuple[int, ...]], Settling]:
    """Settle these events: op, ts_ns, handle, gfp, arg, cpu, node, ctx."""
    pieces: list[bytes] = []
    outbox = Outbox(pieces.append)
    for op, ts_ns, handle, gfp, arg, cpu, node, ctx in events:
        outbox.put(ts_ns, handle, gfp, arg, cpu, node, op, ctx)
    outbox.flush()
    settling = Settling(array("Q", handles), shift, keys, was_reclaiming)
    return list(rows(settling.settle(b"".join(pieces)))), settling


def key(index: int, op: int, arg: int) -> Key:
    """A key that has its name."""
    made = Key(index, "f", 100, 128, "")
    made.op, made.arg = op, arg
    return made


def test_handles_make_room_for_the_preludes() -> None:
    """All but those of older things, which get the prelude's own, and 0, which is none."""
    found, settling = settle(
        (PAGE_ALLOC, 1, 1, 0xCC0, 3, 1, -1, 0),
        (PAGE_FREE, 2, FIRST_HANDLE + 1, 0, 0, 0, -1, 0),
        (PAGE_FREE, 3, 1, 0, 0, 0, -1, 0),
        (MIN_FREE, 4, 0, 0, 2048, 0, -1, 0),
        handles=(8, 9),
        shift=10,
    )

    assert [
        (PAGE_ALLOC, 1, 11, 0xCC0, 3, 1, -1, 0),
        (PAGE_FREE, 2, 9, 0, 0, 0, -1, 0),
        (PAGE_FREE, 3, 11, 0, 0, 0, -1, 0),
        (MIN_FREE, 4, 0, 0, 2048, 0, -1, 0),
    ] == found
    assert 0 == settling.dropped


def test_a_free_that_nothing_was_found_for_is_dropped() -> None:
    """And counted."""
    found, settling = settle((OBJ_FREE, 1, FIRST_HANDLE, 0, 0, 0, -1, 0), handles=(0,))

    assert ([], 1) == (found, settling.dropped)


def test_keys_become_caches() -> None:
    """Or general caches, by size."""
    found, _ = settle(
        (OBJ_ALLOC, 1, 1, 0xCC0, 1, 0, -1, 0),
        (OBJ_ALLOC, 2, 2, 0xCC0, 0, 0, -1, 4),
        (KMALLOC, 3, 3, 0xCC0, 1, 0, -1, 0),
        keys=(key(0, KMALLOC, 100), key(1, OBJ_ALLOC, 77)),
    )

    assert [
        (OBJ_ALLOC, 1, 1, 0xCC0, 77, 0, -1, 0),
        (KMALLOC, 2, 2, 0xCC0, 100, 0, -1, 4),
        (KMALLOC, 3, 3, 0xCC0, 1, 0, -1, 0),
    ] == found


def test_tasks_that_were_reclaiming_from_the_start_had_pf_memalloc() -> None:
    """Their slots say which events that concerns; no slot is left in a record."""
    found, settling = settle(
        (PAGE_ALLOC, 1, 1, 0, 0, 0, -1, 5 << SLOT_SHIFT),
        (PAGE_ALLOC, 2, 2, 0, 0, 0, -1, 32767 << SLOT_SHIFT),
        (PAGE_ALLOC, 3, 3, 0, 0, 0, -1, CTX_SOFTIRQ),
        was_reclaiming=(32767,),
    )

    assert [0, CTX_PF_MEMALLOC, CTX_SOFTIRQ] == [row[7] for row in found]
    assert 1 == settling.by_reclaim
