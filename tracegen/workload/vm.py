"""Address spaces: what a touch of an anonymous page leads to, and what an exit gives back."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from tracegen.workload.engine import Engine, Task, Wait
from tracegen.workload.footprint import Footprint
from tracegen.workload.memory import Memory
from tracegen.workload.pages import (
    CACHED,
    DYING,
    MAPPED_CLEAN,
    MAPPED_DIRTY,
    NO_LIST,
    NO_SLOT,
    READING,
    SWAPPED,
    UNTOUCHED,
    WRITING,
    WRITING_MAPPED,
    Pages,
)
from tracegen.workload.reclaim import Reclaim
from tracegen.workload.swap import Swap

PAGES_OF_A_TABLE: Final = 512
"""Entries of one page of page tables."""


class AddressSpace:
    """A process's anonymous memory."""

    __slots__ = ("area", "tables", "task")

    def __init__(self, task: Task, area: range) -> None:
        self.task = task
        self.area = area
        self.tables: list[int] = []


class VirtualMemory:
    """Faults of all processes."""

    __slots__ = (
        "_anonymous",
        "_engine",
        "_memory",
        "_pages",
        "_readahead",
        "_reclaim",
        "_swap",
        "_swap_in",
        "_table",
        "faults",
        "major_faults",
        "spaces",
    )

    def __init__(
        self,
        engine: Engine,
        memory: Memory,
        footprint: Footprint,
        pages: Pages,
        swap: Swap,
        reclaim: Reclaim,
        readahead: int,
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._pages = pages
        self._swap = swap
        self._reclaim = reclaim
        self._readahead = readahead
        self._anonymous = footprint.one("anonymous_page")
        self._swap_in = footprint.one("swap_in_page")
        self._table = footprint.one("page_table")
        self.spaces: list[AddressSpace] = []
        self.faults = 0
        self.major_faults = 0
        reclaim.on_oom = self._kill_one

    def new_space(self, task: Task, count: int) -> AddressSpace:
        """``mmap`` of ``count`` pages for a task that is about to run."""
        space = AddressSpace(task, self._pages.map(count))
        self.spaces.append(space)
        return space

    def touch(
        self, space: AddressSpace, page: int, *, is_write: bool
    ) -> Generator[int | Wait, None, bool]:
        """Read or write a page, whatever that takes; False when the task is to die."""
        pages = self._pages
        task = space.task
        while True:
            state = pages.state[page]
            if state in (MAPPED_DIRTY, WRITING_MAPPED):
                pages.referenced[page] = 1
                return True
            if state == UNTOUCHED:
                return (yield from self._first_touch(space, page))
            self.faults += 1
            if self._is_in_memory(page, is_write=is_write):
                return True
            if state == SWAPPED:
                self.major_faults += 1
                if not (yield from self._read(task, page)):
                    return False
            if pages.state[page] == READING:
                queue = self._swap.locked(page)
                yield Wait(queue, queue.name)
            if task.killed:
                return False

    def exit(self, space: AddressSpace) -> None:
        """``exit_mmap``: everything goes back, but for what is under way."""
        pages = self._pages
        memory = self._memory
        cpu = space.task.cpu
        for page in space.area:
            state = pages.state[page]
            if state == UNTOUCHED:
                continue
            if state in (WRITING, WRITING_MAPPED, READING):
                pages.state[page] = DYING
            elif state == SWAPPED:
                pages.drop_slot(page)
                pages.state[page] = UNTOUCHED
            elif state in (CACHED, MAPPED_CLEAN):
                self._swap.forget(page, cpu)
            else:
                pages.state[page] = UNTOUCHED
                pages.on_list[page] = NO_LIST
                pages.resident -= 1
                memory.free(pages.handle[page], cpu, 0)
        memory.free_all(space.tables, cpu, 0)
        self.spaces.remove(space)
        pages.unmap(space.area)

    def _is_in_memory(self, page: int, *, is_write: bool) -> bool:
        """Map a page that is clean, in the swap cache or under writeback; False for any other."""
        pages = self._pages
        state = pages.state[page]
        if state == WRITING:
            pages.state[page] = WRITING_MAPPED
            return True
        if state == MAPPED_CLEAN:
            pages.referenced[page] = 1
        elif state == CACHED:
            pages.state[page] = MAPPED_CLEAN
            pages.enlist(page)
        else:
            return False
        if is_write:
            self._dirty(page)
        return True

    def _first_touch(self, space: AddressSpace, page: int) -> Generator[int | Wait, None, bool]:
        """The kernel's ``do_anonymous_page``."""
        memory = self._memory
        task = space.task
        self.faults += 1
        offset = page - space.area.start
        while len(space.tables) <= offset // PAGES_OF_A_TABLE:
            table = memory.take(self._table, task.cpu, task.ctx)
            if not table:
                table = yield from self._reclaim.slow_path(task, self._table)
            if not table:
                return False
            space.tables.append(table)
        handle = memory.take(self._anonymous, task.cpu, task.ctx)
        if not handle:
            handle = yield from self._reclaim.slow_path(task, self._anonymous)
        if not handle:
            return False
        pages = self._pages
        pages.handle[page] = handle
        pages.state[page] = MAPPED_DIRTY
        pages.resident += 1
        pages.enlist(page)
        memory.note_life()
        return True

    def _dirty(self, page: int) -> None:
        """A write: the copy in swap is no longer good."""
        pages = self._pages
        pages.state[page] = MAPPED_DIRTY
        pages.drop_slot(page)
        self._swap.remove_from_cache(0, 0)

    def _read(self, task: Task, page: int) -> Generator[int | Wait, None, bool]:
        """``swapin_readahead``: the page, and its neighbours in swap if memory is there at once."""
        memory = self._memory
        pages = self._pages
        handle = memory.take(self._swap_in, task.cpu, task.ctx)
        if not handle:
            handle = yield from self._reclaim.slow_path(task, self._swap_in)
        if not handle:
            return False
        if pages.state[page] != SWAPPED:
            memory.free(handle, task.cpu, task.ctx)  # another task was faster
            return True
        wanted = [page]
        self._begin_read(page, handle, task)
        slot = pages.slot_of[page]
        first = slot - slot % self._readahead
        for neighbour_slot in range(first, min(first + self._readahead, pages.slots)):
            neighbour = pages.page_of[neighbour_slot]
            if neighbour == NO_SLOT or pages.state[neighbour] != SWAPPED:
                continue
            handle = memory.take(self._swap_in, task.cpu, task.ctx)
            if not handle:
                break
            self._begin_read(neighbour, handle, task)
            wanted.append(neighbour)
        wanted.sort(key=pages.slot_of.__getitem__)
        yield from self._swap.device.read(task, wanted)
        return True

    def _begin_read(self, page: int, handle: int, task: Task) -> None:
        pages = self._pages
        pages.handle[page] = handle
        pages.state[page] = READING
        pages.resident += 1
        # A node that cannot be had is not waited for: the tree has a preloaded one.
        if not self._swap.add_to_cache(task.cpu, task.ctx):
            self._swap.cache_pages += 1

    def _kill_one(self) -> bool:
        """``out_of_memory``: the process with the most memory, unless one is dying already."""
        if any(space.task.killed for space in self.spaces):
            return False
        pages = self._pages
        worst: AddressSpace | None = None
        most = 0
        for space in self.spaces:
            state = pages.state[space.area.start : space.area.stop]
            size = len(state) - state.count(UNTOUCHED)
            if size > most:
                worst, most = space, size
        if worst is None:
            return False
        worst.task.killed = True
        self._engine.wake(self._reclaim.throttle_wait)
        return True
