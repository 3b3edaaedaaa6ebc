"""What was in use before the trace, and the handles that stand for it."""

from __future__ import annotations

from collections import Counter

from allocator.config import CacheSpec
from allocator.events import KMALLOC, MARK, MIN_FREE, OBJ_ALLOC, PAGE_ALLOC
from allocator.gfp import FLAVOURS
from tracegen.batch import rows
from tracegen.kernel_trace.cache_names import CacheTable
from tracegen.kernel_trace.population import (
    MAX_POOL_OBJECTS,
    Demand,
    Plan,
    Population,
    ZoneUse,
    plan_unread,
)
from tracegen.kernel_trace.slab_pages import SlabPages

DMA = ZoneUse(0, 0, 1, 4096, 3840, 300)
DMA32 = ZoneUse(0, 1, 4096, 80000, 64000, 600)
ZONES = (DMA, DMA32)
BITS = FLAVOURS["v6.1"]


def population(plan: Plan, zones: tuple[ZoneUse, ...] = ZONES) -> Population:
    """A population of that plan, on a machine with one cache."""
    return Population(
        plan, zones, CacheTable([CacheSpec(0, "things", 512)]), SlabPages("v6.1", cpus=2)
    )


def prelude(made: Population) -> list[tuple[int, ...]]:
    """Its events: op, ts_ns, handle, gfp, arg, cpu, node, ctx."""
    return list(rows(b"".join(made.prelude(77, "v6.1", 2048))))


def zone_pages(events: list[tuple[int, ...]]) -> Counter[str]:
    """Pages that the events take, by zone."""
    pages: Counter[str] = Counter()
    for op, _, _, gfp, order, *_ in events:
        if op == PAGE_ALLOC:
            pages["DMA" if gfp & BITS["__GFP_DMA"] else "DMA32"] += 1 << order
    return pages


def test_the_prelude_leaves_as_many_pages_free_as_were() -> None:
    """Pages that the model's slab allocator takes for the objects are left out."""
    made = population(Plan(objects={"things": 100}, pages={(0, 0): 7, (1, 0): 50, (1, 3): 4}))
    events = prelude(made)

    # 100 objects of 512 bytes are 7 slabs of 16 in two pages each.
    assert {"DMA": 3840 - 300, "DMA32": 64000 - 600 - 14} == zone_pages(events)
    assert 100 == sum(1 for event in events if event[0] == OBJ_ALLOC)
    movable = [
        event[4] for event in events if event[0] == PAGE_ALLOC and event[3] & BITS["__GFP_MOVABLE"]
    ]
    assert {0: 57, 3: 4} == Counter(movable)


def test_the_prelude_runs_below_the_watermarks_and_sets_them_right_behind_it() -> None:
    """So it can fill a zone down to what was free, and denies nothing on the way."""
    events = prelude(population(Plan()))

    assert (MIN_FREE, 128) == (events[0][0], events[0][4])
    assert (MIN_FREE, 2048) == (events[-2][0], events[-2][4])
    assert MARK == events[-1][0]
    assert {77} == {event[1] for event in events}
    handles = [event[2] for event in events if event[2]]
    assert len(set(handles)) == len(handles)


def test_handles_are_taken_one_by_one_and_run_out() -> None:
    """A pool that is empty gives 0, which is no handle."""
    made = population(
        Plan(
            objects={"things": 2, "unknown": 5},
            kmallocs={64: 1},
            sites={"k": 64},
            pages={(0, 0): 1},
        )
    )
    by_handle = {event[2]: event for event in prelude(made)}

    objects = [made.take_object("things", "a") for _ in range(3)]
    assert [OBJ_ALLOC, OBJ_ALLOC] == [by_handle[handle][0] for handle in objects[:2]]
    assert 0 == objects[2]
    assert 0 == made.take_object("unknown", "a")
    small = by_handle[made.take_kmalloc("k")]
    assert (KMALLOC, 64) == (small[0], small[4])
    assert [0, 0] == [made.take_kmalloc("k"), made.take_kmalloc("elsewhere")]
    (page,) = made.take_pages(0x100, 0)
    assert by_handle[page][3] & BITS["__GFP_DMA"]
    assert () == made.take_pages(0x100, 0)
    assert () == made.take_pages(0x10000, 0)


