"""How SLUB of Linux 3.x sizes its caches, merges them and chooses one for kmalloc."""

from __future__ import annotations

import pytest

from allocator.config import MachineConfig
from allocator.machine import Machine
from allocator.outcome import DENIED_NO_CACHE, OBJ_LARGE, OBJ_NEW_SLAB
from allocator.revision import parse_variant

HWCACHE_ALIGN = 0x2000
CACHE_DMA = 0x4000
RECLAIM_ACCOUNT = 0x20000
DESTROY_BY_RCU = 0x80000
NOLEAKTRACE = 0x800000

GFP_DMA = 0x01
GFP_COMP = 0x4000
GFP_RECLAIMABLE = 0x80000
GFP_KERNEL = 0xD0


def boot(*, cpus: int = 2, merge: bool = False, kmalloc: bool = False) -> Machine:
    """A 40 MiB machine of one node under SLUB as the seed has it."""
    config = MachineConfig(
        cpus=cpus,
        cpu_node=(0,) * cpus,
        nodes=((0, 10240),),
        zone_end_pfn=(0, 10240, 10240),
        min_free_kbytes=512,
        slub_merge=merge,
        kmalloc=kmalloc,
    )
    return Machine(config, parse_variant("slub-seed"))


@pytest.mark.parametrize(
    ("cpus", "size", "align", "flags", "expected"),
    [
        # What Linux 3.3.8 computed (the vectors have these too).
        (2, 256, 0, HWCACHE_ALIGN, (256, 64, 16, 0, 16, 0, 5, 13)),
        (2, 2048, 8, HWCACHE_ALIGN, (2048, 64, 16, 3, 2, 0, 5, 6)),
        (2, 560, 0, RECLAIM_ACCOUNT, (560, 8, 14, 1, 7, 0, 5, 13)),
        (2, 8192, 0, HWCACHE_ALIGN, (8192, 64, 4, 3, 1, 1, 6, 2)),
        # Order 0 would waste over 1/16, order 1 does not.
        (1, 344, 0, 0, (344, 8, 23, 1, 11, 0, 5, 13)),
        # Small objects share a cache line instead of wasting it.
        (2, 24, 0, HWCACHE_ALIGN, (32, 32, 128, 0, 128, 0, 5, 30)),
        # Objects that need more than the largest ordinary order.
        (2, 65536, 0, 0, (65536, 8, 1, 4, 1, 4, 8, 2)),
        (2, 4 << 20, 0, 0, (4 << 20, 8, 1, 10, 1, 10, 10, 2)),
        # More cpus want more objects a slab: 4 * (fls(nr_cpu_ids) + 1).
        (64, 256, 0, 0, (256, 8, 32, 1, 16, 0, 5, 13)),
        (1024, 256, 0, 0, (256, 8, 64, 2, 16, 0, 5, 13)),
    ],
)
def test_calculate_sizes(
    cpus: int, size: int, align: int, flags: int, expected: tuple[int, ...]
) -> None:
    """Size, alignment, objects and orders follow calculate_sizes and calculate_order."""
    machine = boot(cpus=cpus)

    geometry = machine.geometry(machine.cache_create("c", size, align, flags))

    keys = ("size", "align", "objs", "order", "min_objs", "min_order", "min_partial", "cpu_partial")
    assert expected == tuple(geometry[key] for key in keys)


def test_the_waste_allowed_decides_the_order() -> None:
    """A size that wastes over 1/16 in every order is taken at 1/8, or the first that fits."""
    machine = boot()

    geometry = machine.geometry(machine.cache_create("c", 4760, 0, 0))

    # Six objects leave 4208 of 32768 bytes: over 1/16 and 1/8, under 1/4.
    assert (6, 3) == (geometry["objs"], geometry["order"])


@pytest.mark.parametrize(
    ("size", "flags", "expected"),
    [
        (100, 0, 0),
        (100, CACHE_DMA, GFP_DMA),
        (100, RECLAIM_ACCOUNT, GFP_RECLAIMABLE),
        (1000, RECLAIM_ACCOUNT | CACHE_DMA, GFP_COMP | GFP_RECLAIMABLE | GFP_DMA),
    ],
)
def test_allocflags(size: int, flags: int, expected: int) -> None:
    """A slab's pages are compound above order 0, and of the zone and mobility asked for."""
    machine = boot()

    geometry = machine.geometry(machine.cache_create("c", size, 0, flags))

    assert expected == geometry["allocflags"]


def test_the_free_pointer_of_an_rcu_cache_lies_behind_the_object() -> None:
    """SLAB_DESTROY_BY_RCU readers may look at freed objects, so one word is added."""
    machine = boot()

    geometry = machine.geometry(machine.cache_create("c", 100, 0, DESTROY_BY_RCU))

    assert (104, 104, 112) == (geometry["inuse"], geometry["fp_offset"], geometry["size"])


