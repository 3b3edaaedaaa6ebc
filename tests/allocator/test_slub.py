"""What SLUB of Linux 3.x does op by op, and what the patch changes in it (rules U1 to U5)."""

from __future__ import annotations

from typing import Any

import pytest

from allocator.config import MachineConfig
from allocator.events import CTX_PF_MEMALLOC
from allocator.machine import Machine
from allocator.outcome import (
    DENIED_GROWTH,
    DENIED_PRESERVED,
    OBJ_CPU_FREELIST,
    OBJ_CPU_PARTIAL,
    OBJ_CPU_SLAB,
    OBJ_NEW_SLAB,
    OBJ_NODE_PARTIAL,
)
from allocator.revision import parse_variant
from allocator.verify import InvariantError

GFP_KERNEL = 0xD0
GFP_NOIO = 0x10
GFP_ATOMIC = 0x20
GFP_NORETRY = GFP_KERNEL | 0x1000
"""GFP_KERNEL|__GFP_NORETRY: denied rather than stalled."""
EVERYTHING_IS_RESERVE = 1 << 20
"""Kilobytes: min above the whole machine, so that only the entitled get pages."""

_VALUE_SHIFT = 16
"""Where the objp begins in a handle's value (allocator.machine)."""

ALL = ["slub-unpatched", "slub-seed", "slub-v3.6"]


class Driver:
    """A machine with one cache, objects known by small numbers."""

    def __init__(
        self,
        variant: str = "slub-seed",
        *,
        size: int = 1024,
        cpus: int = 2,
        nodes: int = 1,
        numa: bool = True,
        pages: int = 10240,
    ) -> None:
        """Order 0 slabs for ``size`` up to 256; ``cpus`` round-robin over the nodes."""
        config = MachineConfig(
            cpus=cpus,
            cpu_node=tuple(cpu % nodes for cpu in range(cpus)),
            nodes=tuple((node * pages, (node + 1) * pages) for node in range(nodes)),
            zone_end_pfn=(0, nodes * pages, nodes * pages),
            numa=numa,
            min_free_kbytes=512,
            kmalloc=False,
        )
        self.machine = Machine(config, parse_variant(variant))
        self.cache = self.machine.cache_create("c", size, 0, 0)
        self.objects = int(str(self.machine.geometry(self.cache)["objs"]))
        self._next = 1

    def alloc(
        self, cpu: int = 0, gfp: int = GFP_KERNEL, *, node: int = -1, reserve: bool = False
    ) -> int:
        """Allocate one object and return its handle; ``outcome`` tells how it went."""
        handle = self._next
        self._next += 1
        ctx = CTX_PF_MEMALLOC if reserve else 0
        self.outcome = self.machine.obj_alloc(handle, self.cache, gfp, cpu, node, ctx)
        return handle

    def fill(self, cpu: int = 0, *, node: int = -1, reserve: bool = False) -> list[int]:
        """Allocate one slab full, beginning with a new slab."""
        gfp = GFP_NOIO if reserve else GFP_KERNEL
        return [self.alloc(cpu, gfp, node=node, reserve=reserve) for _ in range(self.objects)]

    def free(self, *handles: int, cpu: int = 0) -> None:
        """Free objects on a cpu, in this order."""
        for handle in handles:
            self.machine.obj_free(handle, cpu)

    @property
    def state(self) -> dict[str, Any]:
        """The cache as the vectors' digests write it."""
        caches: Any = self.machine.state("L3")["caches"]
        found: dict[str, Any] = caches[0]
        return found

    @property
    def where(self) -> tuple[int, int]:
        """Slab and index of the object allocated last."""
        return self.machine.answer.slab, self.machine.answer.idx

    @property
    def held(self) -> list[int]:
        """The objps in callers' hands."""
        return [value >> _VALUE_SHIFT for _, value in self.machine.handles.pairs()]

    @property
    def stats(self) -> dict[str, int]:
        """SLUB's counters, zeros left out."""
        counters: dict[str, int] = self.state["stats"]
        return counters

    @property
    def leaks(self) -> dict[str, int]:
        """Reserve objects given to callers without entitlement, zeros left out."""
        leaks = self.machine.stats().caches[0].leaks
        return {how: count for how, count in leaks.items() if count}

    def reserve_only(self) -> None:
        """Raise min above all memory."""
        self.machine.set_min_free_kbytes(EVERYTHING_IS_RESERVE)


