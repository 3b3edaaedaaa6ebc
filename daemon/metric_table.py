"""Every metric pfmemd exposes: the one place that names them.

Registration, HELP texts, the docs, the dashboards and the alert rules all take
names, labels and meanings from here. Nothing is imported but the standard
library, so that the dashboards can read it without a running daemon.

Conventions: prefix ``pfmemd_``; counters end in ``_total``; base units; pages
are 4 KiB and are counted as pages because the kernel does. ``variant`` is an
allocator at a revision (``slab-seed``). ``source`` and ``cache`` (and ``phase``)
take a bounded number of values, the rest count under ``other``. Label values of
``caller``, ``kind``, ``path`` and ``reason`` are the closed sets of
``allocator.outcome``; the rest are named in each HELP text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MetricType = Literal["counter", "gauge", "histogram", "info"]

OTHER: Final = "other"
"""The value that stands for everything beyond a label's bound."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric family as it appears on ``/metrics``."""

    name: str
    """The whole name, with prefix and ``_total`` or ``_info``."""
    type: MetricType
    labels: tuple[str, ...]
    unit: str
    """What one is: ``pages``, ``bytes``, ``seconds``, ``objects``, …; empty for flags."""
    help: str
    kernel_source: str
    """Where the kernel keeps the same number; empty for what only the daemon knows."""


_groups: list[tuple[str, list[MetricSpec]]] = []

_SOURCE: Final = ("source",)
_MODEL: Final = ("source", "variant")
_NODE: Final = (*_MODEL, "node")
_ZONE: Final = (*_MODEL, "node", "zone")
_CACHE: Final = (*_MODEL, "cache")


def _group(title: str) -> None:
    """What follows belongs together, in the docs."""
    _groups.append((title, []))


def _metric(
    name: str,
    kind: MetricType,
    labels: tuple[str, ...],
    unit: str,
    text: str,
    kernel_source: str = "",
) -> MetricSpec:
    spec = MetricSpec(f"pfmemd_{name}", kind, labels, unit, text, kernel_source)
    _groups[-1][1].append(spec)
    return spec


_group("Zones and the reserve")

