"""What the events of a kernel mean to the model: handles, contexts, caches, masks.

An address is handed out again and again; a handle never is. Every allocation gets the
next number, and a free finds the number that stands for its address now. Frees without
an allocation are brought before :class:`Older`; pages that the kernel's slab allocator took
for itself are left out (:mod:`.slab_pages`); an allocation that failed is imported as one
that is freed at once, for the model must not keep what the kernel never gave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from allocator.events import CTX_PF_MEMALLOC
from allocator.events import KMALLOC as OP_KMALLOC
from allocator.events import MIN_FREE as OP_MIN_FREE
from allocator.events import OBJ_FREE as OP_OBJ_FREE
from allocator.events import PAGE_ALLOC as OP_PAGE_ALLOC
from allocator.events import PAGE_FREE as OP_PAGE_FREE
from tracegen.kernel_trace import report as r
from tracegen.kernel_trace.balance import MAX_PCP_ORDER, Balance
from tracegen.kernel_trace.bulk_pages import BulkPages
from tracegen.kernel_trace.cache_names import Names
from tracegen.kernel_trace.context import Contexts
from tracegen.kernel_trace.kernel_event import (
    COMPACT_BEGIN,
    COMPACT_END,
    KFREE,
    KMALLOC,
    KSWAPD_SLEEP,
    KSWAPD_WAKE,
    MARK_VICTIM,
    NO_POINTER,
    OUTSIDE,
    PAGE_ALLOC,
    PAGE_FREE,
    PAGE_FREE_BATCHED,
    PCP_DRAIN,
    PCP_REFILL,
    RECLAIM_BEGIN,
    RECLAIM_END,
    Event,
    Origin,
    Page,
    Shape,
    Thread,
)
from tracegen.kernel_trace.older import STRAY, Older
from tracegen.kernel_trace.outbox import Outbox
from tracegen.kernel_trace.report import Report
from tracegen.kernel_trace.slab_pages import SlabPages
from tracegen.kernel_trace.undecided import Undecided

MAX_ORDER: Final = 10
ZERO_SIZE_PTR: Final = 16
"""What ``kmalloc(0)`` gives, without an event; where addresses are not hashed it shows."""
_NO_ARG: Final = 0
_ANY_NODE: Final = -1


class Pairing:
    """Feed it events in their order; records come out at ``outbox``.

    ``min_free_kbytes`` is the machine's, 0 if it is not known. ``stray`` is told, and counts,
    each event of no known meaning.
    """

    def __init__(
        self,
        outbox: Outbox,
        older: Older,
        names: Names,
        contexts: Contexts,
        slabs: SlabPages,
        report: Report,
        cpus: int,
        nodes: int,
        last_handle: int,
        min_free_kbytes: int,
        balance: Balance | None = None,
        stray: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        self._tell_stray = stray
        self._outbox = outbox
        self._older = older
        self._names = names
        self._contexts = contexts
        self._report = report
        self._cpus = cpus
        self._nodes = nodes
        self._handle = last_handle
        self._min_free_kbytes = min_free_kbytes
        self._objects: dict[int, tuple[int, Shape, int]] = {}
        """Address to (handle, shape of the allocation, arg it was given)."""
        self._pages: dict[int, tuple[int, int, int]] = {}
        """First pfn to (handle, order, kind) of live blocks; handle 0 is a slab's."""
        self._parts: dict[int, int] = {}
        """Handle of a block that is freed in parts to the pages of it still in use."""
        self.highest_pfn = 0
        """Of the pages that were handed out."""
        self.highest_cpu = 0
        self.folded_cpus = 0
        """Events on cpus that the machine does not have."""
        self.kswapd_told = 0
        """Events that say that kswapd begins or ends its work."""
        self.round_ends: list[int] = []
        """When kswapd was last seen at work in each of its rounds, for :mod:`.settle`."""
        self._kswapd_ns = 0
        """When kswapd was last seen."""
        self._in_round = False
        self._lists = BulkPages()
        self._reclaimed: Thread | None = None
        """Who ended direct reclaim last, until it does anything but empty per-cpu lists."""
        self._emptying = False
        """It has begun to empty them."""
        self.folded_nodes = 0
        """Events that ask for nodes that the machine does not have."""
        self._balance = balance
        self.undecided = Undecided(outbox, slabs, self._pages, report)
        self.undecided.balance = balance

    def feed(self, events: list[Event]) -> None:
        """Take the next events."""
        for event in events:
            shape = event[0]
            role = shape.role
            thread = event[2].thread
            if thread.kswapd and role != KSWAPD_WAKE and role != KSWAPD_SLEEP:  # noqa: PLR1714  # hot
                self._kswapd_works(event[1])
            if thread is self._reclaimed:
                self._after_reclaim(role, event[1])
            if role <= KMALLOC:
                self._obj_alloc(event)
            elif role == PAGE_ALLOC:
                self._page_alloc(event)
            elif role <= KFREE:
                self._obj_free(event)
            elif role == PAGE_FREE:
                self._page_free(event)
            elif role >= PCP_REFILL:
                self._report.of(shape.kind)[r.OUTSIDE_MODEL] += 1
                if event[3] and role != OUTSIDE:
                    self._weigh(event)
            else:
                self._note(event)

    def finish(self) -> None:
        """Settle what still waits and hand everything on."""
        self.undecided.give_up_all()
        self._outbox.flush()

    @property
    def last_handle(self) -> int:
        """The last handle that was given."""
        return self._handle

    @property
    def live(self) -> int:
        """Objects and pages in use now, slabs left out."""
        return len(self._objects) + sum(1 for page in self._pages.values() if page[0])

    def _cpu(self, origin: Origin) -> int:
        """The event's cpu, or one in the place of a cpu that the machine does not have."""
        cpu = origin.cpu
        self.highest_cpu = max(self.highest_cpu, cpu)
        if cpu >= self._cpus:
            self.folded_cpus += 1
            return cpu % self._cpus
        return cpu

    def _free(self, op: int, handle: int, ts_ns: int, cpu: int, ctx: int) -> None:
        self._outbox.put(ts_ns, handle, 0, _NO_ARG, cpu, _ANY_NODE, op, ctx)

    # Objects.

    def _obj_alloc(self, event: Event) -> None:
        shape, ts_ns, origin, address = event
        key = shape.key
        if key is None:
            return
        if origin.thread.pages:
            self.undecided.object_follows(origin.thread, shape.gfp, key)
        if self._balance is not None:
            self._balance.object_follows(key, origin.thread)
        if shape.general:
            key.op = OP_KMALLOC
            op, arg = OP_KMALLOC, key.asked
        else:
            self._names.allocated(key)
            op, arg = key.op, key.arg
        self._handle += 1
        handle = self._handle
        node = shape.node
        if node >= self._nodes:
            self.folded_nodes += 1
            node = _ANY_NODE
        counts = self._report.of(shape.kind)
        cpu = self._cpu(origin)
        if address == NO_POINTER:
            counts[r.FAILED] += 1
        else:
            before = self._objects.get(address)
            if before is not None:
                self._free_unseen(ts_ns, cpu, before)
            self._objects[address] = (handle, shape, arg)
            counts[r.NEVER_FREED] += 1
        ctx = self._contexts.of(origin)
        self._outbox.put(ts_ns, handle, shape.gfp, arg, cpu, node, op, ctx)
        if address == NO_POINTER:
            self._free(OP_OBJ_FREE, handle, ts_ns, cpu, origin.bits)

    def _free_unseen(self, ts_ns: int, cpu: int, before: tuple[int, Shape, int]) -> None:
        """The address is handed out again: its free was not traced."""
        counts = self._report.of(before[1].kind)
        counts[r.NEVER_FREED] -= 1
        counts[r.FREE_UNSEEN] += 1
        self._free(OP_OBJ_FREE, before[0], ts_ns, cpu, 0)

    def _obj_free(self, event: Event) -> None:
        shape, ts_ns, origin, address = event
        thread = origin.thread
        if thread.pages:
            self.undecided.give_up(thread)
        thread.after_slab_free = shape.of_slab
        if shape.name:
            thread.last_cache = shape.name
        if address in {NO_POINTER, ZERO_SIZE_PTR}:
            self._report.of(shape.kind)[r.NULL_FREE] += 1
            return
        live = self._objects.pop(address, None)
        if live is not None:
            handle = live[0]
            self._pair_object(live, shape)
        elif shape.role == KFREE:
            handle = self._older.kmalloc(shape.kind, shape.site, address, of_slab=shape.of_slab)
        else:
            handle = self._older.object(shape.kind, shape.name, shape.site, address)
        if handle == STRAY:
            self._tell_stray(event)
        elif handle:
            self._free(OP_OBJ_FREE, handle, ts_ns, self._cpu(origin), origin.bits)

    def _pair_object(self, live: tuple[int, Shape, int], shape: Shape) -> None:
        _, allocated, arg = live
        self._report.of(shape.kind)[r.PAIRED] += 1
        counts = self._report.of(allocated.kind)
        counts[r.NEVER_FREED] -= 1
        counts[r.PAIRED] += 1
        key = allocated.key
        if key is None:
            return
        if not shape.name:
            self._older.freed(shape.site, key)
        elif not allocated.general:
            self._names.freed(key, arg, shape.name)

    # Pages.

    def _page_alloc(self, event: Event) -> None:
        shape, ts_ns, origin, pfn = event
        order = shape.order
        cpu = self._cpu(origin)
        self._handle += 1
        handle = self._handle
        thread = origin.thread
        ctx = self._contexts.of(origin)
        if pfn:
            self.highest_pfn = max(self.highest_pfn, pfn)
            before = self._pages.get(pfn)
            if before is not None and before[0]:
                self._page_free_unseen(ts_ns, cpu, before)
            self._pages[pfn] = (handle, order, shape.kind)
            if order <= MAX_PCP_ORDER:
                self._lists.on_lists -= 1 << order
            if self._balance is not None:
                self._balance.page(ts_ns, order, -(1 << order))
        waits = self.undecided.may_wait(thread, shape.gfp, order)
        if waits:
            place = self._outbox.hold(1 if pfn else 2)
        self._outbox.put(ts_ns, handle, shape.gfp, order, cpu, _ANY_NODE, OP_PAGE_ALLOC, ctx)
        if not pfn:
            self._free(OP_PAGE_FREE, handle, ts_ns, cpu, origin.bits)
        if waits:
            page = Page(place, pfn, order, shape.gfp, handle, ts_ns, shape.kind)
            self.undecided.take(thread, page)
        else:
            self._report.of(shape.kind)[r.NEVER_FREED if pfn else r.FAILED] += 1

    def _page_free_unseen(self, ts_ns: int, cpu: int, before: tuple[int, int, int]) -> None:
        """The page is handed out again: its free was not traced."""
        self.undecided.give_up_page(before[0])
        counts = self._report.of(before[2])
        counts[r.NEVER_FREED] -= 1
        counts[r.FREE_UNSEEN] += 1
        self._free(OP_PAGE_FREE, before[0], ts_ns, cpu, 0)

    def _page_free(self, event: Event) -> None:
        shape, ts_ns, origin, pfn = event
        thread = origin.thread
        if thread.pages:
            self.undecided.give_up(thread)
        of_slab = thread.after_slab_free
        thread.after_slab_free = False
        live = self._pages.get(pfn)
        if live is not None and self.undecided.any:
            self.undecided.give_up_page(live[0])
        if shape.order <= MAX_PCP_ORDER:
            self._lists.on_lists += 1 << shape.order
        if self._balance is not None:
            self._balance.page(ts_ns, shape.order, 1 << shape.order)
        if origin.in_task and (thread.compactor or thread.compacting):
            self._moved(shape.kind, pfn)
            if self._balance is not None:
                self._balance.moved.add(ts_ns, 1 << shape.order)
            return
        cpu = self._cpu(origin)
        for handle in self._freed(shape, pfn, thread, ts_ns, of_slab=of_slab):
            self._free(OP_PAGE_FREE, handle, ts_ns, cpu, origin.bits)

    def _freed(
        self, shape: Shape, pfn: int, thread: Thread, ts_ns: int, *, of_slab: bool
    ) -> tuple[int, ...]:
        """The handles that a free of this page frees; counts the event."""
        order = shape.order
        live = self._pages.get(pfn)
        if live is None:
            head = self._block_around(pfn)
            if head:
                return self._free_part(shape.kind, head, order)
            if of_slab:
                if self._balance is not None:
                    self._balance.older_slab(ts_ns, order, thread.last_cache)
                return self._older.slab_page(shape.kind, thread.last_cache, pfn, order)
            unseen = self._older.taken_unseen
            handles = self._older.pages(shape.kind, pfn, order)
            if self._balance is not None:
                self._balance.bulk_held.add(ts_ns, self._older.taken_unseen - unseen)
            return handles
        if live[0] and order < live[1]:
            return self._free_part(shape.kind, pfn, order)
        del self._pages[pfn]
        if not live[0]:
            if self._balance is not None:
                self._balance.slab_given_back(ts_ns, pfn, order)
            self._report.of(shape.kind)[r.SLAB_INTERNAL] += 1
            return ()
        self._pair_page(shape.kind, live[2])
        return (live[0],)

    def _pair_page(self, kind: int, alloc_kind: int) -> None:
        self._report.of(kind)[r.PAIRED] += 1
        counts = self._report.of(alloc_kind)
        counts[r.NEVER_FREED] -= 1
        counts[r.PAIRED] += 1

    def _block_around(self, pfn: int) -> int:
        """First pfn of the live block that the page lies in, or 0."""
        for order in range(1, MAX_ORDER + 1):
            head = pfn >> order << order
            live = self._pages.get(head)
            if live is not None and live[0] and live[1] >= order:
                return head
        return 0

    def _free_part(self, kind: int, head: int, order: int) -> tuple[int, ...]:
        """Part of a split block is freed; the model frees it whole, with the last part."""
        handle, had, alloc_kind = self._pages[head]
        left = self._parts.pop(handle, 1 << had) - (1 << order)
        if left > 0:
            self._parts[handle] = left
            self._report.of(kind)[r.PAIRED] += 1
            return ()
        del self._pages[head]
        self._pair_page(kind, alloc_kind)
        return (handle,)

    def _moved(self, kind: int, pfn: int) -> None:
        """Compaction frees a page: what was in it lies elsewhere now, or nothing was.

        It takes the pages it moves things to straight from the free lists, unseen, and
        frees those it did not need. Either way as much is in use after as before.
        """
        self._report.of(kind)[r.MOVED] += 1
        live = self._pages.pop(pfn, None)
        if live is not None and live[0]:
            counts = self._report.of(live[2])
            counts[r.NEVER_FREED] -= 1
            counts[r.PAIRED] += 1
            self._older.keep_moved(live[1], live[0])

    # The rest.

    def _weigh(self, event: Event) -> None:
        """Pages go from the free lists to the per-cpu lists, or back."""
        shape, ts_ns, _, _ = event
        pages = 1 << shape.order if shape.role == PCP_REFILL else -(1 << shape.order)
        if shape.order <= MAX_PCP_ORDER:
            self._lists.on_lists += pages
        if self._balance is not None:
            self._balance.page(ts_ns, shape.order, pages)

    def _after_reclaim(self, role: int, ts_ns: int) -> None:
        """Who has just reclaimed does something: if it got nothing, it empties all lists first."""
        if role == PCP_DRAIN:
            self._emptying = True
            return
        if self._emptying:
            taken = self._lists.emptied()
            self._older.taken_unseen += taken
            if self._balance is not None:
                self._balance.bulk.add(ts_ns, taken)
                self._balance.bulk_held.add(ts_ns, taken)
        self._emptying = False
        self._reclaimed = None

    def _note(self, event: Event) -> None:
        """An event that tells something about later ones, or nothing new."""
        shape, ts_ns, origin, address = event
        role = shape.role
        if role == PAGE_FREE_BATCHED:
            self._report.of(shape.kind)[r.TWICE] += 1
            return
        self._report.of(shape.kind)[r.CONTEXT] += 1
        thread = origin.thread
        if thread.pages:
            self.undecided.give_up(thread)
        if role == RECLAIM_BEGIN:
            self._contexts.reclaim_begins(thread)
        elif role == RECLAIM_END:
            self._contexts.reclaim_ends(thread)
            self._reclaimed = thread
        elif role == MARK_VICTIM:
            self._contexts.oom_kills(address)
        elif role in {KSWAPD_WAKE, KSWAPD_SLEEP}:
            # It says so of itself.
            thread.kswapd = origin.in_task
            self._kswapd_turns(ts_ns, wakes=role == KSWAPD_WAKE)
            self._kswapd_ns = ts_ns
        elif role in {COMPACT_BEGIN, COMPACT_END}:
            thread.compacting = role == COMPACT_BEGIN

    def _kswapd_works(self, ts_ns: int) -> None:
        if self._kswapd_ns == 0:
            # It was at work when the trace began.
            self._kswapd_turns(ts_ns, wakes=True)
        self._kswapd_ns = ts_ns

    def _kswapd_turns(self, ts_ns: int, *, wakes: bool) -> None:
        """Say that kswapd begins or ends a round. The model's own never runs.

        A round is over long before the next one, or sleep, is printed; ``round_ends`` says
        how long the work went on, and what comes here later ends nothing any more.
        """
        if self._in_round:
            self.round_ends.append(self._kswapd_ns)
            self._tell_of_kswapd(ts_ns, 0)
        if wakes:
            self._tell_of_kswapd(ts_ns, 1)
        self._in_round = wakes

    def _tell_of_kswapd(self, ts_ns: int, begins: int) -> None:
        self.kswapd_told += 1
        self._outbox.put(ts_ns, 0, 0, begins, 0, _ANY_NODE, OP_MIN_FREE, CTX_PF_MEMALLOC)
