"""Which pages the kernel's own slab allocator took, so that they do not count twice.

The model has a slab allocator of its own, which takes its pages itself. SLUB leaves
two traces of a page it took:

* ``allocate_slab`` asks with a mask that follows from the object's: reclaim and
  placement bits of the object's mask, ``__GFP_COMP`` for more than one page, first
  with ``__GFP_NOWARN | __GFP_NORETRY`` in the cache's best order, then, if that failed,
  as asked in its least order. The object's own event comes next in that task.
* ``kmalloc`` beyond the largest cache is a page allocation with ``__GFP_COMP``, printed
  just before it.

The kernel says so itself when it gives a slab's page back: a ``kfree`` from ``__free_slab``
precedes it. Over the run that the sample is cut from, 4,736 pages were found by the above
and given back so; 7 were missed, and 9 of 60,674 others mistaken.
"""

from __future__ import annotations

from typing import Final

from allocator.gfp import FLAVOURS

NO_MATCH: Final = 0
FIRST_TRY: Final = 1
SECOND_TRY: Final = 2
LARGE_KMALLOC: Final = 3

LARGEST_CACHE_BYTES: Final = 8192
"""SLUB's ``KMALLOC_MAX_CACHE_SIZE``: more bytes are pages."""

PAGE_BYTES: Final = 4096
_PAGE_SHIFT: Final = 12
_MAX_SLAB_ORDER: Final = 3
"""``slub_max_order``: PAGE_ALLOC_COSTLY_ORDER."""
_FRACTIONS: Final = (16, 8, 4)
_MAX_REMEMBERED: Final = 1 << 14


def order_of(size: int) -> int:
    """``get_order``: the order of the smallest block that holds so many bytes."""
    return ((size - 1) >> _PAGE_SHIFT).bit_length()


def slab_order(size: int, cpus: int) -> int:
    """``calculate_order`` of ``mm/slub.c``: the order SLUB likes for objects of ``size``."""
    least = 4 * (cpus.bit_length() + 1)
    objects = min(least, (PAGE_BYTES << _MAX_SLAB_ORDER) // size)
    while objects > 1:
        for fraction in _FRACTIONS:
            for order in range(order_of(objects * size), _MAX_SLAB_ORDER + 1):
                slab = PAGE_BYTES << order
                if slab % size <= slab // fraction:
                    return order
        objects -= 1
    return order_of(size)


class SlabPages:
    """Tells a slab's page from others by mask and order; remembers what it worked out."""

    def __init__(self, flavour: str, cpus: int) -> None:
        bits = FLAVOURS[flavour]
        self._direct = bits["__GFP_DIRECT_RECLAIM"]
        self._reclaim = self._direct | bits["__GFP_KSWAPD_RECLAIM"]
        self._quiet = bits["__GFP_NOWARN"] | bits["__GFP_NORETRY"]
        self._nofail = bits["__GFP_NOFAIL"]
        self._nomemalloc = bits["__GFP_NOMEMALLOC"]
        self._comp = bits["__GFP_COMP"]
        # GFP_RECLAIM_MASK | GFP_CONSTRAINT_MASK: what new_slab keeps of the object's mask.
        self._kept = (
            self._reclaim
            | self._quiet
            | self._nofail
            | self._nomemalloc
            | bits["__GFP_HIGH"]
            | bits["__GFP_IO"]
            | bits["__GFP_FS"]
            | bits["__GFP_RETRY_MAYFAIL"]
            | bits["__GFP_MEMALLOC"]
            | bits["__GFP_ATOMIC"]
            | bits["__GFP_HARDWALL"]
            | bits["__GFP_THISNODE"]
        )
        # What the cache itself may add: allocflags.
        self._of_cache = bits["__GFP_RECLAIMABLE"] | bits["__GFP_DMA"] | bits["__GFP_DMA32"]
        self._cpus = cpus
        self._orders: dict[int, tuple[int, int]] = {}
        self._known: dict[tuple[int, int, int, int], int] = {}

    def may_be_slab(self, mask: int, order: int, *, after_failure: bool) -> bool:
        """Tell whether the page could turn out to be a slab's, seen before the object."""
        if mask & self._comp and order >= order_of(LARGEST_CACHE_BYTES + 1):
            return True
        if mask & ~(self._kept | self._of_cache | self._comp):
            return False
        return after_failure or mask & self._quiet == self._quiet

    def match(self, page_mask: int, order: int, object_mask: int, size: int) -> int:
        """How the page belongs to the object of ``size`` bytes that followed it."""
        key = (page_mask, order, object_mask, size)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            found = self._known[key] = self._match(page_mask, order, object_mask, size)
        return found

    def orders(self, size: int) -> tuple[int, int]:
        """The best and the least order of a slab of such objects."""
        found = self._orders.get(size)
        if found is None:
            if len(self._orders) >= _MAX_REMEMBERED:
                self._orders.clear()
            found = self._orders[size] = (slab_order(size, self._cpus), order_of(size))
        return found

    def _match(self, page_mask: int, order: int, object_mask: int, size: int) -> int:
        if size > LARGEST_CACHE_BYTES:
            large = page_mask == object_mask | self._comp and order == order_of(size)
            return LARGE_KMALLOC if large else NO_MATCH
        best, least = self.orders(size)
        asked = object_mask & self._kept
        if order:
            asked |= self._comp
        mask = page_mask & ~self._of_cache
        first = (asked | self._quiet) & ~self._nofail
        if first & self._direct and best > least:
            first = (first | self._nomemalloc) & ~self._reclaim
        if mask == first and order == best:
            return FIRST_TRY
        if mask == asked and order == least:
            return SECOND_TRY
        return NO_MATCH
