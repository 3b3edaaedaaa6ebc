"""A model's free pages against a machine's, reading by reading, and where they part.

The distance at a reading (model less machine, all zones) has named parts, all but the first
counted from the first reading on:

* *before the trace*: what was there already at the first reading
* *slabs*: pages that the model's slab allocator holds more or fewer than the kernel's
* *per-cpu lists*: pages that lie on them
* *denied*: pages that the model did not give to somebody to whom the kernel did
* *bulk*: pages that the kernel took by ``alloc_pages_bulk``, which has no tracepoint
* *unseen*: the rest: compaction under way, what was not traced or not understood, and the
  reading's own lag

Slabs, lists and bulk need the kernel's own events (:class:`Balance`); without them they are
part of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from allocator.machine import Machine
from allocator.outcome import RESULT_OK
from allocator.stats import MachineStats
from tracegen.kernel_trace.balance import Balance
from tracegen.kernel_trace.gfp_text import FLAVOUR
from tracegen.truth.attempts import AttemptCount, Window
from tracegen.truth.caches import CachePages, by_cache, taken
from tracegen.truth.failures import Failures
from tracegen.truth.ground_truth import GroundTruth, Place, Reading
from tracegen.truth.live_pages import LivePages

BEFORE: Final = "before the trace"
SLABS: Final = "slabs"
PER_CPU: Final = "per-cpu lists"
DENIED: Final = "denied by the model"
BULK: Final = "bulk allocation"
UNSEEN: Final = "unseen"
CAUSES: Final = (BEFORE, SLABS, PER_CPU, DENIED, BULK, UNSEEN)

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

    def in_another_zone(self, place: Place) -> bool:
        """Tell whether the machine alone is below min in a zone, by pages it has in others.

        There the model has fewer, by more than it is above min here.
        """
        above = self.model[place] - self.mins[place]
        if self.real[place] >= self.mins[place] or above < 0:
            return False
        elsewhere = sum(
            self.real[other] - self.model[other] for other in self.real if other != place
        )
        return elsewhere > above


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
    attempts: AttemptCount = field(default_factory=AttemptCount)
    """That ignored watermarks."""
    failures: Failures = field(default_factory=lambda: Failures(FLAVOUR))
    caches: list[CachePages] = field(default_factory=list)
    """Empty without the kernel's own events."""
    denied_before: int = 0
    """What the model denied while it was set up as the machine was."""

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

    def shares(self) -> dict[str, float]:
        """What part of all that takes model and machine apart is due to each cause."""
        amounts = {
            cause: sum(abs(point.causes.get(cause, 0)) for point in self.points) for cause in CAUSES
        }
        whole = sum(amounts.values()) or 1
        return {cause: amount / whole for cause, amount in amounts.items()}

    def slab_pages(self) -> tuple[int, int]:
        """Pages taken for slabs while the trace ran: by the machine, by the model.

        Caches with bulk allocation are left out, whose slabs are pages to the model.
        """
        return (
            sum(pages.machine_taken for pages in self.caches if not pages.bulk),
            sum(pages.model_taken for pages in self.caches if not pages.bulk),
        )

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

    def in_another_zone(self, place: Place) -> int:
        """Readings below min of the machine alone for want of pages that lie in another zone.

        Most often the machine wants a block, and that zone has none as large.
        """
        return sum(point.in_another_zone(place) for point in self.points)

    @property
    def places(self) -> list[Place]:
        """The zones that both have."""
        return list(self.points[0].real)


