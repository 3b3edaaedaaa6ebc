"""Requests, and what becomes of them, on a machine of a few pages."""

from __future__ import annotations

import pytest

from allocator.config import MachineConfig
from allocator.events import CTX_SOFTIRQ, RECORD_SIZE
from allocator.revision import parse_variant
from tracegen.workload.engine import Engine, Task
from tracegen.workload.footprint import Footprint
from tracegen.workload.memory import Memory, OwnModel
from tracegen.workload.mempool import Mempool
from tracegen.workload.network import Nic
from tracegen.workload.recorder import Recorder
from tracegen.workload.series import parse_series

PAGES = 4096


class Bench:
    """A model and the parts that ask it, without anything that runs."""

    def __init__(self, kernel: str = "slub-v3.6", series: str = "none") -> None:
        variant = parse_variant(kernel)
        self.footprint = Footprint(variant.revision, parse_series(series))
        config = MachineConfig(
            cpus=1, cpu_node=(0,), nodes=((0, PAGES),), zone_end_pfn=(0, PAGES, PAGES)
        )
        model = OwnModel(config, variant, self.footprint.caches)
        self.footprint.number_caches(model.machine.cache_number)
        self.records: list[bytes] = []
        self.recorder = Recorder(self.records.append)
        self.engine = Engine(1)
        self.memory = Memory(self.engine, model, self.recorder)

    def exhaust(self) -> list[int]:
        """Take pages until an ordinary caller is told to wait."""
        want = self.footprint.one("anonymous_page")
        taken = []
        while handle := self.memory.take(want, 0, 0):
            taken.append(handle)
        return taken


@pytest.fixture
def bench() -> Bench:
    """An unprivileged machine."""
    return Bench()


def test_an_ordinary_caller_stops_at_min_and_would_wait(bench: Bench) -> None:
    """The slow path goes on from there."""
    bench.exhaust()

    assert bench.memory.must_wait
    assert abs(bench.memory.free_pages() - bench.memory.wmark_min) <= 2
    assert (1, 0) == (bench.memory.stalled, bench.memory.denied)


def test_a_denied_handle_is_freed_at_once(bench: Bench) -> None:
    """So that whoever reads the trace holds nothing either."""
    taken = bench.exhaust()
    bench.recorder.flush()
    records = b"".join(bench.records)

    last, free = records[-2 * RECORD_SIZE : -RECORD_SIZE], records[-RECORD_SIZE:]
    assert last[8:16] == free[8:16]
    assert int.from_bytes(last[8:16], "little") not in taken
    assert bench.memory.events * RECORD_SIZE == len(records)


def test_a_step_is_taken_whole_or_not_at_all(bench: Bench) -> None:
    """What was had of it goes back."""
    bench.exhaust()
    held: list[int] = []
    free = bench.memory.free_pages()
    while bench.memory.take_step(bench.footprint.step("socket_send"), 0, 0, held):
        pass
    had = len(held)

    assert not bench.memory.take_step(bench.footprint.step("socket_send"), 0, 0, held)
    assert had == len(held)
    assert bench.memory.free_pages() <= free


def test_a_share_of_a_request_comes_true_over_time() -> None:
    """Two fifths of a file are opened for each name that is looked up."""
    bench = Bench()
    filp = bench.footprint.step("fs_lookup")[-1]

    assert 0.4 == filp.per
    assert [0, 0, 1, 0, 1] == [bench.memory.times(filp) for _ in range(5)]


def test_a_mempool_gives_what_it_kept_when_there_is_nothing_else(bench: Bench) -> None:
    """And takes it back first."""
    pool = Mempool(bench.engine, bench.memory, "bio", bench.footprint.step("bio"), 2)
    bench.exhaust()
    task = Task("writer", 0, kernel=True)
    got = []
    while (element := pool.get_now(task)) is not None:
        got.append(element)

    assert 2 == pool.from_pool
    pool.put(got.pop(), 0, 0)
    assert pool.get_now(task) is not None
    assert pool.get_now(task) is None


def test_a_card_without_memory_receives_until_its_ring_is_empty() -> None:
    """Then it misses what arrives, and its watchdog fills the ring when memory is back."""
    bench = Bench()
    nic = Nic(bench.engine, bench.memory, bench.footprint, ring_size=4, cpu=0)
    pages = bench.exhaust()
    held = []
    while (skb := nic.receive(1500)) is not None:
        held.append(skb)

    assert (0, 1) == (nic.filled, nic.missed)
    assert nic.refills_failed > 0
    bench.memory.free_all(pages[:400], 0, 0)
    bench.engine.run(2_100_000_000)
    assert 4 == nic.filled


def test_packets_of_the_reserve_are_marked_where_the_series_has_them() -> None:
    """A small frame, copied when free memory is below what an interrupt may take."""
    marked = {}
    for series in ("none", "whole"):
        bench = Bench(series=series)
        bench.exhaust()
        skbs = []
        for _ in range(4000):
            held: list[int] = []
            if not bench.memory.take_step(
                bench.footprint.step("receive_small"), 0, CTX_SOFTIRQ, held
            ):
                break
            skbs.append(bench.memory.marked)
        marked[series] = any(skbs)

    assert {"none": False, "whole": True} == marked
