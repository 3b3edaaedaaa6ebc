"""Requests of the page allocator of Linux 6.1: who gets what, and how it ends."""

from __future__ import annotations

import struct

import pytest

from allocator.events import (
    CTX_HARDIRQ,
    CTX_MEMDIE,
    CTX_PF_MEMALLOC,
    CTX_RT,
    CTX_SOFTIRQ,
    MIN_FREE,
)
from allocator.linux6.alloc_flags import (
    ALLOC_CPUSET,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
)
from tests.allocator.linux6.driver import (
    DMA,
    GFP_ATOMIC,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOIO,
    GFP_NOWAIT,
    HIGH,
    MEMALLOC,
    NOFAIL,
    NOMEMALLOC,
    NORETRY,
    PLAIN,
    RETRY_MAYFAIL,
    THISNODE,
    Driver,
)

ATOMIC_FLAGS = ALLOC_KSWAPD | ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK


@pytest.mark.parametrize(
    ("gfp", "order", "ctx", "expected"),
    [
        (GFP_KERNEL, 0, 0, ALLOC_CPUSET | ALLOC_KSWAPD),
        (GFP_KERNEL, 0, CTX_RT, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_MIN_RESERVE),
        (GFP_KERNEL, 0, CTX_RT | CTX_SOFTIRQ, ALLOC_CPUSET | ALLOC_KSWAPD),
        (GFP_NOWAIT, 0, 0, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_NON_BLOCK),
        (GFP_ATOMIC, 0, 0, ATOMIC_FLAGS),
        (GFP_ATOMIC, 2, 0, ATOMIC_FLAGS | ALLOC_HIGHATOMIC),
        (GFP_ATOMIC | NOMEMALLOC, 2, 0, ALLOC_KSWAPD | ALLOC_MIN_RESERVE),
        (GFP_KERNEL | HIGH, 2, 0, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_MIN_RESERVE),
        # PF_MEMALLOC and the like are looked at later.
        (GFP_KERNEL, 0, CTX_PF_MEMALLOC | CTX_MEMDIE, ALLOC_CPUSET | ALLOC_KSWAPD),
    ],
)
def test_gfp_to_alloc_flags(gfp: int, order: int, ctx: int, expected: int) -> None:
    """The discounts follow from mask, order and priority."""
    driver = Driver()
    driver.machine.current.ctx = ctx

    assert expected == driver.pages.gfp_to_alloc_flags(gfp, order)


@pytest.mark.parametrize(
    ("gfp", "ctx", "expected"),
    [
        (GFP_KERNEL, 0, 0),
        (GFP_KERNEL, CTX_PF_MEMALLOC, ALLOC_NO_WATERMARKS),
        (GFP_KERNEL | NOMEMALLOC, CTX_PF_MEMALLOC, 0),
        (GFP_ATOMIC, CTX_PF_MEMALLOC | CTX_SOFTIRQ, ALLOC_NO_WATERMARKS),
        (GFP_ATOMIC, CTX_PF_MEMALLOC | CTX_HARDIRQ, 0),
        (GFP_ATOMIC | MEMALLOC, CTX_HARDIRQ, ALLOC_NO_WATERMARKS),
        (GFP_ATOMIC | MEMALLOC | NOMEMALLOC, 0, 0),
        (GFP_KERNEL, CTX_MEMDIE, ALLOC_OOM),
        (GFP_KERNEL, CTX_MEMDIE | CTX_SOFTIRQ, 0),
        (GFP_KERNEL, CTX_MEMDIE | CTX_PF_MEMALLOC, ALLOC_NO_WATERMARKS),
    ],
)
def test_who_may_use_the_reserve(gfp: int, ctx: int, expected: int) -> None:
    """__gfp_pfmemalloc_flags; a victim of the OOM killer counts as allowed for objects."""
    driver = Driver()
    driver.machine.current.ctx = ctx

    assert expected == driver.pages._gfp_pfmemalloc_flags(gfp)
    assert (expected != 0) == driver.pages.gfp_pfmemalloc_allowed(gfp)


