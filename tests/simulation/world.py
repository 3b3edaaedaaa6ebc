"""A daemon, its senders, their network and its disk, in one thread and from one seed.

The daemon is the real one from the protocol down to the file layer: sessions, intake,
engine, journal, snapshots, recovery. The senders are the real ``SenderState``. Only what
is around them is made up: the clocks, the sockets, the disk, and a model that is a
chain of hashes, so that any batch lost, doubled or out of turn changes everything
after it.

Three things are held after every step: what is acknowledged never goes backwards; after
every recovery each source stands where an uninterrupted run would stand after so many
batches; and in the end everything is there, once.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, Final, ParamSpec, TypeVar

from allocator.config import CacheSpec, MachineConfig
from allocator.events import RECORD_SIZE
from allocator.revision import Variant
from allocator.stats import MachineStats
from daemon.engine import Engine
from daemon.health import Health
from daemon.intake import Intake
from daemon.journal.errors import NoRoomError
from daemon.journal.writer import FsyncMode, JournalRules
from daemon.sessions import Posted, Sessions
from daemon.settings import load_settings
from daemon.sources import ModelledMachine
from daemon.storage import SnapshotRules, Storage, open_storage
from tests.daemon.fakes import HEADER, VARIANTS, allocations
from tests.simulation.disk import Crash, Disk, SimulatedFolder
from tracegen import protocol
from tracegen.batch import BatchMaker, encode
from tracegen.protocol import Ack, Resend, Welcome
from tracegen.sender_state import Phase, SenderState

P = ParamSpec("P")
T = TypeVar("T")

CREDIT: Final = 6
SETTINGS: Final = load_settings({"credit": CREDIT})
BATCHES: Final = 40
"""Of each epoch, the header among them."""
EPOCHS: Final = (3, 8)
STEPS: Final = 220
SETTLE_STEPS: Final = 6000
"""After the faults have ended, everything must have arrived within so many steps."""


class HashMachine:
    """Its state is the hash of all that was applied, in its order."""

    def __init__(
        self,
        config: MachineConfig,
        variant: Variant,
        caches: Sequence[CacheSpec],
        gfp_flavour: str | None,
    ) -> None:
        del config, caches, gfp_flavour
        self.state = hashlib.sha256(variant.name.encode()).digest()

    def apply(self, records: bytes) -> None:
        """Chain the records on."""
        self.state = hashlib.sha256(self.state + records).digest()

    def answered(self, records: bytes) -> bytes:
        """Chain the records on; every event comes to 1."""
        self.apply(records)
        return b"\x01" * (len(records) // RECORD_SIZE)

    def standing(self) -> tuple[int, int, int, int, bool]:
        """Always the same."""
        return 40, 10, 20, 30, False

    def stats(self) -> MachineStats:
        """Nobody asks."""
        raise NotImplementedError

    def live_handles(self) -> int:
        """None."""
        return 0

    def digest(self) -> str:
        """The state."""
        return self.state.hex()


class HashImages:
    """Images of a :class:`HashMachine`."""

    def save(self, machine: ModelledMachine) -> bytes:
        """The state."""
        assert isinstance(machine, HashMachine)
        return machine.state

    def restore(self, machine: ModelledMachine, image: bytes) -> None:
        """Set the state."""
        assert isinstance(machine, HashMachine)
        machine.state = image


@cache
def batches_of(source: str, epoch: int) -> tuple[bytes, ...]:
    """What a source sends in an epoch, batch ``seq`` at ``seq - 1``."""
    maker = BatchMaker(source, epoch)
    random = Random(f"{source} {epoch}")
    encoded = [encode(maker.header(HEADER))]
    while len(encoded) < BATCHES:
        records = allocations(random.randint(0, 3), random.randint(1, 1 << 40))
        encoded.append(encode(maker.events(records)))
    return tuple(encoded)


@cache
def digests_of(source: str, epoch: int) -> tuple[str, ...]:
    """The digest of the first variant after each batch of an uninterrupted run."""
    machine = HashMachine(HEADER.machine, VARIANTS[0], (), None)
    digests = ["", machine.digest()]
    random = Random(f"{source} {epoch}")
    while len(digests) <= BATCHES:
        machine.apply(allocations(random.randint(0, 3), random.randint(1, 1 << 40)))
        digests.append(machine.digest())
    return tuple(digests)


class LaterFuture(Future[Any]):
    """Work that is done when somebody waits for it, or now and then before."""

    def __init__(self, random: Random, work: Callable[[], Any]) -> None:
        super().__init__()
        self._random = random
        self._work: Callable[[], Any] | None = work

    def done(self) -> bool:
        """Whether the work is done; it may get done now."""
        if self._work is not None and self._random.random() < 0.5:
            self._do()
        return self._work is None

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401 - as Future has it
        """Do the work if it is not done."""
        if self._work is not None:
            self._do()
        return super().result(timeout)

    def _do(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        try:
            self.set_result(work())
        except Exception as error:  # noqa: BLE001 - whoever waits for it is told
            self.set_exception(error)


class LaterExecutor(Executor):
    """A thread beside the main one, without the thread."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Take work on."""
        return LaterFuture(self._random, lambda: fn(*args, **kwargs))


