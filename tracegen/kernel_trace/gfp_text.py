"""The gfp masks of a kernel trace, from what kernels of all eras print.

Names are translated to one flavour by their meaning. Before Linux 4.5 single flags were
printed without underscores (``GFP_NOWARN``); before 4.4 ``__GFP_WAIT`` stood for both
kinds of reclaim, and not to wake kswapd was a flag of its own. A mask that is a number, or
the rest of one that the kernel had no name for, is in that kernel's own bits.
"""

from __future__ import annotations

from typing import Final

from allocator.gfp import COMPOSITES, FLAVOURS, mobility_bits

FLAVOUR: Final = "v6.1"
"""Whose numbers the masks of an imported trace are in."""

BITS: Final = FLAVOURS[FLAVOUR]
"""Flag name to bit."""
_RECLAIM: Final = BITS["__GFP_DIRECT_RECLAIM"] | BITS["__GFP_KSWAPD_RECLAIM"]
_KSWAPD: Final = BITS["__GFP_KSWAPD_RECLAIM"]
_MOBILITY: Final = mobility_bits(FLAVOUR)
"""A mask has one of these or none."""

_COMPOSITES: Final[dict[str, int]] = {
    name: sum(BITS[member] for member in members) for name, members in COMPOSITES[FLAVOUR].items()
}
# Until 4.13.
_COMPOSITES["GFP_TEMPORARY"] = _COMPOSITES["GFP_KERNEL"] | BITS["__GFP_RECLAIMABLE"]

_SINGLES: Final[dict[str, int]] = {
    **{name.removeprefix("__GFP_"): bit for name, bit in BITS.items()},
    "WAIT": _RECLAIM,
    "RECLAIM": _RECLAIM,
    "REPEAT": BITS["__GFP_RETRY_MAYFAIL"],
    # Flags that came or went with no meaning to Linux 6.1's page allocator:
    **dict.fromkeys(
        ("COLD", "NOTRACK", "OTHER_NODE", "KMEMCG", "NOACCOUNT", "SKIP_KASAN", "NO_OBJ_EXT"), 0
    ),
}
"""A single flag's name without its prefix, to the bits that it means."""

_BITS_4_4: Final[dict[int, str]] = {
    0x1: "DMA",
    0x2: "HIGHMEM",
    0x4: "DMA32",
    0x8: "MOVABLE",
    0x10: "RECLAIMABLE",
    0x20: "HIGH",
    0x40: "IO",
    0x80: "FS",
    0x100: "COLD",
    0x200: "NOWARN",
    0x400: "REPEAT",
    0x800: "NOFAIL",
    0x1000: "NORETRY",
    0x2000: "MEMALLOC",
    0x4000: "COMP",
    0x8000: "ZERO",
    0x10000: "NOMEMALLOC",
    0x20000: "HARDWALL",
    0x40000: "THISNODE",
    0x80000: "ATOMIC",
    0x100000: "ACCOUNT",
    0x200000: "NOTRACK",
    0x400000: "DIRECT_RECLAIM",
    0x800000: "OTHER_NODE",
    0x1000000: "WRITE",
    0x2000000: "KSWAPD_RECLAIM",
}
"""``include/linux/gfp.h`` of Linux 4.4 to 4.12."""
_BITS_4_13: Final[dict[int, str]] = {
    **_BITS_4_4,
    0x800000: "WRITE",
    0x1000000: "KSWAPD_RECLAIM",
    0x2000000: "NOLOCKDEP",
}
"""Of Linux 4.13 to 4.20: __GFP_OTHER_NODE was gone."""
_BITS_3: Final = {bit: name.removeprefix("__GFP_") for name, bit in FLAVOURS["v3.6"].items()} | {
    0x100000: "KMEMCG"
}
_BITS_6: Final = {bit: name.removeprefix("__GFP_") for name, bit in BITS.items()}

_SPLIT: Final = (4, 4)
"""Commit d0164adc89f6: __GFP_WAIT was split in two."""
_NO_OTHER_NODE: Final = (4, 13)
_REORDERED: Final = (5, 0)
_QUIET_NOWAIT: Final = (6, 18)
"""Seen there; some kernels between 6.1 and it have it too."""
_NO_KSWAPD: Final = "NO_KSWAPD"
_ALWAYS_BARE: Final = {"GFP_DMA", "GFP_DMA32", *_COMPOSITES}
_NOTHING: Final = {"", "none", "0", "0x0"}

_MAX_REMEMBERED: Final = 4096
_MAX_UNKNOWN: Final = 64


