"""Samples on their way to Prometheus: spelt by the metric table, bounded in number."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from daemon.histogram import Histogram
from daemon.metric_table import OTHER, MetricSpec

Family: TypeAlias = (
    CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | InfoMetricFamily
)


def family_of(spec: MetricSpec) -> Family:
    """The family of ``spec`` without samples, as ``describe()`` wants it."""
    match spec.type:
        case "counter":
            return CounterMetricFamily(spec.name, spec.help, labels=spec.labels)
        case "gauge":
            return GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
        case "histogram":
            return HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
        case "info":
            name = spec.name.removesuffix("_info")
            return InfoMetricFamily(name, spec.help, labels=spec.labels)


class Samples:
    """The numbers of one scrape by metric; values under the same labels add up.

    They add up because several sources, caches or phases may stand under
    ``other``: two samples of one name and label set would void the whole scrape.
    """

    __slots__ = ("_histograms", "_numbers", "_specs")

    def __init__(self, specs: Iterable[MetricSpec]) -> None:
        """``specs`` come out in this order, also those without a sample."""
        self._specs = tuple(specs)
        self._numbers: dict[str, dict[tuple[str, ...], float]] = {s.name: {} for s in self._specs}
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {
            s.name: {} for s in self._specs
        }

    def add(self, spec: MetricSpec, labels: tuple[str, ...], value: float) -> None:
        """Add ``value`` under ``labels``, which are in the order of the spec."""
        numbers = self._numbers[spec.name]
        numbers[labels] = numbers.get(labels, 0) + value

    def put(self, spec: MetricSpec, labels: tuple[str, ...]) -> None:
        """An info sample: what it says are its labels."""
        self._numbers[spec.name][labels] = 1

    def add_histogram(self, spec: MetricSpec, labels: tuple[str, ...], value: Histogram) -> None:
        """Add the counts of ``value`` under ``labels``."""
        self._histograms[spec.name].setdefault(labels, Histogram(value.bounds)).add(value)

    def families(self) -> Iterator[Family]:
        """The families with their samples."""
        for spec in self._specs:
            family = family_of(spec)
            if isinstance(family, HistogramMetricFamily):
                for labels, histogram in self._histograms[spec.name].items():
                    family.add_metric(labels, _buckets(histogram), histogram.total)
            elif isinstance(family, InfoMetricFamily):
                for labels in self._numbers[spec.name]:
                    family.add_metric(labels, {})
            else:
                for labels, number in self._numbers[spec.name].items():
                    family.add_metric(labels, number)
            yield family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulated counts by upper bound, as the exposition format has them."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), below))
    return buckets


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
        with self._mutex:  # scrapes may overlap
            shown = self._shown.setdefault(label, set())
            if value not in shown:
                if len(shown) >= self.max_values:
                    self._folded.setdefault(label, set()).add(value)
                    return OTHER
                shown.add(value)
            return value

    def folded(self) -> dict[str, int]:
        """By label, how many values count under ``other``."""
        with self._mutex:
            return {label: len(values) for label, values in self._folded.items()}
