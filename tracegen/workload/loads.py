"""The programs that run on the simulated machine.

Each is started once from its table in the scenario, by :func:`start`. A load that ends by itself
(mappers with a number of passes) counts its tasks in ``Work.unfinished``; the others go on until
they are stopped.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from allocator.events import OBJ_ALLOC
from allocator.gfp import encode
from tracegen.workload.engine import (
    MICROSECOND,
    MILLISECOND,
    SECOND,
    Engine,
    Steps,
    Task,
    Tries,
    Wait,
    WaitQueue,
)
from tracegen.workload.footprint import Footprint, Want
from tracegen.workload.memory import Memory
from tracegen.workload.network import FIRST_RTO, FRAME_HEADERS, Nic, Skb, accepts
from tracegen.workload.profile import ProfileData, ProfileLoad
from tracegen.workload.reclaim import Reclaim
from tracegen.workload.scenario import (
    Daemons,
    ForkStorm,
    FsWalk,
    LoadTable,
    Mappers,
    Objects,
    Profile,
    Sparse,
    TcpApp,
    UdpFlood,
)
from tracegen.workload.vm import AddressSpace, VirtualMemory

_TOUCH_NS: Final = 200
_PAGES_OF_A_MIB: Final = 256


@dataclass(frozen=True, slots=True)
class Place:
    """What a load runs on."""

    engine: Engine
    memory: Memory
    footprint: Footprint
    reclaim: Reclaim
    vm: VirtualMemory
    nic: Nic
    memory_pages: int
    work: Work
    profiles: Mapping[str, ProfileData]
    warm_up: int
    """Until then nobody pauses."""

    @property
    def cpus(self) -> int:
        """How many cpus the machine has."""
        return len(self.engine.cpu_free_at)


class Work:
    """What the programs have got done."""

    __slots__ = ("done", "has_end", "unfinished")

    def __init__(self) -> None:
        self.done = 0
        """Steps of programs: pages touched, lookups, forks."""
        self.has_end = False
        """Some task has an end."""
        self.unfinished = 0
        """Tasks that have an end and have not come to it."""

    @property
    def is_done(self) -> bool:
        """Whether every task that has an end has come to it."""
        return self.has_end and self.unfinished == 0


Starter: TypeAlias = Callable[[Place, Any, random.Random], None]


def start(place: Place, table: LoadTable, rng: random.Random) -> None:
    """Start one load of a scenario."""
    _STARTERS[type(table)](place, table, rng)


def _begin(table: LoadTable) -> int:
    return round(table.start_seconds * SECOND)


def _stop(table: LoadTable) -> int:
    """When a load stops; beyond all time if it does not."""
    return 1 << 62 if table.stop_seconds is None else round(table.stop_seconds * SECOND)


def _start_mappers(place: Place, table: Mappers, rng: random.Random) -> None:
    """``per_cpu`` processes on each cpu with equal shares of the mappings."""
    count = table.per_cpu * place.cpus
    share = max(1, round(place.memory_pages * table.memory_ratio) // count)
    for number in range(count):
        task = Task(f"mapper-{number}", number % place.cpus, kernel=False)
        space = place.vm.new_space(task, share)
        if table.passes:
            place.work.has_end = True
            place.work.unfinished += 1
        begin = _begin(table) + rng.randrange(MILLISECOND)
        place.engine.spawn(task, _map(place, table, space, rng), begin)


def _map(place: Place, table: Mappers, space: AddressSpace, rng: random.Random) -> Steps:
    engine = place.engine
    work = place.work
    task = space.task
    stop = _stop(table)
    page_ns = round(table.page_us * MICROSECOND)
    passes = 0
    while not table.passes or passes < table.passes:
        in_slice = 0
        for page in space.area:
            if table.random_share and rng.random() < table.random_share:
                yield from place.vm.touch(space, rng.randint(space.area.start, page), is_write=True)
            if not (yield from place.vm.touch(space, page, is_write=table.writes)):
                break
            work.done += 1
            in_slice += 1
            if in_slice == table.slice_pages:
                in_slice = 0
                work_ns = page_ns * table.slice_pages
                yield engine.busy(task.cpu, work_ns + rng.randrange(work_ns))
                if table.pause_ms and engine.now >= place.warm_up:
                    yield round(table.pause_ms * MILLISECOND)
                if engine.now >= stop:
                    break
        yield engine.busy(task.cpu, page_ns * (in_slice + 1))
        if task.killed or engine.now >= stop:
            break
        passes += 1
    place.vm.exit(space)
    if table.passes:
        work.unfinished -= 1


def _start_sparse(place: Place, table: Sparse, rng: random.Random) -> None:
    """One process; its hot part is touched over and over, the rest now and then."""
    task = Task("sparse", 0, kernel=False)
    space = place.vm.new_space(task, max(1, round(place.memory_pages * table.memory_ratio)))
    place.engine.spawn(task, _touch_sparsely(place, table, space, rng), _begin(table))


def _touch_sparsely(place: Place, table: Sparse, space: AddressSpace, rng: random.Random) -> Steps:
    engine = place.engine
    task = space.task
    stop = _stop(table)
    hot = max(1, min(len(space.area), round(place.memory_pages * table.hot_ratio)))
    interval = round(table.burst_pages / table.touches_per_second * SECOND)
    first = space.area.start
    while engine.now < stop:
        for _ in range(table.burst_pages):
            reach = len(space.area) if rng.random() < table.stray_share else hot
            page = first + int(rng.random() * reach)
            if not (yield from place.vm.touch(space, page, is_write=True)):
                break
            place.work.done += 1
        if task.killed:
            break
        yield engine.busy(task.cpu, _TOUCH_NS * table.burst_pages) + interval
    place.vm.exit(space)


class UdpSocket:
    """A socket that datagrams pile up in until its program reads it."""

    __slots__ = ("_held", "_place", "_queued_bytes", "_table", "dropped_full", "dropped_reserve")

    def __init__(self, place: Place, table: UdpFlood) -> None:
        self._place = place
        self._table = table
        self._held: deque[Skb] = deque()
        self._queued_bytes = 0
        self.dropped_full = 0
        self.dropped_reserve = 0

    def __len__(self) -> int:
        """Packets in the queue. They go when the program reads them, if it ever does."""
        return len(self._held)

    def arrive(self, count: int) -> None:
        """A burst of datagrams comes off the wire."""
        place = self._place
        table = self._table
        series = place.footprint.rights.series
        size = table.packet_bytes + FRAME_HEADERS
        for _ in range(count):
            skb = place.nic.receive(size)
            if skb is None:
                continue
            if not accepts(skb, privileged=False, series=series):
                self.dropped_reserve += 1
                place.nic.dropped += 1
            elif self._queued_bytes + _truesize(size) > table.receive_buffer_kib << 10:
                self.dropped_full += 1
            else:
                self._held.append(skb)
                self._queued_bytes += _truesize(size)
                continue
            place.memory.free_all(skb.held, 0, place.nic.softirq)

    def read_all(self, cpu: int) -> None:
        """The program reads everything there is."""
        for skb in self._held:
            self._place.memory.free_all(skb.held, cpu, 0)
        self._held.clear()
        self._queued_bytes = 0


def _truesize(size: int) -> int:
    """``skb->truesize``: what a packet is charged for."""
    return 256 + (512 if size <= 256 else 2048)  # noqa: PLR2004


def _start_udp_flood(place: Place, table: UdpFlood, rng: random.Random) -> None:
    """A source of datagrams and the program that reads them."""
    socket = UdpSocket(place, table)
    engine = place.engine
    begin = _begin(table)
    stop = _stop(table)
    gap = table.burst_packets / table.packets_per_second * SECOND

    def burst(_: object) -> None:
        if engine.now < stop:
            socket.arrive(table.burst_packets)
            # No hope comes with it: what arrives takes memory and gives none back.
            engine.at(engine.now + round(gap * (0.5 + rng.random())), burst, None, 0)

    engine.at(begin, burst)
    task = Task("udp-reader", place.cpus - 1, kernel=False)
    space = place.vm.new_space(task, table.buffer_pages)
    engine.spawn(task, _drain(place, table, socket, space), begin)


def _drain(place: Place, table: UdpFlood, socket: UdpSocket, space: AddressSpace) -> Steps:
    """Reading copies to a buffer of the program's, which may itself have been swapped out."""
    while True:
        yield round(table.drain_ms * MILLISECOND)
        for page in space.area:
            if not (yield from place.vm.touch(space, page, is_write=True)):
                place.vm.exit(space)
                socket.read_all(space.task.cpu)
                return
        if len(socket):
            socket.read_all(space.task.cpu)
            place.work.done += 1


