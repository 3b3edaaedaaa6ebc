"""Pages that may turn out to be a slab's: they wait until their thread's next event decides.

An object whose mask and size the page fits makes it a slab's page, or the whole of a large
kmalloc. Anything else the thread does makes it a user's.
"""

from __future__ import annotations

from typing import Final

from tracegen.kernel_trace.balance import Balance
from tracegen.kernel_trace.kernel_event import Key, Page, Thread
from tracegen.kernel_trace.outbox import Outbox
from tracegen.kernel_trace.report import FAILED, NEVER_FREED, SLAB_INTERNAL, Report
from tracegen.kernel_trace.slab_pages import NO_MATCH, SECOND_TRY, SlabPages

SLAB_PAGE: Final = (0, 0, 0)
"""What a slab's page is in the table of live pages, in place of (handle, order, kind)."""
MAX_ALLOCS_BETWEEN: Final = 2
"""Objects that a thread may allocate between a slab's page and the object it was for: the
vector for its memory cgroups, and the one that vector's slab needs."""


class Undecided:
    """The pages that wait; ``pages`` is the table of live ones."""

    def __init__(
        self,
        outbox: Outbox,
        slabs: SlabPages,
        pages: dict[int, tuple[int, int, int]],
        report: Report,
    ) -> None:
        self._outbox = outbox
        self._slabs = slabs
        self._pages = pages
        self._report = report
        self._threads: dict[int, Thread] = {}
        """Handle of each page that waits, in their order, and whose it is."""
        self.balance: Balance | None = None
        self.forced = 0
        """Pages taken for a user's because too much, or for too long, waited behind them."""

    @property
    def any(self) -> bool:
        """Tell whether a page waits."""
        return len(self._threads) > 0

    def may_wait(self, thread: Thread, gfp: int, order: int) -> bool:
        """Tell whether a page may be a slab's, so that it must be held."""
        pages = thread.pages
        failed = len(pages) > 0 and pages[-1].pfn == 0
        return self._slabs.may_be_slab(gfp, order, after_failure=failed)

    def take(self, thread: Thread, page: Page) -> None:
        """Let an attempt wait; its records have been put behind its place."""
        thread.pages.append(page)
        self._threads[page.handle] = thread
        if self._outbox.is_long:
            self.forced += len(self._threads)
            self.give_up_all()

    def object_follows(self, thread: Thread, gfp: int, key: Key) -> None:
        """Decide by an object which of its thread's pages were taken for it."""
        kept: list[Page] = []
        first_failed = False
        for page in thread.pages:
            match = self._slabs.match(page.gfp, page.order, gfp, key.size)
            if match != NO_MATCH and (match != SECOND_TRY or first_failed):
                first_failed = page.pfn == 0
                self._settle_slab(page, key, thread)
                continue
            page.allocs += 1
            if page.allocs > MAX_ALLOCS_BETWEEN:
                self._settle_user(page)
            else:
                kept.append(page)
        thread.pages = kept

    def give_up(self, thread: Thread) -> None:
        """What the thread does now shows that its pages were for no slab."""
        pages = thread.pages
        thread.pages = []
        for page in pages:
            self._settle_user(page)

    def give_up_page(self, handle: int) -> None:
        """A page is freed while it waits: it went from hand to hand, and is a user's."""
        thread = self._threads.get(handle)
        if thread is not None:
            self.give_up(thread)

    def give_up_before(self, ts_ns: int) -> None:
        """Let nobody wait any longer for pages that were taken before this time."""
        for thread in list(self._threads.values()):
            if thread.pages and thread.pages[0].ts_ns < ts_ns:
                self.forced += len(thread.pages)
                self.give_up(thread)

    def give_up_all(self) -> None:
        """Nothing will come that could decide."""
        for thread in list(self._threads.values()):
            self.give_up(thread)

    def _settle_slab(self, page: Page, key: Key, thread: Thread) -> None:
        del self._threads[page.handle]
        self._report.of(page.kind)[SLAB_INTERNAL] += 1
        if page.pfn:
            if self.balance is not None:
                self.balance.slab_taken(page.ts_ns, page.pfn, page.order, key, thread)
            live = self._pages.get(page.pfn)
            if live is not None and live[0] == page.handle:
                self._pages[page.pfn] = SLAB_PAGE
        self._outbox.settle(page.place, keep=False)

    def _settle_user(self, page: Page) -> None:
        del self._threads[page.handle]
        self._report.of(page.kind)[NEVER_FREED if page.pfn else FAILED] += 1
        self._outbox.settle(page.place, keep=True)
