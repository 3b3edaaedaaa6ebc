"""The report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from daemon.findings import EXHAUSTED, THROTTLED
from daemon.soak.conditions import Condition
from daemon.soak.result import ModelResult, Sample, SoakResult
from daemon.soak.span import span_text

COLORS: Final = (
    *("#2f81f7", "#db6d28", "#3fb950", "#a371f7", "#d29922", "#f778ba", "#1f6feb", "#e5534b"),
)
FAINT, BETTER, WORSE = "faint", "good", "bad"
"""Styles of the page."""
AS_BEFORE: Final = "as before"
NOTHING: Final = 0.005
"""A change of less than half a percent is none."""
LEFT, RIGHT, TOP, BOTTOM = 50.0, 990.0, 15.0, 275.0
"""The chart's inside."""
MOST_TICKS: Final = 8
STEPS: Final = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 14_400, 21_600, 43_200, 86_400),
)
"""Seconds between two marks of the time axis."""

_ROWS: Final = (
    ("allocations", "allocations", False),
    ("granted", "ok", False),
    ("denied", "denied", True),
    ("of them to entitled callers", "entitled_denied", True),
    ("stalled", "stalled", True),
    ("left a zone below min", "below_min_allocations", True),
    ("left less than an eighth of min", "exhausted_allocations", True),
    ("reserve objects leaked", "leaked", True),
    ("pfmemalloc_active switched on", "activations", False),
    ("switched off", "deactivations", False),
    ("of these wrongly", "wrong_deactivations", True),
    ("errors of the trace", "trace_errors", True),
)
"""Title, number, and whether more of it is worse."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A number, and how it changed."""

    now: str
    change: str = ""
    style: str = FAINT


@dataclass(frozen=True, slots=True)
class Row:
    """One number of every model."""

    title: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A condition and what each model came to: None if it was not asked of it, nothing if kept."""

    condition: str
    models: list[str | None]

    @property
    def crossed(self) -> bool:
        """Whether any model crossed it."""
        return any(self.models)


@dataclass(frozen=True, slots=True)
class Line:
    """One model's line."""

    name: str
    color: str
    points: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the SVG shows, in its own coordinates."""

    grid: list[tuple[float, str]]
    times: list[tuple[float, str]]
    phases: list[tuple[float, str]]
    half: float
    eighth: float
    lines: list[Line]


def html_report(
    result: SoakResult,
    conditions: tuple[Condition, ...],
    last: SoakResult | None,
    no_moments: str,
) -> str:
    """The whole file. ``no_moments`` is said where there is no event to tell of."""
    # Not at the head: every pfmemd command would take longer to start.
    from jinja2 import Environment, PackageLoader, select_autoescape  # noqa: PLC0415

    environment = Environment(
        loader=PackageLoader("daemon.soak", package_path=""),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        result=result,
        verdict="failed" if result.breaches else "passed",
        duration=span_text(result.seconds),
        thresholds=thresholds(result, conditions),
        chart=chart(result.timeline),
        several=len({model.source for model in result.models}) > 1,
        comparison=comparison(result, last),
        last=last,
        no_moments=no_moments,
    )


def thresholds(result: SoakResult, conditions: tuple[Condition, ...]) -> list[Threshold]:
    """Every condition with what the models came to; those that were crossed first."""
    rows = [
        Threshold(
            condition.text,
            [
                (condition.breach(model) or "") if condition.applies_to(model) else None
                for model in result.models
            ],
        )
        for condition in conditions
    ]
    return sorted(rows, key=lambda row: not row.crossed)


def times(end: float) -> list[float]:
    """Round times up to ``end`` seconds for the axis, a few of them."""
    step = next((step for step in STEPS if end / step <= MOST_TICKS), STEPS[-1])
    # A soak of weeks: whole days, as many as leave the marks apart.
    step *= max(1, math.ceil(end / step / MOST_TICKS))
    return [step * at for at in range(int(end / step) + 1)]


def chart(samples: list[Sample]) -> Chart | None:
    """The timeline as lines; None without samples."""
    if not samples:
        return None
    end = max(samples[-1].seconds, 1e-9)

    def x(seconds: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * seconds / end, 1)

    def y(left: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * left, 1)

    variants = dict.fromkeys(variant for sample in samples for variant in sample.left)
    lines = [
        Line(
            variant,
            COLORS[at % len(COLORS)],
            " ".join(
                f"{x(sample.seconds)},{y(sample.left[variant])}"
                for sample in samples
                if variant in sample.left
            ),
        )
        for at, variant in enumerate(variants)
    ]
    phases = []
    before: str | None = None
    for sample in samples:
        if sample.phase != before and sample.phase is not None:
            phases.append((x(sample.seconds), sample.phase))
        before = sample.phase
    return Chart(
        grid=[(y(part / 4), f"{25 * part} %") for part in range(5)],
        times=[(x(at), span_text(at) if at else "0") for at in times(end)],
        phases=phases[:20],
        half=y(THROTTLED),
        eighth=y(EXHAUSTED),
        lines=lines,
    )


def comparison(result: SoakResult, last: SoakResult | None) -> list[Row]:
    """Each number of each model, with its change since the last run.

    Where the two runs made different numbers of allocations, the change is that of the
    number for each allocation: a longer run denies more, and is no worse for it.
    """
    rows = [_lowest(result, last)]
    for title, name, worse in _ROWS:
        cells = []
        for model in result.models:
            before = last.model(model.source, model.variant) if last else None
            cells.append(_cell(name, model, before, worse))
        rows.append(Row(title, cells))
    return rows


def _lowest(result: SoakResult, last: SoakResult | None) -> Row:
    cells = []
    for model in result.models:
        before = last.model(model.source, model.variant) if last else None
        change, style = "", FAINT
        if before is not None:
            points = round(100 * (model.lowest_left - before.lowest_left), 1)
            change = f"{points:+.1f} points" if points else AS_BEFORE
            style = WORSE if points < 0 else BETTER if points > 0 else FAINT
        now = f"{100 * model.lowest_left:.1f} % ({model.lowest_free:,} of {model.lowest_min:,})"
        cells.append(Cell(now, change, style))
    return Row("least left of the reserve", cells)


def _cell(name: str, model: ModelResult, before: ModelResult | None, worse: bool) -> Cell:
    now: int = getattr(model, name)
    if before is None:
        return Cell(f"{now:,}")
    then: int = getattr(before, name)
    if model.allocations == before.allocations:
        percent = f" ({100 * (now - then) / then:+.0f} %)" if then else ""
        change, sign = f"{now - then:+,}{percent}", now - then
    elif name in {"allocations", "ok"}:
        return Cell(f"{now:,}")
    elif then and model.allocations:
        part = now / model.allocations / (then / before.allocations) - 1
        sign = -1 if part < -NOTHING else 1 if part > NOTHING else 0
        change = f"{100 * part:+.0f} % an allocation"
    else:
        change, sign = f"{now:+,}", now
    if not sign:
        return Cell(f"{now:,}", AS_BEFORE if now else "")
    style = FAINT if not worse else WORSE if sign > 0 else BETTER
    return Cell(f"{now:,}", change, style)
