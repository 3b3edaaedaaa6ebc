"""The gfp masks of a kernel trace, from the names that the kernel prints."""

from __future__ import annotations

from typing import Final

from allocator.gfp import FLAVOURS, GfpError, encode

ALIASES: Final[dict[str, str]] = {
    "GFP_DMA": "__GFP_DMA",
    "GFP_DMA32": "__GFP_DMA32",
    "__GFP_RECLAIM": "__GFP_DIRECT_RECLAIM|__GFP_KSWAPD_RECLAIM",
}
"""Names of ``include/trace/events/mmflags.h`` beyond the flavour's own."""

_MAX_REMEMBERED: Final = 4096


class GfpText:
    """Turns text such as ``GFP_ATOMIC|__GFP_NOWARN`` into a mask, once per text."""

    def __init__(self, flavour: str) -> None:
        self.flavour = flavour
        self.unknown: dict[str, int] = {}
        """Names and bits that the flavour does not have, and in how many distinct masks:
        they are left out."""
        self._known_bits = sum(FLAVOURS[flavour].values())
        self._masks: dict[str, int] = {}

    def mask(self, text: str) -> int:
        """The mask; what the flavour does not know is left out of it and noted."""
        mask = self._masks.get(text)
        if mask is None:
            if len(self._masks) >= _MAX_REMEMBERED:
                self._masks.clear()
            mask = self._masks[text] = self._encode(text)
        return mask

    def _encode(self, text: str) -> int:
        mask = 0
        for name in text.split("|"):
            try:
                bits = encode(ALIASES.get(name, name), self.flavour)
            except (GfpError, ValueError):
                self._leave_out(name)
                continue
            if bits & ~self._known_bits:
                self._leave_out(hex(bits & ~self._known_bits))
            mask |= bits & self._known_bits
        return mask

    def _leave_out(self, name: str) -> None:
        if name in self.unknown or len(self.unknown) < _MAX_REMEMBERED:
            self.unknown[name] = self.unknown.get(name, 0) + 1