ZONE_FREE_PAGES: Final = _metric(
    "zone_free_pages",
    "gauge",
    _ZONE,
    "pages",
    "Free pages of the zone.",
    "zone->vm_stat[NR_FREE_PAGES]",
)
ZONE_MIN_PAGES: Final = _metric(
    "zone_min_pages",
    "gauge",
    _ZONE,
    "pages",
    "The min watermark: the size of the emergency reserve.",
    "zone->watermark[WMARK_MIN]",
)
ZONE_LOW_PAGES: Final = _metric(
    "zone_low_pages",
    "gauge",
    _ZONE,
    "pages",
    "The low watermark: below it kswapd is woken.",
    "zone->watermark[WMARK_LOW]",
)
ZONE_HIGH_PAGES: Final = _metric(
    "zone_high_pages",
    "gauge",
    _ZONE,
    "pages",
    "The high watermark: where kswapd stops.",
    "zone->watermark[WMARK_HIGH]",
)
ZONE_LOWEST_FREE_PAGES: Final = _metric(
    "zone_lowest_free_pages",
    "gauge",
    _ZONE,
    "pages",
    "The fewest free pages the zone had since the model started.",
    "zone->vm_stat[NR_FREE_PAGES]",
)
ZONE_RESERVE_FREE_PAGES: Final = _metric(
    "zone_reserve_free_pages",
    "gauge",
    _ZONE,
    "pages",
    "What is left of the emergency reserve: the smaller of free and min pages.",
    "min(zone->vm_stat[NR_FREE_PAGES], zone->watermark[WMARK_MIN])",
)
ZONE_RESERVE_USED_PAGES: Final = _metric(
    "zone_reserve_used_pages",
    "gauge",
    _ZONE,
    "pages",
    "How far the emergency reserve is drawn: min pages less free pages, at least 0.",
    "zone->watermark[WMARK_MIN] - zone->vm_stat[NR_FREE_PAGES]",
)
ZONE_BELOW_MIN_ALLOCATIONS_TOTAL: Final = _metric(
    "zone_below_min_allocations_total",
    "counter",
    _ZONE,
    "allocations",
    "Page allocations that left the zone below its min watermark.",
    "mm/page_alloc.c: get_page_from_freelist()",
)
ZONE_RESERVE_EXHAUSTED_ALLOCATIONS_TOTAL: Final = _metric(
    "zone_reserve_exhausted_allocations_total",
    "counter",
    _ZONE,
    "allocations",
    "Page allocations that left the zone with less than an eighth of its min watermark.",
    "mm/page_alloc.c: get_page_from_freelist()",
)
ZONE_RESERVE_DRAWN_RATIO: Final = _metric(
    "zone_reserve_drawn_ratio",
    "histogram",
    _ZONE,
    "ratio",
    "How much of the reserve was drawn after each page allocation that left the zone below min.",
    "mm/page_alloc.c: get_page_from_freelist()",
)
ZONE_PFMEMALLOC_PAGES: Final = _metric(
    "zone_pfmemalloc_pages",
    "gauge",
    _ZONE,
    "pages",
    "Live pages that were marked page->pfmemalloc when they were handed out.",
    "page->pfmemalloc",
)
ZONE_PRESENT_PAGES: Final = _metric(
    "zone_present_pages",
    "gauge",
    _ZONE,
    "pages",
    "Pages of the zone without holes.",
    "zone->present_pages",
)
ZONE_SPANNED_PAGES: Final = _metric(
    "zone_spanned_pages",
    "gauge",
    _ZONE,
    "pages",
    "Pages the zone spans, holes included.",
    "zone->spanned_pages",
)
ZONE_MANAGED_PAGES: Final = _metric(
    "zone_managed_pages",
    "gauge",
    _ZONE,
    "pages",
    "Pages the buddy allocator manages.",
    "zone->managed_pages",
)
ZONE_PCP_PAGES: Final = _metric(
    "zone_pcp_pages",
    "gauge",
    _ZONE,
    "pages",
    "Pages on the per-cpu lists of the zone, all cpus.",
    "per_cpu_pages.count",
)
ZONE_LOWMEM_RESERVE_PAGES: Final = _metric(
    "zone_lowmem_reserve_pages",
    "gauge",
    (*_ZONE, "classzone"),
    "pages",
    "Pages kept back from allocations that could use classzone (DMA, DMA32, Normal).",
    "zone->lowmem_reserve[classzone_idx]",
)
BUDDY_FREE_BLOCKS: Final = _metric(
    "buddy_free_blocks",
    "gauge",
    (*_ZONE, "order"),
    "blocks",
    "Free blocks of 2^order pages on the buddy lists.",
    "zone->free_area[order].nr_free",
)
NODE_SLAB_RECLAIMABLE_PAGES: Final = _metric(
    "node_slab_reclaimable_pages",
    "gauge",
    _NODE,
    "pages",
    "Pages of the node held by reclaimable caches.",
    "NR_SLAB_RECLAIMABLE",
)
NODE_SLAB_UNRECLAIMABLE_PAGES: Final = _metric(
    "node_slab_unreclaimable_pages",
    "gauge",
    _NODE,
    "pages",
    "Pages of the node held by unreclaimable caches.",
    "NR_SLAB_UNRECLAIMABLE",
)
KSWAPD_WAKEUPS_TOTAL: Final = _metric(
    "kswapd_wakeups_total",
    "counter",
    _MODEL,
    "wakeups",
    "Times the slow path woke kswapd.",
    "mm/vmscan.c: wakeup_kswapd()",
)

_group("Allocations and what they came to")

ALLOCATIONS_OK_TOTAL: Final = _metric(
    "allocations_ok_total",
    "counter",
    (*_MODEL, "caller", "kind", "path"),
    "allocations",
    "Allocations that succeeded, by who asked, what for, and where it came from.",
    "mm/page_alloc.c: __alloc_pages_nodemask(); mm/slab.c, mm/slub.c: kmem_cache_alloc()",
)
ALLOCATIONS_DENIED_TOTAL: Final = _metric(
    "allocations_denied_total",
    "counter",
    (*_MODEL, "caller", "kind", "reason"),
    "allocations",
    "Allocations that were given nothing, by who asked, what for, and why.",
    "mm/page_alloc.c: __alloc_pages_nodemask(); mm/slab.c, mm/slub.c: kmem_cache_alloc()",
)
ALLOCATIONS_STALLED_TOTAL: Final = _metric(
    "allocations_stalled_total",
    "counter",
    (*_MODEL, "caller", "kind", "reason"),
    "allocations",
    "Allocations for which the kernel would wait or loop, by who asked, what for, and why.",
    "mm/page_alloc.c: __alloc_pages_slowpath()",
)
PAGE_FREES_TOTAL: Final = _metric(
    "page_frees_total",
    "counter",
    _MODEL,
    "frees",
    "Frees of pages that users took.",
    "mm/page_alloc.c: __free_pages()",
)
OBJECT_FREES_TOTAL: Final = _metric(
    "object_frees_total",
    "counter",
    _MODEL,
    "frees",
    "Frees of objects.",
    "mm/slab.c, mm/slub.c: kmem_cache_free()",
)
DENIED_FREES_TOTAL: Final = _metric(
    "denied_frees_total",
    "counter",
    _MODEL,
    "frees",
    "Frees of something the model had denied: not an error.",
)
UNKNOWN_FREES_TOTAL: Final = _metric(
    "unknown_frees_total",
    "counter",
    _MODEL,
    "frees",
    "Frees of a thing never allocated: an error of the trace.",
)
REUSED_HANDLES_TOTAL: Final = _metric(
    "reused_handles_total",
    "counter",
    _MODEL,
    "allocations",
    "Allocations under a handle that was still live: an error of the trace.",
)
LIVE_HANDLES: Final = _metric(
    "live_handles",
    "gauge",
    _MODEL,
    "handles",
    "Pages and objects that the trace holds now.",
)
PFMEMALLOC_ACTIVE: Final = _metric(
    "pfmemalloc_active",
    "gauge",
    _MODEL,
    "",
    "1 while the model believes that slabs drawn from the reserve exist.",
    "mm/slab.c: pfmemalloc_active",
)
PFMEMALLOC_ACTIVATIONS_TOTAL: Final = _metric(
    "pfmemalloc_activations_total",
    "counter",
    _MODEL,
    "flips",
    "Times pfmemalloc_active went from 0 to 1.",
    "mm/slab.c: pfmemalloc_active",
)
PFMEMALLOC_DEACTIVATIONS_TOTAL: Final = _metric(
    "pfmemalloc_deactivations_total",
    "counter",
    _MODEL,
    "flips",
    "Times pfmemalloc_active went from 1 to 0.",
    "mm/slab.c: check_ac_pfmemalloc()",
)
PFMEMALLOC_WRONG_DEACTIVATIONS_TOTAL: Final = _metric(
    "pfmemalloc_wrong_deactivations_total",
    "counter",
    _MODEL,
    "flips",
    "Times pfmemalloc_active went to 0 while some cache still held flagged slabs (rule A9).",
    "mm/slab.c: check_ac_pfmemalloc()",
)
PFMEMALLOC_MARKS_TOTAL: Final = _metric(
    "pfmemalloc_marks_total",
    "counter",
    _MODEL,
    "allocations",
    "Page allocations that came with page->pfmemalloc set.",
    "page->pfmemalloc",
)

