"""Pages that may turn out to be a slab's: they wait until their task's next event decides.

An object whose mask and size the page fits makes it a slab's page, or the whole of a large
kmalloc. Anything else the task does makes it a user's.
"""

from __future__ import annotations

from typing import Final

from allocator.events import PAGE_ALLOC, PAGE_FREE
from tracegen.batch import RECORD
from tracegen.kernel_trace.outbox import Outbox
from tracegen.kernel_trace.report import FAILED, NEVER_FREED, SLAB_INTERNAL
from tracegen.kernel_trace.slab_pages import NO_MATCH, SECOND_TRY, SlabPages

SLAB_PAGE: Final = (0, 0)
"""What a slab's page is in the table of live pages, in place of (handle, order)."""
MAX_ALLOCS_BETWEEN: Final = 2
"""Objects that a task may allocate between a slab's page and the object it was for: the
vector for its memory cgroups, and the one that vector's slab needs."""


class _Page:
    """One attempt to get a page, successful or not, in its place in the outbox."""

    __slots__ = ("allocs", "gfp", "handle", "order", "pfn", "place", "record", "undo")

    def __init__(
        self, place: int, pfn: int, order: int, gfp: int, handle: int, record: bytes, undo: bytes
    ) -> None:
        self.place = place
        self.pfn = pfn
        """0 if the kernel gave none."""
        self.order = order
        self.gfp = gfp
        self.handle = handle
        self.record = record
        self.undo = undo
        """For an attempt that failed, the free that takes it back."""
        self.allocs = 0
        """Objects that the task allocated since."""


class Undecided:
    """The pages that wait, by what runs by itself: a task, or the interrupts of a cpu.

    ``pages`` is the table of live pages, ``counts`` the categories of mm_page_alloc.
    """

    def __init__(
        self,
        outbox: Outbox,
        slabs: SlabPages,
        pages: dict[int, tuple[int, int]],
        counts: list[int],
    ) -> None:
        self._outbox = outbox
        self._slabs = slabs
        self._pages = pages
        self._counts = counts
        self.waiting: dict[int, list[_Page]] = {}
        self.forced = 0
        """Pages taken for a user's because too much waited behind them."""

    def take(
        self,
        thread: int,
        pfn: int,
        order: int,
        gfp: int,
        handle: int,
        ts_ns: int,
        cpu: int,
        ctx: int,
    ) -> bool:
        """Let an attempt wait if it may be a slab's; tell whether it does."""
        before = self.waiting.get(thread)
        failed = before is not None and not before[-1].pfn
        if not self._slabs.may_be_slab(gfp, order, after_failure=failed):
            return False
        record = RECORD.pack(ts_ns, handle, gfp, order, cpu, -1, PAGE_ALLOC, ctx, 0)
        undo = b"" if pfn else RECORD.pack(ts_ns, handle, 0, 0, cpu, -1, PAGE_FREE, ctx, 0)
        page = _Page(self._outbox.hold(), pfn, order, gfp, handle, record, undo)
        self.waiting.setdefault(thread, []).append(page)
        if self._outbox.is_long:
            self.forced += sum(map(len, self.waiting.values()))
            self.give_up_all()
        return True

    def object_follows(self, thread: int, gfp: int, size: int) -> None:
        """Decide by an object which of its task's pages were taken for it."""
        waiting = self.waiting.get(thread)
        if waiting is None:
            return
        kept: list[_Page] = []
        first_failed = False
        for page in waiting:
            match = self._slabs.match(page.gfp, page.order, gfp, size)
            if match != NO_MATCH and (match != SECOND_TRY or first_failed):
                first_failed = not page.pfn
                self._settle_slab(page)
                continue
            page.allocs += 1
            if page.allocs > MAX_ALLOCS_BETWEEN:
                self._settle_user(page)
            else:
                kept.append(page)
        if kept:
            self.waiting[thread] = kept
        else:
            del self.waiting[thread]

    def give_up(self, thread: int) -> None:
        """What the task does now shows that its pages were for no slab."""
        for page in self.waiting.pop(thread, ()):
            self._settle_user(page)

    def give_up_page(self, handle: int) -> None:
        """A page is freed while it waits: it went from hand to hand, and is a user's."""
        for thread, waiting in list(self.waiting.items()):
            if any(page.handle == handle for page in waiting):
                self.give_up(thread)

    def give_up_all(self) -> None:
        """Nothing will come that could decide."""
        for thread in list(self.waiting):
            self.give_up(thread)

    def _settle_slab(self, page: _Page) -> None:
        self._counts[SLAB_INTERNAL] += 1
        if page.pfn and self._pages.get(page.pfn) == (page.handle, page.order):
            self._pages[page.pfn] = SLAB_PAGE
        self._outbox.settle(page.place)

    def _settle_user(self, page: _Page) -> None:
        if page.pfn:
            self._counts[NEVER_FREED] += 1
            self._outbox.settle(page.place, page.record)
        else:
            self._counts[FAILED] += 1
            self._outbox.settle(page.place, page.record, page.undo)
