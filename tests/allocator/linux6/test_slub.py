"""What SLUB of Linux 6.1 does op by op, and what is left of the PFMEMALLOC rule in it."""

from __future__ import annotations

import pytest

from allocator.events import CTX_MEMDIE, CTX_PF_MEMALLOC
from allocator.verify import InvariantError
from tests.allocator.linux6.driver import (
    GFP_KERNEL,
    GFP_NOIO,
    MEMALLOC,
    NOFAIL,
    NOMEMALLOC,
    PLAIN,
    Driver,
)


def fill(driver: Driver, cache: int, *, cpu: int = 0) -> list[int]:
    """Allocate one slab full, beginning with a new slab."""
    objects = int(driver.geometry(cache)["objs"])
    return [driver.obj(cache, cpu=cpu) for _ in range(objects)]


def test_every_way_to_an_object_has_its_outcome() -> None:
    """New slab, cpu freelist, cpu slab, cpu partial and node partial are told apart."""
    driver = Driver()
    cache = driver.cache(1024)
    ways = []
    first = fill(driver, cache)
    driver.obj(cache)
    ways.append(driver.result)
    driver.obj(cache)
    ways.append(driver.result)
    second = [driver.obj(cache) for _ in range(14)]
    driver.free(second[0], cpu=1)
    driver.obj(cache)
    ways.append(driver.result)
    driver.free(first[0])
    driver.obj(cache)
    ways.append(driver.result)
    driver.free(second[1])
    driver.machine.reap(0)
    driver.obj(cache)
    ways.append(driver.result)

    assert ["new_slab", "cpu_freelist", "cpu_slab", "cpu_partial", "node_partial"] == [
        way.removeprefix("ok/") for way in ways
    ]
    driver.machine.verify()


def test_the_fast_path_looks_at_no_flag() -> None:
    """Once an entitled caller has loaded a flagged slab, anybody on that cpu draws from it."""
    driver = Driver()
    cache = driver.cache(256)
    driver.only_reserve()
    driver.reserve_obj(cache)

    driver.obj(cache, PLAIN)

    assert ("ok/cpu_freelist", 1) == (driver.result, driver.answer.pfm)
    assert {"fast_path": 1} == driver.leaks(cache)


@pytest.mark.parametrize(
    ("gfp", "ctx", "result"),
    [
        (PLAIN, 0, "denied/preserved"),
        (PLAIN | NOMEMALLOC, CTX_PF_MEMALLOC, "denied/preserved"),
        (GFP_NOIO, CTX_PF_MEMALLOC, "ok/cpu_slab"),
        (PLAIN | MEMALLOC, 0, "ok/cpu_slab"),
        (PLAIN, CTX_MEMDIE, "ok/cpu_slab"),
    ],
)
def test_the_slow_path_is_strict_with_the_cpu_slab(gfp: int, ctx: int, result: str) -> None:
    """Objects freed into a flagged cpu slab by others are for entitled callers."""
    driver = Driver()
    cache = driver.cache(256)
    driver.only_reserve()
    handles = [driver.reserve_obj(cache) for _ in range(16)]
    driver.free(handles[0], cpu=1)

    driver.obj(cache, gfp, ctx=ctx)

    assert result == driver.result
    assert driver.leaks(cache) == {}


def test_a_refused_slab_goes_to_its_node_and_is_skipped_there() -> None:
    """Neither a cpu's partial slab nor a node's is given to a plain caller."""
    driver = Driver()
    cache = driver.cache(256)
    driver.only_reserve()
    handles = [driver.reserve_obj(cache) for _ in range(32)]
    driver.free(handles[0])
    assert len(driver.state(cache)["cpus"][0]["partial"]) == 1

    driver.obj(cache, PLAIN)
    first = driver.result
    driver.obj(cache, PLAIN)

    assert ("denied/preserved", "denied/preserved") == (first, driver.result)
    state = driver.state(cache)
    assert state["cpus"][0]["partial"] == []
    assert [slab[4] for slab in state["nodes"][0]["partial"]] == [1]
    assert driver.machine.stats().caches[cache].preserved_objects == 1
    driver.machine.verify()


def test_a_caller_who_must_not_fail_gets_one_object_of_a_new_reserve_slab() -> None:
    """The slab is not loaded: the next plain caller does not get at it."""
    driver = Driver()
    cache = driver.cache(256)
    driver.only_reserve()

    driver.obj(cache, GFP_KERNEL | NOFAIL)
    first = (driver.result, driver.answer.pfm)
    driver.obj(cache, PLAIN)

    assert (("ok/new_slab", 1), "denied/preserved") == (first, driver.result)
    assert {"nofail": 1} == driver.leaks(cache)
    assert driver.state(cache)["cpus"][0]["slab"] is None


