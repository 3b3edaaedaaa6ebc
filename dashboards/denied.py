"""The dashboard "Denied and stalled": who went without, why, and whether it hurts."""

from __future__ import annotations

from typing import Final

from dashboards import house
from dashboards import queries as q
from dashboards.house import CACHE, MODEL, queries
from dashboards.panels import (
    COUNT,
    PER_SECOND,
    RATIO,
    Dashboard,
    Query,
    Row,
    stat,
    table,
    timeseries,
)

UID: Final = "pfmemd-denied"
ENTITLED: Final = "PfmemallocEntitledDenied"
RISING: Final = "PfmemallocDenialsRising"


def dashboard() -> Dashboard:
    """The dashboard as it is built into JSON."""
    return Dashboard(
        uid=UID,
        title="Denied and stalled",
        description=(
            "Allocations that were given nothing, or for which the kernel would wait: by reason,"
            " by cache, by caller. A denied ordinary caller is the patch at work; a denied"
            " entitled one is the hang that it exists to prevent."
        ),
        variables=(house.SOURCE, house.VARIANT, house.CACHES),
        annotations=house.MODEL_ANNOTATIONS,
        rows=(_now(), _denied(), _entitled(), _stalled(), _granted()),
    )


def _now() -> Row:
    return Row(
        "Now",
        (
            stat(
                "Denied",
                "Allocations that were given nothing, per second.",
                PER_SECOND,
                Query(q.DENIED_RATE, MODEL),
                steps=house.NONE_IS_GOOD,
                runbook=RISING,
            ),
            stat(
                "Of all allocations",
                "The share of allocations that were denied.",
                RATIO,
                Query(q.DENIED_SHARE, MODEL),
                steps=house.NONE_IS_GOOD,
                runbook=RISING,
            ),
            stat(
                "Entitled callers denied",
                "Allocations by pf_memalloc, gfp_memalloc and memdie callers that were given"
                " nothing, per second. More than 0 is the beginning of a hang.",
                PER_SECOND,
                Query(q.ENTITLED_DENIED_RATE, MODEL),
                steps=house.NONE_MUST_BE,
                runbook=ENTITLED,
            ),
            stat(
                "Stalled",
                "Allocations for which the kernel would wait in reclaim or loop, per second.",
                PER_SECOND,
                Query(q.STALLED_RATE, MODEL),
                steps=house.NONE_IS_GOOD,
            ),
            stat(
                "kswapd woken",
                "How often the slow path woke kswapd, per second.",
                PER_SECOND,
                Query(q.KSWAPD_WAKEUPS, MODEL),
            ),
            stat(
                "Frees of what was denied",
                "Frees, per second, of something that the model had denied and the real machine had"
                " granted: how far the two have come apart.",
                PER_SECOND,
                Query(q.DENIED_FREES, MODEL),
            ),
        ),
    )


def _denied() -> Row:
    return Row(
        "Denied",
        (
            timeseries(
                "Denied, by reason",
                "Allocations that were given nothing, per second: watermark (no page), preserved"
                " (kept for PFMEMALLOC callers), growth_failed, order_too_large, no_zone,"
                " no_cache.",
                PER_SECOND,
                [Query(q.DENIED_BY_REASON, "{{variant}} {{reason}}")],
                stacked=True,
                runbook=RISING,
            ),
            timeseries(
                "Denied, by caller",
                "Who was given nothing, per second. A denied pf_memalloc, gfp_memalloc or"
                " memdie caller is the hang that the reserve exists to prevent.",
                PER_SECOND,
                [Query(q.DENIED_BY_CALLER, "{{variant}} {{caller}} {{kind}}")],
                stacked=True,
                runbook=RISING,
            ),
            timeseries(
                "Denied, by cache",
                "The ten caches that refused most, per second.",
                PER_SECOND,
                [Query(q.DENIED_BY_CACHE, CACHE)],
                stacked=True,
                runbook=RISING,
            ),
            timeseries(
                "Share denied",
                "The share of allocations that were denied.",
                RATIO,
                [Query(q.DENIED_SHARE, MODEL)],
                runbook=RISING,
            ),
        ),
    )


def _entitled() -> Row:
    return Row(
        "Entitled callers",
        (
            timeseries(
                "Entitled callers denied",
                "Allocations by pf_memalloc, gfp_memalloc and memdie callers that were given"
                " nothing, per second.",
                PER_SECOND,
                [Query(q.ENTITLED_DENIED_RATE, MODEL)],
                steps=house.NONE_MUST_BE,
                runbook=ENTITLED,
            ),
            table(
                "Entitled callers denied since the model started",
                "Which of them, for what, and why.",
                COUNT,
                Query(q.ENTITLED_DENIED),
                columns=["variant", "caller", "kind", "reason"],
                value="allocations",
            ),
        ),
    )


def _stalled() -> Row:
    return Row(
        "Stalled",
        (
            timeseries(
                "Stalled, by reason and caller",
                "Allocations for which the kernel would wait in direct reclaim (reclaim), kill"
                " (oom) or loop (nofail), per second.",
                PER_SECOND,
                [Query(q.STALLED_BY_REASON, "{{variant}} {{reason}} {{caller}}")],
                stacked=True,
            ),
            timeseries(
                "Stalled, by cache",
                "The ten caches that would wait most, per second.",
                PER_SECOND,
                [Query(q.STALLED_BY_CACHE, CACHE)],
                stacked=True,
            ),
        ),
    )


def _granted() -> Row:
    return Row(
        "Granted, for comparison",
        (
            timeseries(
                "Granted, by where it came from",
                "Allocations that succeeded, per second: pages from the per-cpu lists or above or"
                " below a watermark, objects from the cpu's array or freelist, by refill or"
                " growth.",
                PER_SECOND,
                [Query(q.OK_BY_PATH, "{{variant}} {{path}}")],
                stacked=True,
            ),
            timeseries(
                "Given back",
                "Pages and objects freed, per second. Denials while nothing is freed are a hang.",
                PER_SECOND,
                queries(q.FREES),
                runbook="PfmemallocHang",
            ),
            timeseries(
                "Errors of the trace",
                "Frees of things never allocated and handles used twice, per second. They make the"
                " model drift from the machine.",
                PER_SECOND,
                [
                    Query(q.UNKNOWN_FREES, "unknown frees {{variant}}"),
                    Query(q.REUSED_HANDLES, "reused handles {{variant}}"),
                ],
                width=24,
                runbook="PfmemdTraceErrors",
            ),
        ),
    )
