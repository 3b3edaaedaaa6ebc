"""What the events of a kernel mean to the model: handles, contexts, caches, masks.

An address is handed out again and again; a handle never is. Every allocation gets the
next number, and a free finds the number that stands for its address now. Frees without
an allocation are brought before the population (:mod:`.population`); pages that the
kernel's slab allocator took for itself are left out (:mod:`.slab_pages`); an allocation that
failed is imported as one that is freed at once, for the model must not keep what the
kernel never gave.
"""

from __future__ import annotations

from typing import Final

from allocator.events import KMALLOC as OP_KMALLOC
from allocator.events import OBJ_ALLOC as OP_OBJ_ALLOC
from allocator.events import OBJ_FREE as OP_OBJ_FREE
from allocator.events import PAGE_ALLOC as OP_PAGE_ALLOC
from allocator.events import PAGE_FREE as OP_PAGE_FREE
from tracegen.kernel_trace import report as r
from tracegen.kernel_trace.cache_names import GENERAL, CacheNames, Key, NameSurvey
from tracegen.kernel_trace.context import Contexts
from tracegen.kernel_trace.gfp_text import GfpText
from tracegen.kernel_trace.lines import (
    KFREE,
    KMALLOC,
    MARK_VICTIM,
    OBJ_ALLOC,
    OBJ_FREE,
    OUTSIDE,
    PAGE_ALLOC,
    PAGE_FREE,
    PAGE_FREE_BATCHED,
    RECLAIM_BEGIN,
    RECLAIM_END,
    Event,
    Task,
)
from tracegen.kernel_trace.outbox import Outbox
from tracegen.kernel_trace.population import Older
from tracegen.kernel_trace.report import Report
from tracegen.kernel_trace.slab_pages import SlabPages
from tracegen.kernel_trace.undecided import Undecided

NULL: Final = frozenset({"0000000000000000", "(nil)", "0x0", "0", "(null)", "00000000"})
"""How kernels and tools print a null pointer."""

SLAB_FREE_SITES: Final = ("__free_slab", "free_slab", "discard_slab", "__free_memcg_slab")
"""Where SLUB frees the vector that belongs to a slab, just before the slab's page itself
(``memcg_free_slab_cgroups``; it does so for slabs without a vector too)."""

COMPACTOR: Final = "kcompactd"

MAX_ORDER: Final = 10
_MAX_THREADS: Final = 1 << 16
_IN_TASK: Final = ("", ".")
_INTERRUPT_KEYS: Final = {"s": 1, "h": 2, "H": 3, "z": 4, "Z": 5, ".": 6, "": 6}


