"""Watermarks, lowmem reserves, RESERVE blocks and per-cpu limits of Linux 3.3 and 3.6.

``mm/page_alloc.c``: ``init_per_zone_wmark_min``, ``setup_per_zone_wmarks``,
``setup_per_zone_lowmem_reserve``, ``setup_zone_migrate_reserve``,
``zone_batchsize``, ``__zone_watermark_ok``. All counts are pages unless named kbytes.
"""

from __future__ import annotations

from math import isqrt
from typing import Final

from mypy_extensions import i64

from allocator.buddy import move_freepages_block
from allocator.linux3.buddy import (
    MIGRATE_MOVABLE,
    MIGRATE_RESERVE,
    BuddyRules,
    set_pageblock_migratetype,
)
from allocator.mem_map import PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER, MemMap
from allocator.zone import MAX_NR_ZONES, ZONE_NORMAL, Zone, Zonelist

ALLOC_WMARK_MIN: Final = 0x00
ALLOC_WMARK_LOW: Final = 0x01
ALLOC_WMARK_HIGH: Final = 0x02
ALLOC_WMARK_MASK: Final = 0x03
ALLOC_NO_WATERMARKS: Final = 0x04
ALLOC_HARDER: Final = 0x10
ALLOC_HIGH: Final = 0x20
ALLOC_CPUSET: Final = 0x40
ALLOC_PFMEMALLOC: Final = 0x80
"""Seed only."""

_LOWMEM_RESERVE_RATIO: Final = (256, 256, 32)
_MIN_FREE_KBYTES_MIN: Final = 128
_MIN_FREE_KBYTES_MAX: Final = 65536
_MAX_RESERVE_BLOCKS: Final = 2


def zone_watermark_ok(
    zone: Zone, order: i64, mark: i64, classzone_idx: i64, alloc_flags: i64
) -> bool:
    """``zone_watermark_ok``: whether a request of this order leaves the zone above ``mark``."""
    free_pages = zone.free_pages - ((1 << order) - 1)
    least = discounted(mark, alloc_flags)
    if free_pages <= least + zone.lowmem_reserve[classzone_idx]:
        return False
    o: i64 = 0
    while o < order:
        # At the next order, this order's pages become unavailable; require fewer.
        free_pages -= zone.nr_free[o] << o
        least >>= 1
        if free_pages <= least:
            return False
        o += 1
    return True


def discounted(mark: i64, alloc_flags: i64) -> i64:
    """What is left of a watermark for callers with ALLOC_HIGH or ALLOC_HARDER."""
    if alloc_flags & ALLOC_HIGH:
        mark -= mark // 2
    if alloc_flags & ALLOC_HARDER:
        mark -= mark // 4
    return mark


def free_zone_pages(zonelist: Zonelist, offset: int) -> int:
    """``nr_free_zone_pages``: pages above high in the zones of a list up to ``offset``."""
    total = 0
    for zone in zonelist.zones:
        if zone.type <= offset and zone.present_pages > zone.wmark_high:
            total += zone.present_pages - zone.wmark_high
    return total


def default_min_free_kbytes(zonelist: Zonelist) -> int:
    """``init_per_zone_wmark_min``: int_sqrt(lowmem_kbytes * 16), clamped to 128 … 65536."""
    lowmem_kbytes = free_zone_pages(zonelist, ZONE_NORMAL) * 4
    wanted = isqrt(lowmem_kbytes * 16)
    return max(_MIN_FREE_KBYTES_MIN, min(_MIN_FREE_KBYTES_MAX, wanted))


def setup_per_zone_wmarks(
    mem: MemMap, zones: list[Zone], rules: BuddyRules, reserved: bytes, min_free_kbytes: int
) -> None:
    """``setup_per_zone_wmarks``: min, low and high of each zone, and its RESERVE blocks.

    ``reserved`` says of each pageblock whether it holds pages the kernel keeps.
    """
    pages_min = min_free_kbytes >> 2
    lowmem_pages = sum(int(zone.present_pages) for zone in zones)
    for zone in zones:
        share = pages_min * int(zone.present_pages) // lowmem_pages
        zone.wmark_min = share
        zone.wmark_low = share + (share >> 2)
        zone.wmark_high = share + (share >> 1)
        _setup_zone_migrate_reserve(mem, zone, rules, reserved)


def _setup_zone_migrate_reserve(
    mem: MemMap, zone: Zone, rules: BuddyRules, reserved: bytes
) -> None:
    """``setup_zone_migrate_reserve``: the lowest movable blocks become RESERVE, two at most."""
    wanted = min(
        _MAX_RESERVE_BLOCKS,
        (int(zone.wmark_min) + PAGEBLOCK_NR_PAGES - 1) >> PAGEBLOCK_ORDER,
    )
    end_pfn = int(zone.start_pfn + zone.spanned_pages)
    first = (int(zone.start_pfn) + PAGEBLOCK_NR_PAGES - 1) >> PAGEBLOCK_ORDER
    last = (end_pfn + PAGEBLOCK_NR_PAGES - 1) >> PAGEBLOCK_ORDER
    for block in range(first, last):
        block_type = int(mem.block_type[block])
        if wanted > 0:
            if reserved[block]:
                continue
            if block_type == MIGRATE_RESERVE:
                wanted -= 1
                continue
            if block_type == MIGRATE_MOVABLE:
                set_pageblock_migratetype(mem, rules, block, MIGRATE_RESERVE)
                move_freepages_block(mem, zone, mem.base[block], MIGRATE_RESERVE, to_tail=False)
                wanted -= 1
                continue
        if block_type == MIGRATE_RESERVE:
            set_pageblock_migratetype(mem, rules, block, MIGRATE_MOVABLE)
            move_freepages_block(mem, zone, mem.base[block], MIGRATE_MOVABLE, to_tail=False)


def setup_per_zone_lowmem_reserve(zones: list[Zone], nodes: int) -> None:
    """``setup_per_zone_lowmem_reserve``: what lower zones keep from requests of higher ones."""
    for nid in range(nodes):
        by_type = {int(zone.type): zone for zone in zones if zone.nid == nid}
        for wanted in range(MAX_NR_ZONES):
            if wanted in by_type:
                by_type[wanted].lowmem_reserve[wanted] = 0
            present = int(by_type[wanted].present_pages) if wanted in by_type else 0
            for lower in range(wanted - 1, -1, -1):
                if lower in by_type:
                    zone = by_type[lower]
                    zone.lowmem_reserve[wanted] = present // _LOWMEM_RESERVE_RATIO[lower]
                    present += int(zone.present_pages)


def zone_batchsize(present_pages: int) -> int:
    """``zone_batchsize``: about a thousandth of the zone, at most half a MiB, 2^n - 1."""
    batch = min(present_pages // 1024, 512 * 1024 // 4096)
    batch = max(batch // 4, 1)
    return (1 << ((batch + batch // 2).bit_length() - 1)) - 1
