"""The distances between two portraits."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from tracegen.likeness.portrait import ASPECTS, Portrait
from tracegen.likeness.sample import kolmogorov_smirnov, total_variation

_WORST = 12


@dataclass(frozen=True, slots=True)
class Difference:
    """An event that one trace has more of than the other; shares of all events."""

    event: str
    first: float
    second: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """How far apart two traces are: 0 is alike, 1 has nothing in common."""

    mix: float
    """Total variation distance of op, cache or order, gfp class and context together."""
    aspects: dict[str, float]
    """The same by each of these alone."""
    page_lives: float
    """Kolmogorov-Smirnov distance of the lifetimes of pages."""
    object_lives: float
    gaps: float
    """Kolmogorov-Smirnov distance of the times between events."""
    worst: tuple[Difference, ...]
    """Where the mixes differ most."""

    def to_json(self) -> dict[str, object]:
        """Everything, as plain data."""
        return asdict(self)


def compare(first: Portrait, second: Portrait) -> Likeness:
    """Measure two traces against each other; the order does not matter but to ``worst``."""
    one, two = max(first.events, 1), max(second.events, 1)
    differences = [
        Difference(event, first.mix[event] / one, second.mix[event] / two)
        for event in {**first.mix, **second.mix}
    ]
    differences.sort(key=lambda d: (-abs(d.first - d.second), d.event))
    return Likeness(
        mix=total_variation(first.mix, second.mix),
        aspects={
            aspect: total_variation(first.aspects[aspect], second.aspects[aspect])
            for aspect in ASPECTS
        },
        page_lives=kolmogorov_smirnov(first.page_lives.values, second.page_lives.values),
        object_lives=kolmogorov_smirnov(first.object_lives.values, second.object_lives.values),
        gaps=kolmogorov_smirnov(first.gaps.values, second.gaps.values),
        worst=tuple(differences[:_WORST]),
    )
