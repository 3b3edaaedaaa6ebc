"""How SLAB of Linux 6.1 sizes its caches and where it keeps their free lists."""

from __future__ import annotations

import pytest

from tests.allocator.linux6.driver import Driver

HWCACHE_ALIGN = 0x2000
CACHE_DMA32 = 0x8000
RECLAIM_ACCOUNT = 0x20000
TYPESAFE_BY_RCU = 0x80000
MEM_SPREAD = 0x100000
NOLEAKTRACE = 0x800000
COMP = 0x40000
KEYS = ("size", "objs", "order", "objfreelist", "off_slab", "freelist_size", "colours")


@pytest.mark.parametrize(
    ("size", "flags", "expected"),
    [
        # What Linux 6.1.192 computed (the vectors have these too).
        (600, RECLAIM_ACCOUNT, (600, 6, 0, 1, 0, 6, 7)),
        (1664, HWCACHE_ALIGN, (1664, 4, 1, 1, 0, 4, 24)),
        (3072, HWCACHE_ALIGN, (3072, 2, 1, 1, 0, 2, 32)),
        (8192, HWCACHE_ALIGN, (8192, 1, 1, 1, 0, 1, 0)),
        # The list does not fit into a small object, and is not worth one of its own.
        (32, 0, (32, 124, 0, 0, 0, 124, 0)),
        # Objects are padded so that a byte can name each of a slab's.
        (8, 0, (16, 240, 0, 0, 0, 240, 0)),
        # Readers under RCU may still look at a free object: the list goes elsewhere.
        (512, TYPESAFE_BY_RCU, (512, 8, 0, 0, 1, 8, 0)),
        (512, TYPESAFE_BY_RCU | NOLEAKTRACE, (512, 7, 0, 0, 0, 7, 7)),
        # The slab has room for it after all.
        (600, TYPESAFE_BY_RCU, (600, 6, 0, 0, 0, 6, 7)),
    ],
)
def test_geometry(size: int, flags: int, expected: tuple[int, ...]) -> None:
    """Free list in an object, off-slab, or behind the objects."""
    driver = Driver("slab-v6.1")

    geometry = driver.geometry(driver.cache(size, flags))

    assert expected == tuple(geometry[key] for key in KEYS)


def test_small_machines_take_single_pages() -> None:
    """Up to 32 MiB slabs of order 1 are not preferred."""
    small = Driver("slab-v6.1", pages=8192)
    large = Driver("slab-v6.1", pages=8193)

    orders = [driver.geometry(driver.cache(1664))["order"] for driver in (small, large)]

    assert [0, 1] == orders


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(0, COMP), (CACHE_DMA32, COMP | 0x4), (RECLAIM_ACCOUNT | MEM_SPREAD, COMP | 0x10)],
)
def test_what_a_cache_asks_the_page_allocator_for(flags: int, expected: int) -> None:
    """Slabs are compound pages of the cache's zone and mobility."""
    driver = Driver("slab-v6.1")

    assert expected == driver.geometry(driver.cache(256, flags))["allocflags"]


def test_a_cache_that_no_slab_can_hold_is_refused() -> None:
    """Objects over the largest order have no geometry."""
    driver = Driver("slab-v6.1")

    with pytest.raises(ValueError, match="no slab can hold"):
        driver.cache((4 << 20) + 8)
