"""A SLUB cache of Linux 3.3 and 3.6: its geometry and the structures it is made of.

``mm/slub.c``: ``struct kmem_cache``, ``struct kmem_cache_node``, ``struct
kmem_cache_cpu``, the part of ``struct page`` that describes a slab;
``calculate_alignment``, ``calculate_order``, ``calculate_sizes``,
``kmem_cache_open``, ``find_mergeable``. Sizes are bytes.

A cache keeps everything that changes in one packed table::

    0              enum stat_item and the patch's own counters, one word each
    NODES          struct kmem_cache_node of each node, NODE_WORDS each
    cpus           struct kmem_cache_cpu of each cpu, CPU_WORDS each
    first_slab     the slabs, ``slab_words`` each

Offsets into the table are used as the kernel uses pointers, and 0 is NULL. A
``page`` is a slab's offset: ``table[page + S_INUSE]``. Behind its fields lies one
word per object, standing for the object and holding its free pointer: the offset of
the next free object's word. So ``table[freelist]`` is ``get_freepointer``, and
taking or returning an object touches one place in memory. Slabs of one cache may
hold different numbers of objects (order fallback); each has room for the most.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i64

from allocator.config import PAGE_SIZE
from allocator.linux3.gfp import _GFP_COMP, _GFP_DMA, _GFP_RECLAIMABLE
from allocator.object_allocator import (
    SLAB_CACHE_DMA,
    SLAB_HWCACHE_ALIGN,
    SLAB_NOLEAKTRACE,
    SLAB_RECLAIM_ACCOUNT,
)
from allocator.zone import MAX_ORDER

NULL: Final = 0

# enum stat_item, as words at the start of the table.
ALLOC_FASTPATH: Final = 0
ALLOC_SLOWPATH: Final = 1
FREE_FASTPATH: Final = 2
FREE_SLOWPATH: Final = 3
FREE_FROZEN: Final = 4
FREE_ADD_PARTIAL: Final = 5
FREE_REMOVE_PARTIAL: Final = 6
ALLOC_FROM_PARTIAL: Final = 7
ALLOC_SLAB: Final = 8
ALLOC_REFILL: Final = 9
ALLOC_NODE_MISMATCH: Final = 10
FREE_SLAB: Final = 11
CPUSLAB_FLUSH: Final = 12
DEACTIVATE_FULL: Final = 13
DEACTIVATE_EMPTY: Final = 14
DEACTIVATE_TO_HEAD: Final = 15
DEACTIVATE_TO_TAIL: Final = 16
DEACTIVATE_REMOTE_FREES: Final = 17
DEACTIVATE_BYPASS: Final = 18
ORDER_FALLBACK: Final = 19
CPU_PARTIAL_ALLOC: Final = 20
CPU_PARTIAL_FREE: Final = 21
CPU_PARTIAL_NODE: Final = 22
"""Linux 3.6 only, like CPU_PARTIAL_DRAIN."""
CPU_PARTIAL_DRAIN: Final = 23

STAT_NAMES: Final = (
    "alloc_fastpath",
    "alloc_slowpath",
    "free_fastpath",
    "free_slowpath",
    "free_frozen",
    "free_add_partial",
    "free_remove_partial",
    "alloc_from_partial",
    "alloc_slab",
    "alloc_refill",
    "alloc_node_mismatch",
    "free_slab",
    "cpuslab_flush",
    "deactivate_full",
    "deactivate_empty",
    "deactivate_to_head",
    "deactivate_to_tail",
    "deactivate_remote_frees",
    "deactivate_bypass",
    "order_fallback",
    "cpu_partial_alloc",
    "cpu_partial_free",
    "cpu_partial_node",
    "cpu_partial_drain",
)
"""Their names in ``/sys/kernel/slab``. The kernel's two CMPXCHG_DOUBLE counters are
left out: one operation at a time, nothing ever has to be done again."""

# What the kernel does not count.
PFMEMALLOC_MISMATCH: Final = 24
"""Slabs refused by ``pfmemalloc_match`` (U3)."""
LEAK_FAST_PATH: Final = 25
"""Reserve objects to callers without entitlement: the fast path did not look."""
LEAK_SAME_SLAB: Final = 26
"""The same: the slab refused (U4) was taken straight back from its node's list."""
LEAK_PARTIAL_SLAB: Final = 27
"""The same: another flagged slab came from a node's list."""

