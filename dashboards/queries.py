"""Every PromQL expression of the dashboards, and no other module here names a metric.

Names come from ``daemon.metric_table`` and, of what others expose, from
``dashboards.other_metrics``.
"""

from __future__ import annotations

from typing import Final

from daemon import metric_table as m
from dashboards import other_metrics as o
from dashboards.promql import (
    buckets_rate,
    busiest,
    busiest_rate,
    largest,
    quantile,
    rate,
    rate_of_what_happened,
    ratio,
    select,
    share,
    since_start,
    total,
    values,
)

_SOURCE: Final = ("source",)
_MODEL: Final = ("source", "variant")
_ZONE: Final = ("source", "variant", "node", "zone")
_CACHE: Final = ("source", "variant", "cache")
_HOST: Final = ("instance",)
_HOST_ZONE: Final = ("instance", "node", "zone")

ENTITLED: Final = "pf_memalloc|gfp_memalloc|memdie"
"""Callers that the reserve is for."""

# --- Variables ---------------------------------------------------------------------------------

SOURCE_VALUES: Final = values(m.PFMEMALLOC_ACTIVE, "source")
VARIANT_VALUES: Final = values(m.PFMEMALLOC_ACTIVE, "variant", "source")
NODE_VALUES: Final = values(m.ZONE_FREE_PAGES, "node", "source")
ZONE_VALUES: Final = values(m.ZONE_FREE_PAGES, "zone", "source", "node")
CACHE_VALUES: Final = values(m.CACHE_SLABS, "cache", "source", "variant")
HOST_VALUES: Final = values(o.HOST_MIN_PAGES, "instance")
HOST_NODE_VALUES: Final = values(o.HOST_MIN_PAGES, "node", "instance")
HOST_ZONE_VALUES: Final = values(o.HOST_MIN_PAGES, "zone", "instance", "node")

# --- Annotations -------------------------------------------------------------------------------

PHASES: Final = largest(m.SOURCE_PHASE, (*_SOURCE, "phase"))
FLIPS_ON: Final = f"{rate(m.PFMEMALLOC_ACTIVATIONS_TOTAL, _MODEL)} > 0"
FLIPS_OFF: Final = f"{rate(m.PFMEMALLOC_DEACTIVATIONS_TOTAL, _MODEL)} > 0"
_PFMEMD_ALERTS: Final = select(
    o.ALERTS,
    without=tuple(o.ALERTS.labels),
    alertstate="firing",
    alertname="Pfmem.+|HostReserve.+|HostPfmemalloc.+|HostReclaim.+|HostAllocation.+",
)
ALERTS_FIRING: Final = largest(
    o.ALERTS, ("alertname", "source", "variant", "node", "zone"), _PFMEMD_ALERTS
)
ALERTS_NOW: Final = largest(
    o.ALERTS,
    ("alertname", "severity", "source", "variant", "node", "zone", "instance"),
    _PFMEMD_ALERTS,
)

# --- The reserve of a zone ---------------------------------------------------------------------

