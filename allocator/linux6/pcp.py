"""Per-cpu lists of Linux 6.1 (``struct per_cpu_pages``): orders 0 to 3, by migrate type.

Each zone keeps, per cpu, one list for each order and mobile type. Pages come in batches
to the tail; freed pages go to the head. What is given back at once grows while only frees
come (``free_factor``), and a multi-page block freed in such a run empties everything.
While kswapd is at work, which a trace may say, the lists are kept shorter (c49c2c47dab6,
"mm/page_alloc: limit the number of pages on PCP lists when reclaim is active"; in v5.14).

Not modelled: huge pages' own list.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.buddy import _free_one_page
from allocator.linux6.buddy import MIGRATE_MOVABLE, MIGRATE_PCPTYPES, Mobility, _rmqueue
from allocator.mem_map import PG_PCP, MemMap
from allocator.page_allocator import NO_PAGE
from allocator.zone import Zone

PAGE_ALLOC_COSTLY_ORDER: Final = 3
"""The largest order that has per-cpu lists."""
NR_PCP_LISTS: Final = MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1)
PCP_BATCH_SCALE_MAX: Final = 5
"""CONFIG_PCP_BATCH_SCALE_MAX: a batch is doubled at most this often."""


def rmqueue_bulk(
    mem: MemMap,
    zone: Zone,
    mobility: Mobility,
    order: i64,
    count: i64,
    head: i64,
    migratetype: i64,
    alloc_flags: i64,
) -> i64:
    """``rmqueue_bulk``: move up to ``count`` blocks to the tail of a list; returns how many."""
    i: i64 = 0
    while i < count:
        page = _rmqueue(mem, zone, mobility, order, migratetype, alloc_flags)
        if page == NO_PAGE:
            break
        mem.list_add_tail(page, head)
        mem.state[page] = PG_PCP + migratetype
        i += 1
    zone.free_pages -= i << order
    if zone.free_pages < zone.lowest_free:
        zone.lowest_free = zone.free_pages
    return i


def free_pcppages_bulk(mem: MemMap, zone: Zone, count: i64, cpu: i64, pindex: i64) -> None:
    """``free_pcppages_bulk``: give ``count`` pages back, list after list, from ``pindex`` on.

    Blocks go whole, so more than ``count`` pages may leave.
    """
    heads = zone.pcp_heads + cpu * NR_PCP_LISTS
    state = mem.state
    prv = mem.prev
    pcp_count = zone.pcp_count[cpu]
    count = min(pcp_count, count)
    min_pindex: i64 = 0
    max_pindex: i64 = NR_PCP_LISTS - 1
    pindex -= 1
    freed: i64 = 0
    while count > 0:
        while True:
            pindex += 1
            if pindex > max_pindex:
                pindex = min_pindex
            head = heads + pindex
            if prv[head] != head:
                break
            if pindex == max_pindex:
                max_pindex -= 1
            if pindex == min_pindex:
                min_pindex += 1
        order = pindex // MIGRATE_PCPTYPES
        nr_pages: i64 = 1 << order
        while True:
            page = prv[head]
            mem.list_del(page)
            count -= nr_pages
            freed += nr_pages
            # The page goes to the type that its pageblock had when it came here.
            _free_one_page(mem, zone, page, order, state[page] - PG_PCP, False)
            if count <= 0 or prv[head] == head:
                break
    zone.free_pages += freed
    zone.pcp_count[cpu] = pcp_count - freed


def _nr_pcp_free(zone: Zone, cpu: i64, high: i64) -> i64:
    """``nr_pcp_free``: how many pages to give back; twice as many each time in a row."""
    batch = zone.pcp_batch
    if high < batch:
        return 1
    least = batch
    most = high - batch
    factor = zone.pcp_free_factor[cpu]
    batch <<= factor
    if batch < most and factor < PCP_BATCH_SCALE_MAX:
        zone.pcp_free_factor[cpu] = factor + 1
    return max(least, min(batch, most))


def free_unref_page(mem: MemMap, zone: Zone, page: i64, order: i64, cpu: i64) -> None:
    """``free_unref_page``: a block of up to COSTLY_ORDER to the freeing cpu's list."""
    migratetype = i64(mem.block_type[mem.block(page)])
    mem.state[page] = PG_PCP + migratetype
    # HIGHATOMIC pages are treated as movable so that they can be had back.
    if migratetype >= MIGRATE_PCPTYPES:
        migratetype = MIGRATE_MOVABLE
    pindex = order * MIGRATE_PCPTYPES + migratetype
    mem.list_add(page, zone.pcp_heads + cpu * NR_PCP_LISTS + pindex)
    count = zone.pcp_count[cpu] + (1 << order)
    zone.pcp_count[cpu] = count
    if order > 0 and zone.pcp_free_factor[cpu] > 0:
        free_pcppages_bulk(mem, zone, count, cpu, pindex)
        return
    # nr_pcp_high
    high = zone.pcp_high
    if zone.reclaim_active and zone.pcp_batch << 2 < high:
        high = zone.pcp_batch << 2
    if count >= high:
        free_pcppages_bulk(mem, zone, _nr_pcp_free(zone, cpu, high), cpu, pindex)


def _rmqueue_pcplist(
    mem: MemMap,
    zone: Zone,
    mobility: Mobility,
    order: i64,
    migratetype: i64,
    alloc_flags: i64,
    cpu: i64,
) -> i64:
    """``__rmqueue_pcplist``: refill the cpu's list; the first of it, or NO_PAGE."""
    head = zone.pcp_heads + cpu * NR_PCP_LISTS + order * MIGRATE_PCPTYPES + migratetype
    batch = zone.pcp_batch
    if batch > 1:
        batch = max(batch >> order, 2)
    alloced = rmqueue_bulk(mem, zone, mobility, order, batch, head, migratetype, alloc_flags)
    if alloced == 0:
        return NO_PAGE
    zone.pcp_count[cpu] += (alloced - 1) << order
    page = mem.next[head]
    mem.list_del(page)
    return page


def drain_pages(mem: MemMap, zones: list[Zone], cpu: i64) -> None:
    """``drain_pages``: everything one cpu holds, back to the buddy lists."""
    for zone in zones:
        while zone.pcp_count[cpu] > 0:
            most = zone.pcp_batch << PCP_BATCH_SCALE_MAX
            free_pcppages_bulk(mem, zone, min(zone.pcp_count[cpu], most), cpu, 0)
