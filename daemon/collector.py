"""The Prometheus collector: one reading a scrape, shown by one collector per subsystem.

The hot path only counts integers in the models; families are built here, at
scrape time, from one consistent :class:`~daemon.reading.Reading`. A subsystem
collector that fails costs its own metrics, never the scrape: it shows as
``pfmemd_collector_success`` 0 and in the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples, family_of
from daemon.metric_table import MetricSpec
from daemon.reading import Reading

log = structlog.get_logger()


class SubsystemCollector(Protocol):
    """Shows one part of a reading."""

    @property
    def name(self) -> str:
        """The value of the ``collector`` label."""

    @property
    def specs(self) -> Sequence[MetricSpec]:
        """The metrics it gives."""

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Add its part of ``reading`` to ``samples``."""


class ModelCollector(Collector):
    """Reads the daemon's state once a scrape and has each subsystem show its part."""

    _SPECS = (
        m.COLLECTOR_DURATION_SECONDS,
        m.COLLECTOR_SUCCESS,
        m.LABEL_VALUES_FOLDED,
        m.HTTP_CONNECTIONS_REFUSED_TOTAL,
    )

    def __init__(
        self,
        read: Callable[[], Reading],
        subsystems: Sequence[SubsystemCollector],
        bounds: LabelBounds,
        connections_refused: Callable[[], int],
    ) -> None:
        self._read = read
        self._subsystems = tuple(subsystems)
        self._bounds = bounds
        self._connections_refused = connections_refused

    def describe(self) -> Iterator[Metric]:
        """Every family, without samples: registration then needs no scrape."""
        for subsystem in self._subsystems:
            yield from map(family_of, subsystem.specs)
        yield from map(family_of, self._SPECS)

    def collect(self) -> Iterator[Metric]:
        """The families of one consistent reading."""
        own = Samples(self._SPECS)
        started = time.perf_counter()
        reading = self._read()
        own.add(m.COLLECTOR_DURATION_SECONDS, ("read",), time.perf_counter() - started)
        own.add(m.COLLECTOR_SUCCESS, ("read",), 1)
        for subsystem in self._subsystems:
            started = time.perf_counter()
            samples = Samples(subsystem.specs)
            success = 1
            try:
                subsystem.collect(reading, self._bounds, samples)
            except Exception:  # one broken collector must not blind the others
                log.exception("collector failed", collector=subsystem.name)
                success = 0
            else:
                yield from samples.families()
            own.add(m.COLLECTOR_SUCCESS, (subsystem.name,), success)
            duration = time.perf_counter() - started
            own.add(m.COLLECTOR_DURATION_SECONDS, (subsystem.name,), duration)
        for label, count in self._bounds.folded().items():
            own.add(m.LABEL_VALUES_FOLDED, (label,), count)
        own.add(m.HTTP_CONNECTIONS_REFUSED_TOTAL, (), self._connections_refused())
        yield from own.families()
