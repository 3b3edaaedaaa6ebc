"""Records on their way into batches, in order, some of them held back.

Whether a page is a slab's shows only when its task's next events are seen. Until then
its record keeps its place, and what comes after waits behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tracegen.batch import RECORD

BATCH_EVENTS: Final = 4096
"""Events after which a batch is closed."""
MAX_WAITING: Final = 4 * BATCH_EVENTS - 256
"""Events that may wait behind a held place: with it they still fit in one batch."""


class Outbox:
    """Collects records and hands them on, many together, to ``deliver``.

    Without ``deliver`` they are dropped: for a first reading, which only counts.
    """

    def __init__(self, deliver: Callable[[bytes], None] | None) -> None:
        self._deliver = deliver
        self._records: list[bytes] = []
        self._held = 0
        self.events = 0
        """Events put in so far, held places not counted."""

    def put(
        self, ts_ns: int, handle: int, gfp: int, arg: int, cpu: int, node: int, op: int, ctx: int
    ) -> None:
        """Append one event."""
        self.events += 1
        if self._deliver is not None:
            records = self._records
            records.append(RECORD.pack(ts_ns, handle, gfp, arg, cpu, node, op, ctx, 0))
            if len(records) >= BATCH_EVENTS and not self._held:
                self.flush()

    def hold(self) -> int:
        """Keep the next place and return what :meth:`settle` wants to know of it."""
        self._held += 1
        self._records.append(b"")
        return len(self._records) - 1

    def settle(self, place: int, *records: bytes) -> None:
        """Fill a held place with no, one or several records."""
        self.events += len(records)
        self._held -= 1
        if self._deliver is not None:
            self._records[place] = b"".join(records)
        if not self._held and (self._deliver is None or len(self._records) >= BATCH_EVENTS):
            self.flush()

    @property
    def is_long(self) -> bool:
        """Tell whether so much waits behind a held place that it must be settled."""
        return len(self._records) >= MAX_WAITING

    def flush(self) -> None:
        """Hand on what waits, unless a place is held."""
        if not self._held and self._records:
            data = b"".join(self._records)
            self._records.clear()
            if data and self._deliver is not None:
                self._deliver(data)