@dataclass(eq=False)
class Wire:
    """A connection: frames on their way, in their order, in both directions."""

    name: bytes
    to_daemon: deque[bytes] = field(default_factory=deque)
    to_sender: deque[bytes] = field(default_factory=deque)


@dataclass
class Acknowledged:
    """The most that anyone was told of an epoch, over all senders' and daemons' lives."""

    promised: dict[tuple[str, int], int] = field(default_factory=dict)

    def note(self, source: str, epoch: int, last_seq: int) -> None:
        """Hold that it never goes backwards."""
        before = self.promised.get((source, epoch), 0)
        assert last_seq >= before, f"{source} {epoch}: acknowledged {before}, then {last_seq}"
        self.promised[source, epoch] = last_seq


class SimulatedSender:
    """One source: it sends its epochs one after another, however often it is started anew."""

    def __init__(self, world: World, source: str) -> None:
        self.world = world
        self.source = source
        self.life = 0
        self.wire: Wire | None = None
        self.done_epochs = 0
        self.start()

    def start(self) -> None:
        """Begin as a new process would: nothing is remembered but the trace."""
        self.life += 1
        self.cut()
        self.state = SenderState(self.source, self.world.random.getrandbits(64), "simulated")
        self.offered = 0
        if not self.finished:
            header = batches_of(self.source, self.epoch)[0]
            self.state.begin(self.epoch, header, self.world.now)

    @property
    def finished(self) -> bool:
        """Whether all its epochs are acknowledged."""
        return self.done_epochs == len(EPOCHS)

    @property
    def epoch(self) -> int:
        """The epoch that it sends now."""
        return EPOCHS[min(self.done_epochs, len(EPOCHS) - 1)]

    def cut(self) -> None:
        """Lose the connection, and whatever is on it."""
        if self.wire is not None:
            self.world.wires.pop(self.wire.name, None)
            self.wire = None
            self.state.on_disconnect()

    def connect(self) -> None:
        """Make a connection if there is somebody to connect to."""
        if self.wire is None and self.world.daemon is not None and not self.finished:
            self.wire = self.world.new_wire()
            self.state.on_connect(self.world.now)

    def receive(self) -> None:
        """Take one frame of the daemon."""
        if self.wire is None or not self.wire.to_sender:
            return
        frame = self.wire.to_sender.popleft()
        message = protocol.decode(frame)
        if isinstance(message, Welcome | Ack | Resend):
            self.world.acknowledged.note(self.source, message.epoch, message.last_seq)
        self.state.on_message(frame, self.world.now)

    def turn(self) -> None:
        """Offer what there is room for, send what may go."""
        self.connect()
        now = self.world.now
        state = self.state
        if state.phase is Phase.STREAMING:
            batches = batches_of(self.source, self.epoch)
            self.offered = max(self.offered, state.acked)
            while self.offered < BATCHES and state.may_offer(self.offered + 1, 100):
                self.offered += 1
                state.offer(self.offered, batches[self.offered - 1], 3)
            if state.acked == BATCHES:
                self.done_epochs += 1
                self.offered = 0
                if not self.finished:
                    state.begin(self.epoch, batches_of(self.source, self.epoch)[0], now)
                else:
                    state.leave()
        state.on_tick(now)
        if state.wants_reconnect:
            self.cut()
            self.connect()
        while self.wire is not None and (message := state.next_message()) is not None:
            self.wire.to_daemon.append(message)
            state.on_sent(now)


