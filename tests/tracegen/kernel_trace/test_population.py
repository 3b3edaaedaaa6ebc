"""What was in use before the trace, and the handles that stand for it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from allocator.config import CacheSpec
from allocator.events import KMALLOC, MARK, MIN_FREE, OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC, PAGE_FREE
from allocator.gfp import FLAVOURS
from tracegen.batch import rows
from tracegen.kernel_trace.cache_names import CacheTable
from tracegen.kernel_trace.kernel_event import Key
from tracegen.kernel_trace.older import NOT_IN_PRELUDE, STRAY, Plan, ZoneUse
from tracegen.kernel_trace.outbox import Outbox
from tracegen.kernel_trace.population import (
    MAX_POOL_OBJECTS,
    MAX_SPARE_SLOTS,
    Population,
    plan_spare,
    plan_unread,
)
from tracegen.kernel_trace.proc import CacheUse
from tracegen.kernel_trace.report import BULK, OLDER, SLAB_INTERNAL, Report
from tracegen.kernel_trace.slab_pages import SlabPages

DMA = ZoneUse(0, 0, 1, 4096, 3840, 300)
DMA32 = ZoneUse(0, 1, 4096, 80000, 64000, 600)
ZONES = (DMA, DMA32)
BITS = FLAVOURS["v6.1"]
KIND = 3
"""Under which the frees of these tests are counted."""


def population(plan: Plan, zones: tuple[ZoneUse, ...] = ZONES) -> Population:
    """A population of that plan, on a machine with one cache."""
    caches = CacheTable([CacheSpec(0, "things", 512)])
    return Population(Report(), plan, zones, caches, SlabPages(2), 2)


def prelude(made: Population) -> list[tuple[int, ...]]:
    """Its events: op, ts_ns, handle, gfp, arg, cpu, node, ctx."""
    pieces: list[bytes] = []
    outbox = Outbox(pieces.append)
    made.prelude(outbox, 77, 2048)
    outbox.flush()
    return list(rows(b"".join(pieces)))


def zone_pages(events: list[tuple[int, ...]]) -> Counter[str]:
    """Pages that the events take and do not give back, by zone."""
    given_back = {event[2] for event in events if event[0] == PAGE_FREE}
    pages: Counter[str] = Counter()
    for op, _, handle, gfp, order, *_ in events:
        if op == PAGE_ALLOC and handle not in given_back:
            pages["DMA" if gfp & BITS["__GFP_DMA"] else "DMA32"] += 1 << order
    return pages


def counted(made: Population) -> dict[str, int]:
    """The categories of what was asked."""
    return {name: n for name, n in made.report.by_category().items() if n}


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

    assert [128, 2048] == [event[4] for event in events if event[0] == MIN_FREE]
    assert [MIN_FREE, MARK] == [event[0] for event in events[-2:]]
    assert {77} == {event[1] for event in events}
    handles = [event[2] for event in events if event[2]]
    assert len(set(handles)) == len(handles)


def test_the_prelude_takes_back_what_boosts_its_watermarks() -> None:
    """Movable pages among unmovable ones boost them, from Linux 5.0 on: they are set again."""
    events = prelude(population(Plan(pages={(1, 0): 5000})))

    lowest = [at for at, row in enumerate(events) if (row[0], row[4]) == (MIN_FREE, 128)]
    assert (1 + 2048 // 4, {5}) == (
        *(len(lowest), {one - other for one, other in pairwise(reversed(lowest[1:]))}),
    )


def test_pages_of_the_per_cpu_lists_are_neither_in_use_nor_free() -> None:
    """They are freed behind the watermarks, which say how many such a list holds."""
    zones = (DMA, ZoneUse(0, 1, 4096, 80000, 64000, 600, pcp=40))
    events = prelude(population(Plan(), zones))

    set_right = [(row[0], row[4]) for row in events].index((MIN_FREE, 2048))
    assert 64000 - 600 - 40 == zone_pages(events)["DMA32"]
    assert [PAGE_FREE] * 40 + [MARK] == [row[0] for row in events[set_right + 1 :]]
    assert {0: 20, 1: 20} == Counter(row[5] for row in events if row[0] == PAGE_FREE)


def test_slabs_may_begin_half_empty() -> None:
    """Every second object is freed at once; the slabs' pages are accounted for."""
    plan = Plan(spare_objects={"things": 8, "unknown": 5}, spare_kmallocs={64: 32})
    events = prelude(population(plan))

    # 16 objects of 512 bytes are a slab of two pages, 64 of 64 bytes one of one page.
    assert 64000 - 600 - 3 == zone_pages(events)["DMA32"]
    assert {OBJ_ALLOC: 16, KMALLOC: 64, OBJ_FREE: 8 + 32} == Counter(
        row[0] for row in events if row[0] in {OBJ_ALLOC, KMALLOC, OBJ_FREE}
    )