ZONE_FREE: Final = total(m.ZONE_FREE_PAGES, _ZONE)
ZONE_LOWEST_FREE: Final = total(m.ZONE_LOWEST_FREE_PAGES, _ZONE)
# The variants of one source are one machine under different rules: same watermarks.
ZONE_MIN: Final = largest(m.ZONE_MIN_PAGES, ("node", "zone"))
ZONE_LOW: Final = largest(m.ZONE_LOW_PAGES, ("node", "zone"))
ZONE_HIGH: Final = largest(m.ZONE_HIGH_PAGES, ("node", "zone"))
RESERVE_LEFT: Final = ratio(total(m.ZONE_RESERVE_FREE_PAGES, _ZONE), total(m.ZONE_MIN_PAGES, _ZONE))
RESERVE_LEFT_WORST: Final = f"min by (source, variant) ({RESERVE_LEFT})"
LOWEST_LEFT_WORST: Final = (
    "min by (source, variant) (clamp_max("
    + ratio(total(m.ZONE_LOWEST_FREE_PAGES, _ZONE), total(m.ZONE_MIN_PAGES, _ZONE))
    + ", 1))"
)
RESERVE_USED: Final = total(m.ZONE_RESERVE_USED_PAGES, _ZONE)
BELOW_MIN_RATE: Final = rate(m.ZONE_BELOW_MIN_ALLOCATIONS_TOTAL, _ZONE)
EXHAUSTED_RATE: Final = rate(m.ZONE_RESERVE_EXHAUSTED_ALLOCATIONS_TOTAL, _ZONE)
RESERVE_DRAWN: Final = buckets_rate(m.ZONE_RESERVE_DRAWN_RATIO, ())
_FALLING: Final = (
    f"sum by ({', '.join(_ZONE)}) (deriv({select(m.ZONE_FREE_PAGES)}[$__rate_interval]))"
)
SECONDS_LEFT: Final = f"{ZONE_FREE} / (-1 * {_FALLING} > 0) < 3600"
"""Until a zone has no free page if it goes on as now; only where that is within the hour."""
SECONDS_LEFT_WORST: Final = f"min by (source, variant) ({SECONDS_LEFT})"
FREE_BLOCKS: Final = total(m.BUDDY_FREE_BLOCKS, (*_MODEL, "order"))
PCP_PAGES: Final = total(m.ZONE_PCP_PAGES, _ZONE)
LOWMEM_RESERVE: Final = largest(m.ZONE_LOWMEM_RESERVE_PAGES, ("zone", "classzone"))
_VARIANT_ZONE: Final = ("variant", "node", "zone")
ZONE_COLUMNS: Final = {
    "managed": largest(m.ZONE_MANAGED_PAGES, _VARIANT_ZONE),
    "present": largest(m.ZONE_PRESENT_PAGES, _VARIANT_ZONE),
    "spanned": largest(m.ZONE_SPANNED_PAGES, _VARIANT_ZONE),
    "free": largest(m.ZONE_FREE_PAGES, _VARIANT_ZONE),
    "min": largest(m.ZONE_MIN_PAGES, _VARIANT_ZONE),
    "low": largest(m.ZONE_LOW_PAGES, _VARIANT_ZONE),
    "high": largest(m.ZONE_HIGH_PAGES, _VARIANT_ZONE),
}

# --- pfmemalloc_active -------------------------------------------------------------------------

PFMEMALLOC_ACTIVE: Final = largest(m.PFMEMALLOC_ACTIVE, _MODEL)
ACTIVATIONS: Final = rate(m.PFMEMALLOC_ACTIVATIONS_TOTAL, _MODEL)
DEACTIVATIONS: Final = rate(m.PFMEMALLOC_DEACTIVATIONS_TOTAL, _MODEL)
WRONG_DEACTIVATIONS: Final = rate(m.PFMEMALLOC_WRONG_DEACTIVATIONS_TOTAL, _MODEL)

# --- Who drew the reserve ----------------------------------------------------------------------

_BELOW_MIN: Final = select(m.ALLOCATIONS_OK_TOTAL, path="below_min|oom_reserve|reserve")
"""Pages handed out below min: to HIGH and HARDER, an OOM victim, or with no watermark at all."""
DRAWN_RATE: Final = rate_of_what_happened(
    m.ALLOCATIONS_OK_TOTAL, (*_MODEL, "caller", "kind"), _BELOW_MIN
)
DRAWN: Final = (
    since_start(m.ALLOCATIONS_OK_TOTAL, (*_MODEL, "caller", "kind", "path"), _BELOW_MIN) + " > 0"
)
LEAKS_RATE: Final = rate_of_what_happened(m.CACHE_LEAKS_TOTAL, (*_MODEL, "cause"))
MARKS_RATE: Final = rate(m.PFMEMALLOC_MARKS_TOTAL, _MODEL)

# --- Refused and stalled -----------------------------------------------------------------------

