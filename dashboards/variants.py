"""The dashboard "Variants side by side": one stream of events, several kernels' rules."""

from __future__ import annotations

from typing import Final

from dashboards import house
from dashboards import queries as q
from dashboards.house import MODEL, ZONE
from dashboards.panels import (
    COUNT,
    OBJECTS,
    PAGES,
    PER_SECOND,
    RATIO,
    STATE,
    Dashboard,
    Query,
    Row,
    bars,
    state_timeline,
    table,
    timeseries,
    wide_table,
)

UID: Final = "pfmemd-variants"


def dashboard() -> Dashboard:
    """The dashboard as it is built into JSON."""
    return Dashboard(
        uid=UID,
        title="Variants side by side",
        description=(
            "What each model made of the same events: no patch, the patch as mailed, as merged,"
            " and today's. A variant is an allocator at a revision."
        ),
        variables=(house.SOURCE, house.VARIANT, house.NODE, house.ZONES, house.CACHES),
        annotations=house.MODEL_ANNOTATIONS,
        rows=(_totals(), _over_time(), _models()),
    )


def _totals() -> Row:
    return Row(
        "Since the models started",
        (
            wide_table(
                "Totals",
                "Since the models started: what was granted, refused and left waiting, how often"
                " the reserve was entered, and what came of it.",
                ["variant"],
                [(name, COUNT, expr) for name, expr in q.VARIANT_COLUMNS.items()],
                sort_by="variant",
                height=6,
            ),
            bars(
                "Lowest point of the reserve",
                "The least that was left of the reserve in the worst zone.",
                RATIO,
                Query(q.LOWEST_LEFT_WORST, MODEL),
                steps=house.RESERVE_STEPS,
                ceiling=1,
                runbook=house.EXHAUSTED,
            ),
            bars(
                "Denied",
                "Allocations that were given nothing.",
                COUNT,
                Query(q.DENIED_SINCE_START, MODEL),
            ),
            bars(
                "Reserve objects leaked",
                "Objects of flagged slabs that callers without a right to them were given.",
                OBJECTS,
                Query(q.LEAKS_SINCE_START, MODEL),
                runbook="PfmemallocReserveLeak",
            ),
        ),
    )


def _models() -> Row:
    return Row(
        "Models",
        (
            table(
                "Models",
                "The models that the daemon runs on each source.",
                COUNT,
                Query(q.MODELS),
                columns=["variant", "allocator", "revision"],
                value="",
                width=24,
                height=6,
            ),
        ),
    )


def _over_time() -> Row:
    return Row(
        "Over time",
        (
            timeseries(
                "Free pages, zone $zone",
                "Free pages of the zone in each model: they part where one denies what another"
                " grants.",
                PAGES,
                [Query(q.ZONE_FREE, "{{variant}} node {{node}}")],
                repeat="zone",
                width=24,
            ),
            timeseries(
                "Reserve left",
                "What is left of each zone's reserve, as a part of its min watermark.",
                RATIO,
                [Query(q.RESERVE_LEFT, ZONE)],
                steps=house.RESERVE_STEPS,
                ceiling=1,
                runbook=house.EXHAUSTED,
            ),
            timeseries(
                "Denied",
                "Allocations that were given nothing, per second.",
                PER_SECOND,
                [Query(q.DENIED_RATE, MODEL)],
            ),
            timeseries(
                "Stalled",
                "Allocations for which the kernel would wait or loop, per second.",
                PER_SECOND,
                [Query(q.STALLED_RATE, MODEL)],
            ),
            timeseries(
                "Leaked, by cause",
                "Reserve objects that callers without a right to them were given, per second.",
                PER_SECOND,
                [Query(q.LEAKS_RATE, "{{variant}} {{cause}}")],
                runbook="PfmemallocReserveLeak",
            ),
            timeseries(
                "Preserved objects",
                "Free objects of flagged slabs, kept for entitled callers.",
                OBJECTS,
                [Query(q.PRESERVED_OBJECTS, MODEL)],
                staircase=True,
            ),
            state_timeline(
                "pfmemalloc_active",
                "SLAB's global flag in each model. SLUB and the SLAB of Linux 6.1 keep none.",
                STATE,
                [Query(q.PFMEMALLOC_ACTIVE, MODEL)],
                mapping=house.ACTIVE,
                height=8,
            ),
        ),
    )
