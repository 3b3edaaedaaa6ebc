"""What a machine's statistics come to, in plain JSON values: for /state and ``pfmemd run``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from allocator.outcome import RESULT_DENIED, RESULT_OK, RESULT_STALLED
from allocator.stats import CacheStats, MachineStats, ZoneStats

Json: TypeAlias = dict[str, Any]

RESULTS: Final = (RESULT_OK, RESULT_DENIED, RESULT_STALLED)
BUSIEST: Final = 20
"""So many caches are listed."""


def summarize(stats: MachineStats, most_caches: int = BUSIEST) -> Json:
    """The numbers of one machine.

    ``allocations`` counts every attempt; ``ok``, ``denied`` and ``stalled`` are its
    parts. ``caches`` holds so many of the busiest ones, ``leaks`` all of them.
    """
    totals = dict.fromkeys(RESULTS, 0)
    by_caller: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(RESULTS, 0))
    by_kind: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(RESULTS, 0))
    by_path: dict[str, dict[str, int]] = {result: defaultdict(int) for result in RESULTS}
    for outcome in stats.outcomes:
        totals[outcome.result] += outcome.count
        by_caller[outcome.caller][outcome.result] += outcome.count
        by_kind[outcome.kind][outcome.result] += outcome.count
        by_path[outcome.result][outcome.path] += outcome.count
    return {
        "events": stats.events,
        "allocations": sum(totals.values()),
        **totals,
        "ok_by_path": by_path[RESULT_OK],
        "denied_by_reason": by_path[RESULT_DENIED],
        "stalled_by_reason": by_path[RESULT_STALLED],
        "by_caller": by_caller,
        "by_kind": by_kind,
        "outcomes": [asdict(outcome) for outcome in stats.outcomes],
        "page_frees": stats.page_frees,
        "object_frees": stats.object_frees,
        "denied_frees": stats.denied_frees,
        "unknown_frees": stats.unknown_frees,
        "reused_handles": stats.reused_handles,
        "live_handles": stats.live_handles,
        "kswapd_wakeups": stats.kswapd_wakeups,
        "pfmemalloc_active": stats.pfmemalloc_active,
        "pfmemalloc_activations": stats.pfmemalloc_activations,
        "pfmemalloc_deactivations": stats.pfmemalloc_deactivations,
        "pfmemalloc_wrong_deactivations": stats.pfmemalloc_wrong_deactivations,
        "pfmemalloc_marks": stats.pfmemalloc_marks,
        "pfmemalloc_pages": sum(zone.pfmemalloc_pages for zone in stats.zones),
        "pfmemalloc_slabs": sum(cache.pfmemalloc_slabs for cache in stats.caches),
        "pfmemalloc_objects": sum(cache.pfmemalloc_objects for cache in stats.caches),
        "preserved_objects": sum(cache.preserved_objects for cache in stats.caches),
        "leaks": _leaks(stats.caches),
        "zones": [_zone(zone) for zone in stats.zones],
        "caches": [_cache(cache) for cache in busiest(stats.caches)[:most_caches]],
    }


def activity(cache: CacheStats) -> int:
    """How much was asked of the cache; 0 only if it was never used and holds nothing."""
    return cache.allocations + cache.denied + cache.stalled + cache.frees + cache.slabs


def busiest(caches: list[CacheStats]) -> list[CacheStats]:
    """The caches that were used, the busiest first."""
    used = [cache for cache in caches if activity(cache)]
    return sorted(used, key=lambda cache: (-activity(cache), cache.name))


def _leaks(caches: list[CacheStats]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for cache in caches:
        for cause, count in cache.leaks.items():
            total[cause] += count
    return total


def _zone(zone: ZoneStats) -> Json:
    return {
        "node": zone.node,
        "zone": zone.zone,
        "free": zone.free_pages,
        "min": zone.min_pages,
        "low": zone.low_pages,
        "high": zone.high_pages,
        "lowest_free": zone.lowest_free_pages,
        "managed": zone.managed_pages,
        "pfmemalloc_pages": zone.pfmemalloc_pages,
        "below_min_allocations": zone.below_min_events,
        "exhausted_allocations": zone.reserve_left[0] if zone.reserve_left else 0,
    }


def _cache(cache: CacheStats) -> Json:
    return {
        "name": cache.name,
        "allocations": cache.allocations,
        "denied": cache.denied,
        "stalled": cache.stalled,
        "frees": cache.frees,
        "object_size": cache.object_size,
        "slabs": cache.slabs,
        "objects": cache.objects,
        "active_objects": cache.active_objects,
        "pfmemalloc_slabs": cache.pfmemalloc_slabs,
        "pfmemalloc_objects": cache.pfmemalloc_objects,
        "preserved_objects": cache.preserved_objects,
    }
