"""Colours and numbers as Grafana shows them, roughly."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from dashboards.panels import (
    BYTES,
    BYTES_PER_SECOND,
    CALM,
    CRITICAL,
    GOOD,
    NEUTRAL,
    RATIO,
    SECONDS,
    WARNING,
)

PALETTE: Final = (
    *("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#fa6400", "#37872d", "#8ab8ff"),
    *("#c4162a", "#96d98d", "#e0b400", "#a352cc", "#6e9fff", "#ffa6b0", "#3274d9", "#e02f44"),
)
COLORS: Final = {
    GOOD: "#73bf69",
    WARNING: "#ff9830",
    CRITICAL: "#f2495c",
    CALM: "#5794f2",
    NEUTRAL: "#b0b3b8",
    "purple": "#b877d9",
}
BACKGROUND: Final = "#111217"
PANEL: Final = "#181b1f"
TEXT: Final = "#d0d1d6"
FAINT: Final = "#3a3d44"
WHITE: Final = "#ffffff"

_THOUSANDS: Final = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))
"""From which value on, divided by what, with which letter."""
_SPANS: Final = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def number(value: float, unit: str) -> str:
    """A value with its unit."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞"
    if unit == RATIO:
        return f"{100 * value:.3g} %"
    if unit == SECONDS:
        return _seconds(value)
    suffix = unit.removeprefix("suffix: ") if unit.startswith("suffix: ") else ""
    suffix = {BYTES: "B", BYTES_PER_SECOND: "B/s"}.get(unit, suffix)
    for least, factor, letter in _THOUSANDS:
        if abs(value) >= least:
            return f"{value / factor:.3g} {letter}{suffix}"
    return f"{value:.4g} {suffix}".strip()


def _seconds(value: float) -> str:
    for factor, name in _SPANS:
        if abs(value) >= factor:
            return f"{value / factor:.3g} {name}"
    return "0 s"


def color_at(at: int) -> str:
    """The colour of the series of this number."""
    return PALETTE[at % len(PALETTE)]


def threshold_color(value: float, defaults: dict[str, Any]) -> str:
    """The colour that the panel's thresholds give a value."""
    color = NEUTRAL
    for step in defaults.get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return FAINT if color == NEUTRAL else COLORS.get(color, color)


def mapped(value: float, defaults: dict[str, Any]) -> tuple[str, str] | None:
    """The text and the colour that stand for a value, if the panel names it."""
    for mapping in defaults.get("mappings", []):
        found = mapping["options"].get(f"{value:g}")
        if found:
            return found["text"], COLORS.get(found["color"], found["color"])
    return None


def line_style(name: str, at: int, overrides: list[dict[str, Any]]) -> dict[str, Any]:
    """How a line is drawn, by the overrides whose pattern its name matches."""
    look: dict[str, Any] = {"color": color_at(at), "lw": 1.0}
    for override in overrides:
        if not re.search(override["matcher"]["options"], name):
            continue
        for field in override["properties"]:
            if field["id"] == "custom.lineWidth":
                look["lw"] = 0.8 * field["value"]
            elif field["id"] == "color":
                fixed = field["value"]["fixedColor"]
                look["color"] = COLORS.get(fixed, fixed)
            elif field["id"] == "custom.lineStyle":
                look["ls"] = "--"
    return look
