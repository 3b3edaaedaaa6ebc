"""Distributions given by equally spaced quantiles: how profiles tell times."""

from __future__ import annotations

import math
from collections.abc import Sequence


def between(quantiles: Sequence[int], share: float) -> int:
    """The value at a share from 0 to 1.

    Between two quantiles it is geometric: times span many orders of magnitude.
    """
    place = share * (len(quantiles) - 1)
    index = int(place)
    low = max(1, quantiles[index])
    high = max(1, quantiles[min(index + 1, len(quantiles) - 1)])
    return round(low * math.pow(high / low, place - index))


def mean_of(quantiles: Sequence[int]) -> float:
    """The mean of such a distribution."""
    steps = 16 * (len(quantiles) - 1)
    return sum(between(quantiles, (step + 0.5) / steps) for step in range(steps)) / steps
