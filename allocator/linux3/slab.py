"""SLAB of Linux 3.3 and 3.6 with the PFMEMALLOC patch (``mm/slab.c``).

The idea: each cpu keeps a stack of free objects (``array_cache``); behind it, per
node, a shared array, arrays for other nodes' objects (alien), and three lists of
slabs: full, partial, free. Objects travel between these in batches.

The patch: a slab whose pages came from the reserve is flagged (A1), and while a
global says that such slabs exist, its objects carry a tag when they enter an array
(A3, A7). A caller without entitlement gets no tagged object out of an array (A4),
but nothing checks on the way around the array: FINDINGS in docs tell what follows.

Kernel ``____cache_alloc`` is ``_cache_alloc`` here, ``____cache_alloc_node``
``_cache_alloc_node``; other leading underscores are as in the kernel, less one.

Not modelled: locks, interrupts in the middle of an operation, debugging, object
contents. The caches' own descriptors and arrays cost no simulated memory.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from allocator.config import MachineConfig
from allocator.linux3 import slab_story
from allocator.linux3.gfp import (
    _GFP_DMA,
    _GFP_MEMALLOC,
    _GFP_RECLAIMABLE,
    _GFP_THISNODE,
    GFP_CONSTRAINT_MASK,
    GFP_RECLAIM_MASK,
    GFP_THISNODE,
)
from allocator.linux3.kmem_cache import (
    BUFCTL_END,
    LEAK_DESCRIPTOR_CACHE,
    LEAK_FORCED_REFILL,
    LEAK_NAMES,
    LEAK_NO_MEMALLOC_SOCKS,
    LEAK_NODE_PATH,
    LEAK_PARTIAL_UNFLAG,
    LEAK_WRONG_CACHE,
    S_COLOUROFF,
    S_FLAGS,
    S_FREE,
    S_INUSE,
    S_MGMT,
    S_NODE_MASK,
    S_NODE_SHIFT,
    S_PFN,
    SIZEOF_BUFCTL,
    SIZEOF_SLAB,
    SLAB_FLAGGED,
    SLAB_S_MEM_CLEARED,
    SLAB_WORDS,
    Geometry,
    KmemCache,
    KmemList3,
)
from allocator.linux3.page_alloc import Linux3PageAllocator
from allocator.object_allocator import (
    INDEX_MASK,
    INDEX_SHIFT,
    NO_CACHE,
    NO_OBJECT,
    SLAB_HWCACHE_ALIGN,
    SLAB_PANIC,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_SHIFT,
    TAG,
    ObjectAllocator,
)
from allocator.outcome import (
    DENIED_GROWTH,
    DENIED_PRESERVED,
    OBJ_ARRAY_HIT,
    OBJ_ARRAY_SWAP,
    OBJ_FALLBACK,
    OBJ_FORCED_REFILL,
    OBJ_GROW,
    OBJ_NODE,
    OBJ_REFILL,
)
from allocator.page_allocator import NO_PAGE
from allocator.revision import Revision
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
    list_move,
    transfer_objects,
)
from allocator.stats import CacheStats
from allocator.task import Task
from allocator.verify import require
from allocator.zone import gfp_zone

_SLAB_MAX_ORDER_HI: Final = 1
_LARGE_MACHINE_PAGES: Final = (32 << 20) >> 12
_REAP_JIFFIES: Final = 2500
_GENERAL_CACHE_SIZES: Final = (
    32,
    64,
    128,
    192,
    256,
    512,
    1024,
    2048,
    4096,
    8192,
    16384,
    32768,
    65536,
    131072,
)


class Slab3(ObjectAllocator):
    """``mm/slab.c`` of one machine at one revision."""

    __slots__ = (
        "_cleared_by",
        "_cpus_on_node",
        "_first_searched",
        "_flagged_slabs",
        "_general",
        "_gfp_thisnode",
        "_growing",
        "_local_mask",
        "_nodes",
        "_numa",
        "_page_alloc",
        "_patched",
        "_refused",
        "_slab_max_order",
        "_slab_reap_node",
        "_tags",
        "caches",
    )

    def __init__(
        self,
        config: MachineConfig,
        revision: Revision,
        pages: Linux3PageAllocator,
        current: Task,
    ) -> None:
        """``kmem_cache_init``: the general caches size-32 … size-131072."""
        super().__init__(pages, current)
        self._page_alloc: Linux3PageAllocator = pages
        self._numa: bool = config.numa
        self._nodes: i64 = len(config.nodes)
        self._cpus_on_node: list[int] = [
            sum(1 for node in config.cpu_node if node == nid) for nid in range(len(config.nodes))
        ]
        self._gfp_thisnode: i64 = GFP_THISNODE if config.numa else 0
        reclaim_mask = GFP_RECLAIM_MASK | (_GFP_MEMALLOC if revision.gfp_memalloc else 0)
        self._local_mask: i64 = GFP_CONSTRAINT_MASK | reclaim_mask
        self._patched: bool = revision.pfmemalloc
        # Whether arrays look at tags at all.
        self._tags: bool = revision.pfmemalloc and (
            config.memalloc_socks or not revision.memalloc_socks_gate
        )
        self._first_searched: i64 = 0 if revision.ac_search_from_zero else 1
        self._slab_reap_node: vec[i64] = vec[i64](
            [(node + 1) % len(config.nodes) for node in config.cpu_node]
        )
        managed = sum(int(zone.managed_pages) for zone in pages.zones)
        self._slab_max_order: int = _SLAB_MAX_ORDER_HI if managed > _LARGE_MACHINE_PAGES else 0
        self._growing: bool = False
        """Whether an off-slab descriptor is being allocated for a new slab."""
        self._flagged_slabs: i64 = 0
        """Slabs of all caches with any flagged page."""
        self._cleared_by: i64 = LEAK_WRONG_CACHE
        """How the global last became false while flagged slabs remained."""
        self._refused: bool = False
        """Whether an array kept a reserve object from this allocation."""
        self.caches: list[KmemCache] = []
        self._general: list[KmemCache] = []
        for size in _GENERAL_CACHE_SIZES:
            number = self.cache_create(f"size-{size}", size, 0, SLAB_HWCACHE_ALIGN | SLAB_PANIC)
            self._general.append(self.caches[number])

    # Caches.

    def cache_create(self, name: str, size: int, align: int, flags: int) -> int:
        """``kmem_cache_create``: the new cache's number."""
        geometry = Geometry(size, align, flags, self._slab_max_order, early=False)
        slabp_cache: KmemCache | None = None
        if geometry.off_slab:
            slabp_cache = self._find_general_cachep(geometry.slab_size, 0)
        number = len(self.caches)
        cache = KmemCache(
            number, name, geometry, slabp_cache, self._cpus_on_node, alien=self._nodes > 1
        )
        self.caches.append(cache)
        return number

    def cache_number(self, name: str) -> int:
        """Number of the cache with that name, or NO_CACHE."""
        for cachep in self.caches:
            if cachep.name == name:
                return int(cachep.number)
        return NO_CACHE

    def cache_name(self, number: int) -> str:
        """Name of a cache."""
        return self.caches[number].name

    def _find_general_cachep(self, size: i64, gfp: i64) -> KmemCache | None:
        """``__find_general_cachep``; the DMA twins do not exist here."""
        if gfp & _GFP_DMA:
            return None
        for cachep in self._general:
            if size <= cachep.object_size:
                return cachep
        return None

    def kmalloc_cache(self, size: i64, gfp: i64) -> i64:
        """Number of the general cache for ``size`` bytes, or NO_CACHE."""
        cachep = self._find_general_cachep(size, gfp)
        return NO_CACHE if cachep is None else cachep.number

    # The patch.

    def _page_flagged(self, cachep: KmemCache, objp: i64) -> bool:
        """``PageSlabPfmemalloc(virt_to_page(objp))``."""
        table = cachep.table
        slabp = objp >> SLAB_SHIFT
        flags = table[slabp + S_FLAGS]
        if not flags & SLAB_FLAGGED:
            return False
        if not flags & SLAB_S_MEM_CLEARED:
            return True
        s_mem = table[slabp + S_COLOUROFF]
        index = objp >> INDEX_SHIFT & INDEX_MASK
        return (s_mem + index * cachep.buffer_size) >> 12 != s_mem >> 12

    def _check_ac_pfmemalloc(self, cachep: KmemCache) -> None:
        """``check_ac_pfmemalloc`` (A9): this cache on this node decides for all."""
        if not self.pfmemalloc_active:
            return
        if cachep.nodelists[self.current.node].pfmemalloc_slabs > 0:
            return
        self.pfmemalloc_active = False
        self.deactivations += 1
        if self.pages.story is not None:
            slab_story.cleared(
                self.pages.story, cachep.name, self.current.node, self._flagged_slabs
            )
        if self._flagged_slabs == 0:
            return
        # Flagged slabs remain: from now on their objects enter arrays untagged.
        self.wrong_deactivations += 1
        if self._growing:
            self._cleared_by = LEAK_DESCRIPTOR_CACHE
        elif cachep.pfmemalloc_slabs > 0 and cachep.gfporder > 0:
            self._cleared_by = LEAK_PARTIAL_UNFLAG
        else:
            self._cleared_by = LEAK_WRONG_CACHE

    def _ac_get_obj(self, cachep: KmemCache, ac: ArrayCache, flags: i64, force_refill: bool) -> i64:
        """``ac_get_obj`` (A4): the top of the array, or another, or NO_OBJECT."""
        entry = ac.entry
        avail = ac.avail - 1
        ac.avail = avail
        objp = entry[avail]
        if not objp & TAG:
            return objp
        if self._page_alloc.gfp_pfmemalloc_allowed(flags):
            if self.pages.story is not None:
                slab_story.untagged(self.pages.story)
            return objp ^ TAG
        # The caller cannot use reserve objects: find another one and swap them.
        i = self._first_searched
        while i < avail:
            if not entry[i] & TAG:
                found = entry[i]
                entry[i] = objp
                entry[avail] = found
                cachep.swaps += 1
                if self.pages.story is not None:
                    slab_story.swapped(self.pages.story, i)
                self.outcome = OBJ_ARRAY_SWAP
                return found
            i += 1
        # If a slab is free and this is a forced refill, give up the protection of this one.
        l3 = cachep.nodelists[self.current.node]
        free_head = l3.head + SLABS_FREE
        if cachep.table[free_head] != free_head and force_refill:
            self._leak(cachep, LEAK_FORCED_REFILL, objp)
            if self.pages.story is not None:
                slab_story.unflagged(self.pages.story, cachep.table[(objp >> SLAB_SHIFT) + S_PFN])
            self._clear_slab_pfmemalloc(cachep, objp >> SLAB_SHIFT)
            self._check_ac_pfmemalloc(cachep)
            return objp ^ TAG
        ac.avail = avail + 1
        if self.pages.story is not None:
            pfn = cachep.table[(objp >> SLAB_SHIFT) + S_PFN]
            searched = avail + 1 - self._first_searched
            slab_story.refused(self.pages.story, searched, cachep.name, pfn)
        self._refused = True
        return NO_OBJECT

    def _clear_slab_pfmemalloc(self, cachep: KmemCache, slabp: i64) -> None:
        """``ClearPageSlabPfmemalloc(virt_to_page(slabp->s_mem))``: one page, not the slab."""
        table = cachep.table
        flags = table[slabp + S_FLAGS]
        if flags & (SLAB_FLAGGED | SLAB_S_MEM_CLEARED) != SLAB_FLAGGED:
            return
        table[slabp + S_FLAGS] = flags | SLAB_S_MEM_CLEARED
        cachep.nodelists[flags >> S_NODE_SHIFT & S_NODE_MASK].pfmemalloc_slabs -= 1
        cachep.unflagged += 1
        if cachep.gfporder == 0:
            self._flagged_slabs -= 1
            cachep.flagged_remove(slabp)

    def _ac_put_obj(self, cachep: KmemCache, ac: ArrayCache, objp: i64) -> None:
        """``ac_put_obj`` (A3): tagged while the global says that reserve slabs exist."""
        if self.pfmemalloc_active and self._tags and self._page_flagged(cachep, objp):
            objp |= TAG
        ac.entry[ac.avail] = objp
        ac.avail += 1

    # Allocation.

    def alloc(self, number: i64, gfp: i64, node: i64) -> i64:
        """``kmem_cache_alloc`` (node -1) or ``kmem_cache_alloc_node``."""
        cachep = self.caches[number]
        self.outcome = OBJ_ARRAY_HIT
        self._refused = False
        if node >= 0:
            objp = self._kmem_cache_alloc_node(cachep, gfp, node)
        else:
            # __do_cache_alloc
            objp = self._cache_alloc(cachep, gfp)
            if objp == NO_OBJECT and self._numa:
                # The local node may just be out of memory: this one knows the others.
                objp = self._cache_alloc_node(cachep, gfp, self.current.node)
        if objp == NO_OBJECT:
            self.outcome = DENIED_PRESERVED if self._refused else DENIED_GROWTH
        elif cachep.pfmemalloc_slabs > 0 and self._page_flagged(cachep, objp):
            self._count_leak(cachep, gfp, objp)
        return objp

    def _count_leak(self, cachep: KmemCache, gfp: i64, objp: i64) -> None:
        """Name the way in which a reserve object came out, if the caller may not have it."""
        if self._page_alloc.gfp_pfmemalloc_allowed(gfp):
            return
        if self.outcome == OBJ_NODE or self.outcome == OBJ_FALLBACK:
            self._leak(cachep, LEAK_NODE_PATH, objp)
        elif not self._tags:
            self._leak(cachep, LEAK_NO_MEMALLOC_SOCKS, objp)
        elif self.outcome != OBJ_FORCED_REFILL:
            self._leak(cachep, self._cleared_by, objp)

    def _leak(self, cachep: KmemCache, way: i64, objp: i64) -> None:
        """Count a reserve object that goes to a caller who may not have it."""
        cachep.leaks[way] += 1
        self.leaked = way + 1
        if self.pages.story is not None:
            self.pages.story.leak(
                LEAK_NAMES[way], cachep.name, cachep.table[(objp >> SLAB_SHIFT) + S_PFN]
            )

    def _kmem_cache_alloc_node(self, cachep: KmemCache, flags: i64, nodeid: i64) -> i64:
        """``kmem_cache_alloc_node``: ``__cache_alloc_node``, or any node without CONFIG_NUMA."""
        if not self._numa:
            return self._cache_alloc(cachep, flags)
        if nodeid == self.current.node:
            objp = self._cache_alloc(cachep, flags)
            if objp != NO_OBJECT:
                return objp
        return self._cache_alloc_node(cachep, flags, nodeid)

    def _cache_alloc(self, cachep: KmemCache, flags: i64) -> i64:
        """``____cache_alloc`` (A5): from the cpu's array, refilled if need be."""
        ac = cachep.array[self.current.cpu]
        force_refill = False
        if ac.avail > 0:
            ac.touched = True
            objp = self._ac_get_obj(cachep, ac, flags, False)
            if objp != NO_OBJECT:
                cachep.allochit += 1
                return objp
            force_refill = True
        cachep.allocmiss += 1
        if self.pages.story is not None:
            if force_refill:
                slab_story.force_refill(self.pages.story)
            else:
                slab_story.array_empty(self.pages.story, cachep.name, self.current.cpu)
        return self._cache_alloc_refill(cachep, ac, flags, force_refill)

    def _cache_alloc_refill(
        self, cachep: KmemCache, ac: ArrayCache, flags: i64, force_refill: bool
    ) -> i64:
        """``cache_alloc_refill`` (A6): fill the array, or grow at once if forced."""
        node = self.current.node
        if force_refill:
            cachep.forced_refills += 1
            if not self._cache_grow(cachep, flags | self._gfp_thisnode, node, NO_PAGE):
                if self.pages.story is not None:
                    slab_story.forced_growth_failed(self.pages.story, ac.avail)
                return NO_OBJECT
            self.outcome = OBJ_FORCED_REFILL
        else:
            self.outcome = OBJ_REFILL
            l3 = cachep.nodelists[node]
            self._refill_array(cachep, ac, l3)
            while ac.avail == 0:
                if not self._cache_grow(cachep, flags | self._gfp_thisnode, node, NO_PAGE):
                    return NO_OBJECT
                self.outcome = OBJ_GROW
                self._refill_array(cachep, ac, l3)
        ac.touched = True
        return self._ac_get_obj(cachep, ac, flags, force_refill)

    def _refill_array(self, cachep: KmemCache, ac: ArrayCache, l3: KmemList3) -> None:
        """Fill an empty array from the shared array, else from partial and free slabs."""
        batchcount = ac.batchcount
        if not ac.touched and batchcount > BATCHREFILL_LIMIT:
            # Little recent activity: a partial refill only, to avoid bouncing.
            batchcount = BATCHREFILL_LIMIT
        shared = l3.shared
        if shared is not None and transfer_objects(ac, shared, batchcount) > 0:
            if self.pages.story is not None:
                slab_story.from_shared(self.pages.story, ac.avail)
            shared.touched = True
            return
        table = cachep.table
        num = cachep.num
        partial = l3.head + SLABS_PARTIAL
        free = l3.head + SLABS_FREE
        while batchcount > 0:
            slabp = table[partial]
            if slabp == partial:
                l3.free_touched = True
                slabp = table[free]
                if slabp == free:
                    break
            inuse = table[slabp + S_INUSE]
            index = table[slabp + S_FREE]
            bufctl = slabp + SLAB_WORDS
            while inuse < num and batchcount > 0:
                batchcount -= 1
                cachep.allocations += 1
                cachep.active += 1
                self._ac_put_obj(cachep, ac, slabp << SLAB_SHIFT | index << INDEX_SHIFT)
                index = table[bufctl + index]
                inuse += 1
            table[slabp + S_INUSE] = inuse
            table[slabp + S_FREE] = index
            list_move(table, slabp, l3.head + SLABS_FULL if index == BUFCTL_END else partial)
        l3.free_objects -= ac.avail
        if self.pages.story is not None:
            slab_story.from_slabs(self.pages.story, ac.avail, _tagged(ac))

    def _cache_alloc_node(self, cachep: KmemCache, flags: i64, nodeid: i64) -> i64:
        """``____cache_alloc_node``: straight from a node's slabs. It does not look at flags."""
        l3 = cachep.nodelists[nodeid]
        partial = l3.head + SLABS_PARTIAL
        free = l3.head + SLABS_FREE
        while True:
            table = cachep.table
            slabp = table[partial]
            if slabp == partial:
                l3.free_touched = True
                slabp = table[free]
            if slabp != free:
                break
            if not self._cache_grow(cachep, flags | self._gfp_thisnode, nodeid, NO_PAGE):
                return self._fallback_alloc(cachep, flags)
        cachep.node_allocs += 1
        cachep.active += 1
        index = table[slabp + S_FREE]
        table[slabp + S_INUSE] += 1
        following = table[slabp + SLAB_WORDS + index]
        table[slabp + S_FREE] = following
        l3.free_objects -= 1
        list_move(table, slabp, l3.head + SLABS_FULL if following == BUFCTL_END else partial)
        self.outcome = OBJ_NODE
        if self.pages.story is not None:
            flagged = table[slabp + S_FLAGS] & SLAB_FLAGGED != 0
            slab_story.from_node(self.pages.story, table[slabp + S_PFN], index, nodeid, flagged)
        return slabp << SLAB_SHIFT | index << INDEX_SHIFT

    def _fallback_alloc(self, cachep: KmemCache, flags: i64) -> i64:
        """``fallback_alloc``: objects any node has, then pages from anywhere."""
        if flags & _GFP_THISNODE:
            return NO_OBJECT
        if self.pages.story is not None:
            slab_story.fallback(self.pages.story)
        high_zoneidx = gfp_zone(flags & 15)
        local_flags = flags & self._local_mask
        while True:
            for zone in self._page_alloc.zonelists[self.current.node].zones:
                if zone.type > high_zoneidx:
                    continue
                if cachep.nodelists[zone.nid].free_objects > 0:
                    objp = self._cache_alloc_node(cachep, flags | self._gfp_thisnode, zone.nid)
                    if objp != NO_OBJECT:
                        self.outcome = OBJ_FALLBACK
                        return objp
            pfn = self._kmem_getpages(cachep, local_flags, self.current.node)
            if pfn == NO_PAGE:
                return NO_OBJECT
            nid = self._page_alloc.page_zone(pfn).nid
            if not self._cache_grow(cachep, flags, nid, pfn):
                return NO_OBJECT
            objp = self._cache_alloc_node(cachep, flags | self._gfp_thisnode, nid)
            if objp != NO_OBJECT:
                self.outcome = OBJ_FALLBACK
                return objp

    # Slabs come and go.

    def _kmem_getpages(self, cachep: KmemCache, flags: i64, nodeid: i64) -> i64:
        """``kmem_getpages`` (A1): pages for a slab; the reserve's make the global true."""
        flags |= cachep.gfpflags
        if cachep.flags & SLAB_RECLAIM_ACCOUNT:
            flags |= _GFP_RECLAIMABLE
        pfn = self._page_alloc.alloc_pages(flags, cachep.gfporder, nodeid)
        if pfn == NO_PAGE:
            return NO_PAGE
        if self._patched and self._page_alloc.page_pfmemalloc(pfn) and not self.pfmemalloc_active:
            self.pfmemalloc_active = True
            self.activations += 1
            if self.pages.story is not None:
                slab_story.activated(self.pages.story)
        self._count_slab_pages(cachep, pfn, 1 << cachep.gfporder)
        return pfn

    def _kmem_freepages(self, cachep: KmemCache, pfn: i64) -> None:
        """``kmem_freepages`` (A2): the pages' flags go with the slab's place in the table."""
        self._count_slab_pages(cachep, pfn, -(1 << cachep.gfporder))
        self._page_alloc.free_pages(pfn, cachep.gfporder, False)

    def _count_slab_pages(self, cachep: KmemCache, pfn: i64, nr_pages: i64) -> None:
        zone = self._page_alloc.page_zone(pfn)
        if cachep.flags & SLAB_RECLAIM_ACCOUNT:
            zone.slab_reclaimable += nr_pages
        else:
            zone.slab_unreclaimable += nr_pages

    def _cache_grow(self, cachep: KmemCache, flags: i64, nodeid: i64, pfn: i64) -> bool:
        """``cache_grow``: one more slab for a node, from ``pfn`` or from the page allocator."""
        local_flags = flags & self._local_mask
        l3 = cachep.nodelists[nodeid]
        offset = l3.colour_next * cachep.colour_off
        l3.colour_next += 1
        if l3.colour_next >= cachep.colour:
            l3.colour_next = 0
        if pfn == NO_PAGE:
            pfn = self._kmem_getpages(cachep, local_flags, nodeid)
            if pfn == NO_PAGE:
                if self.pages.story is not None:
                    slab_story.no_pages(self.pages.story, cachep.name)
                return False
        # alloc_slabmgmt
        mgmt: i64 = NO_OBJECT
        slabp_cache = cachep.slabp_cache
        if slabp_cache is not None:
            outcome = self.outcome
            self._growing = True
            mgmt = self._kmem_cache_alloc_node(
                slabp_cache, local_flags & ~GFP_CONSTRAINT_MASK, nodeid
            )
            self._growing = False
            self.outcome = outcome
            if mgmt == NO_OBJECT:
                self._kmem_freepages(cachep, pfn)
                return False
        else:
            offset += cachep.slab_size
        slabp = cachep.new_slab_place()
        table = cachep.table
        slab_flags = nodeid << S_NODE_SHIFT
        flagged = self._patched and self._page_alloc.page_pfmemalloc(pfn)
        if flagged:
            slab_flags |= SLAB_FLAGGED
        table[slabp + S_INUSE] = 0
        table[slabp + S_FREE] = 0
        table[slabp + S_FLAGS] = slab_flags
        table[slabp + S_PFN] = pfn
        table[slabp + S_MGMT] = mgmt
        table[slabp + S_COLOUROFF] = offset
        if flagged:
            l3.pfmemalloc_slabs += 1
            self._flagged_slabs += 1
            cachep.flagged_add(slabp)
        # cache_init_objs
        bufctl = slabp + SLAB_WORDS
        last = cachep.num - 1
        i: i64 = 0
        while i < last:
            table[bufctl + i] = i + 1
            i += 1
        table[bufctl + last] = BUFCTL_END
        list_add_tail(table, slabp, l3.head + SLABS_FREE)
        if self.pages.story is not None:
            slab_story.grown(self.pages.story, cachep.name, pfn, cachep.num, nodeid, flagged)
        cachep.grown += 1
        cachep.nr_slabs += 1
        l3.free_objects += cachep.num
        return True

    def _slab_destroy(self, cachep: KmemCache, slabp: i64) -> None:
        """``slab_destroy``: pages back, then the off-slab descriptor."""
        table = cachep.table
        flags = table[slabp + S_FLAGS]
        if flags & SLAB_FLAGGED:
            whole = not flags & SLAB_S_MEM_CLEARED
            if whole:
                cachep.nodelists[flags >> S_NODE_SHIFT & S_NODE_MASK].pfmemalloc_slabs -= 1
            if whole or cachep.gfporder > 0:
                self._flagged_slabs -= 1
                cachep.flagged_remove(slabp)
        mgmt = table[slabp + S_MGMT]
        pfn = table[slabp + S_PFN]
        table[slabp + S_NEXT] = cachep.recycled
        cachep.recycled = slabp
        cachep.nr_slabs -= 1
        self._kmem_freepages(cachep, pfn)
        slabp_cache = cachep.slabp_cache
        if slabp_cache is not None:
            self._cache_free(slabp_cache, mgmt)

    # Freeing.

    def free(self, number: i64, objp: i64) -> None:
        """``kmem_cache_free`` on the current cpu."""
        self._cache_free(self.caches[number], objp)

    def _cache_free(self, cachep: KmemCache, objp: i64) -> None:
        """``__cache_free``: to the cpu's array; another node's object to the alien array."""
        if self._nodes > 1 and self._cache_free_alien(cachep, objp):
            return
        ac = cachep.array[self.current.cpu]
        if ac.avail < ac.limit:
            cachep.freehit += 1
        else:
            cachep.freemiss += 1
            self._cache_flusharray(cachep, ac)
        self._ac_put_obj(cachep, ac, objp)

    def _cache_free_alien(self, cachep: KmemCache, objp: i64) -> bool:
        """``cache_free_alien`` (A7): True if the object was another node's and is dealt with."""
        nodeid = cachep.table[(objp >> SLAB_SHIFT) + S_FLAGS] >> S_NODE_SHIFT & S_NODE_MASK
        node = self.current.node
        if nodeid == node:
            return False
        cachep.node_frees += 1
        arrays = cachep.nodelists[node].alien
        alien = arrays[nodeid] if arrays is not None else None
        if alien is None:
            self._free_block(cachep, vec[i64]([objp]), 1, nodeid)
            return True
        if alien.avail == alien.limit:
            self._drain_alien_cache(cachep, alien, nodeid)
        self._ac_put_obj(cachep, alien, objp)
        return True

    def _drain_alien_cache(self, cachep: KmemCache, ac: ArrayCache, node: i64) -> None:
        """``__drain_alien_cache``: into the owner's shared array first, the rest to its slabs."""
        if ac.avail == 0:
            return
        shared = cachep.nodelists[node].shared
        if shared is not None:
            transfer_objects(shared, ac, ac.limit)
        self._free_block(cachep, ac.entry, ac.avail, node)
        ac.avail = 0

    def _cache_flusharray(self, cachep: KmemCache, ac: ArrayCache) -> None:
        """``cache_flusharray``: the oldest batch to the shared array, or back to the slabs."""
        node = self.current.node
        batchcount = ac.batchcount
        shared = cachep.nodelists[node].shared
        room: i64 = 0
        if shared is not None:
            room = shared.limit - shared.avail
        if shared is not None and room > 0:
            batchcount = min(batchcount, room)
            target = shared.entry
            source = ac.entry
            at = shared.avail
            i: i64 = 0
            while i < batchcount:
                target[at + i] = source[i]
                i += 1
            shared.avail = at + batchcount
        else:
            self._free_block(cachep, ac.entry, batchcount, node)
        drop_oldest(ac, batchcount)

    def _free_block(self, cachep: KmemCache, entry: vec[i64], nr_objects: i64, node: i64) -> None:
        """``free_block`` (A8): objects back to their slabs, untagged; empty slabs may go."""
        l3 = cachep.nodelists[node]
        table = cachep.table
        free_head = l3.head + SLABS_FREE
        partial = l3.head + SLABS_PARTIAL
        i: i64 = 0
        while i < nr_objects:
            objp = entry[i]
            i += 1
            slabp = objp >> SLAB_SHIFT
            index = objp >> INDEX_SHIFT & INDEX_MASK
            # slab_put_obj
            table[slabp + SLAB_WORDS + index] = table[slabp + S_FREE]
            table[slabp + S_FREE] = index
            inuse = table[slabp + S_INUSE] - 1
            table[slabp + S_INUSE] = inuse
            cachep.active -= 1
            l3.free_objects += 1
            # list_del
            after = table[slabp + S_NEXT]
            before = table[slabp + S_PREV]
            table[before + S_NEXT] = after
            table[after + S_PREV] = before
            if inuse > 0:
                # To the end of the partial list: most time for the others to be freed too.
                list_add_tail(table, slabp, partial)
            elif l3.free_objects > l3.free_limit:
                l3.free_objects -= cachep.num
                self._slab_destroy(cachep, slabp)
            else:
                list_add(table, slabp, free_head)

    # Periodic and requested trimming.

    def reap(self) -> None:
        """``cache_reap`` on the current cpu, a reap interval later, every node's timer due."""
        self.pages.jiffies += _REAP_JIFFIES
        cpu = self.current.cpu
        node = self.current.node
        reap_node = self._slab_reap_node[cpu]
        for cachep in reversed(self.caches):
            l3 = cachep.nodelists[node]
            arrays = l3.alien
            if arrays is not None:
                alien = arrays[reap_node]
                if alien is not None:
                    self._drain_alien_cache(cachep, alien, reap_node)
            self._drain_array(cachep, cachep.array[cpu], False, node)
            shared = l3.shared
            if shared is not None:
                self._drain_array(cachep, shared, False, node)
            if l3.free_touched:
                l3.free_touched = False
            else:
                fifth = 5 * cachep.num
                freed = self._drain_freelist(cachep, l3, (l3.free_limit + fifth - 1) // fifth)
                cachep.reaped += freed
        self._slab_reap_node[cpu] = (reap_node + 1) % self._nodes

    def _drain_array(self, cachep: KmemCache, ac: ArrayCache, force: bool, node: i64) -> None:
        """``drain_array``: a fifth of an idle array, or all of it, back to the slabs."""
        if ac.avail == 0:
            return
        if ac.touched and not force:
            ac.touched = False
            return
        tofree = ac.avail if force else (ac.limit + 4) // 5
        if tofree > ac.avail:
            tofree = (ac.avail + 1) // 2
        self._free_block(cachep, ac.entry, tofree, node)
        drop_oldest(ac, tofree)

    def _drain_freelist(self, cachep: KmemCache, l3: KmemList3, tofree: i64) -> i64:
        """``drain_freelist``: destroy up to ``tofree`` free slabs, the tail first."""
        head = l3.head + SLABS_FREE
        nr_freed: i64 = 0
        while nr_freed < tofree and cachep.table[head + S_PREV] != head:
            table = cachep.table
            slabp = table[head + S_PREV]
            before = table[slabp + S_PREV]
            table[before + S_NEXT] = head
            table[head + S_PREV] = before
            l3.free_objects -= cachep.num
            self._slab_destroy(cachep, slabp)
            nr_freed += 1
        return nr_freed

    def shrink(self, number: i64) -> int:
        """``kmem_cache_shrink``: 1 if slabs in use remain, else 0."""
        cachep = self.caches[number]
        self._drain_cpu_caches(cachep)
        remains = 0
        for l3 in cachep.nodelists:
            self._drain_freelist(cachep, l3, l3.free_objects)
            full = l3.head + SLABS_FULL
            partial = l3.head + SLABS_PARTIAL
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
            self._free_block(cachep, ac.entry, ac.avail, nid)
            ac.avail = 0
        current.cpu = cpu
        current.node = node
        for l3 in cachep.nodelists:
            if l3.alien is not None:
                for owner, alien in enumerate(l3.alien):
                    if alien is not None:
                        self._drain_alien_cache(cachep, alien, owner)
        for nid, l3 in enumerate(cachep.nodelists):
            shared = l3.shared
            if shared is not None:
                self._drain_array(cachep, shared, True, nid)

    # What it looks like from outside.

    def slab_pfn(self, number: i64, objp: i64) -> i64:
        """First pfn of an object's slab."""
        return self.caches[number].table[(objp >> SLAB_SHIFT) + S_PFN]

    def obj_pfmemalloc(self, number: i64, objp: i64) -> bool:
        """The flag of the page an object lies in."""
        return self._page_flagged(self.caches[number], objp)

    def geometry(self, number: int) -> dict[str, object]:
        """What ``kmem_cache_create`` computed, by the vectors' key names."""
        c = self.caches[number]
        return {
            "cache": number,
            "name": c.name,
            "size": int(c.buffer_size),
            "objs": int(c.num),
            "order": int(c.gfporder),
            "off_slab": int(c.off_slab),
            "slab_mgmt": int(c.slab_size),
            "mgmt_cache": None if c.slabp_cache is None else c.slabp_cache.name,
            "colours": int(c.colour),
            "colour_off": int(c.colour_off),
            "limit": int(c.limit),
            "batch": int(c.batchcount),
            "shared": int(c.shared),
            "gfpflags": int(c.gfpflags),
            "flags": int(c.flags),
            "free_limit": [int(l3.free_limit) for l3 in c.nodelists],
        }

    def boot(self) -> dict[str, object]:
        """The allocator's part of the vectors' ``boot``."""
        return {
            "slab_max_order": self._slab_max_order,
            "sizeof_slab": SIZEOF_SLAB,
            "sizeof_bufctl": SIZEOF_BUFCTL,
            "use_alien_caches": int(self._nodes > 1),
            "general_caches": [self.geometry(int(c.number)) for c in self._general],
        }

    def cache_stats(self) -> list[CacheStats]:
        """A reading of every cache."""
        return [_cache_stats(c) for c in self.caches]

    def slab_pages(self) -> list[tuple[int, int]]:
        """(first pfn, order) of every slab."""
        return [
            (int(c.table[slabp + S_PFN]), int(c.gfporder))
            for c in self.caches
            for slabp in _all_slabs(c)
        ]

    def chain(self) -> list[int]:
        """``cache_chain``."""
        return [int(c.number) for c in reversed(self.caches)]

    def leak_ways(self) -> tuple[str, ...]:
        """The ways in which this allocator can leak the reserve."""
        return LEAK_NAMES

    def flagged_slabs(self) -> list[tuple[int, int]]:
        """(cache number, first pfn) of every slab with a flagged page."""
        return [
            (int(c.number), int(c.table[c.flagged[i] + S_PFN]))
            for c in self.caches
            for i in range(c.pfmemalloc_slabs)
        ]

    def inner_objects(self) -> list[tuple[int, int]]:
        """The off-slab descriptors, as (cache number, objp)."""
        found: list[tuple[int, int]] = []
        for c in self.caches:
            slabp_cache = c.slabp_cache
            if slabp_cache is not None:
                number = int(slabp_cache.number)
                found += [(number, int(c.table[slabp + S_MGMT])) for slabp in _all_slabs(c)]
        return found

    def verify(self, held: list[list[int]]) -> None:
        """Every object in exactly one place; lists, counts, tags and flags agree."""
        for c in self.caches:
            _verify_cache(c, held[int(c.number)])

    def hidden_state(self) -> object:
        """Colours, places of objects in slabs, reap turns, and the patch's counters."""
        return {
            "reap_node": [int(node) for node in self._slab_reap_node],
            "flips": [
                int(self.activations),
                int(self.deactivations),
                int(self.wrong_deactivations),
                int(self._cleared_by),
            ],
            "caches": [
                {
                    "name": c.name,
                    "colour_next": [int(l3.colour_next) for l3 in c.nodelists],
                    "counters": _counters(c),
                    "leaks": [int(count) for count in c.leaks],
                    "colouroff": [
                        [int(c.table[slabp + S_PFN]), int(c.table[slabp + S_COLOUROFF])]
                        for slabp in _all_slabs(c)
                    ],
                }
                for c in self.caches
            ],
        }

    def state(self) -> list[dict[str, object]]:
        """Every cache's state as the vectors' digests write it."""
        general = len(self._general)
        return [
            self._cache_state(c)
            for c in self.caches
            if c.number >= general or c.nr_slabs > 0 or _holds_entries(c)
        ]

    def machine_state(self) -> dict[str, object]:
        """The global flag."""
        return {"pfmemalloc_active": int(self.pfmemalloc_active)}

    def _cache_state(self, c: KmemCache) -> dict[str, object]:
        return {
            "name": c.name,
            "cpus": [
                {
                    "avail": int(ac.avail),
                    "tagged": _tagged(ac),
                    "touched": int(ac.touched),
                    "entries": _entries(c, ac),
                }
                for ac in c.array
            ],
            "nodes": [self._node_state(c, l3) for l3 in c.nodelists],
            "stats": _kernel_stats(c),
        }

    def _node_state(self, c: KmemCache, l3: KmemList3) -> dict[str, object]:
        shared = l3.shared
        return {
            "full": _slabs(c, l3.head + SLABS_FULL, chains=False),
            "partial": _slabs(c, l3.head + SLABS_PARTIAL, chains=True),
            "free": _slabs(c, l3.head + SLABS_FREE, chains=True),
            "free_objects": int(l3.free_objects),
            "free_touched": int(l3.free_touched),
            "shared_touched": 0 if shared is None else int(shared.touched),
            "shared": [] if shared is None else _entries(c, shared),
            "alien": []
            if l3.alien is None
            else [[] if ac is None else _entries(c, ac) for ac in l3.alien],
        }


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
        for l3 in c.nodelists
        for which in (SLABS_FULL, SLABS_PARTIAL, SLABS_FREE)
        for slabp in _list(c, l3.head + which)
    ]


