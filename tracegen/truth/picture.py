"""Free pages over time, of the machine and of models, as an SVG that any browser shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from tracegen.truth.comparison import Comparison
from tracegen.truth.ground_truth import Place

_WIDTH: Final = 960
_PANEL: Final = 250
_LEFT: Final = 64
_RIGHT: Final = 16
_TOP: Final = 46
_GAP: Final = 44
_BOTTOM: Final = 40
_MACHINE: Final = "#1a1a1a"
_MODELS: Final = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#b91c1c", "#0e7490", "#a16207")
_MIN: Final = "#9ca3af"
_ZOOM: Final = 2
"""The lower panel goes up to so many times min."""
_NS: Final = 10**9
_STEPS: Final = (1, 2, 5)

_Points = list[tuple[float, float]]


def draw(comparisons: Sequence[Comparison]) -> str:
    """Two panels of the zone with the largest min: all of it, and what is near min."""
    place = max(comparisons[0].places, key=lambda place: comparisons[0].points[0].mins[place])
    points = comparisons[0].points
    machine = [(point.ts_ns / _NS, float(point.real[place])) for point in points]
    models = [
        (made.variant, [(point.ts_ns / _NS, float(point.model[place])) for point in made.points])
        for made in comparisons
    ]
    least = float(points[0].mins[place])
    most = max(value for _, line in [("", machine), *models] for _, value in line)
    height = _TOP + 2 * _PANEL + _GAP + _BOTTOM
    out = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
            ' font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        *_title(place, [name for name, _ in models]),
        *_panel(_TOP, machine, [line for _, line in models], least, most * 1.05),
        *_panel(_TOP + _PANEL + _GAP, machine, [line for _, line in models], least, _ZOOM * least),
        (
            f'<text x="{_LEFT + _width() / 2}" y="{height - 8}" text-anchor="middle">'
            "seconds, on the trace's clock</text>"
        ),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def _title(place: Place, names: list[str]) -> list[str]:
    node, zone = place
    out = [f'<text x="{_LEFT}" y="18" font-size="15">Free pages of node {node} {zone}</text>']
    x = float(_LEFT)
    colours = [_MACHINE, *(_MODELS[i % len(_MODELS)] for i in range(len(names))), _MIN]
    for name, colour in zip(["the machine", *names, "min"], colours, strict=True):
        out.append(f'<rect x="{x}" y="27" width="18" height="4" fill="{colour}"/>')
        out.append(f'<text x="{x + 24}" y="34">{escape(name)}</text>')
        x += 44 + 7.5 * len(name)
    return out


def _width() -> int:
    return _WIDTH - _LEFT - _RIGHT


def _panel(
    top: int, machine: _Points, models: list[_Points], least: float, most: float
) -> list[str]:
    """One panel from 0 to ``most`` pages."""
    begin, end = machine[0][0], machine[-1][0]
    span = max(end - begin, 1e-9)

    def at(point: tuple[float, float]) -> tuple[float, float]:
        seconds, pages = point
        x = _LEFT + (seconds - begin) / span * _width()
        return x, top + _PANEL * (1 - min(pages, most) / most)

    right = _LEFT + _width()
    out = []
    for pages in _ticks(0, most, 5):
        _, y = at((begin, pages))
        out.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#e5e7eb"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{pages:,.0f}</text>')
    for seconds in _ticks(begin, end, 8):
        x, _ = at((seconds, 0))
        out.append(
            f'<text x="{x:.1f}" y="{top + _PANEL + 16}" text-anchor="middle">{seconds:g}</text>'
        )
    _, y = at((begin, least))
    out.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="{_MIN}" stroke-dasharray="6 4"/>')
    for index, line in enumerate(models):
        colour = _MODELS[index % len(_MODELS)]
        out.append(_line([at(point) for point in line], colour, 1.4))
    out.append(_line([at(point) for point in machine], _MACHINE, 1.1))
    out.append(
        f'<rect x="{_LEFT}" y="{top}" width="{_width()}" height="{_PANEL}" fill="none"'
        ' stroke="#6b7280"/>'
    )
    return out


def _line(points: _Points, colour: str, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _ticks(begin: float, end: float, about: int) -> list[float]:
    """Round numbers between two others."""
    rough = (end - begin) / about or 1.0
    power = 1.0
    while power > rough:
        power /= 10
    while power * 10 <= rough:
        power *= 10
    step = next((power * by for by in _STEPS if power * by >= rough), power * 10)
    first = -(-begin // step)
    return [step * (first + i) for i in range(int((end - first * step) / step) + 1)]
