"""Limits: how much the daemon lets itself be asked, and who was turned away at the door."""

from __future__ import annotations

from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples
from daemon.connections import ConnectionCounts
from daemon.memory import MemoryWatch
from daemon.reading import Reading


class LimitsCollector:
    """Connections to the port for senders, and the bounds of the process."""

    name = "limits"
    specs = (
        m.CONNECTIONS,
        m.CONNECTIONS_REFUSED_TOTAL,
        m.LIVE_HANDLES_LIMIT,
        m.MEMORY_LIMIT_BYTES,
        m.MEMORY_BYTES,
    )

    def __init__(
        self, connections: ConnectionCounts, max_live_handles: int, memory: MemoryWatch
    ) -> None:
        self._connections = connections
        self._max_live_handles = max_live_handles
        self._memory = memory

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Add the numbers."""
        del reading, bounds
        samples.add(m.CONNECTIONS, (), self._connections.open)
        for reason, count in self._connections.refused.items():
            samples.add(m.CONNECTIONS_REFUSED_TOTAL, (reason,), count)
        samples.add(m.LIVE_HANDLES_LIMIT, (), self._max_live_handles)
        samples.add(m.MEMORY_LIMIT_BYTES, (), self._memory.limit)
        samples.add(m.MEMORY_BYTES, (), self._memory.read())
