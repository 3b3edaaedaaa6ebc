"""The buddy lists of Linux 3.3 and 3.6 (``mm/page_alloc.c``, first half).

A zone keeps, per order and migrate type, a circular list of free blocks. Merging
never crosses a pageblock (MAX_ORDER - 1 is the pageblock order), so a block's
buddies lie in the same run of slots and are found by flipping one bit.

Functions take the memory map and the zone first, as the kernel's take ``zone``.
Nothing here counts NR_FREE_PAGES; callers do, as in the kernel.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
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

MIGRATE_UNMOVABLE: Final = 0
MIGRATE_RECLAIMABLE: Final = 1
MIGRATE_MOVABLE: Final = 2
MIGRATE_PCPTYPES: Final = 3
MIGRATE_RESERVE: Final = 3
NR_FREE_TYPES: Final = 4
"""Migrate types that have free lists here (ISOLATE needs memory hotplug)."""
MIGRATE_TYPES: Final = 5
"""The kernel's own count, ISOLATE included."""

# Where to steal from, by the type that ran out: two candidates each. RESERVE comes last.
_FALLBACKS: Final = vec[i64](
    [
        MIGRATE_RECLAIMABLE,
        MIGRATE_MOVABLE,
        MIGRATE_UNMOVABLE,
        MIGRATE_MOVABLE,
        MIGRATE_RECLAIMABLE,
        MIGRATE_UNMOVABLE,
    ]
)


class BuddyRules:
    """In what the two kernels' buddy code differs, and the machine-wide switch."""

    __slots__ = ("expand_in_start_type", "group_by_mobility_disabled", "higher_buddy_from_page")

    def __init__(self, *, higher_buddy_from_page: bool, expand_in_start_type: bool) -> None:
        """See the behaviours of the same names in :mod:`allocator.revision`."""
        self.higher_buddy_from_page: bool = higher_buddy_from_page
        self.expand_in_start_type: bool = expand_in_start_type
        self.group_by_mobility_disabled: bool = False


def set_pageblock_migratetype(mem: MemMap, rules: BuddyRules, block: i64, migratetype: i64) -> None:
    """``set_pageblock_migratetype``; without mobility grouping every block is UNMOVABLE."""
    if rules.group_by_mobility_disabled:
        migratetype = MIGRATE_UNMOVABLE
    mem.block_type[block] = _TYPE_BYTES[migratetype]


_TYPE_BYTES: Final = bytes(range(8))


def _free_one_page(
    mem: MemMap, zone: Zone, rules: BuddyRules, page: i64, order: i64, migratetype: i64
) -> None:
    """``__free_one_page``: put a block back, merging upwards with free buddies."""
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
        if rules.higher_buddy_from_page:
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


def move_freepages_block(mem: MemMap, zone: Zone, page: i64, migratetype: i64) -> i64:
    """``move_freepages_block``: move the free blocks of a page's pageblock to another type.

    Returns the number of pages moved; 0 when the pageblock reaches over the zone's
    end. A pageblock that begins before the zone is walked from ``page`` on.
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
        mem.list_add(page, zone.free_heads + order * NR_FREE_TYPES + migratetype)
        page += 1 << order
        moved += 1 << order
    return moved


def _rmqueue_fallback(
    mem: MemMap, zone: Zone, rules: BuddyRules, order: i64, start_migratetype: i64
) -> i64:
    """``__rmqueue_fallback``: steal the largest block of another migrate type, or NO_PAGE."""
    current: i64 = MAX_ORDER - 1
    while current >= order:
        i: i64 = 0
        while i < 2:
            migratetype = _FALLBACKS[start_migratetype * 2 + i]
            i += 1
            head = zone.free_heads + current * NR_FREE_TYPES + migratetype
            page = mem.next[head]
            if page == head:
                continue
            zone.nr_free[current] -= 1
            block = mem.block(page)
            # Stealing a large block, or for a reclaimable allocation, takes the
            # whole pageblock's free pages along.
            if (
                current >= PAGEBLOCK_ORDER // 2
                or start_migratetype == MIGRATE_RECLAIMABLE
                or rules.group_by_mobility_disabled
            ):
                pages = move_freepages_block(mem, zone, page, start_migratetype)
                if pages >= 1 << (PAGEBLOCK_ORDER - 1) or rules.group_by_mobility_disabled:
                    set_pageblock_migratetype(mem, rules, block, start_migratetype)
                migratetype = start_migratetype
            mem.list_del(page)
            mem.state[page] = PG_ALLOCATED
            if current >= PAGEBLOCK_ORDER:
                set_pageblock_migratetype(mem, rules, block, start_migratetype)
            if rules.expand_in_start_type:
                migratetype = start_migratetype
            return expand(mem, zone, page, order, current, migratetype)
        current -= 1
    return NO_PAGE


def _rmqueue(mem: MemMap, zone: Zone, rules: BuddyRules, order: i64, migratetype: i64) -> i64:
    """``__rmqueue``: a block of this order; RESERVE is used rather than fail. Or NO_PAGE."""
    page = _rmqueue_smallest(mem, zone, order, migratetype)
    if page == NO_PAGE and migratetype != MIGRATE_RESERVE:
        page = _rmqueue_fallback(mem, zone, rules, order, migratetype)
        if page == NO_PAGE:
            page = _rmqueue_smallest(mem, zone, order, MIGRATE_RESERVE)
    return page
