"""The part of a trace that ``pfmemd replay --slice FROM:TO`` names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

_BOUND: Final = re.compile(r"(\d{1,12})e|(\d{1,9}(?:\.\d{1,9})?)s?", re.ASCII)
_NS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Bound:
    """A place in a trace: so many ns after its first event, or so many events; one is None."""

    ns: int | None = None
    events: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """``12.5`` or ``12.5s`` seconds, ``1000e`` events; None for anything else."""
        match = _BOUND.fullmatch(text)
        if match is None:
            return None
        if match[1] is not None:
            return cls(events=int(match[1]))
        return cls(ns=round(float(match[2]) * _NS))

    def reached(self, ns: int, events: int) -> bool:
        """Whether an event is there or beyond: so late, with so many before it."""
        if self.events is not None:
            return events >= self.events
        return self.ns is not None and ns >= self.ns


@dataclass(frozen=True, slots=True)
class Section:
    """From the first event that is at ``begin`` or beyond to before the first one at ``end``."""

    begin: Bound | None = None
    end: Bound | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """``FROM:TO``, where either may be left out; None for anything else."""
        first, colon, last = text.partition(":")
        begin, end = Bound.parse(first), Bound.parse(last)
        if not colon or (first and begin is None) or (last and end is None):
            return None
        return cls(begin, end)
