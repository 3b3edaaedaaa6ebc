"""SLUB of Linux 3.3 and 3.6 with the PFMEMALLOC patch (``mm/slub.c``).

The idea: each cpu allocates from one slab of its own, whose free objects it has taken
as a private list (``freelist``); objects that others free into that slab gather on the
slab's own list until the cpu takes those too. A slab nobody owns and nobody has freed
into is on no list at all. The first object freed into it freezes it onto the freeing
cpu's list of partial slabs; when that list holds enough, all of it moves to the
partial lists of the nodes, which every cpu may draw from.

The patch: a slab whose pages came from the reserve is flagged (U1), and a cpu slab
that is flagged serves only callers of P2 (U3). Others put it back and look for
another slab (U4). What they find is not looked at by the seed: the slab they have
just put back, at the head of its node's list, is the first they meet. Linux 3.6 looks
when it takes a slab from a node, and no longer in the fast path (U5), where a plain
caller goes on drawing from the flagged cpu slab until it is empty.

Kernel ``__slab_alloc`` is ``_slab_alloc`` here, ``__slab_free`` ``_slab_free``; other
leading underscores are as in the kernel, less one.

Not modelled: locks, interrupts in the middle of an operation (so nothing is ever
done again after a lost race), debugging, object contents, RCU's delay before a
SLAB_DESTROY_BY_RCU slab is freed. The caches' own descriptors cost no simulated memory.
"""

from __future__ import annotations

from mypy_extensions import i64

