"""The page allocator of Linux 6.1 (``mm/page_alloc.c``): requests, escalation, boot.

A request first walks its zonelist at the low watermark (the fast path), then, in
``_alloc_pages_slowpath``, at min with what its mask and context allow, and last, if it is
entitled, without watermarks: that is the PFMEMALLOC reserve, and only a page that was had
that way is marked. Single pages and blocks up to order 3 come by way of per-cpu lists.

The slow path of the kernel waits and loops. A recorded trace cannot: where the kernel would
go round again after the OOM killer or for ``__GFP_NOFAIL``, the model gives up and says so
(a STALLED_* outcome). It does go round again where the kernel retries on its own counts.

Not modelled: reclaim, compaction, CMA, isolation, cpusets, memory policies, locks, dirty
limits. kswapd is counted and never runs, so a watermark boost lasts until the marks are set;
a trace may say that it is at work.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from allocator.buddy import NR_FREE_TYPES, _free_one_page, _rmqueue_smallest
from allocator.config import MachineConfig
from allocator.linux6 import page_story
from allocator.linux6.alloc_flags import (
    ALLOC_CPUSET,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_WMARK_HIGH,
    ALLOC_WMARK_LOW,
    ALLOC_WMARK_MIN,
)
from allocator.linux6.buddy import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_TYPES,
    MIGRATE_UNMOVABLE,
    WATERMARK_BOOST_FACTOR,
    Mobility,
    _rmqueue,
    reserve_highatomic_pageblock,
    set_pageblock_migratetype,
    unreserve_highatomic_pageblock,
)
from allocator.linux6.gfp import (
    _GFP_ATOMIC,
    _GFP_DIRECT_RECLAIM,
    _GFP_HARDWALL,
    _GFP_HIGH,
    _GFP_KSWAPD_RECLAIM,
    _GFP_MEMALLOC,
    _GFP_NOFAIL,
    _GFP_NOMEMALLOC,
    _GFP_NORETRY,
    _GFP_RETRY_MAYFAIL,
    _GFP_THISNODE,
    GFP_MOVABLE_MASK,
    GFP_MOVABLE_SHIFT,
    GFP_ZONEMASK,
)
from allocator.linux6.pcp import (
    NR_PCP_LISTS,
    PAGE_ALLOC_COSTLY_ORDER,
    _rmqueue_pcplist,
    drain_pages,
    free_unref_page,
)
from allocator.linux6.watermark import (
    _zone_watermark_ok,
    calculate_min_free_kbytes,
    nr_free_zone_pages,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
    wmark_pages,
    zone_watermark_fast,
)
from allocator.mem_map import (
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    PG_ALLOCATED,
    PG_PFMEMALLOC,
    MemMap,
)
from allocator.outcome import (
    DENIED_NO_ZONE,
    DENIED_ORDER,
    DENIED_WATERMARK,
    PAGE_ABOVE_LOW,
    PAGE_ABOVE_MIN,
    PAGE_BELOW_MIN,
    PAGE_OOM,
    PAGE_PCP,
    PAGE_RESERVE,
    STALLED_NOFAIL,
    STALLED_OOM,
)
from allocator.page_allocator import NO_PAGE, PageAllocator
from allocator.page_verify import verify_pages
from allocator.task import Task
from allocator.verify import require
from allocator.zone import (
    MAX_ORDER,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    Zone,
    Zonelist,
    gfp_zone,
    make_zones,
    node_orders,
)

MAX_RECLAIM_RETRIES: Final = 16
_STRUCT_PAGE_SIZE: Final = 64
_NO_NODE: Final = -1


class AllocContext:
    """``struct alloc_context``: what a request does not change on its way."""

    __slots__ = ("highest_zoneidx", "migratetype", "preferred_nid", "zonelist")

    def __init__(self, zonelist: Zonelist) -> None:
        """Begin with any zonelist; every request sets all of it."""
        self.zonelist: Zonelist = zonelist
        self.highest_zoneidx: i64 = 0
        """The highest zone type that the mask allows."""
        self.migratetype: i64 = 0
        self.preferred_nid: i64 = _NO_NODE
        """Node of ``preferred_zoneref``, the first zone to be tried."""


class Linux6PageAllocator(PageAllocator):
    """``mm/page_alloc.c`` of one machine."""

    __slots__ = (
        "_ac",
        "_cpu_nodes",
        "_nodes",
        "_nofragment",
        "_numa",
        "cpu_node",
        "min_free_kbytes",
        "mobility",
        "thisnode_zonelists",
        "zonelists",
    )

    def __init__(self, config: MachineConfig, current: Task) -> None:
        """Boot the machine: all memory to the buddy lists, then watermarks."""
        zones = make_zones(config)
        lists = NR_FREE_TYPES * MAX_ORDER + NR_PCP_LISTS * config.cpus
        mem = MemMap(config.nodes[-1][1], lists * len(zones))
        super().__init__(mem, zones, current)
        self.mobility: Mobility = Mobility()
        self._numa: bool = config.numa
        self._nodes: i64 = len(config.nodes)
        self.cpu_node: tuple[int, ...] = config.cpu_node
        self._cpu_nodes: list[int] = list(config.cpu_node)
        for index, zone in enumerate(zones):
            zone.nr_types = NR_FREE_TYPES
            zone.pcp_lists = NR_PCP_LISTS
            zone.free_heads = index * lists
            zone.pcp_heads = index * lists + NR_FREE_TYPES * MAX_ORDER
            zone.present_pages = zone.spanned_pages
        self._nofragment: vec[i64] = vec[i64]([self._may_nofragment(zone) for zone in zones])
        self.zonelists: list[Zonelist] = []
        self.thisnode_zonelists: list[Zonelist] = []
        self._build_all_zonelists(config)
        self._ac: AllocContext = AllocContext(self.zonelists[0])
        self._free_low_memory_core(config)
        local = self.zonelists[config.cpu_node[0]]
        self.mobility.group_by_mobility_disabled = (
            nr_free_zone_pages(local, ZONE_MOVABLE) < PAGEBLOCK_NR_PAGES * MIGRATE_TYPES
        )
        self.min_free_kbytes: int = calculate_min_free_kbytes(local)
        setup_per_zone_wmarks(zones, self.min_free_kbytes, self._cpu_nodes)
        setup_per_zone_lowmem_reserve(zones, len(config.nodes))
        for zone in zones:
            zone.lowest_free = zone.free_pages
        if config.min_free_kbytes:
            self.set_min_free_kbytes(config.min_free_kbytes)

    # Boot.

    def _may_nofragment(self, zone: Zone) -> int:
        """``alloc_flags_nofragment``: Normal with DMA32 below it on its node, else 0."""
        below = any(z.nid == zone.nid and z.type == ZONE_DMA32 for z in self.zones)
        if zone.type != ZONE_NORMAL or (self._nodes > 1 and not below):
            return 0
        return ALLOC_NOFRAGMENT

    def _build_all_zonelists(self, config: MachineConfig) -> None:
        """``build_all_zonelists``: node after node, the highest zone of each first."""
        for local, order in enumerate(node_orders(config, accumulate_load=True)):
            fallback = [
                zone
                for nid in order
                for zone in sorted((z for z in self.zones if z.nid == nid), key=_falling_type)
            ]
            self.zonelists.append(Zonelist(fallback, thisnode=False, cached=False))
            own = [zone for zone in fallback if zone.nid == local]
            self.thisnode_zonelists.append(Zonelist(own, thisnode=True, cached=False))
        for block in range(len(self.mem.base)):
            set_pageblock_migratetype(self.mem, self.mobility, block, MIGRATE_MOVABLE)

    def _free_low_memory_core(self, config: MachineConfig) -> None:
        """``free_low_memory_core_early``: all pages, ascending, in the largest aligned blocks."""
        for zone in self.zones:
            at = int(zone.start_pfn)
            end = at + int(zone.spanned_pages)
            for first, last in sorted(config.reserved):
                if first < end and last > at:
                    self._free_range(zone, at, first)
                    at = last
            self._free_range(zone, at, end)

    def _free_range(self, zone: Zone, first: i64, last: i64) -> None:
        pfn = first
        while pfn < last:
            order: i64 = PAGEBLOCK_ORDER
            while pfn & ((1 << order) - 1) or pfn + (1 << order) > last:
                order -= 1
            if order < PAGEBLOCK_ORDER:
                self.mem.populate(pfn >> PAGEBLOCK_ORDER)
            self._free_pages_core(zone, pfn, order)
            pfn += 1 << order

    def _free_pages_core(self, zone: Zone, pfn: i64, order: i64) -> None:
        """``__free_pages_core``: fresh pages go to the tail, so the lowest goes out first.

        The kernel would merge; the blocks of a range never do, being as large as they can.
        """
        mem = self.mem
        page = mem.slot(pfn)
        mem.state[page] = order
        mem.list_add_tail(page, zone.free_list(order, i64(mem.block_type[mem.block(page)])))
        zone.nr_free[order] += 1
        zone.free_pages += 1 << order
        zone.managed_pages += 1 << order

    def set_min_free_kbytes(self, kbytes: int) -> None:
        """``min_free_kbytes_sysctl_handler``: watermarks and per-cpu limits follow."""
        self.min_free_kbytes = kbytes
        setup_per_zone_wmarks(self.zones, kbytes, self._cpu_nodes)

    # Who may do what.

    def gfp_to_alloc_flags(self, gfp_mask: i64, order: i64) -> i64:
        """``gfp_to_alloc_flags``: the min watermark, with the discounts of mask and context."""
        alloc_flags: i64 = ALLOC_WMARK_MIN | ALLOC_CPUSET
        # __GFP_HIGH is ALLOC_MIN_RESERVE and __GFP_KSWAPD_RECLAIM is ALLOC_KSWAPD.
        alloc_flags |= gfp_mask & (_GFP_HIGH | _GFP_KSWAPD_RECLAIM)
        if not gfp_mask & _GFP_DIRECT_RECLAIM:
            # Not worth trying harder for __GFP_NOMEMALLOC even if it cannot schedule.
            if not gfp_mask & _GFP_NOMEMALLOC:
                alloc_flags |= ALLOC_NON_BLOCK
                if order > 0 and alloc_flags & ALLOC_MIN_RESERVE:
                    alloc_flags |= ALLOC_HIGHATOMIC
            if alloc_flags & ALLOC_MIN_RESERVE:
                alloc_flags &= ~ALLOC_CPUSET
        elif self.current.rt_task() and not self.current.in_interrupt():
            alloc_flags |= ALLOC_MIN_RESERVE
        return alloc_flags

    def _gfp_pfmemalloc_flags(self, gfp_mask: i64) -> i64:
        """``__gfp_pfmemalloc_flags``: the whole reserve, an OOM victim's part of it, or 0."""
        current = self.current
        if gfp_mask & _GFP_NOMEMALLOC:
            return 0
        if gfp_mask & _GFP_MEMALLOC:
            return ALLOC_NO_WATERMARKS
        if current.in_serving_softirq() and current.pf_memalloc():
            return ALLOC_NO_WATERMARKS
        if not current.in_interrupt():
            if current.pf_memalloc():
                return ALLOC_NO_WATERMARKS
            if current.memdie():
                return ALLOC_OOM
        return 0

    def gfp_pfmemalloc_allowed(self, gfp_mask: i64) -> bool:
        """``gfp_pfmemalloc_allowed``: an OOM victim's part of the reserve counts as all of it."""
        return self._gfp_pfmemalloc_flags(gfp_mask) != 0

    # Allocation.

    def alloc_pages(self, gfp_mask: i64, order: i64, node: i64) -> i64:
        """``__alloc_pages`` on a node's zonelist; pfn or NO_PAGE, ``outcome`` set."""
        if order >= MAX_ORDER:
            self.outcome = DENIED_ORDER
            return NO_PAGE
        if self.fail_in != 0 and self.should_fail_alloc_page():
            self.outcome = DENIED_WATERMARK
            return NO_PAGE
        if node < 0:
            node = self.current.node
        # prepare_alloc_pages
        ac = self._ac
        zonelist = self.zonelists[node]
        if self._numa and gfp_mask & _GFP_THISNODE:
            zonelist = self.thisnode_zonelists[node]
        ac.zonelist = zonelist
        highest_zoneidx = gfp_zone(gfp_mask & GFP_ZONEMASK)
        ac.highest_zoneidx = highest_zoneidx
        ac.migratetype = self._gfp_migratetype(gfp_mask)
        ac.preferred_nid = _NO_NODE
        alloc_flags = ALLOC_WMARK_LOW | (gfp_mask & _GFP_KSWAPD_RECLAIM)
        for zone in zonelist.zones:
            if zone.type <= highest_zoneidx:
                ac.preferred_nid = zone.nid
                alloc_flags |= self._nofragment[zone.index]
                break
        page = self._get_page_from_freelist(gfp_mask, order, alloc_flags, ac)
        if page == NO_PAGE:
            self.note_attempt(zonelist, highest_zoneidx, False)
            page = self._alloc_pages_slowpath(gfp_mask, order, ac)
            if page == NO_PAGE:
                return NO_PAGE
        return self.mem.pfn(page)

    def _gfp_migratetype(self, gfp_mask: i64) -> i64:
        """``gfp_migratetype``: the mask's mobility, UNMOVABLE without grouping."""
        if self.mobility.group_by_mobility_disabled:
            return MIGRATE_UNMOVABLE
        migratetype = (gfp_mask & GFP_MOVABLE_MASK) >> GFP_MOVABLE_SHIFT
        # Both bits at once are a fault of the caller's that the kernel warns of.
        return migratetype if migratetype < MIGRATE_PCPTYPES else MIGRATE_MOVABLE

    def _get_page_from_freelist(
        self, gfp_mask: i64, order: i64, alloc_flags: i64, ac: AllocContext
    ) -> i64:
        """``get_page_from_freelist``: a walk over the zonelist, again if NOFRAGMENT failed."""
        highest_zoneidx = ac.highest_zoneidx
        while True:
            self.alloc_flags_seen = alloc_flags
            if self.story is not None:
                page_story.walk(self.story, alloc_flags)
            no_fallback = alloc_flags & ALLOC_NOFRAGMENT != 0
            for zone in ac.zonelist.zones:
                if zone.type > highest_zoneidx:
                    continue
                if no_fallback and zone.nid != ac.preferred_nid:
                    # Locality is more important than fragmentation avoidance.
                    break
                passed = zone_watermark_fast(
                    self.mem, zone, order, highest_zoneidx, alloc_flags, gfp_mask
                )
                if self.story is not None:
                    mark = wmark_pages(zone, alloc_flags)
                    reserve = zone.lowmem_reserve[highest_zoneidx]
                    page_story.watermark(
                        self.story, zone, order, mark, reserve, alloc_flags, passed
                    )
                if passed or alloc_flags & ALLOC_NO_WATERMARKS:
                    page = self._rmqueue(zone, order, alloc_flags, ac.migratetype)
                    if page != NO_PAGE:
                        self._prep_new_page(page, zone, order, alloc_flags)
                        return page
            if not no_fallback:
                return NO_PAGE
            alloc_flags &= ~ALLOC_NOFRAGMENT
            if self.story is not None:
                page_story.left_fragmentation_to_others(self.story)

    def _rmqueue(self, zone: Zone, order: i64, alloc_flags: i64, migratetype: i64) -> i64:
        """``rmqueue``: by way of the cpu's list if the order has one, else from the buddy."""
        mem = self.mem
        page = NO_PAGE
        self.outcome = PAGE_ABOVE_LOW
        if order <= PAGE_ALLOC_COSTLY_ORDER:
            # rmqueue_pcplist
            cpu = self.current.cpu
            factor = zone.pcp_free_factor[cpu]
            if factor > 0:
                zone.pcp_free_factor[cpu] = factor >> 1
            head = zone.pcp_heads + cpu * NR_PCP_LISTS + order * MIGRATE_PCPTYPES + migratetype
            page = mem.next[head]
            if page != head:
                mem.list_del(page)
                zone.pcp_count[cpu] -= 1 << order
                self.outcome = PAGE_PCP
            else:
                page = _rmqueue_pcplist(
                    mem, zone, self.mobility, order, migratetype, alloc_flags, cpu
                )
        if page == NO_PAGE:
            page = self._rmqueue_buddy(zone, order, alloc_flags, migratetype)
        if zone.boosted_watermark:
            zone.boosted_watermark = False
            self.wakeup_kswapd_calls += 1
            if self.story is not None:
                page_story.boosted(self.story, zone)
        return page

    def _rmqueue_buddy(self, zone: Zone, order: i64, alloc_flags: i64, migratetype: i64) -> i64:
        """``rmqueue_buddy``: a block for an atomic request may come from a HIGHATOMIC pageblock."""
        mem = self.mem
        page = NO_PAGE
        if alloc_flags & ALLOC_HIGHATOMIC:
            page = _rmqueue_smallest(mem, zone, order, MIGRATE_HIGHATOMIC)
        if page == NO_PAGE:
            page = _rmqueue(mem, zone, self.mobility, order, migratetype, alloc_flags)
            if page == NO_PAGE and alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
                # Failing now is worse than failing a high-order atomic request later.
                page = _rmqueue_smallest(mem, zone, order, MIGRATE_HIGHATOMIC)
            if page == NO_PAGE:
                return NO_PAGE
        zone.free_pages -= 1 << order
        if zone.free_pages < zone.lowest_free:
            zone.lowest_free = zone.free_pages
        return page

    def _prep_new_page(self, page: i64, zone: Zone, order: i64, alloc_flags: i64) -> None:
        """``prep_new_page``: the mark is for pages had without watermarks."""
        if alloc_flags & ALLOC_NO_WATERMARKS:
            self.mem.state[page] = PG_ALLOCATED | PG_PFMEMALLOC
            zone.pfmemalloc_pages += 1 << order
            self.pfmemalloc_marks += 1
            if self.story is not None:
                page_story.marked(self.story, self.mem.pfn(page))
        else:
            self.mem.state[page] = PG_ALLOCATED
        if alloc_flags & ALLOC_HIGHATOMIC:
            reserve_highatomic_pageblock(self.mem, zone, self.mobility, page)

    def _attempt(self, gfp_mask: i64, order: i64, alloc_flags: i64, ac: AllocContext) -> i64:
        """A walk of the slow path's, which is counted."""
        no_watermarks = alloc_flags & ALLOC_NO_WATERMARKS != 0
        self.note_attempt(ac.zonelist, ac.highest_zoneidx, no_watermarks)
        return self._get_page_from_freelist(gfp_mask, order, alloc_flags, ac)

    def _alloc_pages_slowpath(self, gfp_mask: i64, order: i64, ac: AllocContext) -> i64:
        """``__alloc_pages_slowpath``: the escalation, with every exit named in ``outcome``."""
        can_direct_reclaim = gfp_mask & _GFP_DIRECT_RECLAIM != 0
        if can_direct_reclaim:
            # An atomic caller does not sleep; a mask that says both is a fault of the caller's.
            gfp_mask &= ~_GFP_ATOMIC
        self.outcome = DENIED_NO_ZONE
        if ac.preferred_nid != _NO_NODE:
            page = self._alloc_pages_retry(gfp_mask, order, ac)
            if page != NO_PAGE or self.outcome == STALLED_OOM:
                return page
        # nopage
        if not gfp_mask & _GFP_NOFAIL or not can_direct_reclaim:
            return NO_PAGE
        # 6. It must not fail: some of the reserve that atomic callers have, then round again.
        if self.story is not None:
            how = "tries with the discount of atomic callers"
            page_story.must_not_fail(self.story, "__alloc_pages_slowpath", how)
        page = self._alloc_pages_cpuset_fallback(gfp_mask, order, ALLOC_MIN_RESERVE, ac)
        if page != NO_PAGE:
            return self._got_pg(page, ALLOC_MIN_RESERVE)
        return self._stall(STALLED_NOFAIL)

    def _alloc_pages_retry(self, gfp_mask: i64, order: i64, ac: AllocContext) -> i64:
        """The part of ``__alloc_pages_slowpath`` that ends at its label nopage."""
        alloc_flags = self.gfp_to_alloc_flags(gfp_mask, order)
        reserve_flags = self._gfp_pfmemalloc_flags(gfp_mask)
        if self.story is not None:
            page_story.alloc_flags_chosen(
                self.story, self.current, gfp_mask, alloc_flags, reserve_flags
            )
        if alloc_flags & ALLOC_KSWAPD:
            self._wake_all_kswapds(ac)
        # 1. At min, with the discounts of the mask.
        page = self._attempt(gfp_mask, order, alloc_flags, ac)
        if page != NO_PAGE:
            return self._got_pg(page, alloc_flags)
        no_progress_loops: i64 = 0
        while True:
            if alloc_flags & ALLOC_KSWAPD:
                self._wake_all_kswapds(ac)
            if reserve_flags:
                alloc_flags = reserve_flags | (alloc_flags & ALLOC_KSWAPD)
            # 2. Without watermarks, or with an OOM victim's, if the context allows.
            page = self._attempt(gfp_mask, order, alloc_flags, ac)
            if page != NO_PAGE:
                return self._got_pg(page, alloc_flags)
            self.outcome = DENIED_WATERMARK
            # 3. Who cannot wait, or is reclaiming already, goes without.
            if not gfp_mask & _GFP_DIRECT_RECLAIM:
                return self._nopage("the caller may not sleep")
            if self.current.pf_memalloc():
                return self._nopage("the caller is reclaiming already")
            # 4. Direct reclaim makes no progress here.
            if gfp_mask & _GFP_NORETRY:
                return self._nopage("reclaim found nothing, and __GFP_NORETRY")
            if order > PAGE_ALLOC_COSTLY_ORDER:
                return self._nopage("reclaim found nothing, and the order is too large to insist")
            no_progress_loops += 1
            if not self._should_reclaim_retry(order, ac, alloc_flags, no_progress_loops):
                break
        # 5. The OOM killer: it always reports success and kills nobody.
        page = self._alloc_pages_may_oom(gfp_mask, order, ac)
        if page != NO_PAGE:
            return page
        if self.current.memdie() and (alloc_flags & ALLOC_OOM or gfp_mask & _GFP_NOMEMALLOC):
            self.outcome = DENIED_WATERMARK
            return self._nopage("an OOM victim does not wait for itself to die")
        if self.outcome == STALLED_OOM:
            return self._stall(STALLED_OOM)
        return self._nopage("the OOM killer is no help here")

    def _nopage(self, why: str) -> i64:
        if self.story is not None:
            page_story.refused(self.story, why)
        return NO_PAGE

    def _stall(self, why: i64) -> i64:
        if self.story is not None:
            page_story.stalled(self.story, why)
        self.outcome = why
        self.stalled = why
        return NO_PAGE

    def _wake_all_kswapds(self, ac: AllocContext) -> None:
        """``wake_all_kswapds``: one ``wakeup_kswapd`` for each run of zones of one node."""
        self.kswapd_wakeups += 1
        last_nid: i64 = _NO_NODE
        for zone in ac.zonelist.zones:
            if zone.type <= ac.highest_zoneidx and zone.managed_pages > 0 and zone.nid != last_nid:
                self.wakeup_kswapd_calls += 1
                last_nid = zone.nid

    def _should_reclaim_retry(
        self, order: i64, ac: AllocContext, alloc_flags: i64, no_progress_loops: i64
    ) -> bool:
        """``should_reclaim_retry`` when nothing is reclaimable: whether what is free would do.

        If not, or after too many rounds, the HIGHATOMIC pageblocks are given up first.
        """
        if no_progress_loops <= MAX_RECLAIM_RETRIES:
            for zone in ac.zonelist.zones:
                if zone.type <= ac.highest_zoneidx and _zone_watermark_ok(
                    self.mem,
                    zone,
                    order,
                    zone.wmark_min + zone.watermark_boost,
                    ac.highest_zoneidx,
                    alloc_flags,
                ):
                    return True
        for zone in ac.zonelist.zones:
            if zone.type <= ac.highest_zoneidx and unreserve_highatomic_pageblock(
                self.mem, zone, self.mobility, ac.migratetype
            ):
                if self.story is not None:
                    page_story.gave_up_highatomic(self.story, zone)
                return True
        return False

    def _alloc_pages_may_oom(self, gfp_mask: i64, order: i64, ac: AllocContext) -> i64:
        """``__alloc_pages_may_oom``; ``outcome`` STALLED_OOM says that it made progress."""
        alloc_flags: i64 = ALLOC_WMARK_HIGH | ALLOC_CPUSET
        page = self._attempt(
            (gfp_mask | _GFP_HARDWALL) & ~_GFP_DIRECT_RECLAIM, order, alloc_flags, ac
        )
        if page != NO_PAGE:
            return self._got_pg(page, alloc_flags)
        self.outcome = DENIED_WATERMARK
        # The OOM killer helps neither a caller who has an alternative nor one below Normal.
        if gfp_mask & (_GFP_RETRY_MAYFAIL | _GFP_THISNODE) or ac.highest_zoneidx < ZONE_NORMAL:
            return NO_PAGE
        if gfp_mask & _GFP_NOFAIL:
            if self.story is not None:
                how = "may use the reserve on the out-of-memory path"
                page_story.must_not_fail(self.story, "__alloc_pages_may_oom", how)
            page = self._alloc_pages_cpuset_fallback(gfp_mask, order, ALLOC_NO_WATERMARKS, ac)
            if page != NO_PAGE:
                return self._got_pg(page, ALLOC_NO_WATERMARKS)
        self.outcome = STALLED_OOM
        return NO_PAGE

    def _alloc_pages_cpuset_fallback(
        self, gfp_mask: i64, order: i64, alloc_flags: i64, ac: AllocContext
    ) -> i64:
        """``__alloc_pages_cpuset_fallback``: within the cpuset, then without."""
        page = self._attempt(gfp_mask, order, alloc_flags | ALLOC_CPUSET, ac)
        if page == NO_PAGE:
            page = self._attempt(gfp_mask, order, alloc_flags, ac)
        return page

    def _got_pg(self, page: i64, alloc_flags: i64) -> i64:
        """A page from the slow path: name where it came from."""
        zone = self.page_zone(self.mem.pfn(page))
        if alloc_flags & ALLOC_NO_WATERMARKS:
            self.outcome = PAGE_RESERVE
        elif zone.free_pages > zone.wmark_min:
            self.outcome = PAGE_ABOVE_MIN
        elif alloc_flags & ALLOC_OOM:
            self.outcome = PAGE_OOM
        else:
            self.outcome = PAGE_BELOW_MIN
        if zone.free_pages < zone.wmark_min:
            zone.note_below_min()
        return page

    # Freeing.

    def free_pages(self, pfn: i64, order: i64, cold: bool) -> None:  # noqa: ARG002  # 3.x only
        """``__free_pages``: up to order 3 to the cpu's list, others to the buddy."""
        mem = self.mem
        page = mem.slot(pfn)
        zone = self.page_zone(pfn)
        if mem.state[page] & PG_PFMEMALLOC:
            zone.pfmemalloc_pages -= 1 << order
        if order <= PAGE_ALLOC_COSTLY_ORDER:
            free_unref_page(mem, zone, page, order, self.current.cpu)
            return
        migratetype = i64(mem.block_type[pfn >> PAGEBLOCK_ORDER])
        _free_one_page(mem, zone, page, order, migratetype, False)
        zone.free_pages += 1 << order

    def drain_all_pages(self) -> None:
        """``drain_all_pages``: every cpu's lists, ascending."""
        for cpu in range(len(self.cpu_node)):
            drain_pages(self.mem, self.zones, cpu)

    def page_pfmemalloc(self, pfn: i64) -> bool:
        """``page_is_pfmemalloc`` of the first page of an allocation."""
        return self.mem.state[self.mem.slot(pfn)] & PG_PFMEMALLOC != 0

    # What it looks like from outside.

    def boot(self) -> dict[str, object]:
        """What boot and ``min_free_kbytes`` computed, by the vectors' key names."""
        zonelists: list[dict[str, object]] = []
        lists = list(zip(self.zonelists, self.thisnode_zonelists, strict=True))
        for nid, (fallback, own) in enumerate(lists):
            zonelists.append(_zonelist_report(nid, fallback))
            if self._numa:
                zonelists.append(_zonelist_report(nid, own))
        return {
            "min_free_kbytes": self.min_free_kbytes,
            "group_by_mobility_disabled": int(self.mobility.group_by_mobility_disabled),
            "sizeof_struct_page": _STRUCT_PAGE_SIZE,
            "totalram_pages": sum(int(zone.managed_pages) for zone in self.zones),
            "zones": [_zone_report(zone) for zone in self.zones],
            "pageblock_order": PAGEBLOCK_ORDER,
            "watermark_boost_factor": WATERMARK_BOOST_FACTOR,
            "zonelists": zonelists,
        }

    def state(self) -> list[dict[str, object]]:
        """Every zone's state as the vectors' digests write it."""
        return [self._zone_state(zone) for zone in self.zones]

    def _zone_state(self, zone: Zone) -> dict[str, object]:
        mem = self.mem
        free_lists: dict[str, list[int]] = {}
        for order in range(MAX_ORDER):
            for migratetype in range(NR_FREE_TYPES):
                pfns = mem.list_pfns(zone.free_list(order, migratetype))
                if pfns:
                    free_lists[f"{order}/{migratetype}"] = pfns
        first = int(zone.start_pfn) >> PAGEBLOCK_ORDER
        last = (int(zone.start_pfn + zone.spanned_pages) - 1) >> PAGEBLOCK_ORDER
        return {
            "nid": int(zone.nid),
            "zone": zone.name,
            "free": int(zone.free_pages),
            "boost": int(zone.watermark_boost),
            "boosted_flag": int(zone.boosted_watermark),
            "highatomic": int(zone.nr_reserved_highatomic),
            "nr_free": [int(blocks) for blocks in zone.nr_free],
            "free_lists": free_lists,
            "pcp": [
                {
                    "count": int(zone.pcp_count[cpu]),
                    "free_factor": int(zone.pcp_free_factor[cpu]),
                    "lists": [
                        mem.list_pfns(zone.pcp_list(cpu, pindex)) for pindex in range(NR_PCP_LISTS)
                    ],
                }
                for cpu in range(len(self.cpu_node))
            ],
            "block_types": "".join(
                str(int(mem.block_type[block])) for block in range(first, last + 1)
            ),
        }

    def hidden_state(self) -> dict[str, object]:
        """Time, and what was seen of each zone since boot."""
        return {
            "jiffies": int(self.jiffies),
            "min_free_kbytes": self.min_free_kbytes,
            "wakeup_kswapd_calls": int(self.wakeup_kswapd_calls),
            "zones": [
                [
                    int(zone.lowest_free),
                    [int(events) for events in zone.reserve_left],
                    int(zone.pfmemalloc_pages),
                    int(zone.reclaim_active),
                    int(zone.boost_at_round),
                ]
                for zone in self.zones
            ],
        }

    def verify(self, held: list[tuple[int, int]]) -> None:
        """Every page in exactly one place; counts equal list lengths; HIGHATOMIC blocks counted."""
        verify_pages(self, held, len(self.cpu_node))
        for zone in self.zones:
            first = int(zone.start_pfn) >> PAGEBLOCK_ORDER
            last = (int(zone.start_pfn + zone.spanned_pages) - 1) >> PAGEBLOCK_ORDER
            blocks = sum(
                1
                for block in range(first, last + 1)
                if i64(self.mem.block_type[block]) == MIGRATE_HIGHATOMIC
            )
            require(
                blocks * PAGEBLOCK_NR_PAGES == zone.nr_reserved_highatomic,
                f"zone {zone.name}: {blocks} HIGHATOMIC pageblocks,"
                f" {zone.nr_reserved_highatomic} pages counted",
            )


def _zone_report(zone: Zone) -> dict[str, object]:
    return {
        "nid": int(zone.nid),
        "zone": zone.name,
        "zidx": int(zone.type),
        "start_pfn": int(zone.start_pfn),
        "spanned_pages": int(zone.spanned_pages),
        "present_pages": int(zone.present_pages),
        "managed_pages": int(zone.managed_pages),
        "wmark": {
            "min": int(zone.wmark_min),
            "low": int(zone.wmark_low),
            "high": int(zone.wmark_high),
        },
        "boost": int(zone.watermark_boost),
        "lowmem_reserve": [int(pages) for pages in zone.lowmem_reserve],
        "pcp_high": int(zone.pcp_high),
        "pcp_batch": int(zone.pcp_batch),
        "free": int(zone.free_pages),
    }


def _zonelist_report(nid: int, zonelist: Zonelist) -> dict[str, object]:
    return {
        "nid": nid,
        "thisnode": int(zonelist.thisnode),
        "order": [[int(zone.nid), zone.name] for zone in zonelist.zones],
    }


def _falling_type(zone: Zone) -> int:
    return -int(zone.type)
