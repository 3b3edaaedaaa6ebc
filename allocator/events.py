"""The vocabulary of a trace: operations, context bits and the 32-byte record.

A record is what the model consumes: little-endian ``<u64 ts_ns><u64 handle>
<u32 gfp><u32 arg><u16 cpu><i16 node><u8 op><u8 ctx><u16 zero>``. The trace
format around it (batches, headers, files) is tracegen's.

``check_records`` looks at a whole batch before any of it is applied, so a bad
batch is refused with the number of the offending event and nothing is half done.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i16_le, read_i32_le, read_i64_le
from mypy_extensions import i64

RECORD_SIZE: Final = 32
"""Bytes of one packed event."""

# Offsets of the fields inside a record.
TS_NS_AT: Final = 0
HANDLE_AT: Final = 8
GFP_AT: Final = 16
ARG_AT: Final = 20
CPU_AT: Final = 24
NODE_AT: Final = 26
OP_AT: Final = 28
CTX_AT: Final = 29
ZERO_AT: Final = 30

PAGE_ALLOC: Final = 1
"""``__alloc_pages``: handle is new, arg is the order."""
PAGE_FREE: Final = 2
"""``__free_pages``: handle is old. With CTX_COLD and order 0, the cold form."""
OBJ_ALLOC: Final = 3
"""``kmem_cache_alloc``: handle is new, arg is the cache id of the header."""
OBJ_FREE: Final = 4
"""``kmem_cache_free`` or ``kfree``: handle is old."""
KMALLOC: Final = 5
"""``__kmalloc``: handle is new, arg is the size in bytes."""
REAP: Final = 6
"""``cache_reap`` on the event's cpu."""
SHRINK: Final = 7
"""``kmem_cache_shrink``: arg is the cache id."""
MIN_FREE: Final = 8
"""``min_free_kbytes`` is set to arg. With CTX_PF_MEMALLOC nothing is set: kswapd of the event's
node begins its work (arg is not 0) or has ended it (0)."""
MARK: Final = 9
"""An annotation: arg is a label id of the header."""

OP_NAMES: Final[dict[int, str]] = {
    PAGE_ALLOC: "PAGE_ALLOC",
    PAGE_FREE: "PAGE_FREE",
    OBJ_ALLOC: "OBJ_ALLOC",
    OBJ_FREE: "OBJ_FREE",
    KMALLOC: "KMALLOC",
    REAP: "REAP",
    SHRINK: "SHRINK",
    MIN_FREE: "MIN_FREE",
    MARK: "MARK",
}

CTX_PF_MEMALLOC: Final = 1
"""The task has PF_MEMALLOC."""
CTX_MEMDIE: Final = 2
"""The task was chosen by the OOM killer (TIF_MEMDIE)."""
CTX_SOFTIRQ: Final = 4
"""Serving a softirq."""
CTX_HARDIRQ: Final = 8
"""In a hard interrupt."""
CTX_RT: Final = 16
"""The task has real-time priority."""
CTX_COLD: Final = 32
"""A cold free (``free_hot_cold_page`` with cold set)."""
CTX_MASK: Final = 63

CTX_NAMES: Final[dict[int, str]] = {
    CTX_PF_MEMALLOC: "PF_MEMALLOC",
    CTX_MEMDIE: "TIF_MEMDIE",
    CTX_SOFTIRQ: "softirq",
    CTX_HARDIRQ: "hardirq",
    CTX_RT: "rt_task",
    CTX_COLD: "cold",
}

MAX_ORDER: Final = 11
"""Orders run from 0 to MAX_ORDER - 1; larger ones are legal in a trace and denied."""

# Why check_records refused a batch.
BAD_LENGTH: Final = 1
BAD_OP: Final = 2
BAD_CTX: Final = 3
BAD_CPU: Final = 4
BAD_NODE: Final = 5
BAD_CACHE: Final = 6
BAD_LABEL: Final = 7
BAD_HANDLE: Final = 8
BAD_PAD: Final = 9
BAD_ARG: Final = 10
BAD_GFP: Final = 11

