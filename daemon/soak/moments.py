"""The events of a trace that are worth reading about, found by running it again offline.

The daemon says how low the reserve went, not at which event: a model is deterministic, so
another run of the same trace comes to the same event, and this one looks at each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from allocator.machine import Machine
from allocator.revision import Variant
from daemon.explain import DENIED, FLIP, LEAK, Where, explain, happenings
from daemon.explain_text import explanation_lines
from daemon.findings import EXHAUSTED
from daemon.soak.result import Moment
from daemon.trace_pass import TracePasses

ENTITLED: Final = (DENIED, "entitled")
WRONG_FLIP: Final = "to_0_with_flagged_slabs_left"
LEADING: Final = 3
"""Events shown before the one that is explained."""
MOST_EVENTS: Final = 5_000_000
"""A trace with more events is not gone through again unless it is asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """An event by its number, and why it is worth reading about."""

    what: str
    number: int


def moments(path: str, variants: Sequence[Variant]) -> Iterator[Moment]:
    """The worst moments of the trace's first life under each model, in the order of events."""
    with TracePasses(path) as trace:
        for variant in variants:
            where = Where(variant)
            found: dict[int, list[str]] = {}
            for one in (*_first_ones(trace, where), *_lowest(trace, where)):
                found.setdefault(one.number, []).append(one.what)
            for number in sorted(found):
                told = explain(trace, where, number, LEADING)
                yield Moment(
                    variant=variant.name,
                    source=told.life.source,
                    epoch=told.life.epoch,
                    event=number,
                    what="; ".join(found[number]),
                    told="\n".join(explanation_lines(told)),
                    command=f"pfmemd explain {path} --event {number} --variant {variant.name}",
                )


def _first_ones(trace: TracePasses, where: Where) -> Iterator[Found]:
    """The first denial, of an entitled caller too, the first leaks, the first wrong flip."""
    seen: set[tuple[str, str]] = set()
    names = {
        DENIED: "the first denial",
        LEAK: "the first leak",
        FLIP: "pfmemalloc_active cleared too early",
    }
    for happening in happenings(trace, where):
        kind, by = happening.kind, happening.by
        if kind not in names or (kind == FLIP and by != WRONG_FLIP):
            continue
        key = (kind, "" if kind == DENIED else by)
        if key not in seen:
            seen.add(key)
            yield Found(names[kind] + (f" by {by}" if kind == LEAK else ""), happening.number)
        if kind == DENIED and happening.entitled and ENTITLED not in seen:
            seen.add(ENTITLED)
            yield Found("the first denial of a caller that the reserve is for", happening.number)


@dataclass(frozen=True, slots=True)
class _Depth:
    """A zone's free pages falling to so many; None is to less than an eighth of min."""

    zone: int
    free: int | None

    def reached(self, machine: Machine) -> bool:
        """Whether the zone has been there."""
        zone = machine.pages.zones[self.zone]
        if self.free is None:
            return int(zone.lowest_free) < EXHAUSTED * int(zone.wmark_min)
        return int(zone.lowest_free) <= self.free

    def words(self, machine: Machine) -> str:
        """What is to be read at that moment."""
        zone = machine.pages.zones[self.zone]
        if self.free is None:
            return f"less than an eighth of the reserve left in zone {zone.name}"
        least = int(zone.wmark_min)
        return f"the lowest point of zone {zone.name}: {self.free:,} pages free of {least:,}"


def _lowest(trace: TracePasses, where: Where) -> Iterator[Found]:
    """When the reserve was exhausted, and when the fewest pages were free, if below min.

    The first pass finds the batches, the second goes through those event by event.
    """
    wanted = _depths(trace, where)
    machine: Machine | None = None
    for stretch in trace.life_stretches("finding the event", where.source, where.epoch):
        if not wanted:
            return
        if machine is None:
            machine = stretch.life.boot(where.variant)
        depths = wanted.pop(stretch.first, []) if stretch.records else []
        if not depths:
            machine.apply(stretch.records)
            continue
        for number in range(stretch.first, stretch.end):
            machine.apply(stretch.record(number))
            for depth in [depth for depth in depths if depth.reached(machine)]:
                depths.remove(depth)
                yield Found(depth.words(machine), number)


def _depths(trace: TracePasses, where: Where) -> dict[int, list[_Depth]]:
    """By the first event of a batch, what is reached within it for the first time."""
    machine: Machine | None = None
    lowest: dict[int, tuple[int, int]] = {}
    exhausted: dict[int, int] = {}
    for stretch in trace.life_stretches("looking for the lowest point", where.source, where.epoch):
        if machine is None:
            machine = stretch.life.boot(where.variant)
        machine.apply(stretch.records)
        for zone in machine.pages.zones:
            index, free = int(zone.index), int(zone.lowest_free)
            known, _ = lowest.get(index, (int(zone.wmark_min), 0))
            if free < known:
                lowest[index] = (free, stretch.first)
            if _Depth(index, None).reached(machine):
                exhausted.setdefault(index, stretch.first)
    wanted: dict[int, list[_Depth]] = {}
    for index, (free, first) in lowest.items():
        wanted.setdefault(first, []).append(_Depth(index, free))
    for index, first in exhausted.items():
        wanted.setdefault(first, []).append(_Depth(index, None))
    return wanted
