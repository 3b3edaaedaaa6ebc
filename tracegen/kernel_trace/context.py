"""Who asked: the context bits of an event, from what the trace lets one see.

The interrupt column says hardirq and softirq. A task has PF_MEMALLOC when it is
kswapd (``kswapd`` sets it for good), between its begin and end of reclaim
(``__perform_reclaim`` and its siblings set it for that time), and while it compacts
memory for itself (``__alloc_pages_direct_compact``). It never counts in interrupts, which
borrow the task they interrupt. An OOM victim stays one until it is gone. ``__GFP_MEMALLOC`` is in
the mask and stays there. What is not visible: PF_MEMALLOC that code sets for a while (NFS
and RPC workers), and real-time priority.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from allocator.events import CTX_MEMDIE, CTX_PF_MEMALLOC
from tracegen.kernel_trace.kernel_event import Origin, Thread

SLOT_SHIFT: Final = 8
"""Above a context's own bits: the slot of a task that may turn out to have been reclaiming
when the trace began, for :mod:`.settle` to see to."""
MAX_SLOTS: Final = (1 << 15) - 1


class Contexts:
    """Follows which task reclaims, and says for an allocation what its context is.

    ``thread_of`` finds a task by its pid. With ``slots``, tasks that may have been in reclaim
    when the trace began get slots.
    """

    def __init__(self, thread_of: Callable[[int], Thread], *, slots: bool) -> None:
        self._thread_of = thread_of
        self._max_slots = MAX_SLOTS if slots else 0
        self._slots = 0
        self.was_reclaiming: list[int] = []
        """Slots of tasks that ended reclaim without having begun it."""
        self.by_kswapd = 0
        """Allocations that got PF_MEMALLOC for being kswapd's."""
        self.by_reclaim = 0
        """Allocations that got it for standing between begin and end of reclaim."""
        self.by_compaction = 0
        """Allocations that got it for standing between begin and end of compaction."""
        self.blind = 0
        """Allocations that are taken for a task's because the text does not show interrupts."""
        self.by_oom = 0
        """Allocations that got TIF_MEMDIE."""

    def of(self, origin: Origin) -> int:
        """The CTX_* bits of an allocation, and the slot of its task."""
        if not origin.in_task:
            return origin.bits
        if origin.blind:
            self.blind += 1
        thread = origin.thread
        bits = 0
        if thread.reclaiming:
            self.by_reclaim += 1
            bits = CTX_PF_MEMALLOC
        elif thread.kswapd:
            self.by_kswapd += 1
            bits = CTX_PF_MEMALLOC
        elif thread.compacting and not thread.compactor:
            self.by_compaction += 1
            bits = CTX_PF_MEMALLOC
        elif not thread.reclaim_seen:
            bits = self._slot(thread) << SLOT_SHIFT
        if thread.victim:
            self.by_oom += 1
            bits |= CTX_MEMDIE
        return bits

    def _slot(self, thread: Thread) -> int:
        if thread.slot == 0 and self._slots < self._max_slots and thread.pid:
            self._slots += 1
            thread.slot = self._slots
        return thread.slot

    @staticmethod
    def reclaim_begins(thread: Thread) -> None:
        """A task enters reclaim."""
        thread.reclaiming = True
        thread.reclaim_seen = True
        thread.slot = 0

    def reclaim_ends(self, thread: Thread) -> None:
        """A task leaves reclaim."""
        if not thread.reclaim_seen:
            thread.reclaim_seen = True
            if thread.slot:
                self.was_reclaiming.append(thread.slot)
                thread.slot = 0
        thread.reclaiming = False

    def oom_kills(self, pid: int) -> None:
        """The OOM killer chose a task."""
        self._thread_of(pid).victim = True
