"""The dashboard "Real host beside the model": node_exporter's numbers on the left, ours right."""

from __future__ import annotations

from typing import Final

from dashboards import house
from dashboards import queries as q
from dashboards.house import CACHE, MODEL, ZONE
from dashboards.panels import (
    BYTES,
    CRITICAL,
    GOOD,
    OBJECTS,
    PAGES,
    PER_SECOND,
    RATIO,
    WARNING,
    Dashboard,
    Query,
    Row,
    Style,
    Variable,
    stat,
    timeseries,
)

UID: Final = "pfmemd-real-host"

_INSTANCE: Final = "{{instance}}"
_WATERMARKS: Final = [
    Style("^free .*", width=2, fill=10),
    Style("^min .*", color=CRITICAL, width=2),
    Style("^low .*", color=WARNING),
    Style("^high .*", color=GOOD),
]


def _host(expr: str, legend: str) -> Query:
    """A query of a host, which is usually scraped four times a minute."""
    return Query(expr, legend, step="15s")


def dashboard() -> Dashboard:
    """The dashboard as it is built into JSON."""
    return Dashboard(
        uid=UID,
        title="Real host beside the model",
        description=(
            "The same questions to a machine that runs node_exporter (left) and to a model"
            " (right). node_exporter leaves most of this out unless it is asked:"
            " docs/how-to/watch-a-real-host.md has the flags."
        ),
        variables=(
            Variable("host", "Host", q.HOST_VALUES, multi=False),
            house.SOURCE,
            house.VARIANT,
            Variable("node", "Node", q.HOST_NODE_VALUES),
            Variable("zone", "Zone", q.HOST_ZONE_VALUES),
        ),
        annotations=(house.PHASES, house.ALERTS),
        rows=(_now(), _zones(), _waits(), _caches()),
    )


def _now() -> Row:
    return Row(
        "Now",
        (
            stat(
                "Reserve left, host",
                "What is left of the reserve (min watermark) in the host's worst zone.",
                RATIO,
                _host(q.HOST_RESERVE_LEFT_WORST, _INSTANCE),
                steps=house.RESERVE_STEPS,
                runbook="HostReserveExhausted",
            ),
            stat(
                "Throttled, host",
                "Direct reclaimers per second that the host put to sleep because less than half of"
                " its reserve was left.",
                PER_SECOND,
                _host(q.HOST_THROTTLED, _INSTANCE),
                steps=house.NONE_IS_GOOD,
                runbook="HostReclaimThrottled",
            ),
            stat(
                "Packets dropped, host",
                "Packets in reserve memory that the host dropped because their socket may not use"
                " it, per second.",
                PER_SECOND,
                _host(q.HOST_DROPS, _INSTANCE),
                steps=house.NONE_IS_GOOD,
                runbook="HostPfmemallocDrops",
            ),
            stat(
                "Reserve left, model",
                "What is left of the reserve in the model's worst zone.",
                RATIO,
                Query(q.RESERVE_LEFT_WORST, MODEL),
                steps=house.RESERVE_STEPS,
                runbook=house.EXHAUSTED,
            ),
            stat(
                "Stalled, model",
                "Allocations per second for which the kernel would wait.",
                PER_SECOND,
                Query(q.STALLED_RATE, MODEL),
                steps=house.NONE_IS_GOOD,
            ),
            stat(
                "Denied, model",
                "Allocations per second that were given nothing.",
                PER_SECOND,
                Query(q.DENIED_RATE, MODEL),
                steps=house.NONE_IS_GOOD,
            ),
        ),
    )


