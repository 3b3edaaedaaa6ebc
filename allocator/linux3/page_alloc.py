"""The page allocator of Linux 3.3 and 3.6 (``mm/page_alloc.c``, second half).

A request first walks its zonelist at the low watermark (the fast path), then,
in ``_alloc_pages_slowpath``, at min with what its context allows, and last, if
it is entitled, without watermarks: that is the PFMEMALLOC reserve.

The slow path of the kernel waits and loops. A recorded trace cannot: where the
kernel would go round again after direct reclaim, after the OOM killer, or for
``__GFP_NOFAIL``, the model gives up and says so (a STALLED_* outcome).

Not modelled: reclaim, compaction, cpusets, memory policies, locks, dirty limits.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.buddy import NR_FREE_TYPES, _free_one_page
from allocator.config import MachineConfig
from allocator.gfp import decode
from allocator.linux3.buddy import (
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_RESERVE,
    MIGRATE_TYPES,
    MIGRATE_UNMOVABLE,
    BuddyRules,
    _rmqueue,
    set_pageblock_migratetype,
)
from allocator.linux3.gfp import (
    _GFP_COLD,
    _GFP_FS,
    _GFP_HIGH,
    _GFP_MEMALLOC,
    _GFP_MOVABLE,
    _GFP_NO_KSWAPD,
    _GFP_NOFAIL,
    _GFP_NOMEMALLOC,
    _GFP_NORETRY,
    _GFP_RECLAIMABLE,
    _GFP_REPEAT,
    _GFP_THISNODE,
    _GFP_WAIT,
    GFP_THISNODE,
)
from allocator.linux3.pcp import drain_pages, free_hot_cold_page, rmqueue_bulk
from allocator.linux3.watermark import (
    ALLOC_CPUSET,
    ALLOC_HARDER,
    ALLOC_NO_WATERMARKS,
    ALLOC_PFMEMALLOC,
    ALLOC_WMARK_HIGH,
    ALLOC_WMARK_LOW,
    ALLOC_WMARK_MASK,
    ALLOC_WMARK_MIN,
    default_min_free_kbytes,
    discounted,
    free_zone_pages,
    setup_per_zone_lowmem_reserve,
    setup_per_zone_wmarks,
    zone_batchsize,
    zone_watermark_ok,
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
    OUTCOME_NAMES,
    PAGE_ABOVE_LOW,
    PAGE_ABOVE_MIN,
    PAGE_BELOW_MIN,
    PAGE_PCP,
    PAGE_RESERVE,
    STALLED_NOFAIL,
    STALLED_OOM,
    STALLED_RECLAIM,
)
from allocator.page_allocator import NO_PAGE, PageAllocator
from allocator.page_verify import verify_pages
from allocator.revision import Revision
from allocator.story import ALLOC_FLAG_NAMES_3, Story, alloc_flags_text
from allocator.task import Task
from allocator.zone import (
    MAX_ORDER,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    Zone,
    Zonelist,
    gfp_zone,
    make_zones,
    node_orders,
)

HZ: Final = 250
PAGE_ALLOC_COSTLY_ORDER: Final = 3
_STRUCT_PAGE_SIZE: Final = 64


class Linux3PageAllocator(PageAllocator):
    """``mm/page_alloc.c`` of one machine at one revision."""

    __slots__ = (
        "_flavour",
        "_gfp_memalloc",
        "_local_zonelist",
        "_mark_no_watermarks",
        "_mark_slow_path",
        "_nodes",
        "_numa",
        "_reserved_blocks",
        "_sources",
        "cpu_node",
        "min_free_kbytes",
        "rules",
        "thisnode_zonelists",
        "zonelist_order",
        "zonelists",
    )

    def __init__(self, config: MachineConfig, revision: Revision, current: Task) -> None:
        """Boot the machine: all memory to the buddy lists, then watermarks."""
        zones = make_zones(config)
        lists = NR_FREE_TYPES * MAX_ORDER + MIGRATE_PCPTYPES * config.cpus
        mem = MemMap(config.nodes[-1][1], lists * len(zones))
        super().__init__(mem, zones, current)
        self.rules: BuddyRules = BuddyRules(
            higher_buddy_from_page=not revision.higher_buddy_from_higher_page,
            expand_in_start_type=revision.expand_in_start_type,
        )
        self._numa: bool = config.numa
        self._nodes: i64 = len(config.nodes)
        self._mark_slow_path: bool = revision.mark_slow_path
        self._mark_no_watermarks: bool = revision.pfmemalloc and not revision.mark_slow_path
        self._gfp_memalloc: bool = revision.gfp_memalloc
        self._local_zonelist: bool = revision.no_watermarks_local_zonelist
        self._flavour: str = revision.gfp_flavour
        self.cpu_node: tuple[int, ...] = config.cpu_node
        self._sources: i64 = 0
        for index, zone in enumerate(zones):
            zone.nr_types = NR_FREE_TYPES
            zone.pcp_lists = MIGRATE_PCPTYPES
            zone.free_heads = index * lists
            zone.pcp_heads = index * lists + NR_FREE_TYPES * MAX_ORDER
        reserved = _reserved_pages(config, zones)
        for zone in zones:
            memmap_pages = -(-int(zone.spanned_pages) * _STRUCT_PAGE_SIZE // 4096)
            lost = max(memmap_pages, reserved[int(zone.index)])
            zone.present_pages = max(int(zone.spanned_pages) - lost, 0)
        self.zonelist_order: str = "node"
        self.zonelists: list[Zonelist] = []
        self.thisnode_zonelists: list[Zonelist] = []
        self._build_all_zonelists(config)
        self._reserved_blocks: bytes = self._free_all_bootmem(config)
        for zone in zones:
            zone.managed_pages = zone.free_pages
            batch = zone_batchsize(int(zone.present_pages))
            zone.pcp_high = 6 * batch
            zone.pcp_batch = max(1, batch)
        self.min_free_kbytes: int = default_min_free_kbytes(self.zonelists[config.cpu_node[0]])
        self._setup_per_zone_wmarks()
        setup_per_zone_lowmem_reserve(zones, len(config.nodes))
        for zone in zones:
            zone.lowest_free = zone.free_pages
        if config.min_free_kbytes:
            self.set_min_free_kbytes(config.min_free_kbytes)

    # Boot.

    def _build_all_zonelists(self, config: MachineConfig) -> None:
        """``build_all_zonelists``, and whether memory is too small to group by mobility."""
        self.zonelist_order = _default_zonelist_order(self.zones, len(config.nodes))
        for local, order in enumerate(node_orders(config)):
            by_node = [
                sorted((z for z in self.zones if z.nid == nid), key=_falling_type) for nid in order
            ]
            fallback = [zone for zones in by_node for zone in zones]
            if self.zonelist_order == "zone":
                fallback.sort(key=_falling_type)
            self.zonelists.append(Zonelist(fallback, thisnode=False, cached=config.numa))
            own = [zone for zone in fallback if zone.nid == local]
            self.thisnode_zonelists.append(Zonelist(own, thisnode=True, cached=False))
        local_list = self.zonelists[config.cpu_node[0]]
        vm_total_pages = free_zone_pages(local_list, ZONE_MOVABLE)
        for block in range(len(self.mem.base)):
            set_pageblock_migratetype(self.mem, self.rules, block, MIGRATE_MOVABLE)
        self.rules.group_by_mobility_disabled = vm_total_pages < PAGEBLOCK_NR_PAGES * MIGRATE_TYPES

    def _free_all_bootmem(self, config: MachineConfig) -> bytes:
        """Free all pages, nodes and pfns ascending, in the largest aligned blocks.

        Returns, for each pageblock, whether it holds pages that were not freed.
        """
        blocks = bytearray(b"\1" * len(self.mem.base))
        for zone in self.zones:
            start = int(zone.start_pfn)
            end = start + int(zone.spanned_pages)
            for first, last in _free_ranges(start, end, config.reserved):
                self._free_range(zone, first, last)
            for block in range(start >> PAGEBLOCK_ORDER, (end - 1 >> PAGEBLOCK_ORDER) + 1):
                low = max(start, block << PAGEBLOCK_ORDER)
                high = min(end, (block + 1) << PAGEBLOCK_ORDER)
                touched = any(a < high and low < b for a, b in config.reserved)
                blocks[block] = 1 if touched else 0
        return bytes(blocks)

    def _free_range(self, zone: Zone, first: i64, last: i64) -> None:
        pfn = first
        while pfn < last:
            order: i64 = PAGEBLOCK_ORDER
            while pfn & ((1 << order) - 1) or pfn + (1 << order) > last:
                order -= 1
            block = pfn >> PAGEBLOCK_ORDER
            if order < PAGEBLOCK_ORDER:
                self.mem.populate(block)
            migratetype = i64(self.mem.block_type[block])
            _free_one_page(
                self.mem,
                zone,
                self.mem.slot(pfn),
                order,
                migratetype,
                self.rules.higher_buddy_from_page,
            )
            zone.free_pages += 1 << order
            pfn += 1 << order

    def set_min_free_kbytes(self, kbytes: int) -> None:
        """``min_free_kbytes_sysctl_handler``: watermarks and RESERVE blocks follow."""
        self.min_free_kbytes = kbytes
        self._setup_per_zone_wmarks()

    def _setup_per_zone_wmarks(self) -> None:
        setup_per_zone_wmarks(
            self.mem, self.zones, self.rules, self._reserved_blocks, self.min_free_kbytes
        )

    # Allocation.

    def gfp_to_alloc_flags(self, gfp_mask: i64) -> i64:
        """``gfp_to_alloc_flags`` (P1): which watermark, and which discounts, a caller gets."""
        current = self.current
        alloc_flags: i64 = ALLOC_WMARK_MIN | ALLOC_CPUSET
        # __GFP_HIGH has the same bit as ALLOC_HIGH.
        alloc_flags |= gfp_mask & _GFP_HIGH
        if not gfp_mask & _GFP_WAIT:
            # Not worth trying harder for __GFP_NOMEMALLOC even if it cannot schedule.
            if not gfp_mask & _GFP_NOMEMALLOC:
                alloc_flags |= ALLOC_HARDER
            alloc_flags &= ~ALLOC_CPUSET
        elif current.rt_task() and not current.in_interrupt():
            alloc_flags |= ALLOC_HARDER
        entitled = current.pf_memalloc() or current.memdie()
        if self._mark_slow_path:
            if entitled:
                alloc_flags |= ALLOC_PFMEMALLOC
                if not gfp_mask & _GFP_NOMEMALLOC and not current.in_interrupt():
                    alloc_flags |= ALLOC_NO_WATERMARKS
        elif not gfp_mask & _GFP_NOMEMALLOC and (
            (entitled and not current.in_interrupt())
            or (self._gfp_memalloc and gfp_mask & _GFP_MEMALLOC)
            or (self._gfp_memalloc and current.in_serving_softirq() and current.pf_memalloc())
        ):
            alloc_flags |= ALLOC_NO_WATERMARKS
        return alloc_flags

    def gfp_pfmemalloc_allowed(self, gfp_mask: i64) -> bool:
        """``gfp_pfmemalloc_allowed`` (P2)."""
        if self._mark_slow_path:
            return self.current.pf_memalloc() or self.current.memdie()
        return self.gfp_to_alloc_flags(gfp_mask) & ALLOC_NO_WATERMARKS != 0

    def alloc_pages(self, gfp_mask: i64, order: i64, node: i64) -> i64:
        """``__alloc_pages_nodemask`` on a node's zonelist; pfn or NO_PAGE, ``outcome`` set."""
        if self.should_fail_alloc_page():
            self.outcome = DENIED_WATERMARK
            return NO_PAGE
        if node < 0:
            node = self.current.node
        zonelist = self._node_zonelist(node, gfp_mask)
        high_zoneidx = gfp_zone(gfp_mask & 15)
        migratetype: i64 = MIGRATE_UNMOVABLE
        if not self.rules.group_by_mobility_disabled:
            if gfp_mask & _GFP_MOVABLE:
                migratetype = 2
            if gfp_mask & _GFP_RECLAIMABLE:
                migratetype += 1
        classzone_idx: i64 = -1
        for zone in zonelist.zones:
            if zone.type <= high_zoneidx:
                classzone_idx = zone.type
                break
        if classzone_idx < 0:
            self.outcome = DENIED_NO_ZONE
            return NO_PAGE
        page = NO_PAGE
        if order < MAX_ORDER:
            page = self._get_page_from_freelist(
                gfp_mask,
                order,
                zonelist,
                high_zoneidx,
                ALLOC_WMARK_LOW | ALLOC_CPUSET,
                classzone_idx,
                migratetype,
            )
        else:
            self.alloc_flags_seen = ALLOC_WMARK_LOW | ALLOC_CPUSET
        if page == NO_PAGE:
            page = self._alloc_pages_slowpath(
                gfp_mask, order, zonelist, high_zoneidx, classzone_idx, migratetype
            )
            if page == NO_PAGE:
                return NO_PAGE
        return self.mem.pfn(page)

    def _node_zonelist(self, node: i64, gfp_mask: i64) -> Zonelist:
        """``node_zonelist``: the node's fallback list, or its own zones only."""
        if self._numa and gfp_mask & _GFP_THISNODE:
            return self.thisnode_zonelists[node]
        return self.zonelists[node]

    def _get_page_from_freelist(
        self,
        gfp_mask: i64,
        order: i64,
        zonelist: Zonelist,
        high_zoneidx: i64,
        alloc_flags: i64,
        classzone_idx: i64,
        migratetype: i64,
    ) -> i64:
        """``get_page_from_freelist``: one walk over the zonelist, two if its cache misled it."""
        self.alloc_flags_seen = alloc_flags
        if self.story is not None:
            self.story.add(
                "get_page_from_freelist",
                f"walks the zonelist with {alloc_flags_text(alloc_flags, ALLOC_FLAG_NAMES_3)}",
            )
        zlc_active = False
        did_zlc_setup = False
        while True:
            for i, zone in enumerate(zonelist.zones):
                if zone.type <= high_zoneidx and not (zlc_active and zonelist.full[i] != 0):
                    ok = alloc_flags & ALLOC_NO_WATERMARKS != 0
                    if not ok:
                        mark = _wmark(zone, alloc_flags)
                        ok = zone_watermark_ok(zone, order, mark, classzone_idx, alloc_flags)
                        if self.story is not None:
                            self.story.watermark(
                                zone,
                                order,
                                mark,
                                discounted(mark, alloc_flags),
                                zone.lowmem_reserve[classzone_idx],
                                ok,
                            )
                        if not ok and self._numa and not did_zlc_setup and self._nodes > 1:
                            self._zlc_setup(zonelist)
                            zlc_active = True
                            did_zlc_setup = True
                    if ok:
                        page = self._buffered_rmqueue(zone, order, gfp_mask, migratetype)
                        if page != NO_PAGE:
                            if self._mark_no_watermarks and alloc_flags & ALLOC_NO_WATERMARKS:
                                self._set_page_pfmemalloc(page, zone, order)
                            return page
                    if zonelist.cached:
                        zonelist.full[i] = 1
            if not zlc_active:
                return NO_PAGE
            zlc_active = False

    def _zlc_setup(self, zonelist: Zonelist) -> None:
        """``zlc_setup``: forget which zones were full once that is older than a second."""
        if zonelist.cached and self.jiffies > zonelist.last_full_zap + HZ:
            for i in range(len(zonelist.zones)):
                zonelist.full[i] = 0
            zonelist.last_full_zap = self.jiffies

    def _buffered_rmqueue(self, zone: Zone, order: i64, gfp_mask: i64, migratetype: i64) -> i64:
        """``buffered_rmqueue``: a single page by way of the cpu's list, others from the buddy."""
        mem = self.mem
        cold = gfp_mask & _GFP_COLD != 0
        self.outcome = PAGE_ABOVE_LOW
        if order == 0:
            cpu = self.current.cpu
            head = zone.pcp_heads + cpu * MIGRATE_PCPTYPES + migratetype
            if mem.next[head] == head:
                zone.pcp_count[cpu] += rmqueue_bulk(
                    mem, zone, self.rules, zone.pcp_batch, head, migratetype, cold
                )
                if mem.next[head] == head:
                    return NO_PAGE
            else:
                self.outcome = PAGE_PCP
            page = mem.prev[head] if cold else mem.next[head]
            mem.list_del(page)
            zone.pcp_count[cpu] -= 1
        else:
            page = _rmqueue(mem, zone, self.rules, order, migratetype)
            if page == NO_PAGE:
                return NO_PAGE
            zone.free_pages -= 1 << order
            if zone.free_pages < zone.lowest_free:
                zone.lowest_free = zone.free_pages
        mem.state[page] = PG_ALLOCATED
        return page

    def _set_page_pfmemalloc(self, page: i64, zone: Zone, order: i64) -> None:
        self.mem.state[page] = PG_ALLOCATED | PG_PFMEMALLOC
        zone.pfmemalloc_pages += 1 << order
        self.pfmemalloc_marks += 1
        if self.story is not None:
            why = (
                "the caller has ALLOC_PFMEMALLOC on the slow path"
                if self._mark_slow_path
                else "ALLOC_NO_WATERMARKS was used"
            )
            self.story.add(
                "__alloc_pages_slowpath",
                f"page {int(self.mem.pfn(page))} is marked page->pfmemalloc: {why}",
                "P3",
            )

    def _alloc_pages_slowpath(
        self,
        gfp_mask: i64,
        order: i64,
        zonelist: Zonelist,
        high_zoneidx: i64,
        classzone_idx: i64,
        migratetype: i64,
    ) -> i64:
        """``__alloc_pages_slowpath``: the escalation, with every exit named in ``outcome``."""
        if order >= MAX_ORDER:
            self.outcome = DENIED_ORDER
            return NO_PAGE
        if self._numa and gfp_mask & GFP_THISNODE == GFP_THISNODE:
            if self.story is not None:
                self.story.add(
                    "__alloc_pages_slowpath",
                    "GFP_THISNODE: no slow path in a NUMA build",
                )
            # The caller (SLAB) tries other nodes itself before it reclaims.
            self.outcome = DENIED_WATERMARK
            return NO_PAGE
        if not gfp_mask & _GFP_NO_KSWAPD:
            self.kswapd_wakeups += 1
        alloc_flags = self.gfp_to_alloc_flags(gfp_mask)
        if self.story is not None:
            self._tell_alloc_flags(self.story, gfp_mask, alloc_flags)
        # 1. At min, with the discounts of the context. The fast path has failed.
        self.note_attempt(zonelist, high_zoneidx, False)
        self.note_attempt(zonelist, high_zoneidx, False)
        page = self._get_page_from_freelist(
            gfp_mask,
            order,
            zonelist,
            high_zoneidx,
            alloc_flags & ~ALLOC_NO_WATERMARKS,
            classzone_idx,
            migratetype,
        )
        if page != NO_PAGE:
            return self._got_pg(page, order, alloc_flags, PAGE_ABOVE_MIN)
        # 2. Without watermarks, if the context allows: the reserve.
        if alloc_flags & ALLOC_NO_WATERMARKS:
            if self._local_zonelist:
                zonelist = self._node_zonelist(self.current.node, gfp_mask)
            self.note_attempt(zonelist, high_zoneidx, True)
            page = self._get_page_from_freelist(
                gfp_mask,
                order,
                zonelist,
                high_zoneidx,
                ALLOC_NO_WATERMARKS,
                classzone_idx,
                migratetype,
            )
            if page != NO_PAGE:
                return self._got_pg(page, order, alloc_flags, PAGE_RESERVE)
            if gfp_mask & _GFP_NOFAIL:
                return self._stall(STALLED_NOFAIL)
        self.outcome = DENIED_WATERMARK
        # 3. Who cannot wait, or is reclaiming already, goes without.
        if not gfp_mask & _GFP_WAIT or self.current.pf_memalloc():
            if self.story is not None:
                why = "may not sleep" if not gfp_mask & _GFP_WAIT else "is reclaiming already"
                self.story.add("__alloc_pages_slowpath", f"nopage: the caller {why}")
            return NO_PAGE
        if self.current.memdie() and not gfp_mask & _GFP_NOFAIL:
            if self.story is not None:
                self.story.add("__alloc_pages_slowpath", "nopage: an OOM victim does not loop")
            return NO_PAGE
        # 4. Direct reclaim makes no progress here. The OOM killer may be next.
        if gfp_mask & _GFP_FS and not gfp_mask & _GFP_NORETRY:
            self.note_attempt(zonelist, high_zoneidx, False)
            page = self._get_page_from_freelist(
                gfp_mask,
                order,
                zonelist,
                high_zoneidx,
                ALLOC_WMARK_HIGH | ALLOC_CPUSET,
                classzone_idx,
                migratetype,
            )
            if page != NO_PAGE:
                return self._got_pg(page, order, alloc_flags, PAGE_ABOVE_MIN)
            self.outcome = DENIED_WATERMARK
            if not gfp_mask & _GFP_NOFAIL and (
                order > PAGE_ALLOC_COSTLY_ORDER or high_zoneidx < ZONE_NORMAL
            ):
                return NO_PAGE
            return self._stall(STALLED_OOM)
        if self._should_alloc_retry(gfp_mask, order):
            return self._stall(STALLED_RECLAIM)
        return NO_PAGE

    def _tell_alloc_flags(self, story: Story, gfp_mask: i64, alloc_flags: i64) -> None:
        current = self.current
        reasons: list[str] = []
        if alloc_flags & ALLOC_HARDER:
            reasons.append("cannot sleep" if not gfp_mask & _GFP_WAIT else "real-time task")
        if gfp_mask & _GFP_HIGH:
            reasons.append("__GFP_HIGH")
        if current.pf_memalloc():
            reasons.append("PF_MEMALLOC")
        if current.memdie():
            reasons.append("TIF_MEMDIE")
        if current.in_interrupt():
            reasons.append("in interrupt")
        if gfp_mask & _GFP_NOMEMALLOC:
            reasons.append("__GFP_NOMEMALLOC")
        if self._gfp_memalloc and gfp_mask & _GFP_MEMALLOC:
            reasons.append("__GFP_MEMALLOC")
        text = alloc_flags_text(alloc_flags, ALLOC_FLAG_NAMES_3)
        text += f" for {decode(gfp_mask, self._flavour)}"
        if reasons:
            text += f" ({', '.join(reasons)})"
        story.add("gfp_to_alloc_flags", text, "P1")

    def _should_alloc_retry(self, gfp_mask: i64, order: i64) -> bool:
        """``should_alloc_retry`` when reclaim has reclaimed nothing."""
        if gfp_mask & _GFP_NORETRY:
            return False
        if gfp_mask & _GFP_NOFAIL or order <= PAGE_ALLOC_COSTLY_ORDER:
            return True
        return gfp_mask & _GFP_REPEAT != 0

    def _stall(self, why: i64) -> i64:
        if self.story is not None:
            self.story.add(
                "__alloc_pages_slowpath",
                f"the kernel would go round again ({OUTCOME_NAMES[int(why)][1]}); here it ends",
            )
        self.stalled = why
        self.outcome = why
        return NO_PAGE

    def _got_pg(self, page: i64, order: i64, alloc_flags: i64, outcome: i64) -> i64:
        """A page from the slow path: name its source and, by P3 of the seed, mark it."""
        zone = self.page_zone(self.mem.pfn(page))
        if outcome == PAGE_ABOVE_MIN and zone.free_pages <= zone.wmark_min:
            outcome = PAGE_BELOW_MIN
        self.outcome = outcome
        if zone.free_pages < zone.wmark_min:
            zone.note_below_min()
        if self._mark_slow_path and alloc_flags & ALLOC_PFMEMALLOC:
            self._set_page_pfmemalloc(page, zone, order)
        return page

    # Freeing.

    def free_pages(self, pfn: i64, order: i64, cold: bool) -> None:
        """``__free_pages``: single pages to the cpu's list, others to the buddy. P4."""
        mem = self.mem
        page = mem.slot(pfn)
        zone = self.page_zone(pfn)
        if mem.state[page] & PG_PFMEMALLOC:
            zone.pfmemalloc_pages -= 1 << order
        if order == 0:
            free_hot_cold_page(mem, zone, self.rules, page, self.current.cpu, cold)
            return
        migratetype = i64(mem.block_type[pfn >> PAGEBLOCK_ORDER])
        _free_one_page(mem, zone, page, order, migratetype, self.rules.higher_buddy_from_page)
        zone.free_pages += 1 << order

    def page_pfmemalloc(self, pfn: i64) -> bool:
        """``page->pfmemalloc`` of the first page of an allocation."""
        return self.mem.state[self.mem.slot(pfn)] & PG_PFMEMALLOC != 0

    # What it looks like from outside.

    def boot(self) -> dict[str, object]:
        """What boot and ``min_free_kbytes`` computed, by the vectors' key names."""
        mem = self.mem
        lists = list(zip(self.zonelists, self.thisnode_zonelists, strict=True))
        zonelists: list[dict[str, object]] = []
        for nid, (fallback, own) in enumerate(lists):
            zonelists.append(_zonelist_report(nid, fallback))
            if self._numa:
                zonelists.append(_zonelist_report(nid, own))
        return {
            "min_free_kbytes": self.min_free_kbytes,
            "group_by_mobility_disabled": int(self.rules.group_by_mobility_disabled),
            "sizeof_struct_page": _STRUCT_PAGE_SIZE,
            "totalram_pages": sum(int(zone.managed_pages) for zone in self.zones),
            "zones": [
                {
                    "nid": int(zone.nid),
                    "zone": zone.name,
                    "zidx": int(zone.type),
                    "start_pfn": int(zone.start_pfn),
                    "spanned_pages": int(zone.spanned_pages),
                    "present_pages": int(zone.present_pages),
                    "wmark": {
                        "min": int(zone.wmark_min),
                        "low": int(zone.wmark_low),
                        "high": int(zone.wmark_high),
                    },
                    "lowmem_reserve": [int(pages) for pages in zone.lowmem_reserve],
                    "pcp_high": int(zone.pcp_high),
                    "pcp_batch": int(zone.pcp_batch),
                    "free": int(zone.free_pages),
                }
                for zone in self.zones
            ],
            "pageblock_order": PAGEBLOCK_ORDER,
            "reserve_blocks": [
                block << PAGEBLOCK_ORDER
                for block in range(len(mem.block_type))
                if int(mem.block_type[block]) == MIGRATE_RESERVE
            ],
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
            "nr_free": [int(blocks) for blocks in zone.nr_free],
            "free_lists": free_lists,
            "pcp": [
                {
                    "count": int(zone.pcp_count[cpu]),
                    "lists": [
                        mem.list_pfns(zone.pcp_list(cpu, t)) for t in range(MIGRATE_PCPTYPES)
                    ],
                }
                for cpu in range(len(self.cpu_node))
            ],
            "slab_pages": [int(zone.slab_reclaimable), int(zone.slab_unreclaimable)],
            "block_types": "".join(
                str(int(mem.block_type[block])) for block in range(first, last + 1)
            ),
        }

    def hidden_state(self) -> dict[str, object]:
        """Zonelist caches, time, and what was seen of each zone since boot."""
        return {
            "jiffies": int(self.jiffies),
            "min_free_kbytes": self.min_free_kbytes,
            "zonelists": [
                [[int(bit) for bit in zonelist.full], int(zonelist.last_full_zap)]
                for zonelist in self.zonelists
            ],
            "zones": [
                [
                    int(zone.lowest_free),
                    [int(events) for events in zone.reserve_left],
                    int(zone.pfmemalloc_pages),
                ]
                for zone in self.zones
            ],
        }

    def verify(self, held: list[tuple[int, int]]) -> None:
        """Every page in exactly one place; counts equal list lengths."""
        verify_pages(self, held, len(self.cpu_node))

    def drain_all_pages(self) -> None:
        """``drain_all_pages``: every cpu's lists, ascending."""
        for cpu in range(len(self.cpu_node)):
            drain_pages(self.mem, self.zones, self.rules, cpu)


