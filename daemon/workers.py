"""Machines in processes of their own, so that several sources and variants use several cores.

What the daemon promises is decided where it was before: one process receives, checks,
journals, acknowledges, and counts. Only the machines are elsewhere. Whoever holds a
:class:`RemoteMachine` sees a machine as any other, a little further away: records go to its
process through a pipe, in their order, and a question is answered when all records sent
before it are applied. So readings are of one moment, a snapshot is of one place of the
journal, and digests are those of one process.

A pipe holds a few batches; a process that cannot keep up makes the daemon wait, so
memory is bounded. If a process dies or a machine in it fails, the daemon stops, as it does
when a machine of its own fails: what it acknowledged is in the journal.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from itertools import count
from operator import methodcaller
from types import TracebackType
from typing import Final, Self, TypeVar

import structlog

from allocator import snapshot
from allocator.config import CacheSpec, MachineConfig
from allocator.machine import Machine
from allocator.revision import Variant
from allocator.stats import MachineStats
from daemon import machine_process
from daemon.machine_process import HEAD, REQUEST, Answer, Fault, Machines
from daemon.memory import resident_bytes
from daemon.sources import ModelFaultError, ModelledMachine
from tracegen.errors import StoppedError

log = structlog.get_logger()

PIPE_BYTES: Final = 1 << 20
"""What a pipe to a worker holds, if the system gives so much: as much as a group of batches."""
END_SECONDS: Final = 1.0
"""How long a process that has closed its pipe may take to end."""

_RUN: Final = f"from {machine_process.__name__} import main; main()"
"""Not -m: what is pickled there must not be of a module __main__."""

T = TypeVar("T")


class WorkerError(StoppedError):
    """A process that holds machines died."""


class RemoteMachine:
    """A machine that lives in a worker."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number
        weakref.finalize(self, worker.let_go, number)

    def apply(self, records: bytes) -> None:
        """Have it apply checked records, some time before the next question."""
        if records:
            self._worker.send(self._number, records)

    def answered(self, records: bytes) -> bytes:
        """Have it apply checked records now; what their callers would be told."""
        answer: bytes = self.ask(methodcaller("answered", records))
        return answer

    def standing(self) -> tuple[int, int, int, int, bool]:
        """Free, min, low and high pages of all zones; whether one is boosted."""
        return self.ask(Machine.standing)

    def ask(self, question: Callable[[Machine], T]) -> T:
        """Ask it; ``question`` must pickle. Raises what the question raises."""
        request = partial(machine_process.ask, self._number, question)
        return self._worker.request(request)  # type: ignore[return-value] # as the question says

    def stats(self) -> MachineStats:
        """A reading between batches."""
        return self.ask(Machine.stats)

    def digest(self) -> str:
        """SHA-256 over the whole state."""
        return self.ask(Machine.digest)

    def live_handles(self) -> int:
        """How many things are allocated and not yet freed."""
        return self.ask(Machine.live_handles)


