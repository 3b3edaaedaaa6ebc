"""A SLAB cache of Linux 3.3 and 3.6: its geometry and the structures it is made of.

``mm/slab.c``: ``struct kmem_cache``, ``struct array_cache``, ``struct kmem_list3``,
``struct slab``; ``cache_estimate``, ``calculate_slab_order``, ``kmem_cache_create``,
``enable_cpucache``. Sizes are bytes.

A cache keeps all its slabs in one packed table. A ``slabp`` is an offset into that
table, used as the kernel uses a pointer: ``table[slabp + S_INUSE]``. Behind the
fields of a slab lie its bufctls, one word per object, so that taking or returning
an object touches one place in memory. The table begins with the list heads of
each node.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i64

from allocator import leak
from allocator.config import PAGE_SIZE
from allocator.object_allocator import (
    SLAB_CACHE_DMA,
    SLAB_HWCACHE_ALIGN,
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

# struct slab, as words at slabp, behind S_NEXT and S_PREV.
S_INUSE: Final = 2
S_FREE: Final = 3
"""Index of the first free object, or BUFCTL_END."""
S_FLAGS: Final = 4
"""SLAB_FLAGGED, SLAB_S_MEM_CLEARED, the node, and the place in ``flagged``."""
S_PFN: Final = 5
S_MGMT: Final = 6
"""The off-slab descriptor: an objp of ``slabp_cache``."""
S_COLOUROFF: Final = 7
"""Byte offset of ``s_mem``, the first object, in the slab."""
SLAB_WORDS: Final = 8
"""The bufctls begin here."""

BUFCTL_END: Final = -1

SLAB_FLAGGED: Final = 1
"""A1: every page of the slab carried PageSlabPfmemalloc when it was grown."""
SLAB_S_MEM_CLEARED: Final = 2
"""A4: the flag was taken off the page that ``s_mem`` lies in, and off that page only."""
S_NODE_SHIFT: Final = 2
S_NODE_MASK: Final = 0x3F
S_FLAGGED_SHIFT: Final = 8

BYTES_PER_WORD: Final = 8
L1_CACHE_BYTES: Final = 64
SIZEOF_SLAB: Final = 48
SIZEOF_BUFCTL: Final = 4
KMALLOC_MAX_ORDER: Final = 10

# Ways in which SLAB lets reserve objects out; indices into ``leaks``.
LEAK_NODE_PATH: Final = 0
LEAK_FORCED_REFILL: Final = 1
LEAK_WRONG_CACHE: Final = 2
LEAK_DESCRIPTOR_CACHE: Final = 3
LEAK_PARTIAL_UNFLAG: Final = 4
LEAK_NO_MEMALLOC_SOCKS: Final = 5
LEAK_NAMES: Final = (
    leak.NODE_PATH,
    leak.FORCED_REFILL,
    leak.WRONG_CACHE,
    leak.DESCRIPTOR_CACHE,
    leak.PARTIAL_UNFLAG,
    leak.NO_MEMALLOC_SOCKS,
)


class KmemList3:
    """``struct kmem_list3``: one node's share of a cache. The lists' heads are in the table."""

    __slots__ = (
        "alien",
        "colour_next",
        "free_limit",
        "free_objects",
        "free_touched",
        "head",
        "pfmemalloc_slabs",
        "shared",
    )

    def __init__(self, head: int, free_limit: int) -> None:
        """``kmem_list3_init``."""
        self.head: i64 = head
        """Offset of the node's list heads in the table."""
        self.shared: ArrayCache | None = None
        self.alien: list[ArrayCache | None] | None = None
        self.free_objects: i64 = 0
        self.free_limit: i64 = free_limit
        self.colour_next: i64 = 0
        self.free_touched: bool = False
        self.pfmemalloc_slabs: i64 = 0
        """Slabs for which ``is_slab_pfmemalloc`` holds: what A9 would find by walking."""