def _wmark(zone: Zone, alloc_flags: i64) -> i64:
    """``zone->watermark[alloc_flags & ALLOC_WMARK_MASK]``."""
    which = alloc_flags & ALLOC_WMARK_MASK
    if which == ALLOC_WMARK_MIN:
        return zone.wmark_min
    if which == ALLOC_WMARK_LOW:
        return zone.wmark_low
    return zone.wmark_high


def _zonelist_report(nid: int, zonelist: Zonelist) -> dict[str, object]:
    return {
        "nid": nid,
        "thisnode": int(zonelist.thisnode),
        "order": [[int(zone.nid), zone.name] for zone in zonelist.zones],
    }


def _falling_type(zone: Zone) -> int:
    return -int(zone.type)


def _default_zonelist_order(zones: list[Zone], nodes: int) -> str:
    """``default_zonelist_order``: "node" or "zone" order, by how large the low zones are."""
    low = 0
    total = 0
    for nid in range(nodes):
        own = [zone for zone in zones if zone.nid == nid]
        if not any(zone.type == ZONE_NORMAL for zone in own):
            return "node"
        low += sum(int(z.present_pages) for z in own if z.type < ZONE_NORMAL)
        total += sum(int(z.present_pages) for z in own)
    if low == 0 or low > total // 2:
        return "node"
    average = total // (nodes + 1)
    for nid in range(nodes):
        own = [zone for zone in zones if zone.nid == nid]
        low = sum(int(z.present_pages) for z in own if z.type < ZONE_NORMAL)
        total = sum(int(z.present_pages) for z in own)
        if low and total > average and low > total * 70 // 100:
            return "node"
    return "zone"


def _reserved_pages(config: MachineConfig, zones: list[Zone]) -> list[int]:
    """How many of each zone's pages the configuration keeps from the allocator."""
    counts: list[int] = []
    for zone in zones:
        start = int(zone.start_pfn)
        end = start + int(zone.spanned_pages)
        counts.append(sum(max(0, min(end, b) - max(start, a)) for a, b in config.reserved))
    return counts


def _free_ranges(
    start: int, end: int, reserved: tuple[tuple[int, int], ...]
) -> list[tuple[int, int]]:
    """The parts of [start, end) that no reserved range covers, ascending."""
    ranges: list[tuple[int, int]] = []
    at = start
    for first, last in sorted(reserved):
        if last <= at or first >= end:
            continue
        if first > at:
            ranges.append((at, first))
        at = max(at, last)
    if at < end:
        ranges.append((at, end))
    return ranges
