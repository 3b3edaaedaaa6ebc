"""A whole simulated machine: built from a scenario, run, and asked how it went."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from allocator.config import CacheSpec
from allocator.gfp import GfpError
from allocator.object_allocator import SLAB_RECLAIM_ACCOUNT
from allocator.revision import Revision, Variant
from tracegen.header import Header, Made
from tracegen.workload import loads
from tracegen.workload.block import BlockQueue
from tracegen.workload.engine import MILLISECOND, SECOND, Engine
from tracegen.workload.errors import ScenarioError
from tracegen.workload.footprint import Footprint
from tracegen.workload.hang import Hang, HangWatch, Patient
from tracegen.workload.memory import Answering, Memory, OwnModel
from tracegen.workload.nbd import Nbd
from tracegen.workload.network import Conditions, Nic, Wire
from tracegen.workload.nfs import NfsSwap
from tracegen.workload.pages import Pages
from tracegen.workload.profile import ProfileData
from tracegen.workload.reclaim import Reclaim
from tracegen.workload.recorder import Recorder
from tracegen.workload.scenario import Profile, Scenario, ServerChange
from tracegen.workload.series import SWAP_MEMALLOC
from tracegen.workload.swap import Swap, SwapDevice
from tracegen.workload.tcp import TcpConnection
from tracegen.workload.vm import VirtualMemory

_MEGABIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate: the same plan gives the same run, byte for byte."""

    scenario: Scenario
    variant: Variant
    series: frozenset[str]
    seed: int = 0