@pytest.mark.parametrize(
    ("gfp", "ctx", "result", "af"),
    [
        (PLAIN, 0, "denied/watermark", ALLOC_CPUSET | ALLOC_KSWAPD),
        (GFP_ATOMIC, 0, "denied/watermark", ATOMIC_FLAGS),
        # The OOM killer's progress, or the endless loop: the kernel would go round again.
        (GFP_KERNEL, 0, "stalled/oom", 0x42),
        (GFP_KERNEL | RETRY_MAYFAIL, 0, "denied/watermark", 0x42),
        (GFP_KERNEL | DMA, 0, "denied/no_zone", 0x801),
        (GFP_NOIO, CTX_PF_MEMALLOC, "ok/reserve", ALLOC_NO_WATERMARKS | ALLOC_KSWAPD),
        (GFP_NOIO | NOMEMALLOC, CTX_PF_MEMALLOC, "denied/watermark", 0x840),
        # An OOM victim refused its part of the reserve gets nothing; it does not wait.
        (GFP_KERNEL, CTX_MEMDIE, "denied/watermark", 0x42),
        # Nobody else's permission, but it must not fail: without watermarks, and marked.
        (GFP_KERNEL | NOFAIL, 0, "ok/reserve", ALLOC_NO_WATERMARKS | ALLOC_CPUSET),
        (GFP_KERNEL | NOFAIL | NORETRY, 0, "stalled/nofail", ALLOC_MIN_RESERVE),
    ],
)
def test_how_a_request_below_every_line_ends(gfp: int, ctx: int, result: str, af: int) -> None:
    """Each exit of the slow path has its outcome and its last alloc_flags."""
    driver = Driver()
    driver.only_reserve()

    driver.page(gfp, ctx=ctx)

    assert (result, af) == (driver.result, driver.answer.af)


@pytest.mark.parametrize(
    ("order", "result"), [(10, "ok/above_low"), (11, "denied/order_too_large")]
)
def test_the_largest_order(order: int, result: str) -> None:
    """Orders from MAX_ORDER on are refused before anything else."""
    driver = Driver()

    driver.page(order=order)

    assert result == driver.result


def test_only_pages_had_without_watermarks_are_marked() -> None:
    """A PF_MEMALLOC caller between min and low is not marked; below min it is, till freed."""
    driver = Driver()
    driver.page(GFP_NOIO, ctx=CTX_PF_MEMALLOC)
    above = driver.answer.pfm
    driver.only_reserve()
    marked = driver.page(GFP_NOIO, order=2, ctx=CTX_PF_MEMALLOC)
    pfn = driver.answer.pfn

    assert (0, 1) == (above, driver.answer.pfm)
    assert driver.machine.stats().zones[0].pfmemalloc_pages == 4
    driver.free_page(marked)
    assert driver.machine.stats().zones[0].pfmemalloc_pages == 0
    driver.machine.set_min_free_kbytes(512)
    driver.page(order=2)
    assert (pfn, 0) == (driver.answer.pfn, driver.answer.pfm)


def test_an_oom_victim_goes_down_to_half_of_min_unmarked() -> None:
    """ALLOC_OOM is a discount, not the reserve."""
    driver = Driver()
    zone = driver.pages.zones[0]
    driver.machine.set_min_free_kbytes(4 * (10240 - 100))
    while zone.free_pages > zone.wmark_min // 2 + 512:
        driver.page(GFP_NOIO, order=9, ctx=CTX_PF_MEMALLOC)

    driver.page(PLAIN, ctx=CTX_MEMDIE)

    assert ("ok/oom_reserve", 0) == (driver.result, driver.answer.pfm)
    while zone.free_pages > zone.wmark_min // 2:
        driver.page(GFP_NOIO, ctx=CTX_PF_MEMALLOC)
    driver.page(PLAIN | HIGH, order=0, cpu=1, ctx=CTX_MEMDIE)
    assert driver.result == "denied/watermark"


def test_the_lowest_block_goes_out_first() -> None:
    """Boot frees blocks to the tail of their list."""
    driver = Driver()

    pfns = []
    for _ in range(3):
        driver.page(order=10)
        pfns.append(driver.answer.pfn)

    assert [0, 1024, 2048] == pfns