DENIED_RATE: Final = rate(m.ALLOCATIONS_DENIED_TOTAL, _MODEL)
DENIED_BY_REASON: Final = rate_of_what_happened(m.ALLOCATIONS_DENIED_TOTAL, (*_MODEL, "reason"))
DENIED_BY_CALLER: Final = rate_of_what_happened(
    m.ALLOCATIONS_DENIED_TOTAL, (*_MODEL, "caller", "kind")
)
DENIED_BY_CACHE: Final = busiest_rate(m.CACHE_ALLOCATIONS_DENIED_TOTAL, _CACHE)
DENIED_SHARE: Final = share(
    rate(m.ALLOCATIONS_DENIED_TOTAL, _MODEL), rate(m.ALLOCATIONS_OK_TOTAL, _MODEL)
)
_ENTITLED_DENIED: Final = select(m.ALLOCATIONS_DENIED_TOTAL, caller=ENTITLED)
ENTITLED_DENIED_RATE: Final = rate(m.ALLOCATIONS_DENIED_TOTAL, _MODEL, _ENTITLED_DENIED)
ENTITLED_DENIED: Final = (
    since_start(m.ALLOCATIONS_DENIED_TOTAL, (*_MODEL, "caller", "kind", "reason"), _ENTITLED_DENIED)
    + " > 0"
)
STALLED_RATE: Final = rate(m.ALLOCATIONS_STALLED_TOTAL, _MODEL)
STALLED_BY_REASON: Final = rate_of_what_happened(
    m.ALLOCATIONS_STALLED_TOTAL, (*_MODEL, "reason", "caller")
)
STALLED_BY_CACHE: Final = busiest_rate(m.CACHE_ALLOCATIONS_STALLED_TOTAL, _CACHE)
KSWAPD_WAKEUPS: Final = rate(m.KSWAPD_WAKEUPS_TOTAL, _MODEL)
FREES: Final = {
    "pages": rate(m.PAGE_FREES_TOTAL, _MODEL),
    "objects": rate(m.OBJECT_FREES_TOTAL, _MODEL),
}
OK_BY_PATH: Final = rate_of_what_happened(m.ALLOCATIONS_OK_TOTAL, (*_MODEL, "path"))
DENIED_FREES: Final = rate(m.DENIED_FREES_TOTAL, _MODEL)
UNKNOWN_FREES: Final = rate(m.UNKNOWN_FREES_TOTAL, _MODEL)
REUSED_HANDLES: Final = rate(m.REUSED_HANDLES_TOTAL, _MODEL)

# --- What is held ------------------------------------------------------------------------------

PFMEMALLOC_PAGES: Final = total(m.ZONE_PFMEMALLOC_PAGES, _ZONE)
PFMEMALLOC_SLABS: Final = busiest(m.CACHE_PFMEMALLOC_SLABS, _CACHE)
PFMEMALLOC_OBJECTS: Final = total(m.CACHE_PFMEMALLOC_OBJECTS, _MODEL)
PRESERVED_OBJECTS: Final = total(m.CACHE_PRESERVED_OBJECTS, _MODEL)
LIVE_HANDLES: Final = total(m.LIVE_HANDLES, _MODEL)

# --- Caches ------------------------------------------------------------------------------------

CACHE_MEMORY: Final = busiest(
    m.CACHE_SLABS,
    _CACHE,
    f"{total(m.CACHE_SLABS, _CACHE)} * {largest(m.CACHE_PAGES_PER_SLAB, _CACHE)} * 4096",
)
CACHE_OCCUPANCY: Final = busiest(
    m.CACHE_OBJECTS,
    _CACHE,
    ratio(total(m.CACHE_ACTIVE_OBJECTS, _CACHE), total(m.CACHE_OBJECTS, _CACHE)),
)
CACHE_ALLOCATIONS: Final = busiest_rate(m.CACHE_ALLOCATIONS_OK_TOTAL, _CACHE)
CACHE_FREES: Final = busiest_rate(m.CACHE_FREES_TOTAL, _CACHE)
_VARIANT_CACHE: Final = ("variant", "cache")
CACHE_COLUMNS: Final = {
    "object size": largest(m.CACHE_OBJECT_SIZE_BYTES, _VARIANT_CACHE),
    "objects a slab": largest(m.CACHE_OBJECTS_PER_SLAB, _VARIANT_CACHE),
    "slabs": total(m.CACHE_SLABS, _VARIANT_CACHE),
    "objects": total(m.CACHE_OBJECTS, _VARIANT_CACHE),
    "in use": total(m.CACHE_ACTIVE_OBJECTS, _VARIANT_CACHE),
    "flagged slabs": total(m.CACHE_PFMEMALLOC_SLABS, _VARIANT_CACHE),
    "of them in use": total(m.CACHE_PFMEMALLOC_OBJECTS, _VARIANT_CACHE),
    "preserved": total(m.CACHE_PRESERVED_OBJECTS, _VARIANT_CACHE),
    "handed out": since_start(m.CACHE_ALLOCATIONS_OK_TOTAL, _VARIANT_CACHE),
    "denied": since_start(m.CACHE_ALLOCATIONS_DENIED_TOTAL, _VARIANT_CACHE),
}
NODE_SLAB_PAGES: Final = (
    f"{total(m.NODE_SLAB_RECLAIMABLE_PAGES, (*_MODEL, 'node'))}"
    f" + {total(m.NODE_SLAB_UNRECLAIMABLE_PAGES, (*_MODEL, 'node'))}"
)

