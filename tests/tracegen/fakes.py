"""What the tests of this room share: a small machine's trace, and a daemon that only stores."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Self

import zmq

from allocator.config import CacheSpec, MachineConfig
from tracegen import protocol
from tracegen.batch import RECORD, Batch, BatchMaker, decode, encode
from tracegen.header import Header
from tracegen.protocol import Ack, Bye, Hello, HelloFirst, Message, Ping, Reject, Resend, Welcome

HEADER = Header(
    machine=MachineConfig(
        cpus=2, cpu_node=(0, 0), nodes=((0, 4000),), zone_end_pfn=(1024, 4000, 4000)
    ),
    caches=(CacheSpec(0, "skbuff_head_cache", 232), CacheSpec(7, "dentry", 192)),
    gfp="v6.1",
    clock="mono",
    labels=("outage", "return"),
)


def record(handle: int, *, op: int = 1, arg: int = 0, cpu: int = 0, ts_ns: int = 0) -> bytes:
    """One event."""
    return RECORD.pack(ts_ns, handle, 0xCC0, arg, cpu, -1, op, 0, 0)


def make_batches(
    source: str = "a", epoch: int = 1, batches: int = 4, events: int = 2
) -> list[Batch]:
    """A header and, for the rest of ``batches``, page allocations a millisecond apart."""
    maker = BatchMaker(source, epoch)
    made: list[Batch] = [maker.header(HEADER)]
    for index in range(batches - 1):
        handles = range(index * events + 1, (index + 1) * events + 1)
        made.append(maker.events(b"".join(record(h, ts_ns=h * 10**6) for h in handles)))
    return made


@dataclass
class Storage:
    """A daemon without a model: docs/PROTOCOL.md's receiving side, which keeps what it gets."""

    credit: int = 8
    stored: dict[tuple[str, int], list[bytes]] = field(default_factory=lambda: defaultdict(list))
    """Batches by source and epoch: what a disk keeps over a crash."""
    greeted: dict[bytes, Hello] = field(default_factory=dict)
    """By connection: what memory forgets."""
    heard: list[Message] = field(default_factory=list)
    """Control messages, in their order."""

    def answer(self, connection: bytes, data: bytes) -> list[Message]:
        """Take one message and say what goes back."""
        hello = self.greeted.get(connection)
        if protocol.is_batch(data):
            return self.take(hello, decode(data), data)
        message = protocol.decode(data)
        self.heard.append(message)
        match message:
            case Hello():
                return self.greet(connection, message)
            case Ping() if hello is not None:
                return [self.ack(hello)]
            case Bye() if hello is not None:
                del self.greeted[connection]
                return [Bye(hello.epoch, self.last_seq(hello))]
            case _:
                return [HelloFirst()]

    def greet(self, connection: bytes, hello: Hello) -> list[Message]:
        """Welcome everybody whose source has not moved on to a later epoch."""
        epochs = [epoch for source, epoch in self.stored if source == hello.source]
        if epochs and hello.epoch < max(epochs):
            text = f"epoch {hello.epoch} is over, the daemon has {max(epochs)}"
            return [Reject(hello.epoch, 0, protocol.REJECT_FENCED, text)]
        self.greeted[connection] = hello
        return [Welcome(hello.epoch, self.last_seq(hello), self.credit, "fake")]

    def take(self, hello: Hello | None, batch: Batch, data: bytes) -> list[Message]:
        """Keep the batch that is due; skip one that is there; ask for one that is missing."""
        if hello is None:
            return [HelloFirst()]
        if batch.seq > self.last_seq(hello) + 1:
            return [Resend(hello.epoch, self.last_seq(hello), self.credit)]
        if batch.seq == self.last_seq(hello) + 1:
            self.stored[hello.source, hello.epoch].append(data)
        return [self.ack(hello)]

    def ack(self, hello: Hello) -> Ack:
        """Say what is kept."""
        return Ack(hello.epoch, self.last_seq(hello), self.credit)

    def last_seq(self, hello: Hello) -> int:
        """The last batch of the greeted epoch that is kept."""
        return len(self.stored[hello.source, hello.epoch])

    def batches(self, source: str = "a", epoch: int = 1) -> list[Batch]:
        """What is kept, decoded."""
        return [decode(data) for data in self.stored[source, epoch]]


class RouterDaemon:
    """A :class:`Storage` behind a ROUTER socket, in a thread, that can go and come back.

    ``mangle`` may change what is answered to a message, for example to lose it.
    ``at`` lets the test wait until ``count`` batches have come.
    """

    def __init__(
        self,
        storage: Storage,
        mangle: Callable[[bytes, list[Message]], list[Message]] = lambda _data, answers: answers,
    ) -> None:
        self.storage = storage
        self._mangle = mangle
        self._thread: threading.Thread | None = None
        self._stop_after: int | None = None
        self.address = "tcp://127.0.0.1:*"
        self.received = 0

    def start(self, *, stop_after: int | None = None) -> Self:
        """Listen, on the port of the last time; ``stop_after`` so many batches, go away."""
        ready: SimpleQueue[str] = SimpleQueue()
        self._stop_after = stop_after
        stop, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(ready, stop), daemon=True)
        self._thread.start()
        self.address = ready.get(timeout=30)
        return self

    def join(self) -> None:
        """Wait until it has gone away by itself."""
        assert self._thread is not None
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()
        os.close(self._stop)
        self._thread = None

    def stop(self) -> None:
        """Go away at once, as a killed daemon does: what was received and not stored is lost."""
        with contextlib.suppress(BrokenPipeError):  # it has gone by itself
            os.write(self._stop, b"x")
        self.join()

    def close(self) -> None:
        """Go away for good."""
        if self._thread is not None:
            self.stop()

    def _run(self, ready: SimpleQueue[str], stop: int) -> None:
        context = zmq.Context()
        router = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.bind(self.address)
        ready.put(router.getsockopt_string(zmq.LAST_ENDPOINT))
        poller = zmq.Poller()
        poller.register(stop, zmq.POLLIN)
        poller.register(router, zmq.POLLIN)
        batches = 0
        while batches != self._stop_after and stop not in dict(poller.poll()):
            connection, data = router.recv_multipart()
            batches += protocol.is_batch(data)
            self.received += protocol.is_batch(data)
            for answer in self._mangle(data, self.storage.answer(connection, data)):
                router.send_multipart([connection, protocol.encode(answer)])
        context.destroy(linger=0)  # and with it the port is free
        os.close(stop)
        self.storage.greeted.clear()


def encoded(batches: list[Batch]) -> bytes:
    """The batches as they stand in a plain trace."""
    return b"".join(encode(batch) for batch in batches)