_group("Caches")

CACHE_OBJECT_SIZE_BYTES: Final = _metric(
    "cache_object_size_bytes",
    "gauge",
    _CACHE,
    "bytes",
    "Size of one object of the cache.",
    "/proc/slabinfo objsize",
)
CACHE_OBJECTS_PER_SLAB: Final = _metric(
    "cache_objects_per_slab",
    "gauge",
    _CACHE,
    "objects",
    "Objects in one slab.",
    "/proc/slabinfo objperslab",
)
CACHE_PAGES_PER_SLAB: Final = _metric(
    "cache_pages_per_slab",
    "gauge",
    _CACHE,
    "pages",
    "Pages in one slab.",
    "/proc/slabinfo pagesperslab",
)
CACHE_SLABS: Final = _metric(
    "cache_slabs",
    "gauge",
    _CACHE,
    "slabs",
    "Slabs the cache holds.",
    "/proc/slabinfo num_slabs",
)
CACHE_OBJECTS: Final = _metric(
    "cache_objects",
    "gauge",
    _CACHE,
    "objects",
    "Objects in the cache's slabs, free ones included.",
    "/proc/slabinfo num_objs",
)
CACHE_ACTIVE_OBJECTS: Final = _metric(
    "cache_active_objects",
    "gauge",
    _CACHE,
    "objects",
    "Objects in the hands of callers.",
    "/proc/slabinfo active_objs",
)
CACHE_PFMEMALLOC_SLABS: Final = _metric(
    "cache_pfmemalloc_slabs",
    "gauge",
    _CACHE,
    "slabs",
    "Slabs that carry the pfmemalloc flag.",
    "PageSlabPfmemalloc()",
)
CACHE_PFMEMALLOC_OBJECTS: Final = _metric(
    "cache_pfmemalloc_objects",
    "gauge",
    _CACHE,
    "objects",
    "Objects of flagged slabs in the hands of callers.",
    "PageSlabPfmemalloc()",
)
CACHE_PRESERVED_OBJECTS: Final = _metric(
    "cache_preserved_objects",
    "gauge",
    _CACHE,
    "objects",
    "Free objects of flagged slabs: what is preserved for entitled callers.",
    "PageSlabPfmemalloc()",
)
CACHE_ALLOCATIONS_OK_TOTAL: Final = _metric(
    "cache_allocations_ok_total",
    "counter",
    _CACHE,
    "allocations",
    "Objects the cache handed out.",
    "kmem_cache_alloc()",
)
CACHE_ALLOCATIONS_DENIED_TOTAL: Final = _metric(
    "cache_allocations_denied_total",
    "counter",
    _CACHE,
    "allocations",
    "Allocations the cache could not serve.",
    "kmem_cache_alloc()",
)
CACHE_ALLOCATIONS_STALLED_TOTAL: Final = _metric(
    "cache_allocations_stalled_total",
    "counter",
    _CACHE,
    "allocations",
    "Allocations for which the cache would wait for reclaim.",
    "kmem_cache_alloc()",
)
CACHE_FREES_TOTAL: Final = _metric(
    "cache_frees_total",
    "counter",
    _CACHE,
    "frees",
    "Objects given back to the cache.",
    "kmem_cache_free()",
)
CACHE_LEAKS_TOTAL: Final = _metric(
    "cache_leaks_total",
    "counter",
    (*_CACHE, "cause"),
    "objects",
    "Reserve objects handed to callers that are not entitled, by how it happened: node_path,"
    " forced_refill, wrong_cache, descriptor_cache, partial_unflag, no_memalloc_socks, fast_path,"
    " same_slab_again, partial_slab, grow_fills_array, shared_array, nofail.",
    "gfp_pfmemalloc_allowed()",
)