def test_an_object_larger_than_any_slab_is_refused() -> None:
    """A cache that no order can hold is an error that names the size."""
    machine = boot()

    with pytest.raises(ValueError, match="4194304 bytes"):
        machine.cache_create("c", 4 << 20, 0, DESTROY_BY_RCU)


def test_a_cache_merges_with_one_that_serves_it_as_well() -> None:
    """With merging on, a cache whose objects have the same size becomes an alias."""
    machine = boot(merge=True)
    machine.cache_create("old", 248, 0, NOLEAKTRACE)
    target = machine.cache_create("target", 249, 0, 0)

    alias = machine.cache_create("alias", 256, 0, 0)

    assert target == machine.geometry(alias)["alias_of"]
    assert None is machine.geometry(target)["alias_of"]
    assert "alias" == machine.geometry(alias)["name"]


@pytest.mark.parametrize(
    ("size", "align", "flags"),
    [
        (256, 0, RECLAIM_ACCOUNT),
        (256, 0, CACHE_DMA),
        (256, 0, NOLEAKTRACE),
        (256, 512, 0),
        (248, 0, 0),
        (264, 0, 0),
    ],
)
def test_caches_that_do_not_merge(size: int, align: int, flags: int) -> None:
    """Another page type, a flag against it, alignment or eight bytes keep caches apart."""
    machine = boot(merge=True)
    machine.cache_create("first", 256, 0, 0)

    second = machine.cache_create("second", size, align, flags)

    assert None is machine.geometry(second)["alias_of"]


def test_nothing_merges_with_merging_off() -> None:
    """slub_nomerge: equal caches stay two."""
    machine = boot()
    machine.cache_create("first", 256, 0, 0)

    second = machine.cache_create("second", 256, 0, 0)

    assert None is machine.geometry(second)["alias_of"]


def test_an_alias_is_its_target_under_another_name() -> None:
    """Objects of both names come from the same slabs; what is held counts once."""
    machine = boot(merge=True)
    target = machine.cache_create("target", 256, 0, 0)
    alias = machine.cache_create("alias", 256, 0, 0)

    machine.obj_alloc(1, target, GFP_KERNEL, 0, -1, 0)
    machine.obj_alloc(2, alias, GFP_KERNEL, 0, -1, 0)

    assert "alias" == machine.answer.cache
    assert 1 == machine.answer.idx
    stats = {cache.name: cache for cache in machine.stats().caches}
    assert (1, 1) == (stats["target"].active_objects, stats["alias"].active_objects)
    assert (1, 0) == (stats["target"].slabs, stats["alias"].slabs)
    machine.verify()


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (1, "kmalloc-8"),
        (8, "kmalloc-8"),
        (9, "kmalloc-16"),
        (64, "kmalloc-64"),
        (65, "kmalloc-96"),
        (96, "kmalloc-96"),
        (97, "kmalloc-128"),
        (129, "kmalloc-192"),
        (192, "kmalloc-192"),
        (193, "kmalloc-256"),
        (4097, "kmalloc-8192"),
        (8192, "kmalloc-8192"),
    ],
)
def test_kmalloc_takes_the_smallest_cache_that_fits(size: int, name: str) -> None:
    """get_slab: powers of two, and 96 and 192 in between."""
    machine = boot(kmalloc=True)

    outcome = machine.kmalloc(1, size, GFP_KERNEL, 0, -1, 0)

    assert (OBJ_NEW_SLAB, name) == (outcome, machine.answer.cache)


@pytest.mark.parametrize(("size", "order"), [(8193, 2), (16384, 2), (16385, 3), (4 << 20, 10)])
def test_kmalloc_of_more_than_two_pages_goes_to_the_page_allocator(size: int, order: int) -> None:
    """kmalloc_large: a compound page of the order that holds the bytes."""
    machine = boot(kmalloc=True)

    outcome = machine.kmalloc(1, size, GFP_KERNEL, 0, -1, 0)

    assert (OBJ_LARGE, order) == (outcome, machine.answer.order)
    machine.obj_free(1, 0)
    machine.verify()


def test_kmalloc_has_no_dma_caches_and_none_at_all_without_them() -> None:
    """GFP_DMA, or a machine without kmalloc caches: denied, because there is no cache."""
    with_caches = boot(kmalloc=True)
    without = boot()

    assert DENIED_NO_CACHE == with_caches.kmalloc(1, 100, GFP_DMA, 0, -1, 0)
    assert DENIED_NO_CACHE == without.kmalloc(1, 100, GFP_KERNEL, 0, -1, 0)


def test_a_name_means_the_newest_cache_that_bears_it() -> None:
    """A cache may be called like one of kmalloc's; its name then means it."""
    machine = boot(kmalloc=True)

    number = machine.cache_create("kmalloc-64", 64, 0, HWCACHE_ALIGN)

    assert number == machine.cache_number("kmalloc-64")
