"""Who asked: the context bits of an event, from what the trace lets one see.

The interrupt column says hardirq and softirq. A task has PF_MEMALLOC when it is
kswapd (``kswapd`` sets it for good) or between its begin and end of reclaim
(``__perform_reclaim`` and its siblings set it for that time). It never counts in
interrupts, which borrow the task they interrupt. An OOM victim stays one until it is gone.
``__GFP_MEMALLOC`` is in the mask and stays there. What is not visible: PF_MEMALLOC that code
sets for a while (NFS and RPC workers, direct compaction), and real-time priority.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from allocator.events import CTX_HARDIRQ, CTX_MEMDIE, CTX_PF_MEMALLOC, CTX_SOFTIRQ
from tracegen.kernel_trace.lines import Task

_INTERRUPT_BITS: Final[dict[str, int]] = {
    "": 0,
    ".": 0,
    "s": CTX_SOFTIRQ,
    "h": CTX_HARDIRQ,
    "H": CTX_HARDIRQ | CTX_SOFTIRQ,
    "z": CTX_HARDIRQ,
    "Z": CTX_HARDIRQ,
}
"""The interrupt column; an NMI is modelled as a hardirq."""

_MAX_PIDS: Final = 1 << 16


class Contexts:
    """Follows which task reclaims, and says for an allocation what its context is.

    ``reclaiming`` are the pids that were in direct reclaim when the trace began.
    """

    def __init__(self, reclaiming: Iterable[int] = ()) -> None:
        self.reclaiming = set(reclaiming)
        self.found_reclaiming: set[int] = set()
        """Pids whose reclaim ended without having begun: they were in it at the start."""
        self.victims: set[int] = set()
        self._begun: set[int] = set()
        self.by_kswapd = 0
        """Allocations that got PF_MEMALLOC for being kswapd's."""
        self.by_reclaim = 0
        """Allocations that got it for standing between begin and end of reclaim."""
        self.by_oom = 0
        """Allocations that got TIF_MEMDIE."""

    def of(self, task: Task, interrupt: str) -> int:
        """The CTX_* bits of an allocation."""
        bits = _INTERRUPT_BITS[interrupt]
        if bits:
            return bits
        if task[0] in self.reclaiming:
            self.by_reclaim += 1
            bits = CTX_PF_MEMALLOC
        elif task[1].startswith("kswapd"):
            self.by_kswapd += 1
            bits = CTX_PF_MEMALLOC
        if task[0] in self.victims:
            self.by_oom += 1
            bits |= CTX_MEMDIE
        return bits

    @staticmethod
    def interrupt_bits(interrupt: str) -> int:
        """The CTX_* bits of a free: only interrupts matter to it."""
        return _INTERRUPT_BITS[interrupt]

    def reclaim_begins(self, pid: int) -> None:
        """A task enters reclaim."""
        if len(self._begun) < _MAX_PIDS:
            self._begun.add(pid)
        self.reclaiming.add(pid)

    def reclaim_ends(self, pid: int) -> None:
        """A task leaves reclaim."""
        if pid not in self._begun and len(self._begun) < _MAX_PIDS:
            self._begun.add(pid)
            self.found_reclaiming.add(pid)
        self.reclaiming.discard(pid)

    def oom_kills(self, pid: int) -> None:
        """The OOM killer chose a task."""
        if len(self.victims) < _MAX_PIDS:
            self.victims.add(pid)
