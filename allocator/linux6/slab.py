"""SLAB of Linux 6.1 (``mm/slab.c``), with the PFMEMALLOC rule as rewritten in 2016.

The idea is that of 3.x (:mod:`allocator.linux3.slab`): each cpu keeps a stack of free objects
(``array_cache``); behind it, per node, a shared array, arrays for other nodes' objects (alien),
and three lists of slabs: full, partial, free.

The rule (f68f8dddb5e9, "mm/slab: re-implement pfmemalloc support"; in v4.6): a slab whose page
came from the reserve is flagged. Refills and the node path skip flagged slabs and move the one
they meet to the end of its list; only an entitled caller whose array is empty takes an object
from one, past the array. An object freed on its own node goes straight back to its flagged
slab. When a node has more free objects than its limit, the flagged slab met first is simply
un-flagged.

What is left open: growing for an entitled caller fills the array with objects of the flagged
slab, and alien and shared arrays carry them; nobody looks at what an array gives.

Kernel ``____cache_alloc`` is ``_cache_alloc`` here, ``____cache_alloc_node``
``_cache_alloc_node``; other leading underscores are as in the kernel, less one.

Not modelled: locks, interrupts in the middle of an operation, debugging, shuffled free lists,
object contents, memcg, KFENCE, RCU's delay before a SLAB_TYPESAFE_BY_RCU slab is freed. The
caches' own descriptors and arrays cost no simulated memory.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from allocator.config import MachineConfig
from allocator.linux6 import slab_story
from allocator.linux6.gfp import (
    _GFP_NOFAIL,
    _GFP_NOWARN,
    _GFP_RECLAIM,
    _GFP_THISNODE,
    GFP_CONSTRAINT_MASK,
    GFP_RECLAIM_MASK,
    GFP_ZONEMASK,
)
from allocator.linux6.page_alloc import Linux6PageAllocator
from allocator.linux6.slab_cache import (
    KMALLOC_SHIFT_LOW,
    LEAK_GROW_FILLS_ARRAY,
    LEAK_NAMES,
    LEAK_SHARED_ARRAY,
    NO_SLAB,
    S_ACTIVE,
    S_FLAGS,
    S_MGMT,
    S_NODE_MASK,
    S_NODE_SHIFT,
    S_PFN,
    SIZEOF_FREELIST_IDX,
    SLAB_PFMEMALLOC,
    SLAB_WORDS,
    Geometry,
    KmemCache,
    KmemCacheNode,
    find_freelist_cache,
    find_mergeable,
)
from allocator.linux6.slab_common import (
    KMALLOC_MAX_CACHE_SIZE,
    SLAB_CREATE_MASK,
    KmallocCaches,
    free_large_kmalloc,
    kmalloc_align,
    kmalloc_large_node,
    node_slab_pages,
)
from allocator.linux6.slab_verify import verify_cache
from allocator.object_allocator import (
    INDEX_MASK,
    INDEX_SHIFT,
    LARGE,
    NO_CACHE,
    NO_OBJECT,
    SLAB_HWCACHE_ALIGN,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_SHIFT,
    TAG,
    ObjectAllocator,
)
from allocator.outcome import (
    DENIED_GROWTH,
    DENIED_PRESERVED,
    OBJ_ARRAY_HIT,
    OBJ_FALLBACK,
    OBJ_GROW,
    OBJ_NODE,
    OBJ_REFILL,
    OBJ_RESERVE_SLAB,
)
from allocator.page_allocator import NO_PAGE
from allocator.slab_cache import (
    BATCHREFILL_LIMIT,
    S_NEXT,
    S_PREV,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
    ArrayCache,
    drop_oldest,
    list_add,
    list_add_tail,
    list_del,
    transfer_objects,
)
from allocator.slub_cache import calculate_alignment
from allocator.stats import CacheStats
from allocator.task import Task
from allocator.zone import gfp_zone

_SLAB_MAX_ORDER_HI: Final = 1
_LARGE_MACHINE_PAGES: Final = (32 << 20) >> 12
_REAP_JIFFIES: Final = 2500
_NODE_CACHE: Final = "kmalloc-128"
"""``INDEX_NODE``: the cache whose objects are large enough for ``struct kmem_cache_node``."""
_UNSIGNED_LONG: Final = (1 << 64) - 1


class Slab6(ObjectAllocator):
    """``mm/slab.c`` of one machine."""

    __slots__ = (
        "_caches",
        "_chain",
        "_cpus_on_node",
        "_freelist_caches",
        "_general",
        "_kmalloc",
        "_memalloc_socks",
        "_merge",
        "_names",
        "_nodes",
        "_numa",
        "_page_alloc",
        "_refused",
        "_slab_max_order",
        "_slab_reap_node",
        "caches",
    )

    def __init__(self, config: MachineConfig, pages: Linux6PageAllocator, current: Task) -> None:
        """``kmem_cache_init``: the kmalloc caches."""
        super().__init__(pages, current)
        self._page_alloc: Linux6PageAllocator = pages
        self._numa: bool = config.numa
        self._nodes: i64 = len(config.nodes)
        self._memalloc_socks: bool = config.memalloc_socks
        self._merge: bool = config.slub_merge
        self._cpus_on_node: list[int] = [
            sum(1 for node in config.cpu_node if node == nid) for nid in range(len(config.nodes))
        ]
        self._slab_reap_node: vec[i64] = vec[i64](
            [(node + 1) % len(config.nodes) for node in config.cpu_node]
        )
        totalram = sum(int(zone.managed_pages) for zone in pages.zones)
        self._slab_max_order: int = _SLAB_MAX_ORDER_HI if totalram > _LARGE_MACHINE_PAGES else 0
        self._refused: bool = False
        """Whether a flagged slab was passed over for this allocation."""
        self.caches: list[KmemCache] = []
        """By number; an alias stands for the cache it was merged into."""
        self._names: list[str] = []
        self._caches: list[KmemCache] = []
        """The caches themselves, oldest first: without aliases."""
        self._chain: list[KmemCache] = []
        """``slab_caches``: the newest first, as ``cache_reap`` meets them."""
        self._kmalloc: KmallocCaches = KmallocCaches(KMALLOC_SHIFT_LOW)
        self._freelist_caches: list[KmemCache] = []
        self._general: int = 0
        for name, size, kind in self._kmalloc.specs():
            flags = kind | SLAB_HWCACHE_ALIGN
            align = calculate_alignment(flags, kmalloc_align(size), size)
            self._kmem_cache_create(name, size, align, flags)
            if len(self._caches) == self._kmalloc.of_type:
                self._freelist_caches = sorted(self._caches, key=_object_size)
        self._general = len(self.caches)
        # kmalloc-128 comes before the others: nodes' structures lie in it.
        created = self._kmalloc.created()
        first = self.cache_number(_NODE_CACHE)
        created.remove(first)
        self._chain = [self._caches[number] for number in [*reversed(created), first]]

    # Caches.

    def cache_create(self, name: str, size: int, align: int, flags: int) -> int:
        """``kmem_cache_create``: the new cache's number, which may be an alias of another."""
        flags &= SLAB_CREATE_MASK
        if self._merge:
            # Caches that user space may be copied from and to never merge: the kmalloc caches.
            cachep = find_mergeable(self._caches[self._general :], size, align, flags)
            if cachep is not None:
                cachep.object_size = max(cachep.object_size, size)
                self.caches.append(cachep)
                self._names.append(name)
                return len(self.caches) - 1
        align = calculate_alignment(flags, align, size)
        return self._kmem_cache_create(name, size, align, flags)

    def _kmem_cache_create(self, name: str, size: int, align: int, flags: int) -> int:
        geometry = Geometry(size, align, flags, self._slab_max_order, self._freelist_caches)
        freelist_cache: KmemCache | None = None
        if geometry.off_slab():
            freelist_cache = find_freelist_cache(
                self._freelist_caches, geometry.num * SIZEOF_FREELIST_IDX
            )
        number = len(self.caches)
        cachep = KmemCache(number, name, geometry, freelist_cache, self._cpus_on_node)
        self.caches.append(cachep)
        self._names.append(name)
        self._caches.append(cachep)
        self._chain.insert(0, cachep)
        return number

    def cache_number(self, name: str) -> int:
        """Number of the newest cache with that name, or NO_CACHE."""
        for number in range(len(self._names) - 1, -1, -1):
            if self._names[number] == name:
                return number
        return NO_CACHE

    def cache_name(self, number: int) -> str:
        """Name of a cache, the alias's own if it is one."""
        return self._names[number]

    def kmalloc_cache(self, size: i64, gfp: i64) -> i64:
        """Number of the kmalloc cache for ``size`` bytes, or LARGE."""
        if size > KMALLOC_MAX_CACHE_SIZE:
            return LARGE
        return self._kmalloc.kmalloc_slab(size, gfp)

    def kmalloc_large(self, order: i64, gfp: i64, node: i64) -> i64:
        """``__kmalloc_large_node``: pfn or NO_PAGE."""
        return kmalloc_large_node(self._page_alloc, order, gfp, node)

    def kfree_large(self, pfn: i64, order: i64) -> None:
        """``free_large_kmalloc``."""
        free_large_kmalloc(self._page_alloc, pfn, order)

    # Allocation.

    def alloc(self, number: i64, gfp: i64, node: i64) -> i64:
        """``kmem_cache_alloc`` (node -1) or ``kmem_cache_alloc_node``."""
        cachep = self.caches[number]
        self._refused = False
        objp = self._do_cache_alloc(cachep, gfp, node)
        if objp == NO_OBJECT:
            self.outcome = DENIED_PRESERVED if self._refused else DENIED_GROWTH
        return objp

    def _do_cache_alloc(self, cachep: KmemCache, flags: i64, nodeid: i64) -> i64:
        """``__do_cache_alloc``: from the cpu's array if the node is its own, else from the node."""
        if not self._numa:
            return self._cache_alloc(cachep, flags)
        slab_node = self.current.node
        if nodeid < 0:
            nodeid = slab_node
        if nodeid == slab_node:
            objp = self._cache_alloc(cachep, flags)
            if objp != NO_OBJECT:
                return objp
        # The local node may just be out of memory: this one knows the others.
        return self._cache_alloc_node(cachep, flags, nodeid)

    def _cache_alloc(self, cachep: KmemCache, flags: i64) -> i64:
        """``____cache_alloc``: from the cpu's array, refilled if need be."""
        ac = cachep.array[self.current.cpu]
        avail = ac.avail
        if avail > 0:
            avail -= 1
            ac.avail = avail
            ac.touched = True
            cachep.allochit += 1
            self.outcome = OBJ_ARRAY_HIT
            objp = ac.entry[avail]
            if cachep.pfmemalloc_slabs > 0:
                return self._count_leak(cachep, objp, flags)
            return objp & ~TAG
        cachep.allocmiss += 1
        return self._cache_alloc_refill(cachep, ac, flags)

    def _count_leak(self, cachep: KmemCache, objp: i64, flags: i64) -> i64:
        """Count an array's reserve object that goes to whoever asks; returns the object."""
        if cachep.table[
            (objp >> SLAB_SHIFT) + S_FLAGS
        ] & SLAB_PFMEMALLOC and not self._page_alloc.gfp_pfmemalloc_allowed(flags):
            way = LEAK_SHARED_ARRAY if objp & TAG else LEAK_GROW_FILLS_ARRAY
            cachep.leaks[way] += 1
            self.leaked = way + 1
            if self.pages.story is not None:
                pfn = cachep.table[(objp >> SLAB_SHIFT) + S_PFN]
                self.pages.story.leak(LEAK_NAMES[way], cachep.name, pfn)
        return objp & ~TAG

    def _cache_alloc_refill(self, cachep: KmemCache, ac: ArrayCache, flags: i64) -> i64:
        """``cache_alloc_refill``: from the shared array, partial and free slabs, or a new slab."""
        node = self.current.node
        batchcount = ac.batchcount
        if not ac.touched and batchcount > BATCHREFILL_LIMIT:
            # Little recent activity: a partial refill only, to avoid bouncing.
            batchcount = BATCHREFILL_LIMIT
        n = cachep.node[node]
        shared = n.shared
        story = self.pages.story
        if story is not None:
            slab_story.array_empty(story, cachep.name, self.current.cpu)
        self.outcome = OBJ_REFILL
        if shared is not None and transfer_objects(ac, shared, batchcount) > 0:
            shared.touched = True
            if story is not None:
                slab_story.from_shared(story, ac.avail)
        elif n.free_objects > 0:
            while batchcount > 0:
                slabp = self._get_first_slab(cachep, n, False)
                if slabp == NO_SLAB:
                    break
                batchcount = _alloc_block(cachep, ac, slabp, batchcount)
                _fixup_slab_list(cachep, n, slabp)
            n.free_objects -= ac.avail
            if story is not None and ac.avail > 0:
                slab_story.from_slabs(story, ac.avail)
        if ac.avail == 0:
            # direct_grow. Only who may use the reserve gets an object of a flagged slab.
            if self._memalloc_socks:
                objp = self._cache_alloc_pfmemalloc(cachep, n, flags)
                if objp != NO_OBJECT:
                    return objp
            slabp = self._cache_grow_begin(cachep, self._gfp_exact_node(flags), node)
            if slabp == NO_SLAB:
                return NO_OBJECT
            _alloc_block(cachep, ac, slabp, batchcount)
            self._cache_grow_end(cachep, slabp)
            self.outcome = OBJ_GROW
            if story is not None:
                flagged = cachep.table[slabp + S_FLAGS] & SLAB_PFMEMALLOC != 0
                slab_story.into_array(story, ac.avail, flagged)
        ac.touched = True
        ac.avail -= 1
        objp = ac.entry[ac.avail]
        if cachep.pfmemalloc_slabs > 0:
            return self._count_leak(cachep, objp, flags)
        return objp & ~TAG

    def _get_first_slab(self, cachep: KmemCache, n: KmemCacheNode, pfmemalloc: bool) -> i64:
        """``get_first_slab``: a slab with free objects, or NO_SLAB. It stays on its list.

        With ``pfmemalloc`` a flagged slab will do.
        """
        table = cachep.table
        head = n.head + SLABS_PARTIAL
        slabp = table[head + S_NEXT]
        if slabp == head:
            n.free_touched = True
            head = n.head + SLABS_FREE
            slabp = table[head + S_NEXT]
            if slabp == head:
                return NO_SLAB
            n.free_slabs -= 1
        if pfmemalloc or not table[slabp + S_FLAGS] & SLAB_PFMEMALLOC:
            return slabp
        return self._get_valid_first_slab(cachep, n, slabp)

    def _get_valid_first_slab(self, cachep: KmemCache, n: KmemCacheNode, slabp: i64) -> i64:
        """``get_valid_first_slab`` where the first slab is flagged: another one, or NO_SLAB."""
        # No need to keep the reserve if the node has objects enough.
        if n.free_objects > n.free_limit:
            cachep.flagged_remove(slabp)
            cachep.unflagged += 1
            if self.pages.story is not None:
                pfn = cachep.table[slabp + S_PFN]
                slab_story.unflagged(
                    self.pages.story, cachep.name, pfn, n.free_objects, n.free_limit
                )
            return slabp
        self._refused = True
        table = cachep.table
        if self.pages.story is not None:
            slab_story.skipped(self.pages.story, cachep.name, table[slabp + S_PFN])
        partial = n.head + SLABS_PARTIAL
        free = n.head + SLABS_FREE
        # To the end of the list, to speed up the next search.
        list_del(table, slabp)
        if table[slabp + S_ACTIVE] == 0:
            list_add_tail(table, slabp, free)
            n.free_slabs += 1
        else:
            list_add_tail(table, slabp, partial)
        slabp = table[partial + S_NEXT]
        while slabp != partial:
            if not table[slabp + S_FLAGS] & SLAB_PFMEMALLOC:
                return slabp
            slabp = table[slabp + S_NEXT]
        n.free_touched = True
        slabp = table[free + S_NEXT]
        while slabp != free:
            if not table[slabp + S_FLAGS] & SLAB_PFMEMALLOC:
                n.free_slabs -= 1
                return slabp
            slabp = table[slabp + S_NEXT]
        return NO_SLAB

    def _cache_alloc_pfmemalloc(self, cachep: KmemCache, n: KmemCacheNode, flags: i64) -> i64:
        """``cache_alloc_pfmemalloc``: past the array, from any slab, for entitled callers."""
        if not self._page_alloc.gfp_pfmemalloc_allowed(flags):
            if self._refused and self.pages.story is not None:
                slab_story.not_entitled(self.pages.story)
            return NO_OBJECT
        slabp = self._get_first_slab(cachep, n, True)
        if slabp == NO_SLAB:
            return NO_OBJECT
        if self.pages.story is not None:
            flagged = cachep.table[slabp + S_FLAGS] & SLAB_PFMEMALLOC != 0
            slab_story.from_reserve(self.pages.story, cachep.table[slabp + S_PFN], flagged)
        objp = _slab_get_obj(cachep, slabp)
        n.free_objects -= 1
        _fixup_slab_list(cachep, n, slabp)
        self.outcome = OBJ_RESERVE_SLAB
        return objp

    def _gfp_exact_node(self, flags: i64) -> i64:
        """``gfp_exact_node``: from this node, without reclaim or complaint."""
        if self._numa:
            return (flags | _GFP_THISNODE | _GFP_NOWARN) & ~(_GFP_RECLAIM | _GFP_NOFAIL)
        return flags & ~_GFP_NOFAIL

    def _cache_alloc_node(self, cachep: KmemCache, flags: i64, nodeid: i64) -> i64:
        """``____cache_alloc_node``: straight from a node's slabs that are not flagged."""
        n = cachep.node[nodeid]
        slabp = self._get_first_slab(cachep, n, False)
        if slabp != NO_SLAB:
            cachep.node_allocs += 1
            cachep.active += 1
            objp = _slab_get_obj(cachep, slabp)
            n.free_objects -= 1
            _fixup_slab_list(cachep, n, slabp)
            self.outcome = OBJ_NODE
            if self.pages.story is not None:
                index = objp >> INDEX_SHIFT & INDEX_MASK
                pfn = cachep.table[slabp + S_PFN]
                slab_story.from_node(self.pages.story, pfn, index, nodeid)
            return objp
        slabp = self._cache_grow_begin(cachep, self._gfp_exact_node(flags), nodeid)
        if slabp == NO_SLAB:
            return self._fallback_alloc(cachep, flags)
        objp = _slab_get_obj(cachep, slabp)
        self._cache_grow_end(cachep, slabp)
        self.outcome = OBJ_GROW
        return objp

    def _fallback_alloc(self, cachep: KmemCache, flags: i64) -> i64:
        """``fallback_alloc``: objects any node has, then pages from anywhere."""
        if flags & _GFP_THISNODE:
            return NO_OBJECT
        if self.pages.story is not None:
            slab_story.fallback(self.pages.story)
        highest_zoneidx = gfp_zone(flags & GFP_ZONEMASK)
        exact = self._gfp_exact_node(flags)
        while True:
            for zone in self._page_alloc.zonelists[self.current.node].zones:
                if zone.type <= highest_zoneidx and cachep.node[zone.nid].free_objects > 0:
                    objp = self._cache_alloc_node(cachep, exact, zone.nid)
                    if objp != NO_OBJECT:
                        self.outcome = OBJ_FALLBACK
                        return objp
            slabp = self._cache_grow_begin(cachep, flags, self.current.node)
            if slabp == NO_SLAB:
                return NO_OBJECT
            nid = cachep.table[slabp + S_FLAGS] >> S_NODE_SHIFT & S_NODE_MASK
            self._cache_grow_end(cachep, slabp)
            objp = self._cache_alloc_node(cachep, exact, nid)
            if objp != NO_OBJECT:
                self.outcome = OBJ_FALLBACK
                return objp

    # Slabs come and go.

    def _cache_grow_begin(self, cachep: KmemCache, flags: i64, nodeid: i64) -> i64:
        """``cache_grow_begin``: a slab from the page allocator, on no list yet, or NO_SLAB."""
        local_flags = flags & (GFP_CONSTRAINT_MASK | GFP_RECLAIM_MASK)
        # kmem_getpages
        pages = self._page_alloc
        pfn = pages.alloc_pages(local_flags | cachep.allocflags, cachep.gfporder, nodeid)
        if pfn == NO_PAGE:
            if self.pages.story is not None:
                slab_story.no_pages(self.pages.story, cachep.name)
            return NO_SLAB
        slab_node = self._count_slab_pages(cachep, pfn, 1 << cachep.gfporder)
        # alloc_slabmgmt
        mgmt: i64 = NO_OBJECT
        freelist_cache = cachep.freelist_cache
        if freelist_cache is not None:
            mgmt = self._do_cache_alloc(
                freelist_cache, local_flags & ~GFP_CONSTRAINT_MASK, slab_node
            )
            if mgmt == NO_OBJECT:
                self._kmem_freepages(cachep, pfn)
                return NO_SLAB
        slabp = cachep.new_slab_place()
        table = cachep.table
        table[slabp + S_ACTIVE] = 0
        table[slabp + S_FLAGS] = slab_node << S_NODE_SHIFT
        table[slabp + S_PFN] = pfn
        table[slabp + S_MGMT] = mgmt
        flagged = self._memalloc_socks and pages.page_pfmemalloc(pfn)
        if flagged:
            cachep.flagged_add(slabp)
        if pages.story is not None:
            name = cachep.name
            slab_story.grown(pages.story, name, pfn, cachep.num, slab_node, flagged)
        # cache_init_objs
        freelist = slabp + SLAB_WORDS
        i: i64 = 0
        while i < cachep.num:
            table[freelist + i] = i
            i += 1
        cachep.nr_slabs += 1
        return slabp

    def _cache_grow_end(self, cachep: KmemCache, slabp: i64) -> None:
        """``cache_grow_end``: onto the list where it belongs by now."""
        table = cachep.table
        n = cachep.node[table[slabp + S_FLAGS] >> S_NODE_SHIFT & S_NODE_MASK]
        n.total_slabs += 1
        active = table[slabp + S_ACTIVE]
        if active == 0:
            list_add_tail(table, slabp, n.head + SLABS_FREE)
            n.free_slabs += 1
        elif active == cachep.num:
            list_add(table, slabp, n.head + SLABS_FULL)
        else:
            list_add(table, slabp, n.head + SLABS_PARTIAL)
        cachep.grown += 1
        n.free_objects += cachep.num - active

    def _count_slab_pages(self, cachep: KmemCache, pfn: i64, nr_pages: i64) -> i64:
        """``account_slab``, ``unaccount_slab``; returns the pages' node."""
        zone = self._page_alloc.page_zone(pfn)
        if cachep.flags & SLAB_RECLAIM_ACCOUNT:
            zone.slab_reclaimable += nr_pages
        else:
            zone.slab_unreclaimable += nr_pages
        return zone.nid

    def _kmem_freepages(self, cachep: KmemCache, pfn: i64) -> None:
        """``kmem_freepages``: the flag goes with the slab's place in the table."""
        self._count_slab_pages(cachep, pfn, -(1 << cachep.gfporder))
        self._page_alloc.free_pages(pfn, cachep.gfporder, False)

    def _slab_destroy(self, cachep: KmemCache, slabp: i64) -> None:
        """``slab_destroy``: pages back, then the off-slab free list."""
        table = cachep.table
        if table[slabp + S_FLAGS] & SLAB_PFMEMALLOC:
            cachep.flagged_remove(slabp)
        mgmt = table[slabp + S_MGMT]
        pfn = table[slabp + S_PFN]
        table[slabp + S_NEXT] = cachep.recycled
        cachep.recycled = slabp
        cachep.nr_slabs -= 1
        self._kmem_freepages(cachep, pfn)
        freelist_cache = cachep.freelist_cache
        if freelist_cache is not None:
            self._cache_free(freelist_cache, mgmt)

    def _slabs_destroy(self, cachep: KmemCache, slabp: i64) -> None:
        """``slabs_destroy``: a chain, by S_NEXT, that :meth:`_free_block` gave."""
        while slabp != NO_SLAB:
            following = cachep.table[slabp + S_NEXT]
            self._slab_destroy(cachep, slabp)
            slabp = following

    # Freeing.

    def free(self, number: i64, objp: i64) -> None:
        """``kmem_cache_free`` on the current cpu."""
        self._cache_free(self.caches[number], objp)

    def _cache_free(self, cachep: KmemCache, objp: i64) -> None:
        """``___cache_free``: to the cpu's array; a flagged slab's object back to the slab."""
        flags: i64 = 0
        if self._nodes > 1 or cachep.pfmemalloc_slabs > 0:
            flags = cachep.table[(objp >> SLAB_SHIFT) + S_FLAGS]
            slab_node = flags >> S_NODE_SHIFT & S_NODE_MASK
            if self._nodes > 1 and slab_node != self.current.node:
                self._cache_free_alien(cachep, objp, slab_node)
                return
        ac = cachep.array[self.current.cpu]
        if ac.avail < ac.limit:
            cachep.freehit += 1
        else:
            cachep.freemiss += 1
            self._cache_flusharray(cachep, ac)
            # The flush may have destroyed slabs, but not the one this object lies in.
        if flags & SLAB_PFMEMALLOC:
            if self.pages.story is not None:
                pfn = cachep.table[(objp >> SLAB_SHIFT) + S_PFN]
                slab_story.back_to_slab(self.pages.story, cachep.name, pfn)
            self._free_one(cachep, objp, flags >> S_NODE_SHIFT & S_NODE_MASK)
            return
        ac.entry[ac.avail] = objp
        ac.avail += 1

    def _free_one(self, cachep: KmemCache, objp: i64, node: i64) -> None:
        """``free_block`` of a single object, as ``cache_free_pfmemalloc`` does."""
        entry = vec[i64]([objp])
        self._slabs_destroy(cachep, self._free_block(cachep, entry, 1, node))

    def _cache_free_alien(self, cachep: KmemCache, objp: i64, slab_node: i64) -> None:
        """``__cache_free_alien``: to the array for the owner's objects. It looks at no flag."""
        cachep.node_frees += 1
        arrays = cachep.node[self.current.node].alien
        alien = arrays[slab_node] if arrays is not None else None
        if alien is None:
            self._free_one(cachep, objp, slab_node)
            return
        doomed: i64 = NO_SLAB
        if alien.avail == alien.limit:
            doomed = self._drain_alien_cache(cachep, alien, slab_node)
        if cachep.table[(objp >> SLAB_SHIFT) + S_FLAGS] & SLAB_PFMEMALLOC:
            objp |= TAG
        alien.entry[alien.avail] = objp
        alien.avail += 1
        self._slabs_destroy(cachep, doomed)

    def _drain_alien_cache(self, cachep: KmemCache, ac: ArrayCache, node: i64) -> i64:
        """``__drain_alien_cache``: into the owner's shared array first, the rest to its slabs."""
        if ac.avail == 0:
            return NO_SLAB
        shared = cachep.node[node].shared
        if shared is not None:
            transfer_objects(shared, ac, ac.limit)
        doomed = self._free_block(cachep, ac.entry, ac.avail, node)
        ac.avail = 0
        return doomed

    def _cache_flusharray(self, cachep: KmemCache, ac: ArrayCache) -> None:
        """``cache_flusharray``: the oldest batch to the shared array, or back to the slabs."""
        node = self.current.node
        batchcount = ac.batchcount
        doomed: i64 = NO_SLAB
        shared = cachep.node[node].shared
        room: i64 = 0
        if shared is not None:
            room = shared.limit - shared.avail
        if shared is not None and room > 0:
            if batchcount > room:
                batchcount = room
            target = shared.entry
            source = ac.entry
            at = shared.avail
            i: i64 = 0
            while i < batchcount:
                target[at + i] = source[i]
                i += 1
            shared.avail = at + batchcount
            if cachep.pfmemalloc_slabs > 0:
                _tag_flagged(cachep, target, at, at + batchcount)
        else:
            doomed = self._free_block(cachep, ac.entry, batchcount, node)
        drop_oldest(ac, batchcount)
        self._slabs_destroy(cachep, doomed)

    def _free_block(self, cachep: KmemCache, entry: vec[i64], nr_objects: i64, node: i64) -> i64:
        """``free_block``: objects back to their slabs.

        Returns the slabs that are too many, off their list: a chain, by S_NEXT, or NO_SLAB.
        """
        n = cachep.node[node]
        table = cachep.table
        free = n.head + SLABS_FREE
        partial = n.head + SLABS_PARTIAL
        n.free_objects += nr_objects
        i: i64 = 0
        while i < nr_objects:
            objp = entry[i]
            i += 1
            slabp = objp >> SLAB_SHIFT
            list_del(table, slabp)
            # slab_put_obj
            active = table[slabp + S_ACTIVE] - 1
            table[slabp + S_ACTIVE] = active
            table[slabp + SLAB_WORDS + active] = objp >> INDEX_SHIFT & INDEX_MASK
            if active == 0:
                list_add(table, slabp, free)
                n.free_slabs += 1
            else:
                # To the end of the partial list: most time for the others to be freed too.
                list_add_tail(table, slabp, partial)
        cachep.active -= nr_objects
        doomed: i64 = NO_SLAB
        while n.free_objects > n.free_limit and table[free + S_PREV] != free:
            n.free_objects -= cachep.num
            slabp = table[free + S_PREV]
            list_del(table, slabp)
            table[slabp + S_NEXT] = doomed
            doomed = slabp
            n.free_slabs -= 1
            n.total_slabs -= 1
        return doomed

    # Periodic and requested trimming.

    def reap(self) -> None:
        """``cache_reap`` on the current cpu, a reap interval later, every node's timer due."""
        self.pages.jiffies += _REAP_JIFFIES
        cpu = self.current.cpu
        node = self.current.node
        reap_node = self._slab_reap_node[cpu]
        for cachep in self._chain:
            n = cachep.node[node]
            arrays = n.alien
            if arrays is not None:
                alien = arrays[reap_node]
                if alien is not None:
                    doomed = self._drain_alien_cache(cachep, alien, reap_node)
                    self._slabs_destroy(cachep, doomed)
            self._drain_array(cachep, cachep.array[cpu], node)
            shared = n.shared
            if shared is not None:
                self._drain_array(cachep, shared, node)
            if n.free_touched:
                n.free_touched = False
            else:
                fifth = 5 * cachep.num
                freed = self._drain_freelist(cachep, n, (n.free_limit + fifth - 1) // fifth)
                cachep.reaped += freed
        self._slab_reap_node[cpu] = (reap_node + 1) % self._nodes

    def _drain_array(self, cachep: KmemCache, ac: ArrayCache, node: i64) -> None:
        """``drain_array``: a fifth of an idle array back to the slabs."""
        if ac.avail == 0:
            return
        if ac.touched:
            ac.touched = False
            return
        tofree = (ac.limit + 4) // 5
        if tofree > ac.avail:
            tofree = (ac.avail + 1) // 2
        self._drain_entries(cachep, ac, tofree, node)

    def _drain_entries(self, cachep: KmemCache, ac: ArrayCache, tofree: i64, node: i64) -> None:
        """``drain_array_locked``: the oldest entries of an array back to the slabs."""
        doomed = self._free_block(cachep, ac.entry, tofree, node)
        drop_oldest(ac, tofree)
        self._slabs_destroy(cachep, doomed)

    def _drain_freelist(self, cachep: KmemCache, n: KmemCacheNode, tofree: i64) -> i64:
        """``drain_freelist``: destroy up to ``tofree`` free slabs, the tail first."""
        head = n.head + SLABS_FREE
        nr_freed: i64 = 0
        while nr_freed < tofree and cachep.table[head + S_PREV] != head:
            slabp = cachep.table[head + S_PREV]
            list_del(cachep.table, slabp)
            n.free_slabs -= 1
            n.total_slabs -= 1
            n.free_objects -= cachep.num
            self._slab_destroy(cachep, slabp)
            nr_freed += 1
        return nr_freed

    def shrink(self, number: i64) -> int:
        """``kmem_cache_shrink``: 1 if slabs in use remain, else 0."""
        cachep = self.caches[number]
        self._drain_cpu_caches(cachep)
        remains = 0
        for n in cachep.node:
            self._drain_freelist(cachep, n, n.total_slabs)
            full = n.head + SLABS_FULL
            partial = n.head + SLABS_PARTIAL
            if cachep.table[full] != full or cachep.table[partial] != partial:
                remains = 1
        return remains

    def _drain_cpu_caches(self, cachep: KmemCache) -> None:
        """``drain_cpu_caches``: every cpu's array, then alien, then shared arrays."""
        current = self.current
        cpu = current.cpu
        node = current.node
        for other, nid in enumerate(self._page_alloc.cpu_node):
            current.cpu = other
            current.node = nid
            ac = cachep.array[other]
            self._drain_entries(cachep, ac, ac.avail, nid)
        current.cpu = cpu
        current.node = node
        for n in cachep.node:
            if n.alien is not None:
                for owner, alien in enumerate(n.alien):
                    if alien is not None:
                        doomed = self._drain_alien_cache(cachep, alien, owner)
                        self._slabs_destroy(cachep, doomed)
        for nid, n in enumerate(cachep.node):
            shared = n.shared
            if shared is not None and shared.avail > 0:
                self._drain_entries(cachep, shared, shared.avail, nid)

    # What it looks like from outside.

    def slab_pfn(self, number: i64, objp: i64) -> i64:
        """First pfn of an object's slab."""
        return self.caches[number].table[(objp >> SLAB_SHIFT) + S_PFN]

    def obj_pfmemalloc(self, number: i64, objp: i64) -> bool:
        """The flag of an object's slab."""
        flags = self.caches[number].table[(objp >> SLAB_SHIFT) + S_FLAGS]
        return flags & SLAB_PFMEMALLOC != 0

    def geometry(self, number: int) -> dict[str, object]:
        """What ``kmem_cache_create`` computed, by the vectors' key names."""
        c = self.caches[number]
        return {
            "cache": number,
            "name": self._names[number],
            "size": int(c.size),
            "objs": int(c.num),
            "order": int(c.gfporder),
            "off_slab": int(c.freelist_cache is not None),
            "objfreelist": int(c.objfreelist),
            "freelist_size": int(c.num * SIZEOF_FREELIST_IDX),
            "mgmt_cache": None if c.freelist_cache is None else c.freelist_cache.name,
            "colours": int(c.colour),
            "colour_off": int(c.colour_off),
            "limit": int(c.limit),
            "batch": int(c.batchcount),
            "shared": int(c.shared),
            "allocflags": int(c.allocflags),
            "flags": int(c.flags),
            "alias_of": None if c.number == number else int(c.number),
            "free_limit": [int(n.free_limit) for n in c.node],
        }

    def boot(self) -> dict[str, object]:
        """The allocator's part of the vectors' ``boot``."""
        return {
            "slab_max_order": self._slab_max_order,
            "sizeof_freelist_idx": SIZEOF_FREELIST_IDX,
            "use_alien_caches": int(self._nodes > 1),
            "general_caches": [self.geometry(number) for number in range(self._general)],
        }

    def cache_stats(self) -> list[CacheStats]:
        """A reading of every cache. What an alias holds counts with the cache it stands for."""
        return [
            _cache_stats(c, self._names[number], own=c.number == number)
            for number, c in enumerate(self.caches)
        ]

    def slab_pages(self) -> list[tuple[int, int]]:
        """(first pfn, order) of every slab."""
        return [
            (int(c.table[slabp + S_PFN]), int(c.gfporder))
            for c in self._caches
            for slabp in _all_slabs(c)
        ]

    def chain(self) -> list[int]:
        """``slab_caches``."""
        return [int(c.number) for c in self._chain]

    def leak_ways(self) -> tuple[str, ...]:
        """The ways in which this allocator can leak the reserve."""
        return LEAK_NAMES

    def flagged_slabs(self) -> list[tuple[int, int]]:
        """(cache number, first pfn) of every flagged slab."""
        return [
            (int(c.number), int(c.table[c.flagged[i] + S_PFN]))
            for c in self._caches
            for i in range(c.pfmemalloc_slabs)
        ]

    def inner_objects(self) -> list[tuple[int, int]]:
        """The off-slab free lists, as (cache number, objp)."""
        found: list[tuple[int, int]] = []
        for c in self._caches:
            freelist_cache = c.freelist_cache
            if freelist_cache is not None:
                number = int(freelist_cache.number)
                found += [(number, int(c.table[slabp + S_MGMT])) for slabp in _all_slabs(c)]
        return found

    def verify(self, held: list[list[int]]) -> None:
        """Every object in exactly one place; lists, counts and flags agree."""
        for c in self._caches:
            verify_cache(
                c,
                [
                    objp
                    for number, other in enumerate(self.caches)
                    if other is c
                    for objp in held[number]
                ],
            )

    def hidden_state(self) -> object:
        """Reap turns, which way reserve objects came into arrays, what is counted besides."""
        return {
            "reap_node": [int(node) for node in self._slab_reap_node],
            "caches": [
                {
                    "name": c.name,
                    "tags": [
                        [int(ac.entry[i] & TAG) for i in range(ac.avail)] for ac in _all_arrays(c)
                    ],
                    "unflagged": int(c.unflagged),
                    "leaks": [int(count) for count in c.leaks],
                }
                for c in self._caches
            ],
        }

    def machine_state(self) -> dict[str, object]:
        """Slab pages of each node."""
        return {"slab_pages": node_slab_pages(self._page_alloc, int(self._nodes))}

    def state(self) -> list[dict[str, object]]:
        """Every cache's state as the vectors' digests write it; empty kmalloc caches left out."""
        return [
            _cache_state(c)
            for c in self._caches
            if c.number >= self._general or c.nr_slabs > 0 or any(ac.avail for ac in c.array)
        ]


def _object_size(cachep: KmemCache) -> int:
    return int(cachep.object_size)


def _slab_get_obj(cachep: KmemCache, slabp: i64) -> i64:
    """``slab_get_obj``: the next free object of a slab."""
    table = cachep.table
    active = table[slabp + S_ACTIVE]
    table[slabp + S_ACTIVE] = active + 1
    return slabp << SLAB_SHIFT | table[slabp + SLAB_WORDS + active] << INDEX_SHIFT


def _alloc_block(cachep: KmemCache, ac: ArrayCache, slabp: i64, batchcount: i64) -> i64:
    """``alloc_block``: up to ``batchcount`` objects of a slab into an array; returns the rest."""
    table = cachep.table
    active = table[slabp + S_ACTIVE]
    count = cachep.num - active
    if count > batchcount:
        count = batchcount
    freelist = slabp + SLAB_WORDS + active
    entry = ac.entry
    avail = ac.avail
    i: i64 = 0
    while i < count:
        entry[avail + i] = slabp << SLAB_SHIFT | table[freelist + i] << INDEX_SHIFT
        i += 1
    ac.avail = avail + count
    table[slabp + S_ACTIVE] = active + count
    cachep.allocations += count
    cachep.active += count
    return batchcount - count


def _fixup_slab_list(cachep: KmemCache, n: KmemCacheNode, slabp: i64) -> None:
    """``fixup_slab_list``: from wherever it is to the front of where it belongs."""
    table = cachep.table
    list_del(table, slabp)
    if table[slabp + S_ACTIVE] == cachep.num:
        list_add(table, slabp, n.head + SLABS_FULL)
    else:
        list_add(table, slabp, n.head + SLABS_PARTIAL)


def _tag_flagged(cachep: KmemCache, entry: vec[i64], first: i64, last: i64) -> None:
    """Remember of reserve objects that they went through the shared array."""
    while first < last:
        if cachep.table[(entry[first] >> SLAB_SHIFT) + S_FLAGS] & SLAB_PFMEMALLOC:
            entry[first] |= TAG
        first += 1


def _list(c: KmemCache, head: i64) -> list[int]:
    """The slabs on a list, head to tail."""
    found: list[int] = []
    slabp = c.table[head]
    while slabp != head:
        found.append(int(slabp))
        slabp = c.table[slabp + S_NEXT]
    return found


def _all_slabs(c: KmemCache) -> list[int]:
    """Every slab of a cache, by node and list."""
    return [
        slabp
        for n in c.node
        for which in (SLABS_FULL, SLABS_PARTIAL, SLABS_FREE)
        for slabp in _list(c, n.head + which)
    ]


def _all_arrays(c: KmemCache) -> list[ArrayCache]:
    """Cpu, shared and alien arrays of a cache."""
    arrays = list(c.array)
    for n in c.node:
        if n.shared is not None:
            arrays.append(n.shared)
        if n.alien is not None:
            arrays += [ac for ac in n.alien if ac is not None]
    return arrays


def _kernel_stats(c: KmemCache) -> dict[str, int]:
    """The statistics the kernel keeps with STATS, by its own names."""
    return {
        "allochit": int(c.allochit),
        "allocmiss": int(c.allocmiss),
        "freehit": int(c.freehit),
        "freemiss": int(c.freemiss),
        "grown": int(c.grown),
        "reaped": int(c.reaped),
        "active": int(c.active) & _UNSIGNED_LONG,
        "allocations": int(c.allocations),
        "node_allocs": int(c.node_allocs),
        "node_frees": int(c.node_frees),
    }


def _cache_stats(c: KmemCache, name: str, *, own: bool) -> CacheStats:
    flagged = {int(c.flagged[i]) for i in range(c.pfmemalloc_slabs)}
    in_arrays = 0
    if flagged:
        in_arrays = sum(
            1
            for ac in _all_arrays(c)
            for i in range(ac.avail)
            if ac.entry[i] >> SLAB_SHIFT in flagged
        )
    handed = sum(int(c.table[slabp + S_ACTIVE]) for slabp in flagged) - in_arrays
    return CacheStats(
        name=name,
        object_size=int(c.object_size),
        objects_per_slab=int(c.num),
        pages_per_slab=1 << int(c.gfporder),
        slabs=int(c.nr_slabs) if own else 0,
        objects=int(c.nr_slabs * c.num) if own else 0,
        active_objects=0,
        pfmemalloc_slabs=len(flagged) if own else 0,
        pfmemalloc_objects=handed if own else 0,
        preserved_objects=len(flagged) * int(c.num) - handed if own else 0,
        allocations=0,
        denied=0,
        stalled=0,
        frees=0,
        counters={**_kernel_stats(c), "unflagged": int(c.unflagged)} if own else {},
        leaks={way: int(c.leaks[i]) for i, way in enumerate(LEAK_NAMES)} if own else {},
    )


def _cache_state(c: KmemCache) -> dict[str, object]:
    return {
        "name": c.name,
        "cpus": [
            {"avail": int(ac.avail), "touched": int(ac.touched), "entries": _entries(c, ac)}
            for ac in c.array
        ],
        "nodes": [_node_state(c, n) for n in c.node],
        "stats": _kernel_stats(c),
    }


def _node_state(c: KmemCache, n: KmemCacheNode) -> dict[str, object]:
    shared = n.shared
    return {
        "full": _slabs(c, n.head + SLABS_FULL, chains=False),
        "partial": _slabs(c, n.head + SLABS_PARTIAL, chains=True),
        "free": _slabs(c, n.head + SLABS_FREE, chains=True),
        "total_slabs": int(n.total_slabs),
        "free_slabs": int(n.free_slabs),
        "free_objects": int(n.free_objects),
        "free_touched": int(n.free_touched),
        "shared_touched": 0 if shared is None else int(shared.touched),
        "shared": [] if shared is None else _entries(c, shared),
        "alien": []
        if n.alien is None
        else [[] if ac is None else _entries(c, ac) for ac in n.alien],
    }


def _entries(c: KmemCache, ac: ArrayCache) -> list[list[int]]:
    """An array from index 0 up as [slab, index]."""
    return [
        [
            int(c.table[(ac.entry[i] >> SLAB_SHIFT) + S_PFN]),
            int(ac.entry[i] >> INDEX_SHIFT & INDEX_MASK),
        ]
        for i in range(ac.avail)
    ]


def _slabs(c: KmemCache, head: i64, *, chains: bool) -> list[list[object]]:
    """A list of slabs, head to tail, as [slab, active, flag] and the free indices if asked."""
    found: list[list[object]] = []
    table = c.table
    for slabp in _list(c, head):
        active = int(table[slabp + S_ACTIVE])
        row: list[object] = [
            int(table[slabp + S_PFN]),
            active,
            int(table[slabp + S_FLAGS] & SLAB_PFMEMALLOC),
        ]
        if chains:
            row.append([int(table[slabp + SLAB_WORDS + i]) for i in range(active, int(c.num))])
        found.append(row)
    return found
