"""Masks from the names that a kernel prints."""

from __future__ import annotations

import pytest

from allocator.gfp import FLAVOURS
from tracegen.kernel_trace.gfp_text import GfpText

BITS = FLAVOURS["v6.1"]


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("GFP_ATOMIC|__GFP_NOWARN", 0x2A20),
        ("GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO", 0x140DCA),
        ("none", 0),
        ("0x140dca", 0x140DCA),
        ("GFP_DMA32|__GFP_RECLAIM", 0xC04),
        ("GFP_DMA", 0x1),
    ],
)
def test_names_become_bits(text: str, mask: int) -> None:
    """As the kernel's own header has them; the values are those of a raw report."""
    gfp = GfpText("v6.1")

    assert mask == gfp.mask(text)
    assert {} == gfp.unknown


@pytest.mark.parametrize("name", ["__GFP_FANCY", "0x80000000", "0xzz"])
def test_what_the_flavour_does_not_know_is_left_out_and_noted(name: str) -> None:
    """A header of that flavour could not carry it."""
    gfp = GfpText("v6.1")

    masks = {gfp.mask(f"GFP_NOWAIT|{name}"), gfp.mask(f"GFP_NOWAIT|{name}")}

    assert {BITS["__GFP_KSWAPD_RECLAIM"]} == masks
    assert {name: 1} == gfp.unknown
