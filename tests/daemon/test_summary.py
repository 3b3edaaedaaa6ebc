"""The summary adds up: /state and ``pfmemd run`` say the same of one machine."""

from __future__ import annotations

import json

from allocator.revision import parse_variant
from daemon.state import state_of
from daemon.summary import BUSIEST, summarize
from tests.daemon.fakes import (
    CONFIG,
    HEADER,
    FakeMachine,
    allocations,
    events_batch,
    fake_cache,
    header_batch,
    mark,
    new_engine,
    offer,
)

MACHINE = FakeMachine(CONFIG, parse_variant("slab-seed"), HEADER.caches)


def test_results_add_up_to_allocations() -> None:
    """ok, denied and stalled are the parts of allocations, in total and by caller."""
    summary = summarize(MACHINE.stats())

    assert (24, 8, 7, 9) == tuple(
        summary[key] for key in ("allocations", "ok", "denied", "stalled")
    )
    assert summary["by_caller"] == {
        "plain": {"ok": 0, "denied": 7, "stalled": 0},
        "pf_memalloc": {"ok": 8, "denied": 0, "stalled": 9},
    }
    assert summary["denied_by_reason"] == {"preserved": 7}
    assert summary["stalled_by_reason"] == {"reclaim": 9}


def test_leaks_are_those_of_all_caches() -> None:
    """Leaks add up over the caches, by cause."""
    assert summarize(MACHINE.stats())["leaks"] == {"node_path": 8}


def test_busiest_caches_come_first_and_are_bounded() -> None:
    """A machine may have a thousand caches: the busiest are listed."""
    stats = MACHINE.stats()
    stats.caches = [fake_cache(f"cache-{n:02}", n) for n in range(BUSIEST + 10)]

    names = [cache["name"] for cache in summarize(stats)["caches"]]

    assert names == [f"cache-{n:02}" for n in range(BUSIEST + 9, 9, -1)]


def test_state_is_json_by_source_and_variant() -> None:
    """/state has what others rely on, under the names they rely on."""
    engine = new_engine()
    offer(engine, header_batch("host-a", epoch=9))
    offer(engine, events_batch(2, allocations(10) + mark(0), source="host-a", epoch=9))

    state = json.loads(json.dumps(state_of(engine.read(digest=True), "1.2.3", None)))

    assert state["ready"] is True
    source = state["sources"]["host-a"]
    assert (9, 2, 11, "outage") == tuple(source[k] for k in ("epoch", "seq", "events", "phase"))
    variant = source["variants"]["slub-seed"]
    assert (35, 7, 9, True) == tuple(
        variant[k] for k in ("allocations", "denied", "stalled", "pfmemalloc_active")
    )
    assert len(variant["digest"]) == 64
    (zone,) = variant["zones"]
    assert {"node": 0, "zone": "Normal", "free": 9989, "min": 100, "low": 125, "high": 150} == {
        key: zone[key] for key in ("node", "zone", "free", "min", "low", "high")
    }
    assert zone["lowest_free"] == 9989