def _start_tcp_app(place: Place, table: TcpApp, rng: random.Random) -> None:
    """A program that sends, waits for memory like anyone, and is acknowledged later."""
    task = Task("tcp-app", place.cpus - 1, kernel=False)
    place.engine.spawn(task, _send_app(place, table, task, rng), _begin(table))


def _send_app(place: Place, table: TcpApp, task: Task, rng: random.Random) -> Steps:
    engine = place.engine
    wants = place.footprint.step("app_send")
    stop = _stop(table)
    never = WaitQueue("memory for its socket")
    series = place.footprint.rights.series
    tries = Tries()
    engine.retriers.append(tries)

    def acknowledged(held: list[int]) -> None:
        skb = place.nic.receive(FRAME_HEADERS)
        if skb is None or not accepts(skb, privileged=False, series=series):
            if skb is not None:
                place.nic.dropped += 1
                place.memory.free_all(skb.held, 0, place.nic.softirq)
            engine.retry(FIRST_RTO, acknowledged, held, tries)
            return
        place.memory.free_all(held, 0, place.nic.softirq)
        place.memory.free_all(skb.held, 0, place.nic.softirq)

    while engine.now < stop:
        held = yield from place.reclaim.gather(task, wants, never)
        place.work.done += 1
        engine.after(round(table.round_trip_ms * MILLISECOND), acknowledged, held)
        yield round((0.5 + rng.random()) / table.sends_per_second * SECOND)