class Worker:
    """One process and the pipes to it.

    Whatever goes through them raises :class:`WorkerError` if it has died, ModelFaultError if a
    machine in it has failed.
    """

    def __init__(self, name: str) -> None:
        """Start it; raises OSError."""
        self.name = name
        self._mutex = threading.Lock()
        """A scrape may ask while the feeding thread sends."""
        self.lost = False
        self._gone: deque[int] = deque()
        self._live: set[int] = set()
        to_read, self._messages = os.pipe()
        answers, to_write = os.pipe()
        self._answers = os.fdopen(answers, "rb")
        self._poll = select.poll()
        self._poll.register(answers, select.POLLIN)
        with suppress(OSError):  # it has a default
            fcntl.fcntl(self._messages, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-c", _RUN, str(to_read), str(to_write)],
                pass_fds=[to_read, to_write],
                stdin=subprocess.DEVNULL,
                # Whatever this process found its modules by.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        finally:
            os.close(to_read)
            os.close(to_write)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def machines(self) -> int:
        """How many machines it holds that anybody still knows of."""
        return len(self._live) - len(self._gone)

    def make(self, number: int, request: Callable[[Machines], object]) -> RemoteMachine:
        """A machine under a number that no other has; raises what booting it raises."""
        self.request(request)
        self._live.add(number)
        return RemoteMachine(self, number)

    def let_go(self, number: int) -> None:
        """Nobody knows the machine any more: the worker is told before the next message.

        Called by the garbage collector, in the middle of anything: so it takes no lock.
        """
        self._gone.append(number)

    def send(self, number: int, data: bytes) -> None:
        """Send a message that is not answered."""
        with self._mutex:
            self._send(number, data)

    def request(self, request: Callable[[Machines], object]) -> object:
        """Send a request and wait for its answer; raises what it raises."""
        pickled = pickle.dumps(request)
        with self._mutex:
            self._send(REQUEST, pickled)
            answer = self._receive()
        if answer.error is not None:
            raise answer.error
        return answer.value

    def turn(self) -> None:
        """Look whether it is still there: nothing comes from it unasked but its end."""
        with self._mutex:
            if self._poll.poll(0):
                self._receive()

    def close(self) -> None:
        """End the process; it has nothing to lose."""
        self._process.kill()
        self._process.wait()
        os.close(self._messages)
        self._answers.close()

    def _send(self, number: int, data: bytes) -> None:
        try:
            while self._gone:
                gone = self._gone.popleft()
                self._live.discard(gone)
                machine_process.send(self._messages, gone, b"")
            machine_process.send(self._messages, number, data)
        except BrokenPipeError:
            self._receive()  # its last words, if it had any
            raise self._lost() from None

    def _receive(self) -> Answer:
        head = self._answers.read(HEAD.size)
        data = self._answers.read(HEAD.unpack(head)[1]) if len(head) == HEAD.size else b""
        if not data:
            raise self._lost()
        message = pickle.loads(data)  # noqa: S301 - our own process
        if isinstance(message, Fault):
            self.lost = True
            log.error("a model failed", worker=self.name, traceback=message.traceback)
            what = f"the model {message.variant} failed in {self.name}: {message.what}"
            raise ModelFaultError(what)
        if not isinstance(message, Answer):
            raise TypeError(f"{self.name} sent a {type(message).__name__}")
        return message

    def _lost(self) -> WorkerError:
        self.lost = True
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        code = self._process.poll()
        how = "has closed its pipe" if code is None else f"has ended with {code}"
        return WorkerError(f"{self.name} (pid {self.pid}) {how}, and its models are lost with it")


class WorkerPool:
    """So many workers; machines go to whichever holds the fewest. Use as a context manager.

    It is a machine factory and the images of its machines, see :mod:`daemon.sources`.
    """

    def __init__(self, workers: int) -> None:
        self._workers: list[Worker] = []
        self._numbers = count(REQUEST + 1)
        try:
            for number in range(workers):
                self._workers.append(Worker(f"worker {number}"))
        except OSError as error:
            self.close()
            raise WorkerError(f"cannot start a worker: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Their processes."""
        return [worker.pid for worker in self._workers]

    @property
    def lost(self) -> bool:
        """Whether machines are lost: then there is nothing to take a snapshot of."""
        return any(worker.lost for worker in self._workers)

    def new_machine(
        self,
        config: MachineConfig,
        variant: Variant,
        caches: Sequence[CacheSpec],
        gfp_flavour: str | None,
    ) -> ModelledMachine:
        """Boot a machine in a worker; raises what ``Machine`` raises, and WorkerError."""
        worker = min(self._workers, key=lambda worker: worker.machines)
        number = next(self._numbers)
        specs = [asdict(spec) for spec in caches]
        request = partial(
            machine_process.make, number, variant.name, asdict(config), specs, gfp_flavour
        )
        return worker.make(number, request)

    def save(self, machine: ModelledMachine) -> bytes:
        """The machine's state."""
        return _remote(machine).ask(snapshot.save)

    def restore(self, machine: ModelledMachine, image: bytes) -> None:
        """Give the machine that state; SnapshotError, a ValueError, if it does not fit."""
        _remote(machine).ask(partial(machine_process.restore, image))

    def turn(self) -> None:
        """Look whether all are well; raises :class:`WorkerError` or ModelFaultError."""
        for worker in self._workers:
            worker.turn()

    def resident_bytes(self) -> int:
        """Memory of all of them."""
        return sum(resident_bytes(pid) for pid in self.pids)

    def close(self) -> None:
        """End them all."""
        for worker in self._workers:
            worker.close()


@contextmanager
def worker_pool(workers: int) -> Iterator[WorkerPool | None]:
    """So many workers for as long as the context lasts; None for none. Raises WorkerError."""
    if workers == 0:
        yield None
        return
    with WorkerPool(workers) as pool:
        yield pool


def _remote(machine: ModelledMachine) -> RemoteMachine:
    if not isinstance(machine, RemoteMachine):
        raise TypeError(f"no image of a {type(machine).__name__}")
    return machine
