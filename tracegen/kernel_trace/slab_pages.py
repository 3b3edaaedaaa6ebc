"""Which pages the kernel's own slab allocator took, so that they do not count twice.

The model has a slab allocator of its own, which takes its pages itself. SLUB leaves
two traces of a page it took:

* ``allocate_slab`` asks with a mask that follows from the object's: reclaim and
  placement bits of the object's mask, ``__GFP_COMP`` for more than one page (newer kernels: for
  one as well), first
  with ``__GFP_NOWARN | __GFP_NORETRY`` in the cache's best order, then, if that failed,
  as asked in its least order. The object's own event comes next in that task.
* ``kmalloc`` beyond the largest cache is a page allocation with ``__GFP_COMP``, printed
  just before it.

The kernel says so itself when it gives a slab's page back: a ``kfree`` from ``__free_slab``
precedes it. Over the run that the sample is cut from, 4,736 pages were found by the above
and given back so; 7 were missed, and 9 of 60,674 others mistaken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tracegen.kernel_trace.gfp_text import BITS

NO_MATCH: Final = 0
FIRST_TRY: Final = 1
SECOND_TRY: Final = 2
LARGE_KMALLOC: Final = 3

LARGEST_CACHE_BYTES: Final = 8192
"""SLUB's ``KMALLOC_MAX_CACHE_SIZE``: more bytes are pages."""

PAGE_BYTES: Final = 4096
_PAGE_SHIFT: Final = 12
_LARGE_ORDER: Final = 2
"""Of the least large kmalloc."""
_MAX_SLAB_ORDER: Final = 3
"""``slub_max_order``: PAGE_ALLOC_COSTLY_ORDER."""
_FRACTIONS: Final = (16, 8, 4)
_ANY_CPUS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Machines that are tried in turn when the number of cpus is not known."""
_MAX_REMEMBERED: Final = 1 << 14

_DIRECT: Final = BITS["__GFP_DIRECT_RECLAIM"]
_RECLAIM: Final = _DIRECT | BITS["__GFP_KSWAPD_RECLAIM"]
_QUIET: Final = BITS["__GFP_NOWARN"] | BITS["__GFP_NORETRY"]
_COMP: Final = BITS["__GFP_COMP"]
_KEPT: Final = (
    _RECLAIM
    | _QUIET
    | BITS["__GFP_NOFAIL"]
    | BITS["__GFP_NOMEMALLOC"]
    | BITS["__GFP_HIGH"]
    | BITS["__GFP_IO"]
    | BITS["__GFP_FS"]
    | BITS["__GFP_RETRY_MAYFAIL"]
    | BITS["__GFP_MEMALLOC"]
    | BITS["__GFP_ATOMIC"]
    | BITS["__GFP_HARDWALL"]
    | BITS["__GFP_THISNODE"]
)
"""GFP_RECLAIM_MASK | GFP_CONSTRAINT_MASK: what ``new_slab`` keeps of the object's mask."""
_OF_CACHE: Final = BITS["__GFP_RECLAIMABLE"] | BITS["__GFP_DMA"] | BITS["__GFP_DMA32"]
"""What the cache itself may add: ``allocflags``."""


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
    """Tells a slab's page from others by mask and order; remembers what it worked out.

    ``cpus`` 0 is not known. ``orders`` are those of the slabs with objects of a size, where
    something said so. ``of_slab`` is a kernel built with SLAB, not SLUB.
    """

    def __init__(
        self,
        cpus: int = 0,
        orders: Mapping[int, set[int]] | None = None,
        *,
        of_slab: bool = False,
    ) -> None:
        self._cpus = (cpus,) if cpus else _ANY_CPUS
        self._given = dict(orders or {})
        self._of_slab = of_slab
        self._orders: dict[int, tuple[set[int], int]] = {}
        self._known: dict[tuple[int, int, int, int], int] = {}

    def may_be_slab(self, mask: int, order: int, *, after_failure: bool) -> bool:
        """Tell whether the page could turn out to be a slab's, seen before the object."""
        if mask & _COMP and order >= _LARGE_ORDER:
            return True
        if mask & ~(_KEPT | _OF_CACHE | _COMP):
            return False
        return after_failure or self._of_slab or mask & _QUIET == _QUIET

    def match(self, page_mask: int, order: int, object_mask: int, size: int) -> int:
        """How the page belongs to the object of ``size`` bytes that followed it."""
        key = (page_mask, order, object_mask, size)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            found = self._known[key] = self._match(page_mask, order, object_mask, size)
        return found

    def orders(self, size: int) -> tuple[set[int], int]:
        """The orders that the cache may like for slabs of such objects, and the least one."""
        found = self._orders.get(size)
        if found is None:
            if len(self._orders) >= _MAX_REMEMBERED:
                self._orders.clear()
            best = self._given.get(size) or {slab_order(size, cpus) for cpus in self._cpus}
            found = self._orders[size] = (best, order_of(size))
        return found

    def _match(self, page_mask: int, order: int, object_mask: int, size: int) -> int:
        if size > LARGEST_CACHE_BYTES:
            large = page_mask == object_mask | _COMP and order == order_of(size)
            return LARGE_KMALLOC if large else NO_MATCH
        best, least = self.orders(size)
        asked = object_mask & _KEPT
        mask = page_mask & ~_OF_CACHE
        if order:
            asked |= _COMP
        else:
            mask &= ~_COMP
        if order in best and mask in _first_tries(asked, cheaper=order > least):
            return FIRST_TRY
        if self._of_slab and order in best and mask & ~_COMP == asked & ~_COMP:
            return FIRST_TRY
        if mask == asked and order == least:
            return SECOND_TRY
        return NO_MATCH


def _first_tries(asked: int, *, cheaper: bool) -> tuple[int, ...]:
    """The masks of a first try: without giving anything up or disturbing anybody.

    For more than the least order, and if the caller may sleep, kernels gave up
    reclaim as well: the direct one since 4.4, all since 4.8.
    """
    first = (asked | _QUIET) & ~BITS["__GFP_NOFAIL"]
    if not (cheaper and first & _DIRECT):
        return (first,)
    none = first | BITS["__GFP_NOMEMALLOC"]
    return (none & ~_RECLAIM, none & ~_DIRECT, first & ~_DIRECT, first)
