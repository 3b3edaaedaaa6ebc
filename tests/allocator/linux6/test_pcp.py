"""Per-cpu lists of Linux 6.1: orders 0 to 3, and how they give back."""

from __future__ import annotations

import pytest

from tests.allocator.linux6.driver import GFP_KERNEL, Driver


def pcp(driver: Driver, cpu: int = 0) -> tuple[int, int]:
    """Pages and free_factor of a cpu's lists."""
    zone = driver.pages.zones[0]
    return int(zone.pcp_count[cpu]), int(zone.pcp_free_factor[cpu])


@pytest.mark.parametrize(("order", "taken"), [(0, 63), (1, 31), (2, 15), (3, 7), (4, 1)])
def test_a_batch_shrinks_with_the_order(order: int, taken: int) -> None:
    """An empty list is refilled with batch >> order blocks; order 4 has no list."""
    driver = Driver(pages=262144)
    before = driver.machine.free_by_zone()[0]

    driver.page(order=order)

    assert taken << order == before - driver.machine.free_by_zone()[0]
    assert (taken - 1) << order == pcp(driver)[0]


def test_blocks_of_a_batch_go_out_in_physical_order() -> None:
    """Blocks split from one block are put to the tail of the list."""
    driver = Driver(pages=262144)

    pfns = []
    for _ in range(3):
        driver.page(order=1)
        pfns.append(driver.answer.pfn)

    assert [0, 2, 4] == pfns


def test_each_free_in_a_row_gives_back_twice_as_much() -> None:
    """free_factor rises with every bulk free and halves with every allocation."""
    driver = Driver(cpus=1)
    zone = driver.pages.zones[0]
    assert (160, 1) == (zone.pcp_high, zone.pcp_batch)
    pages = [driver.page(cpu=0) for _ in range(200)]

    driver.free_page(*pages[:159])
    assert (159, 0) == pcp(driver)
    counts = []
    for handle in pages[159:164]:
        driver.free_page(handle)
        counts.append(pcp(driver))

    assert [(159, 1), (158, 2), (159, 2), (156, 3), (157, 3)] == counts
    driver.page()
    assert pcp(driver) == (156, 1)


def test_a_block_freed_in_a_run_of_frees_empties_the_lists() -> None:
    """With free_factor set, a multi-page block takes everything along."""
    driver = Driver(cpus=1)
    pages = [driver.page() for _ in range(161)]
    block = driver.page(order=2)
    driver.free_page(*pages)
    assert pcp(driver)[1] > 0

    driver.free_page(block)

    assert pcp(driver)[0] == 0
    driver.machine.verify()


def test_a_block_freed_otherwise_stays_on_its_list() -> None:
    """Without a run of frees, orders 1 to 3 are kept like single pages."""
    driver = Driver()
    block = driver.page(order=3)
    pfn = driver.answer.pfn

    driver.free_page(block)

    assert pcp(driver) == (8, 0)
    driver.page(order=3)
    assert (pfn, "ok/pcp") == (driver.answer.pfn, driver.result)


def test_drain_brings_every_page_home() -> None:
    """drain_all_pages empties all cpus' lists, blocks of all orders."""
    driver = Driver(cpus=3, pages=16384)
    for cpu in range(3):
        for order in range(4):
            driver.free_page(driver.page(GFP_KERNEL, order, cpu=cpu), cpu=(cpu + 1) % 3)

    driver.machine.drain_all_pages(0)

    assert driver.machine.free_by_zone() == [16384]
    assert [(0, 0)] * 3 == [pcp(driver, cpu) for cpu in range(3)]
    driver.machine.verify()


def test_while_kswapd_is_at_work_cpus_keep_fewer_pages() -> None:
    """Four batches at most (``nr_pcp_high``), until its work is done."""
    driver = Driver(cpus=1, pages=262144, min_free_kbytes=16384)
    zone = driver.pages.zones[0]
    most = 4 * zone.pcp_batch
    assert most < zone.pcp_high
    pages = [driver.page() for _ in range(most + 2)]
    driver.machine.drain_all_pages(0)

    driver.pages.kswapd_begins(0)
    driver.free_page(*pages[:most])
    active = pcp(driver)[0]
    driver.pages.kswapd_ends(0)
    driver.machine.drain_all_pages(0)
    again = [driver.page() for _ in range(most)]
    driver.machine.drain_all_pages(0)
    driver.free_page(*again)

    assert (most - zone.pcp_batch, most) == (active, pcp(driver)[0])


def test_kswapd_is_at_work_on_its_own_node() -> None:
    """-1 is all of them."""
    driver = Driver(nodes=2)
    zones = driver.pages.zones

    driver.pages.kswapd_begins(1)
    one = [zone.reclaim_active for zone in zones]
    driver.pages.kswapd_ends(-1)

    assert ([False, True], [False, False]) == (one, [zone.reclaim_active for zone in zones])


def test_kswapd_undoes_the_boost_that_it_found() -> None:
    """What is added while it is at work stays for its next round."""
    driver = Driver()
    zone = driver.pages.zones[0]
    zone.watermark_boost = 1024

    driver.pages.kswapd_begins(0)
    zone.watermark_boost = 1536
    driver.pages.kswapd_ends(0)
    left = int(zone.watermark_boost)
    driver.pages.kswapd_ends(0)

    assert (512, 512) == (left, zone.watermark_boost)
