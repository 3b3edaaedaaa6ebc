"""The dashboard "SLAB and SLUB insides": caches, and each allocator's own statistics."""

from __future__ import annotations

from typing import Final

from dashboards import house
from dashboards import queries as q
from dashboards.house import CACHE, MODEL, queries
from dashboards.panels import (
    BYTES,
    COUNT,
    OBJECTS,
    PAGES,
    PER_SECOND,
    RATIO,
    SLABS,
    Dashboard,
    Query,
    Row,
    bars,
    timeseries,
    wide_table,
)

UID: Final = "pfmemd-slab-slub"


def dashboard() -> Dashboard:
    """The dashboard as it is built into JSON."""
    return Dashboard(
        uid=UID,
        title="SLAB and SLUB insides",
        description=(
            "What the caches hold and how the object allocators come by their objects. The"
            " numbers are those of /proc/slabinfo and of SLUB's statistics, and those that the"
            " patch adds."
        ),
        variables=(house.SOURCE, house.VARIANT, house.NODE, house.CACHES),
        annotations=house.MODEL_ANNOTATIONS,
        rows=(_caches(), _slab(), _slub()),
    )


def _caches() -> Row:
    units = {"object size": BYTES}
    return Row(
        "Caches",
        (
            wide_table(
                "Caches",
                "Every cache that was used: geometry, what it holds, what of that is the reserve's,"
                " and what was asked of it since the model started.",
                ["variant", "cache"],
                [(name, units.get(name, COUNT), expr) for name, expr in q.CACHE_COLUMNS.items()],
                sort_by="handed out",
                height=10,
            ),
            bars(
                "Memory of the largest",
                "Bytes of slabs that the ten largest caches hold.",
                BYTES,
                Query(q.CACHE_MEMORY, CACHE),
            ),
            bars(
                "How full they are",
                "Objects in use of all objects in the cache's slabs.",
                RATIO,
                Query(q.CACHE_OCCUPANCY, CACHE),
                ceiling=1,
            ),
            bars(
                "Flagged slabs",
                "Slabs that carry the pfmemalloc flag, the ten caches that hold most.",
                SLABS,
                Query(q.PFMEMALLOC_SLABS, CACHE),
                runbook="PfmemallocActiveStuck",
            ),
            timeseries(
                "Handed out, by cache",
                "Objects that the ten busiest caches handed out, per second.",
                PER_SECOND,
                [Query(q.CACHE_ALLOCATIONS, CACHE)],
            ),
            timeseries(
                "Given back, by cache",
                "Objects that the ten busiest caches took back, per second.",
                PER_SECOND,
                [Query(q.CACHE_FREES, CACHE)],
            ),
            timeseries(
                "Slab pages, by node",
                "Pages that the caches hold of each node, reclaimable and not.",
                PAGES,
                [Query(q.NODE_SLAB_PAGES, "{{variant}} node {{node}}")],
                staircase=True,
            ),
            timeseries(
                "Free objects of flagged slabs",
                "What is preserved for entitled callers.",
                OBJECTS,
                [Query(q.PRESERVED_OBJECTS, MODEL)],
                staircase=True,
            ),
        ),
    )


def _slab() -> Row:
    return Row(
        "SLAB",
        (
            timeseries(
                "Array hits",
                "The share of allocations and frees that the cpu's array served.",
                RATIO,
                [
                    Query(q.SLAB_ALLOC_HITS, "allocations {{variant}}"),
                    Query(q.SLAB_FREE_HITS, "frees {{variant}}"),
                ],
                ceiling=1,
            ),
            timeseries(
                "What the patch does",
                "Per second: refills forced because the array held only reserve objects (rules A5,"
                " A6), tagged entries swapped for ordinary ones (A4), slabs un-flagged to serve a"
                " plain caller (A4).",
                PER_SECOND,
                [
                    Query(q.SLAB_FORCED_REFILLS, "forced refills {{variant}}"),
                    Query(q.SLAB_ARRAY_SWAPS, "array swaps {{variant}}"),
                    Query(q.SLAB_UNFLAGGED, "un-flagged slabs {{variant}}"),
                ],
            ),
            timeseries(
                "Slabs taken and given back",
                "Slabs that caches took from the page allocator, and that reaping gave back, per"
                " second.",
                PER_SECOND,
                [
                    Query(q.SLAB_GROWS, "grown {{variant}}"),
                    Query(q.SLAB_REAPED, "reaped {{variant}}"),
                ],
            ),
            timeseries(
                "Other nodes' objects",
                "Allocations served from another node, and frees of another node's objects, per"
                " second.",
                PER_SECOND,
                [
                    Query(q.SLAB_NODE_ALLOCS, "allocations {{variant}}"),
                    Query(q.SLAB_NODE_FREES, "frees {{variant}}"),
                ],
            ),
        ),
    )


def _slub() -> Row:
    return Row(
        "SLUB",
        (
            timeseries(
                "Fast path",
                "The share of allocations and frees that the cpu's freelist served.",
                RATIO,
                [
                    Query(q.SLUB_ALLOC_FAST, "allocations {{variant}}"),
                    Query(q.SLUB_FREE_FAST, "frees {{variant}}"),
                ],
                ceiling=1,
            ),
            timeseries(
                "pfmemalloc mismatches",
                "Slabs deactivated or passed over because the caller may not use them (rules U3,"
                " U4), per second.",
                PER_SECOND,
                [Query(q.SLUB_MISMATCHES, MODEL)],
            ),
            timeseries(
                "Where cpu slabs come from",
                "Per second, by where the slow path found the slab.",
                PER_SECOND,
                queries(q.SLUB_SOURCES),
            ),
            timeseries(
                "Deactivations",
                "Cpu slabs that were put away, per second, by what they held and where they went.",
                PER_SECOND,
                queries(q.SLUB_DEACTIVATIONS),
            ),
            timeseries(
                "Partial lists",
                "Slabs that came to, moved between and left the partial lists, per second.",
                PER_SECOND,
                queries(q.SLUB_PARTIAL),
                width=24,
            ),
        ),
    )