_group("SLAB's own counters")

SLAB_ALLOC_HITS_TOTAL: Final = _metric(
    "slab_alloc_hits_total",
    "counter",
    _CACHE,
    "allocations",
    "Allocations served from the cpu's array.",
    "STATS_INC_ALLOCHIT",
)
SLAB_ALLOC_MISSES_TOTAL: Final = _metric(
    "slab_alloc_misses_total",
    "counter",
    _CACHE,
    "allocations",
    "Allocations for which the array had to be refilled.",
    "STATS_INC_ALLOCMISS",
)
SLAB_FREE_HITS_TOTAL: Final = _metric(
    "slab_free_hits_total",
    "counter",
    _CACHE,
    "frees",
    "Frees for which the cpu's array had room.",
    "STATS_INC_FREEHIT",
)
SLAB_FREE_MISSES_TOTAL: Final = _metric(
    "slab_free_misses_total",
    "counter",
    _CACHE,
    "frees",
    "Frees for which the array had to be flushed.",
    "STATS_INC_FREEMISS",
)
SLAB_GROWS_TOTAL: Final = _metric(
    "slab_grows_total",
    "counter",
    _CACHE,
    "slabs",
    "Slabs the cache took from the page allocator.",
    "STATS_INC_GROWN",
)
SLAB_REAPED_SLABS_TOTAL: Final = _metric(
    "slab_reaped_slabs_total",
    "counter",
    _CACHE,
    "slabs",
    "Slabs that reaping gave back.",
    "STATS_ADD_REAPED",
)
SLAB_NODE_ALLOCS_TOTAL: Final = _metric(
    "slab_node_allocs_total",
    "counter",
    _CACHE,
    "allocations",
    "Allocations served from another node.",
    "STATS_INC_NODEALLOCS",
)
SLAB_NODE_FREES_TOTAL: Final = _metric(
    "slab_node_frees_total",
    "counter",
    _CACHE,
    "frees",
    "Frees of another node's objects.",
    "STATS_INC_NODEFREES",
)
SLAB_FORCED_REFILLS_TOTAL: Final = _metric(
    "slab_forced_refills_total",
    "counter",
    _CACHE,
    "refills",
    "Refills forced because the array held only reserve objects (rule A5, A6).",
    "mm/slab.c: cache_alloc_refill(force_refill)",
)
SLAB_ARRAY_SWAPS_TOTAL: Final = _metric(
    "slab_array_swaps_total",
    "counter",
    _CACHE,
    "allocations",
    "Allocations that swapped a tagged entry for an ordinary one (rule A4).",
    "mm/slab.c: __ac_get_obj()",
)
SLAB_UNFLAGGED_SLABS_TOTAL: Final = _metric(
    "slab_unflagged_slabs_total",
    "counter",
    _CACHE,
    "slabs",
    "Slabs whose pfmemalloc flag was cleared to serve a plain caller (rule A4).",
    "mm/slab.c: ClearPageSlabPfmemalloc()",
)

_group("SLUB's own counters: enum stat_item")