class KmemCache:
    """``struct kmem_cache`` with its slab table."""

    __slots__ = (
        "active",
        "allocations",
        "allochit",
        "allocmiss",
        "array",
        "batchcount",
        "buffer_size",
        "colour",
        "colour_off",
        "flagged",
        "flags",
        "forced_refills",
        "freehit",
        "freemiss",
        "gfpflags",
        "gfporder",
        "grown",
        "leaks",
        "limit",
        "name",
        "node_allocs",
        "node_frees",
        "nodelists",
        "nr_slabs",
        "num",
        "number",
        "object_size",
        "off_slab",
        "pfmemalloc_slabs",
        "reaped",
        "recycled",
        "shared",
        "slab_size",
        "slabp_cache",
        "swaps",
        "table",
        "unflagged",
    )

    def __init__(
        self,
        number: int,
        name: str,
        geometry: Geometry,
        slabp_cache: KmemCache | None,
        cpus_on_node: list[int],
        alien: bool,
    ) -> None:
        """Set up arrays and lists for the machine (``setup_cpu_cache``, ``do_tune_cpucache``)."""
        nodes = len(cpus_on_node)
        cpus = sum(cpus_on_node)
        self.number: i64 = number
        self.name: str = name
        self.object_size: i64 = geometry.object_size
        self.buffer_size: i64 = geometry.buffer_size
        self.num: i64 = geometry.num
        self.gfporder: i64 = geometry.gfporder
        self.flags: i64 = geometry.flags
        self.gfpflags: i64 = geometry.gfpflags
        self.off_slab: bool = geometry.off_slab
        self.slab_size: i64 = geometry.slab_size
        self.slabp_cache: KmemCache | None = slabp_cache
        self.colour: i64 = geometry.colour
        self.colour_off: i64 = geometry.colour_off
        limit = cpucache_limit(geometry.buffer_size)
        self.limit: i64 = limit
        self.batchcount: i64 = (limit + 1) // 2
        self.shared: i64 = 8 if geometry.buffer_size <= PAGE_SIZE and cpus > 1 else 0
        batchcount = (limit + 1) // 2
        self.array: list[ArrayCache] = [ArrayCache(limit, batchcount) for _ in range(cpus)]
        self.nodelists: list[KmemList3] = []
        heads: list[int] = []
        for node in range(nodes):
            l3 = KmemList3(node * HEAD_WORDS, (1 + cpus_on_node[node]) * batchcount + geometry.num)
            if self.shared:
                l3.shared = ArrayCache(int(self.shared) * batchcount, batchcount)
            if alien:
                alien_limit = ALIEN_LIMIT if limit > 1 else limit
                l3.alien = [
                    None if other == node else ArrayCache(alien_limit, batchcount)
                    for other in range(nodes)
                ]
            self.nodelists.append(l3)
            for which in (SLABS_FULL, SLABS_PARTIAL, SLABS_FREE):
                head = node * HEAD_WORDS + which
                heads += [head, head]
        self.table: vec[i64] = vec[i64](heads)
        self.recycled: i64 = -1
        """Chain, by S_NEXT, of destroyed slabs' places in the table."""
        self.nr_slabs: i64 = 0
        self.pfmemalloc_slabs: i64 = 0
        """Slabs with any flagged page."""
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
        self.allocations: i64 = 0
        self.node_allocs: i64 = 0
        self.node_frees: i64 = 0
        # What the patch does.
        self.forced_refills: i64 = 0
        self.swaps: i64 = 0
        self.unflagged: i64 = 0
        self.leaks: vec[i64] = vec[i64]([0] * len(LEAK_NAMES))

    def new_slab_place(self) -> i64:
        """A place in the table for one more slab. The table may be replaced."""
        slabp = self.recycled
        if slabp >= 0:
            self.recycled = self.table[slabp + S_NEXT]
            return slabp
        table = self.table
        # Slabs begin at multiples of 8 words only by habit; any offset would do.
        slabp = len(table)
        words = SLAB_WORDS + self.num
        while words > 0:
            table = append(table, 0)
            words -= 1
        self.table = table
        return slabp

    def flagged_add(self, slabp: i64) -> None:
        """Remember that a slab has flagged pages."""
        at = self.pfmemalloc_slabs
        if at < len(self.flagged):
            self.flagged[at] = slabp
        else:
            self.flagged = append(self.flagged, slabp)
        self.table[slabp + S_FLAGS] |= at << S_FLAGGED_SHIFT
        self.pfmemalloc_slabs = at + 1

    def flagged_remove(self, slabp: i64) -> None:
        """Forget a slab whose pages carry no flag any more, or that goes."""
        table = self.table
        flagged = self.flagged
        at = table[slabp + S_FLAGS] >> S_FLAGGED_SHIFT
        last = self.pfmemalloc_slabs - 1
        moved = flagged[last]
        flagged[at] = moved
        low = (1 << S_FLAGGED_SHIFT) - 1
        table[moved + S_FLAGS] = table[moved + S_FLAGS] & low | at << S_FLAGGED_SHIFT
        table[slabp + S_FLAGS] &= low
        self.pfmemalloc_slabs = last


