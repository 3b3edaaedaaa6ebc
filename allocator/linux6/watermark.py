"""Watermarks, lowmem reserves and per-cpu limits of Linux 6.1.

``mm/page_alloc.c``: ``__zone_watermark_ok``, ``zone_watermark_fast``,
``calculate_min_free_kbytes``, ``__setup_per_zone_wmarks``,
``setup_per_zone_lowmem_reserve``, ``zone_batchsize``, ``zone_highsize``. All counts are
pages unless named kbytes.

Against 3.x: the marks lie further apart where min is small (``watermark_scale_factor``),
a high-order request needs one sufficient block rather than a falling count per order,
and the discounts are other ones, for fewer callers.
"""

from __future__ import annotations

from math import isqrt
from typing import Final

from mypy_extensions import i64

from allocator.buddy import NR_FREE_TYPES
from allocator.linux6.alloc_flags import (
    ALLOC_HIGHATOMIC,
    ALLOC_MIN_RESERVE,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_LOW,
    ALLOC_WMARK_MASK,
    ALLOC_WMARK_MIN,
)
from allocator.linux6.buddy import MIGRATE_PCPTYPES
from allocator.linux6.gfp import _GFP_ATOMIC
from allocator.mem_map import MemMap
from allocator.zone import MAX_NR_ZONES, MAX_ORDER, ZONE_NORMAL, Zone, Zonelist

_LOWMEM_RESERVE_RATIO: Final = (256, 256, 32)
"""DMA, DMA32, Normal (``sysctl_lowmem_reserve_ratio``)."""
_MIN_FREE_KBYTES_MIN: Final = 128
_MIN_FREE_KBYTES_MAX: Final = 262144
_WATERMARK_SCALE_FACTOR: Final = 10
"""The least distance between two marks, in 1/10000 of the zone."""


def wmark_pages(zone: Zone, alloc_flags: i64) -> i64:
    """``wmark_pages``: the mark that the flags name, boosted."""
    which = alloc_flags & ALLOC_WMARK_MASK
    if which == ALLOC_WMARK_LOW:
        return zone.wmark_low + zone.watermark_boost
    if which == ALLOC_WMARK_MIN:
        return zone.wmark_min + zone.watermark_boost
    return zone.wmark_high + zone.watermark_boost


def _zone_watermark_ok(
    mem: MemMap,
    zone: Zone,
    order: i64,
    mark: i64,
    highest_zoneidx: i64,
    alloc_flags: i64,
) -> bool:
    """``__zone_watermark_ok``: enough free pages above ``mark``, and one block that fits."""
    free_pages = zone.free_pages - ((1 << order) - 1)
    least = mark
    if alloc_flags & ALLOC_RESERVES:
        if alloc_flags & ALLOC_MIN_RESERVE:
            least -= least // 2
            if alloc_flags & ALLOC_NON_BLOCK:
                least -= least // 4
        if alloc_flags & ALLOC_OOM:
            least -= least // 2
    else:
        # __zone_watermark_unusable_free: the highatomic blocks are not for this caller.
        free_pages -= zone.nr_reserved_highatomic
    if free_pages <= least + zone.lowmem_reserve[highest_zoneidx]:
        return False
    if order == 0:
        return True
    nxt = mem.next
    o = order
    while o < MAX_ORDER:
        if zone.nr_free[o] > 0:
            head = zone.free_heads + o * NR_FREE_TYPES
            last = head + MIGRATE_PCPTYPES
            while head < last:
                if nxt[head] != head:
                    return True
                head += 1
            if alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) and nxt[head] != head:
                return True
        o += 1
    return False