# --- SLAB --------------------------------------------------------------------------------------

SLAB_ALLOC_HITS: Final = share(
    rate(m.SLAB_ALLOC_HITS_TOTAL, _MODEL), rate(m.SLAB_ALLOC_MISSES_TOTAL, _MODEL)
)
SLAB_FREE_HITS: Final = share(
    rate(m.SLAB_FREE_HITS_TOTAL, _MODEL), rate(m.SLAB_FREE_MISSES_TOTAL, _MODEL)
)
SLAB_GROWS: Final = rate(m.SLAB_GROWS_TOTAL, _MODEL)
SLAB_REAPED: Final = rate(m.SLAB_REAPED_SLABS_TOTAL, _MODEL)
SLAB_NODE_ALLOCS: Final = rate(m.SLAB_NODE_ALLOCS_TOTAL, _MODEL)
SLAB_NODE_FREES: Final = rate(m.SLAB_NODE_FREES_TOTAL, _MODEL)
SLAB_FORCED_REFILLS: Final = rate(m.SLAB_FORCED_REFILLS_TOTAL, _MODEL)
SLAB_ARRAY_SWAPS: Final = rate(m.SLAB_ARRAY_SWAPS_TOTAL, _MODEL)
SLAB_UNFLAGGED: Final = rate(m.SLAB_UNFLAGGED_SLABS_TOTAL, _MODEL)

# --- SLUB --------------------------------------------------------------------------------------

SLUB_ALLOC_FAST: Final = share(
    rate(m.SLUB_ALLOC_FASTPATH_TOTAL, _MODEL), rate(m.SLUB_ALLOC_SLOWPATH_TOTAL, _MODEL)
)
SLUB_FREE_FAST: Final = share(
    rate(m.SLUB_FREE_FASTPATH_TOTAL, _MODEL), rate(m.SLUB_FREE_SLOWPATH_TOTAL, _MODEL)
)
SLUB_SOURCES: Final = {
    "from the cpu's partial list": rate(m.SLUB_CPU_PARTIAL_ALLOC_TOTAL, _MODEL),
    "from the node's partial list": rate(m.SLUB_ALLOC_FROM_PARTIAL_TOTAL, _MODEL),
    "from the page allocator": rate(m.SLUB_ALLOC_SLAB_TOTAL, _MODEL),
    "refilled from the cpu slab": rate(m.SLUB_ALLOC_REFILL_TOTAL, _MODEL),
    "node mismatch": rate(m.SLUB_ALLOC_NODE_MISMATCH_TOTAL, _MODEL),
    "minimum order": rate(m.SLUB_ORDER_FALLBACK_TOTAL, _MODEL),
}
SLUB_DEACTIVATIONS: Final = {
    "full": rate(m.SLUB_DEACTIVATE_FULL_TOTAL, _MODEL),
    "empty": rate(m.SLUB_DEACTIVATE_EMPTY_TOTAL, _MODEL),
    "to the head": rate(m.SLUB_DEACTIVATE_TO_HEAD_TOTAL, _MODEL),
    "to the tail": rate(m.SLUB_DEACTIVATE_TO_TAIL_TOTAL, _MODEL),
    "with remote frees": rate(m.SLUB_DEACTIVATE_REMOTE_FREES_TOTAL, _MODEL),
    "bypassed": rate(m.SLUB_DEACTIVATE_BYPASS_TOTAL, _MODEL),
    "flushed": rate(m.SLUB_CPUSLAB_FLUSH_TOTAL, _MODEL),
}
SLUB_PARTIAL: Final = {
    "free made it partial": rate(m.SLUB_FREE_ADD_PARTIAL_TOTAL, _MODEL),
    "free emptied it": rate(m.SLUB_FREE_REMOVE_PARTIAL_TOTAL, _MODEL),
    "to the cpu's list": rate(m.SLUB_CPU_PARTIAL_FREE_TOTAL, _MODEL),
    "node's to cpu's list": rate(m.SLUB_CPU_PARTIAL_NODE_TOTAL, _MODEL),
    "cpu's list drained": rate(m.SLUB_CPU_PARTIAL_DRAIN_TOTAL, _MODEL),
    "given back": rate(m.SLUB_FREE_SLAB_TOTAL, _MODEL),
    "free of a frozen one": rate(m.SLUB_FREE_FROZEN_TOTAL, _MODEL),
}
SLUB_MISMATCHES: Final = rate(m.SLUB_PFMEMALLOC_MISMATCHES_TOTAL, _MODEL)

