"""What a tortured sender sends: endless, and the same for everybody who knows its name."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Final

from allocator.events import KMALLOC, OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC, PAGE_FREE
from tests.daemon.fakes import HEADER
from tracegen.batch import RECORD, EventBatch, HeaderBatch, encode

ALLOCATIONS: Final = 8
"""Of each batch."""
LIFETIME: Final = 6
"""A batch frees what the batch so far before it allocated."""

_GFP_KERNEL: Final = 0xD0
_GFP_ATOMIC: Final = 0x20
_PF_MEMALLOC: Final = 1
_ARGS: Final = {PAGE_ALLOC: (0, 0, 1, 3), OBJ_ALLOC: (0, 7), KMALLOC: (8, 100, 512, 4000)}


@lru_cache(8192)
def batch_of(source: str, epoch: int, seq: int) -> bytes:
    """Batch ``seq`` of that epoch, encoded; 1 is the header."""
    if seq == 1:
        return encode(HeaderBatch(source, epoch, HEADER))
    return encode(EventBatch(source, epoch, seq, records_of(source, epoch, seq)))


def records_of(source: str, epoch: int, seq: int) -> bytes:
    """The events of a batch: what comes new, then the end of what has lived long enough."""
    records = [
        RECORD.pack(seq, handle, gfp, arg, cpu, -1, op, ctx, 0)
        for handle, op, arg, gfp, cpu, ctx in _allocations(source, epoch, seq)
    ]
    ended = _allocations(source, epoch, seq - LIFETIME) if seq > LIFETIME + 1 else []
    random = Random(f"{source} {epoch} {seq} frees")
    random.shuffle(ended)
    for handle, op, *_ in ended:
        free = PAGE_FREE if op == PAGE_ALLOC else OBJ_FREE
        records.append(RECORD.pack(seq, handle, 0, 0, random.randint(0, 1), -1, free, 0, 0))
    return b"".join(records)


def _allocations(source: str, epoch: int, seq: int) -> list[tuple[int, int, int, int, int, int]]:
    """Handle, op, arg, gfp, cpu and context of each."""
    random = Random(f"{source} {epoch} {seq}")
    made = []
    for at in range(ALLOCATIONS):
        op = random.choice(tuple(_ARGS))
        gfp = random.choice((_GFP_KERNEL, _GFP_ATOMIC))
        ctx = random.choice((0, 0, 0, _PF_MEMALLOC))
        handle = seq * ALLOCATIONS + at
        made.append((handle, op, random.choice(_ARGS[op]), gfp, random.randint(0, 1), ctx))
    return made