class GfpText:
    """Turns text such as ``GFP_ATOMIC|__GFP_NOWARN`` into a mask, once per text.

    ``kernel`` is (major, minor) of the kernel that printed it, (0, 0) if that is not known: then
    names decide, and numbers are taken for those of Linux 5.0 and later.
    """

    def __init__(self, kernel: tuple[int, int] = (0, 0)) -> None:
        self.unknown: dict[str, int] = {}
        """Names and bits that no kernel of these has, and in how many distinct masks:
        they are left out."""
        self.missing = 0
        """Distinct masks that are printed as nothing at all (``hash-ptr`` off, on 6.1)."""
        self._kernel = (0, 0)
        self._splits_wait = False
        self._has_wait = False
        self._quiet_nowait = False
        self._numbers = _BITS_6
        self._masks: dict[str, int] = {}
        self.is_of(kernel)

    def is_of(self, kernel: tuple[int, int]) -> None:
        """Take note of the kernel, unless one is known already."""
        if self._kernel == (0, 0) != kernel:
            self._kernel = kernel
            self._splits_wait = kernel >= _SPLIT
            self._has_wait = kernel < _SPLIT
            self._quiet_nowait = kernel >= _QUIET_NOWAIT
            self._numbers = _numbers_of(kernel)
            self._masks.clear()

    def nowait_is_quiet(self) -> None:
        """From now on GFP_NOWAIT has __GFP_NOWARN in it.

        So it is in kernels that name the cache of an allocation.
        """
        if not self._quiet_nowait:
            self._quiet_nowait = True
            self._masks.clear()

    def mask(self, text: str) -> int:
        """The mask; what no kernel has is left out of it and noted."""
        mask = self._masks.get(text)
        if mask is None:
            if len(self._masks) >= _MAX_REMEMBERED:
                self._masks.clear()
            mask = self._encode(text)
            if mask & _MOBILITY == _MOBILITY:  # a damaged line: the kernel would warn of it
                self._leave_out("MOVABLE|RECLAIMABLE")
                mask &= ~_MOBILITY
            self._masks[text] = mask
        return mask

    def _encode(self, text: str) -> int:
        if not text:
            self.missing += 1
        parts = text.split("|")
        mask = 0
        for part in parts:
            mask |= _COMPOSITES.get(part, 0)
        if "GFP_NOWAIT" in parts and self._quiet_nowait:
            mask |= BITS["__GFP_NOWARN"]
        flags: set[str] = set()
        for part in set(parts) - _COMPOSITES.keys() - _NOTHING:
            if part.startswith(("__GFP_", "GFP_")):
                flags.add(part.removeprefix("__").removeprefix("GFP_"))
            else:
                flags |= self._numbered(part)
        bare = any(part.startswith("GFP_") for part in parts if part not in _ALWAYS_BARE)
        for flag in flags - _SINGLES.keys() - {_NO_KSWAPD}:
            self._leave_out(flag)
        for flag in flags & _SINGLES.keys():
            mask |= _SINGLES[flag]
        if self._wakes_kswapd(flags, bare=bare):
            mask |= _KSWAPD
            if mask & BITS["__GFP_HIGH"] and not mask & BITS["__GFP_DIRECT_RECLAIM"]:
                mask |= BITS["__GFP_ATOMIC"]
        return mask & ~_KSWAPD if _NO_KSWAPD in flags else mask

    def _wakes_kswapd(self, flags: set[str], *, bare: bool) -> bool:
        """Whether kswapd is woken without a flag that says so: before Linux 4.4.

        There, too, a mask that may not sleep and has __GFP_HIGH was atomic.
        """
        if flags & {"DIRECT_RECLAIM", "KSWAPD_RECLAIM", "ATOMIC"}:
            self._splits_wait = True
        if flags & {"WAIT", _NO_KSWAPD}:
            self._has_wait = True
        return self._has_wait or (bare and not self._splits_wait)

    def _numbered(self, text: str) -> set[str]:
        """The flags of a mask that is a number, in the kernel's own bits."""
        try:
            rest = int(text, 0)
        except ValueError:
            self._leave_out(text)
            return set()
        found = set()
        for bit, name in self._numbers.items():
            if rest & bit:
                rest &= ~bit
                found.add(name)
        if rest:
            self._leave_out(hex(rest))
        return found

    def _leave_out(self, name: str) -> None:
        if name in self.unknown or len(self.unknown) < _MAX_UNKNOWN:
            self.unknown[name] = self.unknown.get(name, 0) + 1


def _numbers_of(kernel: tuple[int, int]) -> dict[int, str]:
    if kernel >= _REORDERED:
        return _BITS_6
    if kernel >= _NO_OTHER_NODE:
        return _BITS_4_13
    return _BITS_4_4 if kernel >= _SPLIT else _BITS_3
