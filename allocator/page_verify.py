"""What must always be true of the page allocator: each page in one place.

Reads the lists and states and nothing else, and counts everything anew.
"""

from __future__ import annotations

from typing import Final

from allocator.buddy import NR_FREE_TYPES
from allocator.mem_map import PAGEBLOCK_ORDER, PG_ALLOCATED, PG_PCP, PG_PFMEMALLOC, MemMap
from allocator.page_allocator import PageAllocator
from allocator.verify import require
from allocator.zone import MAX_ORDER, Zone

_MIGRATE_PCPTYPES: Final = 3
"""Per-cpu lists of one order; kernels with several orders have them one after the other."""


def verify_pages(pages: PageAllocator, held: list[tuple[int, int]], cpus: int) -> None:
    """Check every zone; ``held`` are the (pfn, order) that callers and slabs own.

    Raises InvariantError.
    """
    mem = pages.mem
    place = bytearray(len(mem.base) << PAGEBLOCK_ORDER)
    for zone in pages.zones:
        _verify_zone(mem, zone, cpus, place)
    marked = [0] * len(pages.zones)
    for pfn, order in held:
        _occupy(place, pfn, 1 << order, "an allocation")
        state = mem.state[mem.slot(pfn)]
        require(state & ~PG_PFMEMALLOC == PG_ALLOCATED, f"held page {pfn} has state {state}")
        if state & PG_PFMEMALLOC:
            marked[int(pages.page_zone(pfn).index)] += 1 << order
    for zone in pages.zones:
        start = int(zone.start_pfn)
        end = start + int(zone.spanned_pages)
        found = end - start - place.count(0, start, end)
        require(
            found == zone.managed_pages,
            f"zone {zone.name}: {found} pages are somewhere, {zone.managed_pages} managed",
        )
        require(
            marked[int(zone.index)] == zone.pfmemalloc_pages,
            f"zone {zone.name}: {marked[int(zone.index)]} pages are marked pfmemalloc,"
            f" {zone.pfmemalloc_pages} counted",
        )


def _occupy(place: bytearray, pfn: int, pages: int, who: str) -> None:
    """Mark pages as being somewhere; they must not have been anywhere."""
    require(
        place.count(0, pfn, pfn + pages) == pages,
        f"pages {pfn} to {pfn + pages - 1} of {who} are in two places",
    )
    place[pfn : pfn + pages] = b"\1" * pages


def _verify_zone(mem: MemMap, zone: Zone, cpus: int, place: bytearray) -> None:
    free = 0
    for order in range(MAX_ORDER):
        blocks = 0
        for migratetype in range(NR_FREE_TYPES):
            for pfn in mem.list_pfns(zone.free_list(order, migratetype)):
                require(pfn % (1 << order) == 0, f"free block {pfn} of order {order} is unaligned")
                state = mem.state[mem.slot(pfn)]
                require(state == order, f"free block {pfn} of order {order} has state {state}")
                _occupy(place, pfn, 1 << order, f"a free block of order {order}")
                blocks += 1
        require(
            blocks == zone.nr_free[order],
            f"zone {zone.name}: {blocks} free blocks of order {order},"
            f" nr_free is {zone.nr_free[order]}",
        )
        free += blocks << order
    require(
        free == zone.free_pages,
        f"zone {zone.name}: {free} pages on the lists, NR_FREE_PAGES is {zone.free_pages}",
    )
    for cpu in range(cpus):
        count = 0
        for index in range(zone.pcp_lists):
            order = index // _MIGRATE_PCPTYPES
            for pfn in mem.list_pfns(zone.pcp_list(cpu, index)):
                state = mem.state[mem.slot(pfn)]
                require(PG_PCP <= state < PG_ALLOCATED, f"per-cpu page {pfn} has state {state}")
                _occupy(place, pfn, 1 << order, f"cpu {cpu}'s list")
                count += 1 << order
        require(
            count == zone.pcp_count[cpu],
            f"zone {zone.name} cpu {cpu}: {count} pages on the lists,"
            f" count is {zone.pcp_count[cpu]}",
        )