SLUB_ALLOC_FASTPATH_TOTAL: Final = _metric(
    "slub_alloc_fastpath_total",
    "counter",
    _CACHE,
    "allocations",
    "Allocations from the cpu slab's freelist.",
    "ALLOC_FASTPATH",
)
SLUB_ALLOC_SLOWPATH_TOTAL: Final = _metric(
    "slub_alloc_slowpath_total",
    "counter",
    _CACHE,
    "allocations",
    "Allocations through __slab_alloc().",
    "ALLOC_SLOWPATH",
)
SLUB_FREE_FASTPATH_TOTAL: Final = _metric(
    "slub_free_fastpath_total",
    "counter",
    _CACHE,
    "frees",
    "Frees to the cpu slab.",
    "FREE_FASTPATH",
)
SLUB_FREE_SLOWPATH_TOTAL: Final = _metric(
    "slub_free_slowpath_total",
    "counter",
    _CACHE,
    "frees",
    "Frees to a slab that is not the cpu's.",
    "FREE_SLOWPATH",
)
SLUB_FREE_FROZEN_TOTAL: Final = _metric(
    "slub_free_frozen_total",
    "counter",
    _CACHE,
    "frees",
    "Frees to a slab that some cpu has frozen.",
    "FREE_FROZEN",
)
SLUB_FREE_ADD_PARTIAL_TOTAL: Final = _metric(
    "slub_free_add_partial_total",
    "counter",
    _CACHE,
    "slabs",
    "Frees that put a full slab on the partial list.",
    "FREE_ADD_PARTIAL",
)
SLUB_FREE_REMOVE_PARTIAL_TOTAL: Final = _metric(
    "slub_free_remove_partial_total",
    "counter",
    _CACHE,
    "slabs",
    "Frees that emptied a slab and took it off the partial list.",
    "FREE_REMOVE_PARTIAL",
)
SLUB_ALLOC_FROM_PARTIAL_TOTAL: Final = _metric(
    "slub_alloc_from_partial_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs taken from a node's partial list.",
    "ALLOC_FROM_PARTIAL",
)
SLUB_ALLOC_SLAB_TOTAL: Final = _metric(
    "slub_alloc_slab_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs taken from the page allocator.",
    "ALLOC_SLAB",
)
SLUB_ALLOC_REFILL_TOTAL: Final = _metric(
    "slub_alloc_refill_total",
    "counter",
    _CACHE,
    "refills",
    "Times the cpu freelist was refilled from the cpu slab.",
    "ALLOC_REFILL",
)
SLUB_ALLOC_NODE_MISMATCH_TOTAL: Final = _metric(
    "slub_alloc_node_mismatch_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs put away because another node was asked for.",
    "ALLOC_NODE_MISMATCH",
)
SLUB_FREE_SLAB_TOTAL: Final = _metric(
    "slub_free_slab_total",
    "counter",
    _CACHE,
    "slabs",
    "Slabs given back to the page allocator.",
    "FREE_SLAB",
)
SLUB_CPUSLAB_FLUSH_TOTAL: Final = _metric(
    "slub_cpuslab_flush_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs put away by a flush.",
    "CPUSLAB_FLUSH",
)
SLUB_DEACTIVATE_FULL_TOTAL: Final = _metric(
    "slub_deactivate_full_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs that were full when put away.",
    "DEACTIVATE_FULL",
)
SLUB_DEACTIVATE_EMPTY_TOTAL: Final = _metric(
    "slub_deactivate_empty_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs that were empty when put away.",
    "DEACTIVATE_EMPTY",
)
SLUB_DEACTIVATE_TO_HEAD_TOTAL: Final = _metric(
    "slub_deactivate_to_head_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs put at the head of the partial list.",
    "DEACTIVATE_TO_HEAD",
)
SLUB_DEACTIVATE_TO_TAIL_TOTAL: Final = _metric(
    "slub_deactivate_to_tail_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs put at the tail of the partial list.",
    "DEACTIVATE_TO_TAIL",
)
SLUB_DEACTIVATE_REMOTE_FREES_TOTAL: Final = _metric(
    "slub_deactivate_remote_frees_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs that held objects freed by other cpus when put away.",
    "DEACTIVATE_REMOTE_FREES",
)
SLUB_DEACTIVATE_BYPASS_TOTAL: Final = _metric(
    "slub_deactivate_bypass_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs that were full and were dropped without deactivation.",
    "DEACTIVATE_BYPASS",
)
SLUB_ORDER_FALLBACK_TOTAL: Final = _metric(
    "slub_order_fallback_total",
    "counter",
    _CACHE,
    "slabs",
    "Slabs that had to take the minimum order.",
    "ORDER_FALLBACK",
)
SLUB_CPU_PARTIAL_ALLOC_TOTAL: Final = _metric(
    "slub_cpu_partial_alloc_total",
    "counter",
    _CACHE,
    "slabs",
    "Cpu slabs taken from the cpu's partial list.",
    "CPU_PARTIAL_ALLOC",
)
SLUB_CPU_PARTIAL_FREE_TOTAL: Final = _metric(
    "slub_cpu_partial_free_total",
    "counter",
    _CACHE,
    "slabs",
    "Slabs put on the cpu's partial list.",
    "CPU_PARTIAL_FREE",
)
SLUB_CPU_PARTIAL_NODE_TOTAL: Final = _metric(
    "slub_cpu_partial_node_total",
    "counter",
    _CACHE,
    "slabs",
    "Slabs moved from a node's partial list to the cpu's.",
    "CPU_PARTIAL_NODE",
)
SLUB_CPU_PARTIAL_DRAIN_TOTAL: Final = _metric(
    "slub_cpu_partial_drain_total",
    "counter",
    _CACHE,
    "slabs",
    "Times a full cpu partial list was put on the nodes' lists.",
    "CPU_PARTIAL_DRAIN",
)
SLUB_PFMEMALLOC_MISMATCHES_TOTAL: Final = _metric(
    "slub_pfmemalloc_mismatches_total",
    "counter",
    _CACHE,
    "slabs",
    "Slabs deactivated or passed over because the caller may not use them (rule U3, U4).",
    "mm/slub.c: pfmemalloc_match()",
)

