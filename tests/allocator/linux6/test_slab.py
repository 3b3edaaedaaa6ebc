"""What SLAB of Linux 6.1 does op by op, and what the PFMEMALLOC rule of 2016 does in it."""

from __future__ import annotations

from typing import Any

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
    THISNODE,
    Driver,
)

TYPESAFE_BY_RCU = 0x80000


def slab_driver(**options: int | bool) -> Driver:
    """A machine under SLAB."""
    return Driver("slab-v6.1", **options)  # type: ignore[arg-type]


def flags(driver: Driver, cache: int, node: int = 0) -> dict[str, list[int]]:
    """The flags of a node's slabs by list, head to tail."""
    state = driver.state(cache)["nodes"][node]
    return {name: [slab[2] for slab in state[name]] for name in ("full", "partial", "free")}


def test_every_way_to_an_object_has_its_outcome() -> None:
    """Growing, array hit, refill, another node's slabs and the fallback are told apart."""
    driver = slab_driver(nodes=2)
    cache = driver.cache(512)
    ways = []
    for node in (-1, -1, 1, 1):
        driver.obj(cache, node=node)
        ways.append(driver.result)
    driver.machine.cache_shrink(cache, 0)
    driver.obj(cache)
    ways.append(driver.result)
    driver.machine.cache_shrink(cache, 0)
    driver.only_reserve()
    for _ in range(7):
        driver.obj(cache, PLAIN, cpu=1)
    ways.append(driver.result)

    assert ["grow", "array_hit", "grow", "node", "refill", "fallback"] == [
        way.removeprefix("ok/") for way in ways
    ]
    driver.machine.verify()


def test_growing_for_an_entitled_caller_fills_the_array_with_the_reserve() -> None:
    """A plain caller gets what was left in the array: a leak."""
    driver = slab_driver()
    cache = driver.cache(256)
    driver.only_reserve()
    driver.reserve_obj(cache)

    driver.obj(cache, PLAIN)

    assert ("ok/array_hit", 1) == (driver.result, driver.answer.pfm)
    assert {"grow_fills_array": 1} == driver.leaks(cache)


@pytest.mark.parametrize(
    ("gfp", "ctx", "result"),
    [
        (PLAIN, 0, "denied/preserved"),
        (PLAIN | NOMEMALLOC, CTX_PF_MEMALLOC, "denied/preserved"),
        (GFP_NOIO, CTX_PF_MEMALLOC, "ok/reserve_slab"),
        (PLAIN | MEMALLOC, 0, "ok/reserve_slab"),
        (PLAIN, CTX_MEMDIE, "ok/reserve_slab"),
    ],
)
def test_a_refill_skips_flagged_slabs(gfp: int, ctx: int, result: str) -> None:
    """Only an entitled caller takes an object of one, past the array."""
    driver = slab_driver()
    cache = driver.cache(256)
    driver.only_reserve()
    handles = [driver.reserve_obj(cache) for _ in range(16)]
    driver.free(*handles[:4])

    driver.obj(cache, gfp, ctx=ctx)

    assert result == driver.result
    assert driver.state(cache)["cpus"][0]["avail"] == 0
    assert driver.leaks(cache) == {}


def test_an_object_freed_on_its_node_goes_back_to_its_flagged_slab() -> None:
    """It does not enter the array, so it is kept for entitled callers."""
    driver = slab_driver()
    cache = driver.cache(256)
    driver.only_reserve()
    handles = [driver.reserve_obj(cache) for _ in range(16)]

    driver.free(handles[3])

    assert driver.state(cache)["cpus"][0]["avail"] == 0
    assert flags(driver, cache)["partial"] == [1]
    assert driver.machine.stats().caches[cache].preserved_objects == 1


def test_the_flagged_slab_met_first_moves_to_the_end() -> None:
    """The next search finds an ordinary slab at once."""
    driver = slab_driver()
    cache = driver.cache(1024)
    plain = [driver.obj(cache) for _ in range(4)]
    driver.only_reserve()
    reserve = [driver.reserve_obj(cache) for _ in range(4)]
    driver.free(reserve[0])
    driver.machine.set_min_free_kbytes(512)
    driver.free(*plain)
    driver.machine.cache_shrink(cache, 0)
    driver.machine.verify()
    more = [driver.obj(cache) for _ in range(4)]
    driver.free(more[0], more[1])
    for _ in range(6):
        driver.machine.reap(0)
    assert flags(driver, cache)["partial"] == [1, 0]

    driver.only_reserve()
    driver.obj(cache, PLAIN)

    assert ("ok/refill", 0) == (driver.result, driver.answer.pfm)
    assert flags(driver, cache)["partial"] == [1]


