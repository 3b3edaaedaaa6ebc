"""Which pages are the slab allocator's own."""

from __future__ import annotations

import re

import pytest

from allocator.gfp import encode
from tracegen.kernel_trace.slab_pages import (
    FIRST_TRY,
    LARGE_KMALLOC,
    NO_MATCH,
    SECOND_TRY,
    SlabPages,
    order_of,
    slab_order,
)
from tracegen.samples import PROC

CACHE = re.compile(r"cache: (\S+) .* slab_size=(\d+) order=(\d+) ")


def test_slab_orders_are_those_of_the_real_kernel() -> None:
    """For each of the 166 caches of a machine with two cpus."""
    text = (PROC / "sys_kernel_slab").read_text()
    caches = [(name, int(size), int(order)) for name, size, order in CACHE.findall(text)]

    assert 166 == len(caches)
    assert caches == [(name, size, slab_order(size, 2)) for name, size, _ in caches]


@pytest.mark.parametrize(("size", "order"), [(1, 0), (4096, 0), (4097, 1), (8193, 2), (16385, 3)])
def test_order_of_bytes(size: int, order: int) -> None:
    """The least block that holds them."""
    assert order == order_of(size)


@pytest.mark.parametrize(
    ("page", "order", "asked", "size", "match"),
    [
        # Order 0, the object's own bits and the two that make the attempt cheap.
        ("GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY", 0, "GFP_KERNEL|__GFP_ZERO", 64, FIRST_TRY),
        ("GFP_NOIO|__GFP_NOWARN|__GFP_NORETRY", 0, "GFP_NOIO|__GFP_NOFAIL", 64, FIRST_TRY),
        # A cache of reclaimable objects adds its bit.
        (
            "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY|__GFP_RECLAIMABLE",
            *(0, "GFP_KERNEL_ACCOUNT", 192, FIRST_TRY),
        ),
        # More than the least order: no reclaim for it, and no reserve.
        (
            "__GFP_IO|__GFP_FS|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP|__GFP_NOMEMALLOC",
            *(1, "GFP_KERNEL", 512, FIRST_TRY),
        ),
        ("GFP_ATOMIC|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP", 1, "GFP_ATOMIC", 512, FIRST_TRY),
        # What is asked when that failed.
        ("GFP_KERNEL", 0, "GFP_KERNEL", 512, SECOND_TRY),
        ("GFP_ATOMIC|__GFP_MEMALLOC", 0, "GFP_ATOMIC|__GFP_MEMALLOC", 512, SECOND_TRY),
        # Wrong order, another mask, a user's page.
        ("GFP_ATOMIC|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP", 3, "GFP_ATOMIC", 512, NO_MATCH),
        ("GFP_NOFS|__GFP_NOWARN|__GFP_NORETRY", 0, "GFP_KERNEL", 64, NO_MATCH),
        ("GFP_HIGHUSER_MOVABLE", 0, "GFP_KERNEL", 64, NO_MATCH),
        # Beyond the largest cache.
        ("GFP_KERNEL|__GFP_COMP|__GFP_ZERO", 2, "GFP_KERNEL|__GFP_ZERO", 16384, LARGE_KMALLOC),
        ("GFP_KERNEL|__GFP_COMP", 3, "GFP_KERNEL", 16384, NO_MATCH),
        ("GFP_KERNEL", 2, "GFP_KERNEL", 16384, NO_MATCH),
    ],
)
def test_a_page_belongs_to_the_object_that_follows(
    page: str, order: int, asked: str, size: int, match: int
) -> None:
    """``allocate_slab`` makes the page's mask from the object's, in one of two ways."""
    slabs = SlabPages(2)
    page_mask = encode(page, "v6.1")

    assert match == slabs.match(page_mask, order, encode(asked, "v6.1"), size)
    if match != NO_MATCH:
        assert slabs.may_be_slab(page_mask, order, after_failure=match == SECOND_TRY)


def test_most_pages_need_not_wait() -> None:
    """A mask with bits that no slab has, or without those that every first try has."""
    slabs = SlabPages(2)

    for mask in ("GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO", "GFP_ATOMIC|__GFP_MEMALLOC"):
        assert not slabs.may_be_slab(encode(mask, "v6.1"), 0, after_failure=False)
