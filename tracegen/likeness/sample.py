"""Bounded samples of unbounded streams, and the distance between two of them."""

from __future__ import annotations

import random


class Reservoir:
    """A uniform sample of at most ``limit`` of the numbers it was given (algorithm R)."""

    __slots__ = ("_limit", "_random", "count", "values")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._random = random.Random(0)  # noqa: S311 - the same sample every time
        self.values: list[int] = []
        self.count = 0

    def add(self, value: int) -> None:
        """Take a number into account."""
        self.count += 1
        if len(self.values) < self._limit:
            self.values.append(value)
        else:
            place = int(self._random.random() * self.count)
            if place < self._limit:
                self.values[place] = value

    def quantiles(self, count: int) -> list[int]:
        """``count`` + 1 quantiles from the least to the greatest, or none of nothing."""
        ordered = sorted(self.values)
        if not ordered:
            return []
        last = len(ordered) - 1
        return [ordered[round(last * step / count)] for step in range(count + 1)]


def kolmogorov_smirnov(first: list[int], second: list[int]) -> float:
    """The greatest distance between two empirical distribution functions, 0 to 1.

    The statistic alone: with samples of this size every difference is significant, and what
    matters is how large it is. 1.0 if one sample is empty and the other is not.
    """
    if not first or not second:
        return float(bool(first) != bool(second))
    a, b = sorted(first), sorted(second)
    i = j = 0
    distance = 0.0
    while i < len(a) and j < len(b):
        value = min(a[i], b[j])
        while i < len(a) and a[i] == value:
            i += 1
        while j < len(b) and b[j] == value:
            j += 1
        distance = max(distance, abs(i / len(a) - j / len(b)))
    return distance


def total_variation(first: dict[str, int], second: dict[str, int]) -> float:
    """Half the sum of the differences of shares, 0 to 1: what of one mix the other lacks."""
    one, two = sum(first.values()), sum(second.values())
    if not one or not two:
        return float(bool(one) != bool(two))
    keys = {**first, **second}
    return sum(abs(first.get(key, 0) / one - second.get(key, 0) / two) for key in keys) / 2
