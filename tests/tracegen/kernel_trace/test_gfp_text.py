"""Masks from what kernels of all eras print."""

from __future__ import annotations

import pytest

from allocator.gfp import decode, encode
from tracegen.kernel_trace.gfp_text import FLAVOUR, GfpText


@pytest.mark.parametrize(
    ("kernel", "text", "expected"),
    [
        ((6, 1), "GFP_KERNEL|__GFP_ZERO", "GFP_KERNEL|__GFP_ZERO"),
        (
            (6, 1),
            "GFP_ATOMIC|__GFP_NOWARN|__GFP_MEMALLOC",
            "GFP_ATOMIC|__GFP_NOWARN|__GFP_MEMALLOC",
        ),
        ((6, 1), "GFP_DMA32|__GFP_RECLAIM", "GFP_DMA32|GFP_NOIO"),
        ((6, 1), "0x140dca", "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO"),
        ((6, 1), "none", "none"),
        ((6, 18), "GFP_NOWAIT|__GFP_NORETRY", "GFP_NOWAIT|__GFP_NOWARN|__GFP_NORETRY"),
        ((6, 18), "GFP_HIGHUSER_MOVABLE|__GFP_SKIP_KASAN", "GFP_HIGHUSER_MOVABLE"),
        # Linux 3.3: names without underscores, both kinds of reclaim in one, kswapd always.
        ((3, 3), "GFP_KERNEL|GFP_NOWARN|GFP_NORETRY", "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY"),
        ((3, 3), "GFP_NOWAIT", "GFP_NOWAIT"),
        ((3, 3), "GFP_ATOMIC|GFP_NOMEMALLOC", "GFP_ATOMIC|__GFP_NOMEMALLOC"),
        ((3, 3), "GFP_NOWARN|GFP_NORETRY", "GFP_NOWAIT|__GFP_NOWARN|__GFP_NORETRY"),
        ((3, 3), "GFP_WAIT|GFP_IO|GFP_COLD|GFP_NOTRACK", "GFP_NOFS"),
        ((3, 3), "GFP_TEMPORARY", "GFP_KERNEL|__GFP_RECLAIMABLE"),
        ((3, 3), "GFP_KERNEL|GFP_REPEAT|0x4", "GFP_KERNEL|__GFP_RETRY_MAYFAIL|__GFP_DMA32"),
        ((3, 3), "0xd0", "GFP_KERNEL"),
        ((3, 3), "0x20", "GFP_ATOMIC"),
        ((3, 6), "GFP_ATOMIC|GFP_MEMALLOC", "GFP_ATOMIC|__GFP_MEMALLOC"),
        # Linux 4.4 split reclaim, but kept the names for one release.
        ((4, 4), "GFP_NOWARN|GFP_NORETRY", "__GFP_NOWARN|__GFP_NORETRY"),
        ((4, 4), "GFP_DIRECT_RECLAIM|GFP_IO", "__GFP_DIRECT_RECLAIM|__GFP_IO"),
        ((4, 9), "GFP_KERNEL_ACCOUNT|__GFP_REPEAT", "GFP_KERNEL_ACCOUNT|__GFP_RETRY_MAYFAIL"),
        ((4, 9), "0x24000c0", "GFP_KERNEL"),
        ((4, 14), "0x14000c0", "GFP_KERNEL"),
        # Without a version: by the names.
        ((0, 0), "GFP_NOWARN", "GFP_NOWAIT|__GFP_NOWARN"),
        ((0, 0), "__GFP_NOWARN", "__GFP_NOWARN"),
        ((0, 0), "GFP_DMA", "GFP_DMA"),
        ((0, 0), "0xcc0", "GFP_KERNEL"),
    ],
)
def test_a_mask_means_what_it_meant_to_its_kernel(
    kernel: tuple[int, int], text: str, expected: str
) -> None:
    """Names and numbers of 3.x (``include/trace/events/gfpflags.h``), 4.x, 5.x and 6.x."""
    gfp = GfpText(kernel)

    assert decode(encode(expected, FLAVOUR), FLAVOUR) == decode(gfp.mask(text), FLAVOUR)
    assert {} == gfp.unknown


def test_not_to_wake_kswapd_was_a_flag_of_its_own() -> None:
    """From its first sight on a trace is known to be of that era."""
    gfp = GfpText()

    mask = gfp.mask("GFP_HIGHUSER_MOVABLE|GFP_NO_KSWAPD")

    assert (
        encode("GFP_HIGHUSER_MOVABLE", FLAVOUR) & ~encode("__GFP_KSWAPD_RECLAIM", FLAVOUR) == mask
    )
    assert encode("GFP_ATOMIC", FLAVOUR) == gfp.mask("GFP_HIGH")


def test_the_kernel_may_be_learnt_later() -> None:
    """From the head of a text, but not against what the user said."""
    gfp = GfpText()
    gfp.mask("0xd0")
    gfp.is_of((3, 10))
    gfp.is_of((6, 1))

    assert encode("GFP_KERNEL", FLAVOUR) == gfp.mask("0xd0")


def test_what_no_kernel_has_is_left_out_and_noted() -> None:
    """Once per distinct mask."""
    gfp = GfpText()

    assert encode("GFP_KERNEL", FLAVOUR) == gfp.mask("GFP_KERNEL|__GFP_FOO|BAR|0x80000000")
    assert encode("GFP_KERNEL", FLAVOUR) == gfp.mask("GFP_KERNEL|__GFP_FOO")
    gfp.mask("GFP_KERNEL|__GFP_FOO")
    assert {"FOO": 2, "BAR": 1, "0x80000000": 1} == gfp.unknown


def test_a_mask_that_is_printed_as_nothing_is_noted() -> None:
    """6.1 does so when ``hash-ptr`` is off."""
    gfp = GfpText()

    assert (0, 1) == (gfp.mask(""), gfp.missing)


def test_a_mask_of_both_mobilities_keeps_neither_and_says_so() -> None:
    """A batch with such a mask would be refused; only a damaged line can have it."""
    gfp = GfpText((6, 1))

    assert encode("GFP_KERNEL", FLAVOUR) == gfp.mask("GFP_KERNEL|__GFP_MOVABLE|__GFP_RECLAIMABLE")
    assert {"MOVABLE|RECLAIMABLE": 1} == gfp.unknown
