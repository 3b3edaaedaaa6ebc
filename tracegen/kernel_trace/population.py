"""What was in use before the trace began.

A trace begins in the middle of a machine's life. Without what was there already the
model would be an empty machine, never under pressure, and frees of older things would have
nothing to free. So a trace of ours opens with a prelude that allocates it, under
handles that later frees of unknown addresses take one by one.

How much of what: a file is read twice, and the first reading counts exactly what will
be freed (:class:`Demand`). A pipe is read once; it gets objects as /proc/slabinfo counts them,
up to a bound, and single pages. The rest of what was in use, and is never freed, stands
as large blocks. Pages that the model's own slab allocator will take for the objects are
left out of that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from allocator.events import KMALLOC, MARK, MIN_FREE, OBJ_ALLOC, PAGE_ALLOC
from allocator.gfp import encode
from tracegen.batch import RECORD
from tracegen.kernel_trace.cache_names import GENERAL, CacheTable
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
BEGIN_LABEL: Final = "the trace begins"

_MAX_SEEN: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ZoneUse:
    """A zone: its place, the pages the page allocator owns, and how many are free.

    ``free`` None means that nothing is known: only what is freed later is allocated.
    """

    node: int
    zone: int
    first_pfn: int
    end_pfn: int
    managed: int
    free: int | None


@dataclass(slots=True)
class Plan:
    """What the prelude allocates for later frees to take."""

    objects: dict[str, int] = field(default_factory=dict)
    """Objects by name of cache."""
    kmallocs: dict[int, int] = field(default_factory=dict)
    """Objects of the general caches by size in bytes."""
    pages: dict[tuple[int, int], int] = field(default_factory=dict)
    """Blocks by (index of the zone, order)."""
    sites: dict[str, int] = field(default_factory=dict)
    """Size in bytes of what is freed by kfree from a call site."""
    bulk: set[str] = field(default_factory=set)
    """Caches whose objects also come from bulk allocation, unseen."""
    learns: bool = False
    """The plan was made without having read the trace."""


class Older(Protocol):
    """Where the free of an unknown address is brought before."""

    def take_object(self, name: str, ptr: str) -> int:
        """The handle of an older object of a cache, or 0."""

    def take_kmalloc(self, site: str) -> int:
        """The handle of an older object of a general cache, or 0."""

    def take_pages(self, pfn: int, order: int) -> Sequence[int]:
        """The handles of older pages, 2^order in all, or none."""

    def take_slab_page(self, name: str, pfn: int, order: int) -> Sequence[int] | None:
        """The same for a slab's page; None if the model's slab allocator holds it."""

    def is_bulk(self, name: str) -> bool:
        """Tell whether objects of the cache also come from bulk allocation."""

    def keep_moved(self, order: int, handle: int) -> None:
        """Compaction moved a block: a free of its unknown new place will want the handle."""

    def kfreed(self, site: str, size: int) -> None:
        """An object of ``size`` bytes was freed by kfree from ``site``."""


class ZonesByPfn:
    """Finds the zone in which a page lies."""

    def __init__(self, zones: Sequence[ZoneUse]) -> None:
        self._order = sorted(range(len(zones)), key=lambda index: zones[index].first_pfn)
        self._starts = [zones[index].first_pfn for index in self._order]

    def of(self, pfn: int) -> int:
        """The index of the zone; the nearest one for a pfn outside of all."""
        return self._order[max(bisect_right(self._starts, pfn) - 1, 0)]


class Demand:
    """Stands in for the population while a file is read first: counts what is asked for."""

    def __init__(self, zones: Sequence[ZoneUse]) -> None:
        self._zones = ZonesByPfn(zones)
        self._objects: Counter[str] = Counter()
        self._kmallocs: Counter[str] = Counter()
        self._pages: Counter[tuple[int, int]] = Counter()
        self._slab_pages: dict[str, Counter[tuple[int, int]]] = {}
        self._sites: dict[str, Counter[int]] = {}
        self._moved: Counter[int] = Counter()
        self._seen: set[str] = set()
        self._bulk: set[str] = set()

    def take_object(self, name: str, ptr: str) -> int:
        """Count an object; an address freed twice, unallocated, gives bulk allocation away."""
        if ptr in self._seen:
            self._bulk.add(name)
        elif len(self._seen) < _MAX_SEEN:
            self._seen.add(ptr)
        self._objects[name] += 1
        return 0

    def take_kmalloc(self, site: str) -> int:
        """Count an object."""
        self._kmallocs[site] += 1
        return 0

    def take_pages(self, pfn: int, order: int) -> Sequence[int]:
        """Count a block, unless one that compaction moved will be it."""
        if self._moved[order]:
            self._moved[order] -= 1
        else:
            self._pages[self._zones.of(pfn), order] += 1
        return ()

    def take_slab_page(self, name: str, pfn: int, order: int) -> Sequence[int] | None:
        """Count a slab; whose it is will be known at the end."""
        self._slab_pages.setdefault(name, Counter())[self._zones.of(pfn), order] += 1
        return ()

    def is_bulk(self, name: str) -> bool:
        """Tell what is known so far."""
        return name in self._bulk

    def keep_moved(self, order: int, handle: int) -> None:  # noqa: ARG002
        """Count a moved block."""
        self._moved[order] += 1

    def kfreed(self, site: str, size: int) -> None:
        """Learn what a call site frees."""
        self._sites.setdefault(site, Counter())[size] += 1

    def plan(self) -> Plan:
        """What the frees of the whole trace will take."""
        plan = Plan(bulk=set(self._bulk))
        for name, count in self._objects.items():
            if name not in self._bulk:
                plan.objects[name] = count
        for site, sizes in self._sites.items():
            plan.sites[site] = sizes.most_common(1)[0][0]
        for site, count in self._kmallocs.items():
            size = plan.sites.get(site)
            if size is not None:
                plan.kmallocs[size] = plan.kmallocs.get(size, 0) + count
        pages = Counter(self._pages)
        for name, slabs in self._slab_pages.items():
            if name not in plan.objects:
                pages.update(slabs)
        plan.pages = dict(pages)
        return plan


def plan_unread(
    zones: Sequence[ZoneUse], active: Mapping[str, int], general: Mapping[int, int]
) -> Plan:
    """A plan for a pipe: from what /proc/slabinfo counts, bounded.

    ``active`` are objects in use by name of cache, ``general`` those of the general
    caches by size in bytes.
    """
    plan = Plan(learns=True)
    plan.objects = {name: min(count, MAX_POOL_OBJECTS) for name, count in active.items() if count}
    plan.kmallocs = {size: min(count, MAX_POOL_OBJECTS) for size, count in general.items() if count}
    for index, zone in enumerate(zones):
        if zone.free is not None:
            plan.pages[index, 0] = min(zone.managed - zone.free, MAX_POOL_PAGES)
    return plan


class Population:
    """The handles of what was in use, and the prelude that allocates it.

    ``min_free_kbytes`` is the machine's own, set again when the prelude is over.
    """

    def __init__(
        self, plan: Plan, zones: Sequence[ZoneUse], caches: CacheTable, slabs: SlabPages
    ) -> None:
        self._plan = plan
        self._zones = zones
        self._zone_of = ZonesByPfn(zones)
        self._caches = caches
        self.last_handle = 0
        self._objects: dict[str, list[int]] = {}
        self._kmallocs: dict[int, list[int]] = {}
        self._pages: dict[tuple[int, int], list[int]] = {}
        self._moved: dict[int, list[int]] = {}
        self._sites = dict(plan.sites)
        self._seen: set[str] = set()
        self.blocks: list[tuple[int, int, int]] = []
        """Blocks that are never freed: (index of the zone, order, how many)."""
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
        # Where objects come from: the highest zone that has pages.
        highest = max(
            (index for index, zone in enumerate(self._zones) if zone.managed),
            key=lambda index: (self._zones[index].zone, -self._zones[index].node),
            default=0,
        )
        for index, zone in enumerate(self._zones):
            self._fill(index, zone, slab_pages if index == highest else 0)

    def _fill(self, index: int, zone: ZoneUse, slab_pages: int) -> None:
        wanted = {order: n for (at, order), n in self._plan.pages.items() if at == index}
        if zone.free is None:
            for order, count in wanted.items():
                self._pages[index, order] = self._handles(count)
            return
        rest = max(zone.managed - zone.free - slab_pages, 0)
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

    def take_object(self, name: str, ptr: str) -> int:
        """The handle of an older object of a cache, or 0."""
        if self._plan.learns:
            if ptr in self._seen:
                self._plan.bulk.add(name)
            elif len(self._seen) < _MAX_SEEN:
                self._seen.add(ptr)
        return _take(self._objects.get(name))

    def take_kmalloc(self, site: str) -> int:
        """The handle of an older object of a general cache, or 0."""
        size = self._sites.get(site)
        return _take(self._kmallocs.get(size)) if size is not None else 0

    def take_pages(self, pfn: int, order: int) -> Sequence[int]:
        """The handles of older pages, 2^order in all, or none."""
        moved = self._moved.get(order)
        if moved:
            return (moved.pop(),)
        index = self._zone_of.of(pfn)
        handle = _take(self._pages.get((index, order)))
        if handle:
            return (handle,)
        pool = self._pages.get((index, 0))
        if order and pool and pool[1] - pool[0] >= 1 << order:
            return [_take(pool) for _ in range(1 << order)]
        return ()

    def take_slab_page(self, name: str, pfn: int, order: int) -> Sequence[int] | None:
        """None as long as the model has older objects of the cache, else older pages."""
        objects = self._objects.get(name)
        if objects is not None and (not self._plan.learns or objects[0] < objects[1]):
            return None
        return self.take_pages(pfn, order)

    def is_bulk(self, name: str) -> bool:
        """Tell whether objects of the cache also come from bulk allocation."""
        return name in self._plan.bulk

    def keep_moved(self, order: int, handle: int) -> None:
        """Compaction moved a block: a free of its unknown new place will want the handle."""
        self._moved.setdefault(order, []).append(handle)

    def kfreed(self, site: str, size: int) -> None:
        """An object of ``size`` bytes was freed by kfree from ``site``."""
        if self._plan.learns and len(self._sites) < _MAX_SEEN:
            self._sites[site] = size

    def prelude(self, ts_ns: int, flavour: str, min_free_kbytes: int) -> Iterator[bytes]:
        """Yield the records that bring the machine to where the trace begins.

        ``min_free_kbytes`` 0 is the kernel's own formula, which needs no event.
        """
        if min_free_kbytes:
            lowest = min(LOWEST_MIN_FREE_KBYTES, min_free_kbytes)
            yield _record(ts_ns, 0, 0, lowest, -1, MIN_FREE)
        yield from self._blocks_first(ts_ns, flavour)
        plain = encode("GFP_KERNEL", flavour)
        for name, handles in self._objects.items():
            cache_id = self._caches.find(name)
            for handle in range(*handles):
                yield _record(ts_ns, handle, plain, cache_id or 0, -1, OBJ_ALLOC)
        for size, handles in self._kmallocs.items():
            for handle in range(*handles):
                yield _record(ts_ns, handle, plain, size, -1, KMALLOC)
        movable = encode("__GFP_MOVABLE", flavour)
        for (index, order), handles in sorted(self._pages.items(), key=lambda pool: -pool[0][1]):
            mask = self._mask(index, flavour) | movable
            for handle in range(*handles):
                yield _record(ts_ns, handle, mask, order, self._zones[index].node, PAGE_ALLOC)
        if min_free_kbytes:
            yield _record(ts_ns, 0, 0, min_free_kbytes, -1, MIN_FREE)
        yield _record(ts_ns, 0, 0, 0, -1, MARK)

    def _blocks_first(self, ts_ns: int, flavour: str) -> Iterator[bytes]:
        """What is never freed, while memory is in large pieces."""
        for index, order, count in self.blocks:
            mask = self._mask(index, flavour)
            for _ in range(count):
                self.last_handle += 1
                node = self._zones[index].node
                yield _record(ts_ns, self.last_handle, mask, order, node, PAGE_ALLOC)

    def _mask(self, index: int, flavour: str) -> int:
        """A mask that takes pages of this zone and, where there are several nodes, node."""
        mask = encode(ZONE_MASKS[self._zones[index].zone], flavour)
        if len({zone.node for zone in self._zones}) > 1:
            mask |= encode("__GFP_THISNODE", flavour)
        return mask


def _take(handles: list[int] | None) -> int:
    if handles is None or handles[0] >= handles[1]:
        return 0
    handles[0] += 1
    return handles[0] - 1


def _pages_for(count: int, size: int, slabs: SlabPages) -> int:
    """Pages that so many objects take, packed as SLUB packs them."""
    order, _ = slabs.orders(size)
    per_slab = max((PAGE_BYTES << order) // size, 1)
    return -(-count // per_slab) << order


def _record(ts_ns: int, handle: int, gfp: int, arg: int, node: int, op: int) -> bytes:
    return RECORD.pack(ts_ns, handle, gfp, arg, 0, node, op, 0, 0)
