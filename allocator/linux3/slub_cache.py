"""How Linux 3.3 and 3.6 size and merge SLUB caches, and their kmalloc caches.

``mm/slub.c``: ``calculate_sizes``, ``kmem_cache_open``, ``find_mergeable``, ``get_slab``.
What all kernels share is in :mod:`allocator.slub_cache`. Sizes are bytes.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.config import PAGE_SIZE
from allocator.linux3.gfp import _GFP_COMP, _GFP_DMA, _GFP_RECLAIMABLE
from allocator.object_allocator import SLAB_CACHE_DMA, SLAB_NOLEAKTRACE, SLAB_RECLAIM_ACCOUNT
from allocator.slub_cache import (
    BYTES_PER_WORD,
    LEAKS,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
    SLAB_TYPESAFE_BY_RCU,
    Geometry,
    KmemCache,
    align_up,
    calculate_alignment,
)

LEAK_FAST_PATH: Final = LEAKS
"""The fast path did not look."""
LEAK_SAME_SLAB: Final = LEAKS + 1
"""The slab refused (U4) was taken straight back from its node's list."""
LEAK_PARTIAL_SLAB: Final = LEAKS + 2
"""Another flagged slab came from a node's list."""
LEAK_NAMES: Final = ("fast_path", "same_slab_again", "partial_slab")

_SLAB_DEBUG_FREE: Final = 0x100
_SLUB_NEVER_MERGE: Final = (
    SLAB_RED_ZONE
    | SLAB_POISON
    | SLAB_STORE_USER
    | SLAB_TRACE
    | SLAB_TYPESAFE_BY_RCU
    | SLAB_NOLEAKTRACE
)
_SLUB_MERGE_SAME: Final = _SLAB_DEBUG_FREE | SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA


class Geometry3(Geometry):
    """``kmem_cache_open`` of Linux 3.x."""

    __slots__ = ()

    def __init__(self, object_size: int, align: int, flags: int, cpus: int) -> None:
        """Add the mask for the page allocator, and what cpus may keep."""
        super().__init__(object_size, align, flags, cpus)
        if self.order:
            self.allocflags |= _GFP_COMP
        if flags & SLAB_CACHE_DMA:
            self.allocflags |= _GFP_DMA
        if flags & SLAB_RECLAIM_ACCOUNT:
            self.allocflags |= _GFP_RECLAIMABLE
        self.cpu_partial = _cpu_partial(self.size)


def _cpu_partial(size: int) -> int:
    """``kmem_cache_open``: how many free objects a cpu's partial slabs may hold."""
    if size >= PAGE_SIZE:
        return 2
    if size >= 1024:
        return 6
    if size >= 256:
        return 13
    return 30


def find_mergeable(
    caches: list[KmemCache], object_size: int, align: int, flags: int
) -> KmemCache | None:
    """``find_mergeable``: the newest cache that can serve these objects as well.

    ``caches`` in order of creation, aliases left out.
    """
    if flags & _SLUB_NEVER_MERGE:
        return None
    size = align_up(object_size, BYTES_PER_WORD)
    align = calculate_alignment(flags, align, size)
    size = align_up(size, align)
    for s in reversed(caches):
        if s.flags & _SLUB_NEVER_MERGE or size > s.size:
            continue
        if flags & _SLUB_MERGE_SAME != s.flags & _SLUB_MERGE_SAME:
            continue
        if s.size & (align - 1) or s.size - size >= BYTES_PER_WORD:
            continue
        return s
    return None


# kmalloc_caches: the caches' sizes in order of creation, and which of them
# ``size_index`` and ``fls`` choose for a size.
KMALLOC_SIZES: Final = (96, 192, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
SLUB_MAX_SIZE: Final = 2 * PAGE_SIZE


def kmalloc_index(size: i64) -> i64:
    """``get_slab``: place in KMALLOC_SIZES of the cache for 1 to SLUB_MAX_SIZE bytes."""
    if size <= 192:
        if size > 128:
            return 1
        if 64 < size <= 96:
            return 0
    index: i64 = 2
    fits: i64 = 8
    while fits < size:
        fits <<= 1
        index += 1
    return index
