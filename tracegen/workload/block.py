"""The block layer: requests of a device, merged from pages, bounded in number.

block/blk-core.c in short: neighbours in swap become one request; a queue that holds
``limit`` requests of a direction makes the next caller sleep (get_request_wait()), and
counts as congested from 7/8 of that, so that reclaimers other than kswapd leave it alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from tracegen.workload.engine import Engine, Task, Wait, WaitQueue
from tracegen.workload.footprint import Footprint
from tracegen.workload.memory import Memory
from tracegen.workload.mempool import Mempool
from tracegen.workload.pages import Pages

_BIO_POOL_SIZE = 2
"""fs/bio.c"""
_BLKDEV_MIN_RQ = 4
"""include/linux/blkdev.h"""


class Request:
    """Some neighbouring pages on their way to or from swap."""

    __slots__ = ("bios", "held", "is_write", "pages", "replied", "unsent")

    def __init__(self, pages: list[int], *, is_write: bool) -> None:
        self.pages = pages
        self.is_write = is_write
        self.bios: list[list[int]] = []
        self.held: list[int] = []
        self.unsent = 0
        """Pieces that the server does not have yet."""
        self.replied = False


class BlockQueue:
    """``struct request_queue`` of a network block device."""

    __slots__ = (
        "_bio_pool",
        "_engine",
        "_full",
        "_limit",
        "_max_pages",
        "_pages",
        "_request_pool",
        "allocated",
        "congestion",
        "is_congested",
        "ready",
        "waiting",
    )

    def __init__(
        self,
        engine: Engine,
        memory: Memory,
        footprint: Footprint,
        pages: Pages,
        *,
        limit: int,
        max_pages: int,
    ) -> None:
        self._engine = engine
        self._pages = pages
        self._limit = limit
        self._max_pages = max_pages
        self._bio_pool = Mempool(engine, memory, "bio", footprint.step("bio"), _BIO_POOL_SIZE)
        self._request_pool = Mempool(
            engine, memory, "request", footprint.step("request"), _BLKDEV_MIN_RQ
        )
        self._full = [WaitQueue("a free read request"), WaitQueue("a free write request")]
        self.allocated = [0, 0]
        """Requests of each direction, reads first."""
        self.is_congested = [False, False]
        self.congestion = WaitQueue("congestion to clear")
        self.waiting: deque[Request] = deque()
        """What the driver has not taken yet."""
        self.ready = WaitQueue("a request to send")

    def submit(
        self, task: Task, pages: list[int], *, is_write: bool
    ) -> Generator[int | Wait, None, None]:
        """Hand pages to the device, in the order of their slots, and return when it has them.

        Neighbours are merged while the task's plug holds them back; before the task sleeps the
        plug is pulled, so that what it has collected can be written meanwhile.
        """
        plug: list[Request] = []
        for page in pages:
            bio = self._bio_pool.get_now(task)
            if bio is None:
                self._unplug(plug)
                bio = yield from self._bio_pool.get(task)
            if plug and self._merges(plug[-1], page):
                request = plug[-1]
            else:
                request = Request([], is_write=is_write)
                yield from self._get_request(task, request, plug)
                plug.append(request)
            request.pages.append(page)
            request.bios.append(bio)
        self._unplug(plug)

    def _merges(self, request: Request, page: int) -> bool:
        slot_of = self._pages.slot_of
        return (
            len(request.pages) < self._max_pages and slot_of[request.pages[-1]] + 1 == slot_of[page]
        )

    def _get_request(
        self, task: Task, request: Request, plug: list[Request]
    ) -> Generator[int | Wait, None, None]:
        """The kernel's ``get_request_wait``."""
        direction = int(request.is_write)
        full = self._full[direction]
        while self.allocated[direction] >= self._limit:
            self._unplug(plug)
            yield Wait(full, f"{full.name} of the swap device ({self._limit} are in use)")
        self._count(direction, 1)
        held = self._request_pool.get_now(task)
        if held is None:
            self._unplug(plug)
            held = yield from self._request_pool.get(task)
        request.held = held

    def _unplug(self, plug: list[Request]) -> None:
        """``blk_flush_plug``: the driver may take what was held back."""
        if plug:
            self.waiting += plug
            plug.clear()
            self._engine.wake_one(self.ready)

    def finish(self, request: Request, cpu: int, ctx: int) -> None:
        """``blk_end_request``: give back what the request and its bios took."""
        for bio in request.bios:
            self._bio_pool.put(bio, cpu, ctx)
        self._request_pool.put(request.held, cpu, ctx)
        direction = int(request.is_write)
        self._count(direction, -1)
        self._engine.wake_one(self._full[direction])

    def _count(self, direction: int, change: int) -> None:
        self.allocated[direction] += change
        count = self.allocated[direction]
        limit = self._limit
        if count >= limit - limit // 8 + 1:  # queue_congestion_on_threshold
            self.is_congested[direction] = True
        elif count < limit - limit // 8 - limit // 16 - 1 and self.is_congested[direction]:
            self.is_congested[direction] = False
            self._engine.wake(self.congestion)
