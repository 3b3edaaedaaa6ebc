"""The story of one event: what the model did, function by function, and by which rule.

A machine carries no story unless asked (:meth:`allocator.machine.Machine.tell`); the
model's slow paths then add a step where something is decided. The hot paths have no
hooks: what they did shows in the outcome.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.zone import Zone


class Step:
    """One decision: the kernel function, what happened there, and the rule, if one decided."""

    __slots__ = ("function", "rule", "text")

    def __init__(self, function: str, text: str, rule: str) -> None:
        """``rule`` is a number of the design's list (P1 … U5), or empty."""
        self.function: str = function
        self.text: str = text
        self.rule: str = rule


class Story:
    """The steps of one event, in order, and what they were about."""

    __slots__ = ("effects", "leaks", "outcome", "slabs", "steps")

    def __init__(self) -> None:
        """Begin an empty story."""
        self.steps: list[Step] = []
        self.slabs: list[tuple[str, int]] = []
        """The flagged slabs that decided something: cache and first pfn."""
        self.leaks: list[str] = []
        """The ways (:mod:`allocator.leak`) in which reserve objects went to the not entitled."""
        self.outcome: int = 0
        """What an allocation came to (:mod:`allocator.outcome`); 0 for anything else."""
        self.effects: int = 0
        """What else it did (:mod:`allocator.effect`)."""

    def add(self, function: str, text: str, rule: str = "") -> None:
        """Add a step."""
        self.steps.append(Step(function, text, rule))

    def concerns(self, cache: str, pfn: i64) -> None:
        """A flagged slab decided something."""
        slab = (cache, int(pfn))
        if slab not in self.slabs:
            self.slabs.append(slab)

    def leak(self, way: str, cache: str, pfn: i64) -> None:
        """An object of a flagged slab goes to a caller who may not have it."""
        self.leaks.append(way)
        self.concerns(cache, pfn)

    def rules(self) -> list[str]:
        """The rules that decided, in order, each once."""
        found: list[str] = []
        for step in self.steps:
            if step.rule and step.rule not in found:
                found.append(step.rule)
        return found

    def watermark(
        self, zone: Zone, order: i64, mark: i64, least: i64, reserve: i64, passed: bool
    ) -> None:
        """``zone_watermark_ok``: the arithmetic with its numbers (pages).

        ``mark`` is the watermark, ``least`` what is left of it after the caller's
        discounts, ``reserve`` the zone's lowmem reserve against this class of request.
        """
        free = int(zone.free_pages) - (1 << order) + 1
        text = f"zone {zone.name}: {free} free"
        if order:
            text += f" beyond this order-{order} block"
        text += " > " if passed else " <= "
        text += f"{int(least)}"
        if least != mark:
            text += f" ({int(mark)} less the caller's discounts)"
        if reserve:
            text += f" + {int(reserve)} lowmem reserve"
        if not passed and free > least + reserve:
            text += ", but too few of them in large enough blocks"
        self.add("zone_watermark_ok", text + (": passes" if passed else ": fails"))


ALLOC_FLAG_NAMES_3: Final[dict[int, str]] = {
    0x04: "NO_WATERMARKS",
    0x10: "HARDER",
    0x20: "HIGH",
    0x40: "CPUSET",
    0x80: "PFMEMALLOC",
}
"""``alloc_flags`` of Linux 3.x; the two lowest bits are the watermark."""

_WATERMARKS: Final = ("WMARK_MIN", "WMARK_LOW", "WMARK_HIGH", "WMARK_3")


def alloc_flags_text(alloc_flags: int, names: dict[int, str]) -> str:
    """``alloc_flags`` spelled: ``WMARK_MIN|HIGH|HARDER``."""
    parts = [] if alloc_flags & 4 else [_WATERMARKS[alloc_flags & 3]]
    parts += [name for bit, name in names.items() if alloc_flags & bit]
    return "|".join(parts)
