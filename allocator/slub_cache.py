"""A SLUB cache and the structures it is made of, in every kernel modelled.

``mm/slub.c``: ``struct kmem_cache``, ``struct kmem_cache_node``, ``struct
kmem_cache_cpu``, what ``struct page`` (later ``struct slab``) says of a slab;
``calculate_alignment``, ``calculate_order``, ``kmem_cache_open``. Sizes are bytes.
What the kernels compute each their own way is in their folders' ``slub_cache``.

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
from allocator.object_allocator import SLAB_HWCACHE_ALIGN
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
"""From Linux 3.6 on, like CPU_PARTIAL_DRAIN."""
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
LEAKS: Final = 25
"""Reserve objects to callers without entitlement, by how it happened: as many words as a
kernel has ways, up to NODES."""

# struct kmem_cache_node: the head of the partial list (S_NEXT, S_PREV) and its length.
NODES: Final = 28
NODE_WORDS: Final = 4
N_NR_PARTIAL: Final = 2

# struct kmem_cache_cpu.
CPU_WORDS: Final = 4
C_FREELIST: Final = 0
C_PAGE: Final = 1
"""``c->page``, later ``c->slab``."""
C_PARTIAL: Final = 2
"""First of the frozen partial slabs, chained by S_NEXT."""

# A slab, as words at page: what struct page, later struct slab, says of it.
S_NEXT: Final = 0
S_PREV: Final = 1
S_PAGES: Final = 1
"""On a cpu's partial list: slabs from here on. Shares a word with S_PREV, as in the kernel."""
S_POBJECTS: Final = 2
"""On a cpu's partial list: free objects from here on, as counted when each slab came.
Linux 3.x only."""
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
BYTES_PER_WORD: Final = 8
_L1_CACHE_BYTES: Final = 64
_DEFRAG_RATIO: Final = 1000

# Creation flags that matter to SLUB alone (include/linux/slab.h).
SLAB_RED_ZONE: Final = 0x400
SLAB_POISON: Final = 0x800
SLAB_STORE_USER: Final = 0x10000
SLAB_TYPESAFE_BY_RCU: Final = 0x80000
"""SLAB_DESTROY_BY_RCU until Linux 4.12."""
SLAB_TRACE: Final = 0x200000


class KmemCache:
    """``struct kmem_cache`` with its table."""

    __slots__ = (
        "_recycled",
        "align",
        "allocflags",
        "cpu_partial",
        "cpu_partial_slabs",
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
        "object_size",
        "objects",
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
        """``kmem_cache_open``: no slabs yet. ``name`` is that of the first of merged caches."""
        self.number: i64 = number
        self.name: str = name
        self.object_size: i64 = geometry.object_size
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
        """Free objects that a cpu's partial slabs may hold."""
        self.cpu_partial_slabs: i64 = geometry.cpu_partial_slabs
        """Linux 6.1: the number of slabs it limits instead."""
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
    """What ``calculate_sizes`` and ``kmem_cache_open`` compute of size, alignment and flags.

    ``offset`` (of the free pointer), ``allocflags``, ``cpu_partial`` and
    ``cpu_partial_slabs`` are for each kernel to add.
    """

    __slots__ = (
        "align",
        "allocflags",
        "cpu_partial",
        "cpu_partial_slabs",
        "flags",
        "inuse",
        "min_objects",
        "min_order",
        "min_partial",
        "object_size",
        "objects",
        "offset",
        "order",
        "size",
    )

    def __init__(self, object_size: int, align: int, flags: int, cpus: int) -> None:
        """Follow ``kmem_cache_open`` on a machine with ``cpus`` cpus (``nr_cpu_ids``).

        Raises ValueError for a cache that cannot be built.
        """
        size = align_up(object_size, BYTES_PER_WORD)
        self.object_size: int = object_size
        self.flags: int = flags
        self.inuse: int = size
        self.offset: int = 0
        if flags & (SLAB_TYPESAFE_BY_RCU | SLAB_POISON):
            # The free pointer may not lie in the object.
            self.offset = size
            size += BYTES_PER_WORD
        self.align: int = calculate_alignment(flags, align, object_size)
        size = align_up(size, self.align)
        self.size: int = size
        self.order: int = _calculate_order(size, cpus)
        if self.order >= MAX_ORDER:
            raise ValueError(f"no slab can hold an object of {object_size} bytes")
        self.objects: int = (PAGE_SIZE << self.order) // size
        self.min_order: int = get_order(size)
        self.min_objects: int = (PAGE_SIZE << self.min_order) // size
        self.allocflags: int = 0
        self.min_partial: int = min(max((size.bit_length() - 1) // 2, _MIN_PARTIAL), _MAX_PARTIAL)
        self.cpu_partial: int = 0
        self.cpu_partial_slabs: int = 0


def align_up(size: int, align: int) -> int:
    """``ALIGN``: the next multiple of a power of two."""
    return (size + align - 1) & ~(align - 1)


def get_order(size: int) -> int:
    """``get_order``: the smallest order whose pages hold ``size`` bytes."""
    return ((size - 1) // PAGE_SIZE).bit_length()


def calculate_alignment(flags: int, align: int, size: int) -> int:
    """``calculate_alignment``: a cache line for larger objects that ask for it."""
    if flags & SLAB_HWCACHE_ALIGN:
        ralign = _L1_CACHE_BYTES
        while size <= ralign // 2:
            ralign //= 2
        align = max(align, ralign)
    return align_up(max(align, BYTES_PER_WORD), BYTES_PER_WORD)


def _slab_order(size: int, min_objects: int, max_order: int, fract_leftover: int) -> int:
    """``slab_order``: the first order that wastes little enough, or ``max_order`` + 1."""
    order = get_order(min_objects * size)
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


def add_partial(s: KmemCache, n: i64, page: i64, *, to_tail: bool) -> None:
    """``add_partial``."""
    table = s.table
    table[n + N_NR_PARTIAL] += 1
    before = table[n + S_PREV] if to_tail else n
    after = table[before + S_NEXT]
    table[before + S_NEXT] = page
    table[page + S_PREV] = before
    table[page + S_NEXT] = after
    table[after + S_PREV] = page


def remove_partial(s: KmemCache, n: i64, page: i64) -> None:
    """``remove_partial``."""
    table = s.table
    after = table[page + S_NEXT]
    before = table[page + S_PREV]
    table[before + S_NEXT] = after
    table[after + S_PREV] = before
    table[n + N_NR_PARTIAL] -= 1


def get_freelist(s: KmemCache, page: i64) -> i64:
    """``get_freelist``: take over what others freed into the cpu slab, or let it go."""
    table = s.table
    freelist = table[page + S_FREELIST]
    table[page + S_INUSE] = table[page + S_OBJECTS]
    if freelist == NULL:
        table[page + S_FLAGS] &= ~SLAB_FROZEN
        table[DEACTIVATE_BYPASS] += 1
        return NULL
    table[page + S_FREELIST] = NULL
    table[ALLOC_REFILL] += 1
    return freelist