def _start_fs_walk(place: Place, table: FsWalk, rng: random.Random) -> None:
    """``find``: lookups in bursts, whose dentries and inodes stay until reclaim takes them."""
    del rng
    task = Task("find", place.cpus - 1, kernel=False)
    place.engine.spawn(task, _walk(place, table, task), _begin(table))


def _walk(place: Place, table: FsWalk, task: Task) -> Steps:
    engine = place.engine
    stop = _stop(table)
    lookup = place.footprint.step("fs_lookup")
    block = place.footprint.step("fs_read")
    page = place.footprint.step("file_page")
    reads_due = 0.0
    while engine.now < stop:
        for _ in range(table.burst):
            yield from _use(place, task, lookup)
            reads_due += table.reads_per_lookup
            while reads_due >= 1:
                reads_due -= 1
                yield from _use(place, task, block)
                handle = place.memory.take(page[0], task.cpu, task.ctx)
                if handle:
                    place.reclaim.file_pages.append(handle)
            place.work.done += 1
        yield engine.busy(task.cpu, 2 * MICROSECOND * table.burst)
        yield round(table.burst / table.lookups_per_second * SECOND)


def _use(place: Place, task: Task, wants: tuple[Want, ...]) -> Steps:
    """Take a step's objects; those that stay go to the shrinkers, the rest back at once."""
    held: list[int] = []
    for want in wants:
        for _ in range(place.memory.times(want)):
            handle = yield from _obtain(place, task, want)
            if not handle:
                continue
            if want.stays:
                place.reclaim.kmem_objects.append(handle)
            else:
                held.append(handle)
    place.memory.free_all(held, task.cpu, task.ctx)


