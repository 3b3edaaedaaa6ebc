"""Migrate types of Linux 3.3 and 3.6, and where blocks come from when one runs out.

``mm/page_alloc.c``: ``__rmqueue_fallback``, ``__rmqueue``. What all kernels share is in
:mod:`allocator.buddy`. Callers count NR_FREE_PAGES, as in the kernel.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from allocator.buddy import NR_FREE_TYPES, _rmqueue_smallest, expand, move_freepages_block
from allocator.mem_map import PAGEBLOCK_ORDER, PG_ALLOCATED, MemMap
from allocator.page_allocator import NO_PAGE
from allocator.zone import MAX_ORDER, Zone

MIGRATE_UNMOVABLE: Final = 0
MIGRATE_RECLAIMABLE: Final = 1
MIGRATE_MOVABLE: Final = 2
MIGRATE_PCPTYPES: Final = 3
MIGRATE_RESERVE: Final = 3
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
                pages = move_freepages_block(mem, zone, page, start_migratetype, to_tail=False)
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
