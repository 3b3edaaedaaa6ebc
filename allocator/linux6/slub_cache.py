"""How Linux 6.1 sizes SLUB caches (``mm/slub.c``: ``calculate_sizes``, ``set_cpu_partial``).

What all kernels share is in :mod:`allocator.slub_cache`, what SLAB does alike in
:mod:`allocator.linux6.slab_common`. Sizes are bytes.
"""

from __future__ import annotations

from typing import Final

from allocator import leak
from allocator.config import PAGE_SIZE
from allocator.linux6.gfp import _GFP_COMP, _GFP_DMA, _GFP_DMA32, _GFP_RECLAIMABLE
from allocator.linux6.slab_common import SLAB_CACHE_DMA32, SLAB_NEVER_MERGE, may_merge
from allocator.object_allocator import SLAB_CACHE_DMA, SLAB_RECLAIM_ACCOUNT
from allocator.slub_cache import (
    BYTES_PER_WORD,
    LEAKS,
    SLAB_POISON,
    SLAB_TYPESAFE_BY_RCU,
    Geometry,
    KmemCache,
    align_up,
    calculate_alignment,
)

LEAK_FAST_PATH: Final = LEAKS
"""The fast path does not look."""
LEAK_NOFAIL_SLAB: Final = LEAKS + 1
"""The slab was grown from the reserve for a ``__GFP_NOFAIL`` caller."""
LEAK_NAMES: Final = (leak.FAST_PATH, leak.NOFAIL)

KMALLOC_SHIFT_LOW: Final = 3


class Geometry6(Geometry):
    """``kmem_cache_open`` of Linux 6.1."""

    __slots__ = ()

    def __init__(self, object_size: int, align: int, flags: int, cpus: int) -> None:
        """Add the free pointer's place, the mask for the page allocator, what cpus may keep."""
        super().__init__(object_size, align, flags, cpus)
        if not flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON):
            # Near the middle of the object, away from overflows of its neighbours.
            self.offset = object_size // 2 // BYTES_PER_WORD * BYTES_PER_WORD
        if self.order:
            self.allocflags |= _GFP_COMP
        if flags & SLAB_CACHE_DMA:
            self.allocflags |= _GFP_DMA
        if flags & SLAB_CACHE_DMA32:
            self.allocflags |= _GFP_DMA32
        if flags & SLAB_RECLAIM_ACCOUNT:
            self.allocflags |= _GFP_RECLAIMABLE
        self.cpu_partial = _cpu_partial(self.size)
        # Slabs on a cpu's partial list are taken to be half full.
        self.cpu_partial_slabs = -(-self.cpu_partial * 2 // self.objects)


def _cpu_partial(size: int) -> int:
    """``set_cpu_partial``: how many free objects a cpu's partial slabs should hold."""
    if size >= PAGE_SIZE:
        return 6
    if size >= 1024:
        return 24
    if size >= 256:
        return 52
    return 120


def find_mergeable(
    caches: list[KmemCache], object_size: int, align: int, flags: int
) -> KmemCache | None:
    """``find_mergeable``: the oldest cache that can serve these objects as well.

    ``caches`` in order of creation, aliases and kmalloc caches left out.
    """
    if flags & SLAB_NEVER_MERGE:
        return None
    size = align_up(object_size, BYTES_PER_WORD)
    align = calculate_alignment(flags, align, size)
    size = align_up(size, align)
    for s in caches:
        if may_merge(size, align, flags, int(s.size), int(s.flags)):
            return s
    return None