_group("Ingest")

EVENTS_APPLIED_TOTAL: Final = _metric(
    "events_applied_total",
    "counter",
    _SOURCE,
    "events",
    "Events of the source that were applied (to every variant).",
)
BATCHES_APPLIED_TOTAL: Final = _metric(
    "batches_applied_total",
    "counter",
    _SOURCE,
    "batches",
    "Batches of the source that were applied.",
)
BATCHES_DUPLICATE_TOTAL: Final = _metric(
    "batches_duplicate_total",
    "counter",
    _SOURCE,
    "batches",
    "Batches that had been applied before: acknowledged and skipped.",
)
BATCHES_GAPPED_TOTAL: Final = _metric(
    "batches_gapped_total",
    "counter",
    _SOURCE,
    "batches",
    "Batches that came before the one that is due: asked for again.",
)
BATCHES_REFUSED_TOTAL: Final = _metric(
    "batches_refused_total",
    "counter",
    (*_SOURCE, "reason"),
    "batches",
    "Batches of the source that were refused whole, by reason.",
)
BATCH_APPLY_SECONDS: Final = _metric(
    "batch_apply_seconds",
    "histogram",
    _SOURCE,
    "seconds",
    "Time to apply one batch to every variant.",
)
BATCH_AGE_SECONDS: Final = _metric(
    "batch_age_seconds",
    "histogram",
    _SOURCE,
    "seconds",
    "Time from the admission of a batch until it is applied, waiting for others included.",
)
RECEIVED_BYTES_TOTAL: Final = _metric(
    "received_bytes_total",
    "counter",
    _SOURCE,
    "bytes",
    "Bytes of the source's batches, accepted or not.",
)
SOURCE_CONNECTED: Final = _metric(
    "source_connected",
    "gauge",
    _SOURCE,
    "",
    "1 while a sender of the source is connected and heard of.",
)
SOURCE_SEQUENCE: Final = _metric(
    "source_sequence",
    "gauge",
    _SOURCE,
    "batches",
    "Sequence number of the last batch applied, within the source's epoch.",
)
SOURCE_EPOCHS_TOTAL: Final = _metric(
    "source_epochs_total",
    "counter",
    _SOURCE,
    "epochs",
    "Lives of the source that were begun: each starts its machines anew.",
)
SOURCE_LAST_EVENT_SECONDS: Final = _metric(
    "source_last_event_seconds",
    "gauge",
    _SOURCE,
    "seconds",
    "Time of the last event applied, by the clock of the trace.",
)
SOURCE_LAST_BATCH_TIMESTAMP_SECONDS: Final = _metric(
    "source_last_batch_timestamp_seconds",
    "gauge",
    _SOURCE,
    "seconds",
    "Unix time at which the last batch was applied: time() less this is the source's lag.",
)
SOURCE_PHASE: Final = _metric(
    "source_phase",
    "gauge",
    (*_SOURCE, "phase"),
    "",
    "1 for the phase that the last MARK event named, 0 for the source's other phases.",
)
SOURCE_MARKS_TOTAL: Final = _metric(
    "source_marks_total",
    "counter",
    (*_SOURCE, "phase"),
    "events",
    "MARK events that named the phase.",
)
SOURCES: Final = _metric(
    "sources",
    "gauge",
    (),
    "sources",
    "Sources that the daemon holds machines for.",
)
SOURCES_LIMIT: Final = _metric(
    "sources_limit",
    "gauge",
    (),
    "sources",
    "The most sources that the daemon takes.",
)
MESSAGES_REFUSED_TOTAL: Final = _metric(
    "messages_refused_total",
    "counter",
    ("reason",),
    "messages",
    "Messages refused before they could be put down to a source, by reason.",
)

_group("Journal and snapshots: only with --data-dir")

