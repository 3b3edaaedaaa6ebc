"""gfp masks across kernel eras: names, and translation by name.

A trace carries the bit numbers of the kernel it was taken on; its header says
which (the *flavour*). A model at another revision needs its own numbers. The
translation happens here, once per distinct mask, at the edge of the model.
"""

from __future__ import annotations

from typing import Final

FLAVOURS: Final[dict[str, dict[str, int]]] = {
    "v3.3": {
        "__GFP_DMA": 0x01,
        "__GFP_HIGHMEM": 0x02,
        "__GFP_DMA32": 0x04,
        "__GFP_MOVABLE": 0x08,
        "__GFP_WAIT": 0x10,
        "__GFP_HIGH": 0x20,
        "__GFP_IO": 0x40,
        "__GFP_FS": 0x80,
        "__GFP_COLD": 0x100,
        "__GFP_NOWARN": 0x200,
        "__GFP_REPEAT": 0x400,
        "__GFP_NOFAIL": 0x800,
        "__GFP_NORETRY": 0x1000,
        "__GFP_COMP": 0x4000,
        "__GFP_ZERO": 0x8000,
        "__GFP_NOMEMALLOC": 0x10000,
        "__GFP_HARDWALL": 0x20000,
        "__GFP_THISNODE": 0x40000,
        "__GFP_RECLAIMABLE": 0x80000,
        "__GFP_NOTRACK": 0x200000,
        "__GFP_NO_KSWAPD": 0x400000,
        "__GFP_OTHER_NODE": 0x800000,
        "__GFP_WRITE": 0x1000000,
    },
    "v6.1": {
        "__GFP_DMA": 0x01,
        "__GFP_HIGHMEM": 0x02,
        "__GFP_DMA32": 0x04,
        "__GFP_MOVABLE": 0x08,
        "__GFP_RECLAIMABLE": 0x10,
        "__GFP_HIGH": 0x20,
        "__GFP_IO": 0x40,
        "__GFP_FS": 0x80,
        "__GFP_ZERO": 0x100,
        "__GFP_ATOMIC": 0x200,
        "__GFP_DIRECT_RECLAIM": 0x400,
        "__GFP_KSWAPD_RECLAIM": 0x800,
        "__GFP_WRITE": 0x1000,
        "__GFP_NOWARN": 0x2000,
        "__GFP_RETRY_MAYFAIL": 0x4000,
        "__GFP_NOFAIL": 0x8000,
        "__GFP_NORETRY": 0x10000,
        "__GFP_MEMALLOC": 0x20000,
        "__GFP_COMP": 0x40000,
        "__GFP_NOMEMALLOC": 0x80000,
        "__GFP_HARDWALL": 0x100000,
        "__GFP_THISNODE": 0x200000,
        "__GFP_ACCOUNT": 0x400000,
        "__GFP_ZEROTAGS": 0x800000,
        # In builds with CONFIG_KASAN_HW_TAGS:
        "__GFP_SKIP_ZERO": 0x1000000,
        "__GFP_SKIP_KASAN_UNPOISON": 0x2000000,
        "__GFP_SKIP_KASAN_POISON": 0x4000000,
        # In builds with CONFIG_LOCKDEP:
        "__GFP_NOLOCKDEP": 0x8000000,
    },
}
"""Flavour to flag name to bit, from each kernel's ``include/linux/gfp.h``."""

FLAVOURS["v3.6"] = {**FLAVOURS["v3.3"], "__GFP_MEMALLOC": 0x2000}