# --- Variants side by side ---------------------------------------------------------------------

_VARIANT: Final = ("variant",)
VARIANT_COLUMNS: Final = {
    "granted": since_start(m.ALLOCATIONS_OK_TOTAL, _VARIANT),
    "denied": since_start(m.ALLOCATIONS_DENIED_TOTAL, _VARIANT),
    "entitled denied": since_start(m.ALLOCATIONS_DENIED_TOTAL, _VARIANT, _ENTITLED_DENIED),
    "stalled": since_start(m.ALLOCATIONS_STALLED_TOTAL, _VARIANT),
    "left below min": since_start(m.ZONE_BELOW_MIN_ALLOCATIONS_TOTAL, _VARIANT),
    "below an eighth": since_start(m.ZONE_RESERVE_EXHAUSTED_ALLOCATIONS_TOTAL, _VARIANT),
    "pages marked": since_start(m.PFMEMALLOC_MARKS_TOTAL, _VARIANT),
    "leaked": since_start(m.CACHE_LEAKS_TOTAL, _VARIANT),
    "flagged slabs": total(m.CACHE_PFMEMALLOC_SLABS, _VARIANT),
    "preserved": total(m.CACHE_PRESERVED_OBJECTS, _VARIANT),
    "switched on": since_start(m.PFMEMALLOC_ACTIVATIONS_TOTAL, _VARIANT),
    "switched off": since_start(m.PFMEMALLOC_DEACTIVATIONS_TOTAL, _VARIANT),
    "wrongly off": since_start(m.PFMEMALLOC_WRONG_DEACTIVATIONS_TOTAL, _VARIANT),
}
LEAKS_SINCE_START: Final = since_start(m.CACHE_LEAKS_TOTAL, _MODEL)
DENIED_SINCE_START: Final = since_start(m.ALLOCATIONS_DENIED_TOTAL, _MODEL)
STALLED_SINCE_START: Final = since_start(m.ALLOCATIONS_STALLED_TOTAL, _MODEL)

# --- Ingest ------------------------------------------------------------------------------------

