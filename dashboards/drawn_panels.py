"""How each kind of panel is drawn inside its frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dashboards.drawn_style import (
    COLORS,
    FAINT,
    PANEL,
    TEXT,
    WHITE,
    color_at,
    line_style,
    mapped,
    number,
    threshold_color,
)
from dashboards.panels import CALM, NEUTRAL
from dashboards.prometheus_api import Points

if TYPE_CHECKING:  # an extra: who does not draw does not need it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE_INCHES: Final = 0.36
LINE_INCHES: Final = 0.16
"""Of a legend."""
ROW_INCHES: Final = 0.19
"""Of a table."""
AXIS_INCHES: Final = (0.68, 0.2)
"""Left of a graph and below it."""
LEGEND_LINES: Final = 6
"""More series than this are drawn and not named."""
BARS: Final = 10
TICKS: Final = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    name: str
    labels: dict[str, str]
    points: Points

    @property
    def last(self) -> float:
        """The newest value that is a number; NaN if there is none."""
        return next((v for _, v in reversed(self.points) if not math.isnan(v)), math.nan)

    @property
    def most(self) -> float:
        """The largest value; NaN if there is none."""
        return max((v for _, v in self.points if not math.isnan(v)), default=math.nan)


Answers: TypeAlias = Sequence[list[Series]]
"""The series of each target of a panel."""


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotation: marked where its values rise above 0."""

    color: str
    points: Points


class Frame:
    """A panel's frame, measured in inches from its lower left corner."""

    def __init__(
        self,
        figure: Figure,
        left: float,
        bottom: float,
        width: float,
        height: float,
        span: tuple[float, float],
        marks: Sequence[Mark],
    ) -> None:
        """Draw the empty frame."""
        self.width, self.height, self.span, self.marks = width, height, span, marks
        self._figure, self._left, self._bottom = figure, left, bottom
        self._box = self.axes(0, 0, width, height)
        self._box.set_facecolor(PANEL)
        self._box.set_xlim(0, width)
        self._box.set_ylim(0, height)
        self._box.set_xticks([])
        self._box.set_yticks([])
        for spine in self._box.spines.values():
            spine.set_color(FAINT)

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """A place for a graph."""
        across, up = self._figure.get_size_inches()
        place = ((self._left + left) / across, (self._bottom + bottom) / up)
        return self._figure.add_axes((*place, width / across, max(0.01, height / up)))

    def title(self, text: str) -> None:
        """The panel's name at the top."""
        self.text(0.1, self.height - TITLE_INCHES / 2, text, size=8.5, weight="bold")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 6.6,
        color: str = TEXT,
        right: bool = False,
        weight: str = "normal",
    ) -> None:
        """Words, left of ``x`` or right of it, with their middle at ``y``."""
        align = "right" if right else "left"
        self._box.text(x, y, text, color=color, fontsize=size, va="center", ha=align, weight=weight)

    def block(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """A filled rectangle."""
        from matplotlib.patches import Rectangle  # noqa: PLC0415 - an extra

        self._box.add_patch(Rectangle((x, y), width, height, color=color, lw=0))

    def graph(self, panel: dict[str, Any], *, left: float = 0.0, below: float = 0.0) -> Axes:
        """Axes over time, with so much room kept at the left and below."""
        from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter  # noqa: PLC0415 - an extra

        x, y = AXIS_INCHES[0] + left, AXIS_INCHES[1] + below + 0.05
        axes = self.axes(x, y, self.width - x - 0.15, self.height - y - TITLE_INCHES)
        axes.set_facecolor(PANEL)
        axes.grid(color=FAINT, lw=0.4)
        axes.set_xlim(*self.span)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.tick_params(colors=TEXT, labelsize=6.5, length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: clock(at)))
        unit = panel["fieldConfig"]["defaults"]["unit"]
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        if custom.get("scaleDistribution", {}).get("type") == "log":
            axes.set_yscale("log")  # which brings ticks of its own
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, unit)))
        return axes

    def mark(self, axes: Axes) -> None:
        """Draw the annotations."""
        for mark in self.marks:
            before = 0.0
            for when, value in mark.points:
                if value > 0 >= before:
                    axes.axvline(when, color=mark.color, lw=0.7, alpha=0.8)
                before = value


def _timeseries(frame: Frame, panel: dict[str, Any], answers: Answers) -> None:
    series = [one for answer in answers for one in answer]
    named = series[:LEGEND_LINES]
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    overrides = panel["fieldConfig"]["overrides"]
    axes = frame.graph(panel, below=LINE_INCHES * len(named) + 0.04)
    if custom.get("stacking", {}).get("mode") == "normal":
        _stack(axes, series)
    else:
        staircase = custom.get("lineInterpolation") == "stepAfter"
        for at, one in enumerate(series):
            times, shown = with_gaps(one.points)
            look = line_style(one.name, at, overrides)
            axes.plot(times, shown, drawstyle="steps-post" if staircase else "default", **look)
    frame.mark(axes)
    _limits(axes, defaults)
    _legend(frame, panel, named, len(series) - len(named))


