"""How SLUB of Linux 6.1 sizes its caches."""

from __future__ import annotations

import pytest

from tests.allocator.linux6.driver import Driver

HWCACHE_ALIGN = 0x2000
CACHE_DMA = 0x4000
CACHE_DMA32 = 0x8000
RECLAIM_ACCOUNT = 0x20000
TYPESAFE_BY_RCU = 0x80000
MEM_SPREAD = 0x100000
COMP = 0x40000
KEYS = ("size", "align", "fp_offset", "objs", "order", "cpu_partial", "cpu_partial_slabs")


@pytest.mark.parametrize(
    ("cpus", "size", "flags", "expected"),
    [
        # What Linux 6.1.192 computed (the vectors have these too).
        (6, 512, HWCACHE_ALIGN, (512, 64, 256, 16, 1, 52, 7)),
        (6, 600, RECLAIM_ACCOUNT, (600, 8, 296, 27, 2, 52, 4)),
        (4, 4096, HWCACHE_ALIGN, (4096, 64, 2048, 8, 3, 6, 2)),
        (4, 3072, HWCACHE_ALIGN, (3072, 64, 1536, 10, 3, 24, 5)),
        # The free pointer lies in the middle, on a word, or behind what RCU readers may read.
        (2, 24, 0, (24, 8, 8, 170, 0, 120, 2)),
        (2, 24, TYPESAFE_BY_RCU, (32, 8, 24, 128, 0, 120, 2)),
        (2, 8, 0, (8, 8, 0, 512, 0, 120, 1)),
    ],
)
def test_geometry(cpus: int, size: int, flags: int, expected: tuple[int, ...]) -> None:
    """calculate_sizes and set_cpu_partial."""
    driver = Driver(cpus=cpus)

    geometry = driver.geometry(driver.cache(size, flags))

    assert expected == tuple(geometry[key] for key in KEYS)


@pytest.mark.parametrize(
    ("size", "flags", "expected"),
    [
        (256, CACHE_DMA, 0x1),
        (256, CACHE_DMA32, 0x4),
        (256, RECLAIM_ACCOUNT, 0x10),
        (512, RECLAIM_ACCOUNT | CACHE_DMA, 0x11 | COMP),
    ],
)
def test_what_a_cache_asks_the_page_allocator_for(size: int, flags: int, expected: int) -> None:
    """allocflags: zone, mobility, and compound pages for larger slabs."""
    driver = Driver()

    assert expected == driver.geometry(driver.cache(size, flags))["allocflags"]


def test_flags_that_mean_nothing_are_dropped() -> None:
    """CACHE_CREATE_MASK: SLUB knows no SLAB_MEM_SPREAD."""
    driver = Driver()

    found = driver.geometry(driver.cache(192, RECLAIM_ACCOUNT | MEM_SPREAD))["flags"]

    assert found == RECLAIM_ACCOUNT