# struct kmem_cache_node: the head of the partial list (S_NEXT, S_PREV) and its length.
NODES: Final = 28
NODE_WORDS: Final = 4
N_NR_PARTIAL: Final = 2

# struct kmem_cache_cpu.
CPU_WORDS: Final = 4
C_FREELIST: Final = 0
C_PAGE: Final = 1
C_PARTIAL: Final = 2
"""First of the frozen partial slabs, chained by S_NEXT."""

# struct page of a slab's head page, as words at page.
S_NEXT: Final = 0
S_PREV: Final = 1
S_PAGES: Final = 1
"""On a cpu's partial list: slabs from here on. Shares a word with S_PREV, as in ``struct page``."""
S_POBJECTS: Final = 2
"""On a cpu's partial list: free objects from here on, as counted when each slab came."""
S_INUSE: Final = 3
S_FREELIST: Final = 4
S_OBJECTS: Final = 5
S_FLAGS: Final = 6
"""SLAB_FROZEN, SLAB_PFMEMALLOC, the order, the node, and the place in ``flagged``."""
S_PFN: Final = 7
"""First page frame of the slab; NO_SLAB where none is."""
SLAB_WORDS: Final = 8
"""The objects' words begin here."""

NO_SLAB: Final = -1

SLAB_FROZEN: Final = 1
"""``page->frozen``: some cpu's own, on no node's list."""
SLAB_PFMEMALLOC: Final = 2
"""PageSlabPfmemalloc: the slab came from the reserve (U1)."""
S_ORDER_SHIFT: Final = 2
S_ORDER_MASK: Final = 15
S_NODE_SHIFT: Final = 6
S_NODE_MASK: Final = 63
S_FLAGGED_SHIFT: Final = 12

SLUB_MAX_ORDER: Final = 3
"""PAGE_ALLOC_COSTLY_ORDER. ``slub_min_order`` and ``slub_min_objects`` are 0."""
_MIN_PARTIAL: Final = 5
_MAX_PARTIAL: Final = 10
_BYTES_PER_WORD: Final = 8
_L1_CACHE_BYTES: Final = 64
_DEFRAG_RATIO: Final = 1000

# Creation flags that matter to SLUB alone (include/linux/slab.h).
_SLAB_DEBUG_FREE: Final = 0x100
_SLAB_RED_ZONE: Final = 0x400
_SLAB_POISON: Final = 0x800
_SLAB_STORE_USER: Final = 0x10000
_SLAB_DESTROY_BY_RCU: Final = 0x80000
_SLAB_TRACE: Final = 0x200000

_SLUB_NEVER_MERGE: Final = (
    _SLAB_RED_ZONE
    | _SLAB_POISON
    | _SLAB_STORE_USER
    | _SLAB_TRACE
    | _SLAB_DESTROY_BY_RCU
    | SLAB_NOLEAKTRACE
)
_SLUB_MERGE_SAME: Final = _SLAB_DEBUG_FREE | SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA


