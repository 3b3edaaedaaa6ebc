"""The dashboard "PFMEMALLOC reserve": how deep it is drawn, by whom, and who went without."""

from __future__ import annotations

from typing import Final

from dashboards import house
from dashboards import queries as q
from dashboards.house import EXHAUSTED, MODEL, ZONE
from dashboards.panels import (
    COUNT,
    CRITICAL,
    GOOD,
    OBJECTS,
    PAGES,
    PER_SECOND,
    RATIO,
    SECONDS,
    SLABS,
    STATE,
    WARNING,
    Dashboard,
    Query,
    Row,
    Style,
    heatmap,
    stat,
    state_timeline,
    table,
    timeseries,
    wide_table,
)

UID: Final = "pfmemd-reserve"


def dashboard() -> Dashboard:
    """The dashboard as it is built into JSON."""
    return Dashboard(
        uid=UID,
        title="PFMEMALLOC reserve",
        description=(
            "The emergency reserve of the page allocator: what is left of it against the"
            " watermarks, who drew it, who was refused, and what still holds its pages."
        ),
        variables=(house.SOURCE, house.VARIANT, house.NODE, house.ZONES, house.CACHES),
        annotations=house.MODEL_ANNOTATIONS,
        rows=(_now(), _occupancy(), _active(), _drawn(), _held(), _zones()),
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
                Query(q.RESERVE_LEFT_WORST, MODEL),
                steps=house.RESERVE_STEPS,
                runbook=EXHAUSTED,
            ),
            stat(
                "Reserve left at the lowest point",
                "The least that was left of the reserve in the worst zone since the model"
                " started, dips between two scrapes included.",
                RATIO,
                Query(q.LOWEST_LEFT_WORST, MODEL),
                steps=house.RESERVE_STEPS,
                runbook=EXHAUSTED,
            ),
            stat(
                "Time to exhaustion",
                "How long until a zone has no free page, if free pages go on falling as in the"
                " last few seconds. Empty while none falls, or where it would take over an hour.",
                SECONDS,
                Query(q.SECONDS_LEFT_WORST, MODEL),
                steps=house.SECONDS_LEFT_STEPS,
                now=True,
                nothing="none falls",
                runbook="PfmemallocReserveExhaustionPredicted",
            ),
            stat(
                "pfmemalloc_active",
                "Whether the model believes that slabs drawn from the reserve exist."
                " SLUB keeps no such flag.",
                STATE,
                Query(q.PFMEMALLOC_ACTIVE, MODEL),
                mapping=house.ACTIVE,
            ),
            stat(
                "Denied",
                "Allocations that were given nothing, per second.",
                PER_SECOND,
                Query(q.DENIED_RATE, MODEL),
                steps=house.NONE_IS_GOOD,
            ),
            stat(
                "Stalled",
                "Allocations for which the kernel would wait in reclaim or loop, per second.",
                PER_SECOND,
                Query(q.STALLED_RATE, MODEL),
                steps=house.NONE_IS_GOOD,
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
                [Query(q.RESERVE_LEFT, ZONE)],
                steps=house.RESERVE_STEPS,
                ceiling=1,
                runbook=EXHAUSTED,
            ),
            timeseries(
                "Allocations that left a zone below min",
                "Page allocations, per second, after which the zone's free pages were below its"
                " min watermark, and those after which less than an eighth of it was left.",
                PER_SECOND,
                [
                    Query(q.BELOW_MIN_RATE, f"below min {ZONE}"),
                    Query(q.EXHAUSTED_RATE, f"below an eighth {ZONE}"),
                ],
                styles=[Style("^below an eighth .*", color=CRITICAL, width=2)],
                runbook=EXHAUSTED,
            ),
            heatmap(
                "How deep the reserve was drawn",
                "Allocations that left a zone below min, per second, by how much of the reserve was"
                " drawn then. It counts each of them, so a dip between two scrapes shows too.",
                RATIO,
                Query(q.RESERVE_DRAWN, "{{le}}"),
                runbook=EXHAUSTED,
            ),
            timeseries(
                "Time to exhaustion",
                "Seconds until a zone has no free page, if it goes on falling as in the last few"
                " seconds.",
                SECONDS,
                [Query(q.SECONDS_LEFT, ZONE)],
                logarithmic=True,
                runbook="PfmemallocReserveExhaustionPredicted",
            ),
        ),
    )


def _zones() -> Row:
    return Row(
        "Insides of the zones",
        (
            wide_table(
                "Zones",
                "Pages of each zone, and its watermarks.",
                ["variant", "node", "zone"],
                [(name, COUNT, expr) for name, expr in q.ZONE_COLUMNS.items()],
                sort_by="variant",
            ),
            timeseries(
                "Free blocks, by order",
                "Free blocks of 2^order pages on the buddy lists of the zones chosen. An allocation"
                " of an order needs a block of it, however many pages are free.",
                COUNT,
                [Query(q.FREE_BLOCKS, "{{variant}} order {{order}}")],
                staircase=True,
            ),
            timeseries(
                "Pages on per-cpu lists",
                "Free pages that the cpus keep for themselves; they do not count as free.",
                PAGES,
                [Query(q.PCP_PAGES, ZONE)],
                staircase=True,
            ),
            table(
                "Kept back from other zones' allocations",
                "Pages that stay free in a zone when an allocation that could use a higher one"
                " falls back to it.",
                PAGES,
                Query(q.LOWMEM_RESERVE),
                columns=["zone", "classzone"],
                value="pages",
            ),
            timeseries(
                "Things the trace holds",
                "Pages and objects that were allocated and not yet freed.",
                COUNT,
                [Query(q.LIVE_HANDLES, MODEL)],
                staircase=True,
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
                [Query(q.PFMEMALLOC_ACTIVE, MODEL)],
                mapping=house.ACTIVE,
            ),
            timeseries(
                "Flips",
                "How often pfmemalloc_active changed, per second, by direction. Too early is off"
                " while a cache still holds flagged slabs.",
                PER_SECOND,
                [
                    Query(q.ACTIVATIONS, "on {{variant}}"),
                    Query(q.DEACTIVATIONS, "off {{variant}}"),
                    Query(q.WRONG_DEACTIVATIONS, "off too early {{variant}}"),
                ],
                styles=[Style("^off too early .*", color=CRITICAL, width=2)],
                runbook="PfmemallocActiveClearedTooEarly",
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
                runbook="PfmemallocReserveLeak",
            ),
            timeseries(
                "Pages marked",
                "Page allocations that came with page->pfmemalloc set, per second: whatever slab is"
                " made of one is flagged.",
                PER_SECOND,
                [Query(q.MARKS_RATE, MODEL)],
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
                [Query(q.PFMEMALLOC_PAGES, ZONE)],
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
                [Query(q.RESERVE_USED, ZONE)],
                staircase=True,
            ),
        ),
    )
