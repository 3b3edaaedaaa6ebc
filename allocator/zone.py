"""Zones and zonelists: where pages come from and in which order they are tried.

``include/linux/mmzone.h``. What is common to every kernel modelled here; each
kernel's own module sets the numbers (watermarks, per-cpu limits) its own way.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from allocator.config import ZONE_NAMES, MachineConfig

MAX_ORDER: Final = 11
MAX_NR_ZONES: Final = 4
ZONE_DMA: Final = 0
ZONE_DMA32: Final = 1
ZONE_NORMAL: Final = 2
ZONE_MOVABLE: Final = 3
"""Never populated here; it exists as a class that requests may name."""

RESERVE_PARTS: Final = 8
"""A zone's reserve, its min watermark, is told in eighths."""

LOCAL_DISTANCE: Final = 10
REMOTE_DISTANCE: Final = 20


class Zone:
    """``struct zone``: one populated zone of one node. Page counts are pages of 4 KiB."""

    __slots__ = (
        "below_min_events",
        "boost_at_round",
        "boosted_watermark",
        "free_heads",
        "free_pages",
        "index",
        "lowest_free",
        "lowmem_reserve",
        "managed_pages",
        "name",
        "nid",
        "nr_free",
        "nr_reserved_highatomic",
        "nr_types",
        "pcp_batch",
        "pcp_count",
        "pcp_free_factor",
        "pcp_heads",
        "pcp_high",
        "pcp_lists",
        "pfmemalloc_pages",
        "present_pages",
        "reclaim_active",
        "reserve_drawn_permille",
        "reserve_left",
        "slab_reclaimable",
        "slab_unreclaimable",
        "spanned_pages",
        "start_pfn",
        "type",
        "watermark_boost",
        "wmark_high",
        "wmark_low",
        "wmark_min",
    )

    def __init__(
        self, index: int, nid: int, zone_type: int, start_pfn: int, spanned_pages: int, cpus: int
    ) -> None:
        """Describe a zone; its pages and watermarks come at boot."""
        self.index: i64 = index
        """Place in node, then zone order over the machine."""
        self.nid: i64 = nid
        self.type: i64 = zone_type
        """``zone_idx``: ZONE_DMA, ZONE_DMA32 or ZONE_NORMAL."""
        self.name: str = ZONE_NAMES[zone_type]
        self.start_pfn: i64 = start_pfn
        self.spanned_pages: i64 = spanned_pages
        self.present_pages: i64 = 0
        self.managed_pages: i64 = 0
        self.free_pages: i64 = 0
        """NR_FREE_PAGES: pages on the buddy lists; per-cpu pages are not free."""
        self.wmark_min: i64 = 0
        self.wmark_low: i64 = 0
        self.wmark_high: i64 = 0
        self.lowmem_reserve: vec[i64] = vec[i64]([0] * MAX_NR_ZONES)
        self.nr_free: vec[i64] = vec[i64]([0] * MAX_ORDER)
        self.nr_types: i64 = 0
        """Number of migrate types that have free lists."""
        self.free_heads: i64 = 0
        """Slot of the list head of order 0, type 0; see :meth:`free_list`."""
        self.pcp_heads: i64 = 0
        self.pcp_lists: i64 = 0
        """Number of lists in each cpu's ``per_cpu_pages``."""
        self.pcp_high: i64 = 0
        self.pcp_batch: i64 = 0
        self.pcp_count: vec[i64] = vec[i64]([0] * cpus)
        self.lowest_free: i64 = 0
        self.below_min_events: i64 = 0
        self.reserve_left: vec[i64] = vec[i64]([0] * RESERVE_PARTS)
        """The below_min_events, by how many whole eighths of min were left free."""
        self.reserve_drawn_permille: i64 = 0
        """Sum over the below_min_events of min - free, in thousandths of min."""
        self.pfmemalloc_pages: i64 = 0
        self.slab_reclaimable: i64 = 0
        """NR_SLAB_RECLAIMABLE."""
        self.slab_unreclaimable: i64 = 0
        # What Linux 6.1 added; 0 in the kernels before.
        self.watermark_boost: i64 = 0
        """Pages added to every watermark, because blocks of another type had to be taken."""
        self.boosted_watermark: bool = False
        """ZONE_BOOSTED_WATERMARK: kswapd is to be woken for it."""
        self.nr_reserved_highatomic: i64 = 0
        """Pages in HIGHATOMIC blocks."""
        self.pcp_free_factor: vec[i64] = vec[i64]([0] * cpus)
        self.reclaim_active: bool = False
        """ZONE_RECLAIM_ACTIVE: kswapd is at work, so cpus keep fewer pages."""
        self.boost_at_round: i64 = 0
        """The boost that kswapd found when it began."""

    def note_below_min(self) -> None:
        """Count an allocation after which free pages lie below min, by how deep they lie."""
        left = self.free_pages
        self.below_min_events += 1
        self.reserve_left[left * RESERVE_PARTS // self.wmark_min] += 1
        self.reserve_drawn_permille += 1000 - left * 1000 // self.wmark_min

    def free_list(self, order: i64, migratetype: i64) -> i64:
        """Slot of the head of ``free_area[order].free_list[migratetype]``."""
        return self.free_heads + order * self.nr_types + migratetype

    def pcp_list(self, cpu: i64, index: i64) -> i64:
        """Slot of the head of one of a cpu's lists."""
        return self.pcp_heads + cpu * self.pcp_lists + index


class Zonelist:
    """``struct zonelist``: zones in fallback order, with the zonelist cache of 3.x.

    ``full`` are the zlcache's fullzones bits, zapped when ``last_full_zap`` is
    more than a second old (``zlc_setup``). ``cached`` is False for the
    ``__GFP_THISNODE`` lists and in builds without CONFIG_NUMA.
    """

    __slots__ = ("cached", "full", "last_full_zap", "thisnode", "zones")

    def __init__(self, zones: list[Zone], thisnode: bool, cached: bool) -> None:
        """Make a list of zones in the order they are tried."""
        self.zones: list[Zone] = zones
        self.thisnode: bool = thisnode
        self.cached: bool = cached
        self.full: vec[i64] = vec[i64]([0] * len(zones))
        self.last_full_zap: i64 = 0


def make_zones(config: MachineConfig) -> list[Zone]:
    """The populated zones of a machine, in node, then zone order."""
    zones: list[Zone] = []
    for nid, (first, end) in enumerate(config.nodes):
        low = 0
        for zone_type, zone_end in enumerate(config.zone_end_pfn):
            start = max(first, low)
            stop = min(end, zone_end)
            if start < stop:
                zones.append(Zone(len(zones), nid, zone_type, start, stop - start, config.cpus))
            low = zone_end
    return zones


def node_orders(config: MachineConfig, *, accumulate_load: bool = False) -> list[list[int]]:
    """For each node, all nodes in the order its zonelist tries them.

    ``find_next_best_node`` and the load it spreads round-robin over nodes at the
    same distance: set anew for each list, or accumulated over all of them from commit
    54d032ced983 ("mm/page_alloc: use accumulated load when building node fallback
    list") on (in v5.16). Every node is REMOTE_DISTANCE from every other.
    """
    nodes = len(config.nodes)
    with_cpus = set(config.cpu_node)
    node_load = [0] * nodes
    orders: list[list[int]] = []
    for local in range(nodes):
        load = nodes
        previous = local
        order: list[int] = []
        while len(order) < nodes:
            best = local
            if local in order:
                best = min(
                    (n for n in range(nodes) if n not in order),
                    key=lambda n: (
                        REMOTE_DISTANCE + (n < local) + (n in with_cpus),
                        node_load[n],
                        n,
                    ),
                )
            if (best == local) != (previous == local):
                node_load[best] = node_load[best] + 1 if accumulate_load else load
            previous = best
            load -= 1
            order.append(best)
        orders.append(order)
    return orders


def gfp_zone(zone_bits: i64) -> i64:
    """``gfp_zone``: highest zone type that the mask's zone bits allow.

    ``zone_bits`` are DMA 1, HIGHMEM 2, DMA32 4, MOVABLE 8: the same in every
    kernel modelled. Without HIGHMEM, HIGHMEM alone means Normal.
    """
    if zone_bits & 1:
        return ZONE_DMA
    if zone_bits & 4:
        return ZONE_DMA32
    if zone_bits & 10 == 10:
        return ZONE_MOVABLE
    return ZONE_NORMAL
