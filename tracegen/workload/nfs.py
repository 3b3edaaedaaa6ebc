"""Swap in a file on NFS (fs/nfs/direct.c, net/sunrpc).

A page is written by a call of its own, and whoever writes it waits for the server's answer:
swap_writepage() goes through direct_IO, which is synchronous. Each call takes a write
structure, an RPC task, a buffer for the call and one of a bounded number of slots; the
page itself is sent without a copy. So NFS takes more allocations for a page than a block
device does, and the reclaiming task sleeps on each.

The thread that sends is rpciod: without the series an ordinary worker, with it under
PF_MEMALLOC for calls of a swap file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from functools import partial

from allocator.events import CTX_PF_MEMALLOC
from tracegen.workload.engine import Engine, Steps, Task, Wait, WaitQueue
from tracegen.workload.footprint import Footprint
from tracegen.workload.memory import Memory
from tracegen.workload.mempool import Mempool
from tracegen.workload.reclaim import Reclaim
from tracegen.workload.series import SWAP_MEMALLOC
from tracegen.workload.swap import Swap
from tracegen.workload.tcp import Message, Piece, TcpConnection

_PAGE = 4096
_CALL_BYTES = 160
"""An RPC header with credentials and the arguments of WRITE or READ."""
_REPLY_BYTES = 136
"""An RPC header and the attributes that come with the result."""
_MIN_POOL = 32
"""MIN_POOL_WRITE, MIN_POOL_READ"""
_RPC_BUFFER_POOLSIZE = 8
_SEND_NS = 5_000
"""CPU time to put a call on the wire."""


class Call:
    """One READ or WRITE of a page."""

    __slots__ = ("buffer", "done", "finished", "held", "is_write", "page")

    def __init__(self, page: int, held: list[int], *, is_write: bool) -> None:
        self.page = page
        self.is_write = is_write
        self.held = held
        self.buffer: list[int] = []
        self.finished = False
        self.done = WaitQueue("a page to be written over NFS")


class NfsSwap:
    """A swap file on an NFS server, its transport and its worker."""

    __slots__ = (
        "_buffers",
        "_calls",
        "_engine",
        "_footprint",
        "_free_slot",
        "_in_use",
        "_read_pool",
        "_ready",
        "_reclaim",
        "_slots",
        "_swap",
        "_write_pool",
        "congestion",
        "privileged",
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
        socket: TcpConnection,
        *,
        slots: int,
        cpu: int,
    ) -> None:
        self._engine = engine
        self._footprint = footprint
        self._swap = swap
        self._reclaim = reclaim
        self.socket = socket
        self.congestion = WaitQueue("the NFS server")
        self._slots = slots
        self._in_use = 0
        self._free_slot = WaitQueue("an RPC slot")
        self._ready = WaitQueue("an RPC to send")
        self._calls: deque[Call] = deque()
        self._write_pool = Mempool(
            engine, memory, "nfs write", footprint.step("nfs_write"), _MIN_POOL
        )
        self._read_pool = Mempool(engine, memory, "nfs read", footprint.step("nfs_read"), _MIN_POOL)
        self._buffers = Mempool(
            engine, memory, "rpc buffer", footprint.step("rpc_buffer"), _RPC_BUFFER_POOLSIZE
        )
        self.privileged = SWAP_MEMALLOC in footprint.rights.series
        self.thread = Task("rpciod", cpu, kernel=True)
        engine.spawn(self.thread, self._run())

    @property
    def write_congested(self) -> bool:
        """A synchronous writer cannot congest it."""
        return False

    def write(self, task: Task, pages: list[int]) -> Generator[int | Wait, None, None]:
        """Write pages one after another, and wait for each."""
        for page in pages:
            held = yield from self._write_pool.get(task)
            call = Call(page, held, is_write=True)
            self._queue(call)
            while not call.finished:
                yield Wait(call.done, call.done.name)

    def read(self, task: Task, pages: list[int]) -> Generator[int | Wait, None, None]:
        """Ask for pages; returns when rpciod has been told."""
        for page in pages:
            held = yield from self._read_pool.get(task)
            self._queue(Call(page, held, is_write=False))

    def waits(self) -> list[str]:
        """What the device holds and what it waits for, a sentence each."""
        return [
            (
                f"rpciod has {len(self._calls)} calls to send; {self._in_use} of {self._slots}"
                " slots are in use"
            ),
            self.socket.waits(),
        ]

    def _queue(self, call: Call) -> None:
        self._calls.append(call)
        self._engine.wake_one(self._ready)

    def _run(self) -> Steps:
        """``rpciod``: gives calls their slots and buffers and sends them."""
        task = self.thread
        while True:
            while not self._calls:
                yield Wait(self._ready, self._ready.name)
            call = self._calls.popleft()
            while self._in_use >= self._slots:
                yield Wait(self._free_slot, f"{self._free_slot.name} ({self._slots} are in use)")
            self._in_use += 1
            if self.privileged:
                task.ctx |= CTX_PF_MEMALLOC
            call.buffer = yield from self._buffers.get(task)
            yield from self._send(task, call)
            task.ctx &= ~CTX_PF_MEMALLOC

    def _send(self, task: Task, call: Call) -> Steps:
        size = _CALL_BYTES + (_PAGE if call.is_write else 0)
        answer = _REPLY_BYTES + (0 if call.is_write else _PAGE)
        yield from self.socket.reserve(size)
        held = yield from self._reclaim.gather(
            task, self._footprint.step("rpc_send"), self.socket.space
        )
        yield self._engine.busy(task.cpu, _SEND_NS)
        message = Message(answer, partial(self._answered, call))
        self.socket.send(Piece(size, held, message))
        self.socket.sent_whole(message)

    def _answered(self, call: Call) -> None:
        cpu = self.thread.cpu
        self._in_use -= 1
        self._engine.wake_one(self._free_slot)
        self._buffers.put(call.buffer, cpu, 0)
        if call.is_write:
            self._write_pool.put(call.held, cpu, 0)
            self._swap.written(call.page)
            call.finished = True
            self._engine.wake(call.done)
        else:
            self._read_pool.put(call.held, cpu, 0)
            self._swap.read_done(call.page)