COMPOSITES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "v3.3": {
        "GFP_HIGHUSER_MOVABLE": (
            "__GFP_WAIT",
            "__GFP_IO",
            "__GFP_FS",
            "__GFP_HARDWALL",
            "__GFP_HIGHMEM",
            "__GFP_MOVABLE",
        ),
        "GFP_HIGHUSER": (
            "__GFP_WAIT",
            "__GFP_IO",
            "__GFP_FS",
            "__GFP_HARDWALL",
            "__GFP_HIGHMEM",
        ),
        "GFP_USER": ("__GFP_WAIT", "__GFP_IO", "__GFP_FS", "__GFP_HARDWALL"),
        "GFP_TEMPORARY": ("__GFP_WAIT", "__GFP_IO", "__GFP_FS", "__GFP_RECLAIMABLE"),
        "GFP_KERNEL": ("__GFP_WAIT", "__GFP_IO", "__GFP_FS"),
        "GFP_NOFS": ("__GFP_WAIT", "__GFP_IO"),
        "GFP_NOIO": ("__GFP_WAIT",),
        "GFP_ATOMIC": ("__GFP_HIGH",),
        "GFP_NOWAIT": (),
    },
    "v6.1": {
        "GFP_TRANSHUGE": (
            "__GFP_DIRECT_RECLAIM",
            "__GFP_IO",
            "__GFP_FS",
            "__GFP_HARDWALL",
            "__GFP_HIGHMEM",
            "__GFP_MOVABLE",
            "__GFP_COMP",
            "__GFP_NOMEMALLOC",
            "__GFP_NOWARN",
        ),
        "GFP_TRANSHUGE_LIGHT": (
            "__GFP_IO",
            "__GFP_FS",
            "__GFP_HARDWALL",
            "__GFP_HIGHMEM",
            "__GFP_MOVABLE",
            "__GFP_COMP",
            "__GFP_NOMEMALLOC",
            "__GFP_NOWARN",
        ),
        "GFP_HIGHUSER_MOVABLE": (
            "__GFP_DIRECT_RECLAIM",
            "__GFP_KSWAPD_RECLAIM",
            "__GFP_IO",
            "__GFP_FS",
            "__GFP_HARDWALL",
            "__GFP_HIGHMEM",
            "__GFP_MOVABLE",
        ),
        "GFP_HIGHUSER": (
            "__GFP_DIRECT_RECLAIM",
            "__GFP_KSWAPD_RECLAIM",
            "__GFP_IO",
            "__GFP_FS",
            "__GFP_HARDWALL",
            "__GFP_HIGHMEM",
        ),
        "GFP_USER": (
            "__GFP_DIRECT_RECLAIM",
            "__GFP_KSWAPD_RECLAIM",
            "__GFP_IO",
            "__GFP_FS",
            "__GFP_HARDWALL",
        ),
        "GFP_KERNEL_ACCOUNT": (
            "__GFP_DIRECT_RECLAIM",
            "__GFP_KSWAPD_RECLAIM",
            "__GFP_IO",
            "__GFP_FS",
            "__GFP_ACCOUNT",
        ),
        "GFP_KERNEL": (
            "__GFP_DIRECT_RECLAIM",
            "__GFP_KSWAPD_RECLAIM",
            "__GFP_IO",
            "__GFP_FS",
        ),
        "GFP_NOFS": ("__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM", "__GFP_IO"),
        "GFP_NOIO": ("__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM"),
        "GFP_ATOMIC": ("__GFP_HIGH", "__GFP_ATOMIC", "__GFP_KSWAPD_RECLAIM"),
        "GFP_NOWAIT": ("__GFP_KSWAPD_RECLAIM",),
    },
}
"""The names that the kernels print for common combinations, widest first."""

COMPOSITES["v3.6"] = COMPOSITES["v3.3"]

_OTHER_NAMES: Final[dict[str, str]] = {"GFP_DMA": "__GFP_DMA", "GFP_DMA32": "__GFP_DMA32"}
"""Names without underscores that kernels print for single bits."""

_RENAMED: Final[dict[str, str]] = {
    "__GFP_REPEAT": "__GFP_RETRY_MAYFAIL",
    "__GFP_RETRY_MAYFAIL": "__GFP_REPEAT",
}
"""One flag under two names: commit dcda9b04713c ("mm, tree wide: replace
__GFP_REPEAT by __GFP_RETRY_MAYFAIL with more useful semantic") (in v4.13)."""


class GfpError(ValueError):
    """A gfp mask or name that the flavour does not know."""


def known_bits(flavour: str) -> int:
    """Every bit that has a name in a flavour."""
    return sum(FLAVOURS[flavour].values())


def mobility_bits(flavour: str) -> int:
    """GFP_MOVABLE_MASK: bits of which a mask may have one, not both."""
    return FLAVOURS[flavour]["__GFP_MOVABLE"] | FLAVOURS[flavour]["__GFP_RECLAIMABLE"]


