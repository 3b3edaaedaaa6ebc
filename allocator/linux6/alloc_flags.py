"""What an allocation may do: ``alloc_flags`` of Linux 6.1 (``mm/internal.h``)."""

from __future__ import annotations

from typing import Final

from allocator.linux6.gfp import _GFP_HIGH, _GFP_KSWAPD_RECLAIM

ALLOC_WMARK_MIN: Final = 0x00
ALLOC_WMARK_LOW: Final = 0x01
ALLOC_WMARK_HIGH: Final = 0x02
ALLOC_WMARK_MASK: Final = 0x03
ALLOC_NO_WATERMARKS: Final = 0x04
ALLOC_OOM: Final = 0x08
"""An OOM victim: half of min (cd04ae1e2dc8, "mm, oom: do not rely on TIF_MEMDIE for memory
reserves access"; in v4.14)."""
ALLOC_NON_BLOCK: Final = 0x10
"""The caller cannot sleep."""
ALLOC_MIN_RESERVE: Final = _GFP_HIGH
"""``__GFP_HIGH`` or real-time priority: half of min, and with NON_BLOCK 3/8 of it."""
ALLOC_CPUSET: Final = 0x40
ALLOC_NOFRAGMENT: Final = 0x100
"""Rather use another zone than split a block of another migrate type."""
ALLOC_HIGHATOMIC: Final = 0x200
"""HIGHATOMIC pageblocks may be used, and made."""
ALLOC_KSWAPD: Final = _GFP_KSWAPD_RECLAIM
ALLOC_RESERVES: Final = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM
