"""Reclaim: kswapd, direct reclaim by whoever needs a page, throttling, the OOM killer.

mm/vmscan.c and the waiting half of __alloc_pages_slowpath(), reduced to what decides who
waits for whom. The model says when a task would have to wait (a STALLED_* outcome);
what it then does is here: it frees up to 32 clean pages, sends dirty ones to swap, looks again.

Faithful to Linux 3.3 where a hang is decided: a direct reclaimer leaves a congested device alone,
kswapd does not and may sleep on it (PF_SWAPWRITE, may_write_to_queue()); only kswapd declares
that nothing is reclaimable any more, and only then the OOM killer is called
(all_unreclaimable()), so a kswapd that sleeps for ever keeps the killer away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Final

from allocator.events import CTX_MEMDIE, CTX_PF_MEMALLOC
from allocator.outcome import FIRST_STALLED
from tracegen.workload.engine import MILLISECOND, SECOND, Engine, Steps, Task, Wait, WaitQueue
from tracegen.workload.footprint import Footprint, Want
from tracegen.workload.memory import Memory
from tracegen.workload.pages import (
    CACHED,
    MAPPED_CLEAN,
    MAPPED_DIRTY,
    NO_LIST,
    ON_CLEAN,
    ON_INACTIVE,
    SWAPPED,
    WRITING,
    Pages,
)
from tracegen.workload.series import THROTTLE
from tracegen.workload.swap import Swap

SWAP_CLUSTER_MAX: Final = 32
DEF_PRIORITY: Final = 12
_TENTH: Final = SECOND // 10
_FIFTIETH: Final = SECOND // 50
_PAGE_NS: Final = 500
"""CPU time to unmap and free a page, or to start writing it."""
_SCAN_NS: Final = 50
"""CPU time to look at a page in vain."""
_UNRECLAIMABLE: Final = 6
"""zone_reclaimable(): scanned so many times over without a page freed, a zone is given up."""
_STREAM_WAIT: Final = _TENTH
"""sk_stream_wait_memory() looks again after up to a fifth of a second."""


class Reclaim:
    """What the machine does when memory runs short."""

    __slots__ = (
        "_engine",
        "_memory",
        "_pages",
        "_scanned",
        "_scanned_at_free",
        "_series",
        "_shrink_carry",
        "_swap",
        "all_unreclaimable",
        "direct_reclaims",
        "drains",
        "file_pages",
        "freed",
        "kmem_objects",
        "kswapd",
        "kswapd_wait",
        "on_oom",
        "oom_kills",
        "throttle_wait",
        "throttled",
    )

    def __init__(
        self,
        engine: Engine,
        memory: Memory,
        footprint: Footprint,
        pages: Pages,
        swap: Swap,
        cpu: int,
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._pages = pages
        self._swap = swap
        self._series = footprint.rights.series
        self.file_pages: deque[int] = deque()
        """Clean page cache, oldest first."""
        self.kmem_objects: deque[int] = deque()
        """Dentries, inodes and the like that a shrinker may free, oldest first."""
        self._shrink_carry = 0
        self._scanned = 0
        self._scanned_at_free = 0
        self.all_unreclaimable = False
        self.freed = 0
        """Pages that reclaim has freed."""
        self.direct_reclaims = 0
        self.drains = 0
        self.throttled = 0
        self.oom_kills = 0
        self.on_oom: Callable[[], bool] = _no_victim
        self.kswapd_wait = WaitQueue("to be woken")
        self.throttle_wait = WaitQueue("kswapd to free half of the reserve")
        self.kswapd = Task("kswapd0", cpu, kernel=True)
        self.kswapd.ctx = CTX_PF_MEMALLOC
        self.kswapd.seeks_memory = True
        memory.on_kswapd_wanted = self.wake_kswapd
        engine.spawn(self.kswapd, self._balance())

    # Asking for memory, with all the waiting that may take.

    def slow_path(self, task: Task, want: Want) -> Generator[int | Wait, None, int]:
        """What follows a STALLED_* outcome in ``__alloc_pages_slowpath``.

        Returns the handle, or 0 when the task is told that there is none.
        """
        task.seeks_memory = True
        handle = yield from self._seek(task, want)
        if handle:
            self._memory.note_life()
        task.seeks_memory = False
        return handle

    def _seek(self, task: Task, want: Want) -> Generator[int | Wait, None, int]:
        memory = self._memory
        while True:
            yield from self._throttle(task, want)
            freed = yield from self._direct(task, want)
            handle = memory.take(want, task.cpu, task.ctx)
            if handle or memory.outcome < FIRST_STALLED:
                return handle
            # __alloc_pages_direct_reclaim: what was freed may lie on the cpus' own lists.
            self.drains += 1
            memory.drain(task.cpu)
            handle = memory.take(want, task.cpu, task.ctx)
            if handle or memory.outcome < FIRST_STALLED:
                return handle
            if freed == 0 and want.fs and self.all_unreclaimable:
                self._out_of_memory()
                if task.killed:
                    task.ctx |= CTX_MEMDIE
                    return memory.take(want, task.cpu, task.ctx)
            if freed == 0:
                # The kernel's wait_iff_congested() comes here.
                why = f"{want.name} ({self.shortage()})"
                congested = self._swap.device.write_congested
                patience = _FIFTIETH if congested else self._futile_ns()
                yield Wait(self._swap.device.congestion, why, patience, is_try=False)
            task.tries.note(self._engine.now)

    def gather(
        self, task: Task, wants: tuple[Want, ...], otherwise: WaitQueue
    ) -> Generator[int | Wait, None, list[int]]:
        """Everything of a step, however long that takes.

        A task that the allocator sends away with nothing, because it is reclaiming itself,
        sleeps on ``otherwise`` and asks again (sk_stream_wait_memory()).
        """
        memory = self._memory
        held: list[int] = []
        for want in wants:
            for _ in range(memory.times(want)):
                while True:
                    handle = memory.take(want, task.cpu, task.ctx)
                    if not handle and memory.outcome >= FIRST_STALLED:
                        handle = yield from self.slow_path(task, want)
                    if handle:
                        break
                    why = f"{want.name}, even of the reserve ({self.shortage()})"
                    yield Wait(otherwise, why, _STREAM_WAIT)
                held.append(handle)
        return held

    def shortage(self) -> str:
        """How memory stands, for people."""
        return f"{self._memory.free_pages()} pages free, min {self._memory.wmark_min}"

    def wake_kswapd(self) -> None:
        """The kernel's ``wakeup_kswapd``."""
        self._engine.wake(self.kswapd_wait)

    # Reclaim itself.

    def _direct(self, task: Task, want: Want) -> Generator[int | Wait, None, int]:
        """``try_to_free_pages``: returns pages freed."""
        self.direct_reclaims += 1
        had = task.ctx & CTX_PF_MEMALLOC
        task.ctx |= CTX_PF_MEMALLOC
        freed = 0
        device = self._swap.device
        for priority in range(DEF_PRIORITY, -1, -1):
            freed += yield from self._shrink(
                task, SWAP_CLUSTER_MAX - freed, priority, may_io=want.io, is_kswapd=False
            )
            if freed >= SWAP_CLUSTER_MAX or task.killed:
                break
            if want.io and priority < DEF_PRIORITY - 2 and device.write_congested:
                why = f"{want.name}: {device.congestion.name} ({self.shortage()})"
                yield Wait(device.congestion, why, _TENTH, is_try=False)
        if not had:
            task.ctx &= ~CTX_PF_MEMALLOC
        return freed

    def _shrink(
        self, task: Task, target: int, priority: int, *, may_io: bool, is_kswapd: bool
    ) -> Generator[int | Wait, None, int]:
        """``shrink_zone`` once over: frees clean pages, sends dirty ones to swap."""
        pages = self._pages
        freed = self._free_clean(task, target)
        freed += self._free_file_pages(task, target - freed)
        batch: list[int] = []
        rotated = 0
        inactive = pages.inactive
        device = self._swap.device
        may_write = may_io and (is_kswapd or not device.write_congested)
        limit = len(inactive)
        while inactive and freed < target and len(batch) < SWAP_CLUSTER_MAX and rotated < limit:
            page = inactive.popleft()
            if pages.on_list[page] != ON_INACTIVE:
                continue
            state = pages.state[page]
            if pages.referenced[page]:
                pages.referenced[page] = 0
                inactive.append(page)
                rotated += 1
            elif state in (CACHED, MAPPED_CLEAN):
                self._drop(page, task)
                freed += 1
            elif state == MAPPED_DIRTY:
                if not may_write or not self._unmap(page, task):
                    inactive.appendleft(page)
                    break
                batch.append(page)
            else:
                pages.on_list[page] = NO_LIST
        looked = freed + len(batch) + rotated
        self._note_scanned(priority, looked)
        self._shrink_slab(task, looked)
        cost = _PAGE_NS * (freed + len(batch)) + _SCAN_NS * rotated
        yield self._engine.busy(task.cpu, cost + _PAGE_NS)
        if batch:
            yield from device.write(task, batch)
        return freed

    def _free_clean(self, task: Task, target: int) -> int:
        pages = self._pages
        clean = pages.clean
        freed = 0
        while clean and freed < target:
            page = clean.popleft()
            if pages.on_list[page] == ON_CLEAN and pages.state[page] == CACHED:
                self._drop(page, task)
                freed += 1
        return freed

    def _free_file_pages(self, task: Task, target: int) -> int:
        """Page cache goes in proportion to its share, at the least a page in turn."""
        cache = self.file_pages
        if not cache or target <= 0:
            return 0
        share = max(1, target * len(cache) // (len(cache) + self._pages.resident + 1))
        count = min(share, target, len(cache))
        for _ in range(count):
            self._memory.free(cache.popleft(), task.cpu, task.ctx)
        self._note_freed(count)
        return count

    def _drop(self, page: int, task: Task) -> None:
        """Free a page whose copy in swap is good."""
        pages = self._pages
        pages.state[page] = SWAPPED
        pages.on_list[page] = NO_LIST
        pages.resident -= 1
        self._swap.remove_from_cache(task.cpu, task.ctx)
        self._memory.free(pages.handle[page], task.cpu, task.ctx)
        self._note_freed(1)

    def _unmap(self, page: int, task: Task) -> bool:
        """Give a dirty page a slot and a place in the swap cache; False if there is none."""
        pages = self._pages
        if not pages.take_slot(page):
            return False
        if not self._swap.add_to_cache(task.cpu, task.ctx):
            pages.drop_slot(page)
            return False
        pages.state[page] = WRITING
        pages.on_list[page] = NO_LIST
        pages.writing += 1
        return True

    def _shrink_slab(self, task: Task, looked: int) -> None:
        """``shrink_slab``: caches of the filesystems shrink as the lists of pages are scanned."""
        objects = self.kmem_objects
        if not objects:
            return
        due = self._shrink_carry + 2 * looked * len(objects)
        per = self._pages.resident + len(self.file_pages) + 1
        count, self._shrink_carry = divmod(due, per)
        for _ in range(min(count, len(objects))):
            self._memory.free(objects.popleft(), task.cpu, task.ctx)

    # kswapd.

    def _balance(self) -> Steps:
        """``kswapd``: from below low to above high, then asleep."""
        task = self.kswapd
        memory = self._memory
        while True:
            yield Wait(self.kswapd_wait, self.kswapd_wait.name)
            if memory.is_boosted():
                # For the boost alone it takes what is clean, and then the boost is over.
                yield from self._shrink(
                    task, SWAP_CLUSTER_MAX, DEF_PRIORITY, may_io=False, is_kswapd=True
                )
                memory.end_boost()
            while memory.free_pages() <= memory.wmark_high:
                yield from self._balance_once(task)
            self._let_throttled_go()

    def _balance_once(self, task: Task) -> Steps:
        """``balance_pgdat``: all priorities once, unless it is done before."""
        memory = self._memory
        for priority in range(DEF_PRIORITY, -1, -1):
            freed = yield from self._shrink(
                task, SWAP_CLUSTER_MAX, priority, may_io=True, is_kswapd=True
            )
            if self._scanned - self._scanned_at_free >= _UNRECLAIMABLE * self._reclaimable():
                self.all_unreclaimable = True
            self._let_throttled_go()
            if memory.free_pages() > memory.wmark_high:
                return
            if not freed and priority < DEF_PRIORITY - 2:
                congestion = self._swap.device.congestion
                yield Wait(congestion, congestion.name, _TENTH, is_try=False)
        if self.all_unreclaimable:
            task.tries.note(self._engine.now)  # until then it brings the OOM killer nearer

    def _reclaimable(self) -> int:
        return self._pages.resident + len(self.file_pages) + 1

    def _note_scanned(self, priority: int, looked: int) -> None:
        """What the kernel would have looked at, pages under writeback included."""
        self._scanned += max(looked, self._reclaimable() >> priority)

    def _note_freed(self, count: int) -> None:
        self.freed += count
        self._memory.note_life()
        self._scanned_at_free = self._scanned
        self.all_unreclaimable = False

    def _futile_ns(self) -> int:
        """How long a look at every page takes when nothing can be done about any."""
        return MILLISECOND + 2 * _SCAN_NS * self._reclaimable()

    # Throttling, and the last resort.

    def reserve_half_free(self) -> bool:
        """The kernel's ``pfmemalloc_watermark_ok``."""
        return self._memory.free_pages() > self._memory.wmark_min // 2

    def _throttle(self, task: Task, want: Want) -> Steps:
        """The kernel's ``throttle_direct_reclaim``."""
        if THROTTLE not in self._series or task.kernel or self.reserve_half_free():
            return
        self.throttled += 1
        self.wake_kswapd()
        queue = self.throttle_wait
        if not want.fs:
            yield Wait(queue, queue.name, SECOND)
            return
        while not self.reserve_half_free() and not task.killed:
            yield Wait(queue, f"{queue.name} ({self.shortage()})")

    def _let_throttled_go(self) -> None:
        if self.throttle_wait.sleepers and self.reserve_half_free():
            self._engine.wake(self.throttle_wait)

    def _out_of_memory(self) -> None:
        if self.on_oom():
            self.oom_kills += 1
            self._memory.note_life()
            self._scanned_at_free = self._scanned
            self.all_unreclaimable = False


def _no_victim() -> bool:
    """Nobody to kill."""
    return False