# Where an object comes from.


def test_the_fast_path_gives_the_object_freed_last() -> None:
    """The cpu's free list is a stack."""
    driver = Driver()
    driver.alloc()
    second = driver.alloc()
    driver.alloc()
    place = (driver.where[0], 1)

    driver.free(second)
    driver.alloc()

    assert (place, OBJ_CPU_FREELIST) == (driver.where, driver.outcome)


def test_every_way_to_an_object_has_its_outcome() -> None:
    """New slab, cpu freelist, cpu slab, cpu partial and node partial are told apart."""
    driver = Driver()
    first = driver.alloc()
    assert OBJ_NEW_SLAB == driver.outcome
    rest = [driver.alloc() for _ in range(driver.objects - 1)]
    assert OBJ_CPU_FREELIST == driver.outcome

    driver.free(first, cpu=1)
    driver.alloc()
    assert OBJ_CPU_SLAB == driver.outcome

    driver.alloc()
    assert OBJ_NEW_SLAB == driver.outcome
    driver.free(rest[0])
    assert 1 == len(driver.state["cpus"][0]["partial"])
    for _ in range(driver.objects - 1):
        driver.alloc()
    driver.alloc()
    assert OBJ_CPU_PARTIAL == driver.outcome

    driver.free(rest[1], cpu=1)
    driver.machine.reap(0)
    driver.alloc()
    assert OBJ_NODE_PARTIAL == driver.outcome


def test_a_full_slab_is_on_no_list_until_an_object_is_freed_into_it() -> None:
    """The first free freezes it onto the freeing cpu's partial list."""
    driver = Driver()
    handles = driver.fill()
    slab = driver.where[0]
    driver.fill()
    assert [] == driver.state["nodes"][0]["partial"]

    driver.free(handles[3], cpu=1)

    assert [[slab, driver.objects - 1, driver.objects, 1, 0, [3]]] == (
        driver.state["cpus"][1]["partial"]
    )


@pytest.mark.parametrize(("variant", "drains"), [("slub-seed", None), ("slub-v3.6", 1)])
def test_a_cpu_with_enough_partial_slabs_gives_them_all_to_their_nodes(
    variant: str, drains: int | None
) -> None:
    """Over cpu_partial free objects, the next slab starts a new list; 3.6 counts that."""
    driver = Driver(variant, size=4096)  # cpu_partial is 2
    slabs = [driver.fill() for _ in range(5)]

    for slab in slabs[:4]:
        driver.free(slab[0], cpu=1)

    assert 3 == driver.state["nodes"][0]["nr_partial"]
    assert 1 == driver.state["cpus"][1]["partial_pages"]
    assert drains == driver.stats.get("cpu_partial_drain")


@pytest.mark.parametrize(
    ("variant", "counted"),
    [
        ("slub-seed", {"cpu_partial_free": 4}),
        ("slub-v3.6", {"cpu_partial_free": 3, "cpu_partial_node": 1}),
    ],
)
def test_an_empty_handed_cpu_takes_partial_slabs_in_advance(
    variant: str, counted: dict[str, int]
) -> None:
    """From a node's list one slab is used at once, more go to the cpu's partial list."""
    driver = Driver(variant, size=2048)  # 16 objects a slab, cpu_partial is 6
    slabs = [driver.fill() for _ in range(4)]
    for slab in slabs[:3]:
        driver.free(*slab[:4], cpu=1)
    driver.machine.reap(1)
    assert 3 == driver.state["nodes"][0]["nr_partial"]

    driver.alloc()

    assert 1 == driver.state["nodes"][0]["nr_partial"]
    assert (1, 4) == (
        driver.state["cpus"][0]["partial_pages"],
        driver.state["cpus"][0]["partial_pobjects"],
    )
    assert counted == {k: v for k, v in driver.stats.items() if k in counted}