def test_a_block_may_be_made_of_single_pages() -> None:
    """A pipe's prelude has only those."""
    made = population(Plan(pages={(1, 0): 9}))

    assert 8 == len(set(made.take_pages(0x10000, 3)))
    assert () == made.take_pages(0x10000, 1)
    assert 1 == len(made.take_pages(0x10000, 0))


def test_what_compaction_moved_is_taken_first() -> None:
    """It lies at an address that nobody has seen."""
    made = population(Plan(pages={(1, 0): 9}))
    made.keep_moved(0, 4711)

    assert [4711] == list(made.take_pages(0x10000, 0))
    assert [4711] != list(made.take_pages(0x10000, 0))


def test_a_slabs_page_is_the_models_own_while_it_has_the_objects() -> None:
    """The model gives the page back itself when the objects are freed."""
    made = population(Plan(objects={"things": 1}, pages={(1, 0): 1}))

    assert made.take_slab_page("things", 0x10000, 0) is None
    assert 1 == len(made.take_slab_page("bulky", 0x10000, 0) or ())


def test_demand_becomes_the_plan() -> None:
    """Exactly what a first reading asked for."""
    demand = Demand(ZONES)
    for ptr in ("a", "b"):
        demand.take_object("things", ptr)
    for _ in range(3):
        demand.take_pages(0x100, 0)
    demand.keep_moved(0, 0)
    demand.take_pages(0x10000, 0)
    demand.take_pages(0x10000, 2)
    for size in (64, 128, 128):
        demand.kfreed("k", size)
    demand.take_kmalloc("k")
    demand.take_kmalloc("nothing is known of it")
    demand.take_slab_page("things", 0x10000, 1)
    demand.take_slab_page("bulky", 0x10000, 0)

    plan = demand.plan()

    assert {"things": 2} == plan.objects
    assert {128: 1} == plan.kmallocs
    # Of four single pages one was moved there; the bulky cache's slab is a page to the model.
    assert {(0, 0): 3, (1, 2): 1, (1, 0): 1} == plan.pages


def test_an_address_freed_twice_gives_bulk_allocation_away() -> None:
    """Its cache's objects come unseen, so none of its frees can be held to be older."""
    demand = Demand(ZONES)
    before = demand.is_bulk("skbs")
    for ptr in ("a", "b", "a"):
        demand.take_object("skbs", ptr)

    plan = demand.plan()

    assert (False, {"skbs"}, {}) == (before, plan.bulk, plan.objects)
    assert population(plan).is_bulk("skbs")


def test_a_pipes_plan_is_bounded() -> None:
    """Objects as slabinfo counts them, but not more than so many; pages one by one."""
    plan = plan_unread(ZONES, {"things": 5, "dentry": 28056, "none": 0}, {64: 40000})

    assert {"things": 5, "dentry": MAX_POOL_OBJECTS} == plan.objects
    assert {64: MAX_POOL_OBJECTS} == plan.kmallocs
    assert {(0, 0): 3540, (1, 0): 63400} == plan.pages


def test_a_pipes_population_learns() -> None:
    """Which caches are bulk-allocated, and what size a call site frees."""
    made = population(Plan(kmallocs={64: 1}, learns=True))
    for ptr in ("a", "a"):
        made.take_object("skbs", ptr)
    made.kfreed("k", 64)

    assert made.is_bulk("skbs")
    assert 0 < made.take_kmalloc("k")


def test_without_knowing_what_was_free_only_what_is_freed_later_is_allocated() -> None:
    """The machine is then mostly empty."""
    zones = (ZoneUse(0, 0, 0, 4096, 4096, None),)
    events = prelude(population(Plan(pages={(0, 0): 3, (0, 2): 1}), zones))

    assert {"DMA": 7} == zone_pages(events)
