"""gfp bits of Linux 6.1 (``include/linux/gfp_types.h``).

The kernel's ``__GFP_X`` is ``_GFP_X`` here: a name that starts with two
underscores would be mangled inside a class.
"""

from __future__ import annotations

from typing import Final

_GFP_DMA: Final = 0x01
_GFP_HIGHMEM: Final = 0x02
_GFP_DMA32: Final = 0x04
_GFP_MOVABLE: Final = 0x08
_GFP_RECLAIMABLE: Final = 0x10
_GFP_HIGH: Final = 0x20
_GFP_IO: Final = 0x40
_GFP_FS: Final = 0x80
_GFP_ZERO: Final = 0x100
_GFP_ATOMIC: Final = 0x200
_GFP_DIRECT_RECLAIM: Final = 0x400
_GFP_KSWAPD_RECLAIM: Final = 0x800
_GFP_WRITE: Final = 0x1000
_GFP_NOWARN: Final = 0x2000
_GFP_RETRY_MAYFAIL: Final = 0x4000
_GFP_NOFAIL: Final = 0x8000
_GFP_NORETRY: Final = 0x10000
_GFP_MEMALLOC: Final = 0x20000
_GFP_COMP: Final = 0x40000
_GFP_NOMEMALLOC: Final = 0x80000
_GFP_HARDWALL: Final = 0x100000
_GFP_THISNODE: Final = 0x200000
_GFP_ACCOUNT: Final = 0x400000

_GFP_RECLAIM: Final = _GFP_DIRECT_RECLAIM | _GFP_KSWAPD_RECLAIM

GFP_ZONEMASK: Final = _GFP_DMA | _GFP_HIGHMEM | _GFP_DMA32 | _GFP_MOVABLE
GFP_MOVABLE_MASK: Final = _GFP_RECLAIMABLE | _GFP_MOVABLE
GFP_MOVABLE_SHIFT: Final = 3

GFP_CONSTRAINT_MASK: Final = _GFP_HARDWALL | _GFP_THISNODE
GFP_RECLAIM_MASK: Final = (
    _GFP_RECLAIM
    | _GFP_HIGH
    | _GFP_IO
    | _GFP_FS
    | _GFP_NOWARN
    | _GFP_RETRY_MAYFAIL
    | _GFP_NOFAIL
    | _GFP_NORETRY
    | _GFP_MEMALLOC
    | _GFP_NOMEMALLOC
    | _GFP_ATOMIC
)
"""The bits that say how hard to try: what SLAB and SLUB hand on when they grow a cache."""
