"""Kills a daemon and its senders again and again, and asks whether anything was lost.

Three questions, after every cycle or at the end. Did an acknowledgement ever go back,
over all lives of daemon and sender? Does the journal hold every batch of each epoch
once, in order, byte for byte, up to the last that was acknowledged? Is the state that of
a machine that was never interrupted?
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, Self

from allocator.machine import Machine
from allocator.revision import parse_variant
from daemon.files import OsFolder
from daemon.journal.layout import SEGMENT_HEADER_SIZE
from daemon.journal.reader import JournalReader
from tests.daemon.fakes import HEADER
from tests.torture.nursery import STEPS
from tests.torture.stream import batch_of, records_of
from tracegen.batch import HeaderBatch, decode

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 60.0
VARIANTS: Final = ("slab-seed", "slub-seed")
TORN: Final = 300
"""Bytes at most behind the last group."""
PAUSE: Final = 0.1


class Nursery:
    """The process that starts the others."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.torture.nursery"],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, **order: Any) -> dict[str, int]:  # noqa: ANN401 - see nursery.py
        """Give an order and take the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it; its children have been waited for."""
        self._process.communicate()


@dataclass
class Child:
    """A daemon or a sender."""

    nursery: Nursery
    pid: int
    log: Path
    code: int | None = None
    """Its exit code, or minus the signal that ended it; None until it was waited for."""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless its number may be somebody else's by now."""
        if self.code is None:
            os.kill(self.pid, number)

    def wait(self) -> int:
        """See its end; AssertionError if it does not come."""
        if self.code is None:
            process = os.pidfd_open(self.pid)
            try:
                ended = select.select([process], [], [], PATIENCE)[0]
            finally:
                os.close(process)
            assert ended, f"it goes on: {self.log}"
            self.code = self.nursery.ask(wait=self.pid)["code"]
        return self.code


@dataclass(slots=True)
class Figures:
    """What a world has been through."""

    cycles: int = 0
    daemon_kills: int = 0
    kills_at_steps: int = 0
    sender_kills: int = 0
    pauses: int = 0
    torn_tails: int = 0
    epochs: int = 0
    batches: int = 0
    acknowledgements: int = 0

    def __str__(self) -> str:
        """Each with its name."""
        numbers = ((name.replace("_", " "), getattr(self, name)) for name in self.__slots__)
        return ", ".join(f"{number:,} {name}" for name, number in numbers)

    def add(self, other: Figures) -> None:
        """Sum up."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Source:
    """One source: its sender, and all that was ever acknowledged to it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.epoch = 1
        self.acknowledged = {1: 0}
        """By epoch."""
        self.told = False
        """Whether the sender that runs now was told anything: it is at work."""
        self._acks = world.folder / f"{name}.acks"
        os.mkfifo(self._acks)
        self.fd = os.open(self._acks, os.O_RDWR | os.O_NONBLOCK)
        self._unread = b""
        self.start()

    def start(self) -> None:
        """Begin, or go on, with this epoch."""
        self.told = False
        self.sender = self.world.spawn(
            "sender",
            self.name,
            url=self.world.url,
            source=self.name,
            epoch=self.epoch,
            acks=str(self._acks),
        )

    def begin_epoch(self) -> None:
        """The next sender sends a new life of the source."""
        self.epoch += 1
        self.acknowledged[self.epoch] = 0

    def kill(self) -> None:
        """Kill the sender; what it was told before counts."""
        self.sender.signal(signal.SIGKILL)
        assert -signal.SIGKILL == self.sender.wait()
        self.read_acks()

    def read_acks(self) -> int:
        """Take what it was told since; none may be lower than one before."""
        try:
            self._unread += os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return 0
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            seq = int(line)
            before = self.acknowledged[self.epoch]
            assert seq >= before, (
                f"{self.name}, epoch {self.epoch}: acknowledged {before}, then {seq}"
            )
            self.acknowledged[self.epoch] = seq
            self.told = True
        self.world.figures.acknowledgements += len(lines)
        return len(lines)

    def fileno(self) -> int:
        """Of the pipe, to wait for it."""
        return self.fd

    def close(self) -> None:
        """Let its pipe go."""
        os.close(self.fd)


