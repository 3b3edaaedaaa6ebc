"""What flags of several commands take: a time, a speed, the name of a source."""

from __future__ import annotations

import re
from typing import Final

import click

from tracegen.limits import SOURCE_EXPECTED, is_source_name

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType[float]):
    """A time: a number with a unit, s if none."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds of ``90``, ``90s``, ``15m``, ``8h``, ``2d``."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        if found is None or float(found[1]) == 0:
            self.fail(f"expected a time such as 30s, 15m or 8h, not {value!r}", param, ctx)
        return float(found[1]) * _UNITS[found[2] or "s"]


class Speed(click.ParamType[float | None]):
    """How fast a trace is played: a factor on its own time, or ``max``."""

    name = "speed"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """A factor on the trace's own time; None for ``max``."""
        if value == "max":
            return None
        found = re.fullmatch(r"(\d+(?:\.\d+)?)x?", str(value))
        if found is None or float(found[1]) == 0:
            self.fail(f"expected a factor such as 1x or 10x, or max, not {value!r}", param, ctx)
        return float(found[1])


class SourceName(click.ParamType[str]):
    """The name of a source, as the trace format allows it."""

    name = "source"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The name itself."""
        name = str(value)
        if not is_source_name(name):
            self.fail(f"{name!r}, expected {SOURCE_EXPECTED}", param, ctx)
        return name
