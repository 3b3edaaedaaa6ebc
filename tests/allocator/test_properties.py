"""What must hold of every machine whatever happens to it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocator.events import KMALLOC, OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC
from allocator.gfp import encode
from allocator.machine import Machine
from allocator.revision import parse_variant, variant_names
from tests.allocator.machines import CACHES, RandomStream, empty_caches, random_config, record

VARIANTS = variant_names()
_relaxed = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("variant", VARIANTS)
@_relaxed
@given(seed=st.integers(0, 2**32 - 1))
def test_invariants_hold_after_every_event(variant: str, seed: int) -> None:
    """Random events on a random machine never break an invariant of verify()."""
    random = Random(seed)
    config = random_config(random)
    machine = Machine(config, parse_variant(variant), CACHES)
    stream = RandomStream(random, config, variant)
    machine.verify()
    for step in range(200):
        machine.apply(stream.step())
        if step % 5 == 0:
            machine.verify()
    machine.verify()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(4))
def test_free_everything_and_every_page_is_back(variant: str, seed: int) -> None:
    """After all frees and a shrink, every managed page is on a buddy list."""
    random = Random(seed)
    config = random_config(random)
    machine = Machine(config, parse_variant(variant), CACHES)
    stream = RandomStream(random, config, variant)
    for _ in range(400):
        machine.apply(stream.step())
    machine.apply(stream.free_all())

    empty_caches(machine)

    machine.verify()
    assert [int(z.managed_pages) for z in machine.pages.zones] == machine.free_by_zone()
    assert machine.stats().live_handles == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_digest_is_a_function_of_the_events(variant: str) -> None:
    """The same events give the same digest, however they are cut into batches."""
    config = random_config(Random(7))
    stream = RandomStream(Random(8), config, variant)
    events = b"".join(stream.step() for _ in range(300))
    whole = Machine(config, parse_variant(variant), CACHES)
    single = Machine(config, parse_variant(variant), CACHES)

    whole.apply(events)
    for at in range(0, len(events), 32):
        single.apply(events[at : at + 32])

    assert whole.digest() == single.digest()
    single.apply(record(PAGE_ALLOC, handle=10**9))
    assert whole.digest() != single.digest()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_nth_page_allocation_may_fail(variant: str) -> None:
    """Whichever page allocation fails, the machine stays sound and can be emptied.

    SQLite's out-of-memory loop: N = 1, 2, 3, … until the run needs fewer than N.
    """
    config = random_config(Random(3))
    failures = 0
    for nth in range(1, 1000):
        machine = Machine(config, parse_variant(variant), CACHES)
        stream = RandomStream(Random(4), config, variant)
        machine.pages.fail_in = nth
        for _ in range(40):
            machine.apply(stream.step())
        machine.verify()
        if machine.pages.fail_in > 0:
            break
        failures += 1
        machine.apply(stream.free_all())
        empty_caches(machine)
        machine.verify()
        assert [int(z.managed_pages) for z in machine.pages.zones] == machine.free_by_zone()
    assert failures > 10


@pytest.mark.parametrize("variant", VARIANTS)
def test_odd_frees_are_counted_and_change_nothing(variant: str) -> None:
    """A free of the unknown, of the denied and a reused handle are counted by kind."""
    config = random_config(Random(5))
    machine = Machine(config, parse_variant(variant), CACHES)
    gfp = encode("GFP_KERNEL", machine.variant.revision.gfp_flavour)
    machine.apply(record(OBJ_ALLOC, handle=1, gfp=gfp))
    machine.apply(record(OBJ_ALLOC, handle=1, gfp=gfp))
    machine.apply(record(PAGE_ALLOC, handle=2, gfp=gfp, arg=11))
    machine.apply(record(4, handle=99))
    machine.apply(record(2, handle=2))

    stats = machine.stats()

    assert (1, 1, 1) == (stats.reused_handles, stats.unknown_frees, stats.denied_frees)
    machine.verify()


@pytest.mark.parametrize("variant", VARIANTS)
def test_kmalloc_of_nothing_gives_a_pointer_that_kfree_ignores(variant: str) -> None:
    """kmalloc(0) is ZERO_SIZE_PTR: counted as such, no object, and its free is in order."""
    machine = Machine(random_config(Random(5)), parse_variant(variant), CACHES)
    gfp = encode("GFP_KERNEL", machine.variant.revision.gfp_flavour)
    machine.apply(record(KMALLOC, handle=1, gfp=gfp, arg=0))
    machine.apply(record(OBJ_FREE, handle=1))

    stats = machine.stats()

    assert ["zero_size"] == [count.path for count in stats.outcomes]
    assert (1, 0, 0) == (stats.object_frees, stats.unknown_frees, stats.live_handles)
    machine.verify()
