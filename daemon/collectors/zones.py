"""Zones: free pages against the watermarks, the reserve, buddy and per-cpu lists."""

from __future__ import annotations

from typing import Final

from allocator.config import ZONE_NAMES
from allocator.stats import MachineStats, ZoneStats
from allocator.zone import RESERVE_PARTS
from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples
from daemon.histogram import Histogram
from daemon.reading import Reading

_PLAIN: Final = (
    (m.ZONE_FREE_PAGES, "free_pages"),
    (m.ZONE_MIN_PAGES, "min_pages"),
    (m.ZONE_LOW_PAGES, "low_pages"),
    (m.ZONE_HIGH_PAGES, "high_pages"),
    (m.ZONE_LOWEST_FREE_PAGES, "lowest_free_pages"),
    (m.ZONE_BELOW_MIN_ALLOCATIONS_TOTAL, "below_min_events"),
    (m.ZONE_PFMEMALLOC_PAGES, "pfmemalloc_pages"),
    (m.ZONE_PRESENT_PAGES, "present_pages"),
    (m.ZONE_SPANNED_PAGES, "spanned_pages"),
    (m.ZONE_MANAGED_PAGES, "managed_pages"),
    (m.ZONE_PCP_PAGES, "pcp_pages"),
)

_DRAWN_BOUNDS: Final = tuple(part / RESERVE_PARTS for part in range(1, RESERVE_PARTS + 1))


class ZonesCollector:
    """What the page allocator holds."""

    name = "zones"
    specs = (
        *(spec for spec, _ in _PLAIN),
        m.ZONE_RESERVE_FREE_PAGES,
        m.ZONE_RESERVE_USED_PAGES,
        m.ZONE_RESERVE_EXHAUSTED_ALLOCATIONS_TOTAL,
        m.ZONE_RESERVE_DRAWN_RATIO,
        m.ZONE_LOWMEM_RESERVE_PAGES,
        m.BUDDY_FREE_BLOCKS,
        m.NODE_SLAB_RECLAIMABLE_PAGES,
        m.NODE_SLAB_UNRECLAIMABLE_PAGES,
        m.KSWAPD_WAKEUPS_TOTAL,
    )

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Add the zones of every machine."""
        for source in reading.sources:
            name = bounds.fold("source", source.name)
            for variant in source.life.variants:
                _add_machine(samples, (name, variant.variant), variant.stats)


def _add_machine(samples: Samples, model: tuple[str, str], stats: MachineStats) -> None:
    samples.add(m.KSWAPD_WAKEUPS_TOTAL, model, stats.kswapd_wakeups)
    for node, (reclaimable, unreclaimable) in enumerate(stats.slab_pages):
        samples.add(m.NODE_SLAB_RECLAIMABLE_PAGES, (*model, str(node)), reclaimable)
        samples.add(m.NODE_SLAB_UNRECLAIMABLE_PAGES, (*model, str(node)), unreclaimable)
    for zone in stats.zones:
        _add_zone(samples, (*model, str(zone.node), zone.zone), zone)


def _add_zone(samples: Samples, labels: tuple[str, ...], zone: ZoneStats) -> None:
    for spec, field in _PLAIN:
        samples.add(spec, labels, getattr(zone, field))
    left = min(zone.free_pages, zone.min_pages)
    samples.add(m.ZONE_RESERVE_FREE_PAGES, labels, left)
    samples.add(m.ZONE_RESERVE_USED_PAGES, labels, zone.min_pages - left)
    samples.add(m.ZONE_RESERVE_EXHAUSTED_ALLOCATIONS_TOTAL, labels, zone.reserve_left[0])
    samples.add_histogram(m.ZONE_RESERVE_DRAWN_RATIO, labels, _drawn(zone))
    for classzone, pages in zip(ZONE_NAMES, zone.lowmem_reserve, strict=False):
        samples.add(m.ZONE_LOWMEM_RESERVE_PAGES, (*labels, classzone), pages)
    for order, blocks in enumerate(zone.free_blocks):
        samples.add(m.BUDDY_FREE_BLOCKS, (*labels, str(order)), blocks)


def _drawn(zone: ZoneStats) -> Histogram:
    """What was drawn, from what was left: i whole eighths left is up to 8 - i eighths drawn."""
    histogram = Histogram(_DRAWN_BOUNDS)
    histogram.counts = [*reversed(zone.reserve_left), 0]
    histogram.total = zone.reserve_drawn_permille / 1000
    return histogram
