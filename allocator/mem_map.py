"""The memory map: one frame slot per page that matters, and the lists pages are on.

The kernel keeps a ``struct page`` for every page frame. Here a page is a *slot*,
an index into three packed arrays, and only pages that were ever split off get
one, so a machine costs memory for what it uses, not for what it has:

* slots ``0 … sentinels-1`` are list heads (free lists, per-cpu lists);
* then one slot per pageblock, standing for the block's first page;
* a pageblock gets slots for all its 1024 pages when it is first split
  (:meth:`MemMap.populate`), and its first page moves there.

Lists are the kernel's circular ``list_head``, with slot numbers for pointers.

The arrays grow, and growing replaces them. Code may hold one in a local name
only as long as nothing can call :meth:`MemMap.populate` in between.

Not modelled: page contents, reference counts, holes inside a pageblock.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i64, u8

PAGEBLOCK_ORDER: Final = 10
PAGEBLOCK_NR_PAGES: Final = 1024
PAGEBLOCK_MASK: Final = 1023

# The state word of a page. Below PG_ALLOCATED it says where a free page is.
# 0 … 10: first page of a free block of that order (PageBuddy, page_private = order).
PG_PCP: Final = 16
"""PG_PCP + migratetype: on a per-cpu list, page_private = migratetype."""
PG_ALLOCATED: Final = 32
"""In somebody's hands, or inside a block whose first page says more."""
PG_PFMEMALLOC: Final = 64
"""Added to PG_ALLOCATED: ``page->pfmemalloc``."""


class MemMap:
    """Page frame slots, their lists and the pageblocks' migrate types."""

    __slots__ = ("_chunk_block", "base", "block_type", "first_chunk", "next", "prev", "state")

    def __init__(self, end_pfn: int, sentinels: int) -> None:
        """Cover pfns 0 to ``end_pfn`` - 1, with ``sentinels`` list heads."""
        blocks = (end_pfn + PAGEBLOCK_NR_PAGES - 1) >> PAGEBLOCK_ORDER
        total = sentinels + blocks
        self.next: vec[i64] = vec[i64](range(total))
        self.prev: vec[i64] = vec[i64](range(total))
        self.state: vec[i64] = vec[i64]([PG_ALLOCATED] * total)
        self.base: vec[i64] = vec[i64](range(sentinels, total))
        """Slot of each pageblock's first page."""
        self.block_type: vec[u8] = vec[u8]([0] * blocks)
        """get_pageblock_migratetype() of each pageblock."""
        self.first_chunk: i64 = total
        """Slots from here on belong to populated pageblocks."""
        self._chunk_block: vec[i64] = vec[i64]()

    def slot(self, pfn: i64) -> i64:
        """``pfn_to_page``: the slot of a page that has one."""
        return self.base[pfn >> PAGEBLOCK_ORDER] + (pfn & PAGEBLOCK_MASK)

    def pfn(self, slot: i64) -> i64:
        """``page_to_pfn``."""
        if slot < self.first_chunk:
            return (slot - self.first_chunk + len(self.base)) << PAGEBLOCK_ORDER
        rest = slot - self.first_chunk
        return (self._chunk_block[rest >> PAGEBLOCK_ORDER] << PAGEBLOCK_ORDER) | (
            rest & PAGEBLOCK_MASK
        )

    def block(self, slot: i64) -> i64:
        """Number of the pageblock a slot belongs to."""
        if slot < self.first_chunk:
            return slot - self.first_chunk + len(self.base)
        return self._chunk_block[(slot - self.first_chunk) >> PAGEBLOCK_ORDER]

    def populated(self, block: i64) -> bool:
        """Whether every page of the block has a slot of its own."""
        return self.base[block] >= self.first_chunk

    def populate(self, block: i64) -> i64:
        """Give every page of the block a slot; return the first one's.

        The block's first page must not be on a list: its slot moves. The arrays
        may be replaced, so array aliases held by a caller are stale afterwards.
        """
        old = self.base[block]
        if old >= self.first_chunk:
            return old
        first: i64 = len(self.next)
        nxt = self.next
        prv = self.prev
        state = self.state
        nxt = append(nxt, 0)
        prv = append(prv, 0)
        state = append(state, state[old])
        i: i64 = 1
        while i < PAGEBLOCK_NR_PAGES:
            nxt = append(nxt, 0)
            prv = append(prv, 0)
            state = append(state, PG_ALLOCATED)
            i += 1
        self.next = nxt
        self.prev = prv
        self.state = state
        self._chunk_block = append(self._chunk_block, block)
        self.base[block] = first
        return first

    def list_add(self, new: i64, head: i64) -> None:
        """Put ``new`` behind ``head``: first on the list."""
        nxt = self.next
        after = nxt[head]
        self.prev[after] = new
        nxt[new] = after
        self.prev[new] = head
        nxt[head] = new

    def list_add_tail(self, new: i64, head: i64) -> None:
        """Put ``new`` before ``head``: last on the list."""
        prv = self.prev
        before = prv[head]
        self.next[before] = new
        prv[new] = before
        self.next[new] = head
        prv[head] = new

    def list_del(self, entry: i64) -> None:
        """Take ``entry`` off its list."""
        after = self.next[entry]
        before = self.prev[entry]
        self.next[before] = after
        self.prev[after] = before

    def list_pfns(self, head: i64) -> list[int]:
        """The pfns on a list, head to tail (for digests and views)."""
        pfns: list[int] = []
        entry = self.next[head]
        while entry != head:
            pfns.append(self.pfn(entry))
            entry = self.next[entry]
        return pfns
