"""Machines in processes of their own are machines like any other, and their loss is noticed."""

from __future__ import annotations

import gc
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from allocator.revision import VariantError
from daemon.engine import Engine
from daemon.health import Health
from daemon.http import Request
from daemon.intake import Intake
from daemon.service import ModelImages, new_machine
from daemon.sources import MachineFactory, ModelFaultError
from daemon.view_route import view_routes
from daemon.workers import RemoteMachine, Worker, WorkerError, WorkerPool
from tests.daemon.fakes import (
    CONFIG,
    HEADER,
    VARIANTS,
    allocations,
    events_batch,
    header_batch,
    offer,
    record,
)
from tracegen.errors import BatchError

PATIENCE = 30.0


@pytest.fixture(name="pool", scope="module")
def pool_fixture() -> Iterator[WorkerPool]:
    """Two workers for the tests that leave them alive."""
    with WorkerPool(2) as pool:
        yield pool


@pytest.fixture(name="doomed")
def doomed_fixture() -> Iterator[WorkerPool]:
    """A worker for one test."""
    with WorkerPool(1) as pool:
        yield pool


def engine_of(machines: MachineFactory, sources: int = 2) -> Engine:
    """An engine in which every source has had some hundred events."""
    engine = Engine(VARIANTS, 4, machines, lambda: 0.0)
    for number in range(sources):
        offer(engine, header_batch(f"s{number}"))
        for seq in range(2, 6):
            records = allocations(50 + number, first_handle=100 * seq)
            offer(engine, events_batch(seq, records, source=f"s{number}"))
    return engine


def remote(pool: WorkerPool) -> RemoteMachine:
    """A machine in a worker."""
    machine = pool.new_machine(CONFIG, VARIANTS[0], HEADER.caches, HEADER.gfp)
    assert isinstance(machine, RemoteMachine)
    return machine


def test_what_is_read_is_what_one_process_would_show(pool: WorkerPool) -> None:
    """All numbers and digests of all sources and variants."""
    here = engine_of(new_machine).read(digest=True)
    there = engine_of(pool.new_machine).read(digest=True)

    for mine, other in zip(here.sources, there.sources, strict=True):
        assert mine.life == other.life
        assert mine.events_applied == other.events_applied


def test_machines_go_to_the_worker_that_has_fewest() -> None:
    """And one that nobody knows any more does not count."""
    with WorkerPool(2) as pool:
        machines = [remote(pool) for _ in range(4)]
        held = {worker.name: worker.machines for worker in pool._workers}
        assert {"worker 0": 2, "worker 1": 2} == held

        del machines[0]
        gc.collect()
        machines.append(remote(pool))

        assert held == {worker.name: worker.machines for worker in pool._workers}


def test_images_are_those_of_one_process(pool: WorkerPool) -> None:
    """A snapshot taken with workers is good without them, and the other way round."""
    here, there = engine_of(new_machine), engine_of(pool.new_machine)
    assert here.images(ModelImages()) == there.images(pool)
    anew = Engine(VARIANTS, 4, pool.new_machine, lambda: 0.0)

    anew.adopt(here.images(ModelImages()), pool)

    digests = [
        [
            variant.digest
            for source in engine.read(digest=True).sources
            for variant in source.life.variants
        ]
        for engine in (here, anew)
    ]
    assert digests[0] == digests[1]


def test_an_image_that_does_not_fit_is_refused(pool: WorkerPool) -> None:
    """With the error that one process would raise."""
    with pytest.raises(ValueError, match="snapshot"):
        pool.restore(remote(pool), b"no image")


def test_a_machine_that_cannot_be_is_refused(pool: WorkerPool) -> None:
    """What the worker raises is raised here, and it goes on."""
    unknown = replace(VARIANTS[0], revision=replace(VARIANTS[0].revision, name="v9.9"))

    with pytest.raises(VariantError, match=r"no variant 'slab-v9\.9'"):
        pool.new_machine(CONFIG, unknown, HEADER.caches, HEADER.gfp)

    assert remote(pool).live_handles() == 0


def test_a_view_is_drawn_where_the_machine_is(pool: WorkerPool) -> None:
    """/proc and /sys show the same as without workers."""
    here, there = (view_routes(engine_of(machines)) for machines in (new_machine, pool.new_machine))

    for path in ("s0/slab-seed/slabinfo", "s0/slub-seed/zoneinfo", "s1/slab-seed/nothing"):
        request = Request({}, "", path)
        assert here["/proc/"](request) == there["/proc/"](request)
    for path in ("s0/slub-seed/kernel/slab", "s0/slab-seed/kernel/slab"):
        request = Request({}, "", path)
        assert here["/sys/"](request) == there["/sys/"](request)


def test_live_handles_are_bounded_as_in_one_process(pool: WorkerPool) -> None:
    """The batch that could lead beyond is refused, not an earlier one and not a later one."""
    for machines in (new_machine, pool.new_machine):
        engine = engine_of(machines, 1)
        engine.max_live_handles = 210
        offer(engine, events_batch(6, allocations(10, 10_000), source="s0"))
        with pytest.raises(BatchError, match="could be 211 live handles"):
            offer(engine, events_batch(7, allocations(1, 20_000), source="s0"))


def test_a_worker_ends_with_the_daemon() -> None:
    """However that comes: its pipe is closed."""
    worker = Worker("worker")
    os.close(worker._messages)

    assert 0 == worker._process.wait(PATIENCE)
    worker._answers.close()


def test_a_dead_worker_is_noticed(doomed: WorkerPool) -> None:
    """At the latest when the intake turns, with nothing sent and nothing asked."""
    machine = remote(doomed)
    intake = Intake(engine_of(doomed.new_machine), None, Health(), workers=doomed)
    intake.turn()
    os.kill(doomed.pids[0], signal.SIGKILL)
    select.select([doomed._workers[0]._answers], [], [], PATIENCE)

    with pytest.raises(WorkerError, match="has ended with -9, and its models are lost"):
        intake.turn()

    assert doomed.lost
    with pytest.raises(WorkerError):
        machine.digest()
    with pytest.raises(WorkerError):
        machine.apply(record())


def test_a_model_that_fails_is_told_of(doomed: WorkerPool) -> None:
    """By what it raised; nothing that it would show could be trusted."""
    machine = remote(doomed)
    machine.apply(record(handle=1))
    broken = record(handle=2)[:24] + b"\xff\xff" + record(handle=2)[26:]  # cpu 65535

    machine.apply(broken)

    with pytest.raises(ModelFaultError, match="the model slab-seed failed in worker 0: IndexE"):
        machine.stats()
    assert doomed.lost


def test_memory_of_workers_is_counted(pool: WorkerPool) -> None:
    """It is part of what the daemon holds itself to."""
    assert pool.resident_bytes() > 1 << 20


def test_a_machine_in_a_worker_answers_as_one_here(pool: WorkerPool) -> None:
    """What its callers are told, and how its memory stands after it."""
    here = new_machine(CONFIG, VARIANTS[0], HEADER.caches, HEADER.gfp)
    there = remote(pool)

    for records in (b"", allocations(50)):
        assert here.answered(records) == there.answered(records)
        assert here.standing() == there.standing()