def test_reserve_slabs_come_in_the_smallest_order() -> None:
    """The first attempt at the preferred order may not touch the reserve."""
    driver = Driver()
    cache = driver.cache(1024)
    assert driver.geometry(cache)["order"] == 2
    driver.only_reserve()

    driver.reserve_obj(cache)

    assert driver.state(cache)["cpus"][0]["slab"][2] == 4
    assert driver.state(cache)["stats"]["order_fallback"] == 1


def test_a_cpu_keeps_a_number_of_partial_slabs() -> None:
    """When its list is full all of it moves to the node, then the new one begins a list."""
    driver = Driver()
    cache = driver.cache(1024)
    assert driver.geometry(cache)["cpu_partial_slabs"] == 3
    slabs = [fill(driver, cache) for _ in range(6)]

    counts = []
    for handles in slabs[:5]:
        driver.free(handles[0])
        state = driver.state(cache)
        counts.append((len(state["cpus"][0]["partial"]), state["nodes"][0]["nr_partial"]))

    assert [(1, 0), (2, 0), (3, 0), (1, 3), (2, 3)] == counts
    assert driver.state(cache)["stats"]["cpu_partial_drain"] == 1
    driver.machine.verify()


def test_a_flush_puts_the_cpus_objects_before_those_freed_by_others() -> None:
    """deactivate_slab splices the cpu's free list, in its order, to the head of the slab's."""
    driver = Driver()
    cache = driver.cache(1024)
    handles = [driver.obj(cache) for _ in range(3)]
    driver.free(handles[0], cpu=1)

    driver.machine.reap(0)

    chain = driver.state(cache)["nodes"][0]["partial"][0][5]
    assert [*range(3, 16), 0] == chain


def test_a_shrink_sorts_the_fullest_slabs_to_the_front() -> None:
    """Empty slabs go, slabs with few free objects come first, ties the last found first."""
    driver = Driver()
    cache = driver.cache(1024)
    slabs = [fill(driver, cache) for _ in range(5)]
    for handles, free in zip(slabs, (2, 1, 2, 16, 3), strict=True):
        driver.free(*handles[:free])
    driver.machine.reap(0)
    before = driver.state(cache)["nodes"][0]["partial"]
    assert [13, 14, 15, 14] == [slab[1] for slab in before if slab[1]]

    assert driver.machine.cache_shrink(cache, 0) == 0

    after = driver.state(cache)["nodes"][0]["partial"]
    ties = [slab[0] for slab in before if slab[1] == 14]
    assert [15, 14, 14, 13] == [slab[1] for slab in after]
    assert list(reversed(ties)) == [slab[0] for slab in after if slab[1] == 14]
    assert len(driver.machine.objects.slab_pages()) == 4
    driver.machine.verify()


def test_another_nodes_slab_is_put_back() -> None:
    """A request for a node deactivates the cpu slab of another."""
    driver = Driver(nodes=2)
    cache = driver.cache(256)
    driver.obj(cache)

    driver.obj(cache, node=1)

    assert ("ok/new_slab", 1) == (
        driver.result,
        driver.machine.pages.page_zone(driver.answer.slab).nid,
    )
    assert driver.state(cache)["stats"]["alloc_node_mismatch"] == 1


def test_partial_slabs_of_other_nodes_are_used_only_when_there_are_many() -> None:
    """get_any_partial leaves a node its min_partial."""
    driver = Driver(nodes=2, pages=4096)
    cache = driver.cache(256)
    handles = [driver.obj(cache, cpu=1) for _ in range(16 * 8)]
    driver.free(*handles[::16], cpu=1)
    driver.machine.reap(1)
    assert driver.state(cache)["nodes"][1]["nr_partial"] == 8

    driver.obj(cache)

    assert driver.result == "ok/node_partial"
    assert driver.state(cache)["nodes"][1]["nr_partial"] < 8


def test_verify_finds_a_slab_that_is_frozen_on_a_node() -> None:
    """The checks are those of every SLUB."""
    driver = Driver()
    cache = driver.cache(256)
    driver.obj(cache)
    driver.machine.reap(0)
    table = driver.machine.objects.caches[cache].table  # type: ignore[attr-defined]
    page = driver.machine.objects.caches[cache].slabs()[0]  # type: ignore[attr-defined]

    table[page + 6] |= 1

    with pytest.raises(InvariantError, match="frozen"):
        driver.machine.verify()