def _zones() -> Row:
    return Row(
        "Zones and their reserve",
        (
            timeseries(
                "Zone $zone, host",
                "Free pages of the host's zone against min, low and high.",
                PAGES,
                [
                    _host(q.HOST_FREE, "free node {{node}} {{zone}}"),
                    _host(q.HOST_MIN, "min node {{node}} {{zone}}"),
                    _host(q.HOST_LOW, "low node {{node}} {{zone}}"),
                    _host(q.HOST_HIGH, "high node {{node}} {{zone}}"),
                ],
                styles=_WATERMARKS,
                runbook="HostReserveExhausted",
            ),
            timeseries(
                "Zone $zone, model",
                "Free pages of the model's zone against min, low and high.",
                PAGES,
                [
                    Query(q.ZONE_FREE, f"free {ZONE}"),
                    Query(q.ZONE_MIN, "min node {{node}} {{zone}}"),
                    Query(q.ZONE_LOW, "low node {{node}} {{zone}}"),
                    Query(q.ZONE_HIGH, "high node {{node}} {{zone}}"),
                ],
                styles=_WATERMARKS,
                runbook=house.EXHAUSTED,
            ),
            timeseries(
                "Reserve left, host",
                "What is left of each zone's reserve, as a part of its min watermark.",
                RATIO,
                [_host(q.HOST_RESERVE_LEFT, "{{instance}} node {{node}} {{zone}}")],
                steps=house.RESERVE_STEPS,
                ceiling=1,
                runbook="HostReserveLow",
            ),
            timeseries(
                "Reserve left, model",
                "What is left of each zone's reserve, as a part of its min watermark.",
                RATIO,
                [Query(q.RESERVE_LEFT, ZONE)],
                steps=house.RESERVE_STEPS,
                ceiling=1,
                runbook=house.EXHAUSTED,
            ),
        ),
    )


def _waits() -> Row:
    return Row(
        "Who waits, who goes without",
        (
            timeseries(
                "Stalls and throttling, host",
                "Per second: allocations that had to reclaim by themselves, for kernel and for user"
                " memory, and direct reclaimers put to sleep to spare the reserve.",
                PER_SECOND,
                [
                    _host(q.HOST_STALLS_KERNEL, "kernel memory {{instance}}"),
                    _host(q.HOST_STALLS_USER, "user memory {{instance}}"),
                    _host(q.HOST_THROTTLED, "throttled {{instance}}"),
                ],
                runbook="HostAllocationStalls",
            ),
            timeseries(
                "Stalled and denied, model",
                "Per second: allocations for which the kernel would wait, and those that were given"
                " nothing.",
                PER_SECOND,
                [
                    Query(q.STALLED_RATE, "stalled {{variant}}"),
                    Query(q.DENIED_RATE, "denied {{variant}}"),
                ],
            ),
            timeseries(
                "Reclaim and swap, host",
                "Pages per second: looked at by kswapd and by direct reclaimers, written to and"
                " read from swap.",
                PER_SECOND,
                [
                    _host(q.HOST_SCANNED_KSWAPD, "scanned by kswapd"),
                    _host(q.HOST_SCANNED_DIRECT, "scanned directly"),
                    _host(q.HOST_SWAPPED_OUT, "swapped out"),
                    _host(q.HOST_SWAPPED_IN, "swapped in"),
                ],
            ),
            timeseries(
                "kswapd woken, model",
                "How often the slow path woke kswapd, per second.",
                PER_SECOND,
                [Query(q.KSWAPD_WAKEUPS, MODEL)],
            ),
            timeseries(
                "Packets dropped, host",
                "Packets in reserve memory whose socket may not use it, per second.",
                PER_SECOND,
                [_host(q.HOST_DROPS, _INSTANCE)],
                runbook="HostPfmemallocDrops",
            ),
            timeseries(
                "pfmemalloc pages, model",
                "Live pages that were marked page->pfmemalloc when they were handed out.",
                PAGES,
                [Query(q.PFMEMALLOC_PAGES, ZONE)],
                staircase=True,
            ),
        ),
    )


def _caches() -> Row:
    return Row(
        "Caches",
        (
            timeseries(
                "Memory of caches, host",
                "Bytes of objects in the slabs of the ten largest caches.",
                BYTES,
                [_host(q.HOST_SLAB_MEMORY, "{{slab}}")],
            ),
            timeseries(
                "Memory of caches, model",
                "Bytes of objects in the slabs of the ten largest caches.",
                BYTES,
                [Query(q.MODEL_CACHE_MEMORY, CACHE)],
            ),
            timeseries(
                "Objects in use, host",
                "The ten caches with most objects in use.",
                OBJECTS,
                [_host(q.HOST_SLAB_ACTIVE, "{{slab}}")],
            ),
            timeseries(
                "Objects in use, model",
                "The ten caches with most objects in use.",
                OBJECTS,
                [Query(q.MODEL_CACHE_ACTIVE, CACHE)],
            ),
        ),
    )