def test_a_deactivated_slab_goes_to_the_head_or_after_remote_frees_to_the_tail() -> None:
    """Objects that others freed make it wait longer: more may come."""
    driver = Driver(cpus=3)
    handles = [driver.alloc(cpu) for cpu in range(3)]
    slabs = [row["slab"][0] for row in driver.state["cpus"]]

    driver.machine.reap(0)
    driver.machine.reap(1)
    driver.free(handles[2], cpu=0)
    driver.machine.reap(2)

    assert [slabs[1], slabs[0], slabs[2]] == [row[0] for row in driver.state["nodes"][0]["partial"]]


def test_deactivation_turns_the_cpu_freelist_round() -> None:
    """The objects go back one by one, so the next cpu gets them in reverse order."""
    driver = Driver()
    driver.alloc()

    driver.machine.reap(0)

    chain = driver.state["nodes"][0]["partial"][0][5]
    assert list(range(driver.objects - 1, 0, -1)) == chain


@pytest.mark.parametrize(("variant", "kept"), [("slub-seed", 0), ("slub-v3.6", 1)])
def test_who_decides_whether_an_empty_partial_slab_is_freed(variant: str, kept: int) -> None:
    """3.3 frees the first empty slab of a cpu's list unasked, 3.6 asks its node."""
    driver = Driver(variant)
    handles = driver.fill()
    driver.fill()
    driver.free(*handles, cpu=1)

    driver.machine.reap(1)

    assert kept == driver.state["nodes"][0]["nr_partial"]
    driver.machine.verify()


def test_the_last_object_frees_a_slab_only_if_its_node_has_partial_slabs_enough() -> None:
    """Up to min_partial slabs stay with their node even when empty."""
    driver = Driver()
    keep = [driver.fill() for _ in range(8)]
    for slab in keep[:7]:
        driver.free(slab[0], cpu=1)
        driver.machine.reap(1)
    assert 7 == driver.state["nodes"][0]["nr_partial"]

    for slab in keep[:7]:
        driver.free(*slab[1:], cpu=1)

    assert 5 == driver.state["nodes"][0]["nr_partial"]
    assert (2, 2) == (driver.stats["free_slab"], driver.stats["free_remove_partial"])
    driver.machine.verify()


def test_shrink_sorts_by_objects_in_use_and_frees_empty_slabs_uncounted() -> None:
    """Fullest first; slabs equally full change places; FREE_SLAB does not count these."""
    driver = Driver()
    slabs = [driver.fill() for _ in range(5)]
    places = [driver.machine.objects.slab_pages()[i][0] for i in range(5)]
    for number, slab in enumerate(slabs[:4]):
        driver.free(*slab[: (2, 1, 2, driver.objects)[number]], cpu=1)
        driver.machine.reap(1)
    before = driver.stats.get("free_slab", 0)

    assert 0 == driver.machine.cache_shrink(driver.cache, 0)

    order = [row[0] for row in driver.state["nodes"][0]["partial"]]
    assert [places[1], places[2], places[0]] == order
    assert before == driver.stats.get("free_slab", 0)
    driver.machine.verify()


def test_without_large_blocks_a_slab_takes_the_smallest_order() -> None:
    """Memory free in single pages only: slabs of the minimum order, counted as fallback."""
    driver = Driver(size=2048, pages=2048)
    machine = driver.machine
    pages = range(1000, 1000 + machine.free_by_zone()[0])
    held = []
    for handle in pages:
        machine.page_alloc(handle, 0, GFP_NORETRY | 0x20, 0, -1, CTX_PF_MEMALLOC)
        if machine.answer.pfn >= 0:
            held.append((machine.answer.pfn, handle))
            machine.answer.pfn = -1
    for pfn, handle in held:
        if pfn % 2:
            machine.page_free(handle, 0, cold=False)
    machine.drain_all_pages(0)

    handle = driver.alloc()

    assert OBJ_NEW_SLAB == driver.outcome
    assert 1 == driver.stats["order_fallback"]
    assert [2, 2] == driver.state["cpus"][0]["slab"][1:3]
    driver.free(handle, cpu=1)
    machine.verify()


# Nodes.


def test_a_cpu_slab_of_another_node_than_asked_for_is_put_away() -> None:
    """node_match: kmem_cache_alloc_node gets its node."""
    driver = Driver(nodes=2)
    driver.alloc(0)

    driver.alloc(0, node=1)

    assert 10240 <= driver.where[0]
    assert 1 == driver.stats["alloc_node_mismatch"]
    assert [1, 0] == [node["nr_partial"] for node in driver.state["nodes"]]


