"""Anonymous pages: where each is, and on which list of reclaim's it stands.

A page is a number; its state, its handle in memory and its slot in swap stand in arrays. A
page in memory is on one of two lists: ``inactive``, in the order in which pages came in, and
``clean``, pages that reclaim has had written and may free at once (rotate_reclaimable_page()).
The referenced bit gives a page a second round on ``inactive``; there is no active list.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Final

# Where a page is.
UNTOUCHED: Final = 0
MAPPED_DIRTY: Final = 1
"""In memory, with no valid copy in swap."""
MAPPED_CLEAN: Final = 2
"""In memory, with a valid copy in swap."""
WRITING: Final = 3
"""Unmapped, being written to swap."""
WRITING_MAPPED: Final = 4
"""Being written, and mapped again meanwhile."""
CACHED: Final = 5
"""In the swap cache: in memory and in swap, unmapped."""
READING: Final = 6
"""Being read from swap."""
SWAPPED: Final = 7
DYING: Final = 8
"""Being written or read when its process ended."""

# Which list a page is on.
NO_LIST: Final = 0
ON_INACTIVE: Final = 1
ON_CLEAN: Final = 2

NO_SLOT: Final = -1
_STALE: Final = 4096
"""Entries of pages that have gone which may stand on a list, beyond as many as there are pages."""


class Pages:
    """All anonymous pages of the machine, and swap's slots."""

    __slots__ = (
        "_cursor",
        "_unmapped",
        "clean",
        "handle",
        "inactive",
        "on_list",
        "page_of",
        "referenced",
        "resident",
        "slot_of",
        "slots",
        "slots_used",
        "state",
        "writing",
    )

    def __init__(self, slots: int) -> None:
        self.state = bytearray()
        self.on_list = bytearray()
        self.referenced = bytearray()
        self.handle = array("q")
        self.slot_of = array("i")
        self.page_of = array("i", [NO_SLOT]) * slots
        """Slot to page, or NO_SLOT when the slot is free."""
        self.slots = slots
        self.slots_used = 0
        self.inactive: deque[int] = deque()
        self.clean: deque[int] = deque()
        self.resident = 0
        """Pages in memory."""
        self.writing = 0
        """Pages under writeback."""
        self._cursor = 0
        self._unmapped: dict[int, deque[range]] = {}

    def map(self, count: int) -> range:
        """Reserve ``count`` page numbers, untouched: new ones, or those of one that is gone."""
        unmapped = self._unmapped.get(count)
        if unmapped and self._is_untouched(unmapped[0]):
            return unmapped.popleft()
        first = len(self.state)
        self.state.extend(bytes(count))
        self.on_list.extend(bytes(count))
        self.referenced.extend(bytes(count))
        self.handle.extend([0] * count)
        self.slot_of.extend([NO_SLOT] * count)
        return range(first, first + count)

    def unmap(self, area: range) -> None:
        """Take page numbers back; those still under writeback or being read are on their way."""
        self._unmapped.setdefault(len(area), deque()).append(area)
        if len(self.inactive) > 2 * self.resident + _STALE:
            listed = dict.fromkeys(self.inactive)
            self.inactive = deque(p for p in listed if self.on_list[p] == ON_INACTIVE)

    def _is_untouched(self, area: range) -> bool:
        return not any(self.state[area.start : area.stop])

    def enlist(self, page: int) -> None:
        """Put a page at the young end of ``inactive``, unless it is there."""
        if self.on_list[page] != ON_INACTIVE:
            self.on_list[page] = ON_INACTIVE
            self.inactive.append(page)

    def rotate(self, page: int) -> None:
        """Put a page that has been written where reclaim looks first."""
        self.on_list[page] = ON_CLEAN
        self.clean.append(page)

    def take_slot(self, page: int) -> bool:
        """Give a page the next free slot of swap; False when swap is full."""
        if self.slots_used >= self.slots:
            return False
        page_of = self.page_of
        cursor = self._cursor
        while page_of[cursor] != NO_SLOT:
            cursor += 1
            if cursor == self.slots:
                cursor = 0
        page_of[cursor] = page
        self.slot_of[page] = cursor
        self.slots_used += 1
        self._cursor = cursor + 1 if cursor + 1 < self.slots else 0
        return True

    def drop_slot(self, page: int) -> None:
        """Free a page's slot, if it has one: its copy in swap is worthless."""
        slot = self.slot_of[page]
        if slot != NO_SLOT:
            self.page_of[slot] = NO_SLOT
            self.slot_of[page] = NO_SLOT
            self.slots_used -= 1