def test_a_node_with_objects_enough_gives_up_the_flag() -> None:
    """Above free_limit the flagged slab that is met is simply un-flagged."""
    driver = slab_driver(cpus=1)
    cache = driver.cache(4096)
    limit = driver.geometry(cache)["free_limit"][0]
    driver.only_reserve()
    handles = [driver.reserve_obj(cache) for _ in range(limit + 2)]
    others = [driver.reserve_obj(cache) for _ in range(limit)]
    driver.free(*handles)
    assert driver.state(cache)["nodes"][0]["free_objects"] == limit
    driver.obj(cache, PLAIN)
    denied = driver.result
    # One object a slab: a grown slab that is not taken raises the count above the limit.
    n = driver.machine.objects.caches[cache].node[0]  # type: ignore[attr-defined]
    n.free_limit = limit - 1

    driver.obj(cache, PLAIN)

    assert ("denied/preserved", "ok/refill", 0) == (denied, driver.result, driver.answer.pfm)
    counters = driver.machine.stats().caches[cache].counters
    assert counters["unflagged"] >= 1
    assert len(others) == limit
    driver.machine.verify()


def test_alien_and_shared_arrays_carry_the_reserve() -> None:
    """Freed on another node, a reserve object comes back by the shared array: a leak."""
    driver = slab_driver(nodes=2)
    cache = driver.cache(512)
    driver.only_reserve()
    handles = [driver.reserve_obj(cache, cpu=1) for _ in range(8)]
    driver.free(*handles, cpu=0)
    assert len(driver.state(cache)["nodes"][0]["alien"][1]) == 8
    driver.machine.reap(0)
    assert len(driver.state(cache)["nodes"][1]["shared"]) == 8

    driver.obj(cache, PLAIN, cpu=1)
    driver.obj(cache, PLAIN, cpu=1)

    assert ("ok/array_hit", 1) == (driver.result, driver.answer.pfm)
    assert {"shared_array": 2} == driver.leaks(cache)
    driver.machine.verify()


def test_the_node_path_skips_flagged_slabs_even_for_the_entitled() -> None:
    """For another node the reserve's slab is left alone and another one is grown."""
    driver = slab_driver(nodes=2)
    cache = driver.cache(512)
    driver.only_reserve()
    driver.obj(cache, GFP_NOIO, node=1, ctx=CTX_PF_MEMALLOC)
    first = driver.answer.slab

    driver.obj(cache, GFP_NOIO, node=1, ctx=CTX_PF_MEMALLOC)

    assert ("ok/grow", 1) == (driver.result, driver.answer.pfm)
    assert first != driver.answer.slab


def test_without_memalloc_sockets_no_slab_is_flagged() -> None:
    """Nobody could use the reserve for good, so nobody is kept from it."""
    driver = slab_driver(memalloc_socks=False)
    cache = driver.cache(256)
    driver.only_reserve()
    handles = [driver.reserve_obj(cache) for _ in range(16)]
    driver.free(*handles[:4])

    driver.obj(cache, PLAIN)

    assert ("ok/array_hit", 0) == (driver.result, driver.answer.pfm)
    assert driver.machine.stats().caches[cache].pfmemalloc_slabs == 0


def test_a_build_without_numa_knows_no_other_way_than_the_array() -> None:
    """What the array refuses is refused; __GFP_NOFAIL is not handed on."""
    driver = slab_driver(numa=False)
    cache = driver.cache(256)
    driver.only_reserve()

    driver.obj(cache, GFP_KERNEL | NOFAIL)

    assert driver.result == "stalled/oom"
    assert driver.machine.stats().caches[cache].slabs == 0


def test_who_must_not_fail_has_slabs_grown_until_one_loses_its_flag() -> None:
    """fallback_alloc grows from the reserve, and the node path refuses what it grew."""
    driver = slab_driver()
    cache = driver.cache(1024)
    limit = driver.geometry(cache)["free_limit"][0]
    driver.only_reserve()

    driver.obj(cache, GFP_KERNEL | NOFAIL)

    assert ("ok/fallback", 0) == (driver.result, driver.answer.pfm)
    counters = driver.machine.stats().caches[cache].counters
    assert counters["grown"] * 4 > limit
    assert counters["unflagged"] == 1
    driver.machine.verify()