class Simulation:
    """One machine in simulated time.

    ``answering`` makes, of the trace's header, whoever answers the machine's requests; None is a
    model in this process. Raises :class:`ScenarioError` for what a scenario asks of this variant
    and cannot have.
    """

    def __init__(
        self,
        plan: Plan,
        recorder: Recorder | None = None,
        answering: Callable[[Header], Answering] | None = None,
    ) -> None:
        scenario = plan.scenario
        self.plan = plan
        self._recorder = recorder
        self.footprint = Footprint(plan.variant.revision, plan.series)
        self.footprint.add_caches(_own_caches(scenario))
        profiles = _profiles(scenario, plan.variant.revision)
        for profile in profiles.values():
            self.footprint.add_caches(profile.caches)
        config = scenario.machine_config(memalloc_socks=SWAP_MEMALLOC in plan.series)
        caches = self.footprint.caches
        self.labels = [change.label or _told(change) for change in scenario.server.change]
        self.labels += [BEGINS] if scenario.warm_up_seconds else []
        self.labels.append(HUNG_LABEL)
        self.header = Header(
            machine=config,
            caches=tuple(caches),
            gfp=plan.variant.revision.gfp_flavour,
            clock="virtual",
            labels=tuple(self.labels),
            made=Made(tool="pfmemd generate", text=scenario.title),
        )
        self.engine = Engine(config.cpus)
        self.model = self._own_model() if answering is None else answering(self.header)
        self.memory = Memory(self.engine, self.model, recorder)
        self._build_machine(scenario, first_cpu=0, last_cpu=config.cpus - 1)
        self.work = loads.Work()
        self.watch = HangWatch(
            self.engine,
            Patient(self.memory, self.pages, self.swap, self.reclaim, self.wire),
            scenario.hung_seconds,
        )
        for number, change in enumerate(scenario.server.change):
            self.engine.at(round(change.at_seconds * SECOND), self._change_server, (number, change))
        if scenario.warm_up_seconds:
            label = self.labels.index(BEGINS)
            self.engine.at(round(scenario.warm_up_seconds * SECOND), self.memory.mark, label)
        self._start_loads(scenario, profiles)

    @property
    def hang(self) -> Hang | None:
        """The hang, if the machine has come to one."""
        return self.watch.hang

    @property
    def seconds(self) -> float:
        """Simulated time so far."""
        return self.engine.now / SECOND

    def run(self) -> None:
        """Let the scenario's time pass, or until all work is done, or the machine hangs."""
        while self.go_on():
            pass
        self.close()

    def go_on(self) -> bool:
        """Simulate the next tenth of a second; False when the run is over.

        At the end of its time a machine in which nothing goes on is given the time that it takes
        to tell whether it hangs.
        """
        end = round(self.plan.scenario.duration_seconds * SECOND)
        if self.engine.stopped or self.work.is_done:
            return False
        if self.engine.now >= end and not self.watch.in_doubt:
            return False
        self.engine.run(self.engine.now + SECOND // 10)
        return True

    def close(self) -> None:
        """Put the end into the trace, if there is one."""
        if self.hang is not None:
            self.memory.mark(len(self.labels) - 1)
        if self._recorder is not None:
            self._recorder.flush()

    def _own_model(self) -> OwnModel:
        model = OwnModel(self.header.machine, self.plan.variant, self.footprint.caches)
        self.footprint.number_caches(model.machine.cache_number)
        return model

    def _build_machine(self, scenario: Scenario, first_cpu: int, last_cpu: int) -> None:
        """Interrupts come to the first cpu; kswapd and the swap device's thread run on the last."""
        engine, memory, footprint = self.engine, self.memory, self.footprint
        self.pages = Pages(scenario.swap_pages)
        self.wire = Wire(engine, _conditions(scenario), self._rng("wire"))
        self.swap = Swap(engine, memory, footprint, self.pages)
        self.reclaim = Reclaim(engine, memory, footprint, self.pages, self.swap, last_cpu)
        self.nic = Nic(engine, memory, footprint, scenario.network.rx_ring, first_cpu)
        self.connection = TcpConnection(
            engine,
            memory,
            footprint,
            self.nic,
            self.wire,
            send_buffer=scenario.swap.send_buffer_kib << 10,
            pieces_per_ack=scenario.network.pieces_per_ack,
            cpu=first_cpu,
        )
        self.swap.device = self._device(last_cpu)
        self.vm = VirtualMemory(
            engine,
            memory,
            footprint,
            self.pages,
            self.swap,
            self.reclaim,
            scenario.swap.readahead_pages,
        )
        self._fill_file_cache(scenario.machine.file_cache_mib)

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self.plan.seed}/{name}")  # noqa: S311 - seeded on purpose

    def _device(self, cpu: int) -> SwapDevice:
        scenario = self.plan.scenario
        if scenario.swap.transport == "nfs":
            return NfsSwap(
                self.engine,
                self.memory,
                self.footprint,
                self.swap,
                self.reclaim,
                self.connection,
                slots=scenario.swap.rpc_slots,
                cpu=cpu,
            )
        queue = BlockQueue(
            self.engine,
            self.memory,
            self.footprint,
            self.pages,
            limit=scenario.swap.queue_requests,
            max_pages=scenario.swap.request_pages,
        )
        return Nbd(
            self.engine,
            self.memory,
            self.footprint,
            self.swap,
            self.reclaim,
            queue,
            self.connection,
            scatter_gather=scenario.network.scatter_gather,
            pages_of_an_skb=scenario.network.pages_of_an_skb,
            cpu=cpu,
        )

    def _fill_file_cache(self, mib: int) -> None:
        want = self.footprint.one("file_page")
        for _ in range(mib * 256 // self.plan.scenario.machine.scale):
            handle = self.memory.take(want, 0, 0)
            if handle:
                self.reclaim.file_pages.append(handle)

    def _change_server(self, due: tuple[int, ServerChange]) -> None:
        number, change = due
        conditions = self.wire.conditions
        if change.up is not None:
            conditions.up = change.up
        if change.round_trip_ms is not None:
            conditions.one_way_ns = round(change.round_trip_ms * MILLISECOND / 2)
        if change.service_ms is not None:
            conditions.service_ns = round(change.service_ms * MILLISECOND)
        if change.bandwidth_mbit is not None:
            conditions.bits_per_second = round(change.bandwidth_mbit * _MEGABIT)
        if change.loss is not None:
            conditions.loss = change.loss
        self.memory.mark(number)

    def _start_loads(self, scenario: Scenario, profiles: Mapping[str, ProfileData]) -> None:
        place = loads.Place(
            engine=self.engine,
            memory=self.memory,
            footprint=self.footprint,
            reclaim=self.reclaim,
            vm=self.vm,
            nic=self.nic,
            memory_pages=scenario.memory_pages,
            work=self.work,
            profiles=profiles,
            warm_up=round(scenario.warm_up_seconds * SECOND),
        )
        for number, table in enumerate(scenario.load):
            try:
                loads.start(place, table, self._rng(f"load-{number}"))
            except LookupError as error:
                raise scenario.blame(("load", number, "cache"), str(error)) from error
            except GfpError as error:
                raise scenario.blame(("load", number, "gfp"), str(error)) from error


HUNG_LABEL = "the machine hangs"
BEGINS = "the trace begins"


def _own_caches(scenario: Scenario) -> list[CacheSpec]:
    """The caches that a scenario has beside the kernel's."""
    return [
        CacheSpec(
            0, table.name, table.size, table.align, SLAB_RECLAIM_ACCOUNT if table.reclaimable else 0
        )
        for table in scenario.cache
    ]


def _profiles(scenario: Scenario, revision: Revision) -> dict[str, ProfileData]:
    """The profiles that a scenario's loads draw from, read."""
    profiles = {}
    for number, table in enumerate(scenario.load):
        if isinstance(table, Profile):
            try:
                profiles[table.name] = ProfileData(table.name, revision)
            except ScenarioError as error:
                raise scenario.blame(("load", number, "name"), str(error)) from error
    return profiles


def _conditions(scenario: Scenario) -> Conditions:
    server = scenario.server
    return Conditions(
        one_way_ns=round(server.round_trip_ms * MILLISECOND / 2),
        service_ns=round(server.service_ms * MILLISECOND),
        bits_per_second=round(server.bandwidth_mbit * _MEGABIT),
        loss=server.loss,
        stall_every_ns=round(server.stall_every_seconds * SECOND),
        stall_ns=round(server.stall_seconds * SECOND),
    )


def _told(change: ServerChange) -> str:
    parts = [
        f"{name}={value}"
        for name, value in change.model_dump(exclude={"label", "at_seconds"}).items()
        if value is not None
    ]
    return f"server: {', '.join(parts)}"