def _kernel_stats(c: KmemCache) -> dict[str, int]:
    """The statistics the kernel keeps with STATS, by its own names."""
    return {
        "allochit": int(c.allochit),
        "allocmiss": int(c.allocmiss),
        "freehit": int(c.freehit),
        "freemiss": int(c.freemiss),
        "grown": int(c.grown),
        "reaped": int(c.reaped),
        "active": int(c.active),
        "allocations": int(c.allocations),
        "node_allocs": int(c.node_allocs),
        "node_frees": int(c.node_frees),
    }


def _counters(c: KmemCache) -> dict[str, int]:
    """The kernel's statistics and the patch's."""
    return {
        **_kernel_stats(c),
        "forced_refills": int(c.forced_refills),
        "swaps": int(c.swaps),
        "unflagged": int(c.unflagged),
    }


def _all_arrays(c: KmemCache) -> list[ArrayCache]:
    """Cpu, shared and alien arrays of a cache."""
    arrays = list(c.array)
    for l3 in c.nodelists:
        if l3.shared is not None:
            arrays.append(l3.shared)
        if l3.alien is not None:
            arrays += [ac for ac in l3.alien if ac is not None]
    return arrays


def _cache_stats(c: KmemCache) -> CacheStats:
    handed = 0
    kept = 0
    if c.pfmemalloc_slabs > 0:
        flagged = {int(c.flagged[i]) for i in range(c.pfmemalloc_slabs)}
        in_arrays = sum(
            1
            for ac in _all_arrays(c)
            for i in range(ac.avail)
            if ac.entry[i] >> SLAB_SHIFT in flagged
        )
        handed = sum(int(c.table[slabp + S_INUSE]) for slabp in flagged) - in_arrays
        kept = len(flagged) * int(c.num) - handed
    return CacheStats(
        name=c.name,
        object_size=int(c.object_size),
        objects_per_slab=int(c.num),
        pages_per_slab=1 << int(c.gfporder),
        slabs=int(c.nr_slabs),
        objects=int(c.nr_slabs * c.num),
        active_objects=0,
        pfmemalloc_slabs=int(c.pfmemalloc_slabs),
        pfmemalloc_objects=handed,
        preserved_objects=kept,
        allocations=0,
        denied=0,
        stalled=0,
        frees=0,
        counters=_counters(c),
        leaks={name: int(c.leaks[way]) for way, name in enumerate(LEAK_NAMES)},
    )