from allocator import slub_story
from allocator.config import MachineConfig
from allocator.linux3.gfp import (
    _GFP_COMP,
    _GFP_DMA,
    _GFP_MEMALLOC,
    _GFP_NOFAIL,
    _GFP_NORETRY,
    _GFP_NOWARN,
    _GFP_THISNODE,
    GFP_CONSTRAINT_MASK,
    GFP_RECLAIM_MASK,
)
from allocator.linux3.page_alloc import Linux3PageAllocator
from allocator.linux3.slub_cache import (
    KMALLOC_SIZES,
    LEAK_FAST_PATH,
    LEAK_NAMES,
    LEAK_PARTIAL_SLAB,
    LEAK_SAME_SLAB,
    SLUB_MAX_SIZE,
    Geometry3,
    find_mergeable,
    kmalloc_index,
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
from allocator.revision import Revision
from allocator.slub_allocator import SlubAllocator
from allocator.slub_cache import (
    ALLOC_FASTPATH,
    ALLOC_FROM_PARTIAL,
    ALLOC_NODE_MISMATCH,
    ALLOC_SLAB,
    ALLOC_SLOWPATH,
    C_FREELIST,
    C_PAGE,
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
    S_PAGES,
    S_PFN,
    S_POBJECTS,
    S_PREV,
    SLAB_FROZEN,
    SLAB_PFMEMALLOC,
    SLAB_WORDS,
    KmemCache,
    add_partial,
    get_freelist,
    remove_partial,
)
from allocator.task import Task
from allocator.zone import gfp_zone


class Slub3(SlubAllocator):
    """``mm/slub.c`` of one machine at one revision."""

    __slots__ = (
        "_check_in_fast_path",
        "_local_mask",
        "_match_in_partial",
        "_page_alloc",
        "_partial_stats",
        "_patched",
        "_refused",
        "_unfreeze_own_node",
    )

    def __init__(
        self,
        config: MachineConfig,
        revision: Revision,
        pages: Linux3PageAllocator,
        current: Task,
    ) -> None:
        """``kmem_cache_init``: no caches, or kmalloc-96, -192, -8, -16 … -8192."""
        super().__init__(config, pages, current, LEAK_NAMES)
        self._page_alloc: Linux3PageAllocator = pages
        reclaim_mask = GFP_RECLAIM_MASK | (_GFP_MEMALLOC if revision.gfp_memalloc else 0)
        self._local_mask: i64 = GFP_CONSTRAINT_MASK | reclaim_mask
        self._patched: bool = revision.pfmemalloc
        self._check_in_fast_path: bool = revision.slub_check_in_fast_path
        self._match_in_partial: bool = revision.slub_match_in_partial
        self._unfreeze_own_node: bool = revision.slub_unfreeze_own_node
        self._partial_stats: bool = revision.slub_partial_stats
        self._refused: i64 = NULL
        """The last slab that was refused for this allocation though it had free objects."""
        self._general = len(KMALLOC_SIZES) if config.kmalloc else 0
        if config.kmalloc:
            for size in KMALLOC_SIZES:
                self._kmem_cache_open(f"kmalloc-{size}", size, 8, 0)

    # Caches.

    def cache_create(self, name: str, size: int, align: int, flags: int) -> int:
        """``kmem_cache_create``: the new cache's number, which may be an alias of another."""
        s = find_mergeable(self._slab_caches, size, align, flags) if self._merge else None
        if s is None:
            return self._kmem_cache_open(name, size, align, flags)
        return self._add_alias(s, name, size)

    def _kmem_cache_open(self, name: str, size: int, align: int, flags: int) -> int:
        cpus = len(self._cpu_node)
        geometry = Geometry3(size, align, flags, cpus)
        number = len(self.caches)
        s = KmemCache(number, name, geometry, cpus, int(self._nodes), numa=self._numa)
        return self._add_cache(s)

    def kmalloc_cache(self, size: i64, gfp: i64) -> i64:
        """Number of the kmalloc cache for ``size`` bytes, LARGE, or NO_CACHE.

        The caches' DMA twins do not exist here.
        """
        if size > SLUB_MAX_SIZE:
            return LARGE
        if self._general == 0 or gfp & _GFP_DMA:
            return NO_CACHE
        return kmalloc_index(size)

    def kmalloc_large(self, order: i64, gfp: i64, node: i64) -> i64:
        """``kmalloc_large`` (node -1) or ``kmalloc_large_node``: pfn or NO_PAGE."""
        return self._page_alloc.alloc_pages(gfp | _GFP_COMP, order, node)

    # Allocation.

    def alloc(self, number: i64, gfp: i64, node: i64) -> i64:
        """``kmem_cache_alloc`` (node -1) or ``kmem_cache_alloc_node``: ``slab_alloc``."""
        s = self.caches[number]
        if not self._numa:
            node = -1
        table = s.table
        c = s.cpu(self.current.cpu)
        freelist = table[c + C_FREELIST]
        if freelist != NULL:
            page = table[c + C_PAGE]
            flags = table[page + S_FLAGS]
            # node_match, and in the seed pfmemalloc_match (U5)
            if (node < 0 or flags >> S_NODE_SHIFT & S_NODE_MASK == node) and (
                not flags & SLAB_PFMEMALLOC or self._fast_path_serves(s, page, gfp)
            ):
                table[c + C_FREELIST] = table[freelist]
                table[ALLOC_FASTPATH] += 1
                self.outcome = OBJ_CPU_FREELIST
                return page << SLAB_SHIFT | (freelist - page - SLAB_WORDS) << INDEX_SHIFT
        self._refused = NULL
        objp = self._slab_alloc(s, c, gfp, node)
        if objp == NO_OBJECT:
            self.outcome = DENIED_GROWTH if self._refused == NULL else DENIED_PRESERVED
        return objp

    def _fast_path_serves(self, s: KmemCache, page: i64, gfp: i64) -> bool:
        """Whether the fast path hands this caller an object of a flagged slab."""
        if not self._page_alloc.gfp_pfmemalloc_allowed(gfp):
            if self._check_in_fast_path:
                if self.pages.story is not None:
                    slub_story.fast_path_looked(self.pages.story, s.table[page + S_PFN])
                return False
            if self.pages.story is not None:
                slub_story.fast_path_blind(self.pages.story, s.table[page + S_PFN])
            self._leak(s, LEAK_FAST_PATH, page)
        return True

    def _pfmemalloc_match(self, s: KmemCache, page: i64, gfp: i64, where: str) -> bool:
        """``pfmemalloc_match`` (U3): a flagged slab is for entitled callers."""
        table = s.table
        if not table[page + S_FLAGS] & SLAB_PFMEMALLOC:
            return True
        if self._page_alloc.gfp_pfmemalloc_allowed(gfp):
            return True
        table[PFMEMALLOC_MISMATCH] += 1
        if self.pages.story is not None:
            slub_story.mismatch(self.pages.story, s.name, table[page + S_PFN], where)
        return False

    def _slab_alloc(self, s: KmemCache, c: i64, gfp: i64, node: i64) -> i64:
        """``__slab_alloc``: the cpu slab if it will do, else another (U4)."""
        table = s.table
        page = table[c + C_PAGE]
        if page == NULL and self.pages.story is not None:
            slub_story.no_cpu_slab(self.pages.story, s.name, self.current.cpu)
        self.outcome = OBJ_CPU_SLAB
        while True:
            if page != NULL:
                freelist = table[c + C_FREELIST]
                if node >= 0 and table[page + S_FLAGS] >> S_NODE_SHIFT & S_NODE_MASK != node:
                    table[ALLOC_NODE_MISMATCH] += 1
                    if self.pages.story is not None:
                        slub_story.node_mismatch(self.pages.story, table[page + S_PFN], node)
                    self._deactivate_slab(s, page, freelist)
                elif not self._pfmemalloc_match(s, page, gfp, "the cpu slab"):
                    if freelist != NULL or table[page + S_FREELIST] != NULL:
                        self._refused = page
                    if self.pages.story is not None:
                        slub_story.put_back(self.pages.story, table[page + S_PFN])
                    self._deactivate_slab(s, page, freelist)
                else:
                    if freelist == NULL:
                        table[ALLOC_SLOWPATH] += 1
                        freelist = get_freelist(s, page)
                        if self.pages.story is not None:
                            if freelist == NULL:
                                slub_story.emptied(self.pages.story, table[page + S_PFN])
                            else:
                                slub_story.freed_by_others(self.pages.story, table[page + S_PFN])
                    if freelist != NULL:
                        return self._load_freelist(s, c, page, freelist, gfp)
                table[c + C_PAGE] = NULL
                table[c + C_FREELIST] = NULL
            # new_slab
            page = table[c + C_PARTIAL]
            if page == NULL:
                break
            table[c + C_PARTIAL] = table[page + S_NEXT]
            table[c + C_PAGE] = page
            table[CPU_PARTIAL_ALLOC] += 1
            if self.pages.story is not None:
                flagged = table[page + S_FLAGS] & SLAB_PFMEMALLOC != 0
                slub_story.from_cpu_partial(self.pages.story, table[page + S_PFN], flagged)
            self.outcome = OBJ_CPU_PARTIAL
        freelist = self._get_partial(s, c, gfp, node)
        if freelist == NULL:
            if self.pages.story is not None:
                slub_story.no_partial(self.pages.story)
            # new_slab_objects. The cpu cannot have got a slab meanwhile.
            page = self._new_slab(s, gfp, node)
            if page == NULL:
                if self.pages.story is not None:
                    slub_story.no_pages(self.pages.story, s.name)
                return NO_OBJECT
            table = s.table
            freelist = table[page + S_FREELIST]
            table[page + S_FREELIST] = NULL
            table[c + C_PAGE] = page
            table[ALLOC_SLAB] += 1
            self.outcome = OBJ_NEW_SLAB
        # Linux 3.6 asks pfmemalloc_match once more here; no slab that comes this way fails it.
        return self._load_freelist(s, c, table[c + C_PAGE], freelist, gfp)

    def _load_freelist(self, s: KmemCache, c: i64, page: i64, freelist: i64, gfp: i64) -> i64:
        """The end of ``__slab_alloc``: the first object for the caller, the rest for the cpu."""
        table = s.table
        table[c + C_FREELIST] = table[freelist]
        if table[page + S_FLAGS] & SLAB_PFMEMALLOC:
            if not self._page_alloc.gfp_pfmemalloc_allowed(gfp):
                way = LEAK_SAME_SLAB if page == self._refused else LEAK_PARTIAL_SLAB
                self._leak(s, way, page)
        return page << SLAB_SHIFT | (freelist - page - SLAB_WORDS) << INDEX_SHIFT

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
        high_zoneidx = gfp_zone(gfp & 15)
        for zone in zonelist.zones:
            if zone.type > high_zoneidx:
                continue
            n = s.node(zone.nid)
            if s.table[n + N_NR_PARTIAL] > s.min_partial:
                freelist = self._get_partial_node(s, c, n, gfp)
                if freelist != NULL:
                    return freelist
        return NULL

    def _get_partial_node(self, s: KmemCache, c: i64, n: i64, gfp: i64) -> i64:
        """``get_partial_node``: the first slab becomes the cpu slab, more its partial slabs.

        Returns the first slab's free objects, or NULL.
        """
        table = s.table
        found: i64 = NULL
        page = table[n + S_NEXT]
        while page != n:
            page2 = table[page + S_NEXT]
            if self._match_in_partial and not self._pfmemalloc_match(
                s, page, gfp, "on a node's partial list"
            ):
                self._refused = page
                page = page2
                continue
            # acquire_slab
            table[page + S_FLAGS] |= SLAB_FROZEN
            remove_partial(s, n, page)
            if found == NULL:
                found = table[page + S_FREELIST]
                table[page + S_FREELIST] = NULL
                table[page + S_INUSE] = table[page + S_OBJECTS]
                table[c + C_PAGE] = page
                table[ALLOC_FROM_PARTIAL] += 1
                if self.pages.story is not None:
                    flags = table[page + S_FLAGS]
                    slub_story.from_node_partial(
                        self.pages.story,
                        table[page + S_PFN],
                        flags >> S_NODE_SHIFT & S_NODE_MASK,
                        flags & SLAB_PFMEMALLOC != 0,
                    )
                self.outcome = OBJ_NODE_PARTIAL
            elif self._put_cpu_partial(s, c, page, drain=False) > s.cpu_partial // 2:
                break
            page = page2
        return found

    def _put_cpu_partial(self, s: KmemCache, c: i64, page: i64, *, drain: bool) -> i64:
        """``put_cpu_partial``: a frozen slab to the cpu's list; returns the list's free objects."""
        table = s.table
        pages: i64 = 0
        pobjects: i64 = 0
        oldpage = table[c + C_PARTIAL]
        if oldpage != NULL:
            pages = table[oldpage + S_PAGES]
            pobjects = table[oldpage + S_POBJECTS]
            if drain and pobjects > s.cpu_partial:
                # Full: everything goes to the nodes' lists.
                self._unfreeze_partials(s, c)
                oldpage = NULL
                pages = 0
                pobjects = 0
                if self._partial_stats:
                    table[CPU_PARTIAL_DRAIN] += 1
        pobjects += table[page + S_OBJECTS] - table[page + S_INUSE]
        table[page + S_PAGES] = pages + 1
        table[page + S_POBJECTS] = pobjects
        table[page + S_NEXT] = oldpage
        table[c + C_PARTIAL] = page
        if self._partial_stats and not drain:
            table[CPU_PARTIAL_NODE] += 1
        else:
            table[CPU_PARTIAL_FREE] += 1
        return pobjects

    def _unfreeze_partials(self, s: KmemCache, c: i64) -> None:
        """``unfreeze_partials``: all of the cpu's partial slabs to their nodes, or freed."""
        table = s.table
        discard: i64 = NULL
        n: i64 = NULL
        page = table[c + C_PARTIAL]
        table[c + C_PARTIAL] = NULL
        while page != NULL:
            following = table[page + S_NEXT]
            flags = table[page + S_FLAGS] & ~SLAB_FROZEN
            table[page + S_FLAGS] = flags
            own = s.node(flags >> S_NODE_SHIFT & S_NODE_MASK)
            if self._unfreeze_own_node:
                n = own
            # Linux 3.3 asks the node of the last slab it kept, and does not ask before it kept one.
            if table[page + S_INUSE] == 0 and (
                n == NULL or table[n + N_NR_PARTIAL] > s.min_partial
            ):
                table[page + S_NEXT] = discard
                discard = page
            else:
                n = own
                add_partial(s, n, page, to_tail=True)
                table[FREE_ADD_PARTIAL] += 1
            page = following
        while discard != NULL:
            following = table[discard + S_NEXT]
            table[DEACTIVATE_EMPTY] += 1
            self._discard_slab(s, discard)
            table[FREE_SLAB] += 1
            discard = following

    def _deactivate_slab(self, s: KmemCache, page: i64, freelist: i64) -> None:
        """``deactivate_slab``: the cpu's free objects back to the slab, in reverse; unfreeze it."""
        table = s.table
        flags = table[page + S_FLAGS]
        n = s.node(flags >> S_NODE_SHIFT & S_NODE_MASK)
        inuse = table[page + S_INUSE]
        prior = table[page + S_FREELIST]
        to_tail = prior != NULL
        if to_tail:
            table[DEACTIVATE_REMOTE_FREES] += 1
        while freelist != NULL:
            nextfree = table[freelist]
            table[freelist] = prior
            prior = freelist
            inuse -= 1
            freelist = nextfree
        table[page + S_FREELIST] = prior
        table[page + S_INUSE] = inuse
        table[page + S_FLAGS] = flags & ~SLAB_FROZEN
        if inuse == 0 and table[n + N_NR_PARTIAL] > s.min_partial:
            table[DEACTIVATE_EMPTY] += 1
            self._discard_slab(s, page)
            table[FREE_SLAB] += 1
            return
        if self.pages.story is not None:
            place = "to no list" if prior == NULL else "to the head of its node's partial list"
            if to_tail:
                place = "to the tail of its node's partial list"
            free = table[page + S_OBJECTS] - inuse
            slub_story.deactivated(self.pages.story, table[page + S_PFN], free, place)
        if prior == NULL:
            table[DEACTIVATE_FULL] += 1
        else:
            add_partial(s, n, page, to_tail=to_tail)
            if to_tail:
                table[DEACTIVATE_TO_TAIL] += 1
            else:
                table[DEACTIVATE_TO_HEAD] += 1

    # Slabs come and go.

    def _new_slab(self, s: KmemCache, gfp: i64, node: i64) -> i64:
        """``new_slab`` (U1): a slab from the page allocator, or NULL."""
        # allocate_slab: try the preferred order without insisting, then the smallest.
        flags = gfp & self._local_mask | s.allocflags
        order = s.order
        objects = s.objects
        pfn = self._page_alloc.alloc_pages(
            (flags | _GFP_NOWARN | _GFP_NORETRY) & ~_GFP_NOFAIL, order, node
        )
        if pfn == NO_PAGE:
            if self.pages.story is not None:
                slub_story.smaller_order(self.pages.story, order, s.min_order)
            order = s.min_order
            objects = s.min_objects
            pfn = self._page_alloc.alloc_pages(flags, order, node)
            if pfn == NO_PAGE:
                return NULL
            s.table[ORDER_FALLBACK] += 1
        page = s.new_slab_place()
        table = s.table
        nid = self._count_slab_pages(s, pfn, 1 << order)
        freelist = page + SLAB_WORDS
        table[page + S_INUSE] = objects
        table[page + S_FREELIST] = freelist
        table[page + S_OBJECTS] = objects
        table[page + S_FLAGS] = nid << S_NODE_SHIFT | order << S_ORDER_SHIFT | SLAB_FROZEN
        table[page + S_PFN] = pfn
        flagged = self._patched and self._page_alloc.page_pfmemalloc(pfn)
        if flagged:
            s.flagged_add(page)
        if self.pages.story is not None:
            slub_story.grown(self.pages.story, s.name, pfn, objects, nid, flagged)
        last = freelist + objects - 1
        while freelist < last:
            table[freelist] = freelist + 1
            freelist += 1
        table[last] = NULL
        s.nr_slabs += 1
        s.total_objects += objects
        return page

    def _discard_slab(self, s: KmemCache, page: i64) -> None:
        """``discard_slab`` and ``__free_slab`` (U2): the flag goes with the slab's place."""
        table = s.table
        pfn = table[page + S_PFN]
        flags = table[page + S_FLAGS]
        order = flags >> S_ORDER_SHIFT & S_ORDER_MASK
        if flags & SLAB_PFMEMALLOC:
            s.flagged_remove(page)
        if self.pages.story is not None:
            slub_story.discarded(self.pages.story, pfn, flags & SLAB_PFMEMALLOC != 0)
        s.nr_slabs -= 1
        s.total_objects -= table[page + S_OBJECTS]
        s.recycle(page)
        self._count_slab_pages(s, pfn, -(1 << order))
        self._page_alloc.free_pages(pfn, order, False)

    # Freeing.

    def free(self, number: i64, objp: i64) -> None:
        """``kmem_cache_free`` on the current cpu: ``slab_free``."""
        s = self.caches[number]
        table = s.table
        page = objp >> SLAB_SHIFT
        object_ = page + SLAB_WORDS + (objp >> INDEX_SHIFT & INDEX_MASK)
        c = s.cpu(self.current.cpu)
        if page == table[c + C_PAGE]:
            table[object_] = table[c + C_FREELIST]
            table[c + C_FREELIST] = object_
            table[FREE_FASTPATH] += 1
        else:
            self._slab_free(s, c, page, object_)

    def _slab_free(self, s: KmemCache, c: i64, page: i64, object_: i64) -> None:
        """``__slab_free``: to the slab's own list. Its first free object freezes it."""
        table = s.table
        table[FREE_SLOWPATH] += 1
        prior = table[page + S_FREELIST]
        table[object_] = prior
        table[page + S_FREELIST] = object_
        inuse = table[page + S_INUSE] - 1
        table[page + S_INUSE] = inuse
        flags = table[page + S_FLAGS]
        if flags & SLAB_FROZEN:
            table[FREE_FROZEN] += 1
        elif prior == NULL:
            # It was full, on no list.
            table[page + S_FLAGS] = flags | SLAB_FROZEN
            self._put_cpu_partial(s, c, page, drain=True)
        elif inuse == 0:
            n = s.node(flags >> S_NODE_SHIFT & S_NODE_MASK)
            if table[n + N_NR_PARTIAL] > s.min_partial:
                remove_partial(s, n, page)
                table[FREE_REMOVE_PARTIAL] += 1
                table[FREE_SLAB] += 1
                self._discard_slab(s, page)

    # Periodic and requested trimming.

    def _flush_cpu_slab(self, s: KmemCache, cpu: i64) -> None:
        """``__flush_cpu_slab``: the cpu slab and the partial slabs."""
        table = s.table
        c = s.cpu(cpu)
        page = table[c + C_PAGE]
        if page != NULL:
            # flush_slab
            table[CPUSLAB_FLUSH] += 1
            self._deactivate_slab(s, page, table[c + C_FREELIST])
            table[c + C_PAGE] = NULL
            table[c + C_FREELIST] = NULL
        self._unfreeze_partials(s, c)

    def shrink(self, number: i64) -> int:
        """``kmem_cache_shrink``: sort the partial lists, fullest first; free empty slabs."""
        s = self.caches[number]
        self._flush_all(s)
        table = s.table
        for node in range(self._nodes):
            n = s.node(node)
            # slabs_by_inuse: each slab is put in front of those found before it.
            slabs = s.node_partials(n)
            slabs.reverse()
            slabs.sort(key=lambda page: -int(table[page + S_INUSE]))
            table[n + S_NEXT] = n
            table[n + S_PREV] = n
            table[n + N_NR_PARTIAL] = 0
            for page in slabs:
                if table[page + S_INUSE] > 0:
                    add_partial(s, n, page, to_tail=True)
            for page in slabs:
                if table[page + S_INUSE] == 0:
                    self._discard_slab(s, page)
        return 0

    # What it looks like from outside.

    def boot(self) -> dict[str, object]:
        """The allocator's part of the vectors' ``boot``."""
        report = super().boot()
        if self._general == 0:
            del report["general_caches"]
        return report

    def _partial_counts(self, s: KmemCache, c: i64) -> list[int]:
        """What cpu partial lists counted as they grew."""
        return [int(s.table[page + S_POBJECTS]) for page in s.cpu_partials(c)]

    def _cpu_state(self, s: KmemCache, c: i64) -> dict[str, object]:
        state = super()._cpu_state(s, c)
        first = s.table[c + C_PARTIAL]
        if first != NULL:
            state["partial_pages"] = int(s.table[first + S_PAGES])
            state["partial_pobjects"] = int(s.table[first + S_POBJECTS])
        return state
