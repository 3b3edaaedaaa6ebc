"""Samples as text: Prometheus' own format and OpenMetrics.

A scrape of ten thousand series comes every second and shares one interpreter lock
with the models. prometheus_client's encoders check and escape every sample anew,
13 µs each. From one scrape to the next only numbers change: so what stands between them
is made once for each metric and kept, and a scrape fills the numbers in, 0.1 µs each. The
parsers of prometheus_client and ``promtool check metrics`` hold the output in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final, TypeAlias

from daemon.collectors.samples import Samples
from daemon.histogram import Histogram
from daemon.metric_table import MetricSpec

LabelValues: TypeAlias = tuple[str, ...]

_UNITS_IN_NAMES: Final = ("seconds", "bytes", "ratio")
"""Units that OpenMetrics is told of: it wants each as the end of the family's name."""


class Exposition:
    """Writes samples, and remembers what of each metric is the same at the next scrape.

    What is remembered is as much as was shown last, which
    :class:`~daemon.collectors.samples.LabelBounds` bounds.
    """

    def __init__(self) -> None:
        self._forms: dict[str, tuple[list[LabelValues], str]] = {}
        """By metric: the labels of its samples, and its lines with a ``%s`` for each number."""

    def write(self, samples: Samples, *, openmetrics: bool) -> str:
        """The families of ``samples``, without the end mark that OpenMetrics has."""
        lines: list[str] = []
        for spec, numbers in samples.numbers():
            lines += _head(spec, openmetrics=openmetrics)
            self._add_numbers(lines, spec, numbers)
        for spec, histograms in samples.histograms():
            lines += _head(spec, openmetrics=openmetrics)
            for values, histogram in histograms.items():
                _add_histogram(lines, spec, values, histogram)
        lines.append("")
        return "\n".join(lines)

    def _add_numbers(
        self, lines: list[str], spec: MetricSpec, numbers: Mapping[LabelValues, float]
    ) -> None:
        name = spec.name
        if spec.type == "info":  # as many sets as headers may say, so not remembered
            lines += [f"{name}{_labels(spec.labels, values)} 1" for values in numbers]
            return
        if not numbers:
            return
        labels = list(numbers)
        known, form = self._forms.get(name, ([], ""))
        if known != labels:
            form = "\n".join(
                f"{name}{_labels(spec.labels, values)}".replace("%", "%%") + " %s"
                for values in labels
            )
            self._forms[name] = labels, form
        lines.append(form % tuple(numbers.values()))


def _head(spec: MetricSpec, *, openmetrics: bool) -> list[str]:
    """HELP and TYPE; OpenMetrics names the family without its suffix, and its unit."""
    if not openmetrics:
        kind = "gauge" if spec.type == "info" else spec.type
        return [f"# HELP {spec.name} {spec.help}", f"# TYPE {spec.name} {kind}"]
    family = spec.name.removesuffix("_total").removesuffix("_info")
    lines = [f"# HELP {family} {spec.help}", f"# TYPE {family} {spec.type}"]
    if spec.unit in _UNITS_IN_NAMES and family.endswith(f"_{spec.unit}"):
        lines.append(f"# UNIT {family} {spec.unit}")
    return lines


def _labels(names: Iterable[str], values: Iterable[str]) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _add_histogram(
    lines: list[str], spec: MetricSpec, values: LabelValues, histogram: Histogram
) -> None:
    """Cumulated counts by upper bound, their number and the sum of what was observed."""
    names = (*spec.labels, "le")
    for bound, count in zip(
        (*map(repr, histogram.bounds), "+Inf"), accumulate(histogram.counts), strict=True
    ):
        lines.append(f"{spec.name}_bucket{_labels(names, (*values, bound))} {count}")
    labels = _labels(spec.labels, values)
    lines.append(f"{spec.name}_count{labels} {sum(histogram.counts)}")
    lines.append(f"{spec.name}_sum{labels} {histogram.total}")
