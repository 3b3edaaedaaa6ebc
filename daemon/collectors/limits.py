"""Limits: how much the daemon lets itself be asked, and who was turned away at the door."""

from __future__ import annotations

from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples
from daemon.connections import ConnectionCounts
from daemon.memory import MemoryWatch
from daemon.reading import Reading
from daemon.settings import Settings


class LimitsCollector:
    """Connections to the port for senders, and the bounds of the process."""

    name = "limits"
    specs = (
        m.CONNECTIONS,
        m.CONNECTIONS_REFUSED_TOTAL,
        m.LIVE_HANDLES_LIMIT,
        m.MEMORY_LIMIT_BYTES,
        m.MEMORY_BYTES,
        m.BATCH_LIMIT_BYTES,
        m.BATCH_EVENTS_LIMIT,
        m.CREDIT_LIMIT,
        m.HTTP_CONNECTIONS_LIMIT,
    )

    def __init__(
        self, connections: ConnectionCounts, settings: Settings, memory: MemoryWatch
    ) -> None:
        self._connections = connections
        self._memory = memory
        self._limits = {
            m.LIVE_HANDLES_LIMIT: settings.max_live_handles,
            m.MEMORY_LIMIT_BYTES: memory.limit,
            m.BATCH_LIMIT_BYTES: settings.max_batch_bytes,
            m.BATCH_EVENTS_LIMIT: settings.max_batch_events,
            m.CREDIT_LIMIT: settings.credit,
            m.HTTP_CONNECTIONS_LIMIT: settings.http_workers,
        }

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Add the numbers."""
        del reading, bounds
        samples.add(m.CONNECTIONS, (), self._connections.open)
        for reason, count in self._connections.refused.items():
            samples.add(m.CONNECTIONS_REFUSED_TOTAL, (reason,), count)
        samples.add(m.MEMORY_BYTES, (), self._memory.read())
        for spec, limit in self._limits.items():
            samples.add(spec, (), limit)
