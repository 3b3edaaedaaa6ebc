"""How Linux 6.1 computes its watermarks, and who passes them."""

from __future__ import annotations

import pytest

from allocator.events import CTX_PF_MEMALLOC
from allocator.linux6.alloc_flags import (
    ALLOC_HIGHATOMIC,
    ALLOC_MIN_RESERVE,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_WMARK_LOW,
    ALLOC_WMARK_MIN,
)
from allocator.linux6.watermark import _zone_watermark_ok, zone_watermark_fast
from allocator.zone import Zone
from tests.allocator.linux6.driver import GFP_ATOMIC, GFP_KERNEL, GFP_NOIO, Driver

MIN = 128


def zone_with(driver: Driver, free: int) -> Zone:
    """The machine's only zone, pretending to have ``free`` pages, min 128."""
    zone = driver.pages.zones[0]
    assert zone.wmark_min == MIN
    zone.free_pages = free
    return zone


@pytest.mark.parametrize(
    ("pages", "kbytes", "expected"),
    [
        # min, low, high, per-cpu high, batch; these two are also in the vectors.
        (10240, 512, (128, 160, 192, 80, 1)),
        (10240, 120000, (30000, 37500, 45000, 18750, 1)),
        # watermark_scale_factor: the marks keep 1/1000 of the zone apart.
        (262144, 512, (128, 390, 652, 252, 63)),
        # The kernel's own min_free_kbytes: the root of 16 times the memory.
        (1 << 20, 0, (2048, 3096, 4144, 1548, 63)),
    ],
)
def test_marks_and_per_cpu_limits(pages: int, kbytes: int, expected: tuple[int, ...]) -> None:
    """min_free_kbytes is shared out; low and high follow at the larger of two distances."""
    driver = Driver(pages=pages, min_free_kbytes=kbytes)
    zone = driver.pages.zones[0]

    found = (zone.wmark_min, zone.wmark_low, zone.wmark_high, zone.pcp_high, zone.pcp_batch)
    assert expected == found


def test_lower_zones_keep_a_share_of_what_lies_above_them() -> None:
    """lowmem_reserve grows with the managed pages of every zone up to the request's."""
    driver = Driver(pages=16384, zone_end_pfn=(4096, 8192, 16384))

    reserves = [[int(pages) for pages in zone.lowmem_reserve] for zone in driver.pages.zones]

    assert [[0, 16, 48, 48], [0, 0, 32, 32], [0, 0, 0, 0]] == reserves


@pytest.mark.parametrize(
    ("flags", "least"),
    [
        (ALLOC_WMARK_MIN, MIN),
        (ALLOC_NON_BLOCK, MIN),
        (ALLOC_MIN_RESERVE, MIN // 2),
        (ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK, MIN * 3 // 8),
        (ALLOC_OOM, MIN // 2),
    ],
)
def test_discounts_end_at_their_line(flags: int, least: int) -> None:
    """A request passes with one page more than its line, and fails on it."""
    driver = Driver()
    mem = driver.pages.mem

    above = _zone_watermark_ok(mem, zone_with(driver, least + 1), 0, MIN, 2, flags)
    at = _zone_watermark_ok(mem, zone_with(driver, least), 0, MIN, 2, flags)

    assert (True, False) == (above, at)


def test_highatomic_pages_do_not_count_for_others() -> None:
    """Pages of HIGHATOMIC blocks are free for callers with a discount only."""
    driver = Driver()
    mem = driver.pages.mem
    zone = zone_with(driver, MIN + 1024)
    zone.nr_reserved_highatomic = 1024

    assert not _zone_watermark_ok(mem, zone, 0, MIN, 2, ALLOC_WMARK_MIN)
    assert not zone_watermark_fast(mem, zone, 0, 2, ALLOC_WMARK_MIN, GFP_KERNEL)
    assert _zone_watermark_ok(mem, zone, 0, MIN, 2, ALLOC_HIGHATOMIC)


def test_a_high_order_request_needs_one_block_that_fits() -> None:
    """Many pages in small blocks do not make a large one; one large block is enough."""
    driver = Driver()
    mem = driver.pages.mem
    zone = driver.pages.zones[0]
    halves = [driver.page(GFP_NOIO, order=9, ctx=CTX_PF_MEMALLOC) for _ in range(20)]

    driver.free_page(*halves[::2])
    assert zone.free_pages == 5120
    assert _zone_watermark_ok(mem, zone, 9, 0, 2, ALLOC_WMARK_MIN)
    assert not _zone_watermark_ok(mem, zone, 10, 0, 2, ALLOC_WMARK_MIN)
    driver.free_page(halves[1])
    assert _zone_watermark_ok(mem, zone, 10, 0, 2, ALLOC_WMARK_MIN)


def test_a_boost_is_not_held_against_an_atomic_page_at_min() -> None:
    """At min a boosted mark stops GFP_KERNEL and not a single page for GFP_ATOMIC."""
    driver = Driver()
    mem = driver.pages.mem
    zone = zone_with(driver, MIN + 100)
    zone.watermark_boost = 1024

    assert not zone_watermark_fast(mem, zone, 0, 2, ALLOC_WMARK_MIN, GFP_KERNEL)
    assert zone_watermark_fast(mem, zone, 0, 2, ALLOC_WMARK_MIN, GFP_ATOMIC)
    assert not zone_watermark_fast(mem, zone, 0, 2, ALLOC_WMARK_LOW, GFP_ATOMIC)
    assert not zone_watermark_fast(mem, zone, 1, 2, ALLOC_WMARK_MIN, GFP_ATOMIC)
