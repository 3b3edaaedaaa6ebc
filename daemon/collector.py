"""``/metrics``: one reading a scrape, shown by one collector per subsystem.

The hot path only counts integers in the models; text is made here, at scrape
time, from one consistent :class:`~daemon.reading.Reading`. A subsystem
collector that fails costs its own metrics, never the scrape: it shows as
``pfmemd_collector_success`` 0 and in the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples
from daemon.exposition import Exposition
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


class MetricsPage:
    """Reads the daemon's state once a scrape and has each subsystem show its part."""

    specs = (
        m.COLLECTOR_DURATION_SECONDS,
        m.COLLECTOR_SUCCESS,
        m.LABEL_VALUES_FOLDED,
        m.HTTP_CONNECTIONS_REFUSED_TOTAL,
        m.HTTP_REQUESTS_UNAUTHORIZED_TOTAL,
    )

    def __init__(
        self,
        read: Callable[[], Reading],
        subsystems: Sequence[SubsystemCollector],
        bounds: LabelBounds,
        connections_refused: Callable[[], int],
        requests_unauthorized: Callable[[], int],
    ) -> None:
        self._read = read
        self._subsystems = tuple(subsystems)
        self._bounds = bounds
        self._connections_refused = connections_refused
        self._requests_unauthorized = requests_unauthorized
        self._exposition = Exposition()
        # What any process says of itself (memory, file descriptors) is prometheus_client's.
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type, as a request with this ``Accept`` header wants it."""
        encode, content_type = choose_encoder(accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        text = self._model_metrics(openmetrics=openmetrics)
        # Last, because it writes the end mark of OpenMetrics.
        return text.encode() + encode(self._process), content_type

    def _model_metrics(self, *, openmetrics: bool) -> str:
        own = Samples(self.specs)
        started = time.perf_counter()
        reading = self._read()
        own.add(m.COLLECTOR_DURATION_SECONDS, ("read",), time.perf_counter() - started)
        own.add(m.COLLECTOR_SUCCESS, ("read",), 1)
        parts = []
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
                parts.append(self._exposition.write(samples, openmetrics=openmetrics))
            own.add(m.COLLECTOR_SUCCESS, (subsystem.name,), success)
            duration = time.perf_counter() - started
            own.add(m.COLLECTOR_DURATION_SECONDS, (subsystem.name,), duration)
        for label, count in self._bounds.folded().items():
            own.add(m.LABEL_VALUES_FOLDED, (label,), count)
        own.add(m.HTTP_CONNECTIONS_REFUSED_TOTAL, (), self._connections_refused())
        own.add(m.HTTP_REQUESTS_UNAUTHORIZED_TOTAL, (), self._requests_unauthorized())
        parts.append(self._exposition.write(own, openmetrics=openmetrics))
        return "".join(parts)
