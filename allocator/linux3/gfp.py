"""gfp bits of Linux 3.3 and 3.6 (``include/linux/gfp.h``).

The kernel's ``__GFP_X`` is ``_GFP_X`` here: a name that starts with two
underscores would be mangled inside a class.
"""

from __future__ import annotations

from typing import Final

_GFP_DMA: Final = 0x01
_GFP_HIGHMEM: Final = 0x02
_GFP_DMA32: Final = 0x04
_GFP_MOVABLE: Final = 0x08
_GFP_WAIT: Final = 0x10
_GFP_HIGH: Final = 0x20
_GFP_IO: Final = 0x40
_GFP_FS: Final = 0x80
_GFP_COLD: Final = 0x100
_GFP_NOWARN: Final = 0x200
_GFP_REPEAT: Final = 0x400
_GFP_NOFAIL: Final = 0x800
_GFP_NORETRY: Final = 0x1000
_GFP_MEMALLOC: Final = 0x2000
"""Linux 3.6 only: commit b37f1dd0f543 ("mm: introduce __GFP_MEMALLOC") (in v3.6)."""
_GFP_COMP: Final = 0x4000
_GFP_ZERO: Final = 0x8000
_GFP_NOMEMALLOC: Final = 0x10000
_GFP_HARDWALL: Final = 0x20000
_GFP_THISNODE: Final = 0x40000
_GFP_RECLAIMABLE: Final = 0x80000
_GFP_NOTRACK: Final = 0x200000
_GFP_NO_KSWAPD: Final = 0x400000
_GFP_OTHER_NODE: Final = 0x800000
_GFP_WRITE: Final = 0x1000000

GFP_NOWAIT: Final = 0
GFP_ATOMIC: Final = _GFP_HIGH
GFP_NOIO: Final = _GFP_WAIT
GFP_NOFS: Final = _GFP_WAIT | _GFP_IO
GFP_KERNEL: Final = _GFP_WAIT | _GFP_IO | _GFP_FS
GFP_TEMPORARY: Final = GFP_KERNEL | _GFP_RECLAIMABLE
GFP_USER: Final = GFP_KERNEL | _GFP_HARDWALL
GFP_HIGHUSER: Final = GFP_USER | _GFP_HIGHMEM
GFP_HIGHUSER_MOVABLE: Final = GFP_HIGHUSER | _GFP_MOVABLE
GFP_THISNODE: Final = _GFP_THISNODE | _GFP_NOWARN | _GFP_NORETRY
"""In builds with CONFIG_NUMA; 0 without."""

GFP_CONSTRAINT_MASK: Final = _GFP_HARDWALL | _GFP_THISNODE
GFP_RECLAIM_MASK: Final = (
    _GFP_WAIT
    | _GFP_HIGH
    | _GFP_IO
    | _GFP_FS
    | _GFP_NOWARN
    | _GFP_REPEAT
    | _GFP_NOFAIL
    | _GFP_NORETRY
    | _GFP_NOMEMALLOC
)
"""Linux 3.3; 3.6 adds ``__GFP_MEMALLOC``."""
