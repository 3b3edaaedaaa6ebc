"""What SLAB and SLUB of Linux 6.1 share: the kmalloc caches, merging, alignment.

``mm/slab_common.c``, ``include/linux/slab.h``. There is one set of kmalloc caches for
each type: normal, reclaimable, DMA. Sizes are bytes.

Not modelled: CONFIG_MEMCG_KMEM (kmalloc-cg-*), ``kmem_cache_destroy``.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.config import PAGE_SIZE
from allocator.linux6.gfp import (
    _GFP_COMP,
    _GFP_DMA,
    _GFP_DMA32,
    _GFP_HIGHMEM,
    _GFP_RECLAIMABLE,
)
from allocator.object_allocator import (
    SLAB_CACHE_DMA,
    SLAB_HWCACHE_ALIGN,
    SLAB_MEM_SPREAD,
    SLAB_NOLEAKTRACE,
    SLAB_PANIC,
    SLAB_RECLAIM_ACCOUNT,
)
from allocator.page_allocator import NO_PAGE, PageAllocator
from allocator.slub_cache import (
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
    SLAB_TYPESAFE_BY_RCU,
)

SLAB_KMALLOC: Final = 0x1000
SLAB_CACHE_DMA32: Final = 0x8000

_SLAB_CORE_FLAGS: Final = (
    SLAB_HWCACHE_ALIGN | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_PANIC | SLAB_TYPESAFE_BY_RCU
)
SLUB_CREATE_MASK: Final = _SLAB_CORE_FLAGS | SLAB_NOLEAKTRACE | SLAB_RECLAIM_ACCOUNT
"""CACHE_CREATE_MASK: other flags mean nothing in a build without debugging and memcg."""
SLAB_CREATE_MASK: Final = SLUB_CREATE_MASK | SLAB_MEM_SPREAD

SLAB_NEVER_MERGE: Final = (
    SLAB_RED_ZONE
    | SLAB_POISON
    | SLAB_STORE_USER
    | SLAB_TRACE
    | SLAB_TYPESAFE_BY_RCU
    | SLAB_NOLEAKTRACE
)
SLAB_MERGE_SAME: Final = SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA | SLAB_CACHE_DMA32

GFP_SLAB_BUG_MASK: Final = _GFP_DMA32 | _GFP_HIGHMEM
"""Bits that a slab or a large kmalloc never passes on (``kmalloc_fix_flags``)."""

KMALLOC_MAX_CACHE_SIZE: Final = 2 * PAGE_SIZE
"""Larger sizes go straight to the page allocator."""

# enum kmalloc_cache_type
_KMALLOC_TYPES: Final = (
    ("kmalloc", 0),
    ("kmalloc-rcl", SLAB_RECLAIM_ACCOUNT),
    ("dma-kmalloc", SLAB_CACHE_DMA),
)
_KMALLOC_NORMAL: Final = 0
_KMALLOC_RECLAIM: Final = 1
_KMALLOC_DMA: Final = 2

_NOT_POWERS: Final = (96, 192)
_SHIFTS_BEFORE: Final = (6, 7)
_LARGEST_SHIFT: Final = 13


class KmallocCaches:
    """``kmalloc_caches``: which number the cache for a type and size has.

    They come first: by type, in each type 96, 192, then the powers of two from
    ``1 << shift_low`` (8 in SLUB, 32 in SLAB) to 8192.
    """

    __slots__ = ("_first", "_smallest", "of_type")

    def __init__(self, shift_low: int) -> None:
        """``KMALLOC_SHIFT_LOW`` is the allocator's own."""
        self._smallest: i64 = 1 << shift_low
        self._first: i64 = len(_NOT_POWERS)
        self.of_type: i64 = len(_NOT_POWERS) + _LARGEST_SHIFT - shift_low + 1
        """Caches of each type."""

    def specs(self) -> list[tuple[str, int, int]]:
        """(name, size, creation flags) of each cache, by number."""
        sizes = list(_NOT_POWERS)
        size = int(self._smallest)
        while size <= 1 << _LARGEST_SHIFT:
            sizes.append(size)
            size *= 2
        return [
            (f"{prefix}-{_short(size)}", size, flags | SLAB_KMALLOC)
            for prefix, flags in _KMALLOC_TYPES
            for size in sizes
        ]

    def created(self) -> list[int]:
        """``create_kmalloc_caches``: the caches' numbers in the order in which they come to be."""
        low = int(self._smallest).bit_length() - 1
        order: list[int] = []
        for kind in range(len(_KMALLOC_TYPES)):
            first = kind * int(self.of_type)
            for shift in range(low, _LARGEST_SHIFT + 1):
                order.append(first + len(_NOT_POWERS) + shift - low)
                # 96 and 192 come right after the powers of two below them.
                if shift in _SHIFTS_BEFORE:
                    order.append(first + _SHIFTS_BEFORE.index(shift))
        return order

    def kmalloc_slab(self, size: i64, gfp: i64) -> i64:
        """``kmalloc_slab``: number of the cache for 1 to KMALLOC_MAX_CACHE_SIZE bytes."""
        # kmalloc_type
        kind: i64 = _KMALLOC_NORMAL
        if gfp & (_GFP_DMA | _GFP_RECLAIMABLE):
            kind = _KMALLOC_DMA if gfp & _GFP_DMA else _KMALLOC_RECLAIM
        number = kind * self.of_type
        if 64 < size <= 96:
            return number
        if 128 < size <= 192:
            return number + 1
        number += self._first
        fits = self._smallest
        while fits < size:
            fits <<= 1
            number += 1
        return number


def _short(size: int) -> str:
    return f"{size // 1024}k" if size >= 1024 else str(size)


def kmalloc_align(size: int) -> int:
    """``create_boot_cache``: powers of two are naturally aligned."""
    return size if size & (size - 1) == 0 and size > 8 else 8


def may_merge(size: int, align: int, flags: int, other_size: int, other_flags: int) -> bool:
    """``find_mergeable`` of one candidate: whether it can serve these objects as well.

    ``size`` and ``align`` are as the new cache would have them.
    """
    if other_flags & SLAB_NEVER_MERGE or size > other_size:
        return False
    if flags & SLAB_MERGE_SAME != other_flags & SLAB_MERGE_SAME:
        return False
    return other_size & (align - 1) == 0 and other_size - size < 8


def kmalloc_large_node(pages: PageAllocator, order: i64, gfp: i64, node: i64) -> i64:
    """``__kmalloc_large_node``: pfn or NO_PAGE. They count as unreclaimable slab pages."""
    pfn = pages.alloc_pages(gfp & ~GFP_SLAB_BUG_MASK | _GFP_COMP, order, node)
    if pfn != NO_PAGE:
        pages.page_zone(pfn).slab_unreclaimable += 1 << order
    return pfn


def free_large_kmalloc(pages: PageAllocator, pfn: i64, order: i64) -> None:
    """``free_large_kmalloc``."""
    pages.page_zone(pfn).slab_unreclaimable -= 1 << order
    pages.free_pages(pfn, order, False)


def node_slab_pages(pages: PageAllocator, nodes: int) -> list[list[int]]:
    """NR_SLAB_RECLAIMABLE_B and NR_SLAB_UNRECLAIMABLE_B of each node, in pages."""
    counts = [[0, 0] for _ in range(nodes)]
    for zone in pages.zones:
        counts[int(zone.nid)][0] += int(zone.slab_reclaimable)
        counts[int(zone.nid)][1] += int(zone.slab_unreclaimable)
    return counts
