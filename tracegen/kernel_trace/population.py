"""What was in use before the trace began.

A trace begins in the middle of a machine's life. Without what was there already the
model would be an empty machine, never under pressure, and frees of older things would have
nothing to free. So a trace of ours opens with a prelude that allocates it, under
handles that later frees of unknown addresses take one by one.

How much of what: when a trace is read whole first, exactly what it will free
(:mod:`.ledger`). A live trace gets objects as /proc/slabinfo counts them, up to a bound, and
single pages. The rest of what was in use, and is never freed, stands as large blocks. Pages
that the model's own slab allocator will take for the objects are left out of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from allocator.events import KMALLOC, MARK, MIN_FREE, OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC, PAGE_FREE
from allocator.gfp import encode
from tracegen.kernel_trace import report as r
from tracegen.kernel_trace.cache_names import GENERAL, OWN_CACHES, CacheTable, general_size
from tracegen.kernel_trace.gfp_text import FLAVOUR
from tracegen.kernel_trace.kernel_event import Key
from tracegen.kernel_trace.older import NOT_IN_PRELUDE, STRAY, Older, Plan, ZoneUse
from tracegen.kernel_trace.outbox import Outbox
from tracegen.kernel_trace.proc import CacheUse
from tracegen.kernel_trace.report import Report
from tracegen.kernel_trace.slab_pages import PAGE_BYTES, SlabPages

ZONE_MASKS: Final = ("GFP_KERNEL|__GFP_DMA", "GFP_KERNEL|__GFP_DMA32", "GFP_KERNEL")
"""Masks that take pages of DMA, DMA32 and Normal, from where they stand without falling back."""

BIG_ORDER: Final = 10
BIG_BLOCKS_LEFT: Final = 4
"""Largest blocks of a zone that are not asked for: holes and its reserve cut some."""
MIDDLE_ORDER: Final = 5
LOWEST_MIN_FREE_KBYTES: Final = 128
"""The kernel's own least: what the prelude runs under, so that it can fill a zone down to
what was free, be that below the zone's low watermark."""
MAX_POOL_OBJECTS: Final = 128
"""Objects of one cache that a pipe's prelude allocates."""
MAX_POOL_PAGES: Final = 1 << 16
"""Single pages of one zone that a pipe's prelude allocates."""
MAX_SPARE_SLOTS: Final = 1 << 10
"""Free slots of one cache that a prelude makes."""
BOOSTED: Final = 2048
"""The last pages of a zone, which a boost of its watermarks (two pageblocks) could deny."""
BEGIN_LABEL: Final = "the trace begins"

_MAX_SEEN: Final = 1 << 20


def plan_unread(
    zones: Sequence[ZoneUse], uses: Mapping[str, CacheUse], general: Mapping[int, CacheUse]
) -> Plan:
    """A plan for a live trace: from what /proc/slabinfo counts, bounded.

    ``uses`` is what is in the caches by name, ``general`` in the general ones by size.
    """
    plan = Plan(learns=True)
    plan.objects = {name: min(u.active, MAX_POOL_OBJECTS) for name, u in uses.items() if u.active}
    plan.kmallocs = {
        size: min(u.active, MAX_POOL_OBJECTS) for size, u in general.items() if u.active
    }
    for index, zone in enumerate(zones):
        if zone.free is not None:
            plan.pages[index, 0] = min(zone.managed - zone.free, MAX_POOL_PAGES)
    return plan


def plan_spare(
    plan: Plan, uses: Mapping[str, CacheUse], general: Mapping[int, CacheUse], cpus: int
) -> None:
    """Add the free slots that SLUB holds back on each cpu, which slabinfo counts as in use.

    A cpu has a slab of its own and a list of partial ones with ``cpu_partial`` free slots at most.
    Half of what fits on average is free: over the run that the sample is cut from, the model then
    has as many slab pages as the kernel, give or take 90; without it 140 to 190 more.
    """
    plan.spare_objects = {n: _spare_slots(use, cpus) for n, use in uses.items() if use.active}
    plan.spare_kmallocs = {n: _spare_slots(use, cpus) for n, use in general.items() if use.active}