def _limits(axes: Axes, defaults: dict[str, Any]) -> None:
    """Where the axis ends, and the thresholds on it."""
    if defaults.get("min") == 0:
        axes.set_ylim(bottom=0)
    if "max" in defaults:
        axes.set_ylim(top=defaults["max"] * 1.03)
    if defaults["custom"].get("thresholdsStyle", {}).get("mode") == "dashed":
        _, top = axes.get_ylim()
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and step["value"] < top:
                color = COLORS.get(step["color"], step["color"])
                axes.axhline(step["value"], color=color, lw=0.8, ls=(0, (4, 4)), alpha=0.7)


def _legend(frame: Frame, panel: dict[str, Any], named: list[Series], more: int) -> None:
    """Names, newest and largest values; how many series more there are."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    for at, one in enumerate(named):
        y = 0.1 + LINE_INCHES * (len(named) - 1 - at)
        color = line_style(one.name, at, panel["fieldConfig"]["overrides"])["color"]
        frame.block(0.12, y - 0.015, 0.25, 0.03, color)
        name = one.name[: int(frame.width * 8)]
        if more and one is named[-1]:
            name += f"  and {more} more"
        frame.text(0.45, y, name)
        told = f"{number(one.last, unit)}, at most {number(one.most, unit)}"
        frame.text(frame.width - 0.12, y, told, right=True)


def with_gaps(points: Points) -> tuple[list[float], list[float]]:
    """Times and values, with a NaN where points are missing: a line would say they were there."""
    if not points:
        return [], []
    step = min((b - a for (a, _), (b, _) in pairwise(points)), default=1.0)
    times, shown = [points[0][0]], [points[0][1]]
    for (before, _), (when, value) in pairwise(points):
        if when - before > 1.5 * step:
            times.append(before + step)
            shown.append(math.nan)
        times.append(when)
        shown.append(value)
    return times, shown


def _stack(axes: Axes, series: list[Series]) -> None:
    """Areas on one another; a series that is gone for a while is 0 then."""
    found = sorted({at for one in series for at, _ in one.points})
    if not found:
        return
    step = min((b - a for a, b in pairwise(found)), default=1.0)
    ticks = range(round((found[-1] - found[0]) / step) + 1)
    heights = []
    for one in series:
        known = {round((at - found[0]) / step): or_zero(value) for at, value in one.points}
        heights.append([known.get(tick, 0.0) for tick in ticks])
    times = [found[0] + step * tick for tick in ticks]
    colors = [color_at(at) for at in range(len(heights))]
    axes.stackplot(times, heights, colors=colors, alpha=0.75, lw=0)


def _stat(frame: Frame, panel: dict[str, Any], answers: Answers) -> None:
    series = [one for answer in answers for one in answer]
    defaults = panel["fieldConfig"]["defaults"]
    if not series:
        frame.text(
            frame.width / 2, frame.height / 2, defaults["noValue"], size=10, color=COLORS[NEUTRAL]
        )
        return
    room = (frame.height - TITLE_INCHES - 0.05) / len(series)
    for at, one in enumerate(series):
        bottom = frame.height - TITLE_INCHES - room * (at + 1)
        told, color = mapped(one.last, defaults) or (
            number(one.last, defaults["unit"]),
            threshold_color(one.last, defaults),
        )
        frame.block(0.06, bottom + 0.02, frame.width - 0.12, room - 0.04, color)
        middle = bottom + room / 2
        frame.text(0.13, middle, one.name, size=min(7, room * 26), color=WHITE)
        size = min(13, room * 30)
        frame.text(
            frame.width - 0.13, middle, told, size=size, color=WHITE, right=True, weight="bold"
        )


def _bars(frame: Frame, panel: dict[str, Any], answers: Answers) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    by_thresholds = defaults["color"]["mode"] == "thresholds"
    series = sorted(
        (one for answer in answers for one in answer), key=lambda one: -or_zero(one.last)
    )[:BARS]
    full = defaults.get("max") or max((or_zero(one.last) for one in series), default=1.0) or 1.0
    left, right = 0.42 * frame.width, 0.82 * frame.width
    room = (frame.height - TITLE_INCHES - 0.1) / max(1, len(series))
    for at, one in enumerate(series):
        bottom = frame.height - TITLE_INCHES - room * (at + 1)
        color = threshold_color(one.last, defaults) if by_thresholds else color_at(at)
        part = min(1.0, or_zero(one.last) / full)
        frame.block(left, bottom + 0.1 * room, right - left, 0.8 * room, FAINT)
        frame.block(left, bottom + 0.1 * room, (right - left) * part, 0.8 * room, color)
        size = min(7.0, room * 32)
        middle = bottom + room / 2
        frame.text(left - 0.08, middle, one.name[: int(frame.width * 5.4)], size=size, right=True)
        told = number(one.last, defaults["unit"])
        frame.text(frame.width - 0.1, middle, told, size=size, right=True)


def _heatmap(frame: Frame, panel: dict[str, Any], answers: Answers) -> None:
    def bound(one: Series) -> float:
        return float(one.labels["le"].replace("+Inf", "inf"))

    buckets = sorted((one for answer in answers for one in answer), key=bound)
    axes = frame.graph(panel)
    times = sorted({at for one in buckets for at, _ in one.points})
    if not times:
        return
    below = [0.0] * len(times)
    cells = []
    for one in buckets:  # Prometheus counts upward; a cell is what came between two bounds
        known = dict(one.points)
        upto = [or_zero(known.get(at, math.nan)) for at in times]
        cells.append(
            [max(0.0, now - less) or math.nan for now, less in zip(upto, below, strict=True)]
        )
        below = upto
    step = min((b - a for a, b in pairwise(times)), default=1.0)
    edges = [*(at - step / 2 for at in times), times[-1] + step / 2]
    axes.pcolormesh(edges, list(range(len(cells) + 1)), cells, cmap="YlOrRd", shading="flat")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    every = max(1, len(buckets) // TICKS)
    shown = range(0, len(buckets), every)
    axes.set_yticks([at + 1 for at in shown], [number(bound(buckets[at]), unit) for at in shown])


def _states(frame: Frame, panel: dict[str, Any], answers: Answers) -> None:
    series = [one for answer in answers for one in answer]
    # Room for the names, to a third of the panel; what is longer is cut.
    letters = min(24, max((len(one.name) for one in series), default=0))
    axes = frame.graph(panel, left=max(0.0, min(0.3 * frame.width, 0.062 * letters - 0.5)))
    defaults = panel["fieldConfig"]["defaults"]
    for at, one in enumerate(series):
        ends = [*(when for when, _ in one.points[1:]), frame.span[1]]
        for (when, value), until in zip(one.points, ends, strict=False):
            found = mapped(value, defaults)
            color = found[1] if found else FAINT
            axes.broken_barh([(when, until - when)], (at + 0.1, 0.8), color=color, lw=0)
    axes.set_yticks([at + 0.5 for at in range(len(series))], [one.name[:24] for one in series])
    axes.set_ylim(0, max(1, len(series)))


def _table(frame: Frame, panel: dict[str, Any], answers: Answers) -> None:
    head, lines, numbers = cells_of(panel, answers)
    if not lines:
        frame.text(frame.width / 2, frame.height / 2, "no data", size=10, color=COLORS[NEUTRAL])
    lines = lines[: int((frame.height - TITLE_INCHES - ROW_INCHES) / ROW_INCHES)]
    widths = [max(5, *(len(line[at]) for line in [head, *lines])) + 2 for at in range(len(head))]
    ends = [sum(widths[: at + 1]) / sum(widths) for at in range(len(head))]
    for row, cells in enumerate([head, *lines]):
        y = frame.height - TITLE_INCHES - ROW_INCHES * (row + 0.4)
        for at, cell in enumerate(cells):
            right = at >= len(head) - numbers
            start = ends[at - 1] if at else 0.0
            x = 0.12 + (frame.width - 0.24) * (ends[at] if right else start)
            frame.text(x, y, cell, color=TEXT if row else COLORS[CALM], right=right)


def cells_of(panel: dict[str, Any], answers: Answers) -> tuple[list[str], list[list[str]], int]:
    """A table's head, its lines in order, and how many columns at the end are numbers."""
    *_, organize = panel["transformations"]
    order: dict[str, int] = organize["options"]["indexByName"]
    names: dict[str, str] = organize["options"]["renameByName"]
    columns = sorted(order, key=order.__getitem__)
    keys = [name for name in columns if not name.startswith("Value")]
    headings = [names.get(name, name) for name in columns if name.startswith("Value")]
    units = {
        override["matcher"]["options"]: override["properties"][0]["value"]
        for override in panel["fieldConfig"]["overrides"]
    }
    unit = panel["fieldConfig"]["defaults"]["unit"]
    lines: dict[tuple[str, ...], dict[str, float]] = {}
    for heading, answer in zip(headings, answers, strict=True):
        for one in answer:
            key = tuple(one.labels.get(name, "") for name in keys)
            lines.setdefault(key, {})[heading] = one.last
    (sort,) = panel["options"]["sortBy"]
    by = sort["displayName"]
    ordered = sorted(lines, key=lambda key: (-lines[key].get(by, 0.0), key))
    if headings == [""]:  # a table of names
        return keys, [list(key) for key in ordered], 0
    rows = [
        [*key, *(number(lines[key].get(h, math.nan), units.get(h, unit)) for h in headings)]
        for key in ordered
    ]
    return [*keys, *headings], rows, len(headings)


def or_zero(value: float) -> float:
    """The value, 0 for NaN."""
    return 0.0 if math.isnan(value) else value


def clock(at: float) -> str:
    """A time of day where the picture is made."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S")  # noqa: DTZ006 - the reader's own


DRAWERS: Final[dict[str, Callable[[Frame, dict[str, Any], Answers], None]]] = {
    "timeseries": _timeseries,
    "stat": _stat,
    "bargauge": _bars,
    "heatmap": _heatmap,
    "state-timeline": _states,
    "table": _table,
}
