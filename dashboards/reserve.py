"""The dashboard "PFMEMALLOC reserve": how deep it is drawn, by whom, and who went without."""

from __future__ import annotations

from typing import Final

from dashboards import queries as q
from dashboards.panels import (
    CALM,
    COUNT,
    CRITICAL,
    GOOD,
    OBJECTS,
    PAGES,
    PER_SECOND,
    RATIO,
    SLABS,
    STATE,
    WARNING,
    Dashboard,
    Query,
    Row,
    Step,
    Style,
    Variable,
    stat,
    state_timeline,
    table,
    timeseries,
)

UID: Final = "pfmemd-reserve"
EXHAUSTED: Final = "PfmemallocReserveExhausted"

_MODEL: Final = "{{variant}}"
_ZONE: Final = "{{variant}} node {{node}} {{zone}}"

_RESERVE_STEPS: Final = [
    Step(None, CRITICAL),
    # The alert's threshold, and where the kernel throttles direct reclaimers
    # (mm/vmscan.c: pfmemalloc_watermark_ok(), half of min).
    Step(0.125, WARNING),
    Step(0.5, CALM),
    Step(1, GOOD),
]
_NONE_IS_GOOD: Final = [Step(None, GOOD), Step(0.000_001, WARNING)]
_ACTIVE: Final = {0.0: ("inactive", GOOD), 1.0: ("active", WARNING)}


def dashboard() -> Dashboard:
    """The dashboard as it is built into JSON."""
    return Dashboard(
        uid=UID,
        title="PFMEMALLOC reserve",
        description=(
            "The emergency reserve of the page allocator: what is left of it against the"
            " watermarks, who drew it, who was refused, and what still holds its pages."
        ),
        variables=(
            Variable("source", "Source", q.SOURCE_VALUES, multi=False),
            Variable("variant", "Variant", q.VARIANT_VALUES),
            Variable("node", "Node", q.NODE_VALUES),
            Variable("zone", "Zone", q.ZONE_VALUES),
        ),
        rows=(_now(), _occupancy(), _active(), _drawn(), _refused(), _held()),
    )


def _now() -> Row:
    return Row(
        "Now",
        (
            stat(
                "Reserve left",
                "What is left of the reserve (min watermark) in the worst zone chosen. Below"
                " 50 % the kernel throttles direct reclaimers, below 12.5 % the alert"
                " PfmemallocReserveExhausted fires.",
                RATIO,
                Query(q.RESERVE_LEFT_WORST, _MODEL),
                steps=_RESERVE_STEPS,
                runbook=EXHAUSTED,
            ),
            stat(
                "Reserve left at the lowest point",
                "The least that was left of the reserve in the worst zone since the model"
                " started, dips between two scrapes included.",
                RATIO,
                Query(q.LOWEST_LEFT_WORST, _MODEL),
                steps=_RESERVE_STEPS,
                runbook=EXHAUSTED,
            ),
            stat(
                "pfmemalloc_active",
                "Whether the model believes that slabs drawn from the reserve exist."
                " SLUB keeps no such flag.",
                STATE,
                Query(q.PFMEMALLOC_ACTIVE, _MODEL),
                mapping=_ACTIVE,
            ),
            stat(
                "Denied",
                "Allocations that were given nothing, per second.",
                PER_SECOND,
                Query(q.DENIED_RATE, _MODEL),
                steps=_NONE_IS_GOOD,
            ),
            stat(
                "Stalled",
                "Allocations for which the kernel would wait in reclaim or loop, per second.",
                PER_SECOND,
                Query(q.STALLED_RATE, _MODEL),
                steps=_NONE_IS_GOOD,
            ),
            stat(
                "Events applied",
                "Events of the source applied per second. At 0 nothing arrives and every"
                " other panel stands still.",
                PER_SECOND,
                Query(q.EVENTS_RATE, "{{source}}"),
            ),
        ),
    )


def _occupancy() -> Row:
    return Row(
        "Occupancy against the watermarks",
        (
            timeseries(
                "Zone $zone",
                "Free pages of the zone against min, low and high. Between min and 0 lies the"
                " reserve. The dashed line is the fewest pages free since the model started.",
                PAGES,
                [
                    Query(q.ZONE_FREE, "free {{variant}} node {{node}}"),
                    Query(q.ZONE_LOWEST_FREE, "lowest {{variant}} node {{node}}"),
                    Query(q.ZONE_MIN, "min node {{node}}"),
                    Query(q.ZONE_LOW, "low node {{node}}"),
                    Query(q.ZONE_HIGH, "high node {{node}}"),
                ],
                styles=[
                    Style("^free .*", width=2, fill=10),
                    Style("^lowest .*", dashed=True),
                    Style("^min .*", color=CRITICAL, width=2),
                    Style("^low .*", color=WARNING),
                    Style("^high .*", color=GOOD),
                ],
                repeat="zone",
                runbook=EXHAUSTED,
                width=24,
                height=10,
            ),
            timeseries(
                "Reserve left",
                "What is left of each zone's reserve, as a part of its min watermark. The lines"
                " at 50 % and 12.5 % are where the kernel throttles direct reclaimers and where"
                " the alert PfmemallocReserveExhausted fires.",
                RATIO,
                [Query(q.RESERVE_LEFT, _ZONE)],
                steps=_RESERVE_STEPS,
                ceiling=1,
                runbook=EXHAUSTED,
            ),
            timeseries(
                "Allocations that left a zone below min",
                "Page allocations, per second, after which the zone's free pages were below its"
                " min watermark.",
                PER_SECOND,
                [Query(q.BELOW_MIN_RATE, _ZONE)],
            ),
        ),
    )


