"""What an event did to the reserve besides its outcome: one byte of bits.

:meth:`allocator.machine.Machine.observe` writes one for each event; nothing of it is
kept on the way events usually go.
"""

from __future__ import annotations

from typing import Final

LEAK_MASK: Final = 0x0F
"""A reserve object went to a caller who may not have it: 1 + the way's place in
``ObjectAllocator.leak_ways``, 0 if none did."""
MARKED: Final = 0x10
"""Pages came with ``page->pfmemalloc`` set: the reserve was drawn (P3)."""
ACTIVATED: Final = 0x20
"""``pfmemalloc_active`` became true (A1)."""
DEACTIVATED: Final = 0x40
"""``pfmemalloc_active`` became false (A9)."""
WRONGLY: Final = 0x80
"""It became false while flagged slabs were left."""
