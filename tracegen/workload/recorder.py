"""Puts what the simulated machine asks for into the records of a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tracegen.batch import RECORD

BATCH_EVENTS: Final = 4096
"""Events after which a batch is handed on."""


class Recorder:
    """Collects records and hands them on, many together, to ``deliver``."""

    __slots__ = ("_limit", "_records", "deliver", "events")

    def __init__(self, deliver: Callable[[bytes], None], batch_events: int = BATCH_EVENTS) -> None:
        self.deliver = deliver
        self._limit = batch_events
        self._records: list[bytes] = []
        self.events = 0

    def put(self, ts_ns: int, handle: int, gfp: int, arg: int, cpu: int, op: int, ctx: int) -> None:
        """Append one event, on any node."""
        self.events += 1
        self._records.append(RECORD.pack(ts_ns, handle, gfp, arg, cpu, -1, op, ctx, 0))
        if len(self._records) >= self._limit:
            self.flush()

    def flush(self) -> None:
        """Hand on what is there."""
        if self._records:
            data = b"".join(self._records)
            self._records.clear()
            self.deliver(data)
