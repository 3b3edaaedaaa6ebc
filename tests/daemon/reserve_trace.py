"""A few events on a small machine that draw its reserve, keep it, and leak it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from allocator.config import CacheSpec, MachineConfig
from allocator.events import (
    CTX_PF_MEMALLOC,
    CTX_SOFTIRQ,
    KMALLOC,
    MARK,
    MIN_FREE,
    OBJ_ALLOC,
    OBJ_FREE,
    PAGE_ALLOC,
    PAGE_FREE,
)
from tracegen.batch import RECORD, BatchMaker, EventBatch, encode
from tracegen.header import Header

CONFIG: Final = MachineConfig(
    cpus=2, cpu_node=(0, 0), nodes=((0, 16384),), zone_end_pfn=(0, 16384, 16384), numa=False
)
HEADER: Final = Header(
    machine=CONFIG,
    caches=(CacheSpec(3, "skbuff_head_cache", 256), CacheSpec(9, "dentry", 192)),
    gfp="v3.3",
    clock="mono",
    labels=("outage",),
)
NUMA_HEADER: Final = replace(HEADER, machine=replace(CONFIG, numa=True))

GFP_NOIO: Final = 0x10
GFP_ATOMIC: Final = 0x20
GFP_KERNEL_NORETRY: Final = 0x10D0


def event(
    op: int, handle: int = 0, arg: int = 0, *, gfp: int = 0, ctx: int = 0, cpu: int = 0
) -> bytes:
    """One packed event on any node, 1 ms after its handle's."""
    return RECORD.pack(handle * 1_000_000, handle, gfp, arg, cpu, -1, op, ctx, 0)


LEFT_ALONE: Final = (
    event(MARK, arg=0),
    event(OBJ_ALLOC, 1, 9, gfp=GFP_KERNEL_NORETRY),
    event(OBJ_FREE, 1),
)
"""1 to 3: nothing that the patch cares about."""
DRAWN: Final = (
    event(MIN_FREE, arg=66_000),  # 16,500 pages: the zone is below min from here on
    event(OBJ_ALLOC, 2, 3, gfp=GFP_NOIO, ctx=CTX_PF_MEMALLOC),  # 5: draws a page of the reserve
    event(OBJ_ALLOC, 3, 3, gfp=GFP_KERNEL_NORETRY),  # 6: kept, leaked or given, as the model has it
    event(OBJ_ALLOC, 4, 3, gfp=GFP_NOIO, ctx=CTX_PF_MEMALLOC),  # 7: entitled
    event(OBJ_FREE, 2),
    event(KMALLOC, 5, 500, gfp=GFP_ATOMIC, ctx=CTX_SOFTIRQ),  # 9
    event(PAGE_ALLOC, 6, 0, gfp=GFP_KERNEL_NORETRY),  # 10: denied
    event(PAGE_FREE, 6),
)
"""4 to 11."""
EVENTS: Final = LEFT_ALONE + DRAWN


def trace_bytes(
    header: Header = HEADER, events: tuple[bytes, ...] = EVENTS, *, cut: int = 4, epoch: int = 7
) -> bytes:
    """A trace of one source with ``cut`` events a batch."""
    maker = BatchMaker("host-a", epoch)
    parts = [encode(maker.header(header))]
    for start in range(0, len(events), cut):
        batch: EventBatch = maker.events(b"".join(events[start : start + cut]))
        parts.append(encode(batch))
    return b"".join(parts)
