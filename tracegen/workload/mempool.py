"""Mempools: a few objects kept back so that writing a page out never wants for them for good.

``mempool_alloc`` asks the allocator first, never for the reserve and never waiting, then
takes from the pool, and then sleeps until something comes back (mm/mempool.c).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from tracegen.workload.engine import SECOND, Engine, Task, Wait, WaitQueue
from tracegen.workload.footprint import Want
from tracegen.workload.memory import Memory

_LOOK_AGAIN: Final = 5 * SECOND
"""io_schedule_timeout(5*HZ): for pools that several share."""


class Mempool:
    """``mempool_t``: ``least`` elements are there from the start."""

    __slots__ = ("_engine", "_memory", "_pool", "_wants", "from_pool", "least", "queue")

    def __init__(
        self, engine: Engine, memory: Memory, name: str, wants: tuple[Want, ...], least: int
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._wants = wants
        self._pool: list[list[int]] = []
        self.least = least
        self.queue = WaitQueue(f"the {name} pool")
        self.from_pool = 0
        """Elements that the allocator did not have."""
        for _ in range(least):
            element: list[int] = []
            if memory.take_step(wants, 0, 0, element):
                self._pool.append(element)

    def get_now(self, task: Task) -> list[int] | None:
        """An element if there is one without sleeping."""
        element: list[int] = []
        if self._memory.take_step(self._wants, task.cpu, task.ctx, element):
            return element
        if self._pool:
            self.from_pool += 1
            return self._pool.pop()
        return None

    def get(self, task: Task) -> Generator[int | Wait, None, list[int]]:
        """An element; sleeps while there is none."""
        while (element := self.get_now(task)) is None:
            yield Wait(self.queue, f"an element of {self.queue.name}", _LOOK_AGAIN)
        return element

    def put(self, element: list[int], cpu: int, ctx: int) -> None:
        """Give an element back, to the pool if that lacks one."""
        if len(self._pool) < self.least:
            self._pool.append(element)
            self._engine.wake(self.queue)
        else:
            self._memory.free_all(element, cpu, ctx)