class Course:
    """Follows one variant through a trace, and takes it down at each reading."""

    def __init__(
        self, variant: str, machine: Machine, balance: Balance | None, flavour: str = FLAVOUR
    ) -> None:
        self.comparison = Comparison(variant, failures=Failures(flavour))
        self._machine = machine
        self._balance = balance
        self._begin: dict[str, int] | None = None
        self._before = 0
        self._slabs: dict[str, tuple[int, int]] = {}
        self._attempts = 0
        """Of the model, when it was last asked."""
        self._below_min = 0
        self._machine_below_min = False
        """At the last reading."""

    def set_up(self, records: bytes) -> None:
        """Bring the model to where the trace begins."""
        self._machine.apply(records)

    def begin(self) -> None:
        """Begin to count."""
        stats = self._machine.stats()
        self.comparison.denied_before = sum(
            count.count for count in stats.outcomes if count.result != RESULT_OK
        )
        self._slabs = taken(self._machine)
        self._attempts = stats.attempts_no_watermarks
        self._below_min = stats.attempts_below_min

    def apply(self, records: bytes) -> None:
        """Let the model go on."""
        self.comparison.failures.count(records, self._machine.observe(records))

    def window_begins(self) -> dict[str, bool]:
        """By zone, whether the model is below min there."""
        self._outside()
        return {zone.zone: zone.free_pages < zone.min_pages for zone in self._machine.stats().zones}

    def window_ends(self, window: Window, below_min: dict[str, bool]) -> None:
        """Count the attempts of a window, which began as :meth:`window_begins` said."""
        points = self.comparison.points
        elsewhere = bool(points) and any(points[-1].in_another_zone(p) for p in points[-1].real)
        self.comparison.attempts.window(window, self._since(), below_min, elsewhere=elsewhere)

    def read(self, reading: Reading, live: LivePages, *, in_window: bool = False) -> None:
        """Hold the model against a reading; ``live`` are the pages that the trace has in use."""
        if not in_window:
            self._outside()
        stats = self._machine.stats()
        model = {(zone.node, zone.zone): zone.free_pages for zone in stats.zones}
        real = {place: zone.free for place, zone in reading.zones.items() if place in model}
        mins = {place: zone.min for place, zone in reading.zones.items() if place in model}
        self._machine_below_min = any(real[place] < mins[place] for place in real)
        now = self._counts(stats, reading, live)
        if self._begin is None:
            self._begin = now
            self._before = sum(model[place] for place in real) - sum(real.values())
            self._compare_watermarks(stats, reading)
        since = {name: count - self._begin[name] for name, count in now.items()}
        causes = {
            BEFORE: self._before,
            SLABS: since["kernel slabs"] - since["slabs"],
            PER_CPU: since["kernel per-cpu"] - since["per-cpu"],
            DENIED: since["live"] - since["users"],
            BULK: since["bulk"],
        }
        distance = since["free"] - since["real free"] + self._before
        causes[UNSEEN] = distance - sum(causes.values())
        self.comparison.points.append(
            Point(reading.ts_ns, real, {place: model[place] for place in real}, mins, causes)
        )

    def finish(self, truth: GroundTruth) -> Comparison:
        """Count what the whole trace came to."""
        self._outside()
        comparison = self.comparison
        attempts = comparison.attempts
        first, last = comparison.points[0].ts_ns, comparison.points[-1].ts_ns
        within = [attempt for attempt in truth.attempts if first <= attempt.ts_ns <= last]
        attempts.machine = sum(attempt.ignores_watermarks for attempt in within)
        attempts.machine_below_min = sum(attempt.free < attempt.min for attempt in within)
        attempts.model = attempts.both + attempts.model_only.total()
        attempts.model_below_min = self._machine.stats().attempts_below_min - self._below_min
        if self._balance is not None:
            comparison.caches = by_cache(self._slabs, taken(self._machine), self._balance)
        return comparison

    def _since(self) -> int:
        """Attempts of the model since it was last asked."""
        now = int(self._machine.pages.attempts_no_watermarks)
        made, self._attempts = now - self._attempts, now
        return made

    def _outside(self) -> None:
        made = self._since()
        self.comparison.attempts.outside(made, machine_below_min=self._machine_below_min)

    def _counts(self, stats: MachineStats, reading: Reading, live: LivePages) -> dict[str, int]:
        free = sum(zone.free_pages for zone in stats.zones)
        per_cpu = sum(zone.pcp_pages for zone in stats.zones)
        slabs = sum(cache.slabs * cache.pages_per_slab for cache in stats.caches)
        balance = self._balance
        ts_ns = reading.ts_ns
        kernel_slabs, kernel_per_cpu, bulk = slabs, per_cpu, 0
        if balance is not None:
            kernel_slabs = balance.slab.at(ts_ns)
            kernel_per_cpu = balance.per_cpu.at(ts_ns) - balance.bulk.at(ts_ns)
            bulk = balance.bulk_held.at(ts_ns)
        return {
            "free": free,
            "real free": reading.free,
            "per-cpu": per_cpu,
            "slabs": slabs,
            "users": sum(zone.managed_pages for zone in stats.zones) - free - per_cpu - slabs,
            "live": live.pages,
            "kernel slabs": kernel_slabs,
            "kernel per-cpu": kernel_per_cpu,
            "bulk": bulk,
        }

    def _compare_watermarks(self, stats: MachineStats, reading: Reading) -> None:
        for zone in stats.zones:
            real = reading.zones.get((zone.node, zone.zone))
            if real is not None:
                self.comparison.watermarks[zone.node, zone.zone] = (
                    (real.min, real.low, real.high),
                    (zone.min_pages, zone.low_pages, zone.high_pages),
                )
