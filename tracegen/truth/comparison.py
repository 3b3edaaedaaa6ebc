"""A model's free pages against a machine's, reading by reading, and where they part.

The distance at a reading (model less machine, all zones) has four named parts, each counted
from the first reading on:

* *slabs*: pages that the model's slab allocator holds more or fewer than the kernel's
* *per-cpu lists*: pages that lie on them
* *denied*: pages that the model did not give to somebody to whom the kernel did
* *unseen*: the rest: compaction, what was not traced or not understood, and the
  reading's own lag

The first two need the kernel's own events (:class:`Balance`); without them they are part
of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from allocator.machine import Machine
from allocator.stats import MachineStats
from tracegen.kernel_trace.balance import Balance
from tracegen.truth.ground_truth import GroundTruth, Place, Reading
from tracegen.truth.live_pages import LivePages

SLABS: Final = "slabs"
PER_CPU: Final = "per-cpu lists"
DENIED: Final = "denied by the model"
UNSEEN: Final = "unseen"
CAUSES: Final = (SLABS, PER_CPU, DENIED, UNSEEN)

_P90: Final = 0.9


@dataclass(frozen=True, slots=True)
class Point:
    """One reading and the model at that moment, in pages."""

    ts_ns: int
    real: dict[Place, int]
    model: dict[Place, int]
    mins: dict[Place, int]
    causes: dict[str, int]

    @property
    def distance(self) -> int:
        """Free pages of the model less those of the machine."""
        return sum(self.model.values()) - sum(self.real.values())


@dataclass(frozen=True, slots=True)
class Spread:
    """How a distance is spread over the readings."""

    median: float
    """Of the amounts, whatever their sign."""
    p90: int
    largest: int
    bias: float
    """Median with the sign: above 0 the model has more free pages."""

    @classmethod
    def of(cls, distances: Sequence[int]) -> Spread:
        """The spread of at least one distance."""
        amounts = sorted(abs(distance) for distance in distances)
        return cls(
            median(amounts), amounts[int(_P90 * (len(amounts) - 1))], amounts[-1], median(distances)
        )


@dataclass(slots=True)
class Comparison:
    """One variant held against the ground truth."""

    variant: str
    points: list[Point] = field(default_factory=list)
    watermarks: dict[Place, tuple[tuple[int, int, int], tuple[int, int, int]]] = field(
        default_factory=dict
    )
    """(min, low, high) of the machine and of the model."""
    reserve: int = 0
    """Allocations of pages for which the model ignored the watermarks."""
    attempts: int = 0
    """Attempts of the machine that did, while the trace ran."""

    def spread(self) -> Spread:
        """Of the free pages of all zones."""
        return Spread.of([point.distance for point in self.points])

    def anchored(self, span_ns: int) -> Spread:
        """The same, the distance at the beginning of each span taken as known."""
        distances = []
        anchor = self.points[0]
        for point in self.points:
            if point.ts_ns - anchor.ts_ns >= span_ns:
                anchor = point
            distances.append(point.distance - anchor.distance)
        return Spread.of(distances)

    def causes(self) -> dict[str, Spread]:
        """How much each cause adds to the distance."""
        return {
            cause: Spread.of([point.causes.get(cause, 0) for point in self.points])
            for cause in CAUSES
        }

    def lowest(self, place: Place) -> tuple[int, int]:
        """Fewest free pages of a zone: of the machine, of the model."""
        return (
            min(point.real[place] for point in self.points),
            min(point.model[place] for point in self.points),
        )

    def below_min(self, place: Place) -> tuple[int, int, int]:
        """Readings with a zone below its min: of the machine, of the model, of both."""
        below = [
            (p.real[place] < p.mins[place], p.model[place] < p.mins[place]) for p in self.points
        ]
        return (
            sum(real for real, _ in below),
            sum(model for _, model in below),
            sum(real and model for real, model in below),
        )

    @property
    def places(self) -> list[Place]:
        """The zones that both have."""
        return list(self.points[0].real)


class Course:
    """Follows one variant through a trace, and takes it down at each reading."""

    def __init__(self, variant: str, machine: Machine, balance: Balance | None) -> None:
        self.comparison = Comparison(variant)
        self._machine = machine
        self._balance = balance
        self._begin: dict[str, int] | None = None

    def apply(self, records: bytes) -> None:
        """Let the model go on."""
        self._machine.apply(records)

    def read(self, reading: Reading, live: LivePages) -> None:
        """Hold the model against a reading; ``live`` are the pages that the trace has in use."""
        stats = self._machine.stats()
        model = {(zone.node, zone.zone): zone.free_pages for zone in stats.zones}
        real = {place: zone.free for place, zone in reading.zones.items() if place in model}
        mins = {place: zone.min for place, zone in reading.zones.items() if place in model}
        now = self._counts(stats, reading, live)
        if self._begin is None:
            self._begin = now
            self._compare_watermarks(stats, reading)
        since = {name: count - self._begin[name] for name, count in now.items()}
        causes = {
            SLABS: since["kernel slabs"] - since["slabs"],
            PER_CPU: since["kernel per-cpu"] - since["per-cpu"],
            DENIED: since["live"] - since["users"],
        }
        distance = since["free"] - since["real free"]
        causes[UNSEEN] = distance - sum(causes.values())
        self.comparison.points.append(
            Point(reading.ts_ns, real, {place: model[place] for place in real}, mins, causes)
        )

    def finish(self, truth: GroundTruth) -> Comparison:
        """Count what the whole trace came to."""
        stats = self._machine.stats()
        points = self.comparison.points
        self.comparison.reserve = sum(
            count.count for count in stats.outcomes if count.path == "reserve"
        )
        self.comparison.attempts = sum(
            attempt.ignores_watermarks and points[0].ts_ns <= attempt.ts_ns <= points[-1].ts_ns
            for attempt in truth.attempts
        )
        return self.comparison

    def _counts(self, stats: MachineStats, reading: Reading, live: LivePages) -> dict[str, int]:
        free = sum(zone.free_pages for zone in stats.zones)
        per_cpu = sum(zone.pcp_pages for zone in stats.zones)
        slabs = sum(cache.slabs * cache.pages_per_slab for cache in stats.caches)
        balance = self._balance
        return {
            "free": free,
            "real free": reading.free,
            "per-cpu": per_cpu,
            "slabs": slabs,
            "users": sum(zone.managed_pages for zone in stats.zones) - free - per_cpu - slabs,
            "live": live.pages,
            "kernel slabs": balance.slab.at(reading.ts_ns) if balance is not None else slabs,
            "kernel per-cpu": balance.per_cpu.at(reading.ts_ns) if balance is not None else per_cpu,
        }

    def _compare_watermarks(self, stats: MachineStats, reading: Reading) -> None:
        for zone in stats.zones:
            real = reading.zones.get((zone.node, zone.zone))
            if real is not None:
                self.comparison.watermarks[zone.node, zone.zone] = (
                    (real.min, real.low, real.high),
                    (zone.min_pages, zone.low_pages, zone.high_pages),
                )
