"""Allocations that failed: on the machine, in the model, in both.

An import lets an allocation that failed on the machine be freed at once, so that the model
does not keep what the kernel never gave. Other traces do not tell.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from allocator.events import KMALLOC, OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC, PAGE_FREE, RECORD_SIZE
from allocator.gfp import FLAVOURS
from allocator.outcome import FIRST_DENIED
from tracegen.batch import rows

RECLAIM: Final = "the machine reclaimed meanwhile, the model does not"
FEWER_FREE: Final = "the model had fewer free pages"
MORE_FREE: Final = "the model had more free pages"
BLOCKS: Final = "only one of them had a block of that order"
AT_HAND: Final = "the model's slab had an object at hand"
GROWN: Final = "the model's slab allocator got a page"

_ALLOCATES: Final = {PAGE_ALLOC, OBJ_ALLOC, KMALLOC}
_NO_PAGE_TAKEN: Final = {16, 17, 18, 19, 8, 9, 10, 11, 13, 15}
"""Outcomes of objects for which no slab was grown (:mod:`allocator.outcome`)."""


class Failures:
    """Counts them, record by record."""

    def __init__(self, flavour: str) -> None:
        bits = FLAVOURS[flavour]
        self._sleeps = bits.get("__GFP_DIRECT_RECLAIM", bits.get("__GFP_WAIT", 0))
        self.both = 0
        self.machine_only: Counter[str] = Counter()
        """By why the model did not."""
        self.model_only: Counter[str] = Counter()
        """By why the machine did not."""

    @property
    def machine(self) -> int:
        """All that failed on the machine."""
        return self.both + self.machine_only.total()

    @property
    def model(self) -> int:
        """All that failed in the model."""
        return self.both + self.model_only.total()

    def count(self, records: bytes, told: bytes) -> None:
        """Take records and what :meth:`Machine.observe` told of them.

        The free of a failed allocation must not be cut off from it.
        """
        behind = rows(records[RECORD_SIZE:])
        for index, row in enumerate(rows(records)):
            following = next(behind, None)
            op, ts_ns, handle, gfp, arg = row[:5]
            if op not in _ALLOCATES:
                continue
            outcome = told[index * 2]
            model_failed = outcome >= FIRST_DENIED
            machine_failed = (
                following is not None
                and following[0] in {PAGE_FREE, OBJ_FREE}
                and following[2] == handle
                and following[1] == ts_ns
            )
            order = arg if op == PAGE_ALLOC else 0
            if model_failed and machine_failed:
                self.both += 1
            elif model_failed:
                self.model_only[self._why_only_the_model(gfp, order)] += 1
            elif machine_failed:
                self.machine_only[_why_only_the_machine(op, order, outcome)] += 1

    def _why_only_the_model(self, gfp: int, order: int) -> str:
        if gfp & self._sleeps:
            return RECLAIM
        return BLOCKS if order else FEWER_FREE


def _why_only_the_machine(op: int, order: int, outcome: int) -> str:
    if op == PAGE_ALLOC:
        return BLOCKS if order else MORE_FREE
    return AT_HAND if outcome in _NO_PAGE_TAKEN else GROWN
