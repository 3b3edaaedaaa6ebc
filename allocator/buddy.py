"""What no kernel modelled has changed about the buddy lists (``mm/page_alloc.c``).

A zone keeps, per order and migrate type, a circular list of free blocks. Merging
never crosses a pageblock (MAX_ORDER - 1 is the pageblock order), so a block's
buddies lie in the same run of slots and are found by flipping one bit.

Where blocks come from when a type runs out is each kernel's own
(:mod:`allocator.linux3.buddy`, :mod:`allocator.linux6.buddy`).

Functions take the memory map and the zone first, as the kernel's take ``zone``.
Nothing here counts NR_FREE_PAGES; callers do.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.mem_map import (
    PAGEBLOCK_MASK,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    PG_ALLOCATED,
    MemMap,
)
from allocator.page_allocator import NO_PAGE
from allocator.zone import MAX_ORDER, Zone

NR_FREE_TYPES: Final = 4
"""Migrate types that have free lists: the three mobile ones and one that is kept back
(RESERVE, later HIGHATOMIC). ISOLATE needs memory hotplug, which is not modelled."""


def _free_one_page(
    mem: MemMap,
    zone: Zone,
    page: i64,
    order: i64,
    migratetype: i64,
    higher_buddy_from_page: bool,
) -> None:
    """``__free_one_page``: put a block back, merging upwards with free buddies.

    ``higher_buddy_from_page`` is how 3.3 looks for the next-higher buddy; see
    ``Revision.higher_buddy_from_higher_page``.
    """
    nxt = mem.next
    prv = mem.prev
    state = mem.state
    if page < mem.first_chunk:
        base = page
    else:
        base = mem.first_chunk + ((page - mem.first_chunk) & ~PAGEBLOCK_MASK)
    index = page - base
    buddy = index
    while order < MAX_ORDER - 1:
        buddy = index ^ (1 << order)
        slot = base + buddy
        if state[slot] != order:
            break
        after = nxt[slot]
        before = prv[slot]
        nxt[before] = after
        prv[after] = before
        zone.nr_free[order] -= 1
        state[slot] = PG_ALLOCATED
        index &= buddy
        order += 1
    page = base + index
    state[page] = order
    zone.nr_free[order] += 1
    head = zone.free_heads + order * NR_FREE_TYPES + migratetype
    if order < MAX_ORDER - 2:
        # If the buddy of the next-highest order is free, this block will likely merge
        # soon: add it to the tail, so that it is used last.
        combined = buddy & index
        higher = combined ^ (1 << (order + 1))
        if higher_buddy_from_page:
            higher += index - combined
        if state[base + higher] == order + 1:
            before = prv[head]
            nxt[before] = page
            prv[page] = before
            nxt[page] = head
            prv[head] = page
            return
    after = nxt[head]
    prv[after] = page
    nxt[page] = after
    prv[page] = head
    nxt[head] = page


def expand(mem: MemMap, zone: Zone, page: i64, low: i64, high: i64, migratetype: i64) -> i64:
    """``expand``: split a block of order ``high`` down to ``low``.

    Returns the slot of the part that is left for the caller: the page's slot
    moves when its pageblock is split for the first time.
    """
    if high == PAGEBLOCK_ORDER and low < high:
        page = mem.populate(mem.block(page))
    nxt = mem.next
    prv = mem.prev
    state = mem.state
    size: i64 = 1 << high
    while high > low:
        high -= 1
        size >>= 1
        part = page + size
        head = zone.free_heads + high * NR_FREE_TYPES + migratetype
        after = nxt[head]
        prv[after] = part
        nxt[part] = after
        prv[part] = head
        nxt[head] = part
        zone.nr_free[high] += 1
        state[part] = high
    return page


def _rmqueue_smallest(mem: MemMap, zone: Zone, order: i64, migratetype: i64) -> i64:
    """``__rmqueue_smallest``: smallest sufficient block of one migrate type, or NO_PAGE."""
    nxt = mem.next
    current = order
    head = zone.free_heads + order * NR_FREE_TYPES + migratetype
    while current < MAX_ORDER:
        page = nxt[head]
        if page != head:
            mem.list_del(page)
            mem.state[page] = PG_ALLOCATED
            zone.nr_free[current] -= 1
            if current == order:
                return page
            return expand(mem, zone, page, order, current, migratetype)
        current += 1
        head += NR_FREE_TYPES
    return NO_PAGE


def move_freepages_block(
    mem: MemMap, zone: Zone, page: i64, migratetype: i64, to_tail: bool
) -> i64:
    """``move_freepages_block``: move the free blocks of a page's pageblock to another type.

    ``to_tail``: to the tails of the other lists (293ffa5ebb9c, "mm/page_alloc: move pages
    to tail in move_to_free_list()"; in v5.10), otherwise to their heads. Returns the
    number of pages moved; 0 when the pageblock reaches over the zone's end. A pageblock
    that begins before the zone is walked from ``page`` on.
    """
    block = mem.block(page)
    end_pfn = (block << PAGEBLOCK_ORDER) + PAGEBLOCK_NR_PAGES - 1
    if end_pfn >= zone.start_pfn + zone.spanned_pages:
        return 0
    first = mem.base[block]
    last = first
    if mem.populated(block):
        last = first + PAGEBLOCK_MASK
    if block << PAGEBLOCK_ORDER >= zone.start_pfn:
        page = first
    moved: i64 = 0
    while page <= last:
        order = mem.state[page]
        if order >= MAX_ORDER:
            page += 1
            continue
        mem.list_del(page)
        head = zone.free_heads + order * NR_FREE_TYPES + migratetype
        if to_tail:
            mem.list_add_tail(page, head)
        else:
            mem.list_add(page, head)
        page += 1 << order
        moved += 1 << order
    return moved
