"""A SLAB cache of Linux 6.1: its geometry and the structures it is made of.

``mm/slab.c``: ``struct kmem_cache``, ``struct kmem_cache_node``, what ``struct slab`` says of
a slab; ``cache_estimate``, ``calculate_slab_order``, ``__kmem_cache_create``. Sizes are bytes.

A slab's free list is an array of object indices: the first ``active`` places are used up, the
others name the free objects in the order they will be given. The kernel keeps that array in
one of the free objects (objfreelist), behind the objects, or in an object of a kmalloc cache
(off-slab); here it lies behind the slab's fields in the cache's table. A slab's offset there
is never 0, so 0 stands for none.

Not modelled: colouring, which nothing here can tell.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i64

from allocator import leak
from allocator.config import PAGE_SIZE
from allocator.linux6.gfp import _GFP_COMP, _GFP_DMA, _GFP_DMA32, _GFP_RECLAIMABLE
from allocator.linux6.slab_common import SLAB_CACHE_DMA32, SLAB_NEVER_MERGE, may_merge
from allocator.object_allocator import (
    SLAB_CACHE_DMA,
    SLAB_NOLEAKTRACE,
    SLAB_RECLAIM_ACCOUNT,
)
from allocator.slab_cache import (
    ALIEN_LIMIT,
    HEAD_WORDS,
    S_NEXT,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
    ArrayCache,
    cpucache_limit,
)
from allocator.slub_cache import (
    BYTES_PER_WORD,
    SLAB_TYPESAFE_BY_RCU,
    align_up,
    calculate_alignment,
)

# struct slab, as words at slabp, behind S_NEXT and S_PREV.
S_ACTIVE: Final = 2
"""Objects taken from the slab; the free list's first place that counts."""
S_FLAGS: Final = 3
"""SLAB_PFMEMALLOC, the node, and the place in ``flagged``."""
S_PFN: Final = 4
S_MGMT: Final = 5
"""The off-slab free list: an objp of ``freelist_cache``."""
SLAB_WORDS: Final = 6
"""The free list begins here."""

NO_SLAB: Final = 0

SLAB_PFMEMALLOC: Final = 1
"""``slab_test_pfmemalloc``: the slab's page came from the reserve."""
S_NODE_SHIFT: Final = 2
S_NODE_MASK: Final = 0x3F
S_FLAGGED_SHIFT: Final = 8

# Ways in which SLAB lets reserve objects out; indices into ``leaks``.
LEAK_GROW_FILLS_ARRAY: Final = 0
LEAK_SHARED_ARRAY: Final = 1
LEAK_NAMES: Final = (leak.GROW_FILLS_ARRAY, leak.SHARED_ARRAY)

KMALLOC_SHIFT_LOW: Final = 5
_KMALLOC_MAX_ORDER: Final = 10
_SLAB_OBJ_MIN_SIZE: Final = 16
SIZEOF_FREELIST_IDX: Final = 1
_SLAB_OBJ_MAX_NUM: Final = 255
_L1_CACHE_BYTES: Final = 64

# Where the free list is kept.
_OBJFREELIST: Final = 0
_OFF_SLAB: Final = 1
_ON_SLAB: Final = 2


class KmemCacheNode:
    """``struct kmem_cache_node``: one node's share of a cache. Its lists are in the table."""

    __slots__ = (
        "alien",
        "free_limit",
        "free_objects",
        "free_slabs",
        "free_touched",
        "head",
        "shared",
        "total_slabs",
    )

    def __init__(self, head: int, free_limit: int) -> None:
        """``kmem_cache_node_init``."""
        self.head: i64 = head
        """Offset of the node's list heads in the table."""
        self.shared: ArrayCache | None = None
        self.alien: list[ArrayCache | None] | None = None
        self.free_objects: i64 = 0
        """Free objects in the node's slabs; those in arrays do not count."""
        self.free_limit: i64 = free_limit
        self.free_touched: bool = False
        self.total_slabs: i64 = 0
        self.free_slabs: i64 = 0


