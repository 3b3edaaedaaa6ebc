"""The swap cache and the device below it.

A device takes pages to write or to read and says when each is done. What a page in
the swap cache costs beside itself, nodes of the cache's radix tree, is accounted for here.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from tracegen.workload.engine import Engine, Task, Wait, WaitQueue
from tracegen.workload.footprint import Footprint
from tracegen.workload.memory import Memory
from tracegen.workload.pages import (
    CACHED,
    MAPPED_DIRTY,
    NO_LIST,
    READING,
    UNTOUCHED,
    WRITING,
    WRITING_MAPPED,
    Pages,
)

_SLOTS_OF_A_NODE = 64


class SwapDevice(Protocol):
    """Where swapped-out pages go."""

    congestion: WaitQueue
    """Woken when the device is no longer congested."""

    @property
    def write_congested(self) -> bool:
        """Whether reclaimers other than kswapd should leave it alone."""

    def write(self, task: Task, pages: list[int]) -> Generator[int | Wait, None, None]:
        """Write pages out; returns when the device has them, or has written them."""

    def read(self, task: Task, pages: list[int]) -> Generator[int | Wait, None, None]:
        """Have pages read; returns when the device has been asked."""

    def waits(self) -> list[str]:
        """What the device holds and what it waits for, a sentence each."""


class Swap:
    """Pages on their way between memory and swap."""

    __slots__ = (
        "_engine",
        "_locked",
        "_memory",
        "_node_step",
        "_nodes",
        "_pages",
        "cache_pages",
        "device",
        "pages_in",
        "pages_out",
    )

    def __init__(self, engine: Engine, memory: Memory, footprint: Footprint, pages: Pages) -> None:
        self._engine = engine
        self._memory = memory
        self._pages = pages
        self._node_step = footprint.step("swap_cache_node")
        self._nodes: list[list[int]] = []
        self._locked: dict[int, WaitQueue] = {}
        self.cache_pages = 0
        """Pages in the swap cache."""
        self.pages_in = 0
        self.pages_out = 0
        self.device: SwapDevice

    def add_to_cache(self, cpu: int, ctx: int) -> bool:
        """``add_to_swap``: a place in the cache's tree; False when there is no memory for it."""
        if self.cache_pages >= len(self._nodes) * _SLOTS_OF_A_NODE:
            held: list[int] = []
            for want in self._node_step:
                handle = self._memory.take(want, cpu, ctx)
                if not handle:
                    self._memory.free_all(held, cpu, ctx)
                    return False
                held.append(handle)
            self._nodes.append(held)
        self.cache_pages += 1
        return True

    def remove_from_cache(self, cpu: int, ctx: int) -> None:
        """The kernel's ``delete_from_swap_cache``."""
        self.cache_pages -= 1
        if self.cache_pages < (len(self._nodes) - 1) * _SLOTS_OF_A_NODE:
            self._memory.free_all(self._nodes.pop(), cpu, ctx)

    def locked(self, page: int) -> WaitQueue:
        """The queue that is woken when a page being read is there."""
        queue = self._locked.get(page)
        if queue is None:
            queue = self._locked[page] = WaitQueue("a page to be read from swap")
        return queue

    def written(self, page: int) -> None:
        """``end_swap_bio_write``: the page is clean, and reclaim may free it."""
        pages = self._pages
        pages.writing -= 1
        self.pages_out += 1
        self._memory.note_life()
        if pages.state[page] == WRITING_MAPPED:
            # It was mapped again meanwhile, and is taken to have been written to.
            pages.state[page] = MAPPED_DIRTY
            pages.drop_slot(page)
            self.remove_from_cache(0, 0)
            pages.enlist(page)
        elif pages.state[page] == WRITING:
            pages.state[page] = CACHED
            pages.rotate(page)
        else:
            self.forget(page, 0)

    def read_done(self, page: int) -> None:
        """``end_swap_bio_read``: the page may be mapped."""
        pages = self._pages
        self.pages_in += 1
        self._memory.note_life()
        if pages.state[page] == READING:
            pages.state[page] = CACHED
            pages.enlist(page)
        else:
            self.forget(page, 0)
        queue = self._locked.pop(page, None)
        if queue is not None:
            self._engine.wake(queue)

    def forget(self, page: int, cpu: int) -> None:
        """Give back a page that is in the swap cache, and its slot: nobody wants it any more."""
        pages = self._pages
        pages.state[page] = UNTOUCHED
        pages.on_list[page] = NO_LIST
        pages.resident -= 1
        pages.drop_slot(page)
        self.remove_from_cache(cpu, 0)
        self._memory.free(pages.handle[page], cpu, 0)