class World:
    """One daemon, its folder, and its senders."""

    def __init__(
        self, folder: Path, nursery: Nursery, seed: int, sources: int = 2, **settings: object
    ) -> None:
        """``settings`` are of ``pfmemd serve``, beside those that make much happen."""
        self.folder = folder
        self.data = folder / "data"
        self.random = Random(seed)
        self.figures = Figures()
        self.url = f"ipc://{folder / 'socket'}"
        self.settings = {
            "bind": self.url,
            "http": "127.0.0.1:0",
            "data_dir": str(self.data),
            "variants": list(VARIANTS),
            "log_format": "json",
            "credit": 8,
            "segment_bytes": 24_000,
            "snapshot_journal_bytes": 48_000,
            **settings,
        }
        self.nursery = nursery
        self.daemon: Child | None = None
        self.sources = [Source(self, f"host-{n}") for n in range(sources)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing running."""
        for child in [self.daemon, *(source.sender for source in self.sources)]:
            if child is not None:
                child.signal(signal.SIGKILL)
                child.wait()
        for source in self.sources:
            source.close()

    def spawn(self, role: str, name: str, **arguments: object) -> Child:
        """Start a daemon or a sender."""
        log = self.folder / f"{name}.log"
        pid = self.nursery.ask(role=role, log=str(log), **arguments)["pid"]
        return Child(self.nursery, pid, log)

    def torture(self, cycles: int) -> Figures:
        """So many lives of the daemon, then one in peace; raises AssertionError."""
        for _ in range(cycles):
            self._cycle()
            self.figures.cycles += 1
        self._finish()
        return self.figures

    def _cycle(self) -> None:
        random = self.random
        kill: dict[str, object] | None = None
        if random.random() < 0.7:
            step = random.choice((None, *STEPS))
            many = step is None or step.endswith(("apply", "answer"))
            kill = {"step": step, "count": random.randint(1, 60 if many else 12)}
        self.daemon = self.spawn("daemon", "daemon", settings=self.settings, kill=kill)
        died = self._wait(self.daemon.pid, 0.02 if kill is None else 0.25)
        if random.random() < 0.15:
            self._pause()
        if random.random() < 0.25:
            self._kill_sender()
        if not died:
            self.daemon.signal(signal.SIGKILL)
        code = self.daemon.wait()
        self.daemon_said(code)
        self.daemon = None
        self.figures.daemon_kills += 1
        self.figures.kills_at_steps += died
        self.read_acks()
        if random.random() < 0.2:
            self._tear()

    def read_acks(self) -> int:
        """Take what all senders were told since; how much it was."""
        return sum([source.read_acks() for source in self.sources])

    def daemon_said(self, code: int) -> None:
        """It may only have been killed."""
        assert code == -signal.SIGKILL, f"the daemon ended with {code}:\n{self.tail('daemon')}"

    def tail(self, name: str) -> str:
        """The end of a log."""
        lines = (self.folder / f"{name}.log").read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-15:])

    def _wait(self, pid: int, seconds: float) -> bool:
        """Wait for the first acknowledgement and then ``seconds`` at most, or for the end."""
        process = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        for source in self.sources:
            poll.register(source.fd, select.POLLIN)
        deadline = time.monotonic() + PATIENCE
        heard = False
        try:
            while (left := deadline - time.monotonic()) > 0:
                ready = {fd for fd, _ in poll.poll(1000 * left)}
                if process in ready:
                    return True
                told = self.read_acks()
                if told and not heard:
                    heard = True
                    deadline = time.monotonic() + self.random.random() * seconds
                self._senders_live()
        finally:
            os.close(process)
        assert heard, f"nothing was acknowledged in {PATIENCE} s:\n{self.tail('daemon')}"
        return False

    def _senders_live(self) -> None:
        for source in self.sources:
            state = Path(f"/proc/{source.sender.pid}/stat").read_text("utf-8")
            ended = state.rpartition(")")[2].split()[0] == "Z"
            assert not ended, f"{source.name} has ended:\n{self.tail(source.name)}"

    def _pause(self) -> None:
        """Stop somebody for a moment, and let it go on; the others notice, or not."""
        child = self.random.choice([self.daemon, *(source.sender for source in self.sources)])
        assert child is not None
        child.signal(signal.SIGSTOP)
        time.sleep(PAUSE * self.random.random())
        child.signal(signal.SIGCONT)
        self.figures.pauses += 1

    def _kill_sender(self) -> None:
        source = self.random.choice(self.sources)
        source.kill()
        if self.random.random() < 0.2:
            source.begin_epoch()
            self.figures.epochs += 1
        source.start()
        self.figures.sender_kills += 1

    def _tear(self) -> None:
        """Leave at the end of the journal what a loss of power could."""
        segments = sorted(self.data.glob("journal-*"))
        # A segment that was never begun is no longer than its header, whatever happens.
        if segments and segments[-1].stat().st_size > SEGMENT_HEADER_SIZE:
            with segments[-1].open("ab") as file:
                file.write(self.random.randbytes(self.random.randint(1, TORN)))
            self.figures.torn_tails += 1

    # The end.

    def _finish(self) -> None:
        """One life without faults: everything arrives, and everything is right."""
        self.daemon = self.spawn("daemon", "daemon", settings=self.settings, kill=None)
        self.settle()

    def settle(self) -> None:
        """Let the daemon that runs take the rest, end everybody in peace, and look."""
        assert self.daemon is not None
        assert not self._wait(self.daemon.pid, 0.0)
        # A sender that has begun nothing yet has nothing to end, and the daemon knows none.
        deadline = time.monotonic() + PATIENCE
        while not all(source.told and source.acknowledged[source.epoch] for source in self.sources):
            assert select.select(self.sources, [], [], max(0.0, deadline - time.monotonic()))[0], (
                f"a sender begins nothing:\n{self.tail('daemon')}"
            )
            self.read_acks()
        for source in self.sources:
            source.sender.signal(signal.SIGTERM)
        for source in self.sources:
            code = source.sender.wait()
            assert code == 0, f"{source.name} ended with {code}:\n{self.tail(source.name)}"
            source.read_acks()
        state = self._state()
        self.daemon.signal(signal.SIGTERM)
        assert self.daemon.wait() == 0, self.tail("daemon")
        self.daemon = None
        for source in self.sources:
            self._check_state(source, state["sources"][source.name])
        self._check_journal()

    def ready(self) -> list[dict[str, Any]]:
        """What each life of the daemon logged when it was ready."""
        return [entry for entry in self.entries() if entry["event"] == "ready"]

    def entries(self) -> list[dict[str, Any]]:
        """All that the daemon has logged, but for a line that it is writing, or died over."""
        log = self.folder / "daemon.log"
        found = []
        for line in log.read_text("utf-8").splitlines() if log.exists() else []:
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def _state(self) -> dict[str, Any]:
        url = f"{self.ready()[-1]['http']}/state"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - our own daemon
            state: dict[str, Any] = json.load(answer)
        return state

    def _check_state(self, source: Source, state: dict[str, Any]) -> None:
        """The machines are those of a run without interruption."""
        assert state["epoch"] == source.epoch
        assert state["seq"] == source.acknowledged[source.epoch]
        for name in VARIANTS:
            machine = Machine(HEADER.machine, parse_variant(name), HEADER.caches, HEADER.gfp)
            for seq in range(2, state["seq"] + 1):
                machine.apply(records_of(source.name, source.epoch, seq))
            assert machine.digest() == state["variants"][name]["digest"], source.name

    def _check_journal(self) -> None:
        """Every batch of every epoch is there once, in its order, as far as it was promised."""
        with OsFolder(self.data) as folder:
            reader = JournalReader(folder)
            complete = reader.complete
            last: dict[tuple[str, int], int] = {}
            for group in reader.groups():
                for data in group.batches:
                    batch = decode(data)
                    stream = (batch.source, batch.epoch)
                    due = last.get(stream, 0 if complete else batch.seq - 1) + 1
                    assert batch.seq == due, f"{stream}: {batch.seq} in the place of {due}"
                    assert data == batch_of(*stream, batch.seq)
                    assert isinstance(batch, HeaderBatch) == (batch.seq == 1)
                    last[stream] = batch.seq
                    self.figures.batches += 1
        for source in self.sources:
            for epoch, acknowledged in source.acknowledged.items():
                if complete or epoch == source.epoch:
                    kept = last.get((source.name, epoch), 0)
                    assert kept >= acknowledged, f"{source.name} {epoch}: {kept} of {acknowledged}"
