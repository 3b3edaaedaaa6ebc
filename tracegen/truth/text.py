"""A comparison for people to read, for programs, and as a table for a plot."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from io import StringIO
from typing import Final

from tracegen.truth.comparison import CAUSES, Comparison, Spread
from tracegen.truth.ground_truth import GroundTruth, Place

ANCHORS_S: Final = (10, 1)
"""Spans after which the distance is taken as known anew, in seconds."""
MOST_CACHES: Final = 8
_NS: Final = 10**9


def render(comparisons: Sequence[Comparison], truth: GroundTruth, *, with_causes: bool) -> str:
    """Lines of text."""
    points = comparisons[0].points
    seconds = (points[-1].ts_ns - points[0].ts_ns) / _NS
    count, all_of_them = len(points), len(truth.readings)
    out = [f"{count:,} of {all_of_them:,} readings lie in the trace, over {seconds:.1f} s"]
    for comparison in comparisons:
        out += ["", comparison.variant, *_one(comparison, with_causes=with_causes)]
    return "\n".join(out)


def _one(comparison: Comparison, *, with_causes: bool) -> list[str]:
    title = "free pages, model less machine"
    out = [f"  {title:<34} {'median':>7} {'90 %':>7} {'most':>7} {'bias':>7}"]
    out.append(_row("as the trace has it", comparison.spread()))
    out += [_row(f"anchored every {span} s", comparison.anchored(span * _NS)) for span in ANCHORS_S]
    if with_causes:
        shares = comparison.shares()
        out += [
            f"{_row(f'of it {cause}', spread)} {shares[cause]:>5.0%}"
            for cause, spread in comparison.causes().items()
        ]
    for place in comparison.places:
        out += _zone(comparison, place)
    return out + _attempts(comparison) + _failures(comparison) + _slab_pages(comparison)


def _attempts(comparison: Comparison) -> list[str]:
    attempts = comparison.attempts
    return [
        (
            f"  attempts that ignored watermarks: machine {attempts.machine:,}, model"
            f" {attempts.model:,}, both {attempts.both:,}"
        ),
        *_reasons("machine only", attempts.machine_only),
        *_reasons("model only", attempts.model_only),
        (
            f"  attempts from below min: machine {attempts.machine_below_min:,}, model"
            f" {attempts.model_below_min:,}"
        ),
    ]


def _failures(comparison: Comparison) -> list[str]:
    failures = comparison.failures
    return [
        (
            f"  failed: machine {failures.machine:,}, model {failures.model:,},"
            f" both {failures.both:,} ({comparison.denied_before:,} more while it was set up)"
        ),
        *_reasons("machine only", failures.machine_only),
        *_reasons("model only", failures.model_only),
    ]


def _reasons(title: str, reasons: Counter[str]) -> list[str]:
    return [f"    {title}: {count:,} {why}" for why, count in reasons.most_common()]


def _slab_pages(comparison: Comparison) -> list[str]:
    if not comparison.caches:
        return []
    machine, model = comparison.slab_pages()
    out = [f"  pages taken for slabs: machine {machine:,}, model {model:,}"]
    for cache in comparison.caches[:MOST_CACHES]:
        note = " (bulk allocation too)" if cache.bulk else ""
        out.append(f"    {cache.name}: {cache.machine_taken:,}, {cache.model_taken:,}{note}")
    return out


def _row(title: str, spread: Spread) -> str:
    return (
        f"  {title:<34} {spread.median:>7,.0f} {spread.p90:>7,} {spread.largest:>7,}"
        f" {spread.bias:>+7,.0f}"
    )


def _zone(comparison: Comparison, place: Place) -> list[str]:
    node, zone = place
    real, model = comparison.lowest(place)
    below_real, below_model, both = comparison.below_min(place)
    marks, marks_of_model = comparison.watermarks[place]
    same = "are the same" if marks == marks_of_model else str(marks_of_model)
    return [
        f"  node {node} {zone}: min, low, high {marks}, the model's {same}",
        f"    fewest free: machine {real:,}, model {model:,}",
        (
            f"    readings below min: machine {below_real:,}, model {below_model:,}, both {both:,};"
            f" {comparison.in_another_zone(place):,} for pages free in another zone"
        ),
    ]


def to_json(comparison: Comparison, *, with_causes: bool) -> dict[str, object]:
    """One variant for programs."""
    zones = []
    for node, zone in comparison.places:
        real, model = comparison.lowest((node, zone))
        below_real, below_model, both = comparison.below_min((node, zone))
        marks, marks_of_model = comparison.watermarks[node, zone]
        zones.append(
            {
                "node": node,
                "zone": zone,
                "watermarks": {"machine": marks, "model": marks_of_model},
                "lowest_free": {"machine": real, "model": model},
                "below_min": {"machine": below_real, "model": below_model, "both": both},
                "in_another_zone": comparison.in_another_zone((node, zone)),
            }
        )
    attempts = comparison.attempts
    failures = comparison.failures
    free = {"as_is": _spread(comparison.spread())}
    free |= {f"anchored_{span}_s": _spread(comparison.anchored(span * _NS)) for span in ANCHORS_S}
    document: dict[str, object] = {
        "variant": comparison.variant,
        "readings": len(comparison.points),
        "free_pages": free,
        "zones": zones,
        "ignored_watermarks": {
            "machine": attempts.machine,
            "model": attempts.model,
            "both": attempts.both,
            "machine_only": dict(attempts.machine_only),
            "model_only": dict(attempts.model_only),
        },
        "from_below_min": {
            "machine": attempts.machine_below_min,
            "model": attempts.model_below_min,
        },
        "failed": {
            "machine": failures.machine,
            "model": failures.model,
            "both": failures.both,
            "machine_only": dict(failures.machine_only),
            "model_only": dict(failures.model_only),
            "while_set_up": comparison.denied_before,
        },
    }
    if with_causes:
        shares = comparison.shares()
        document["causes"] = {
            cause: {**_spread(spread), "share": round(shares[cause], 4)}
            for cause, spread in comparison.causes().items()
        }
        machine, model = comparison.slab_pages()
        document["slab_pages"] = {
            "machine": machine,
            "model": model,
            "caches": [asdict(cache) for cache in comparison.caches],
        }
    return document


def _spread(spread: Spread) -> dict[str, float]:
    return {
        "median": spread.median,
        "p90": spread.p90,
        "largest": spread.largest,
        "bias": spread.bias,
    }


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """One row for each reading and variant: time, zones, causes."""
    places = comparisons[0].places
    names = [f"node{node}_{zone}" for node, zone in places]
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "variant",
            "seconds",
            *(f"{name}_{who}" for name in names for who in ("machine", "model", "min")),
            *CAUSES,
        ]
    )
    for comparison in comparisons:
        for point in comparison.points:
            free = [
                pages
                for place in places
                for pages in (point.real[place], point.model[place], point.mins[place])
            ]
            writer.writerow(
                [
                    comparison.variant,
                    f"{point.ts_ns / _NS:.6f}",
                    *free,
                    *(point.causes[cause] for cause in CAUSES),
                ]
            )
    return out.getvalue()
