"""The kmalloc caches of Linux 6.1, and what SLAB and SLUB do alike."""

from __future__ import annotations

import pytest

from allocator.linux6.slab_common import KmallocCaches
from tests.allocator.linux6.driver import DMA, GFP_KERNEL, PLAIN, RECLAIMABLE, Driver


def test_every_type_has_its_caches() -> None:
    """Normal, reclaimable and DMA, in each 96 and 192 before the powers of two."""
    slub = [name for name, _, _ in KmallocCaches(3).specs()]
    slab = [name for name, _, _ in KmallocCaches(5).specs()]

    assert ["kmalloc-96", "kmalloc-192", "kmalloc-8", "kmalloc-16"] == slub[:4]
    assert ["kmalloc-8k", "kmalloc-rcl-96", "kmalloc-rcl-192"] == slub[12:15]
    assert ["kmalloc-96", "kmalloc-192", "kmalloc-32", "kmalloc-64"] == slab[:4]
    assert (39, 33, "dma-kmalloc-8k") == (len(slub), len(slab), slab[-1])


@pytest.mark.parametrize(
    ("size", "gfp", "slub", "slab"),
    [
        (1, GFP_KERNEL, "kmalloc-8", "kmalloc-32"),
        (8, GFP_KERNEL, "kmalloc-8", "kmalloc-32"),
        (9, GFP_KERNEL, "kmalloc-16", "kmalloc-32"),
        (64, GFP_KERNEL, "kmalloc-64", "kmalloc-64"),
        (65, GFP_KERNEL, "kmalloc-96", "kmalloc-96"),
        (97, GFP_KERNEL, "kmalloc-128", "kmalloc-128"),
        (129, GFP_KERNEL, "kmalloc-192", "kmalloc-192"),
        (193, GFP_KERNEL, "kmalloc-256", "kmalloc-256"),
        (8192, GFP_KERNEL, "kmalloc-8k", "kmalloc-8k"),
        (100, GFP_KERNEL | RECLAIMABLE, "kmalloc-rcl-128", "kmalloc-rcl-128"),
        (100, GFP_KERNEL | DMA | RECLAIMABLE, "dma-kmalloc-128", "dma-kmalloc-128"),
    ],
)
def test_kmalloc_slab(size: int, gfp: int, slub: str, slab: str) -> None:
    """Size and mask choose the cache; SLAB has none below 32 bytes."""
    found = []
    for shift in (3, 5):
        caches = KmallocCaches(shift)
        found.append(caches.specs()[int(caches.kmalloc_slab(size, gfp))][0])

    assert [slub, slab] == found


def test_96_and_192_are_created_behind_64_and_128() -> None:
    """The order of creation is not the order of the numbers."""
    caches = KmallocCaches(5)
    names = [caches.specs()[number][0] for number in caches.created()]

    assert ["kmalloc-32", "kmalloc-64", "kmalloc-96", "kmalloc-128", "kmalloc-192"] == names[:5]
    assert sorted(caches.created()) == list(range(33))


@pytest.mark.parametrize("variant", ["slab-v6.1", "slub-v6.1"])
def test_large_sizes_are_pages_that_count_as_slab_pages(variant: str) -> None:
    """Over 8192 bytes kmalloc takes whole pages; kfree takes them off the count again."""
    driver = Driver(variant, kmalloc=True)
    before = driver.machine.state("L3")["slab_pages"]

    driver.machine.kmalloc(1, 8193, GFP_KERNEL, 0, -1, 0)
    assert (True, 2) == (driver.answer.large, driver.answer.order)
    large = driver.machine.state("L3")["slab_pages"]
    driver.machine.obj_free(1, 0)
    after = driver.machine.state("L3")["slab_pages"]

    assert ([[0, 0]], [[0, 4]], [[0, 0]]) == (before, large, after)
    driver.machine.verify()


@pytest.mark.parametrize("variant", ["slab-v6.1", "slub-v6.1"])
def test_slab_pages_are_counted_by_kind_and_node(variant: str) -> None:
    """Reclaimable caches count apart, on the node whose pages they hold."""
    driver = Driver(variant, nodes=2)
    reclaimable = driver.cache(256, 0x20000)
    plain = driver.cache(256)

    driver.obj(reclaimable, node=0)
    driver.obj(plain, node=1)

    assert [[1, 0], [0, 1]] == driver.machine.state("L3")["slab_pages"]


@pytest.mark.parametrize("variant", ["slab-v6.1", "slub-v6.1"])
def test_caches_merge_into_the_oldest_that_fits(variant: str) -> None:
    """An alias is a name for another cache, but no user cache merges with kmalloc's."""
    driver = Driver(variant, merge=True, kmalloc=True)
    first = driver.cache(200)
    second = driver.cache(200)
    alias = driver.cache(196)
    other = driver.cache(200, 0x20000)

    aliases = [driver.geometry(number)["alias_of"] for number in (first, second, alias, other)]

    assert [None, first, first, None] == aliases
    handle = driver.obj(alias)
    driver.free(handle)
    driver.machine.verify()
    assert driver.machine.stats().caches[first].slabs == 1
    assert driver.machine.stats().caches[alias].slabs == 0


def test_without_kmalloc_caches_slub_denies() -> None:
    """A machine may be booted without them; then only large sizes can be had."""
    driver = Driver("slub-v6.1")

    small = driver.machine.kmalloc(1, 100, PLAIN, 0, -1, 0)
    large = driver.machine.kmalloc(2, 10000, PLAIN, 0, -1, 0)

    assert (29, 21) == (small, large)
