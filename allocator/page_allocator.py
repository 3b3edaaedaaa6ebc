"""What an object allocator and a machine need of any kernel's page allocator."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.mem_map import MemMap
from allocator.story import Story
from allocator.task import Task
from allocator.zone import Zone, Zonelist

NO_PAGE: Final = -1
NO_ALLOC_FLAGS: Final = -1


class PageAllocator:
    """The interface; :mod:`allocator.linux3.page_alloc` is one of its kernels.

    After each request ``outcome`` tells what it came to
    (:mod:`allocator.outcome`). ``alloc_flags_seen`` and ``stalled`` gather over
    several requests until the machine begins another operation.
    """

    __slots__ = (
        "alloc_flags_seen",
        "attempts_below_min",
        "attempts_no_watermarks",
        "current",
        "fail_in",
        "jiffies",
        "kswapd_wakeups",
        "mem",
        "outcome",
        "pfmemalloc_marks",
        "stalled",
        "story",
        "wakeup_kswapd_calls",
        "zones",
    )

    def __init__(self, mem: MemMap, zones: list[Zone], current: Task) -> None:
        """Begin with nothing seen."""
        self.mem: MemMap = mem
        self.zones: list[Zone] = zones
        self.current: Task = current
        self.jiffies: i64 = 100000
        self.outcome: i64 = 0
        self.alloc_flags_seen: i64 = NO_ALLOC_FLAGS
        """``alloc_flags`` of the last pass over a zonelist."""
        self.kswapd_wakeups: i64 = 0
        """Calls of ``wake_all_kswapd`` since boot."""
        self.wakeup_kswapd_calls: i64 = 0
        """Calls of ``wakeup_kswapd``, since boot; counted from Linux 6.1 on."""
        self.pfmemalloc_marks: i64 = 0
        """Allocations that came with ``page->pfmemalloc`` set, since boot."""
        self.attempts_no_watermarks: i64 = 0
        """Walks over a zonelist that ignored watermarks, since boot, whether they found pages."""
        self.attempts_below_min: i64 = 0
        """Walks that began with the preferred zone below min."""
        self.fail_in: i64 = 0
        """Fault injection (CONFIG_FAIL_PAGE_ALLOC): the n-th request from now fails; 0 none."""
        self.story: Story | None = None
        """The story being told of the current event, if any."""
        self.stalled: i64 = 0
        """The STALLED_* outcome met on the way, or 0."""

    def should_fail_alloc_page(self) -> bool:
        """``should_fail_alloc_page``: whether this request is the one made to fail."""
        if self.fail_in == 0:
            return False
        self.fail_in -= 1
        return self.fail_in == 0

    def note_attempt(self, zonelist: Zonelist, highest_zoneidx: i64, no_watermarks: bool) -> None:
        """Count a call of ``get_page_from_freelist`` that the slow path makes, or has seen fail."""
        if no_watermarks:
            self.attempts_no_watermarks += 1
        for zone in zonelist.zones:
            if zone.type <= highest_zoneidx:
                if zone.free_pages < zone.wmark_min:
                    self.attempts_below_min += 1
                return

    def alloc_pages(self, gfp_mask: i64, order: i64, node: i64) -> i64:
        """``alloc_pages_node``: first pfn of 2^order pages, or NO_PAGE. node -1 is local."""
        raise NotImplementedError

    def free_pages(self, pfn: i64, order: i64, cold: bool) -> None:
        """``__free_pages`` on the current cpu; cold counts for order 0 only."""
        raise NotImplementedError

    def page_zone(self, pfn: i64) -> Zone:
        """``page_zone``: the zone a page frame belongs to."""
        zones = self.zones
        found = zones[0]
        for zone in zones:
            if pfn < zone.start_pfn:
                break
            found = zone
        return found

    def page_pfmemalloc(self, pfn: i64) -> bool:
        """``page->pfmemalloc`` of the first page of an allocation."""
        raise NotImplementedError

    def gfp_pfmemalloc_allowed(self, gfp_mask: i64) -> bool:
        """P2: whether this caller may use reserve objects."""
        raise NotImplementedError

    def set_min_free_kbytes(self, kbytes: int) -> None:
        """Set ``min_free_kbytes`` as the sysctl does."""
        raise NotImplementedError

    def kswapd_begins(self, node: i64) -> None:
        """``balance_pgdat`` begins on a node (-1: on all): what it finds boosted it will undo."""
        for zone in self.zones:
            if node < 0 or zone.nid == node:
                zone.reclaim_active = True
                zone.boost_at_round = zone.watermark_boost

    def kswapd_ends(self, node: i64) -> None:
        """``balance_pgdat`` is done: the boost that it found is over, later boosts are not."""
        for zone in self.zones:
            if node < 0 or zone.nid == node:
                zone.reclaim_active = False
                zone.watermark_boost -= min(zone.watermark_boost, zone.boost_at_round)
                zone.boost_at_round = 0

    def boot(self) -> dict[str, object]:
        """What boot and ``min_free_kbytes`` computed, by the vectors' key names."""
        raise NotImplementedError

    def state(self) -> list[dict[str, object]]:
        """Every zone's state as the vectors' digests write it."""
        raise NotImplementedError

    def verify(self, held: list[tuple[int, int]]) -> None:
        """Check that every page is in exactly one place and every count is right.

        ``held`` are the (pfn, order) that callers and slabs own. Raises InvariantError.
        """
        raise NotImplementedError

    def hidden_state(self) -> dict[str, object]:
        """State that decides later answers but does not show in :meth:`state`."""
        raise NotImplementedError

    def drain_all_pages(self) -> None:
        """``drain_all_pages``: every cpu's lists, ascending."""
        raise NotImplementedError
