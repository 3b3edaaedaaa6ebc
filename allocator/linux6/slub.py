"""SLUB of Linux 6.1 (``mm/slub.c``), with what became of the PFMEMALLOC rule there.

The idea is that of 3.x (:mod:`allocator.linux3.slub`): each cpu allocates from one slab of
its own, whose free objects it has taken as a private list. Slabs freed into come to the
freeing cpu's list of partial slabs, which is limited by its number of slabs, and from there
to the partial lists of the nodes.

The rule: a slab whose page came from the reserve is flagged. The slow path is strict: a
flagged slab, be it the cpu's, on the cpu's partial list or on a node's, is for callers whom
``gfp_pfmemalloc_allowed`` allows. The fast path does not look: once an entitled caller has
loaded a flagged slab, anybody on that cpu draws from it (5091b74a95d4, "mm: slub: optimise
the SLUB fast path to avoid pfmemalloc checks"; in v3.6). A ``__GFP_NOFAIL`` caller for whom
a slab was grown from the reserve gets one object of it, and the slab goes to its node.

Kernel ``___slab_alloc`` is ``_slab_alloc`` here, ``__slab_free`` ``_slab_free``; other
leading underscores are as in the kernel, less one.

Not modelled: locks, interrupts in the middle of an operation (so nothing is ever done again
after a lost race), debugging, hardened or shuffled free lists, object contents, memcg, KFENCE.
The caches' own descriptors cost no simulated memory.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator import slub_story
from allocator.config import MachineConfig
from allocator.linux6.gfp import (
    _GFP_DIRECT_RECLAIM,
    _GFP_NOFAIL,
    _GFP_NOMEMALLOC,
    _GFP_NORETRY,
    _GFP_NOWARN,
    _GFP_RECLAIM,
    _GFP_THISNODE,
    GFP_CONSTRAINT_MASK,
    GFP_RECLAIM_MASK,
    GFP_ZONEMASK,
)
from allocator.linux6.page_alloc import Linux6PageAllocator
from allocator.linux6.slab_common import (
    KMALLOC_MAX_CACHE_SIZE,
    SLUB_CREATE_MASK,
    KmallocCaches,
    free_large_kmalloc,
    kmalloc_align,
    kmalloc_large_node,
    node_slab_pages,
)
from allocator.linux6.slub_cache import (
    KMALLOC_SHIFT_LOW,
    LEAK_FAST_PATH,
    LEAK_NAMES,
    LEAK_NOFAIL_SLAB,
    Geometry6,
    find_mergeable,
)
from allocator.object_allocator import (
    INDEX_MASK,
    INDEX_SHIFT,
    LARGE,
    NO_CACHE,
    NO_OBJECT,
    SLAB_SHIFT,
)
from allocator.outcome import (
    DENIED_GROWTH,
    DENIED_PRESERVED,
    OBJ_CPU_FREELIST,
    OBJ_CPU_PARTIAL,
    OBJ_CPU_SLAB,
    OBJ_NEW_SLAB,
    OBJ_NODE_PARTIAL,
)
from allocator.page_allocator import NO_PAGE
from allocator.slub_allocator import SlubAllocator
from allocator.slub_cache import (
    ALLOC_FASTPATH,
    ALLOC_FROM_PARTIAL,
    ALLOC_NODE_MISMATCH,
    ALLOC_SLAB,
    ALLOC_SLOWPATH,
    C_FREELIST,
    C_PARTIAL,
    CPU_PARTIAL_ALLOC,
    CPU_PARTIAL_DRAIN,
    CPU_PARTIAL_FREE,
    CPU_PARTIAL_NODE,
    CPUSLAB_FLUSH,
    DEACTIVATE_EMPTY,
    DEACTIVATE_FULL,
    DEACTIVATE_REMOTE_FREES,
    DEACTIVATE_TO_HEAD,
    DEACTIVATE_TO_TAIL,
    FREE_ADD_PARTIAL,
    FREE_FASTPATH,
    FREE_FROZEN,
    FREE_REMOVE_PARTIAL,
    FREE_SLAB,
    FREE_SLOWPATH,
    N_NR_PARTIAL,
    NULL,
    ORDER_FALLBACK,
    PFMEMALLOC_MISMATCH,
    S_FLAGS,
    S_FREELIST,
    S_INUSE,
    S_NEXT,
    S_NODE_MASK,
    S_NODE_SHIFT,
    S_OBJECTS,
    S_ORDER_MASK,
    S_ORDER_SHIFT,
    S_PFN,
    SLAB_FROZEN,
    SLAB_PFMEMALLOC,
    SLAB_WORDS,
    KmemCache,
    add_partial,
    get_freelist,
    remove_partial,
)
from allocator.slub_cache import C_PAGE as C_SLAB
from allocator.slub_cache import S_PAGES as S_SLABS
from allocator.story import Story
from allocator.task import Task
from allocator.zone import gfp_zone

SHRINK_PROMOTE_MAX: Final = 32
"""Slabs with at most so many free objects are sorted to the front by a shrink."""


class Slub6(SlubAllocator):
    """``mm/slub.c`` of one machine."""

    __slots__ = ("_kmalloc", "_page_alloc", "_refused")

    def __init__(self, config: MachineConfig, pages: Linux6PageAllocator, current: Task) -> None:
        """``kmem_cache_init``: no caches, or the kmalloc caches."""
        super().__init__(config, pages, current, LEAK_NAMES)
        self._page_alloc: Linux6PageAllocator = pages
        self._refused: bool = False
        """Whether a slab was refused for this allocation though it had free objects."""
        self._kmalloc: KmallocCaches = KmallocCaches(KMALLOC_SHIFT_LOW)
        if config.kmalloc:
            for name, size, flags in self._kmalloc.specs():
                self._kmem_cache_open(name, size, kmalloc_align(size), flags)
            self._general = len(self.caches)

    # Caches.

    def cache_create(self, name: str, size: int, align: int, flags: int) -> int:
        """``kmem_cache_create``: the new cache's number, which may be an alias of another."""
        flags &= SLUB_CREATE_MASK
        if self._merge:
            # Caches that user space may be copied from and to never merge: the kmalloc caches.
            own = self._slab_caches[int(self._general) :]
            s = find_mergeable(own, size, align, flags)
            if s is not None:
                return self._add_alias(s, name, size)
        return self._kmem_cache_open(name, size, align, flags)

    def _kmem_cache_open(self, name: str, size: int, align: int, flags: int) -> int:
        cpus = len(self._cpu_node)
        geometry = Geometry6(size, align, flags, cpus)
        number = len(self.caches)
        s = KmemCache(number, name, geometry, cpus, int(self._nodes), numa=self._numa)
        return self._add_cache(s)

    def kmalloc_cache(self, size: i64, gfp: i64) -> i64:
        """Number of the kmalloc cache for ``size`` bytes, LARGE, or NO_CACHE without any."""
        if size > KMALLOC_MAX_CACHE_SIZE:
            return LARGE
        if self._general == 0:
            return NO_CACHE
        return self._kmalloc.kmalloc_slab(size, gfp)

    def kmalloc_large(self, order: i64, gfp: i64, node: i64) -> i64:
        """``__kmalloc_large_node``: pfn or NO_PAGE."""
        return kmalloc_large_node(self._page_alloc, order, gfp, node)

    def kfree_large(self, pfn: i64, order: i64) -> None:
        """``free_large_kmalloc``."""
        free_large_kmalloc(self._page_alloc, pfn, order)

    # Allocation.

    def alloc(self, number: i64, gfp: i64, node: i64) -> i64:
        """``kmem_cache_alloc`` (node -1) or ``_node``: ``slab_alloc_node``."""
        s = self.caches[number]
        if not self._numa:
            node = -1
        table = s.table
        c = s.cpu(self.current.cpu)
        freelist = table[c + C_FREELIST]
        if freelist != NULL:
            slab = table[c + C_SLAB]
            flags = table[slab + S_FLAGS]
            # node_match; nobody asks pfmemalloc_match here.
            if node < 0 or flags >> S_NODE_SHIFT & S_NODE_MASK == node:
                table[c + C_FREELIST] = table[freelist]
                table[ALLOC_FASTPATH] += 1
                if flags & SLAB_PFMEMALLOC and not self._page_alloc.gfp_pfmemalloc_allowed(gfp):
                    if self.pages.story is not None:
                        slub_story.fast_path_blind(self.pages.story, table[slab + S_PFN])
                    self._leak(s, LEAK_FAST_PATH, slab)
                self.outcome = OBJ_CPU_FREELIST
                return slab << SLAB_SHIFT | (freelist - slab - SLAB_WORDS) << INDEX_SHIFT
        self._refused = False
        objp = self._slab_alloc(s, c, gfp, node)
        if objp == NO_OBJECT:
            self.outcome = DENIED_PRESERVED if self._refused else DENIED_GROWTH
        return objp

    def _pfmemalloc_match(self, s: KmemCache, slab: i64, gfp: i64, where: str) -> bool:
        """``pfmemalloc_match``: a flagged slab is for entitled callers."""
        table = s.table
        if not table[slab + S_FLAGS] & SLAB_PFMEMALLOC:
            return True
        if self._page_alloc.gfp_pfmemalloc_allowed(gfp):
            return True
        table[PFMEMALLOC_MISMATCH] += 1
        if self.pages.story is not None:
            slub_story.mismatch(self.pages.story, s.name, table[slab + S_PFN], where)
        return False

    def _slab_alloc(self, s: KmemCache, c: i64, gfp: i64, node: i64) -> i64:
        """``___slab_alloc``: the cpu slab if it will do, else a partial slab, else a new one."""
        table = s.table
        table[ALLOC_SLOWPATH] += 1
        slab = table[c + C_SLAB]
        story = self.pages.story
        if slab == NULL and story is not None:
            slub_story.no_cpu_slab(story, s.name, self.current.cpu)
        self.outcome = OBJ_CPU_SLAB
        while True:
            if slab != NULL:
                freelist = table[c + C_FREELIST]
                serves = node < 0 or table[slab + S_FLAGS] >> S_NODE_SHIFT & S_NODE_MASK == node
                if not serves:
                    table[ALLOC_NODE_MISMATCH] += 1
                    if story is not None:
                        slub_story.node_mismatch(story, table[slab + S_PFN], node)
                elif not self._pfmemalloc_match(s, slab, gfp, "the cpu slab"):
                    serves = False
                    if story is not None:
                        slub_story.put_back(story, table[slab + S_PFN])
                    if freelist != NULL or table[slab + S_FREELIST] != NULL:
                        self._refused = True
                if not serves:
                    table[c + C_SLAB] = NULL
                    table[c + C_FREELIST] = NULL
                    self._deactivate_slab(s, slab, freelist)
                else:
                    if freelist == NULL:
                        freelist = get_freelist(s, slab)
                        if story is not None:
                            if freelist == NULL:
                                slub_story.emptied(story, table[slab + S_PFN])
                            else:
                                slub_story.freed_by_others(story, table[slab + S_PFN])
                    if freelist != NULL:
                        return _load_freelist(s, c, slab, freelist)
                    table[c + C_SLAB] = NULL
            # new_slab
            slab = table[c + C_PARTIAL]
            if slab == NULL:
                break
            table[c + C_PARTIAL] = table[slab + S_NEXT]
            table[c + C_SLAB] = slab
            table[CPU_PARTIAL_ALLOC] += 1
            self.outcome = OBJ_CPU_PARTIAL
            if story is not None:
                flagged = table[slab + S_FLAGS] & SLAB_PFMEMALLOC != 0
                slub_story.from_cpu_partial(story, table[slab + S_PFN], flagged)
        # new_objects
        freelist = self._get_partial(s, c, gfp, node)
        if freelist != NULL:
            return _load_freelist(s, c, table[c + C_SLAB], freelist)
        if story is not None:
            slub_story.no_partial(story)
        slab = self._new_slab(s, gfp, node)
        if slab == NULL:
            if story is not None:
                slub_story.no_pages(story, s.name)
            return NO_OBJECT
        self.outcome = OBJ_NEW_SLAB
        table = s.table
        table[ALLOC_SLAB] += 1
        freelist = table[slab + S_FREELIST]
        table[slab + S_FREELIST] = NULL
        table[slab + S_INUSE] = table[slab + S_OBJECTS]
        table[slab + S_FLAGS] |= SLAB_FROZEN
        if not self._pfmemalloc_match(s, slab, gfp, "just grown"):
            # One object for this caller; further ones are not made easier to get.
            self._leak(s, LEAK_NOFAIL_SLAB, slab)
            self._deactivate_slab(s, slab, table[freelist])
            return slab << SLAB_SHIFT | (freelist - slab - SLAB_WORDS) << INDEX_SHIFT
        # retry_load_slab: the cpu cannot have got a slab meanwhile.
        table[c + C_SLAB] = slab
        return _load_freelist(s, c, slab, freelist)

    # Partial slabs.

    def _get_partial(self, s: KmemCache, c: i64, gfp: i64, node: i64) -> i64:
        """``get_partial``: a slab of the node, or of any when the caller does not mind."""
        searchnode = self.current.node if node < 0 else node
        freelist = self._get_partial_node(s, c, s.node(searchnode), gfp)
        if freelist != NULL or node >= 0 or not self._numa:
            return freelist
        # get_any_partial. The cycle counter reads 0: never too seldom for the defrag ratio.
        local = self.current.node
        if gfp & _GFP_THISNODE:
            zonelist = self._page_alloc.thisnode_zonelists[local]
        else:
            zonelist = self._page_alloc.zonelists[local]
        highest_zoneidx = gfp_zone(gfp & GFP_ZONEMASK)
        for zone in zonelist.zones:
            if zone.type > highest_zoneidx:
                continue
            n = s.node(zone.nid)
            if s.table[n + N_NR_PARTIAL] > s.min_partial:
                freelist = self._get_partial_node(s, c, n, gfp)
                if freelist != NULL:
                    return freelist
        return NULL

    def _get_partial_node(self, s: KmemCache, c: i64, n: i64, gfp: i64) -> i64:
        """``get_partial_node``: a slab that matches becomes the cpu slab, more its partial slabs.

        Returns the first slab's free objects, or NULL.
        """
        table = s.table
        found: i64 = NULL
        partial_slabs: i64 = 0
        slab = table[n + S_NEXT]
        while slab != n:
            following = table[slab + S_NEXT]
            if not self._pfmemalloc_match(s, slab, gfp, "on a node's partial list"):
                self._refused = True
            else:
                # acquire_slab
                table[slab + S_FLAGS] |= SLAB_FROZEN
                remove_partial(s, n, slab)
                if found == NULL:
                    found = table[slab + S_FREELIST]
                    table[slab + S_FREELIST] = NULL
                    table[slab + S_INUSE] = table[slab + S_OBJECTS]
                    table[c + C_SLAB] = slab
                    table[ALLOC_FROM_PARTIAL] += 1
                    self.outcome = OBJ_NODE_PARTIAL
                    if self.pages.story is not None:
                        self._tell_node_partial(self.pages.story, s, slab)
                else:
                    self._put_cpu_partial(s, c, slab, drain=False)
                    table[CPU_PARTIAL_NODE] += 1
                    partial_slabs += 1
                if partial_slabs > s.cpu_partial_slabs // 2:
                    break
            slab = following
        return found

    def _tell_node_partial(self, story: Story, s: KmemCache, slab: i64) -> None:
        flags = s.table[slab + S_FLAGS]
        slub_story.from_node_partial(
            story,
            s.table[slab + S_PFN],
            flags >> S_NODE_SHIFT & S_NODE_MASK,
            flags & SLAB_PFMEMALLOC != 0,
        )

    def _put_cpu_partial(self, s: KmemCache, c: i64, slab: i64, *, drain: bool) -> None:
        """``put_cpu_partial``: a frozen slab to the cpu's list; what it drains to the nodes."""
        table = s.table
        slabs: i64 = 0
        to_unfreeze: i64 = NULL
        oldslab = table[c + C_PARTIAL]
        if oldslab != NULL:
            slabs = table[oldslab + S_SLABS]
            if drain and slabs >= s.cpu_partial_slabs:
                to_unfreeze = oldslab
                oldslab = NULL
                slabs = 0
        table[slab + S_SLABS] = slabs + 1
        table[slab + S_NEXT] = oldslab
        table[c + C_PARTIAL] = slab
        if to_unfreeze != NULL:
            self._unfreeze_partials(s, to_unfreeze)
            table[CPU_PARTIAL_DRAIN] += 1

    def _unfreeze_partials(self, s: KmemCache, slab: i64) -> None:
        """``__unfreeze_partials``: a chain of partial slabs to their nodes, or freed."""
        table = s.table
        discard: i64 = NULL
        while slab != NULL:
            following = table[slab + S_NEXT]
            flags = table[slab + S_FLAGS] & ~SLAB_FROZEN
            table[slab + S_FLAGS] = flags
            n = s.node(flags >> S_NODE_SHIFT & S_NODE_MASK)
            if table[slab + S_INUSE] == 0 and table[n + N_NR_PARTIAL] >= s.min_partial:
                table[slab + S_NEXT] = discard
                discard = slab
            else:
                add_partial(s, n, slab, to_tail=True)
                table[FREE_ADD_PARTIAL] += 1
            slab = following
        while discard != NULL:
            following = table[discard + S_NEXT]
            table[DEACTIVATE_EMPTY] += 1
            self._discard_slab(s, discard)
            table[FREE_SLAB] += 1
            discard = following

    def _deactivate_slab(self, s: KmemCache, slab: i64, freelist: i64) -> None:
        """``deactivate_slab``: the cpu's free objects to the head of the slab's; unfreeze it."""
        table = s.table
        flags = table[slab + S_FLAGS]
        n = s.node(flags >> S_NODE_SHIFT & S_NODE_MASK)
        inuse = table[slab + S_INUSE]
        old = table[slab + S_FREELIST]
        to_tail = old != NULL
        if to_tail:
            table[DEACTIVATE_REMOTE_FREES] += 1
        if freelist != NULL:
            tail = freelist
            inuse -= 1
            while table[tail] != NULL:
                tail = table[tail]
                inuse -= 1
            table[tail] = old
            table[slab + S_FREELIST] = freelist
            table[slab + S_INUSE] = inuse
            old = freelist
        table[slab + S_FLAGS] = flags & ~SLAB_FROZEN
        if inuse == 0 and table[n + N_NR_PARTIAL] >= s.min_partial:
            table[DEACTIVATE_EMPTY] += 1
            self._discard_slab(s, slab)
            table[FREE_SLAB] += 1
            return
        if self.pages.story is not None:
            place = "to no list" if old == NULL else "to the head of its node's partial list"
            if to_tail:
                place = "to the tail of its node's partial list"
            free = table[slab + S_OBJECTS] - inuse
            slub_story.deactivated(self.pages.story, table[slab + S_PFN], free, place)
        if old == NULL:
            table[DEACTIVATE_FULL] += 1
        else:
            add_partial(s, n, slab, to_tail=to_tail)
            if to_tail:
                table[DEACTIVATE_TO_TAIL] += 1
            else:
                table[DEACTIVATE_TO_HEAD] += 1

    # Slabs come and go.

    def _new_slab(self, s: KmemCache, gfp: i64, node: i64) -> i64:
        """``allocate_slab``: a slab from the page allocator, or NULL."""
        flags = gfp & (GFP_RECLAIM_MASK | GFP_CONSTRAINT_MASK) | s.allocflags
        order = s.order
        objects = s.objects
        # The preferred order without insisting, and without the reserve if smaller ones do.
        alloc_gfp = (flags | _GFP_NOWARN | _GFP_NORETRY) & ~_GFP_NOFAIL
        if alloc_gfp & _GFP_DIRECT_RECLAIM and order > s.min_order:
            alloc_gfp = (alloc_gfp | _GFP_NOMEMALLOC) & ~_GFP_RECLAIM
        pfn = self._page_alloc.alloc_pages(alloc_gfp, order, node)
        if pfn == NO_PAGE:
            if self.pages.story is not None:
                slub_story.smaller_order(self.pages.story, order, s.min_order)
            order = s.min_order
            objects = s.min_objects
            pfn = self._page_alloc.alloc_pages(flags, order, node)
            if pfn == NO_PAGE:
                return NULL
            s.table[ORDER_FALLBACK] += 1
        slab = s.new_slab_place()
        table = s.table
        nid = self._count_slab_pages(s, pfn, 1 << order)
        freelist = slab + SLAB_WORDS
        table[slab + S_INUSE] = 0
        table[slab + S_FREELIST] = freelist
        table[slab + S_OBJECTS] = objects
        table[slab + S_FLAGS] = nid << S_NODE_SHIFT | order << S_ORDER_SHIFT
        table[slab + S_PFN] = pfn
        flagged = self._page_alloc.page_pfmemalloc(pfn)
        if flagged:
            s.flagged_add(slab)
        if self.pages.story is not None:
            slub_story.grown(self.pages.story, s.name, pfn, objects, nid, flagged)
        last = freelist + objects - 1
        while freelist < last:
            table[freelist] = freelist + 1
            freelist += 1
        table[last] = NULL
        s.nr_slabs += 1
        s.total_objects += objects
        return slab

    def _discard_slab(self, s: KmemCache, slab: i64) -> None:
        """``discard_slab`` and ``__free_slab``: the flag goes with the slab's place."""
        table = s.table
        pfn = table[slab + S_PFN]
        flags = table[slab + S_FLAGS]
        order = flags >> S_ORDER_SHIFT & S_ORDER_MASK
        if flags & SLAB_PFMEMALLOC:
            s.flagged_remove(slab)
        if self.pages.story is not None:
            slub_story.discarded(self.pages.story, pfn, flags & SLAB_PFMEMALLOC != 0)
        s.nr_slabs -= 1
        s.total_objects -= table[slab + S_OBJECTS]
        s.recycle(slab)
        self._count_slab_pages(s, pfn, -(1 << order))
        self._page_alloc.free_pages(pfn, order, False)

    # Freeing.

    def free(self, number: i64, objp: i64) -> None:
        """``kmem_cache_free`` on the current cpu: ``do_slab_free``."""
        s = self.caches[number]
        table = s.table
        slab = objp >> SLAB_SHIFT
        object_ = slab + SLAB_WORDS + (objp >> INDEX_SHIFT & INDEX_MASK)
        c = s.cpu(self.current.cpu)
        if slab == table[c + C_SLAB]:
            table[object_] = table[c + C_FREELIST]
            table[c + C_FREELIST] = object_
            table[FREE_FASTPATH] += 1
        else:
            self._slab_free(s, c, slab, object_)

    def _slab_free(self, s: KmemCache, c: i64, slab: i64, object_: i64) -> None:
        """``__slab_free``: to the slab's own list. Its first free object freezes it."""
        table = s.table
        table[FREE_SLOWPATH] += 1
        prior = table[slab + S_FREELIST]
        table[object_] = prior
        table[slab + S_FREELIST] = object_
        inuse = table[slab + S_INUSE] - 1
        table[slab + S_INUSE] = inuse
        flags = table[slab + S_FLAGS]
        if flags & SLAB_FROZEN:
            table[FREE_FROZEN] += 1
        elif prior == NULL:
            # It was full, on no list.
            table[slab + S_FLAGS] = flags | SLAB_FROZEN
            self._put_cpu_partial(s, c, slab, drain=True)
            table[CPU_PARTIAL_FREE] += 1
        elif inuse == 0:
            n = s.node(flags >> S_NODE_SHIFT & S_NODE_MASK)
            if table[n + N_NR_PARTIAL] >= s.min_partial:
                remove_partial(s, n, slab)
                table[FREE_REMOVE_PARTIAL] += 1
                table[FREE_SLAB] += 1
                self._discard_slab(s, slab)

    # Trimming.

    def _flush_cpu_slab(self, s: KmemCache, cpu: i64) -> None:
        """``__flush_cpu_slab``: the cpu slab and the partial slabs."""
        table = s.table
        c = s.cpu(cpu)
        slab = table[c + C_SLAB]
        if slab != NULL:
            freelist = table[c + C_FREELIST]
            table[c + C_SLAB] = NULL
            table[c + C_FREELIST] = NULL
            self._deactivate_slab(s, slab, freelist)
            table[CPUSLAB_FLUSH] += 1
        slab = table[c + C_PARTIAL]
        table[c + C_PARTIAL] = NULL
        self._unfreeze_partials(s, slab)

    def shrink(self, number: i64) -> int:
        """``kmem_cache_shrink``: the fullest slabs to the front; free empty slabs. Always 0."""
        s = self.caches[number]
        self._flush_all(s)
        table = s.table
        for node in range(self._nodes):
            n = s.node(node)
            discard: list[int] = []
            promote: list[list[int]] = [[] for _ in range(SHRINK_PROMOTE_MAX)]
            for slab in s.node_partials(n):
                free = int(table[slab + S_OBJECTS] - table[slab + S_INUSE])
                if table[slab + S_INUSE] == 0:
                    remove_partial(s, n, slab)
                    discard.append(slab)
                elif free <= SHRINK_PROMOTE_MAX:
                    remove_partial(s, n, slab)
                    promote[free - 1].append(slab)
            # Each list holds the slab found last first, and those with fewest free come first.
            for slabs in reversed(promote):
                for slab in slabs:
                    add_partial(s, n, slab, to_tail=False)
            for slab in reversed(discard):
                self._discard_slab(s, slab)
        return 0

    # What it looks like from outside.

    def geometry(self, number: int) -> dict[str, object]:
        """What ``kmem_cache_create`` computed, by the vectors' key names."""
        report = super().geometry(number)
        report["cpu_partial_slabs"] = int(self.caches[number].cpu_partial_slabs)
        return report

    def machine_state(self) -> dict[str, object]:
        """Slab pages of each node."""
        return {"slab_pages": node_slab_pages(self._page_alloc, int(self._nodes))}

    def state(self) -> list[dict[str, object]]:
        """Every cache's state; kmalloc caches without slabs are left out."""
        return [
            self._cache_state(s)
            for s in self._slab_caches
            if s.number >= self._general or s.nr_slabs > 0
        ]

    def _cpu_state(self, s: KmemCache, c: i64) -> dict[str, object]:
        state = super()._cpu_state(s, c)
        first = s.table[c + C_PARTIAL]
        if first != NULL:
            state["partial_slabs"] = int(s.table[first + S_SLABS])
        return state


def _load_freelist(s: KmemCache, c: i64, slab: i64, freelist: i64) -> i64:
    """The end of ``___slab_alloc``: the first object for the caller, the rest for the cpu."""
    s.table[c + C_FREELIST] = s.table[freelist]
    return slab << SLAB_SHIFT | (freelist - slab - SLAB_WORDS) << INDEX_SHIFT
