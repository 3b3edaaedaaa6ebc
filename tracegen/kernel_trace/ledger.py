"""While a trace is read whole: what was freed that came from before it.

Each such free gets a handle of its own, beyond all others. At the end it is known what they all
were, the prelude is made to allocate exactly that, and :mod:`.settle` puts the prelude's
handles in their place.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Final, TypeAlias

from allocator.events import KMALLOC
from tracegen.kernel_trace import report as r
from tracegen.kernel_trace.cache_names import GENERAL, OWN_CACHES, CacheTable, general_size
from tracegen.kernel_trace.kernel_event import NO_POINTER, Key
from tracegen.kernel_trace.older import STRAY, Older, Plan, ZoneUse
from tracegen.kernel_trace.population import Population
from tracegen.kernel_trace.report import Report

FIRST_HANDLE: Final = 1 << 62
"""Of the handles that stand for older things until :mod:`.settle` has others."""

OBJECT: Final = 0
"""An object of a named cache: (OBJECT, kind, name)."""
SITE: Final = 1
"""An object freed by kfree, or without its cache's name: (SITE, kind, call site)."""
OF_SLAB: Final = 2
"""Freed from where SLUB frees what belongs to a slab: (OF_SLAB, kind, call site)."""
PAGES: Final = 3
"""A block: (PAGES, kind, "", zone, order)."""
SLAB_PAGE: Final = 4
"""A slab's block: (SLAB_PAGE, kind, cache, zone, order)."""

_What: TypeAlias = tuple[int, int, str, int, int]

_MAX_SEEN: Final = 1 << 20
_MAX_SITES: Final = 1 << 16


class Ledger(Older):
    """Notes every question, and answers with a handle that is good until the end."""

    def __init__(self, report: Report, zones: Sequence[ZoneUse]) -> None:
        super().__init__(report, zones)
        self._numbers: dict[_What, int] = {}
        self._entries = array("I")
        """Number of what each handle stands for, in the order of the handles."""
        self._seen: set[int] = set()
        self._bulk: set[str] = set()
        self._sites: dict[str, Counter[int]] = {}
        self._keys: dict[int, Key] = {}

    def _entry(self, what: _What) -> int:
        number = self._numbers.get(what)
        if number is None:
            number = self._numbers[what] = len(self._numbers)
        self._entries.append(number)
        return FIRST_HANDLE + len(self._entries) - 1

    def object(self, kind: int, name: str, site: str, ptr: int) -> int:
        """Note an object; an address freed twice, unallocated, gives bulk allocation away."""
        whose = name or site
        if name in OWN_CACHES:
            self.report.of(kind)[r.SLAB_INTERNAL] += 1
            return 0
        if whose in self._bulk:
            self.report.of(kind)[r.BULK] += 1
            return 0
        if ptr in self._seen:
            if self.events_lost:
                return STRAY
            self._bulk.add(whose)
        elif len(self._seen) < _MAX_SEEN:
            self._seen.add(ptr)
        return self._entry((OBJECT if name else SITE, kind, whose, 0, 0))

    def kmalloc(self, kind: int, site: str, ptr: int, *, of_slab: bool) -> int:
        """Note an object, unless it was one of an address that was freed before."""
        if ptr in self._seen:
            return self.stray(kind, ptr)
        if len(self._seen) < _MAX_SEEN:
            self._seen.add(ptr)
        return self._entry((OF_SLAB if of_slab else SITE, kind, site, 0, 0))

    def pages(self, kind: int, pfn: int, order: int) -> tuple[int, ...]:
        """Note a block, unless one that compaction moved will be it."""
        if self.was_unseen(kind, order):
            return ()
        moved = self.take_moved(order)
        if moved:
            self.report.of(kind)[r.OLDER] += 1
            return (moved,)
        return (self._entry((PAGES, kind, "", self.zone_of.of(pfn), order)),)

    def slab_page(self, kind: int, name: str, pfn: int, order: int) -> tuple[int, ...]:
        """Note a slab; whose it is will be known at the end."""
        return (self._entry((SLAB_PAGE, kind, name, self.zone_of.of(pfn), order)),)

    def freed(self, site: str, key: Key) -> None:
        """Learn what a call site frees."""
        votes = self._sites.get(site)
        if votes is None:
            if len(self._sites) >= _MAX_SITES:
                return
            votes = self._sites[site] = Counter()
        votes[key.index] += 1
        self._keys[key.index] = key

    def plan(self, caches: CacheTable) -> Plan:
        """What the prelude must allocate; the keys must have their names."""
        plan = Plan(bulk=set(self._bulk))
        for site, votes in self._sites.items():
            key = self._keys[votes.most_common(1)[0][0]]
            if key.op == KMALLOC:
                plan.sites[site] = ("", key.size)
            else:
                plan.sites[site] = (caches.specs[key.arg].name, 0)
        counts = Counter(self._entries)
        asked = [(what, counts[number]) for what, number in self._numbers.items()]
        for (way, _, whose, _, _), count in asked:
            name, size = whose, 0
            if way in {SITE, OF_SLAB}:
                name, size = plan.sites.get(whose, ("", 0))
            if way in {PAGES, SLAB_PAGE} or whose in plan.bulk:
                continue
            size = size or general_size(name)
            if size:
                plan.kmallocs[size] = plan.kmallocs.get(size, 0) + count
            elif caches.find(name) not in {None, GENERAL}:
                plan.objects[name] = plan.objects.get(name, 0) + count
        for (way, _, name, zone, order), count in asked:
            if way == PAGES or (way == SLAB_PAGE and name not in plan.objects):
                plan.pages[zone, order] = plan.pages.get((zone, order), 0) + count
        return plan

    def settle(self, population: Population) -> array[int]:
        """For each of this ledger's handles, in their order, the population's, or 0."""
        what = list(self._numbers)
        return array("Q", (_ask(population, what[number]) for number in self._entries))

    def slab_pages(self, handles: array[int]) -> list[bool]:
        """For each slab's block asked about, in their order: whether it stands as pages.

        ``handles`` is what :meth:`settle` has found.
        """
        what = list(self._numbers)
        return [
            handle != 0
            for number, handle in zip(self._entries, handles, strict=True)
            if what[number][0] == SLAB_PAGE
        ]


def _ask(population: Population, what: _What) -> int:
    way, kind, whose, zone, order = what
    if way == OBJECT:
        return population.object(kind, whose, "", NO_POINTER)
    if way in {SITE, OF_SLAB}:
        return population.kmalloc(kind, whose, NO_POINTER, of_slab=way == OF_SLAB)
    if way == PAGES:
        return population.pages_of(kind, zone, order)
    return population.slab_page_of(kind, whose, zone, order)