class KmemCache:
    """``struct kmem_cache`` with its slab table."""

    __slots__ = (
        "active",
        "align",
        "allocations",
        "allocflags",
        "allochit",
        "allocmiss",
        "array",
        "batchcount",
        "colour",
        "colour_off",
        "flagged",
        "flags",
        "freehit",
        "freelist_cache",
        "freemiss",
        "gfporder",
        "grown",
        "leaks",
        "limit",
        "name",
        "node",
        "node_allocs",
        "node_frees",
        "nr_slabs",
        "num",
        "number",
        "object_size",
        "objfreelist",
        "pfmemalloc_slabs",
        "reaped",
        "recycled",
        "shared",
        "size",
        "table",
        "unflagged",
    )

    def __init__(
        self,
        number: int,
        name: str,
        geometry: Geometry,
        freelist_cache: KmemCache | None,
        cpus_on_node: list[int],
    ) -> None:
        """Set up arrays and lists for the machine (``enable_cpucache``, ``do_tune_cpucache``).

        ``freelist_cache`` keeps the free lists, if they are kept off-slab.
        """
        nodes = len(cpus_on_node)
        cpus = sum(cpus_on_node)
        self.number: i64 = number
        self.name: str = name
        self.object_size: i64 = geometry.object_size
        self.size: i64 = geometry.size
        self.align: i64 = geometry.align
        self.num: i64 = geometry.num
        self.gfporder: i64 = geometry.gfporder
        self.flags: i64 = geometry.flags
        self.allocflags: i64 = geometry.allocflags
        self.objfreelist: bool = geometry.placement == _OBJFREELIST
        self.freelist_cache: KmemCache | None = freelist_cache
        self.colour: i64 = geometry.colour
        self.colour_off: i64 = geometry.colour_off
        limit = cpucache_limit(geometry.size)
        batchcount = (limit + 1) // 2
        shared = 8 if geometry.size <= PAGE_SIZE and cpus > 1 else 0
        self.limit: i64 = limit
        self.batchcount: i64 = batchcount
        self.shared: i64 = shared
        self.array: list[ArrayCache] = [ArrayCache(limit, batchcount) for _ in range(cpus)]
        self.node: list[KmemCacheNode] = []
        heads: list[int] = []
        for nid in range(nodes):
            n = KmemCacheNode(nid * HEAD_WORDS, (1 + cpus_on_node[nid]) * batchcount + geometry.num)
            if shared:
                n.shared = ArrayCache(shared * batchcount, batchcount)
            if nodes > 1:
                alien_limit = ALIEN_LIMIT if limit > 1 else limit
                n.alien = [
                    None if other == nid else ArrayCache(alien_limit, batchcount)
                    for other in range(nodes)
                ]
            self.node.append(n)
            for which in (SLABS_FULL, SLABS_PARTIAL, SLABS_FREE):
                head = nid * HEAD_WORDS + which
                heads += [head, head]
        self.table: vec[i64] = vec[i64](heads)
        self.recycled: i64 = NO_SLAB
        """Chain, by S_NEXT, of destroyed slabs' places in the table."""
        self.nr_slabs: i64 = 0
        self.pfmemalloc_slabs: i64 = 0
        """Slabs that carry SLAB_PFMEMALLOC."""
        self.flagged: vec[i64] = vec[i64]()
        """Those slabs, in no order: the first ``pfmemalloc_slabs`` entries."""
        # The kernel's own statistics (STATS).
        self.allochit: i64 = 0
        self.allocmiss: i64 = 0
        self.freehit: i64 = 0
        self.freemiss: i64 = 0
        self.grown: i64 = 0
        self.reaped: i64 = 0
        self.active: i64 = 0
        """May fall below 0: objects that go past the arrays are not all counted when taken."""
        self.allocations: i64 = 0
        self.node_allocs: i64 = 0
        self.node_frees: i64 = 0
        # What the kernel does not count.
        self.unflagged: i64 = 0
        """Slabs that lost their flag because the node had objects enough."""
        self.leaks: vec[i64] = vec[i64]([0] * len(LEAK_NAMES))

    def new_slab_place(self) -> i64:
        """A place in the table for one more slab. The table may be replaced."""
        slabp = self.recycled
        if slabp != NO_SLAB:
            self.recycled = self.table[slabp + S_NEXT]
            return slabp
        table = self.table
        slabp = len(table)
        words = SLAB_WORDS + self.num
        while words > 0:
            table = append(table, 0)
            words -= 1
        self.table = table
        return slabp

    def flagged_add(self, slabp: i64) -> None:
        """``slab_set_pfmemalloc``."""
        at = self.pfmemalloc_slabs
        if at < len(self.flagged):
            self.flagged[at] = slabp
        else:
            self.flagged = append(self.flagged, slabp)
        self.table[slabp + S_FLAGS] |= SLAB_PFMEMALLOC | at << S_FLAGGED_SHIFT
        self.pfmemalloc_slabs = at + 1

    def flagged_remove(self, slabp: i64) -> None:
        """``slab_clear_pfmemalloc``."""
        table = self.table
        flagged = self.flagged
        low = (1 << S_FLAGGED_SHIFT) - 1
        at = table[slabp + S_FLAGS] >> S_FLAGGED_SHIFT
        last = self.pfmemalloc_slabs - 1
        moved = flagged[last]
        flagged[at] = moved
        table[moved + S_FLAGS] = table[moved + S_FLAGS] & low | at << S_FLAGGED_SHIFT
        table[slabp + S_FLAGS] &= low & ~SLAB_PFMEMALLOC
        self.pfmemalloc_slabs = last


