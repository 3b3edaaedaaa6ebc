"""What SLAB's caches are made of in every kernel: arrays of objects, lists of slabs.

``mm/slab.c``: ``struct array_cache``, the three lists of each node, ``enable_cpucache``.

A cache keeps its slabs in one packed table. A ``slabp`` is an offset into it, used as the
kernel uses a pointer; the first two words of a slab, and of a list's head, link it. The
table begins with the list heads of each node. Sizes are bytes.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from allocator.config import PAGE_SIZE

S_NEXT: Final = 0
S_PREV: Final = 1

# Offsets of a node's list heads, two words each, at the start of the table.
SLABS_FULL: Final = 0
SLABS_PARTIAL: Final = 2
SLABS_FREE: Final = 4
HEAD_WORDS: Final = 6

ALIEN_LIMIT: Final = 12
"""Objects that an alien array holds."""
BATCHREFILL_LIMIT: Final = 16
"""Objects that an array which was idle is refilled with."""


class ArrayCache:
    """``struct array_cache``: a stack of free objects. In 3.x they may be tagged (A3)."""

    __slots__ = ("avail", "batchcount", "entry", "limit", "touched")

    def __init__(self, limit: int, batchcount: int) -> None:
        """``alloc_arraycache``: empty, room for ``limit``."""
        self.avail: i64 = 0
        self.limit: i64 = limit
        self.batchcount: i64 = batchcount
        self.touched: bool = False
        self.entry: vec[i64] = vec[i64]([0] * limit)


def cpucache_limit(buffer_size: int) -> int:
    """``enable_cpucache``: how many objects a cpu's array holds, by object size."""
    if buffer_size > 131072:
        return 1
    if buffer_size > PAGE_SIZE:
        return 8
    if buffer_size > 1024:
        return 24
    if buffer_size > 256:
        return 54
    return 120


def transfer_objects(to: ArrayCache, source: ArrayCache, most: i64) -> i64:
    """``transfer_objects``: move up to ``most`` newest entries; returns how many."""
    nr = source.avail
    if nr > most:
        nr = most
    if nr > to.limit - to.avail:
        nr = to.limit - to.avail
    at = to.avail
    start = source.avail - nr
    target = to.entry
    entry = source.entry
    i: i64 = 0
    while i < nr:
        target[at + i] = entry[start + i]
        i += 1
    source.avail = start
    to.avail = at + nr
    return nr


def drop_oldest(ac: ArrayCache, count: i64) -> None:
    """Forget the lowest ``count`` entries of an array (memmove in the kernel)."""
    entry = ac.entry
    avail = ac.avail - count
    i: i64 = 0
    while i < avail:
        entry[i] = entry[i + count]
        i += 1
    ac.avail = avail


def list_add(table: vec[i64], slabp: i64, head: i64) -> None:
    """``list_add``: to the front."""
    after = table[head + S_NEXT]
    table[after + S_PREV] = slabp
    table[slabp + S_NEXT] = after
    table[slabp + S_PREV] = head
    table[head + S_NEXT] = slabp


def list_del(table: vec[i64], slabp: i64) -> None:
    """``list_del``."""
    after = table[slabp + S_NEXT]
    before = table[slabp + S_PREV]
    table[before + S_NEXT] = after
    table[after + S_PREV] = before


def list_add_tail(table: vec[i64], slabp: i64, head: i64) -> None:
    """``list_add_tail``: to the end."""
    before = table[head + S_PREV]
    table[before + S_NEXT] = slabp
    table[slabp + S_PREV] = before
    table[slabp + S_NEXT] = head
    table[head + S_PREV] = slabp


def list_move(table: vec[i64], slabp: i64, head: i64) -> None:
    """``list_move``: off its list, to the front of another (or the same)."""
    after = table[slabp + S_NEXT]
    before = table[slabp + S_PREV]
    table[before + S_NEXT] = after
    table[after + S_PREV] = before
    list_add(table, slabp, head)
