"""gfp masks: decoded, encoded and translated between kernel eras by name."""

from __future__ import annotations

import pytest

from allocator.gfp import COMPOSITES, FLAVOURS, GfpError, decode, encode, flag_names, translate


@pytest.mark.parametrize(
    ("flavour", "mask", "text"),
    [
        ("v3.3", 0, "GFP_NOWAIT"),
        ("v3.3", 0xD0, "GFP_KERNEL"),
        ("v3.3", 0x20, "GFP_ATOMIC"),
        ("v3.6", 0x2020, "GFP_ATOMIC|__GFP_MEMALLOC"),
        # Not to wake kswapd became a bit of its own, so no bit is no name.
        ("v6.1", 0, "none"),
        ("v6.1", 0x800, "GFP_NOWAIT"),
        ("v6.1", 0xCC0, "GFP_KERNEL"),
        ("v6.1", 0xA20, "GFP_ATOMIC"),
        ("v6.1", 0x100CCA, "GFP_HIGHUSER_MOVABLE"),
        ("v6.1", 0x12CC0, "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY"),
    ],
)
def test_masks_are_spelled_as_kernels_print_them(flavour: str, mask: int, text: str) -> None:
    """Decode and encode are each other's inverse."""
    assert text == decode(mask, flavour)
    assert mask == encode(text, flavour)


@pytest.mark.parametrize(("text", "mask"), [("GFP_DMA", 0x1), ("GFP_KERNEL|GFP_DMA32", 0xCC4)])
def test_the_printed_names_of_zones_are_understood(text: str, mask: int) -> None:
    """Kernels print GFP_DMA for __GFP_DMA."""
    assert mask == encode(text, "v6.1")


@pytest.mark.parametrize(
    ("source", "text", "target", "expected"),
    [
        ("v6.1", "GFP_KERNEL", "v3.3", "GFP_KERNEL"),
        ("v6.1", "GFP_ATOMIC", "v3.3", "GFP_ATOMIC"),
        ("v6.1", "GFP_NOWAIT", "v3.3", "GFP_NOWAIT"),
        ("v6.1", "__GFP_IO|__GFP_FS", "v3.3", "__GFP_IO|__GFP_FS|__GFP_NO_KSWAPD"),
        ("v6.1", "GFP_KERNEL|__GFP_RETRY_MAYFAIL", "v3.3", "GFP_KERNEL|__GFP_REPEAT"),
        ("v6.1", "GFP_KERNEL|__GFP_ACCOUNT|__GFP_ZEROTAGS", "v3.3", "GFP_KERNEL"),
        ("v6.1", "GFP_ATOMIC|__GFP_MEMALLOC", "v3.6", "GFP_ATOMIC|__GFP_MEMALLOC"),
        ("v3.3", "GFP_KERNEL", "v6.1", "GFP_KERNEL"),
        ("v3.3", "GFP_ATOMIC", "v6.1", "GFP_ATOMIC"),
        ("v3.3", "GFP_NOWAIT", "v6.1", "GFP_NOWAIT"),
        ("v3.3", "GFP_KERNEL|__GFP_NO_KSWAPD", "v6.1", "__GFP_IO|__GFP_FS|__GFP_DIRECT_RECLAIM"),
        ("v3.6", "GFP_NOIO|__GFP_MEMALLOC", "v6.1", "GFP_NOIO|__GFP_MEMALLOC"),
    ],
)
def test_translation_is_by_name(source: str, text: str, target: str, expected: str) -> None:
    """The target's numbers say what the source's said, as far as the target knows it."""
    mask, memalloc = translate(encode(text, source), source, target)

    assert (expected, False) == (decode(mask, target), memalloc)


def test_a_reserve_that_a_kernel_cannot_spell_is_lent_as_pf_memalloc() -> None:
    """Linux 3.3 knows no __GFP_MEMALLOC; __GFP_NOMEMALLOC still wins."""
    granted = translate(encode("GFP_ATOMIC|__GFP_MEMALLOC", "v6.1"), "v6.1", "v3.3")
    denied = translate(encode("__GFP_MEMALLOC|__GFP_NOMEMALLOC", "v6.1"), "v6.1", "v3.3")

    assert (0x20, True) == granted
    assert not denied[1]


@pytest.mark.parametrize("flavour", list(FLAVOURS))
def test_unknown_bits_are_refused(flavour: str) -> None:
    """A bit without a name is an error that names it."""
    with pytest.raises(GfpError, match="0x80000000"):
        flag_names(0x80000000, flavour)
    with pytest.raises(GfpError, match="0x80000000"):
        translate(0x800000C0, flavour, "v6.1")
    with pytest.raises(GfpError, match="GFP_NONSENSE"):
        encode("GFP_NONSENSE", flavour)


@pytest.mark.parametrize("flavour", list(FLAVOURS))
def test_every_name_has_one_bit_and_composites_are_made_of_names(flavour: str) -> None:
    """The tables agree with themselves."""
    bits = FLAVOURS[flavour]

    assert len(bits) == len(set(bits.values()))
    assert all(bit & (bit - 1) == 0 for bit in bits.values())
    assert all(set(members) <= bits.keys() for members in COMPOSITES[flavour].values())