def _verify_cache(c: KmemCache, held: list[int]) -> None:
    where: dict[int, str] = {}

    def put(objp: int, place: str) -> None:
        require(
            objp not in where,
            f"cache {c.name}: object {objp:#x} is {place} and {where.get(objp)}",
        )
        where[objp] = place

    slabs = 0
    flagged = 0
    out_of_slabs = 0
    for nid, l3 in enumerate(c.nodelists):
        free_objects = 0
        s_mem_flagged = 0
        for which, name in ((SLABS_FULL, "full"), (SLABS_PARTIAL, "partial"), (SLABS_FREE, "free")):
            for slabp in _list(c, l3.head + which):
                inuse = int(c.table[slabp + S_INUSE])
                chain = _free_chain(c, slabp)
                flags = c.table[slabp + S_FLAGS]
                require(
                    flags >> S_NODE_SHIFT & S_NODE_MASK == nid,
                    f"cache {c.name}: slab {slabp} is on the lists of node {nid}, not its own",
                )
                require(
                    inuse + len(chain) == c.num,
                    f"cache {c.name}: slab {slabp} has {inuse} in use, {len(chain)} free",
                )
                wanted = "full" if inuse == c.num else "free" if inuse == 0 else "partial"
                require(name == wanted, f"cache {c.name}: slab {slabp} is on {name}, not {wanted}")
                for index in chain:
                    put(slabp << SLAB_SHIFT | index << INDEX_SHIFT, "free in its slab")
                slabs += 1
                free_objects += len(chain)
                out_of_slabs += inuse
                if _page_mask(c, slabp):
                    flagged += 1
                if flags & (SLAB_FLAGGED | SLAB_S_MEM_CLEARED) == SLAB_FLAGGED:
                    s_mem_flagged += 1
        require(
            free_objects == l3.free_objects,
            f"cache {c.name} node {nid}: {free_objects} free objects, {l3.free_objects} counted",
        )
        require(
            s_mem_flagged == l3.pfmemalloc_slabs,
            f"cache {c.name} node {nid}: {s_mem_flagged} pfmemalloc slabs,"
            f" {l3.pfmemalloc_slabs} counted",
        )
    require(slabs == c.nr_slabs, f"cache {c.name}: {slabs} slabs, {c.nr_slabs} counted")
    require(
        flagged == c.pfmemalloc_slabs,
        f"cache {c.name}: {flagged} flagged slabs, {c.pfmemalloc_slabs} counted",
    )
    require(
        out_of_slabs == c.active, f"cache {c.name}: {out_of_slabs} objects out, {c.active} counted"
    )
    for ac in _all_arrays(c):
        require(0 <= ac.avail <= ac.limit, f"cache {c.name}: an array holds {ac.avail}")
        for i in range(ac.avail):
            objp = int(ac.entry[i])
            put(objp & ~TAG, "in an array")
            if objp & TAG:
                require(
                    c.table[(objp >> SLAB_SHIFT) + S_FLAGS] & SLAB_FLAGGED != 0,
                    f"cache {c.name}: tagged object {objp:#x} of a slab never flagged",
                )
    for objp in held:
        put(objp, "in a caller's hands")
    require(
        len(where) == slabs * int(c.num),
        f"cache {c.name}: {len(where)} objects are somewhere, {slabs * int(c.num)} exist",
    )


