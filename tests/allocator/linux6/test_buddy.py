"""Where Linux 6.1 takes blocks from when a migrate type runs out."""

from __future__ import annotations

from allocator.events import CTX_PF_MEMALLOC
from allocator.linux6.buddy import MIGRATE_HIGHATOMIC, MIGRATE_MOVABLE, MIGRATE_UNMOVABLE
from tests.allocator.linux6.driver import (
    GFP_ATOMIC,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOIO,
    NORETRY,
    PLAIN,
    Driver,
)


def block_types(driver: Driver) -> list[int]:
    """Migrate type of each pageblock."""
    return [int(kind) for kind in driver.pages.mem.block_type]


def test_an_unmovable_page_takes_a_whole_pageblock() -> None:
    """The first block of another type changes hands; later ones are left alone."""
    driver = Driver()

    driver.page()
    driver.page(GFP_HIGHUSER_MOVABLE)

    types = block_types(driver)
    assert [MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_MOVABLE] == types[:3]


def test_a_partly_used_movable_block_is_claimed_and_boosts_the_watermarks() -> None:
    """Mixing types in a pageblock raises the marks and wakes kswapd once."""
    driver = Driver()
    zone = driver.pages.zones[0]
    for _ in range(19):
        driver.page(GFP_HIGHUSER_MOVABLE, order=9)
    assert (zone.watermark_boost, zone.boosted_watermark) == (0, False)

    driver.page(GFP_KERNEL)

    assert (zone.watermark_boost, driver.answer.wz) == (1024, 1)
    assert block_types(driver)[9] == MIGRATE_UNMOVABLE
    assert driver.pages.boot()["zones"][0]["wmark"]["min"] == 128  # type: ignore[index]
    driver.machine.set_min_free_kbytes(512)
    assert zone.watermark_boost == 0


def test_a_small_zone_is_never_boosted() -> None:
    """Below four pageblocks a boost would end in an out-of-memory situation."""
    driver = Driver(pages=3072)
    for _ in range(5):
        driver.page(GFP_HIGHUSER_MOVABLE, order=9)

    driver.page(GFP_KERNEL)

    assert driver.pages.zones[0].watermark_boost == 0


def test_a_movable_request_splits_the_smallest_block_of_another_type() -> None:
    """It cannot take the pageblock along, so it does the least damage."""
    driver = Driver(pages=2048, min_free_kbytes=128)
    unmovable = [driver.page(GFP_KERNEL, order=4) for _ in range(64)]
    driver.page(GFP_KERNEL, order=9)
    taken = driver.page(GFP_KERNEL, order=8)
    driver.page(GFP_NOIO, order=8, ctx=CTX_PF_MEMALLOC)
    driver.free_page(unmovable[7], taken)
    assert set(block_types(driver)) == {MIGRATE_UNMOVABLE}

    driver.page(GFP_HIGHUSER_MOVABLE | NORETRY, order=4)

    assert driver.answer.pfn == 7 * 16


def test_a_high_order_atomic_request_keeps_its_pageblock_for_others_like_it() -> None:
    """The block becomes HIGHATOMIC; who may sleep sees none of it; a failing one gives it up."""
    driver = Driver()
    zone = driver.pages.zones[0]
    driver.machine.set_min_free_kbytes(4 * 10000)
    while zone.free_pages > zone.wmark_min + 200:
        driver.page(GFP_NOIO, order=6, ctx=CTX_PF_MEMALLOC)
    driver.page(GFP_ATOMIC, order=2)

    assert zone.nr_reserved_highatomic == 1024
    assert MIGRATE_HIGHATOMIC in block_types(driver)
    driver.machine.verify()
    driver.page(PLAIN, order=2)
    assert driver.result == "denied/watermark"
    driver.page(GFP_ATOMIC, order=2)
    assert driver.result == "ok/above_min"
    driver.page(GFP_KERNEL, order=2)
    assert zone.nr_reserved_highatomic == 0
    assert MIGRATE_HIGHATOMIC not in block_types(driver)
    driver.machine.verify()


def test_no_more_than_a_hundredth_of_the_zone_is_kept_for_atomic_requests() -> None:
    """reserve_highatomic_pageblock stops at one pageblock and a hundredth."""
    driver = Driver(pages=16384, cpus=1)
    zone = driver.pages.zones[0]
    driver.machine.set_min_free_kbytes(4 * 16000)
    while zone.free_pages > 15000:
        driver.page(GFP_NOIO, order=9, ctx=CTX_PF_MEMALLOC)

    for _ in range(600):
        driver.page(GFP_ATOMIC, order=3)

    assert zone.nr_reserved_highatomic == 2048
    driver.machine.verify()