def zone_watermark_fast(
    mem: MemMap,
    zone: Zone,
    order: i64,
    highest_zoneidx: i64,
    alloc_flags: i64,
    gfp_mask: i64,
) -> bool:
    """``zone_watermark_fast``: the same for the flags' own mark, quicker for single pages."""
    mark = wmark_pages(zone, alloc_flags)
    if order == 0:
        usable = zone.free_pages
        if not alloc_flags & ALLOC_RESERVES:
            usable -= zone.nr_reserved_highatomic
        if usable > mark + zone.lowmem_reserve[highest_zoneidx]:
            return True
    if _zone_watermark_ok(mem, zone, order, mark, highest_zoneidx, alloc_flags):
        return True
    # At min, a boost is not held against an atomic request.
    if (
        order == 0
        and gfp_mask & _GFP_ATOMIC
        and zone.watermark_boost > 0
        and alloc_flags & ALLOC_WMARK_MASK == ALLOC_WMARK_MIN
    ):
        return _zone_watermark_ok(mem, zone, order, zone.wmark_min, highest_zoneidx, alloc_flags)
    return False


def nr_free_zone_pages(zonelist: Zonelist, offset: int) -> int:
    """``nr_free_zone_pages``: pages above high in the zones of a list up to ``offset``."""
    total = 0
    for zone in zonelist.zones:
        high = zone.wmark_high + zone.watermark_boost
        if zone.type <= offset and zone.managed_pages > high:
            total += int(zone.managed_pages - high)
    return total


def calculate_min_free_kbytes(zonelist: Zonelist) -> int:
    """``calculate_min_free_kbytes``: int_sqrt(lowmem_kbytes * 16), 128 … 262144."""
    lowmem_kbytes = nr_free_zone_pages(zonelist, ZONE_NORMAL) * 4
    wanted = isqrt(lowmem_kbytes * 16)
    return max(_MIN_FREE_KBYTES_MIN, min(_MIN_FREE_KBYTES_MAX, wanted))


def setup_per_zone_wmarks(zones: list[Zone], min_free_kbytes: int, cpu_node: list[int]) -> None:
    """``setup_per_zone_wmarks``: min, low, high; the boost ends; per-cpu limits follow."""
    pages_min = min_free_kbytes >> 2
    lowmem_pages = sum(int(zone.managed_pages) for zone in zones)
    for zone in zones:
        managed = int(zone.managed_pages)
        share = pages_min * managed // lowmem_pages
        distance = max(share >> 2, managed * _WATERMARK_SCALE_FACTOR // 10000)
        zone.watermark_boost = 0
        zone.wmark_min = share
        zone.wmark_low = share + distance
        zone.wmark_high = share + 2 * distance
    zone_set_pageset_high_and_batch(zones, cpu_node)


def setup_per_zone_lowmem_reserve(zones: list[Zone], nodes: int) -> None:
    """``setup_per_zone_lowmem_reserve``: what lower zones keep from requests of higher ones."""
    for nid in range(nodes):
        managed = [0] * MAX_NR_ZONES
        for zone in zones:
            if zone.nid == nid:
                managed[int(zone.type)] = int(zone.managed_pages)
        for zone in zones:
            if zone.nid == nid:
                above = 0
                for upper in range(int(zone.type) + 1, MAX_NR_ZONES):
                    above += managed[upper]
                    zone.lowmem_reserve[upper] = above // _LOWMEM_RESERVE_RATIO[int(zone.type)]


def zone_set_pageset_high_and_batch(zones: list[Zone], cpu_node: list[int]) -> None:
    """``zone_set_pageset_high_and_batch``: what each cpu may keep of each zone."""
    for zone in zones:
        batch = max(1, _zone_batchsize(int(zone.managed_pages)))
        zone.pcp_batch = batch
        zone.pcp_high = _zone_highsize(zone, batch, cpu_node)


def _zone_batchsize(managed_pages: int) -> int:
    """``zone_batchsize``: about a quarter thousandth of the zone, at most 256 KiB, 2^n - 1."""
    batch = max(min(managed_pages >> 10, (1 << 20) // 4096) // 4, 1)
    return (1 << ((batch + batch // 2).bit_length() - 1)) - 1


def _zone_highsize(zone: Zone, batch: int, cpu_node: list[int]) -> int:
    """``zone_highsize``: the pages up to low, shared out among the node's cpus."""
    sharing = sum(1 for node in cpu_node if node == zone.nid) or len(cpu_node)
    return max(int(zone.wmark_low) // sharing, batch * 4)
