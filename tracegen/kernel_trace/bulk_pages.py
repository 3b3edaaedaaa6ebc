"""Pages that the kernel took from its per-cpu lists unseen.

``alloc_pages_bulk`` (Linux 5.13) has no tracepoint; vmalloc takes kernel stacks by it. Their
frees are printed like any other, so by the events alone memory would grow by every
task that ends. How many were taken shows when all lists are emptied, which a task does that got
nothing after direct reclaim (``drain_all_pages``): what the events say is still on the
lists then was taken from them.
"""

from __future__ import annotations


class BulkPages:
    """Counts the pages on the lists, and at each emptying those that were taken unseen."""

    def __init__(self) -> None:
        self.on_lists = 0
        """Pages that went to the lists by the events, less those that left them."""
        self._known = 0
        """Of them, how many are known not to be there."""
        self._emptied = False
        self._unsure = 0
        """Taken unseen by the last emptying alone: others may have filled lists meanwhile."""

    def emptied(self) -> int:
        """All lists have just been emptied: how many more pages were taken unseen for certain.

        Certain is what two emptyings in a row agree on. The first one only shows what
        was on the lists when the trace began.
        """
        left = self.on_lists - self._known
        if not self._emptied or left < 0:
            self._emptied = True
            self._known += left
            self._unsure = 0
            return 0
        certain = min(left, self._unsure)
        self._known += certain
        self._unsure = left - certain
        return certain
