"""``/proc/zoneinfo``, ``/proc/buddyinfo`` and ``/proc/pagetypeinfo`` of a machine.

``mm/vmstat.c`` of the machine's kernel, line for line and column for column. What the model
does not count (LRU lists, dirty pages, NUMA hits) reads 0, as on a machine that has none.
Zone types end with Movable: there is no ZONE_DEVICE here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isqrt
from typing import Final

from allocator.config import ZONE_NAMES
from allocator.machine import Machine
from allocator.mem_map import PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER
from allocator.revision import LINUX_6
from allocator.zone import MAX_NR_ZONES, MAX_ORDER, Zone

_TYPES_3: Final = ("Unmovable", "Reclaimable", "Movable", "Reserve", "Isolate")
_TYPES_6: Final = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")
"""``migratetype_names`` without CONFIG_CMA, in the order of the types' numbers."""
_FREE_TYPES: Final = 4
"""Isolate has no list here: no page is ever isolated."""
_ALL_ZONES: Final = (*ZONE_NAMES, "Movable")

_NUMA_STATS: Final = (
    "numa_hit",
    "numa_miss",
    "numa_foreign",
    "numa_interleave",
    "numa_local",
    "numa_other",
)
_ZONE_STATS_3: Final = (
    "nr_free_pages",
    "nr_inactive_anon",
    "nr_active_anon",
    "nr_inactive_file",
    "nr_active_file",
    "nr_unevictable",
    "nr_mlock",
    "nr_anon_pages",
    "nr_mapped",
    "nr_file_pages",
    "nr_dirty",
    "nr_writeback",
    "nr_slab_reclaimable",
    "nr_slab_unreclaimable",
    "nr_page_table_pages",
    "nr_kernel_stack",
    "nr_unstable",
    "nr_bounce",
    "nr_vmscan_write",
    "nr_vmscan_immediate_reclaim",
    "nr_writeback_temp",
    "nr_isolated_anon",
    "nr_isolated_file",
    "nr_shmem",
    "nr_dirtied",
    "nr_written",
)
_ZONE_STATS_6: Final = (
    "nr_free_pages",
    "nr_zone_inactive_anon",
    "nr_zone_active_anon",
    "nr_zone_inactive_file",
    "nr_zone_active_file",
    "nr_zone_unevictable",
    "nr_zone_write_pending",
    "nr_mlock",
    "nr_bounce",
    "nr_zspages",
    "nr_free_cma",
)
_NODE_STATS_6: Final = (
    "nr_inactive_anon",
    "nr_active_anon",
    "nr_inactive_file",
    "nr_active_file",
    "nr_unevictable",
    "nr_slab_reclaimable",
    "nr_slab_unreclaimable",
    "nr_isolated_anon",
    "nr_isolated_file",
    "workingset_nodes",
    "workingset_refault_anon",
    "workingset_refault_file",
    "workingset_activate_anon",
    "workingset_activate_file",
    "workingset_restore_anon",
    "workingset_restore_file",
    "workingset_nodereclaim",
    "nr_anon_pages",
    "nr_mapped",
    "nr_file_pages",
    "nr_dirty",
    "nr_writeback",
    "nr_writeback_temp",
    "nr_shmem",
    "nr_shmem_hugepages",
    "nr_shmem_pmdmapped",
    "nr_file_hugepages",
    "nr_file_pmdmapped",
    "nr_anon_transparent_hugepages",
    "nr_vmscan_write",
    "nr_vmscan_immediate_reclaim",
    "nr_dirtied",
    "nr_written",
    "nr_throttled_written",
    "nr_kernel_misc_reclaimable",
    "nr_foll_pin_acquired",
    "nr_foll_pin_released",
    "nr_kernel_stack",
    "nr_page_table_pages",
    "nr_sec_page_table_pages",
    "nr_swapcached",
    "pgpromote_success",
    "pgpromote_candidate",
)
_MOST_THRESHOLD: Final = 125


def _is_6(machine: Machine) -> bool:
    return machine.variant.revision.linux == LINUX_6


def buddyinfo(machine: Machine) -> str:
    """``frag_show``: free blocks of each order."""
    return "".join(
        f"Node {int(zone.nid)}, zone {zone.name:>8} "
        + "".join(f"{int(blocks):6} " for blocks in zone.nr_free)
        + "\n"
        for zone in machine.pages.zones
    )


def pagetypeinfo(machine: Machine) -> str:
    """``pagetypeinfo_show``: free blocks by migrate type, and what types the pageblocks have."""
    names = _TYPES_6 if _is_6(machine) else _TYPES_3
    lines: list[str] = []
    for nid in range(len(machine.config.nodes)):
        zones = [zone for zone in machine.pages.zones if zone.nid == nid]
        lines += [f"Page block order: {PAGEBLOCK_ORDER}", f"Pages per block:  {PAGEBLOCK_NR_PAGES}"]
        orders = "".join(f"{order:6} " for order in range(MAX_ORDER))
        lines += ["", f"{'Free pages count per migrate type at order':<43} {orders}"]
        for zone in zones:
            lines += _free_rows(machine, zone, names)
        lines += ["", f"{'Number of blocks type ':<23}{''.join(f'{name:>12} ' for name in names)}"]
        for zone in zones:
            counts = _block_counts(machine, zone, len(names))
            row = "".join(f"{count:12} " for count in counts)
            lines.append(f"Node {nid}, zone {zone.name:>8} {row}")
    return "\n".join(lines) + "\n"


def _free_rows(machine: Machine, zone: Zone, names: Sequence[str]) -> Iterator[str]:
    mem = machine.pages.mem
    for migratetype, name in enumerate(names):
        counts = [
            len(mem.list_pfns(zone.free_list(order, migratetype)))
            if migratetype < _FREE_TYPES
            else 0
            for order in range(MAX_ORDER)
        ]
        row = "".join(f"{count:6} " for count in counts)
        yield f"Node {int(zone.nid):4}, zone {zone.name:>8}, type {name:>12} {row}"