JOURNAL_BYTES: Final = _metric(
    "journal_bytes",
    "gauge",
    (),
    "bytes",
    "Size of the journal on disk.",
)
JOURNAL_SEGMENTS: Final = _metric(
    "journal_segments",
    "gauge",
    (),
    "segments",
    "Files of the journal.",
)
JOURNAL_APPENDED_BYTES_TOTAL: Final = _metric(
    "journal_appended_bytes_total",
    "counter",
    (),
    "bytes",
    "Bytes written to the journal.",
)
JOURNAL_GROUPS_TOTAL: Final = _metric(
    "journal_groups_total",
    "counter",
    (),
    "groups",
    "Groups of batches written to the journal, each in one go.",
)
JOURNAL_SYNC_SECONDS: Final = _metric(
    "journal_sync_seconds",
    "histogram",
    (),
    "seconds",
    "Time the disk took to make the journal safe.",
)
JOURNAL_BLOCKED: Final = _metric(
    "journal_blocked",
    "gauge",
    (),
    "",
    "1 while no batches are taken because there is no room for the journal.",
)
JOURNAL_GROUPS_REFUSED_TOTAL: Final = _metric(
    "journal_groups_refused_total",
    "counter",
    (),
    "groups",
    "Groups that found no room on the disk: nothing of them was acknowledged.",
)
JOURNAL_TORN_BYTES: Final = _metric(
    "journal_torn_bytes",
    "gauge",
    (),
    "bytes",
    "Bytes of an unfinished write that this start cut off the journal.",
)
JOURNAL_DISK_FREE_BYTES: Final = _metric(
    "journal_disk_free_bytes",
    "gauge",
    (),
    "bytes",
    "Free bytes of the file system that holds the data folder.",
)
SNAPSHOTS_TOTAL: Final = _metric(
    "snapshots_total",
    "counter",
    (),
    "snapshots",
    "Snapshots of all models that were taken.",
)
SNAPSHOTS_FAILED_TOTAL: Final = _metric(
    "snapshots_failed_total",
    "counter",
    (),
    "snapshots",
    "Snapshots that could not be written or read back; they are tried again.",
)
SNAPSHOT_BYTES: Final = _metric(
    "snapshot_bytes",
    "gauge",
    (),
    "bytes",
    "Size of the newest snapshot of this process.",
)
SNAPSHOT_SECONDS: Final = _metric(
    "snapshot_seconds",
    "gauge",
    (),
    "seconds",
    "Time from the beginning of the newest snapshot until it was safe on disk.",
)
SNAPSHOT_TIMESTAMP_SECONDS: Final = _metric(
    "snapshot_timestamp_seconds",
    "gauge",
    (),
    "seconds",
    "Unix time of the newest snapshot of this process, 0 before the first.",
)
RECOVERY_SECONDS: Final = _metric(
    "recovery_seconds",
    "gauge",
    (),
    "seconds",
    "Time this start took to read the snapshot and the journal after it.",
)
RECOVERY_BATCHES: Final = _metric(
    "recovery_batches",
    "gauge",
    (),
    "batches",
    "Batches of the journal that this start applied again.",
)
RECOVERY_SNAPSHOTS_REFUSED: Final = _metric(
    "recovery_snapshots_refused",
    "gauge",
    (),
    "snapshots",
    "Snapshots that this start found to be of no use: damaged, or of another program.",
)

_group("The daemon itself")

CONNECTIONS: Final = _metric(
    "connections",
    "gauge",
    (),
    "connections",
    "Open connections at the port for senders, whether they have said anything or not.",
)
CONNECTIONS_REFUSED_TOTAL: Final = _metric(
    "connections_refused_total",
    "counter",
    ("reason",),
    "connections",
    "Connections for senders that were refused: key (not allowed), handshake (garbage, silence, or"
    " not the encryption that is wanted), no_file (seconds in which too many were open).",
)
LIVE_HANDLES_LIMIT: Final = _metric(
    "live_handles_limit",
    "gauge",
    (),
    "handles",
    "The most live handles that a source may have; a batch that could lead beyond is refused.",
)
MEMORY_LIMIT_BYTES: Final = _metric(
    "memory_limit_bytes",
    "gauge",
    (),
    "bytes",
    "Resident memory at which the daemon stops itself, cleanly.",
)
MEMORY_BYTES: Final = _metric(
    "memory_bytes",
    "gauge",
    (),
    "bytes",
    "Resident memory of the daemon and its workers together, which is held to the limit.",
)
BATCH_LIMIT_BYTES: Final = _metric(
    "batch_limit_bytes",
    "gauge",
    (),
    "bytes",
    "The largest batch that is taken; a sender of a longer message is disconnected.",
)
BATCH_EVENTS_LIMIT: Final = _metric(
    "batch_events_limit",
    "gauge",
    (),
    "events",
    "The most events in a batch; one with more is refused whole.",
)
CREDIT_LIMIT: Final = _metric(
    "credit_limit",
    "gauge",
    (),
    "batches",
    "The most batches that a source may have on the way without an acknowledgement.",
)
HTTP_CONNECTIONS_LIMIT: Final = _metric(
    "http_connections_limit",
    "gauge",
    (),
    "connections",
    "HTTP connections served at once.",
)

