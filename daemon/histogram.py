"""A histogram of plain integers, cheap enough to feed once a batch."""

from __future__ import annotations

from bisect import bisect_left


class Histogram:
    """Counts of observations by upper bound, and their sum; bounds ascend."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bound, not cumulated; the last one is beyond all bounds."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count ``value`` under the smallest bound that holds it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        """Add the counts of ``other``, which has the same bounds."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def copy(self) -> Histogram:
        """An independent reading."""
        twin = Histogram(self.bounds)
        twin.counts = self.counts.copy()
        twin.total = self.total
        return twin