BAD_REASONS: Final[dict[int, str]] = {
    BAD_LENGTH: "length",
    BAD_OP: "op",
    BAD_CTX: "ctx",
    BAD_CPU: "cpu",
    BAD_NODE: "node",
    BAD_CACHE: "cache",
    BAD_LABEL: "label",
    BAD_HANDLE: "handle",
    BAD_PAD: "padding",
    BAD_ARG: "arg",
    BAD_GFP: "gfp",
}


class Limits:
    """What a header allows an event to name; see :func:`check_records`."""

    __slots__ = ("cache_exists", "cpus", "gfp_known", "gfp_mobility", "labels", "nodes")

    def __init__(
        self,
        cpus: int,
        nodes: int,
        cache_ids: list[int],
        labels: int,
        gfp_known: int = 0xFFFFFFFF,
        gfp_mobility: int = 0,
    ) -> None:
        """``cache_ids`` are the ids the header declares; labels is their number.

        ``gfp_known`` are the bits of the header's gfp flavour, ``gfp_mobility`` its
        MOVABLE and RECLAIMABLE bits, of which a mask may have one (GFP_MOVABLE_MASK).
        """
        self.gfp_known: i64 = gfp_known
        self.gfp_mobility: i64 = gfp_mobility
        self.cpus: i64 = cpus
        self.nodes: i64 = nodes
        self.labels: i64 = labels
        size = (max(cache_ids) + 1) if cache_ids else 0
        exists = bytearray(size)
        for cache_id in cache_ids:
            exists[cache_id] = 1
        self.cache_exists: bytes = bytes(exists)


def check_records(records: bytes, limits: Limits) -> tuple[int, int]:
    """Look for the first event that cannot be applied.

    Returns ``(index, reason)`` with a ``BAD_*`` reason, or ``(-1, 0)`` when
    every record is sound.
    """
    size: i64 = len(records)
    if size % RECORD_SIZE != 0:
        return size // RECORD_SIZE, BAD_LENGTH
    caches: i64 = len(limits.cache_exists)
    at: i64 = 0
    while at < size:
        reason = _check_one(records, at, limits, caches)
        if reason != 0:
            return at // RECORD_SIZE, reason
        at += RECORD_SIZE
    return -1, 0


def _check_one(records: bytes, at: i64, limits: Limits, caches: i64) -> i64:
    op: i64 = records[at + OP_AT]
    if op < PAGE_ALLOC or op > MARK:
        return BAD_OP
    ctx: i64 = records[at + CTX_AT]
    if ctx & ~CTX_MASK:
        return BAD_CTX
    if i64(read_i16_le(records, at + ZERO_AT)) != 0:
        return BAD_PAD
    if (i64(read_i16_le(records, at + CPU_AT)) & 0xFFFF) >= limits.cpus:
        return BAD_CPU
    node = i64(read_i16_le(records, at + NODE_AT))
    if node < -1 or node >= limits.nodes:
        return BAD_NODE
    arg = i64(read_i32_le(records, at + ARG_AT)) & 0xFFFFFFFF
    if op == OBJ_ALLOC or op == SHRINK:
        if arg >= caches or limits.cache_exists[arg] == 0:
            return BAD_CACHE
    elif op == MARK:
        if arg >= limits.labels:
            return BAD_LABEL
    elif op == PAGE_ALLOC:
        if arg > 63:
            return BAD_ARG
    gfp = i64(read_i32_le(records, at + GFP_AT)) & 0xFFFFFFFF
    if gfp & ~limits.gfp_known:
        return BAD_GFP
    if limits.gfp_mobility != 0 and gfp & limits.gfp_mobility == limits.gfp_mobility:
        return BAD_GFP
    if op <= KMALLOC and read_i64_le(records, at + HANDLE_AT) == 0:
        return BAD_HANDLE
    return 0