def test_kswapd_is_woken_on_the_way_down_and_once_for_each_node() -> None:
    """The slow path wakes at its start and before each retry, every node of the list."""
    driver = Driver(nodes=2)
    driver.only_reserve()

    driver.page(PLAIN)
    both = (driver.answer.wk, driver.answer.wz)
    driver.page(PLAIN | THISNODE)
    one = (driver.answer.wk, driver.answer.wz)
    driver.page(GFP_KERNEL & ~0x800 | NORETRY)

    assert ((2, 4), (2, 2), (0, 0)) == (both, one, (driver.answer.wk, driver.answer.wz))


def test_fragmentation_is_avoided_while_another_zone_of_the_node_serves() -> None:
    """Normal over DMA32: an unmovable page comes from DMA32 rather than a movable block."""
    driver = Driver(pages=4096, zone_end_pfn=(0, 2048, 4096))
    for _ in range(2):
        driver.page(GFP_HIGHUSER_MOVABLE, order=9)
    assert driver.answer.zone == "Normal"
    assert driver.answer.af & ALLOC_NOFRAGMENT

    driver.page(GFP_HIGHUSER_MOVABLE, order=9)
    driver.page(GFP_KERNEL)

    assert ("DMA32", 0) == (driver.answer.zone, driver.answer.wz)


def test_the_node_comes_before_the_type_of_block() -> None:
    """On two nodes NOFRAGMENT is dropped rather than leave the node."""
    driver = Driver(nodes=2, pages=4096, zone_end_pfn=(0, 2048, 8192))
    while driver.pages.zones[0].free_pages > 1024:
        driver.page(GFP_HIGHUSER_MOVABLE, order=9, node=0)

    driver.page(GFP_KERNEL, node=0)

    assert driver.answer.nid == 0


def test_a_node_only_request_does_not_leave_its_node() -> None:
    """__GFP_THISNODE has a zonelist of its own, in NUMA builds."""
    driver = Driver(nodes=2, pages=2048)
    driver.page(PLAIN | THISNODE, order=3, node=0)
    while driver.result.startswith("ok"):
        driver.page(PLAIN | THISNODE, order=3, node=0)

    assert driver.result == "denied/watermark"
    driver.page(PLAIN, order=3, node=0)
    assert driver.answer.nid == 1


def test_free_pages_come_back_in_the_order_of_a_stack() -> None:
    """The cpu's list is last in, first out, and another cpu does not see it."""
    driver = Driver()
    first, second = driver.page(), driver.page()
    pfn = driver.answer.pfn

    driver.free_page(first, second)
    driver.page(cpu=1)
    other = driver.answer.pfn
    driver.page()

    assert pfn == driver.answer.pfn
    assert pfn != other
    assert driver.result == "ok/pcp"


def test_attempts_are_counted_whether_they_come_to_anything() -> None:
    """The walk that failed first counts, and every walk of the slow path."""
    driver = Driver()
    driver.only_reserve()
    before = driver.machine.stats()

    driver.page(PLAIN)
    plain = driver.machine.stats()
    driver.page(GFP_NOIO, ctx=CTX_PF_MEMALLOC)
    reserve = driver.machine.stats()

    assert (0, 0) == (before.attempts_no_watermarks, before.attempts_below_min)
    assert (0, 3) == (plain.attempts_no_watermarks, plain.attempts_below_min)
    assert (1, 6) == (reserve.attempts_no_watermarks, reserve.attempts_below_min)


def test_a_trace_says_when_kswapd_is_at_work() -> None:
    """MIN_FREE by a task with PF_MEMALLOC begins it, with 0 ends it, and sets nothing."""
    driver = Driver()
    zone = driver.pages.zones[0]
    marks = int(zone.wmark_min)

    def min_free(arg: int, ctx: int = CTX_PF_MEMALLOC) -> bool:
        driver.machine.apply(struct.pack("<QQIIHhBBH", 1, 0, 0, arg, 0, -1, MIN_FREE, ctx, 0))
        return bool(zone.reclaim_active)

    assert [True, False] == [min_free(1), min_free(0)]
    assert marks == zone.wmark_min
    min_free(1024, 0)
    assert marks != zone.wmark_min