def _free_chain(c: KmemCache, slabp: i64) -> list[int]:
    """Indices of a slab's free objects, in the order they would be given."""
    chain: list[int] = []
    index = c.table[slabp + S_FREE]
    while index != BUFCTL_END and len(chain) <= c.num:
        chain.append(int(index))
        index = c.table[slabp + SLAB_WORDS + index]
    return chain


def _tagged(ac: ArrayCache) -> int:
    """Number of entries that carry the tag."""
    return sum(1 for i in range(ac.avail) if ac.entry[i] & TAG)


def _holds_entries(c: KmemCache) -> bool:
    if any(ac.avail for ac in c.array):
        return True
    return any(l3.shared is not None and l3.shared.avail for l3 in c.nodelists)


def _entries(c: KmemCache, ac: ArrayCache) -> list[list[int]]:
    """An array from index 0 up as [slab, index, tag]."""
    entries: list[list[int]] = []
    for i in range(ac.avail):
        objp = ac.entry[i]
        pfn = c.table[(objp >> SLAB_SHIFT) + S_PFN]
        entries.append([int(pfn), int(objp >> INDEX_SHIFT & INDEX_MASK), int(objp & TAG)])
    return entries


def _slabs(c: KmemCache, head: i64, chains: bool) -> list[list[object]]:
    """A list of slabs, head to tail, as [slab, inuse, mask] and the free chain if asked."""
    found: list[list[object]] = []
    table = c.table
    slabp = table[head]
    while slabp != head:
        row: list[object] = [
            int(table[slabp + S_PFN]),
            int(table[slabp + S_INUSE]),
            _page_mask(c, slabp),
        ]
        if chains:
            row.append(_free_chain(c, slabp))
        found.append(row)
        slabp = table[slabp + S_NEXT]
    return found


def _page_mask(c: KmemCache, slabp: i64) -> int:
    """Bit i: page i of the slab carries PageSlabPfmemalloc."""
    flags = c.table[slabp + S_FLAGS]
    if not flags & SLAB_FLAGGED:
        return 0
    mask = (1 << (1 << int(c.gfporder))) - 1
    if flags & SLAB_S_MEM_CLEARED:
        mask &= ~(1 << (int(c.table[slabp + S_COLOUROFF]) >> 12))
    return mask