class Pairing:
    """Feed it events in their order; records come out at ``outbox``.

    ``names`` is what names the caches; a :class:`NameSurvey` in its place makes this a
    first reading, which only learns.
    """

    def __init__(
        self,
        outbox: Outbox,
        older: Older,
        names: CacheNames | NameSurvey,
        contexts: Contexts,
        gfp: GfpText,
        slabs: SlabPages,
        report: Report,
        cpus: int,
        nodes: int,
        last_handle: int,
    ) -> None:
        self._outbox = outbox
        self._older = older
        self._names = names if isinstance(names, CacheNames) else None
        self._survey = names if isinstance(names, NameSurvey) else None
        self._contexts = contexts
        self._gfp = gfp
        self._report = report
        self._cpus = cpus
        self._nodes = nodes
        self._handle = last_handle
        self._objects: dict[str, tuple[int, int, int, Key]] = {}
        """Address to (handle, cache id, kind of event, key)."""
        self._pages: dict[int, tuple[int, int]] = {}
        """First pfn to (handle, order) of live blocks; handle 0 is a slab's."""
        self._parts: dict[int, int] = {}
        """Handle of a block that is freed in parts to the pages of it still in use."""
        self._after_slab_free: set[int] = set()
        self._last_cache: dict[int, str] = {}
        self.highest_pfn = 0
        """Of the pages that were handed out."""
        self.highest_cpu = 0
        """Of the cpus that the machine does not have."""
        self.folded_cpus = 0
        """Events on cpus that the machine does not have."""
        self.folded_nodes = 0
        """Events that ask for nodes that the machine does not have."""
        self._do = {
            OBJ_ALLOC: self._obj_alloc,
            KMALLOC: self._obj_alloc,
            PAGE_ALLOC: self._page_alloc,
            OBJ_FREE: self._obj_free,
            KFREE: self._obj_free,
            PAGE_FREE: self._page_free,
            PAGE_FREE_BATCHED: self._printed_twice,
            RECLAIM_BEGIN: self._reclaim,
            RECLAIM_END: self._reclaim,
            MARK_VICTIM: self._mark_victim,
        }
        self._counts = {kind: report.of(kind) for kind in self._do}
        self.undecided = Undecided(outbox, slabs, self._pages, self._counts[PAGE_ALLOC])
        self._waiting = self.undecided.waiting

    def feed(self, event: Event) -> None:
        """Take the next event."""
        kind = event[0]
        if kind >= OUTSIDE:
            self._report.of(kind)[r.OUTSIDE_MODEL] += 1
        else:
            self._do[kind](event)

    def finish(self) -> None:
        """Settle what still waits and hand everything on."""
        self.undecided.give_up_all()
        self._outbox.flush()

    @property
    def live(self) -> int:
        """Objects and pages in use now, slabs left out."""
        return len(self._objects) + sum(1 for handle, _ in self._pages.values() if handle)

    def _fold(self, cpu: int) -> int:
        """A cpu in the place of one that the machine does not have."""
        self.highest_cpu = max(self.highest_cpu, cpu)
        self.folded_cpus += 1
        return cpu % self._cpus

    def _new_handle(self) -> int:
        self._handle += 1
        return self._handle

    # Objects.

    def _obj_alloc(self, event: Event) -> None:
        kind, ts_ns, cpu, task, interrupt, fields = event
        site, ptr, asked, given, gfp_text, node_text, name = fields
        key = (site or "", asked or "", given or "")
        size = int(key[2])
        gfp = self._gfp.mask(gfp_text or "")
        if self._waiting:
            self.undecided.object_follows(_thread(task, cpu, interrupt), gfp, size)
        if cpu >= self._cpus:
            cpu = self._fold(cpu)
        cache_id = GENERAL
        if kind == OBJ_ALLOC:
            if self._names is not None:
                cache_id = self._names.of(key, name)
            elif self._survey is not None:
                self._survey.allocated(key)
        handle = self._new_handle()
        node = int(node_text) if node_text else -1
        if node >= self._nodes:
            self.folded_nodes += 1
            node = -1
        counts = self._counts[kind]
        address = ptr or ""
        if address in NULL:
            counts[r.FAILED] += 1
        else:
            before = self._objects.pop(address, None)
            if before is not None:
                self._free_unseen(event, before)
            self._objects[address] = (handle, cache_id, kind, key)
            counts[r.NEVER_FREED] += 1
        op, arg = (OP_OBJ_ALLOC, cache_id) if cache_id != GENERAL else (OP_KMALLOC, int(key[1]))
        ctx = self._contexts.of(task, interrupt)
        put = self._outbox.put
        put(ts_ns, handle, gfp, arg, cpu, node, op, ctx)
        if address in NULL:
            put(ts_ns, handle, 0, 0, cpu, -1, OP_OBJ_FREE, ctx)

    def _free_unseen(self, event: Event, before: tuple[int, int, int, Key]) -> None:
        """The address is handed out again: its free was not traced."""
        counts = self._counts[before[2]]
        counts[r.NEVER_FREED] -= 1
        counts[r.FREE_UNSEEN] += 1
        self._outbox.put(event[1], before[0], 0, 0, event[2] % self._cpus, -1, OP_OBJ_FREE, 0)

    def _obj_free(self, event: Event) -> None:
        kind, ts_ns, cpu, task, interrupt, fields = event
        site = fields[0] or ""
        address = fields[1] or ""
        name = fields[2] or "" if kind == OBJ_FREE else ""
        thread = _thread(task, cpu, interrupt)
        if self._waiting:
            self.undecided.give_up(thread)
        self._note_free(thread, site, name)
        counts = self._counts[kind]
        if address in NULL:
            counts[r.NULL_FREE] += 1
            return
        live = self._objects.pop(address, None)
        if live is None:
            handle = self._older_object(thread, counts, site, name, address)
            if not handle:
                return
        else:
            handle = live[0]
            self._pair_object(live, counts, site, name)
        if cpu >= self._cpus:
            cpu = self._fold(cpu)
        ctx = self._contexts.interrupt_bits(interrupt)
        self._outbox.put(ts_ns, handle, 0, 0, cpu, -1, OP_OBJ_FREE, ctx)

    def _note_free(self, thread: int, site: str, name: str) -> None:
        """Remember what tells whose page a thread frees next."""
        if name:
            if len(self._last_cache) >= _MAX_THREADS:
                self._last_cache.clear()
            self._last_cache[thread] = name
        elif site.startswith(SLAB_FREE_SITES):
            self._after_slab_free.add(thread)
            return
        if self._after_slab_free:
            self._after_slab_free.discard(thread)

    def _pair_object(
        self, live: tuple[int, int, int, Key], counts: list[int], site: str, name: str
    ) -> None:
        _, cache_id, alloc_kind, key = live
        counts[r.PAIRED] += 1
        alloc_counts = self._counts[alloc_kind]
        alloc_counts[r.NEVER_FREED] -= 1
        alloc_counts[r.PAIRED] += 1
        if alloc_kind == KMALLOC:
            self._older.kfreed(site, int(key[2]))
        elif name:
            self._learn(key, cache_id, name)

    def _older_object(
        self, thread: int, counts: list[int], site: str, name: str, address: str
    ) -> int:
        if name:
            handle = self._older.take_object(name, address)
            missing = r.BULK if self._older.is_bulk(name) else r.UNMATCHED
        else:
            handle = self._older.take_kmalloc(site)
            missing = r.SLAB_INTERNAL if thread in self._after_slab_free else r.UNMATCHED
        counts[r.OLDER if handle else missing] += 1
        return handle

    def _learn(self, key: Key, cache_id: int, name: str) -> None:
        if self._names is not None:
            self._names.freed(key, cache_id, name)
        elif self._survey is not None:
            self._survey.freed(key, name)

    # Pages.

    def _page_alloc(self, event: Event) -> None:
        _, ts_ns, cpu, task, interrupt, fields = event
        pfn = int(fields[0] or "0", 0)
        order = int(fields[1] or "0")
        gfp = self._gfp.mask(fields[2] or "")
        thread = _thread(task, cpu, interrupt)
        if cpu >= self._cpus:
            cpu = self._fold(cpu)
        handle = self._new_handle()
        ctx = self._contexts.of(task, interrupt)
        if pfn:
            self.highest_pfn = max(self.highest_pfn, pfn)
            before = self._pages.get(pfn)
            if before is not None and before[0]:
                self._page_free_unseen(event, before)
            self._pages[pfn] = (handle, order)
        if self.undecided.take(thread, pfn, order, gfp, handle, ts_ns, cpu, ctx):
            return
        counts = self._counts[PAGE_ALLOC]
        put = self._outbox.put
        put(ts_ns, handle, gfp, order, cpu, -1, OP_PAGE_ALLOC, ctx)
        if pfn:
            counts[r.NEVER_FREED] += 1
        else:
            counts[r.FAILED] += 1
            put(ts_ns, handle, 0, 0, cpu, -1, OP_PAGE_FREE, ctx)

    def _page_free_unseen(self, event: Event, before: tuple[int, int]) -> None:
        """The page is handed out again: its free was not traced."""
        self.undecided.give_up_page(before[0])
        counts = self._counts[PAGE_ALLOC]
        counts[r.NEVER_FREED] -= 1
        counts[r.FREE_UNSEEN] += 1
        self._outbox.put(event[1], before[0], 0, 0, event[2] % self._cpus, -1, OP_PAGE_FREE, 0)

    def _page_free(self, event: Event) -> None:
        _, ts_ns, cpu, task, interrupt, fields = event
        pfn = int(fields[0] or "0", 0)
        order = int(fields[1] or "0")
        thread = _thread(task, cpu, interrupt)
        if self._waiting:
            self.undecided.give_up(thread)
        of_slab = thread in self._after_slab_free
        if of_slab:
            self._after_slab_free.discard(thread)
        live = self._pages.get(pfn)
        if live is not None and live[0] and self._waiting:
            self.undecided.give_up_page(live[0])
        counts = self._counts[PAGE_FREE]
        if task[1].startswith(COMPACTOR) and interrupt in _IN_TASK:
            self._moved(pfn, counts)
            return
        handles = self._freed_handles(pfn, order, thread, counts, of_slab=of_slab)
        if not handles:
            return
        if cpu >= self._cpus:
            cpu = self._fold(cpu)
        ctx = self._contexts.interrupt_bits(interrupt)
        for handle in handles:
            self._outbox.put(ts_ns, handle, 0, 0, cpu, -1, OP_PAGE_FREE, ctx)

    def _freed_handles(
        self, pfn: int, order: int, thread: int, counts: list[int], *, of_slab: bool
    ) -> tuple[int, ...]:
        """The handles that a free of this page frees; counts the event."""
        live = self._pages.pop(pfn, None)
        if live is None:
            head = self._block_around(pfn)
            if head:
                return self._free_part(head, order, counts)
            return self._older_pages(pfn, order, thread, counts, of_slab=of_slab)
        handle, had = live
        if not handle:
            counts[r.SLAB_INTERNAL] += 1
            return ()
        if order < had:
            self._pages[pfn] = live
            return self._free_part(pfn, order, counts)
        self._pair_page(counts)
        return (handle,)

    def _pair_page(self, counts: list[int]) -> None:
        counts[r.PAIRED] += 1
        alloc_counts = self._counts[PAGE_ALLOC]
        alloc_counts[r.NEVER_FREED] -= 1
        alloc_counts[r.PAIRED] += 1

    def _block_around(self, pfn: int) -> int:
        """First pfn of the live block that the page lies in, or 0."""
        for order in range(1, MAX_ORDER + 1):
            head = pfn >> order << order
            live = self._pages.get(head)
            if live is not None and live[0] and live[1] >= order:
                return head
        return 0

    def _free_part(self, head: int, order: int, counts: list[int]) -> tuple[int, ...]:
        """Part of a split block is freed; the model frees it whole, with the last part."""
        handle, had = self._pages[head]
        left = self._parts.pop(handle, 1 << had) - (1 << order)
        if left > 0:
            self._parts[handle] = left
            counts[r.PAIRED] += 1
            return ()
        del self._pages[head]
        self._pair_page(counts)
        return (handle,)

    def _older_pages(
        self, pfn: int, order: int, thread: int, counts: list[int], *, of_slab: bool
    ) -> tuple[int, ...]:
        if of_slab:
            taken = self._older.take_slab_page(self._last_cache.get(thread, ""), pfn, order)
        else:
            taken = self._older.take_pages(pfn, order)
        if taken is None:
            counts[r.SLAB_INTERNAL] += 1
            return ()
        counts[r.OLDER if taken else r.UNMATCHED] += 1
        return tuple(taken)

    def _moved(self, pfn: int, counts: list[int]) -> None:
        """Compaction frees a page: what was in it lies elsewhere now, or nothing was.

        It takes the pages it moves things to straight from the free lists, unseen, and
        frees those it did not need. Either way as much is in use after as before.
        """
        counts[r.MOVED] += 1
        live = self._pages.pop(pfn, None)
        if live is not None and live[0]:
            alloc_counts = self._counts[PAGE_ALLOC]
            alloc_counts[r.NEVER_FREED] -= 1
            alloc_counts[r.PAIRED] += 1
            self._older.keep_moved(live[1], live[0])

    # The rest.

    def _printed_twice(self, event: Event) -> None:
        self._counts[event[0]][r.TWICE] += 1

    def _reclaim(self, event: Event) -> None:
        kind, _, cpu, task, interrupt, _ = event
        self._counts[kind][r.CONTEXT] += 1
        if self._waiting:
            self.undecided.give_up(_thread(task, cpu, interrupt))
        if kind == RECLAIM_BEGIN:
            self._contexts.reclaim_begins(task[0])
        else:
            self._contexts.reclaim_ends(task[0])

    def _mark_victim(self, event: Event) -> None:
        self._counts[event[0]][r.CONTEXT] += 1
        self._contexts.oom_kills(int(event[5][0] or "0"))


def _thread(task: Task, cpu: int, interrupt: str) -> int:
    """One number for what runs by itself: a task, or the interrupts of a cpu."""
    if interrupt in _IN_TASK and task[0]:
        return task[0]
    return -(cpu * 8 + _INTERRUPT_KEYS[interrupt])
