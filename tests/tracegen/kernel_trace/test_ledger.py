"""What a whole trace frees that came from before it."""

from __future__ import annotations

from allocator.config import CacheSpec
from allocator.events import KMALLOC, OBJ_ALLOC
from tests.tracegen.kernel_trace.test_population import KIND, ZONES
from tracegen.kernel_trace.cache_names import CacheTable
from tracegen.kernel_trace.kernel_event import Key
from tracegen.kernel_trace.ledger import FIRST_HANDLE, Ledger
from tracegen.kernel_trace.older import NOT_IN_PRELUDE, STRAY, Plan
from tracegen.kernel_trace.population import Population
from tracegen.kernel_trace.report import BULK, OLDER, SLAB_INTERNAL, Report
from tracegen.kernel_trace.slab_pages import SlabPages

CACHES = CacheTable([CacheSpec(0, "things", 512)])


def ledger() -> Ledger:
    """One that has noted nothing."""
    return Ledger(Report(), ZONES)


def key(index: int, op: int, arg: int, size: int) -> Key:
    """A key that has its name."""
    made = Key(index, "f", size, size, "")
    made.op, made.arg = op, arg
    return made


def settled(made: Ledger) -> tuple[Plan, list[int]]:
    """The plan, and the prelude's handle for each of the ledger's."""
    plan = made.plan(CACHES)
    population = Population(made.report, plan, ZONES, CACHES, SlabPages(2), 2)
    return plan, list(made.settle(population))


def test_the_plan_is_exactly_what_was_asked_for() -> None:
    """Objects, general objects by what their call sites free, pages by zone and order."""
    made = ledger()
    handles = [made.object(KIND, "things", "s", ptr) for ptr in (1, 2)]
    for index, size in enumerate((64, 128)):
        for _ in range(index + 1):
            made.freed("k", key(index, KMALLOC, size, size))
    handles.append(made.kmalloc(KIND, "k", 0x101, of_slab=False))
    for pfn, order in ((0x100, 0), (0x101, 0), (0x10000, 2)):
        handles += made.pages(KIND, pfn, order)

    plan, found = settled(made)

    assert list(range(FIRST_HANDLE, FIRST_HANDLE + 6)) == handles
    assert ({"things": 2}, {128: 1}) == (plan.objects, plan.kmallocs)
    assert {(0, 0): 2, (1, 2): 1} == plan.pages
    assert 6 == len(set(found)) == made.report.of(KIND)[OLDER]
    assert 0 not in found


def test_an_object_that_is_freed_without_its_caches_name_is_known_by_the_call_site() -> None:
    """In Linux 5.4 and older no free names the cache."""
    made = ledger()
    made.freed("t", key(0, OBJ_ALLOC, 0, 512))
    made.object(KIND, "", "t", 1)
    made.object(KIND, "", "elsewhere", 2)

    plan, found = settled(made)

    assert {"things": 1} == plan.objects
    assert (True, 0) == (found[0] > 0, found[1])
    counts = made.report.of(KIND)
    assert (2, {NOT_IN_PRELUDE: 1}) == (counts[OLDER], made.report.left_out)


def test_a_free_that_names_a_general_cache_is_of_its_size() -> None:
    """kmem_cache_free may be asked to free what kmalloc gave."""
    made = ledger()
    made.object(KIND, "kmalloc-cg-1k", "s", 1)
    made.object(KIND, "kmalloc-64", "s", 2)

    plan, found = settled(made)

    assert {1024: 1, 64: 1} == plan.kmallocs
    assert 0 not in found


def test_what_the_allocator_keeps_itself_in_is_its_own() -> None:
    """The model's allocator has such caches too."""
    made = ledger()

    assert 0 == made.object(KIND, "kmem_cache_node", "s", 1)
    assert 1 == made.report.of(KIND)[SLAB_INTERNAL]


def test_a_second_kfree_of_an_address_is_a_stray() -> None:
    """It was allocated in between, unseen."""
    made = ledger()

    assert FIRST_HANDLE == made.kmalloc(KIND, "k", 7, of_slab=False)
    assert STRAY == made.kmalloc(KIND, "k", 7, of_slab=False)


def test_an_address_that_kfree_gets_again_and_again_has_no_tracepoint() -> None:
    """It is what kmalloc(0) gives, or comes from bulk allocation."""
    made = ledger()
    found = [made.kmalloc(KIND, "k", 7, of_slab=False) for _ in range(4)]

    assert [FIRST_HANDLE, STRAY, 0, 0] == found
    assert 2 == made.report.of(KIND)[BULK]


def test_an_address_freed_twice_gives_bulk_allocation_away() -> None:
    """Its cache's objects come unseen, so none of its frees can be held to be older."""
    made = ledger()
    handles = [made.object(KIND, "things", "s", ptr) for ptr in (1, 2, 1, 3)]

    plan, found = settled(made)

    assert [True, True, True, False] == [handle > 0 for handle in handles]
    assert ({"things"}, {}, [0, 0, 0]) == (plan.bulk, plan.objects, found)
    assert 4 == made.report.of(KIND)[BULK]


def test_a_slabs_page_is_the_models_own_if_the_model_has_the_objects() -> None:
    """Otherwise it stands as pages; only the whole trace tells."""
    made = ledger()
    made.object(KIND, "things", "s", 1)
    made.slab_page(KIND, "things", 0x10000, 1)
    made.slab_page(KIND, "bulky", 0x10000, 0)

    plan, found = settled(made)

    assert {(1, 0): 1} == plan.pages
    assert [True, False, True] == [handle > 0 for handle in found]
    counts = made.report.of(KIND)
    assert (2, 1) == (counts[OLDER], counts[SLAB_INTERNAL])


def test_what_belonged_to_an_older_slab_is_the_slabs() -> None:
    """Unless it is known what its call site frees."""
    made = ledger()
    made.kmalloc(KIND, "__free_slab+0x1/0x2", 0x102, of_slab=True)

    _, found = settled(made)

    assert ([0], 1) == (found, made.report.of(KIND)[SLAB_INTERNAL])


def test_what_compaction_moved_needs_no_older_page() -> None:
    """Its handle is known already."""
    made = ledger()
    made.keep_moved(0, 4711)

    assert (4711,) == made.pages(KIND, 0x10000, 0)
    assert (FIRST_HANDLE,) == made.pages(KIND, 0x10000, 0)
    assert 1 == made.report.of(KIND)[OLDER]
