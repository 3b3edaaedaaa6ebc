"""Per-cpu lists of single pages, Linux 3.3 and 3.6 (``struct per_cpu_pages``).

Each zone keeps, per cpu, one list for each of the three mobile types. Pages enter
and leave the buddy lists in batches; hot pages at the head, cold ones at the tail.
"""

from __future__ import annotations

from mypy_extensions import i64

from allocator.buddy import _free_one_page
from allocator.linux3.buddy import MIGRATE_MOVABLE, MIGRATE_PCPTYPES, BuddyRules, _rmqueue
from allocator.mem_map import PG_PCP, MemMap
from allocator.page_allocator import NO_PAGE
from allocator.zone import Zone


def rmqueue_bulk(
    mem: MemMap, zone: Zone, rules: BuddyRules, count: i64, head: i64, migratetype: i64, cold: bool
) -> i64:
    """``rmqueue_bulk``: move up to ``count`` single pages to the list at ``head``.

    The insertion point walks forward, so pages split from one block end up in
    physical order. Returns how many pages came.
    """
    i: i64 = 0
    while i < count:
        page = _rmqueue(mem, zone, rules, 0, migratetype)
        if page == NO_PAGE:
            break
        if cold:
            mem.list_add_tail(page, head)
        else:
            mem.list_add(page, head)
        mem.state[page] = PG_PCP + migratetype
        head = page
        i += 1
    zone.free_pages -= i
    if zone.free_pages < zone.lowest_free:
        zone.lowest_free = zone.free_pages
    return i


def free_pcppages_bulk(mem: MemMap, zone: Zone, rules: BuddyRules, count: i64, cpu: i64) -> None:
    """``free_pcppages_bulk``: give ``count`` pages back, round-robin over the lists' tails."""
    heads = zone.pcp_heads + cpu * MIGRATE_PCPTYPES
    prv = mem.prev
    state = mem.state
    migratetype: i64 = 0
    batch_free: i64 = 0
    to_free = count
    while to_free > 0:
        # Every empty list met raises the number taken from the next full one.
        while True:
            batch_free += 1
            migratetype += 1
            if migratetype == MIGRATE_PCPTYPES:
                migratetype = 0
            head = heads + migratetype
            if prv[head] != head:
                break
        if batch_free == MIGRATE_PCPTYPES:
            batch_free = to_free
        while True:
            page = prv[head]
            mem.list_del(page)
            # A page of a RESERVE block sits on the MOVABLE list and goes home by its own type.
            _free_one_page(mem, zone, page, 0, state[page] - PG_PCP, rules.higher_buddy_from_page)
            to_free -= 1
            batch_free -= 1
            if to_free == 0 or batch_free == 0 or prv[head] == head:
                break
    zone.free_pages += count


def free_hot_cold_page(
    mem: MemMap, zone: Zone, rules: BuddyRules, page: i64, cpu: i64, cold: bool
) -> None:
    """``free_hot_cold_page``: a single page to the freeing cpu's list."""
    migratetype: i64 = i64(mem.block_type[mem.block(page)])
    mem.state[page] = PG_PCP + migratetype
    # RESERVE pages are treated as movable so that they can be had back.
    if migratetype >= MIGRATE_PCPTYPES:
        migratetype = MIGRATE_MOVABLE
    head = zone.pcp_heads + cpu * MIGRATE_PCPTYPES + migratetype
    if cold:
        mem.list_add_tail(page, head)
    else:
        mem.list_add(page, head)
    zone.pcp_count[cpu] += 1
    if zone.pcp_count[cpu] >= zone.pcp_high:
        free_pcppages_bulk(mem, zone, rules, zone.pcp_batch, cpu)
        zone.pcp_count[cpu] -= zone.pcp_batch


def drain_pages(mem: MemMap, zones: list[Zone], rules: BuddyRules, cpu: i64) -> None:
    """``drain_pages``: everything one cpu holds, back to the buddy lists."""
    for zone in zones:
        count = zone.pcp_count[cpu]
        if count > 0:
            free_pcppages_bulk(mem, zone, rules, count, cpu)
            zone.pcp_count[cpu] = 0