def test_without_numa_the_node_means_nothing() -> None:
    """kmem_cache_alloc_node is kmem_cache_alloc in a UMA build."""
    driver = Driver(numa=False)
    driver.alloc(0)

    driver.alloc(0, node=0)

    assert OBJ_CPU_FREELIST == driver.outcome
    assert None is driver.stats.get("alloc_node_mismatch")


@pytest.mark.parametrize(("spare", "remote"), [(5, False), (6, True)])
def test_a_remote_node_gives_slabs_it_has_in_plenty(spare: int, remote: bool) -> None:
    """get_any_partial takes from another node only beyond its min_partial slabs."""
    driver = Driver(nodes=2)
    for slab in [driver.fill(1) for _ in range(spare)]:
        driver.free(slab[0], cpu=1)
    driver.machine.reap(1)
    assert [0, spare] == [node["nr_partial"] for node in driver.state["nodes"]]

    driver.alloc(0)

    assert remote == (driver.where[0] >= 10240)
    assert (OBJ_NODE_PARTIAL if remote else OBJ_NEW_SLAB) == driver.outcome


def test_who_asks_for_a_node_gets_no_slab_of_another() -> None:
    """get_any_partial is for callers who named no node, not even for node 0."""
    driver = Driver(nodes=2)
    for slab in [driver.fill(1) for _ in range(6)]:
        driver.free(slab[0], cpu=1)
    driver.machine.reap(1)

    driver.alloc(0, node=0)

    assert OBJ_NEW_SLAB == driver.outcome


# The patch.


@pytest.mark.parametrize(
    ("variant", "flag"), [("slub-unpatched", 0), ("slub-seed", 1), ("slub-v3.6", 1)]
)
def test_u1_u2_a_slab_of_reserve_pages_is_flagged_until_it_is_freed(
    variant: str, flag: int
) -> None:
    """The flag comes with the slab's pages and goes with them."""
    driver = Driver(variant)
    driver.reserve_only()

    handle = driver.alloc(gfp=GFP_NOIO, reserve=True)

    assert flag == driver.machine.answer.pfm
    assert flag == driver.machine.stats().caches[0].pfmemalloc_slabs
    driver.free(handle)
    driver.machine.cache_shrink(driver.cache, 0)
    assert 0 == driver.machine.stats().caches[0].pfmemalloc_slabs
    driver.machine.set_min_free_kbytes(512)
    driver.alloc()
    assert 0 == driver.machine.answer.pfm
    driver.machine.verify()


def test_u3_u4_the_seed_takes_the_refused_slab_straight_back() -> None:
    """A plain caller's mismatch costs a deactivation and reverses the free list; that is all."""
    driver = Driver("slub-seed")
    driver.reserve_only()
    driver.alloc(gfp=GFP_NOIO, reserve=True)
    slab = driver.where[0]

    driver.alloc(gfp=GFP_NORETRY)

    assert ((slab, driver.objects - 1), OBJ_NODE_PARTIAL) == (driver.where, driver.outcome)
    assert {"same_slab_again": 1} == driver.leaks
    assert 1 == driver.machine.stats().caches[0].counters["pfmemalloc_mismatch"]


def test_u4_the_seed_gives_away_flagged_slabs_of_a_node_unseen() -> None:
    """A flagged slab waiting on the node's list serves the first plain caller who comes."""
    driver = Driver("slub-seed")
    driver.reserve_only()
    driver.alloc(0, GFP_NOIO, reserve=True)
    driver.machine.reap(0)

    driver.alloc(1, GFP_NORETRY)

    assert OBJ_NODE_PARTIAL == driver.outcome
    assert {"partial_slab": 1} == driver.leaks


def test_u5_the_seed_looks_in_the_fast_path_and_lets_the_entitled_pass() -> None:
    """PF_MEMALLOC callers use a flagged cpu slab's free list as ever."""
    driver = Driver("slub-seed")
    driver.reserve_only()
    driver.alloc(gfp=GFP_NOIO, reserve=True)

    driver.alloc(gfp=GFP_NOIO, reserve=True)

    assert (OBJ_CPU_FREELIST, {}) == (driver.outcome, driver.leaks)