def _obtain(place: Place, task: Task, want: Want) -> Generator[int | Wait, None, int]:
    handle = place.memory.take(want, task.cpu, task.ctx)
    if not handle and place.memory.must_wait:
        handle = yield from place.reclaim.slow_path(task, want)
    return handle


def _start_fork_storm(place: Place, table: ForkStorm, rng: random.Random) -> None:
    """A shell that starts one process after another."""
    del rng
    task = Task("forker", 0, kernel=False)
    place.engine.spawn(task, _fork(place, table, task), _begin(table))


def _fork(place: Place, table: ForkStorm, task: Task) -> Steps:
    engine = place.engine
    stop = _stop(table)
    wants = place.footprint.step("fork")
    number = 0
    while engine.now < stop:
        held: list[int] = []
        for want in wants:
            for _ in range(place.memory.times(want)):
                handle = yield from _obtain(place, task, want)
                if handle:
                    held.append(handle)
        child = Task(f"child-{number}", number % place.cpus, kernel=False)
        number += 1
        space = place.vm.new_space(child, table.pages_each)
        engine.spawn(child, _live(place, table, space, held))
        place.work.done += 1
        yield round(SECOND / table.forks_per_second)


def _live(place: Place, table: ForkStorm, space: AddressSpace, held: list[int]) -> Steps:
    engine = place.engine
    task = space.task
    for page in space.area:
        if not (yield from place.vm.touch(space, page, is_write=True)):
            break
    yield engine.busy(task.cpu, MICROSECOND * table.pages_each)
    if not task.killed:
        yield round(table.life_ms * MILLISECOND)
    place.vm.exit(space)
    place.memory.free_all(held, task.cpu, 0)


def _start_daemons(place: Place, table: Daemons, rng: random.Random) -> None:
    """Small work at irregular times."""
    task = Task("daemons", 0, kernel=False)
    place.engine.spawn(task, _wake_up(place, table, task, rng), _begin(table))


def _wake_up(place: Place, table: Daemons, task: Task, rng: random.Random) -> Steps:
    stop = _stop(table)
    wants = place.footprint.step("daemon_work")
    while place.engine.now < stop:
        yield from _use(place, task, wants)
        place.work.done += 1
        yield round(rng.expovariate(table.wakeups_per_second) * SECOND) + 1


def _start_objects(place: Place, table: Objects, rng: random.Random) -> None:
    """Objects of one cache at a rate, each for a while."""
    flavour = place.footprint.rights.flavour
    want = place.footprint.request(OBJ_ALLOC, table.cache, encode(table.gfp, flavour))
    task = Task(f"user-of-{want.name}", 0, kernel=False)
    place.engine.spawn(task, _use_objects(place, table, want, task, rng), _begin(table))


def _use_objects(place: Place, table: Objects, want: Want, task: Task, rng: random.Random) -> Steps:
    engine = place.engine
    stop = _stop(table)

    def give_back(handle: int) -> None:
        place.memory.free(handle, task.cpu, 0)

    while engine.now < stop:
        handle = yield from _obtain(place, task, want)
        if handle:
            life = rng.expovariate(1 / table.life_ms) * MILLISECOND
            engine.after(round(life) + 1, give_back, handle)
        place.work.done += 1
        yield round((0.5 + rng.random()) / table.per_second * SECOND)


def _start_profile(place: Place, table: Profile, rng: random.Random) -> None:
    """Whatever else a real machine did while it was watched."""
    data = place.profiles[table.name]
    ProfileLoad(place.engine, place.memory, data, data.kinds(place.footprint), table.rate, rng)


_STARTERS: Final[dict[type[LoadTable], Starter]] = {
    Mappers: _start_mappers,
    Sparse: _start_sparse,
    UdpFlood: _start_udp_flood,
    TcpApp: _start_tcp_app,
    FsWalk: _start_fs_walk,
    ForkStorm: _start_fork_storm,
    Daemons: _start_daemons,
    Objects: _start_objects,
    Profile: _start_profile,
}
