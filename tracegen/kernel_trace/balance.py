"""Where a kernel's pages went, by its own events: what a model's free pages are held against.

Kept only when somebody asks (:mod:`tracegen.truth`): an entry for each page that moves.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Final

MAX_PCP_ORDER: Final = 3
"""PAGE_ALLOC_COSTLY_ORDER: blocks up to it go through the per-cpu lists (before Linux 5.13:
single pages)."""


class Series:
    """A number of pages that changes with time."""

    def __init__(self) -> None:
        self._changes: list[tuple[int, int]] = []
        self._times: list[int] = []
        self._sums: list[int] = []

    def add(self, ts_ns: int, pages: int) -> None:
        """So many more pages from this time on; the times may come in any order."""
        self._changes.append((ts_ns, pages))

    def at(self, ts_ns: int) -> int:
        """The sum of all changes up to a time."""
        if len(self._times) != len(self._changes):
            self._changes.sort()
            self._times = [time for time, _ in self._changes]
            self._sums = list(accumulate(pages for _, pages in self._changes))
        at = bisect_right(self._times, ts_ns)
        return self._sums[at - 1] if at else 0


class Balance:
    """What the events of a kernel say of its pages, each from the trace's beginning on."""

    def __init__(self) -> None:
        self.slab = Series()
        """Pages that the slab allocator took for itself, less those it gave back."""
        self.per_cpu = Series()
        """Pages that went to the per-cpu lists, less those that left them."""
        self.moved = Series()
        """Pages that compaction freed: it had taken as many unseen."""
        self._older_slabs: list[tuple[int, int]] = []

    def older_slab(self, ts_ns: int, order: int) -> None:
        """A slab from before the trace is given back; :meth:`settle` says whose it was."""
        self._older_slabs.append((ts_ns, 1 << order))

    def settle(self, stands_as_pages: list[bool]) -> None:
        """For each older slab: whether it stands as pages in the trace, not as a slab."""
        for (ts_ns, pages), as_pages in zip(self._older_slabs, stands_as_pages, strict=True):
            if not as_pages:
                self.slab.add(ts_ns, -pages)
        self._older_slabs = []

    def page(self, ts_ns: int, order: int, pages: int) -> None:
        """Pages are handed out (fewer on the per-cpu lists) or freed to them."""
        if order <= MAX_PCP_ORDER:
            self.per_cpu.add(ts_ns, pages)
