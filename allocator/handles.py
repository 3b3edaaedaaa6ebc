"""Live handles: what each handle of the trace stands for in the model.

An open-addressing hash table in one packed array, key and value side by side, so
that an event costs about one cache line however many handles are live. Deleting
shifts entries back, so there are no tombstones and no decay.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

ABSENT: Final = -1
"""What :meth:`HandleTable.pop` and :meth:`HandleTable.get` return for an unknown handle."""

_SPREAD: Final = 0x9E3779B1
"""2^32 divided by the golden ratio: consecutive handles land far apart, so that runs
of occupied cells stay short. Keeping neighbours together looks better for the cache
and measured four times slower, because such runs grow long."""
_DROP_BITS: Final = 15
"""The product's lowest bits depend on few bits of the handle."""
_FIRST_SIZE: Final = 1024


class HandleTable:
    """A map from 64-bit handle (not 0) to a value of 0 or more."""

    __slots__ = ("_cells", "_grow_at", "_mask", "live")

    def __init__(self) -> None:
        """Begin empty."""
        self._cells: vec[i64] = vec[i64]([0] * (2 * _FIRST_SIZE))
        self._mask: i64 = _FIRST_SIZE - 1
        self._grow_at: i64 = _FIRST_SIZE // 2
        self.live: i64 = 0
        """Number of handles in the table."""

    def reserve(self, handle: i64) -> i64:
        """Add a handle and return its cell for :meth:`fill`, or ABSENT if it is live already.

        The cell is good until the next reserve or pop.
        """
        if self.live >= self._grow_at:
            self._grow()
        cells = self._cells
        mask = self._mask
        at = (handle * _SPREAD >> _DROP_BITS) & mask
        while True:
            key = cells[2 * at]
            if key == 0:
                cells[2 * at] = handle
                self.live += 1
                return 2 * at + 1
            if key == handle:
                return ABSENT
            at = (at + 1) & mask

    def fill(self, cell: i64, value: i64) -> None:
        """Give a reserved handle its value."""
        self._cells[cell] = value

    def get(self, handle: i64) -> i64:
        """The handle's value, or ABSENT."""
        cells = self._cells
        mask = self._mask
        at = (handle * _SPREAD >> _DROP_BITS) & mask
        while True:
            key = cells[2 * at]
            if key == handle:
                return cells[2 * at + 1]
            if key == 0:
                return ABSENT
            at = (at + 1) & mask

    def pop(self, handle: i64) -> i64:
        """Remove a handle and return its value, or ABSENT."""
        cells = self._cells
        mask = self._mask
        at = (handle * _SPREAD >> _DROP_BITS) & mask
        while True:
            key = cells[2 * at]
            if key == handle:
                break
            if key == 0:
                return ABSENT
            at = (at + 1) & mask
        value = cells[2 * at + 1]
        self.live -= 1
        # Close the gap: move back every entry of the run that may stand here.
        hole = at
        while True:
            at = (at + 1) & mask
            key = cells[2 * at]
            if key == 0:
                cells[2 * hole] = 0
                return value
            home = (key * _SPREAD >> _DROP_BITS) & mask
            if (at - home) & mask >= (at - hole) & mask:
                cells[2 * hole] = key
                cells[2 * hole + 1] = cells[2 * at + 1]
                hole = at

    def _grow(self) -> None:
        old = self._cells
        size = (self._mask + 1) * 2
        cells = vec[i64]([0] * (2 * size))
        mask = size - 1
        i: i64 = 0
        end: i64 = len(old)
        while i < end:
            key = old[i]
            if key != 0:
                at = (key * _SPREAD >> _DROP_BITS) & mask
                while cells[2 * at] != 0:
                    at = (at + 1) & mask
                cells[2 * at] = key
                cells[2 * at + 1] = old[i + 1]
            i += 2
        self._cells = cells
        self._mask = mask
        self._grow_at = size // 2

    def pairs(self) -> list[tuple[int, int]]:
        """Every (handle, value), by handle (for digests and checks)."""
        cells = self._cells
        return sorted(
            (int(cells[i]), int(cells[i + 1])) for i in range(0, len(cells), 2) if cells[i] != 0
        )