class Geometry:
    """What ``kmem_cache_create`` computes of size, alignment and flags."""

    __slots__ = (
        "buffer_size",
        "colour",
        "colour_off",
        "flags",
        "gfpflags",
        "gfporder",
        "num",
        "object_size",
        "off_slab",
        "slab_size",
    )

    def __init__(self, size: int, align: int, flags: int, slab_max_order: int, early: bool) -> None:
        """Follow ``kmem_cache_create``; ``early`` while only on-slab caches may be made.

        Raises ValueError for a cache that cannot be built.
        """
        self.object_size: int = size
        size = -(-size // BYTES_PER_WORD) * BYTES_PER_WORD
        ralign = BYTES_PER_WORD
        if flags & SLAB_HWCACHE_ALIGN:
            # Squeeze several small objects into one cache line.
            ralign = L1_CACHE_BYTES
            while size <= ralign // 2:
                ralign //= 2
        align = max(ralign, align)
        off_slab = size >= PAGE_SIZE >> 3 and not early and not flags & SLAB_NOLEAKTRACE
        size = _align(size, align)
        left_over = self._calculate_slab_order(size, align, flags, off_slab, slab_max_order)
        slab_size = _align(self.num * SIZEOF_BUFCTL + SIZEOF_SLAB, align)
        if off_slab and left_over >= slab_size:
            # Enough space after all: move it on-slab, at the expense of colouring.
            off_slab = False
            left_over -= slab_size
        if off_slab:
            slab_size = self.num * SIZEOF_BUFCTL + SIZEOF_SLAB
        self.buffer_size: int = size
        self.off_slab: bool = off_slab
        self.slab_size: int = slab_size
        self.colour_off: int = max(L1_CACHE_BYTES, align)
        self.colour: int = left_over // self.colour_off
        self.flags: int = flags
        self.gfpflags: int = 1 if flags & SLAB_CACHE_DMA else 0

    def _calculate_slab_order(
        self, size: int, align: int, flags: int, off_slab: bool, slab_max_order: int
    ) -> int:
        """``calculate_slab_order``: sets ``num`` and ``gfporder``, returns the left-over."""
        self.num: int = 0
        self.gfporder: int = 0
        left_over = 0
        for gfporder in range(KMALLOC_MAX_ORDER + 1):
            num, remainder = _cache_estimate(gfporder, size, align, off_slab)
            if num == 0:
                continue
            if off_slab and num > (size - SIZEOF_SLAB) // SIZEOF_BUFCTL:
                break
            self.num = num
            self.gfporder = gfporder
            left_over = remainder
            if flags & SLAB_RECLAIM_ACCOUNT or gfporder >= slab_max_order:
                break
            if left_over * 8 <= PAGE_SIZE << gfporder:
                break
        if self.num == 0:
            raise ValueError(f"no slab can hold an object of {size} bytes")
        return left_over


def _cache_estimate(gfporder: int, size: int, align: int, off_slab: bool) -> tuple[int, int]:
    """``cache_estimate``: objects in a slab of this order, and the bytes left over."""
    slab_bytes = PAGE_SIZE << gfporder
    if off_slab:
        num = slab_bytes // size
        return num, slab_bytes - num * size
    num = (slab_bytes - SIZEOF_SLAB) // (size + SIZEOF_BUFCTL)
    if num > 0 and _slab_mgmt_size(num, align) + num * size > slab_bytes:
        num -= 1
    return num, slab_bytes - num * size - _slab_mgmt_size(num, align)


def _slab_mgmt_size(num: int, align: int) -> int:
    """``slab_mgmt_size``."""
    return _align(SIZEOF_SLAB + num * SIZEOF_BUFCTL, align)


def _align(size: int, align: int) -> int:
    return -(-size // align) * align