def test_handles_are_taken_one_by_one_and_run_out() -> None:
    """A pool that is empty gives 0, which is no handle."""
    made = population(
        Plan(
            objects={"things": 2, "unknown": 5},
            kmallocs={64: 1},
            sites={"k": ("", 64), "t": ("things", 0)},
            pages={(0, 0): 1},
        )
    )
    by_handle = {event[2]: event for event in prelude(made)}

    objects = [
        made.object(KIND, "things", "s", 1),
        made.object(KIND, "", "t", 2),
        made.object(KIND, "things", "s", 3),
    ]
    assert [OBJ_ALLOC, OBJ_ALLOC] == [by_handle[handle][0] for handle in objects[:2]]
    assert 0 == objects[2]
    assert 0 == made.object(KIND, "unknown", "s", 4)
    small = by_handle[made.kmalloc(KIND, "k", 0x101, of_slab=False)]
    assert (KMALLOC, 64) == (small[0], small[4])
    assert 0 == made.kmalloc(KIND, "k", 0x102, of_slab=False)
    assert 0 == made.kmalloc(KIND, "elsewhere", 0x103, of_slab=True)
    (page,) = made.pages(KIND, 0x100, 0)
    assert by_handle[page][3] & BITS["__GFP_DMA"]
    assert () == made.pages(KIND, 0x100, 0)
    assert () == made.pages(KIND, 0x10000, 0)
    counts = made.report.of(KIND)
    assert (9, 1) == (counts[OLDER], counts[SLAB_INTERNAL])
    assert {NOT_IN_PRELUDE: 5} == made.report.left_out


def test_a_block_may_be_made_of_single_pages() -> None:
    """A live trace's prelude has only those."""
    made = population(Plan(pages={(1, 0): 9}))

    assert 8 == len(set(made.pages(KIND, 0x10000, 3)))
    assert () == made.pages(KIND, 0x10000, 1)
    assert 1 == len(made.pages(KIND, 0x10000, 0))


def test_what_compaction_moved_is_taken_first() -> None:
    """It lies at an address that nobody has seen."""
    made = population(Plan(pages={(1, 0): 9}))
    made.keep_moved(0, 4711)

    assert (4711,) == made.pages(KIND, 0x10000, 0)
    assert (4711,) != made.pages(KIND, 0x10000, 0)


def test_a_slabs_page_is_the_models_own_while_it_has_the_objects() -> None:
    """The model gives the page back itself when the objects are freed."""
    made = population(Plan(objects={"things": 1}, pages={(1, 0): 1}))

    assert () == made.slab_page(KIND, "things", 0x10000, 0)
    assert 1 == len(made.slab_page(KIND, "bulky", 0x10000, 0))
    assert {"slab_internal": 1, "older_than_trace": 1} == counted(made)


def test_a_live_plan_is_bounded() -> None:
    """Objects as slabinfo counts them, but not more than so many; pages one by one."""
    uses = {
        "things": CacheUse(512, 5, 16, 1, 16, 2, 52),
        "dentry": CacheUse(192, 28056, 28056, 1336, 21, 1, 120),
        "none": CacheUse(512, 0, 0, 0, 16, 2, 52),
    }
    plan = plan_unread(ZONES, uses, {64: CacheUse(64, 40000, 40000, 625, 64, 1, 120)})

    assert {"things": 5, "dentry": MAX_POOL_OBJECTS} == plan.objects
    assert {64: MAX_POOL_OBJECTS} == plan.kmallocs
    assert {(0, 0): 3540, (1, 0): 63400} == plan.pages


def test_slabs_are_half_empty_as_far_as_cpus_hold_slots_back() -> None:
    """Half of what fits into cpu slabs and partial lists, and no more than is in use."""
    plan = Plan()
    plan_spare(
        plan,
        {
            "few": CacheUse(512, 5, 16, 1, 16, 2, 52),
            "many": CacheUse(192, 28056, 28056, 1336, 21, 1, 120),
            "none": CacheUse(512, 0, 0, 0, 16, 2, 52),
        },
        {64: CacheUse(64, 40000, 40000, 625, 64, 1, 120)},
        256,
    )

    assert {"few": 5, "many": MAX_SPARE_SLOTS} == plan.spare_objects
    plan_spare(plan, {"many": CacheUse(192, 28056, 28056, 1336, 21, 1, 120)}, {}, 2)
    assert {"many": 2 * (21 + 120) // 4} == plan.spare_objects


def test_a_live_population_learns() -> None:
    """Which caches are bulk-allocated, and what a call site frees."""
    made = population(Plan(objects={"things": 1}, kmallocs={64: 1}, learns=True))
    for ptr in (1, 1):
        made.object(KIND, "skbs", "s", ptr)
    small, thing = Key(0, "k", 60, 64, ""), Key(1, "t", 512, 512, "")
    small.op, thing.op = KMALLOC, OBJ_ALLOC
    made.freed("k", small)
    made.freed("t", thing)

    assert 0 < made.kmalloc(KIND, "k", 0x104, of_slab=False)
    assert 0 < made.object(KIND, "", "t", 2)
    counts = made.report.of(KIND)
    assert (3, 1, {NOT_IN_PRELUDE: 1}) == (counts[OLDER], counts[BULK], made.report.left_out)
    assert STRAY == made.kmalloc(KIND, "k", 0x104, of_slab=False)


def test_what_the_trace_frees_was_in_use_whatever_the_files_say() -> None:
    """They may be older than the trace."""
    zones = (ZoneUse(0, 0, 0, 4096, 4096, 4000),)
    plan = Plan(pages={(0, 0): 100, (0, 3): 10})
    made = population(plan, zones)

    assert 180 - 96 == made.used_more
    assert all(made.pages_of(KIND, 0, 0) for _ in range(100))
    assert all(made.pages_of(KIND, 0, 3) for _ in range(10))


def test_without_knowing_what_was_free_only_what_is_freed_later_is_allocated() -> None:
    """The machine is then mostly empty."""
    zones = (ZoneUse(0, 0, 0, 4096, 4096, None),)
    events = prelude(population(Plan(pages={(0, 0): 3, (0, 2): 1}), zones))

    assert {"DMA": 7} == zone_pages(events)