EVENTS_RATE: Final = rate(m.EVENTS_APPLIED_TOTAL, _SOURCE)
BATCHES_RATE: Final = rate(m.BATCHES_APPLIED_TOTAL, _SOURCE)
BYTES_RATE: Final = rate(m.RECEIVED_BYTES_TOTAL, _SOURCE)
LAG: Final = f"time() - {largest(m.SOURCE_LAST_BATCH_TIMESTAMP_SECONDS, _SOURCE)}"
CONNECTED: Final = largest(m.SOURCE_CONNECTED, _SOURCE)
SEQUENCE: Final = largest(m.SOURCE_SEQUENCE, _SOURCE)
TRACE_TIME: Final = largest(m.SOURCE_LAST_EVENT_SECONDS, _SOURCE)
EPOCHS: Final = since_start(m.SOURCE_EPOCHS_TOTAL, _SOURCE)
MARKS: Final = since_start(m.SOURCE_MARKS_TOTAL, (*_SOURCE, "phase"))
DUPLICATES: Final = rate(m.BATCHES_DUPLICATE_TOTAL, _SOURCE)
GAPS: Final = rate(m.BATCHES_GAPPED_TOTAL, _SOURCE)
REFUSED_BATCHES: Final = since_start(m.BATCHES_REFUSED_TOTAL, (*_SOURCE, "reason"))
REFUSED_MESSAGES: Final = since_start(m.MESSAGES_REFUSED_TOTAL, ("reason",))
APPLY_TIME: Final = {
    "half": quantile(0.5, m.BATCH_APPLY_SECONDS, _SOURCE),
    "99 %": quantile(0.99, m.BATCH_APPLY_SECONDS, _SOURCE),
}
AGE: Final = {
    "half": quantile(0.5, m.BATCH_AGE_SECONDS, _SOURCE),
    "99 %": quantile(0.99, m.BATCH_AGE_SECONDS, _SOURCE),
}
APPLY_TIMES: Final = buckets_rate(m.BATCH_APPLY_SECONDS, ())
AWAY: Final = since_start(m.CONNECTIONS_REFUSED_TOTAL, ("reason",))
CONNECTIONS: Final = largest(m.CONNECTIONS, ())
SOURCES: Final = largest(m.SOURCES, ())
SOURCES_LIMIT: Final = largest(m.SOURCES_LIMIT, ())
FOLDED: Final = largest(m.LABEL_VALUES_FOLDED, ("label",))
COLLECTOR_SECONDS: Final = largest(m.COLLECTOR_DURATION_SECONDS, ("collector",))
COLLECTOR_SUCCESS: Final = f"min by (collector) ({select(m.COLLECTOR_SUCCESS)})"
HTTP_REFUSED: Final = rate(m.HTTP_CONNECTIONS_REFUSED_TOTAL, ())
HTTP_UNAUTHORIZED: Final = rate(m.HTTP_REQUESTS_UNAUTHORIZED_TOTAL, ())
_OF_DAEMONS: Final = f"and on (job, instance) {m.SOURCES.name}"
"""Only of targets that are pfmemd."""
SCRAPE_SECONDS: Final = f"{o.SCRAPE_DURATION.name} {_OF_DAEMONS}"
SCRAPE_SAMPLES: Final = f"{o.SCRAPE_SAMPLES.name} {_OF_DAEMONS}"
DAEMON_MEMORY: Final = m.MEMORY_BYTES.name
DAEMON_CPU: Final = f"rate({o.PROCESS_CPU.name}[$__rate_interval]) {_OF_DAEMONS}"
BUILD: Final = f"group by (version, python, compiled) ({m.BUILD_INFO.name})"
MODELS: Final = f"group by (variant, allocator, revision) ({select(m.VARIANT_INFO)})"
MACHINES: Final = f"group by (source, cpus, nodes, numa, gfp_flavour) ({select(m.MACHINE_INFO)})"

MEMORY_LIMIT: Final = largest(m.MEMORY_LIMIT_BYTES, ())
HANDLES_LIMIT: Final = largest(m.LIVE_HANDLES_LIMIT, ())
BATCH_LIMIT: Final = largest(m.BATCH_LIMIT_BYTES, ())
EVENTS_LIMIT: Final = largest(m.BATCH_EVENTS_LIMIT, ())
CREDIT_LIMIT: Final = largest(m.CREDIT_LIMIT, ())
HTTP_LIMIT: Final = largest(m.HTTP_CONNECTIONS_LIMIT, ())
HANDLES_MOST: Final = f"max({total(m.LIVE_HANDLES, _MODEL, m.LIVE_HANDLES.name)})"

# --- Journal and snapshots --------------------------------------------------------------------

