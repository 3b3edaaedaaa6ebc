"""A comparison as a report that can be kept: Markdown beside its picture, or one page of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from tracegen.truth.comparison import Comparison
from tracegen.truth.picture import draw
from tracegen.truth.text import ANCHORS_S

_NS: Final = 10**9
_MOST_CACHES: Final = 12

_Table = tuple[str, list[list[str]]]
"""What stands above it; its rows, the first is the head."""

_STYLE: Final = (
    "body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}"
    "td,th{border:1px solid #d1d5db;padding:.2rem .6rem;text-align:right}"
    "td:first-child,th:first-child{text-align:left}svg{width:100%}"
)


def to_markdown(comparisons: Sequence[Comparison], picture: str) -> str:
    """Tables, and the picture by its name."""
    out = [_opening(comparisons), "", f"![free pages over time]({picture})"]
    for title, rows in _tables(comparisons):
        out += ["", title, "", _markdown_row(rows[0]), _markdown_row(["---"] * len(rows[0]))]
        out += [_markdown_row(row) for row in rows[1:]]
    return "\n".join(out) + "\n"


def to_html(comparisons: Sequence[Comparison]) -> str:
    """One page with everything in it."""
    out = [
        (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>pfmemd truth</title>'
            f"<style>{_STYLE}</style><h1>Model and machine</h1>"
            f"<p>{escape(_opening(comparisons))}</p>"
        ),
        draw(comparisons),
    ]
    for title, rows in _tables(comparisons):
        out.append(f"<p>{escape(title)}</p><table>")
        for index, row in enumerate(rows):
            cell = "td" if index else "th"
            cells = "".join(f"<{cell}>{escape(text)}</{cell}>" for text in row)
            out.append(f"<tr>{cells}</tr>")
        out.append("</table>")
    out.append("</html>")
    return "\n".join(out) + "\n"


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _opening(comparisons: Sequence[Comparison]) -> str:
    points = comparisons[0].points
    seconds = (points[-1].ts_ns - points[0].ts_ns) / _NS
    return f"{len(points):,} readings of the machine over {seconds:.1f} s."


def _tables(comparisons: Sequence[Comparison]) -> list[_Table]:
    tables = [_free_pages(comparisons), _depth(comparisons)]
    for comparison in comparisons:
        tables.append(_causes(comparison))
        tables.append(_attempts(comparison))
        tables.append(_failures(comparison))
        if comparison.caches:
            tables.append(_slab_pages(comparison))
    return tables


def _free_pages(comparisons: Sequence[Comparison]) -> _Table:
    rows = [["variant", "", "median", "90 %", "most", "bias"]]
    for comparison in comparisons:
        spreads = [("as the trace has it", comparison.spread())]
        spreads += [
            (f"anchored every {span} s", comparison.anchored(span * _NS)) for span in ANCHORS_S
        ]
        for title, spread in spreads:
            numbers = [f"{spread.median:,.0f}", f"{spread.p90:,}", f"{spread.largest:,}"]
            rows.append([comparison.variant, title, *numbers, f"{spread.bias:+,.0f}"])
    return "Free pages of all zones, model less machine, in pages:", rows


def _depth(comparisons: Sequence[Comparison]) -> _Table:
    rows = [["variant", "zone", "min", "fewest: machine", "model", "below min: machine", "model"]]
    rows[0] += ["both", "machine only, for pages free in another zone"]
    for comparison in comparisons:
        for place in comparison.places:
            real, model = comparison.lowest(place)
            below = [f"{count:,}" for count in comparison.below_min(place)]
            least = comparison.points[0].mins[place]
            zone = f"node {place[0]} {place[1]}"
            rows.append([comparison.variant, zone, f"{least}", f"{real:,}", f"{model:,}", *below])
            rows[-1].append(f"{comparison.in_another_zone(place):,}")
    return "How deep, and how many readings below min:", rows


def _causes(comparison: Comparison) -> _Table:
    shares = comparison.shares()
    rows = [["cause", "median", "90 %", "bias", "share"]]
    for cause, spread in comparison.causes().items():
        numbers = [f"{spread.median:,.0f}", f"{spread.p90:,}", f"{spread.bias:+,.0f}"]
        rows.append([cause, *numbers, f"{shares[cause]:.0%}"])
    return f"{comparison.variant}: what the distance is made of, in pages:", rows


def _attempts(comparison: Comparison) -> _Table:
    attempts = comparison.attempts
    rows = [["attempts that ignored watermarks", "number", "of the machine's"]]
    whole = attempts.machine or 1
    counts = [("machine", attempts.machine), ("model", attempts.model), ("both", attempts.both)]
    counts += [(f"machine only: {why}", n) for why, n in attempts.machine_only.most_common()]
    counts += [(f"model only: {why}", n) for why, n in attempts.model_only.most_common()]
    rows += [[title, f"{n:,}", f"{n / whole:.0%}"] for title, n in counts]
    rows.append(["from below min, of any kind: machine", f"{attempts.machine_below_min:,}", ""])
    rows.append(["from below min, of any kind: model", f"{attempts.model_below_min:,}", ""])
    return f"{comparison.variant}: attempts at pages:", rows


def _failures(comparison: Comparison) -> _Table:
    failures = comparison.failures
    rows = [["failed allocations", "number"]]
    counts = [("machine", failures.machine), ("model", failures.model), ("both", failures.both)]
    counts += [(f"machine only: {why}", n) for why, n in failures.machine_only.most_common()]
    counts += [(f"model only: {why}", n) for why, n in failures.model_only.most_common()]
    counts.append(("model, while it was set up", comparison.denied_before))
    rows += [[title, f"{n:,}"] for title, n in counts]
    return f"{comparison.variant}: failures:", rows


def _slab_pages(comparison: Comparison) -> _Table:
    machine, model = comparison.slab_pages()
    rows = [["cache", "taken: machine", "model", "kept: machine", "model"]]
    rows.append(["all but those with bulk allocation", f"{machine:,}", f"{model:,}", "", ""])
    for cache in comparison.caches[:_MOST_CACHES]:
        name = f"{cache.name} (bulk allocation)" if cache.bulk else cache.name
        numbers = (cache.machine_taken, cache.model_taken, cache.machine_net, cache.model_net)
        rows.append([name, *(f"{pages:,}" for pages in numbers)])
    return f"{comparison.variant}: pages taken for slabs while the trace ran:", rows