class SimulatedDaemon:
    """One life of the daemon."""

    def __init__(self, world: World) -> None:
        """Recover; a :class:`Crash` may come out of it."""
        self._world = world
        random = world.random
        health = Health(lambda: world.now)
        self.engine = Engine(VARIANTS, 4, HashMachine, lambda: world.wall)
        self.storage: Storage = open_storage(
            world.folder(world.disk),
            self.engine,
            HashImages(),
            world.rules,
            SnapshotRules(interval_seconds=5.0, journal_bytes=random.choice((600, 1500, 10**6))),
            "simulated",
            lambda _: None,
            (LaterExecutor(random), LaterExecutor(random)),
            clock=lambda: world.now,
            wall_clock_ns=lambda: int(world.wall * 1e9),
            draw=random.randbytes,
        )
        self.intake = Intake(self.engine, self.storage, health, clock=lambda: world.now)
        self.sessions = Sessions(SETTINGS, self.intake, "simulated", self._post)

    def turn(self, messages: int) -> None:
        """Take what has arrived, up to so many, in an order that chance makes; answer."""
        wires = [wire for wire in self._world.wires.values() if wire.to_daemon]
        for _ in range(messages):
            if not wires:
                break
            wire = self._world.random.choice(wires)
            self.sessions.take(wire.name, [wire.to_daemon.popleft()])
            wires = [wire for wire in wires if wire.to_daemon]
        self.sessions.turn()

    def _post(self, connection: bytes, frame: bytes) -> Posted:
        wire = self._world.wires.get(connection)
        if wire is None:
            return Posted.GONE
        wire.to_sender.append(frame)
        return Posted.SENT