class KmemCache:
    """``struct kmem_cache`` with its table."""

    __slots__ = (
        "_recycled",
        "align",
        "allocflags",
        "cpu_partial",
        "cpus",
        "defrag_ratio",
        "first_slab",
        "flagged",
        "flags",
        "inuse",
        "min_objects",
        "min_order",
        "min_partial",
        "name",
        "nr_slabs",
        "number",
        "objects",
        "objsize",
        "offset",
        "order",
        "pfmemalloc_slabs",
        "size",
        "slab_words",
        "table",
        "total_objects",
    )

    def __init__(
        self, number: int, name: str, geometry: Geometry, cpus: int, nodes: int, *, numa: bool
    ) -> None:
        """``kmem_cache_open``: no slabs yet."""
        self.number: i64 = number
        self.name: str = name
        self.objsize: i64 = geometry.objsize
        self.size: i64 = geometry.size
        self.inuse: i64 = geometry.inuse
        self.align: i64 = geometry.align
        self.offset: i64 = geometry.offset
        self.flags: i64 = geometry.flags
        self.allocflags: i64 = geometry.allocflags
        self.order: i64 = geometry.order
        self.objects: i64 = geometry.objects
        self.min_order: i64 = geometry.min_order
        self.min_objects: i64 = geometry.min_objects
        self.min_partial: i64 = geometry.min_partial
        self.cpu_partial: i64 = geometry.cpu_partial
        self.defrag_ratio: i64 = _DEFRAG_RATIO if numa else 0
        self.cpus: i64 = NODES + nodes * NODE_WORDS
        """Offset of cpu 0's ``struct kmem_cache_cpu``."""
        self.first_slab: i64 = self.cpus + cpus * CPU_WORDS
        self.slab_words: i64 = SLAB_WORDS + geometry.objects
        self.table: vec[i64] = vec[i64]([0] * int(self.first_slab))
        for node in range(nodes):
            n = NODES + node * NODE_WORDS
            self.table[n + S_NEXT] = n
            self.table[n + S_PREV] = n
        self._recycled: i64 = NULL
        """Chain, by S_NEXT, of discarded slabs' places in the table."""
        self.nr_slabs: i64 = 0
        self.total_objects: i64 = 0
        """Objects of all slabs, in use or free."""
        self.pfmemalloc_slabs: i64 = 0
        """Slabs that carry SLAB_PFMEMALLOC."""
        self.flagged: vec[i64] = vec[i64]()
        """Those slabs, in no order: the first ``pfmemalloc_slabs`` entries."""

    def new_slab_place(self) -> i64:
        """A place in the table for one more slab. The table may be replaced."""
        page = self._recycled
        if page != NULL:
            self._recycled = self.table[page + S_NEXT]
            return page
        table = self.table
        page = len(table)
        words = self.slab_words
        while words > 0:
            table = append(table, 0)
            words -= 1
        self.table = table
        return page

    def recycle(self, page: i64) -> None:
        """Forget a slab: its place is free for another."""
        self.table[page + S_PFN] = NO_SLAB
        self.table[page + S_NEXT] = self._recycled
        self._recycled = page

    def flagged_add(self, page: i64) -> None:
        """Set a slab's SLAB_PFMEMALLOC (U1)."""
        at = self.pfmemalloc_slabs
        if at < len(self.flagged):
            self.flagged[at] = page
        else:
            self.flagged = append(self.flagged, page)
        self.table[page + S_FLAGS] |= SLAB_PFMEMALLOC | at << S_FLAGGED_SHIFT
        self.pfmemalloc_slabs = at + 1

    def flagged_remove(self, page: i64) -> None:
        """Forget a flagged slab, which goes (U2)."""
        table = self.table
        flagged = self.flagged
        at = table[page + S_FLAGS] >> S_FLAGGED_SHIFT
        last = self.pfmemalloc_slabs - 1
        moved = flagged[last]
        flagged[at] = moved
        low = (1 << S_FLAGGED_SHIFT) - 1
        table[moved + S_FLAGS] = table[moved + S_FLAGS] & low | at << S_FLAGGED_SHIFT
        self.pfmemalloc_slabs = last

    def node(self, nid: i64) -> i64:
        """``get_node``: offset of a node's ``struct kmem_cache_node``."""
        return NODES + nid * NODE_WORDS

    def cpu(self, cpu: i64) -> i64:
        """``per_cpu_ptr(s->cpu_slab, cpu)``: offset of a cpu's ``struct kmem_cache_cpu``."""
        return self.cpus + cpu * CPU_WORDS

    def node_partials(self, n: i64) -> list[int]:
        """The slabs on a node's partial list, head to tail."""
        found: list[int] = []
        page = self.table[n + S_NEXT]
        while page != n:
            found.append(int(page))
            page = self.table[page + S_NEXT]
        return found

    def cpu_partials(self, c: i64) -> list[int]:
        """The slabs on a cpu's partial list, the newest first."""
        found: list[int] = []
        page = self.table[c + C_PARTIAL]
        while page != NULL:
            found.append(int(page))
            page = self.table[page + S_NEXT]
        return found

    def chain(self, page: i64, freelist: i64) -> list[int]:
        """Indices of a slab's objects on a free list, in order."""
        found: list[int] = []
        while freelist != NULL:
            found.append(int(freelist - page - SLAB_WORDS))
            freelist = self.table[freelist]
        return found

    def slabs(self) -> list[int]:
        """Every slab there is, wherever it is (for checks and statistics)."""
        return [
            page
            for page in range(int(self.first_slab), len(self.table), int(self.slab_words))
            if self.table[page + S_PFN] != NO_SLAB
        ]