def _block_counts(machine: Machine, zone: Zone, types: int) -> list[int]:
    start = int(zone.start_pfn)
    counts = [0] * types
    for pfn in range(start, start + int(zone.spanned_pages), PAGEBLOCK_NR_PAGES):
        counts[int(machine.pages.mem.block_type[pfn >> PAGEBLOCK_ORDER])] += 1
    return counts


def zoneinfo(machine: Machine) -> str:
    """``zoneinfo_show``: every zone's counts and watermarks."""
    lines: list[str] = []
    for nid in range(len(machine.config.nodes)):
        zones = [zone for zone in machine.pages.zones if zone.nid == nid]
        if _is_6(machine):
            lines += _node_6(machine, nid, zones)
        else:
            for zone in zones:
                lines += _zone_3(machine, zone)
    return "\n".join(lines) + "\n"


def _zone_3(machine: Machine, zone: Zone) -> Iterator[str]:
    yield f"Node {int(zone.nid)}, zone {zone.name:>8}"
    yield f"  pages free     {int(zone.free_pages)}"
    yield f"        min      {int(zone.wmark_min)}"
    yield f"        low      {int(zone.wmark_low)}"
    yield f"        high     {int(zone.wmark_high)}"
    yield "        scanned  0"
    yield f"        spanned  {int(zone.spanned_pages)}"
    yield f"        present  {int(zone.present_pages)}"
    known = {
        "nr_free_pages": int(zone.free_pages),
        "nr_slab_reclaimable": int(zone.slab_reclaimable),
        "nr_slab_unreclaimable": int(zone.slab_unreclaimable),
    }
    stats = _ZONE_STATS_3 + (_NUMA_STATS if machine.config.numa else ())
    for name in (*stats, "nr_anon_transparent_hugepages"):
        yield f"    {name:<12} {known.get(name, 0)}"
    yield f"        protection: ({_protection(zone)})"
    yield from _pagesets(machine, zone, int(zone.present_pages))
    gibibytes = int(zone.present_pages) >> 18
    yield "  all_unreclaimable: 0"
    yield f"  start_pfn:         {int(zone.start_pfn)}"
    yield f"  inactive_ratio:    {isqrt(10 * gibibytes) if gibibytes else 1}"


def _node_6(machine: Machine, nid: int, zones: Sequence[Zone]) -> Iterator[str]:
    """A node's zones; its own statistics come with the first that has memory."""
    by_name = {zone.name: zone for zone in zones}
    first = True
    for name in _ALL_ZONES:
        yield f"Node {nid}, zone {name:>8}"
        zone = by_name.get(name)
        if zone is None:
            yield from _counts_6(0, 0, 0, 0, 0, 0, 0, 0)
            yield f"        protection: ({', '.join(['0'] * MAX_NR_ZONES)})"
            continue
        if first:
            first = False
            yield "  per-node stats"
            known = {
                "nr_slab_reclaimable": sum(int(z.slab_reclaimable) for z in zones),
                "nr_slab_unreclaimable": sum(int(z.slab_unreclaimable) for z in zones),
            }
            for stat in _NODE_STATS_6:
                yield f"      {stat:<12} {known.get(stat, 0)}"
        yield from _zone_6(machine, zone)


def _zone_6(machine: Machine, zone: Zone) -> Iterator[str]:
    boost = int(zone.watermark_boost)
    yield from _counts_6(
        int(zone.free_pages),
        boost,
        int(zone.wmark_min) + boost,
        int(zone.wmark_low) + boost,
        int(zone.wmark_high) + boost,
        int(zone.spanned_pages),
        int(zone.present_pages),
        int(zone.managed_pages),
    )
    yield f"        protection: ({_protection(zone)})"
    for name in _ZONE_STATS_6 + (_NUMA_STATS if machine.config.numa else ()):
        yield f"      {name:<12} {int(zone.free_pages) if name == 'nr_free_pages' else 0}"
    yield from _pagesets(machine, zone, int(zone.managed_pages))
    yield "  node_unreclaimable:  0"
    yield f"  start_pfn:           {int(zone.start_pfn)}"


def _counts_6(
    free: int,
    boost: int,
    low: int,
    middle: int,
    high: int,
    spanned: int,
    present: int,
    managed: int,
) -> Iterator[str]:
    yield f"  pages free     {free}"
    yield f"        boost    {boost}"
    yield f"        min      {low}"
    yield f"        low      {middle}"
    yield f"        high     {high}"
    yield f"        spanned  {spanned}"
    yield f"        present  {present}"
    yield f"        managed  {managed}"
    yield "        cma      0"


def _protection(zone: Zone) -> str:
    return ", ".join(str(int(pages)) for pages in zone.lowmem_reserve)


def _pagesets(machine: Machine, zone: Zone, pages: int) -> Iterator[str]:
    yield "  pagesets"
    cpus = machine.config.cpus
    for cpu in range(cpus):
        yield f"    cpu: {cpu}"
        yield f"              count: {int(zone.pcp_count[cpu])}"
        yield f"              high:  {int(zone.pcp_high)}"
        yield f"              batch: {int(zone.pcp_batch)}"
        if cpus > 1:  # CONFIG_SMP
            yield f"  vm stats threshold: {_normal_threshold(cpus, pages)}"


def _normal_threshold(cpus: int, pages: int) -> int:
    """``calculate_normal_threshold``: by cpus, and by 128 MiB pieces of the zone."""
    return min(2 * cpus.bit_length() * (1 + (pages >> 15).bit_length()), _MOST_THRESHOLD)