def _spare_slots(use: CacheUse, cpus: int) -> int:
    slots = cpus * (use.per_slab + use.cpu_partial) // 4
    return min(slots, use.active, MAX_SPARE_SLOTS)


class Population(Older):
    """The handles of what was in use, and the prelude that allocates it."""

    def __init__(
        self,
        report: Report,
        plan: Plan,
        zones: Sequence[ZoneUse],
        caches: CacheTable,
        slabs: SlabPages,
        cpus: int,
    ) -> None:
        super().__init__(report, zones)
        self._plan = plan
        self._zones = zones
        self._caches = caches
        self._cpus = cpus
        self.last_handle = 0
        self._objects: dict[str, list[int]] = {}
        self._kmallocs: dict[int, list[int]] = {}
        self._pages: dict[tuple[int, int], list[int]] = {}
        self._sites = dict(plan.sites)
        self._seen: set[int] = set()
        self.blocks: list[tuple[int, int, int]] = []
        """Blocks that are never freed: (index of the zone, order, how many)."""
        self._spare: list[tuple[int, int, int, int]] = []
        """Objects of which every second is freed at once: (op, arg, first handle, how many)."""
        self.used_more = 0
        """Pages that the trace frees beyond what was in use at the time of the files."""
        self._per_cpu: list[tuple[int, int, int]] = []
        """Pages that are freed at once, to the per-cpu lists: (index of the zone, first, how
        many)."""
        self._build(slabs)

    def _build(self, slabs: SlabPages) -> None:
        slab_pages = 0
        for name, count in self._plan.objects.items():
            cache_id = self._caches.find(name)
            if cache_id is not None and cache_id != GENERAL and count:
                self._objects[name] = self._handles(count)
                slab_pages += _pages_for(count, self._caches.specs[cache_id].size, slabs)
        for size, count in self._plan.kmallocs.items():
            self._kmallocs[size] = self._handles(count)
            slab_pages += _pages_for(count, size, slabs)
        slab_pages += self._build_spare(slabs)
        # Where objects come from: the highest zone that has pages.
        highest = max(
            (index for index, zone in enumerate(self._zones) if zone.managed),
            key=lambda index: (self._zones[index].zone, -self._zones[index].node),
            default=0,
        )
        for index, zone in enumerate(self._zones):
            self._fill(index, zone, slab_pages if index == highest else 0)

    def _build_spare(self, slabs: SlabPages) -> int:
        """Slabs that begin half empty; return how many pages they take."""
        pages = 0
        for name, slots in self._plan.spare_objects.items():
            cache_id = self._caches.find(name)
            if cache_id is not None and cache_id != GENERAL:
                pages += self._half_empty(
                    OBJ_ALLOC, cache_id, self._caches.specs[cache_id].size, slots, slabs
                )
        for size, slots in self._plan.spare_kmallocs.items():
            pages += self._half_empty(KMALLOC, size, size, slots, slabs)
        return pages

    def _half_empty(self, op: int, arg: int, size: int, slots: int, slabs: SlabPages) -> int:
        first, end = self._handles(2 * slots)
        self._spare.append((op, arg, first, end - first))
        return _pages_for(2 * slots, size, slabs)

    def _fill(self, index: int, zone: ZoneUse, slab_pages: int) -> None:
        wanted = {order: n for (at, order), n in self._plan.pages.items() if at == index}
        if zone.free is None:
            for order, count in wanted.items():
                self._pages[index, order] = self._handles(count)
            return
        rest = max(zone.managed - zone.free - zone.pcp - slab_pages, 0)
        if not self._plan.learns:
            # What the trace frees was in use, whatever the files said at their time.
            freed = sum(count << order for order, count in wanted.items())
            if freed > rest:
                most = max(zone.managed - zone.pcp - slab_pages, 0)
                self.used_more += min(freed, most) - rest
                rest = min(freed, most)
        if zone.pcp:
            self._per_cpu.append((index, self._handles(zone.pcp)[0], zone.pcp))
        for order in sorted(wanted, reverse=True):
            count = min(wanted[order], rest >> order)
            rest -= count << order
            self._pages[index, order] = self._handles(count)
        big = min(rest >> BIG_ORDER, max((zone.managed >> BIG_ORDER) - BIG_BLOCKS_LEFT, 0))
        rest -= big << BIG_ORDER
        middle = rest >> MIDDLE_ORDER
        rest -= middle << MIDDLE_ORDER
        for order, count in ((BIG_ORDER, big), (MIDDLE_ORDER, middle), (0, rest)):
            if count:
                self.blocks.append((index, order, count))

    def _handles(self, count: int) -> list[int]:
        """``[next, end]``: so many handles, to be taken in their order."""
        first = self.last_handle + 1
        self.last_handle += count
        return [first, first + count]

    def object(self, kind: int, name: str, site: str, ptr: int) -> int:
        """An object of the cache ``name``; empty where the kernel does not name it."""
        whose = name or site
        if name in OWN_CACHES:
            self.report.of(kind)[r.SLAB_INTERNAL] += 1
            return 0
        if self._freed_before(ptr):
            if self.events_lost:
                return STRAY
            self._plan.bulk.add(whose)
        size = general_size(name)
        if size:
            handle = _take(self._kmallocs.get(size))
        else:
            handle = _take(self._objects.get(name)) if name else self._of_site(site)
        return self._older(kind, handle, r.BULK if whose in self._plan.bulk else r.OLDER)

    def kmalloc(self, kind: int, site: str, ptr: int, *, of_slab: bool) -> int:
        """An object of a general cache, or (``of_slab``) what belonged to an older slab."""
        if self._freed_before(ptr):
            return self.stray(kind, ptr)
        handle = 0 if site in self._plan.bulk else self._of_site(site)
        missing = r.OLDER
        if of_slab:
            missing = r.SLAB_INTERNAL
        elif site in self._plan.bulk:
            missing = r.BULK
        return self._older(kind, handle, missing)

    def _freed_before(self, ptr: int) -> bool:
        """Tell whether an address was freed before, and not allocated since."""
        if not self._plan.learns:
            return False
        if ptr in self._seen:
            return True
        if len(self._seen) < _MAX_SEEN:
            self._seen.add(ptr)
        return False

    def _older(self, kind: int, handle: int, missing: int = r.OLDER) -> int:
        """Count a free of something older: as that if there is a handle for it."""
        self.report.of(kind)[r.OLDER if handle else missing] += 1
        if not handle and missing == r.OLDER:
            self.report.leave_out(NOT_IN_PRELUDE)
        return handle

    def _of_site(self, site: str) -> int:
        name, size = self._sites.get(site, ("", 0))
        return _take(self._objects.get(name) if name else self._kmallocs.get(size))

    def pages(self, kind: int, pfn: int, order: int) -> tuple[int, ...]:
        """Pages, 2^order in all; those that compaction moved first."""
        if self.was_unseen(kind, order):
            return ()
        moved = self.take_moved(order)
        index = self.zone_of.of(pfn)
        handle = moved or _take(self._pages.get((index, order)))
        handles: tuple[int, ...] = (handle,) if handle else ()
        pool = self._pages.get((index, 0))
        if not handle and order and pool and pool[1] - pool[0] >= 1 << order:
            # A live trace's prelude has only single ones.
            handles = tuple(_take(pool) for _ in range(1 << order))
        self._older(kind, handles[0] if handles else 0)
        return handles

    def pages_of(self, kind: int, zone: int, order: int) -> int:
        """A block of the zone with this index."""
        return self._older(kind, _take(self._pages.get((zone, order))))

    def slab_page(self, kind: int, name: str, pfn: int, order: int) -> tuple[int, ...]:
        """None as long as the model has older objects of the cache, else older pages."""
        if self._holds(name):
            self.report.of(kind)[r.SLAB_INTERNAL] += 1
            return ()
        return self.pages(kind, pfn, order)

    def slab_page_of(self, kind: int, name: str, zone: int, order: int) -> int:
        """The same in the zone with this index."""
        if self._holds(name):
            self.report.of(kind)[r.SLAB_INTERNAL] += 1
            return 0
        return self.pages_of(kind, zone, order)

    def _holds(self, name: str) -> bool:
        objects = self._objects.get(name)
        return objects is not None and (not self._plan.learns or objects[0] < objects[1])

    def freed(self, site: str, key: Key) -> None:
        """Learn what a call site frees."""
        if self._plan.learns and len(self._sites) < _MAX_SEEN:
            if key.op == KMALLOC:
                self._sites[site] = ("", key.size)
            else:
                self._sites[site] = (self._caches.specs[key.arg].name, 0)

    def prelude(self, outbox: Outbox, ts_ns: int, min_free_kbytes: int) -> None:
        """Put the events that bring the machine to where the trace begins.

        ``min_free_kbytes``, the machine's own, is set again when that is over; 0 is the
        kernel's own formula, which needs no event.
        """
        lowest = min(LOWEST_MIN_FREE_KBYTES, min_free_kbytes)
        if min_free_kbytes:
            outbox.put(ts_ns, 0, 0, lowest, 0, -1, MIN_FREE, 0)
        self._put_blocks(outbox, ts_ns)
        self._put_objects(outbox, ts_ns)
        movable = encode("__GFP_MOVABLE", FLAVOUR)
        pools = [
            (index, order, first, end, movable)
            for (index, order), (first, end) in sorted(
                self._pages.items(), key=lambda pool: -pool[0][1]
            )
        ]
        pools += [(index, 0, first, first + count, 0) for index, first, count in self._per_cpu]
        for index, order, first, end, mobility in pools:
            mask = self._mask(index) | mobility
            node = self._zones[index].node
            for handle in range(first, end):
                if lowest and (end - handle) << order <= BOOSTED and (end - handle) % 4 == 0:
                    # Where types of pages mix, watermarks get boosted, which this takes back.
                    outbox.put(ts_ns, 0, 0, lowest, 0, -1, MIN_FREE, 0)
                outbox.put(ts_ns, handle, mask, order, 0, node, PAGE_ALLOC, 0)
        if min_free_kbytes:
            outbox.put(ts_ns, 0, 0, min_free_kbytes, 0, -1, MIN_FREE, 0)
        for _, first, count in self._per_cpu:
            # How many pages a per-cpu list may hold follows from the watermarks.
            for handle in range(first, first + count):
                outbox.put(ts_ns, handle, 0, 0, handle % self._cpus, -1, PAGE_FREE, 0)
        outbox.put(ts_ns, 0, 0, 0, 0, -1, MARK, 0)

    def _put_blocks(self, outbox: Outbox, ts_ns: int) -> None:
        """What is never freed; it comes first, while memory is in large pieces."""
        for index, order, count in self.blocks:
            mask = self._mask(index)
            node = self._zones[index].node
            for _ in range(count):
                self.last_handle += 1
                outbox.put(ts_ns, self.last_handle, mask, order, 0, node, PAGE_ALLOC, 0)

    def _put_objects(self, outbox: Outbox, ts_ns: int) -> None:
        plain = encode("GFP_KERNEL", FLAVOUR)
        for name, handles in self._objects.items():
            cache_id = self._caches.find(name)
            for handle in range(*handles):
                outbox.put(ts_ns, handle, plain, cache_id or 0, 0, -1, OBJ_ALLOC, 0)
        for size, handles in self._kmallocs.items():
            for handle in range(*handles):
                outbox.put(ts_ns, handle, plain, size, 0, -1, KMALLOC, 0)
        for op, arg, first, count in self._spare:
            for handle in range(first, first + count):
                outbox.put(ts_ns, handle, plain, arg, 0, -1, op, 0)
            for handle in range(first, first + count, 2):
                outbox.put(ts_ns, handle, 0, 0, 0, -1, OBJ_FREE, 0)

    def _mask(self, index: int) -> int:
        """A mask that takes pages of this zone and, where there are several nodes, node."""
        mask = encode(ZONE_MASKS[self._zones[index].zone], FLAVOUR)
        if len({zone.node for zone in self._zones}) > 1:
            mask |= encode("__GFP_THISNODE", FLAVOUR)
        return mask


def _take(handles: list[int] | None) -> int:
    if handles is None or handles[0] >= handles[1]:
        return 0
    handles[0] += 1
    return handles[0] - 1


def _pages_for(count: int, size: int, slabs: SlabPages) -> int:
    """Pages that so many objects take, packed as SLUB packs them."""
    orders, _ = slabs.orders(size)
    order = min(orders)
    per_slab = max((PAGE_BYTES << order) // size, 1)
    return -(-count // per_slab) << order