HTTP_CONNECTIONS_REFUSED_TOTAL: Final = _metric(
    "http_connections_refused_total",
    "counter",
    (),
    "connections",
    "HTTP connections closed at once because every worker was busy.",
)
HTTP_REQUESTS_UNAUTHORIZED_TOTAL: Final = _metric(
    "http_requests_unauthorized_total",
    "counter",
    (),
    "requests",
    "HTTP requests refused because they did not carry the password.",
)
LABEL_VALUES_FOLDED: Final = _metric(
    "label_values_folded",
    "gauge",
    ("label",),
    "values",
    "Values beyond the bound of the label, counted under other.",
)
COLLECTOR_DURATION_SECONDS: Final = _metric(
    "collector_duration_seconds",
    "gauge",
    ("collector",),
    "seconds",
    "How long the collector took in this scrape.",
)
COLLECTOR_SUCCESS: Final = _metric(
    "collector_success",
    "gauge",
    ("collector",),
    "",
    "1 if the collector gave its metrics in this scrape.",
)
BUILD_INFO: Final = _metric(
    "build_info",
    "info",
    ("version", "python", "compiled"),
    "",
    "What runs: the version, the Python, and whether the model is compiled (yes, no).",
)
VARIANT_INFO: Final = _metric(
    "variant_info",
    "info",
    ("variant", "allocator", "revision"),
    "",
    "The variants that the daemon runs on each source.",
)
MACHINE_INFO: Final = _metric(
    "machine_info",
    "info",
    (*_SOURCE, "cpus", "nodes", "numa", "gfp_flavour", "page_size"),
    "",
    "The machine that the source's header describes; numa is yes or no, page_size in bytes.",
)

GROUPS: Final = tuple((title, tuple(specs)) for title, specs in _groups)
"""Every metric by what it is about, in the order of the docs."""

METRICS: Final = tuple(spec for _, specs in GROUPS for spec in specs)
"""Every metric."""

BY_NAME: Final[dict[str, MetricSpec]] = {spec.name: spec for spec in METRICS}

SLAB_COUNTERS: Final[dict[str, MetricSpec]] = {
    "allochit": SLAB_ALLOC_HITS_TOTAL,
    "allocmiss": SLAB_ALLOC_MISSES_TOTAL,
    "freehit": SLAB_FREE_HITS_TOTAL,
    "freemiss": SLAB_FREE_MISSES_TOTAL,
    "grown": SLAB_GROWS_TOTAL,
    "reaped": SLAB_REAPED_SLABS_TOTAL,
    "node_allocs": SLAB_NODE_ALLOCS_TOTAL,
    "node_frees": SLAB_NODE_FREES_TOTAL,
    "forced_refills": SLAB_FORCED_REFILLS_TOTAL,
    "swaps": SLAB_ARRAY_SWAPS_TOTAL,
    "unflagged": SLAB_UNFLAGGED_SLABS_TOTAL,
}
"""``CacheStats.counters`` of SLAB to its metric."""

SLUB_COUNTERS: Final[dict[str, MetricSpec]] = {
    "alloc_fastpath": SLUB_ALLOC_FASTPATH_TOTAL,
    "alloc_slowpath": SLUB_ALLOC_SLOWPATH_TOTAL,
    "free_fastpath": SLUB_FREE_FASTPATH_TOTAL,
    "free_slowpath": SLUB_FREE_SLOWPATH_TOTAL,
    "free_frozen": SLUB_FREE_FROZEN_TOTAL,
    "free_add_partial": SLUB_FREE_ADD_PARTIAL_TOTAL,
    "free_remove_partial": SLUB_FREE_REMOVE_PARTIAL_TOTAL,
    "alloc_from_partial": SLUB_ALLOC_FROM_PARTIAL_TOTAL,
    "alloc_slab": SLUB_ALLOC_SLAB_TOTAL,
    "alloc_refill": SLUB_ALLOC_REFILL_TOTAL,
    "alloc_node_mismatch": SLUB_ALLOC_NODE_MISMATCH_TOTAL,
    "free_slab": SLUB_FREE_SLAB_TOTAL,
    "cpuslab_flush": SLUB_CPUSLAB_FLUSH_TOTAL,
    "deactivate_full": SLUB_DEACTIVATE_FULL_TOTAL,
    "deactivate_empty": SLUB_DEACTIVATE_EMPTY_TOTAL,
    "deactivate_to_head": SLUB_DEACTIVATE_TO_HEAD_TOTAL,
    "deactivate_to_tail": SLUB_DEACTIVATE_TO_TAIL_TOTAL,
    "deactivate_remote_frees": SLUB_DEACTIVATE_REMOTE_FREES_TOTAL,
    "deactivate_bypass": SLUB_DEACTIVATE_BYPASS_TOTAL,
    "order_fallback": SLUB_ORDER_FALLBACK_TOTAL,
    "cpu_partial_alloc": SLUB_CPU_PARTIAL_ALLOC_TOTAL,
    "cpu_partial_free": SLUB_CPU_PARTIAL_FREE_TOTAL,
    "cpu_partial_node": SLUB_CPU_PARTIAL_NODE_TOTAL,
    "cpu_partial_drain": SLUB_CPU_PARTIAL_DRAIN_TOTAL,
    "pfmemalloc_mismatch": SLUB_PFMEMALLOC_MISMATCHES_TOTAL,
}
"""``CacheStats.counters`` of SLUB to its metric."""