def test_v36_the_fast_path_does_not_look() -> None:
    """A plain caller drains the flagged cpu slab; only then is it refused."""
    driver = Driver("slub-v3.6")
    driver.reserve_only()
    driver.alloc(gfp=GFP_NOIO, reserve=True)

    for _ in range(driver.objects - 1):
        driver.alloc(gfp=GFP_NORETRY)
        assert OBJ_CPU_FREELIST == driver.outcome
    driver.alloc(gfp=GFP_NORETRY)

    assert DENIED_GROWTH == driver.outcome
    assert {"fast_path": driver.objects - 1} == driver.leaks


def test_v36_flagged_slabs_of_a_node_are_passed_over() -> None:
    """get_partial_node takes the first slab that matches, and keeps the reserve for others."""
    driver = Driver("slub-v3.6", cpus=3)
    plain = driver.alloc(1)
    plain_slab = driver.where[0]
    driver.machine.reap(1)
    driver.reserve_only()
    # From cpu 2, so that the plain slab is not taken for it.
    driver.machine.obj_alloc(900, driver.cache, GFP_NOIO, 2, -1, CTX_PF_MEMALLOC)
    assert plain_slab == driver.where[0]
    for handle in range(901, 901 + driver.objects):
        driver.machine.obj_alloc(handle, driver.cache, GFP_NOIO, 2, -1, CTX_PF_MEMALLOC)
    flagged_slab = driver.where[0]
    driver.free(plain, cpu=0)
    driver.machine.reap(0)
    driver.machine.reap(2)
    assert [flagged_slab, plain_slab] == [row[0] for row in driver.state["nodes"][0]["partial"]]

    driver.alloc(0, GFP_NORETRY)
    assert (plain_slab, OBJ_NODE_PARTIAL) == (driver.where[0], driver.outcome)
    driver.alloc(1, GFP_NORETRY)
    assert DENIED_PRESERVED == driver.outcome
    assert {} == driver.leaks
    driver.alloc(1, GFP_NOIO, reserve=True)
    assert (flagged_slab, OBJ_NODE_PARTIAL) == (driver.where[0], driver.outcome)


@pytest.mark.parametrize("variant", ALL)
def test_a_denial_with_no_reserve_slab_in_the_way_is_one_of_growth(variant: str) -> None:
    """Nothing was preserved: there just were no pages."""
    driver = Driver(variant)
    driver.reserve_only()

    driver.alloc(gfp=GFP_ATOMIC)

    assert DENIED_GROWTH == driver.outcome


def test_reserve_objects_held_and_preserved_add_up() -> None:
    """Objects in callers' hands are held, all others of flagged slabs are preserved."""
    driver = Driver("slub-seed")
    driver.reserve_only()
    handles = [driver.alloc(gfp=GFP_NOIO, reserve=True) for _ in range(3)]
    driver.free(handles[0], cpu=1)

    cache = driver.machine.stats().caches[0]

    assert (2, driver.objects - 2) == (cache.pfmemalloc_objects, cache.preserved_objects)


# The model's check on itself.


@pytest.mark.parametrize("variant", ALL)
def test_verify_sees_an_object_in_two_hands(variant: str) -> None:
    """An object that two callers hold is found."""
    driver = Driver(variant)
    driver.alloc()

    with pytest.raises(InvariantError, match="is in use and in use"):
        driver.machine.objects.verify([driver.held * 2])


def test_verify_sees_an_object_in_use_that_is_free_too() -> None:
    """An object that a caller holds while it lies on the cpu's free list is found."""
    driver = Driver()
    handle = driver.alloc()
    held = driver.held
    driver.free(handle)

    with pytest.raises(InvariantError, match="is in use and on a cpu's freelist"):
        driver.machine.objects.verify([held])


def test_verify_sees_an_object_in_no_hands() -> None:
    """An object that was given out and is held by nobody is found."""
    driver = Driver()
    driver.alloc()

    with pytest.raises(InvariantError, match="objects are somewhere"):
        driver.machine.objects.verify([[]])
