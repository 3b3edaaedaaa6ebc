"""Samples on their way to Prometheus: of the metric table, bounded in number."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from daemon.histogram import Histogram
from daemon.metric_table import OTHER, MetricSpec


class Samples:
    """The numbers of one scrape by metric; values under the same labels add up.

    They add up because several sources, caches or phases may stand under
    ``other``: two samples of one name and label set would void the whole scrape.
    """

    __slots__ = ("_histograms", "_numbers", "_specs")

    def __init__(self, specs: Iterable[MetricSpec]) -> None:
        """``specs`` come out in this order, also those without a sample."""
        self._specs = tuple(specs)
        self._numbers: dict[str, dict[tuple[str, ...], float]] = {
            spec.name: {} for spec in self._specs if spec.type != "histogram"
        }
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {
            spec.name: {} for spec in self._specs if spec.type == "histogram"
        }

    def add(self, spec: MetricSpec, labels: tuple[str, ...], value: float) -> None:
        """Add ``value`` under ``labels``, which are in the order of the spec."""
        numbers = self._numbers[spec.name]
        numbers[labels] = numbers.get(labels, 0) + value

    def add_column(
        self, spec: MetricSpec, labels: Sequence[tuple[str, ...]], values: Iterable[float]
    ) -> None:
        """Add each value under the labels in its place, under which nothing else is added.

        0.1 us a sample, where :meth:`add` takes 0.4.
        """
        self._numbers[spec.name].update(zip(labels, values, strict=True))

    def put(self, spec: MetricSpec, labels: tuple[str, ...]) -> None:
        """An info sample: what it says are its labels."""
        self._numbers[spec.name][labels] = 1

    def add_histogram(self, spec: MetricSpec, labels: tuple[str, ...], value: Histogram) -> None:
        """Add the counts of ``value`` under ``labels``."""
        self._histograms[spec.name].setdefault(labels, Histogram(value.bounds)).add(value)

    def numbers(self) -> Iterator[tuple[MetricSpec, Mapping[tuple[str, ...], float]]]:
        """Every metric that is no histogram, with its values by labels."""
        for spec in self._specs:
            if spec.type != "histogram":
                yield spec, self._numbers[spec.name]

    def histograms(self) -> Iterator[tuple[MetricSpec, Mapping[tuple[str, ...], Histogram]]]:
        """Every histogram by labels."""
        for spec in self._specs:
            if spec.type == "histogram":
                yield spec, self._histograms[spec.name]


MAX_FOLDED: Final = 10_000
"""How many values under ``other`` are told apart for each label; more are not counted."""


class LabelBounds:
    """Which values a label shows under their own name: the first so many, for good.

    A value that once counted under ``other`` stays there, else the counter under
    ``other`` would go backwards.
    """

    def __init__(self, max_values: int) -> None:
        self.max_values: Final = max_values
        self._shown: dict[str, set[str]] = {}
        self._folded: dict[str, set[str]] = {}
        self._mutex = threading.Lock()

    def fold(self, label: str, value: str) -> str:
        """``value`` itself, or ``other``."""
        if value in self._shown.get(label, ()):  # what is shown stays shown: no lock for it
            return value
        with self._mutex:  # scrapes may overlap
            shown = self._shown.setdefault(label, set())
            if value in shown or len(shown) < self.max_values:
                shown.add(value)
                return value
            folded = self._folded.setdefault(label, set())
            if len(folded) < MAX_FOLDED:
                folded.add(value)
            return OTHER

    def folded(self) -> dict[str, int]:
        """By label, how many values count under ``other``."""
        with self._mutex:
            return {label: len(values) for label, values in self._folded.items()}