JOURNAL_BYTES: Final = largest(m.JOURNAL_BYTES, ())
JOURNAL_SEGMENTS: Final = largest(m.JOURNAL_SEGMENTS, ())
JOURNAL_WRITTEN: Final = rate(m.JOURNAL_APPENDED_BYTES_TOTAL, ())
JOURNAL_GROUPS: Final = {
    "written": rate(m.JOURNAL_GROUPS_TOTAL, ()),
    "refused": rate(m.JOURNAL_GROUPS_REFUSED_TOTAL, ()),
}
JOURNAL_SYNC: Final = {
    "half": quantile(0.5, m.JOURNAL_SYNC_SECONDS, ()),
    "99 %": quantile(0.99, m.JOURNAL_SYNC_SECONDS, ()),
}
JOURNAL_BLOCKED: Final = largest(m.JOURNAL_BLOCKED, ())
JOURNAL_TORN: Final = largest(m.JOURNAL_TORN_BYTES, ())
DISK_FREE: Final = f"min({m.JOURNAL_DISK_FREE_BYTES.name})"
SNAPSHOTS: Final = {
    "taken": since_start(m.SNAPSHOTS_TOTAL, ()),
    "failed": since_start(m.SNAPSHOTS_FAILED_TOTAL, ()),
    "refused at the start": largest(m.RECOVERY_SNAPSHOTS_REFUSED, ()),
}
SNAPSHOT_BYTES: Final = largest(m.SNAPSHOT_BYTES, ())
SNAPSHOT_SECONDS: Final = largest(m.SNAPSHOT_SECONDS, ())
SNAPSHOT_AGE: Final = f"time() - ({largest(m.SNAPSHOT_TIMESTAMP_SECONDS, ())} > 0)"
RECOVERY_SECONDS: Final = largest(m.RECOVERY_SECONDS, ())
RECOVERY_BATCHES: Final = largest(m.RECOVERY_BATCHES, ())

# --- A real host -------------------------------------------------------------------------------

HOST_FREE: Final = total(o.HOST_FREE_PAGES, _HOST_ZONE)
HOST_MIN: Final = largest(o.HOST_MIN_PAGES, ("node", "zone"))
HOST_LOW: Final = largest(o.HOST_LOW_PAGES, ("node", "zone"))
HOST_HIGH: Final = largest(o.HOST_HIGH_PAGES, ("node", "zone"))
HOST_RESERVE_LEFT: Final = (
    "clamp_max("
    + ratio(total(o.HOST_FREE_PAGES, _HOST_ZONE), total(o.HOST_MIN_PAGES, _HOST_ZONE))
    + ", 1)"
)
HOST_RESERVE_LEFT_WORST: Final = f"min by (instance) ({HOST_RESERVE_LEFT})"
HOST_THROTTLED: Final = rate(o.HOST_THROTTLED, _HOST)
HOST_STALLS_KERNEL: Final = rate(o.HOST_STALLS_NORMAL, _HOST)
HOST_STALLS_USER: Final = rate(o.HOST_STALLS_MOVABLE, _HOST)
HOST_DROPS: Final = rate(o.HOST_PFMEMALLOC_DROPS, _HOST)
HOST_SCANNED_KSWAPD: Final = rate(o.HOST_SCANNED_KSWAPD, _HOST)
HOST_SCANNED_DIRECT: Final = rate(o.HOST_SCANNED_DIRECT, _HOST)
HOST_SWAPPED_OUT: Final = rate(o.HOST_SWAPPED_OUT, _HOST)
HOST_SWAPPED_IN: Final = rate(o.HOST_SWAPPED_IN, _HOST)
_HOST_SLAB: Final = (*_HOST, "slab")
HOST_SLAB_MEMORY: Final = busiest(
    o.HOST_SLAB_OBJECTS,
    _HOST_SLAB,
    f"{total(o.HOST_SLAB_OBJECTS, _HOST_SLAB)} * {largest(o.HOST_SLAB_OBJECT_SIZE, _HOST_SLAB)}",
)
HOST_SLAB_ACTIVE: Final = busiest(o.HOST_SLAB_ACTIVE, _HOST_SLAB)
_MODEL_ACTIVE: Final = select(m.CACHE_ACTIVE_OBJECTS, without=("cache",))
_MODEL_OBJECTS: Final = select(m.CACHE_OBJECTS, without=("cache",))
_MODEL_SIZE: Final = select(m.CACHE_OBJECT_SIZE_BYTES, without=("cache",))
MODEL_CACHE_ACTIVE: Final = busiest(m.CACHE_ACTIVE_OBJECTS, _CACHE, selected=_MODEL_ACTIVE)
MODEL_CACHE_MEMORY: Final = busiest(
    m.CACHE_OBJECTS,
    _CACHE,
    f"{total(m.CACHE_OBJECTS, _CACHE, _MODEL_OBJECTS)}"
    f" * {largest(m.CACHE_OBJECT_SIZE_BYTES, _CACHE, _MODEL_SIZE)}",
    _MODEL_OBJECTS,
)
