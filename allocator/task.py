"""``current``: who runs on which cpu, in which context.

One object per machine, set before each event. The bits are those of a trace
event's ``ctx`` (:mod:`allocator.events`).
"""

from __future__ import annotations

from mypy_extensions import i64

from allocator.events import CTX_HARDIRQ, CTX_MEMDIE, CTX_PF_MEMALLOC, CTX_RT, CTX_SOFTIRQ


class Task:
    """The running task: its cpu, the cpu's node, and its context bits."""

    __slots__ = ("cpu", "ctx", "node")

    def __init__(self) -> None:
        """Begin in plain process context on cpu 0."""
        self.cpu: i64 = 0
        """``smp_processor_id()``."""
        self.node: i64 = 0
        """``numa_node_id()`` of that cpu."""
        self.ctx: i64 = 0

    def pf_memalloc(self) -> bool:
        """``current->flags & PF_MEMALLOC``."""
        return self.ctx & CTX_PF_MEMALLOC != 0

    def memdie(self) -> bool:
        """``test_thread_flag(TIF_MEMDIE)``."""
        return self.ctx & CTX_MEMDIE != 0

    def in_interrupt(self) -> bool:
        """``in_interrupt()``: softirq or hard interrupt."""
        return self.ctx & (CTX_SOFTIRQ | CTX_HARDIRQ) != 0

    def in_hardirq(self) -> bool:
        """``in_irq()``."""
        return self.ctx & CTX_HARDIRQ != 0

    def in_serving_softirq(self) -> bool:
        """``in_serving_softirq()``."""
        return self.ctx & CTX_SOFTIRQ != 0

    def rt_task(self) -> bool:
        """``rt_task(current)``."""
        return self.ctx & CTX_RT != 0
