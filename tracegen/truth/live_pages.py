"""The pages that a trace has in use, by its own events: what a generous model would hold."""

from __future__ import annotations

from allocator.events import KMALLOC, OBJ_FREE, PAGE_ALLOC, PAGE_FREE
from tracegen.batch import rows
from tracegen.kernel_trace.slab_pages import LARGEST_CACHE_BYTES, order_of


class LivePages:
    """Counts them; kmalloc beyond the largest cache is a block of pages."""

    def __init__(self) -> None:
        self.pages = 0
        self._blocks: dict[int, int] = {}

    def apply(self, records: bytes) -> None:
        """Take events."""
        for op, _, handle, _, arg, *_ in rows(records):
            if op == PAGE_ALLOC:
                self._blocks[handle] = 1 << arg
                self.pages += 1 << arg
            elif op == KMALLOC and arg > LARGEST_CACHE_BYTES:
                self._blocks[handle] = 1 << order_of(arg)
                self.pages += 1 << order_of(arg)
            elif op in {PAGE_FREE, OBJ_FREE}:
                self.pages -= self._blocks.pop(handle, 0)