def test_a_node_only_request_has_no_fallback() -> None:
    """__GFP_THISNODE ends where its node's slabs and pages do."""
    driver = slab_driver(nodes=2, pages=2048)
    cache = driver.cache(4096)
    driver.obj(cache, PLAIN | THISNODE, node=1)
    while driver.result.startswith("ok"):
        driver.obj(cache, PLAIN | THISNODE, node=1)

    assert driver.result == "denied/growth_failed"
    driver.obj(cache, PLAIN, node=1)
    assert driver.result == "ok/fallback"


def test_off_slab_free_lists_are_objects_of_a_kmalloc_cache() -> None:
    """They come with a slab and go with it."""
    driver = slab_driver()
    cache = driver.cache(512, TYPESAFE_BY_RCU)
    lists = driver.machine.cache_number("kmalloc-32")
    assert driver.geometry(cache)["mgmt_cache"] == "kmalloc-32"
    handles = [driver.obj(cache) for _ in range(20)]
    inner = driver.machine.objects.inner_objects()

    assert [lists] * 3 == [number for number, _ in inner]
    driver.machine.verify()
    driver.free(*handles)
    assert driver.machine.cache_shrink(cache, 0) == 0
    assert driver.machine.objects.inner_objects() == []
    driver.machine.verify()


def test_a_slab_without_its_free_list_is_not_grown() -> None:
    """When the free list's object cannot be had, the slab's pages go back."""
    driver = slab_driver(numa=False)
    cache = driver.cache(512, TYPESAFE_BY_RCU)
    driver.machine.pages.fail_in = 2

    driver.obj(cache)

    assert driver.result == "denied/growth_failed"
    assert driver.machine.objects.slab_pages() == []
    driver.machine.verify()
    driver.machine.drain_all_pages(0)
    assert driver.machine.free_by_zone() == [10240]


def test_objects_that_go_past_the_arrays_are_not_counted_as_active() -> None:
    """The kernel's unsigned counter wraps; so does the one shown."""
    driver = slab_driver(nodes=2)
    cache = driver.cache(512)
    handle = driver.obj(cache, node=1)

    driver.free(handle, cpu=1)
    driver.machine.cache_shrink(cache, 0)

    assert driver.state(cache)["stats"]["active"] == (1 << 64) - 1


def test_too_many_free_slabs_go_from_the_tail() -> None:
    """free_block destroys what is above free_limit."""
    driver = slab_driver(cpus=1)
    cache = driver.cache(4096)
    limit = driver.geometry(cache)["free_limit"][0]
    handles = [driver.obj(cache) for _ in range(limit + 40)]

    driver.free(*handles)

    node = driver.state(cache)["nodes"][0]
    assert node["free_objects"] == limit
    assert node["free_slabs"] == node["total_slabs"] - len(node["full"])
    driver.machine.verify()


def test_verify_finds_an_object_in_two_places() -> None:
    """An array entry that is also free in its slab breaks an invariant."""
    driver = slab_driver()
    cache = driver.cache(512)
    driver.obj(cache)
    cachep = driver.machine.objects.caches[cache]  # type: ignore[attr-defined]

    cachep.array[0].entry[0] = cachep.array[0].entry[1]

    with pytest.raises(InvariantError, match="cpu 0's array"):
        driver.machine.verify()


def test_draining_an_empty_shared_array_touches_no_slab() -> None:
    """``drain_array_locked`` returns at once: free slabs wait for ``drain_freelist``.

    It shows on a node without cpus of its own, by the order in which the slabs go.
    """
    driver = slab_driver(nodes=3)
    cache = driver.cache(1024)
    node = driver.machine.objects.caches[cache].node[2]  # type: ignore[attr-defined]
    node.shared.limit = 0
    driver.free(*[driver.obj(cache, node=2) for _ in range(12)])
    for _ in range(2):
        driver.machine.reap(0)
    slabs = [slab[0] for slab in driver.state(cache)["nodes"][2]["free"]]
    assert 3 == len(slabs)
    node.free_limit = 0

    driver.machine.cache_shrink(cache, 0)

    zone: dict[str, Any] = driver.machine.state("L2")["zones"][2]  # type: ignore[index]
    freed = [pfn for pages in zone["pcp"][0]["lists"] for pfn in pages]
    assert slabs == [pfn for pfn in freed if pfn in slabs]
