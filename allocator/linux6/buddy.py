"""Migrate types of Linux 6.1, and where blocks come from when one runs out.

``mm/page_alloc.c``: ``__rmqueue_fallback``, ``steal_suitable_fallback``, ``__rmqueue``, and
the pageblocks kept for high-order atomic requests. What all kernels share is in
:mod:`allocator.buddy`. Callers count NR_FREE_PAGES.

Not modelled: CMA, memory isolation, page reporting, shuffling.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from allocator.buddy import NR_FREE_TYPES, _rmqueue_smallest, move_freepages_block
from allocator.linux6.alloc_flags import ALLOC_KSWAPD, ALLOC_NOFRAGMENT
from allocator.mem_map import PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER, MemMap
from allocator.page_allocator import NO_PAGE
from allocator.zone import MAX_ORDER, Zone

MIGRATE_UNMOVABLE: Final = 0
MIGRATE_MOVABLE: Final = 1
MIGRATE_RECLAIMABLE: Final = 2
MIGRATE_PCPTYPES: Final = 3
MIGRATE_HIGHATOMIC: Final = 3
"""Kept for high-order requests that cannot wait (0aaa29a56e4f, in v4.4, in RESERVE's place)."""
MIGRATE_TYPES: Final = 4

WATERMARK_BOOST_FACTOR: Final = 15000
"""The most that a zone is boosted by, in 1/10000 of its high watermark."""

# Where to steal from, by the type that ran out: two candidates each.
_FALLBACKS: Final = vec[i64](
    [
        MIGRATE_RECLAIMABLE,
        MIGRATE_MOVABLE,
        MIGRATE_RECLAIMABLE,
        MIGRATE_UNMOVABLE,
        MIGRATE_UNMOVABLE,
        MIGRATE_MOVABLE,
    ]
)

_TYPE_BYTES: Final = bytes(range(8))


class Mobility:
    """``page_group_by_mobility_disabled``, the machine-wide switch."""

    __slots__ = ("group_by_mobility_disabled",)

    def __init__(self) -> None:
        """Pages are grouped until memory proves too small for it."""
        self.group_by_mobility_disabled: bool = False


def set_pageblock_migratetype(
    mem: MemMap, mobility: Mobility, block: i64, migratetype: i64
) -> None:
    """``set_pageblock_migratetype``; without grouping, UNMOVABLE stands for the mobile types."""
    if mobility.group_by_mobility_disabled and migratetype < MIGRATE_PCPTYPES:
        migratetype = MIGRATE_UNMOVABLE
    mem.block_type[block] = _TYPE_BYTES[migratetype]


def can_steal_fallback(mobility: Mobility, order: i64, start_type: i64) -> bool:
    """``can_steal_fallback``: whether to take along all free pages of the block's pageblock."""
    return (
        order >= PAGEBLOCK_ORDER // 2
        or start_type == MIGRATE_RECLAIMABLE
        or start_type == MIGRATE_UNMOVABLE
        or mobility.group_by_mobility_disabled
    )


def boost_watermark(zone: Zone) -> bool:
    """``boost_watermark``: raise the zone's marks by a pageblock; False in small zones."""
    if zone.managed_pages < PAGEBLOCK_NR_PAGES * 4:
        return False
    most = zone.wmark_high * WATERMARK_BOOST_FACTOR // 10000
    if most == 0:
        return False
    most = max(PAGEBLOCK_NR_PAGES, most)
    zone.watermark_boost = min(zone.watermark_boost + PAGEBLOCK_NR_PAGES, most)
    return True


def steal_suitable_fallback(
    mem: MemMap,
    zone: Zone,
    mobility: Mobility,
    page: i64,
    alloc_flags: i64,
    start_type: i64,
    whole_block: bool,
) -> None:
    """``steal_suitable_fallback``: make a free block, maybe its pageblock, ``start_type``."""
    order = mem.state[page]
    block = mem.block(page)
    old_block_type = i64(mem.block_type[block])
    if old_block_type != MIGRATE_HIGHATOMIC:
        if order >= PAGEBLOCK_ORDER:
            set_pageblock_migratetype(mem, mobility, block, start_type)
        else:
            # Boost, so that reclaim makes the next fallback less likely.
            if boost_watermark(zone) and alloc_flags & ALLOC_KSWAPD:
                zone.boosted_watermark = True
            if whole_block:
                free_pages = move_freepages_block(mem, zone, page, start_type, to_tail=True)
                if free_pages > 0:
                    # Allocated pages that suit: nothing here tells a movable page (it would
                    # be on an LRU list), so in a movable block all others count as not movable.
                    alike: i64 = 0
                    if start_type != MIGRATE_MOVABLE and old_block_type == MIGRATE_MOVABLE:
                        alike = PAGEBLOCK_NR_PAGES - free_pages
                    if (
                        free_pages + alike >= 1 << (PAGEBLOCK_ORDER - 1)
                        or mobility.group_by_mobility_disabled
                    ):
                        set_pageblock_migratetype(mem, mobility, block, start_type)
                    return
    mem.list_del(page)
    mem.list_add_tail(page, zone.free_heads + order * NR_FREE_TYPES + start_type)


def find_suitable_fallback(mem: MemMap, zone: Zone, order: i64, migratetype: i64) -> i64:
    """``find_suitable_fallback``: another type that has a block of this order, or -1."""
    if zone.nr_free[order] == 0:
        return -1
    heads = zone.free_heads + order * NR_FREE_TYPES
    fallback = _FALLBACKS[migratetype * 2]
    if mem.next[heads + fallback] != heads + fallback:
        return fallback
    fallback = _FALLBACKS[migratetype * 2 + 1]
    if mem.next[heads + fallback] != heads + fallback:
        return fallback
    return -1


def _rmqueue_fallback(
    mem: MemMap, zone: Zone, mobility: Mobility, order: i64, start_type: i64, alloc_flags: i64
) -> bool:
    """``__rmqueue_fallback``: give ``start_type`` a block of another type; False if none has one.

    The largest there is, unless a movable request could not take the pageblock along:
    then the smallest that fits.
    """
    least = order
    if order < PAGEBLOCK_ORDER and alloc_flags & ALLOC_NOFRAGMENT:
        least = PAGEBLOCK_ORDER
    current: i64 = MAX_ORDER - 1
    fallback: i64 = -1
    while current >= least:
        fallback = find_suitable_fallback(mem, zone, current, start_type)
        if fallback >= 0:
            break
        current -= 1
    if fallback < 0:
        return False
    can_steal = can_steal_fallback(mobility, current, start_type)
    if not can_steal and start_type == MIGRATE_MOVABLE and current > order:
        current = order
        fallback = find_suitable_fallback(mem, zone, current, start_type)
        while fallback < 0:
            current += 1
            fallback = find_suitable_fallback(mem, zone, current, start_type)
        can_steal = can_steal_fallback(mobility, current, start_type)
    page = mem.next[zone.free_heads + current * NR_FREE_TYPES + fallback]
    steal_suitable_fallback(mem, zone, mobility, page, alloc_flags, start_type, can_steal)
    return True


def _rmqueue(
    mem: MemMap, zone: Zone, mobility: Mobility, order: i64, migratetype: i64, alloc_flags: i64
) -> i64:
    """``__rmqueue``: a block of this order and type, stolen if need be, or NO_PAGE."""
    while True:
        page = _rmqueue_smallest(mem, zone, order, migratetype)
        if page != NO_PAGE:
            return page
        if not _rmqueue_fallback(mem, zone, mobility, order, migratetype, alloc_flags):
            return NO_PAGE


def reserve_highatomic_pageblock(mem: MemMap, zone: Zone, mobility: Mobility, page: i64) -> None:
    """``reserve_highatomic_pageblock``: keep the page's pageblock for high-order atomic requests.

    One pageblock, or about a hundredth of the zone.
    """
    most = zone.managed_pages // 100 + PAGEBLOCK_NR_PAGES
    if zone.nr_reserved_highatomic >= most:
        return
    block = mem.block(page)
    if i64(mem.block_type[block]) < MIGRATE_PCPTYPES:
        zone.nr_reserved_highatomic += PAGEBLOCK_NR_PAGES
        set_pageblock_migratetype(mem, mobility, block, MIGRATE_HIGHATOMIC)
        move_freepages_block(mem, zone, page, MIGRATE_HIGHATOMIC, to_tail=True)


def unreserve_highatomic_pageblock(
    mem: MemMap, zone: Zone, mobility: Mobility, migratetype: i64
) -> bool:
    """``unreserve_highatomic_pageblock`` for one zone, with ``force``: a block for ``migratetype``.

    True if free pages came with it.
    """
    order: i64 = 0
    while order < MAX_ORDER:
        head = zone.free_heads + order * NR_FREE_TYPES + MIGRATE_HIGHATOMIC
        page = mem.next[head]
        if page != head:
            block = mem.block(page)
            if i64(mem.block_type[block]) == MIGRATE_HIGHATOMIC:
                zone.nr_reserved_highatomic -= min(PAGEBLOCK_NR_PAGES, zone.nr_reserved_highatomic)
            set_pageblock_migratetype(mem, mobility, block, migratetype)
            if move_freepages_block(mem, zone, page, migratetype, to_tail=True) > 0:
                return True
        order += 1
    return False