class Geometry:
    """What ``__kmem_cache_create`` computes of size, alignment and flags."""

    __slots__ = (
        "align",
        "allocflags",
        "colour",
        "colour_off",
        "flags",
        "gfporder",
        "num",
        "object_size",
        "placement",
        "size",
    )

    def __init__(
        self,
        object_size: int,
        align: int,
        flags: int,
        slab_max_order: int,
        freelist_caches: list[KmemCache],
    ) -> None:
        """Follow ``__kmem_cache_create``; ``align`` as ``calculate_alignment`` gives it.

        ``freelist_caches`` are the kmalloc caches that exist, smallest first. Raises
        ValueError for a cache that cannot be built.
        """
        self.object_size: int = object_size
        self.flags: int = flags
        self.align: int = max(BYTES_PER_WORD, align)
        self.colour_off: int = max(_L1_CACHE_BYTES, self.align)
        size = align_up(align_up(object_size, BYTES_PER_WORD), self.align)
        if size < _SLAB_OBJ_MIN_SIZE:
            size = align_up(_SLAB_OBJ_MIN_SIZE, self.align)
        self.size: int = size
        self.num: int = 0
        self.gfporder: int = 0
        self.placement: int = _OBJFREELIST
        left = self._place(slab_max_order, freelist_caches)
        if self.num == 0:
            raise ValueError(f"no slab can hold an object of {object_size} bytes")
        self.colour: int = left // self.colour_off
        self.allocflags: int = _GFP_COMP
        if flags & SLAB_CACHE_DMA:
            self.allocflags |= _GFP_DMA
        if flags & SLAB_CACHE_DMA32:
            self.allocflags |= _GFP_DMA32
        if flags & SLAB_RECLAIM_ACCOUNT:
            self.allocflags |= _GFP_RECLAIMABLE

    def _place(self, slab_max_order: int, freelist_caches: list[KmemCache]) -> int:
        """Choose where the free list goes; returns the bytes left over in a slab."""
        # set_objfreelist_slab_cache: into a free object, if it fits there.
        if not self.flags & SLAB_TYPESAFE_BY_RCU:
            left = self._calculate_slab_order(slab_max_order, freelist_caches)
            if 0 < self.num * SIZEOF_FREELIST_IDX <= self.object_size:
                return left
        # set_off_slab_cache: into a kmalloc object, unless the slab has room after all.
        if not self.flags & SLAB_NOLEAKTRACE:
            self.placement = _OFF_SLAB
            left = self._calculate_slab_order(slab_max_order, freelist_caches)
            if self.num > 0 and left < self.num * SIZEOF_FREELIST_IDX:
                return left
        self.placement = _ON_SLAB
        return self._calculate_slab_order(slab_max_order, freelist_caches)

    def _calculate_slab_order(self, slab_max_order: int, freelist_caches: list[KmemCache]) -> int:
        """``calculate_slab_order``: sets ``num`` and ``gfporder``, returns the left-over."""
        self.num = 0
        left_over = 0
        for gfporder in range(_KMALLOC_MAX_ORDER + 1):
            # cache_estimate
            slab_size = PAGE_SIZE << gfporder
            each = self.size + (SIZEOF_FREELIST_IDX if self.placement == _ON_SLAB else 0)
            num = slab_size // each
            if num == 0:
                continue
            if num > _SLAB_OBJ_MAX_NUM:
                break
            if self.placement == _OFF_SLAB:
                cache = find_freelist_cache(freelist_caches, num * SIZEOF_FREELIST_IDX)
                if cache is None or cache.freelist_cache is not None:
                    continue
                # Not worth it for small objects.
                if cache.size > self.object_size // 2:
                    continue
            self.num = num
            self.gfporder = gfporder
            left_over = slab_size - num * each
            if self.flags & SLAB_RECLAIM_ACCOUNT or gfporder >= slab_max_order:
                break
            if left_over * 8 <= slab_size:
                break
        return left_over

    def off_slab(self) -> bool:
        """``OFF_SLAB``."""
        return self.placement == _OFF_SLAB


def find_freelist_cache(caches: list[KmemCache], freelist_size: int) -> KmemCache | None:
    """The kmalloc cache for an off-slab free list; ``caches`` smallest first."""
    for cache in caches:
        if freelist_size <= cache.object_size:
            return cache
    return None


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
    for cache in caches:
        if may_merge(size, align, flags, int(cache.size), int(cache.flags)) and (
            align <= cache.align and cache.align % align == 0
        ):
            return cache
    return None
