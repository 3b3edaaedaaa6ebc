"""A consistent reading of a machine, taken between events.

Plain records of plain numbers: what the metrics, the tables and the views are
drawn from. Taking one costs time in proportion to zones, cpus and caches; the
model's hot path never touches them. Pages are 4 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class ZoneStats:
    """One zone: page counts, watermarks and what was seen since start."""

    node: int
    zone: str
    free_pages: int
    min_pages: int
    low_pages: int
    high_pages: int
    present_pages: int
    spanned_pages: int
    managed_pages: int
    lowest_free_pages: int
    pcp_pages: int
    pfmemalloc_pages: int
    """Live pages whose ``page->pfmemalloc`` was set when they were handed out."""
    free_blocks: list[int] = field(default_factory=list)
    """``free_area[order].nr_free`` by order."""
    lowmem_reserve: list[int] = field(default_factory=list)
    below_min_events: int = 0
    """Allocations that left the zone's free pages below min."""
    reserve_left: list[int] = field(default_factory=list)
    """The below_min_events by how many whole eighths of min were left, from 0 on."""
    reserve_drawn_permille: int = 0
    """Sum over the below_min_events of min less free pages, in thousandths of min."""


@dataclass(slots=True)
class CacheStats:
    """One cache. ``counters`` holds the allocator's own statistics by kernel name."""

    name: str
    object_size: int
    objects_per_slab: int
    pages_per_slab: int
    slabs: int
    objects: int
    active_objects: int
    """Objects in the hands of callers."""
    pfmemalloc_slabs: int
    """Slabs that carry the pfmemalloc flag now."""
    pfmemalloc_objects: int
    """Objects of flagged slabs in the hands of callers."""
    preserved_objects: int
    """Free objects of flagged slabs."""
    allocations: int
    denied: int
    stalled: int
    frees: int
    counters: dict[str, int] = field(default_factory=dict)
    leaks: dict[str, int] = field(default_factory=dict)
    """Reserve objects handed to callers without entitlement, by how it happened."""


@dataclass(slots=True)
class OutcomeCount:
    """How often this caller asking for this kind came to this outcome."""

    caller: str
    kind: str
    result: str
    path: str
    count: int


@dataclass(slots=True)
class MachineStats:
    """Everything the daemon shows of one machine at one event."""

    events: int
    last_ts_ns: int
    live_handles: int
    page_frees: int
    object_frees: int
    denied_frees: int
    """Frees of something the model had denied: counted, not an error."""
    unknown_frees: int
    """Frees of a thing never allocated: a counted error."""
    reused_handles: int
    """Allocations under a handle that is still live: a counted error."""
    kswapd_wakeups: int
    pfmemalloc_active: bool
    pfmemalloc_activations: int
    pfmemalloc_deactivations: int
    pfmemalloc_wrong_deactivations: int = 0
    """Flips to false while flagged slabs were left."""
    pfmemalloc_marks: int = 0
    """Allocations of pages that came with ``page->pfmemalloc`` set."""
    attempts_no_watermarks: int = 0
    """Walks over a zonelist that ignored watermarks, whether they found pages or not."""
    attempts_below_min: int = 0
    """Walks that began with the preferred zone below min."""
    outcomes: list[OutcomeCount] = field(default_factory=list)
    zones: list[ZoneStats] = field(default_factory=list)
    caches: list[CacheStats] = field(default_factory=list)
    slab_pages: list[tuple[int, int]] = field(default_factory=list)
    """Reclaimable and unreclaimable slab pages of each node."""