def flag_names(mask: int, flavour: str) -> list[str]:
    """Names of the single bits set in ``mask``, lowest first.

    Raises :class:`GfpError` when a bit has no name in that flavour.
    """
    bits = FLAVOURS[flavour]
    names = [name for name, bit in bits.items() if mask & bit]
    unknown = mask
    for name in names:
        unknown &= ~bits[name]
    if unknown:
        raise GfpError(f"gfp mask {mask:#x} has bits {unknown:#x} that {flavour} does not know")
    return names


def decode(mask: int, flavour: str) -> str:
    """``mask`` the way the kernel prints it: ``GFP_KERNEL|__GFP_NOWARN``.

    Unknown bits are shown as a hexadecimal rest.
    """
    bits = FLAVOURS[flavour]
    parts: list[str] = []
    rest = mask
    for name, members in COMPOSITES[flavour].items():
        value = sum(bits[member] for member in members)
        if value and rest & value == value:
            parts.append(name)
            rest &= ~value
            break
    for name, bit in bits.items():
        if rest & bit:
            parts.append(name)
            rest &= ~bit
    if rest:
        parts.append(hex(rest))
    # No bit at all was GFP_NOWAIT until kswapd's wakeup became a bit of its own.
    return "|".join(parts) or ("none" if COMPOSITES[flavour]["GFP_NOWAIT"] else "GFP_NOWAIT")


def encode(text: str, flavour: str) -> int:
    """The mask of ``GFP_KERNEL|__GFP_NOWARN`` in that flavour's numbers.

    Raises :class:`GfpError` for a name the flavour does not have.
    """
    bits = FLAVOURS[flavour]
    composites = COMPOSITES[flavour]
    mask = 0
    for raw in text.split("|"):
        name = _OTHER_NAMES.get(raw.strip(), raw.strip())
        if name in bits:
            mask |= bits[name]
        elif name in composites:
            mask |= sum(bits[member] for member in composites[name])
        elif name.startswith("0x"):
            mask |= int(name, 16)
        elif name not in {"none", "0", ""}:
            raise GfpError(f"{flavour} has no gfp flag {name!r}")
    return mask


def translate(mask: int, source: str, target: str) -> tuple[int, bool]:
    """``mask`` of flavour ``source`` in the numbers of ``target``.

    Returns ``(mask, memalloc)``. ``memalloc`` is True when the source grants
    the reserve by ``__GFP_MEMALLOC`` and the target has no such flag: in those
    kernels the same callers ran under PF_MEMALLOC, so the event's context must
    carry it. Flags without a counterpart are dropped: the target kernel would
    not have seen them. Raises :class:`GfpError` for bits unknown to ``source``.
    """
    names = set(flag_names(mask, source))
    if source == target:
        return mask, False
    bits = FLAVOURS[target]
    names |= {_RENAMED[name] for name in names & _RENAMED.keys()}
    if "__GFP_WAIT" in bits:
        # Commit d0164adc89f6 ("mm, page_alloc: distinguish between being unable to
        # sleep, unwilling to sleep and avoiding waking kswapd") (in v4.4) split
        # __GFP_WAIT in two and turned __GFP_NO_KSWAPD round.
        if "__GFP_DIRECT_RECLAIM" in names:
            names.add("__GFP_WAIT")
        if "__GFP_KSWAPD_RECLAIM" in FLAVOURS[source] and "__GFP_KSWAPD_RECLAIM" not in names:
            names.add("__GFP_NO_KSWAPD")
    elif "__GFP_WAIT" in FLAVOURS[source]:
        if "__GFP_WAIT" in names:
            names.add("__GFP_DIRECT_RECLAIM")
        elif "__GFP_HIGH" in names:
            names.add("__GFP_ATOMIC")
        if "__GFP_NO_KSWAPD" not in names:
            names.add("__GFP_KSWAPD_RECLAIM")
    result = sum(bits[name] for name in names if name in bits)
    memalloc = (
        "__GFP_MEMALLOC" in names
        and "__GFP_MEMALLOC" not in bits
        and "__GFP_NOMEMALLOC" not in names
    )
    return result, memalloc