class World:
    """Everything, and what goes wrong with it."""

    def __init__(
        self,
        seed: int,
        fsync: FsyncMode = "always",
        daemon: type[SimulatedDaemon] = SimulatedDaemon,
        folder: Callable[[Disk], SimulatedFolder] = SimulatedFolder,
    ) -> None:
        self.random = Random(seed)
        self.now = 100.0
        self.wall = 1.8e9
        self.disk = Disk(Random(seed + 1))
        self.folder = folder
        self.rules = JournalRules(
            fsync=fsync,
            fsync_interval_seconds=1.0,
            segment_bytes=self.random.choice((300, 1000, 4000)),
            retention_bytes=self.random.choice((0, 2000, 10**6)),
        )
        self.survives_power = fsync == "always"
        """Whether what is acknowledged must survive a loss of power, too. In the other modes the
        daemon must come up all the same, at some place where it was before."""
        self.rotten: set[str] = set()
        self.acknowledged = Acknowledged()
        self.wires: dict[bytes, Wire] = {}
        self.daemon: SimulatedDaemon | None = None
        self.faults = 0
        self.starts = 0
        self._daemon_type = daemon
        self._wire_count = 0
        self.senders = [SimulatedSender(self, name) for name in "abc"[: self.random.randint(1, 3)]]

    def new_wire(self) -> Wire:
        """A fresh connection to the daemon."""
        self._wire_count += 1
        wire = Wire(self._wire_count.to_bytes(4, "big"))
        self.wires[wire.name] = wire
        return wire

    def run(self) -> None:
        """A life with faults, then a while without; AssertionError if a promise is broken."""
        faults = self.random.sample(FAULTS, self.random.randint(1, len(FAULTS)))
        for _ in range(STEPS):
            if self.random.random() < 0.08:
                self.random.choice(faults)(self)
                self.faults += 1
            self._step()
        self.disk.crash_at = None
        self.disk.crash_in_sync = False
        self.disk.capacity = 1 << 40
        for _ in range(SETTLE_STEPS):
            if all(sender.finished for sender in self.senders) and self.daemon is not None:
                break
            self._step()
        self.crash(power=False)
        self._survive(self._start)
        assert self.daemon is not None
        for sender in self.senders:
            source = self.daemon.engine.source(sender.source)
            assert source is not None
            assert source.position(EPOCHS[-1]) == BATCHES, f"{sender.source} has not arrived"

    def _step(self) -> None:
        random = self.random
        self.now += random.choice((0.0, 0.01, 0.3))
        self.wall += random.choice((0.0, 0.01, 0.3))
        if self.daemon is None:
            self._survive(self._start)
        elif random.random() < 0.6:
            self._survive(lambda: self._turn(random.randint(1, 8)))
        sender = random.choice(self.senders)
        for _ in range(random.randint(0, 3)):
            sender.receive()
        sender.turn()

    def _turn(self, messages: int) -> None:
        assert self.daemon is not None
        self.daemon.turn(messages)
        self._check()

    def _start(self) -> None:
        self.starts += 1
        self.daemon = None
        with suppress(NoRoomError):  # it says so and ends; somebody starts it again later
            self.daemon = self._daemon_type(self)
            self._check()

    def _survive(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Crash:
            self.crash(power=self.random.random() < 0.5)

    def crash(self, *, power: bool) -> None:
        """The daemon ends, or the whole machine."""
        self.disk.crash_at = None
        self.disk.crash_in_sync = False
        self.daemon = None
        for sender in self.senders:
            sender.cut()
        if power:
            self.disk.lose_power()
        if power and not self.survives_power:
            self.acknowledged.promised.clear()
            for sender in self.senders:
                sender.done_epochs = min(sender.done_epochs, len(EPOCHS) - 1)
                sender.start()

    def _check(self) -> None:
        """Each source stands where an uninterrupted run would stand after so many batches."""
        assert self.daemon is not None
        for sender in self.senders:
            source = self.daemon.engine.source(sender.source)
            if source is None or source.life is None:
                continue
            life = source.life
            expected = digests_of(sender.source, life.epoch)[life.applied_seq]
            found = life.machines[VARIANTS[0]].digest()
            assert expected == found, f"{sender.source} {life.epoch} {life.applied_seq}"

    # What goes wrong.

    def kill_daemon(self) -> None:
        """The process ends between two steps."""
        self.crash(power=False)

    def lose_power(self) -> None:
        """The machine goes dark."""
        self.crash(power=True)

    def crash_soon(self) -> None:
        """The daemon ends within one of its next dealings with the disk."""
        self.disk.crash_after(self.random.randint(1, 25))

    def crash_in_sync(self) -> None:
        """The daemon ends while the disk works on something."""
        self.disk.crash_in_sync = True

    def restart_sender(self) -> None:
        """A sender is killed and started again."""
        self.random.choice(self.senders).start()

    def cut_wire(self) -> None:
        """A connection breaks."""
        self.random.choice(self.senders).cut()

    def fill_disk(self) -> None:
        """The disk gets full, or has room again."""
        if self.disk.capacity < 1 << 40:
            self.disk.capacity = 1 << 40
        else:
            self.disk.capacity = self.disk.used + self.random.randint(0, 400)

    def lose_frame(self) -> None:
        """A batch vanishes on its way: a gap."""
        queue, batches = self._busy_queue()
        if batches:
            del queue[self.random.randrange(batches)]

    def repeat_frame(self) -> None:
        """A batch comes twice."""
        queue, batches = self._busy_queue()
        if batches:
            frame = queue[self.random.randrange(batches)]
            queue.insert(self.random.randint(0, batches), frame)

    def replay_batch(self) -> None:
        """A batch that was sent before comes again, however old it is."""
        sender = self.random.choice(self.senders)
        sent = batches_of(sender.source, sender.epoch)[: sender.state._sent_up_to]
        if sender.wire is not None and sent:
            sender.wire.to_daemon.append(self.random.choice(sent))

    def swap_frames(self) -> None:
        """Two neighbours change places."""
        queue, batches = self._busy_queue()
        if batches > 1:
            at = self.random.randrange(batches - 1)
            queue[at], queue[at + 1] = queue[at + 1], queue[at]

    def rot_snapshot(self) -> None:
        """While the daemon is down, the newest snapshot goes bad; never both."""
        self.crash(power=False)
        snapshots = [name for name in self.disk.names if _is_whole(name)]
        if len(snapshots) > 1 and not self.rotten.intersection(snapshots):
            newest = max(snapshots)
            self.rotten.add(newest)
            self.disk.flip_bit(newest)

    def jump_clock(self) -> None:
        """The wall clock is set."""
        self.wall += self.random.choice((-3600.0, 3600.0))

    def pause(self) -> None:
        """Nothing moves for a while."""
        self.now += self.random.choice((3.0, 10.0))

    def _busy_queue(self) -> tuple[deque[bytes], int]:
        """What is on its way on some connection, and how many batches that begins with.

        Nothing is moved past a greeting: a connection carries one epoch after another.
        """
        queues = [wire.to_daemon for wire in self.wires.values() if wire.to_daemon]
        if not queues:
            return deque(), 0
        queue = self.random.choice(queues)
        batches = 0
        for frame in queue:
            if not protocol.is_batch(frame):
                break
            batches += 1
        return queue, batches


def _is_whole(name: str) -> bool:
    return name.startswith("snapshot-") and not name.endswith(".part")


FAULTS: Final[tuple[Callable[[World], None], ...]] = (
    World.kill_daemon,
    World.lose_power,
    World.crash_soon,
    World.crash_in_sync,
    World.restart_sender,
    World.cut_wire,
    World.fill_disk,
    World.lose_frame,
    World.repeat_frame,
    World.replay_batch,
    World.swap_frames,
    World.rot_snapshot,
    World.jump_clock,
    World.pause,
)