class Geometry:
    """What ``calculate_sizes`` and ``kmem_cache_open`` compute of size, alignment and flags."""

    __slots__ = (
        "align",
        "allocflags",
        "cpu_partial",
        "flags",
        "inuse",
        "min_objects",
        "min_order",
        "min_partial",
        "objects",
        "objsize",
        "offset",
        "order",
        "size",
    )

    def __init__(self, objsize: int, align: int, flags: int, cpus: int) -> None:
        """Follow ``kmem_cache_open`` on a machine with ``cpus`` cpus (``nr_cpu_ids``).

        Raises ValueError for a cache that cannot be built.
        """
        size = _align(objsize, _BYTES_PER_WORD)
        self.objsize: int = objsize
        self.flags: int = flags
        self.inuse: int = size
        self.offset: int = 0
        if flags & (_SLAB_DESTROY_BY_RCU | _SLAB_POISON):
            # The free pointer may not lie in the object.
            self.offset = size
            size += _BYTES_PER_WORD
        self.align: int = _calculate_alignment(flags, align, objsize)
        size = _align(size, self.align)
        self.size: int = size
        self.order: int = _calculate_order(size, cpus)
        if self.order >= MAX_ORDER:
            raise ValueError(f"no slab can hold an object of {objsize} bytes")
        self.objects: int = (PAGE_SIZE << self.order) // size
        self.min_order: int = _get_order(size)
        self.min_objects: int = (PAGE_SIZE << self.min_order) // size
        self.allocflags: int = 0
        if self.order:
            self.allocflags |= _GFP_COMP
        if flags & SLAB_CACHE_DMA:
            self.allocflags |= _GFP_DMA
        if flags & SLAB_RECLAIM_ACCOUNT:
            self.allocflags |= _GFP_RECLAIMABLE
        self.min_partial: int = min(max((size.bit_length() - 1) // 2, _MIN_PARTIAL), _MAX_PARTIAL)
        self.cpu_partial: int = _cpu_partial(size)


def _align(size: int, align: int) -> int:
    return (size + align - 1) & ~(align - 1)


def _get_order(size: int) -> int:
    """``get_order``: the smallest order whose pages hold ``size`` bytes."""
    return ((size - 1) // PAGE_SIZE).bit_length()


def _calculate_alignment(flags: int, align: int, size: int) -> int:
    """``calculate_alignment``: a cache line for larger objects that ask for it."""
    if flags & SLAB_HWCACHE_ALIGN:
        ralign = _L1_CACHE_BYTES
        while size <= ralign // 2:
            ralign //= 2
        align = max(align, ralign)
    return _align(max(align, _BYTES_PER_WORD), _BYTES_PER_WORD)


def _slab_order(size: int, min_objects: int, max_order: int, fract_leftover: int) -> int:
    """``slab_order``: the first order that wastes little enough, or ``max_order`` + 1."""
    order = _get_order(min_objects * size)
    while order <= max_order:
        slab_size = PAGE_SIZE << order
        if slab_size % size <= slab_size // fract_leftover:
            break
        order += 1
    return order


def _calculate_order(size: int, cpus: int) -> int:
    """``calculate_order``: less waste first, then fewer objects; MAX_ORDER or more is none."""
    min_objects = 4 * (cpus.bit_length() + 1)
    min_objects = min(min_objects, (PAGE_SIZE << SLUB_MAX_ORDER) // size)
    while min_objects > 1:
        fraction = 16
        while fraction >= 4:
            order = _slab_order(size, min_objects, SLUB_MAX_ORDER, fraction)
            if order <= SLUB_MAX_ORDER:
                return order
            fraction //= 2
        min_objects -= 1
    order = _slab_order(size, 1, SLUB_MAX_ORDER, 1)
    if order <= SLUB_MAX_ORDER:
        return order
    return _slab_order(size, 1, MAX_ORDER, 1)


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
    caches: list[KmemCache], objsize: int, align: int, flags: int
) -> KmemCache | None:
    """``find_mergeable``: the newest cache that can serve these objects as well.

    ``caches`` in order of creation, aliases left out.
    """
    if flags & _SLUB_NEVER_MERGE:
        return None
    size = _align(objsize, _BYTES_PER_WORD)
    align = _calculate_alignment(flags, align, size)
    size = _align(size, align)
    for s in reversed(caches):
        if s.flags & _SLUB_NEVER_MERGE or size > s.size:
            continue
        if flags & _SLUB_MERGE_SAME != s.flags & _SLUB_MERGE_SAME:
            continue
        if s.size & (align - 1) or s.size - size >= _BYTES_PER_WORD:
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
