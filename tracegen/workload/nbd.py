"""Swap on a network block device (drivers/block/nbd.c).

Requests wait in the block queue until the device's one thread takes them and sends them
through its socket: a header, and for a write the data, page by page, copied into the
socket's memory. That thread allocates with GFP_NOIO: without the series like any other
task, so that it waits for the memory that it is to make free; with it under PF_MEMALLOC.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

from allocator.events import CTX_PF_MEMALLOC
from tracegen.workload.block import BlockQueue, Request
from tracegen.workload.engine import Engine, Steps, Task, Wait
from tracegen.workload.footprint import Footprint
from tracegen.workload.memory import Memory
from tracegen.workload.network import SEGMENT
from tracegen.workload.reclaim import Reclaim
from tracegen.workload.series import SWAP_MEMALLOC
from tracegen.workload.swap import Swap
from tracegen.workload.tcp import Message, Piece, TcpConnection

_HEADER_BYTES = 28
"""struct nbd_request"""
_REPLY_BYTES = 16
"""struct nbd_reply"""
_PAGE = 4096
_COPY_NS = 3_000
"""CPU time to send a page."""


class Nbd:
    """One nbd device with its socket and its thread."""

    __slots__ = (
        "_engine",
        "_footprint",
        "_memory",
        "_pages_of_an_skb",
        "_privileged",
        "_queue",
        "_reclaim",
        "_scatter_gather",
        "_sent",
        "_swap",
        "congestion",
        "socket",
        "thread",
    )

    def __init__(
        self,
        engine: Engine,
        memory: Memory,
        footprint: Footprint,
        swap: Swap,
        reclaim: Reclaim,
        queue: BlockQueue,
        socket: TcpConnection,
        *,
        scatter_gather: bool,
        pages_of_an_skb: int,
        cpu: int,
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._footprint = footprint
        self._swap = swap
        self._reclaim = reclaim
        self._queue = queue
        self.socket = socket
        self.congestion = queue.congestion
        self._scatter_gather = scatter_gather
        self._pages_of_an_skb = pages_of_an_skb
        self._privileged = SWAP_MEMALLOC in footprint.rights.series
        self._sent = 0
        """Requests at the server."""
        self.thread = Task("nbd0", cpu, kernel=True)
        engine.spawn(self.thread, self._run())

    @property
    def write_congested(self) -> bool:
        """Whether reclaimers other than kswapd should leave it alone."""
        return self._queue.is_congested[1]

    def write(self, task: Task, pages: list[int]) -> Generator[int | Wait, None, None]:
        """Queue pages to be written."""
        yield from self._queue.submit(task, pages, is_write=True)

    def read(self, task: Task, pages: list[int]) -> Generator[int | Wait, None, None]:
        """Queue pages to be read."""
        yield from self._queue.submit(task, pages, is_write=False)

    def waits(self) -> list[str]:
        """What the device holds and what it waits for, a sentence each."""
        waiting = sum(len(request.pages) for request in self._queue.waiting)
        reads, writes = self._queue.allocated
        return [
            (
                f"nbd0 holds {writes} write and {reads} read requests: {len(self._queue.waiting)}"
                f" ({waiting} pages) wait for its thread, {self._sent} are at the server"
            ),
            self.socket.waits(),
        ]

    def _run(self) -> Steps:
        """``nbd_thread``: takes requests and sends them, one after another."""
        task = self.thread
        queue = self._queue
        while True:
            while not queue.waiting:
                yield Wait(queue.ready, queue.ready.name)
            request = queue.waiting.popleft()
            if self._privileged:
                task.ctx |= CTX_PF_MEMALLOC
            yield from self._send(task, request)
            task.ctx &= ~CTX_PF_MEMALLOC

    def _send(self, task: Task, request: Request) -> Steps:
        answer = _REPLY_BYTES + (0 if request.is_write else _PAGE * len(request.pages))
        message = Message(answer, partial(self._answered, request))
        socket = self.socket
        if not request.is_write:
            yield from socket.reserve(_HEADER_BYTES)
            held = yield from self._gather(task, "socket_send")
            socket.send(Piece(_HEADER_BYTES, held, message))
        elif self._scatter_gather:
            yield from self._send_pages(task, request, message)
        else:
            yield from self._send_segments(task, request, message)
        self._sent += 1
        socket.sent_whole(message)

    def _send_pages(self, task: Task, request: Request, message: Message) -> Steps:
        """Heads that hold many pages, and the pages, copied one by one."""
        socket = self.socket
        size = _HEADER_BYTES
        for number in range(len(request.pages)):
            size += _PAGE
            yield from socket.reserve(size)
            held: list[int] = []
            if number % self._pages_of_an_skb == 0:
                held = yield from self._gather(task, "socket_send")
            held += yield from self._gather(task, "socket_page")
            yield self._engine.busy(task.cpu, _COPY_NS)
            socket.send(Piece(size, held, message))
            size = 0

    def _send_segments(self, task: Task, request: Request, message: Message) -> Steps:
        """A head for every segment: the card cannot gather."""
        left = _HEADER_BYTES + _PAGE * len(request.pages)
        socket = self.socket
        while left > 0:
            size = min(left, SEGMENT)
            left -= size
            yield from socket.reserve(size)
            held = yield from self._gather(task, "socket_segment")
            yield self._engine.busy(task.cpu, _COPY_NS // 3)
            socket.send(Piece(size, held, message))

    def _gather(self, task: Task, step: str) -> Generator[int | Wait, None, list[int]]:
        return (
            yield from self._reclaim.gather(task, self._footprint.step(step), self.socket.space)
        )

    def _answered(self, request: Request) -> None:
        """The kernel's ``nbd_end_request``."""
        self._sent -= 1
        cpu = self.thread.cpu
        self._queue.finish(request, cpu, self._footprint.completion_ctx)
        done = self._swap.written if request.is_write else self._swap.read_done
        for page in request.pages:
            done(page)