def _active() -> Row:
    return Row(
        "pfmemalloc_active",
        (
            state_timeline(
                "pfmemalloc_active",
                "SLAB's global flag: set when a slab is made of reserve pages, cleared when a"
                " cache finds none of its own slabs flagged, even if another cache still holds"
                " some (rule A9).",
                STATE,
                [Query(q.PFMEMALLOC_ACTIVE, _MODEL)],
                mapping=_ACTIVE,
            ),
            timeseries(
                "Flips",
                "How often pfmemalloc_active changed, per second, by direction.",
                PER_SECOND,
                [
                    Query(q.ACTIVATIONS, "on {{variant}}"),
                    Query(q.DEACTIVATIONS, "off {{variant}}"),
                ],
                height=6,
            ),
        ),
    )


def _drawn() -> Row:
    return Row(
        "Who drew the reserve",
        (
            timeseries(
                "Pages handed out below min, by caller",
                "Allocations that got pages from below the min watermark, per second. The"
                " entitled callers are pf_memalloc, gfp_memalloc and memdie; atomic and"
                " interrupt callers may go part of the way.",
                PER_SECOND,
                [Query(q.DRAWN_RATE, "{{variant}} {{caller}} {{kind}}")],
                stacked=True,
            ),
            table(
                "Pages handed out below min since the model started",
                "How many allocations got pages from below min, by who asked and what let them"
                " through: below_min is __GFP_HIGH or ALLOC_HARDER, oom_reserve an OOM victim,"
                " reserve ALLOC_NO_WATERMARKS.",
                COUNT,
                Query(q.DRAWN),
                columns=["variant", "caller", "kind", "path"],
                value="allocations",
            ),
            timeseries(
                "Reserve objects handed to callers that are not entitled",
                "Objects of flagged slabs that plain callers were given, per second, by how it"
                " happened. The patch means this to be none.",
                PER_SECOND,
                [Query(q.LEAKS_RATE, "{{variant}} {{cause}}")],
                width=24,
            ),
        ),
    )


def _refused() -> Row:
    return Row(
        "Denied and stalled",
        (
            timeseries(
                "Denied, by reason",
                "Allocations that were given nothing, per second: watermark (no page),"
                " preserved (kept for PFMEMALLOC callers), growth_failed, order_too_large.",
                PER_SECOND,
                [Query(q.DENIED_BY_REASON, "{{variant}} {{reason}}")],
                stacked=True,
            ),
            timeseries(
                "Denied, by caller",
                "Who was given nothing, per second. A denied pf_memalloc, gfp_memalloc or"
                " memdie caller is the hang that the reserve exists to prevent.",
                PER_SECOND,
                [Query(q.DENIED_BY_CALLER, "{{variant}} {{caller}} {{kind}}")],
                stacked=True,
            ),
            timeseries(
                "Stalled, by reason and caller",
                "Allocations for which the kernel would wait in direct reclaim (reclaim), kill"
                " (oom) or loop (nofail), per second.",
                PER_SECOND,
                [Query(q.STALLED_BY_REASON, "{{variant}} {{reason}} {{caller}}")],
                stacked=True,
                width=24,
            ),
        ),
    )


def _held() -> Row:
    return Row(
        "What holds the reserve",
        (
            timeseries(
                "pfmemalloc pages",
                "Live pages that were marked page->pfmemalloc when they were handed out.",
                PAGES,
                [Query(q.PFMEMALLOC_PAGES, _ZONE)],
                staircase=True,
            ),
            timeseries(
                "Flagged slabs, by cache",
                "Slabs that carry the pfmemalloc flag, the ten caches that hold most.",
                SLABS,
                [Query(q.PFMEMALLOC_SLABS, "{{variant}} {{cache}}")],
                staircase=True,
            ),
            timeseries(
                "Objects of flagged slabs",
                "In use: in the hands of callers. Preserved: free, and kept for entitled callers.",
                OBJECTS,
                [
                    Query(q.PFMEMALLOC_OBJECTS, "in use {{variant}}"),
                    Query(q.PRESERVED_OBJECTS, "preserved {{variant}}"),
                ],
                staircase=True,
            ),
            timeseries(
                "Reserve used",
                "How far each zone's reserve is drawn: min less free pages, at least 0.",
                PAGES,
                [Query(q.RESERVE_USED, _ZONE)],
                staircase=True,
            ),
        ),
    )
