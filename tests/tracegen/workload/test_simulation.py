"""Whole machines: what the mechanisms come to."""

from __future__ import annotations

import pytest

from tests.tracegen.workload.machines import run, scenario
from tracegen.workload.errors import ScenarioError
from tracegen.workload.verdict import DEADLOCKED, HUNG, SURVIVED, judge

UNPATCHED = "slub-unpatched"
PATCHED = "slub-seed"


def test_a_machine_that_must_write_to_free_and_has_nothing_to_write_with_deadlocks() -> None:
    """The thread that is to send pages waits for the memory that sending them would free."""
    verdict = judge(run(UNPATCHED))

    assert DEADLOCKED == verdict.outcome
    assert not verdict.all_work_done
    waits = {waiter.who: waiter.what for waiter in verdict.waiters}
    assert waits["nbd0"].endswith("pages free, min 256)")
    assert "an element of the bio pool" in waits.values()
    assert verdict.lowest_free >= verdict.min_pages - 2  # an ordinary caller stops at min


def test_the_series_lets_the_same_machine_complete() -> None:
    """The sender draws on the reserve, which is what it is for."""
    verdict = judge(run(PATCHED))

    assert (SURVIVED, True) == (verdict.outcome, verdict.all_work_done)
    assert verdict.lowest_free < verdict.min_pages // 2
    assert verdict.pages_out > 1000
    assert verdict.throttled > 0


def test_the_patch_of_the_mail_alone_frees_nobody() -> None:
    """It keeps the reserve for those who may use it; without the rest nobody may."""
    assert DEADLOCKED == judge(run(f"{PATCHED}:none")).outcome


def test_a_bigger_reserve_without_the_series_is_no_help() -> None:
    """An ordinary caller stops at min, wherever that is."""
    assert DEADLOCKED == judge(run(UNPATCHED, scenario(machine__min_free_kbytes=4096))).outcome


def test_the_same_plan_gives_the_same_run_and_another_seed_another() -> None:
    """Nothing of a run depends on anything but its plan."""
    first, again, other = (judge(run(UNPATCHED, seed=seed)) for seed in (3, 3, 4))

    assert first == again
    assert first.requests != other.requests


def test_a_server_that_goes_away_is_no_hang() -> None:
    """Nobody gets anything done meanwhile, and all of it is done afterwards."""
    away = scenario(
        server__change=[{"at_seconds": 0.02, "up": False}, {"at_seconds": 30.0, "up": True}]
    )

    verdict = judge(run(PATCHED, away))

    assert (SURVIVED, True) == (verdict.outcome, verdict.all_work_done)
    assert verdict.seconds > 30


def test_lost_frames_are_sent_again() -> None:
    """Loss costs time and nothing else."""
    lossy = run(PATCHED, scenario(server__loss=0.02))

    assert (SURVIVED, True) == (judge(lossy).outcome, judge(lossy).all_work_done)
    assert lossy.connection.resent > 0


def test_swap_over_nfs_takes_the_same_way() -> None:
    """The twin of the device: RPC calls, whose writers wait for the answer."""
    nfs = scenario(swap__transport="nfs")

    hung, done = judge(run(UNPATCHED, nfs)), judge(run(PATCHED, nfs))

    assert (DEADLOCKED, SURVIVED) == (hung.outcome, done.outcome)
    assert any("written over NFS" in waiter.what for waiter in hung.waiters)


def test_what_runs_on_without_memory_makes_a_hang_and_no_deadlock() -> None:
    """Nothing is proven while somebody might still give something back."""
    busy = scenario(
        hung_seconds=20,
        load=[
            {"kind": "mappers", "per_cpu": 1, "memory_ratio": 0.01, "page_us": 500},
            {"kind": "mappers", "memory_ratio": 1.3, "passes": 1, "start_seconds": 5},
        ],
    )

    hang = run(UNPATCHED, busy).hang

    assert hang is not None
    assert not hang.is_deadlock
    assert HUNG == judge(run(UNPATCHED, busy)).outcome


def test_a_socket_that_frees_no_memory_drops_packets_of_the_reserve() -> None:
    """sk_filter(); only where the series marks packets at all."""
    flooded = scenario(
        duration_seconds=0.3,
        swap__send_buffer_kib=256,
        machine__min_free_kbytes=2048,
        load=[
            {"kind": "mappers", "per_cpu": 4, "memory_ratio": 2},
            {
                "kind": "udp_flood",
                "packets_per_second": 20000,
                "burst_packets": 600,
                "packet_bytes": 200,
                "receive_buffer_kib": 32768,
                "drain_ms": 500,
            },
        ],
    )

    whole, without = run(PATCHED, flooded), run(f"{PATCHED}:gfp-memalloc+swap-memalloc", flooded)

    assert whole.nic.dropped > 0
    assert 0 == without.nic.dropped


def test_what_a_load_asks_for_in_vain_is_refused_with_its_line() -> None:
    """Which caches there are depends on the kernel, so it is seen when the machine is built."""
    asks = scenario(load=[{"kind": "objects", "cache": "nothing", "per_second": 1}])

    with pytest.raises(ScenarioError, match=r"tiny: --set load\.0\.cache there is no such cache"):
        run(UNPATCHED, asks)


def test_processes_give_back_everything_they_had() -> None:
    """What is left at the end is what the card and the pools hold."""
    simulation = run(PATCHED)

    assert 0 == simulation.pages.resident
    assert 0 == simulation.swap.cache_pages
    assert [] == simulation.vm.spaces
