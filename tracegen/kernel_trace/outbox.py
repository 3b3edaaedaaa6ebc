"""Records on their way into batches, in order, some of them held back.

Whether a page is a slab's shows only when its thread's next events are seen. Until then
its record keeps its place, and what comes after waits behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from librt.strings import BytesWriter, write_i64_le
from mypy_extensions import i64

from allocator.events import RECORD_SIZE

FULL: Final = 4096 * RECORD_SIZE
"""Bytes after which records are handed on without being asked for."""

MAX_WAITING: Final = 16_000 * RECORD_SIZE
"""Bytes that may wait behind a held place when a trace is passed on as it comes."""
MAX_WAITING_WHOLE: Final = 64 * MAX_WAITING
"""The same when nobody waits for them: what a thread does may show much later."""


class Outbox:
    """Collects records and hands them on, many together, to ``deliver``."""

    def __init__(self, deliver: Callable[[bytes], None], max_waiting: int = MAX_WAITING) -> None:
        self._deliver = deliver
        self._max_waiting = max_waiting
        self._writer = BytesWriter()
        self._first: i64 = 0
        """Place of the writer's first byte; places count the bytes ever written."""
        self._held: dict[int, int] = {}
        """Places that are held, in their order, and how many bytes each is."""
        self._dropped: dict[int, int] = {}
        """The same of places whose records are not to be handed on."""
        self.events = 0
        """Events put in so far that are not dropped."""

    def put(
        self, ts_ns: i64, handle: i64, gfp: i64, arg: i64, cpu: i64, node: i64, op: i64, ctx: i64
    ) -> None:
        """Append one event.

        The bits of ``ctx`` beyond those of a record are a note to :mod:`.settle`.
        """
        writer = self._writer
        write_i64_le(writer, ts_ns)
        write_i64_le(writer, handle)
        write_i64_le(writer, gfp | arg << 32)
        write_i64_le(writer, cpu | (node & 0xFFFF) << 16 | op << 32 | ctx << 40)
        self.events += 1
        if len(writer) >= FULL and not self._held:
            self.flush()

    def hold(self, records: int) -> int:
        """Hold the next so many records, and return what :meth:`settle` wants to know."""
        place = int(self._first) + len(self._writer)
        self._held[place] = records * RECORD_SIZE
        return place

    def settle(self, place: int, *, keep: bool) -> None:
        """Let held records go, or drop them."""
        size = self._held.pop(place)
        if not keep:
            self._dropped[place] = size
            self.events -= size // RECORD_SIZE
        if len(self._writer) >= FULL and not self._held:
            self.flush()

    @property
    def is_long(self) -> bool:
        """Tell whether so much waits behind a held place that it must be settled."""
        return len(self._writer) >= self._max_waiting

    def flush(self) -> None:
        """Hand on what waits, up to the first place that is held."""
        first = int(self._first)
        data = self._writer.getvalue()
        end = next(iter(self._held), first + len(data)) - first
        if end == 0:
            return
        out = data[:end]
        if self._dropped:
            out = self._without_dropped(out, first)
        self._writer = BytesWriter()
        if end < len(data):
            self._writer.write(data[end:])
        self._first += end
        if out:
            self._deliver(out)

    def _without_dropped(self, data: bytes, first: int) -> bytes:
        kept = []
        begin = 0
        for place in sorted(self._dropped):
            at = place - first
            if at < len(data):
                kept.append(data[begin:at])
                begin = at + self._dropped.pop(place)
        kept.append(data[begin:])
        return b"".join(kept)
