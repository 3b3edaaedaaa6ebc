"""Where a kernel's pages went, by its own events: what a model's free pages are held against.

Kept only when somebody asks (:mod:`tracegen.truth`): an entry for each page that moves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from allocator.config import CacheSpec
from allocator.events import KMALLOC
from tracegen.kernel_trace.kernel_event import Key, Thread

MAX_PCP_ORDER: Final = 3
"""PAGE_ALLOC_COSTLY_ORDER: blocks up to it go through the per-cpu lists (before Linux 5.13:
single pages)."""


VECTOR_SITE: Final = "memcg_alloc_slab_cgroups"
"""Where the vector for the memory cgroups of a slab's objects is allocated."""


class Series:
    """A number of pages that changes with time."""

    def __init__(self) -> None:
        self._changes: list[tuple[int, int]] = []
        self._times: list[int] = []
        self._sums: list[int] = []

    def add(self, ts_ns: int, pages: int) -> None:
        """So many more pages from this time on; the times may come in any order."""
        self._changes.append((ts_ns, pages))

    def at(self, ts_ns: int) -> int:
        """The sum of all changes up to a time."""
        if len(self._times) != len(self._changes):
            self._changes.sort()
            self._times = [time for time, _ in self._changes]
            self._sums = list(accumulate(pages for _, pages in self._changes))
        at = bisect_right(self._times, ts_ns)
        return self._sums[at - 1] if at else 0


@dataclass(slots=True)
class SlabPages:
    """Pages of one cache, since the trace began."""

    taken: int = 0
    given_back: int = 0


class Balance:
    """What the events of a kernel say of its pages, each from the trace's beginning on."""

    def __init__(self) -> None:
        self.slab = Series()
        """Pages that the slab allocator took for itself, less those it gave back."""
        self.per_cpu = Series()
        """Pages that went to the per-cpu lists, less those that left them."""
        self.bulk = Series()
        """Pages known to have been taken from those lists unseen (:mod:`.bulk_pages`)."""
        self.bulk_held = Series()
        """Of them, those not freed yet."""
        self.moved = Series()
        """Pages that compaction freed: it had taken as many unseen."""
        self.caches: dict[str, SlabPages] = {}
        """Slab pages by cache."""
        self.bulk_caches: set[str] = set()
        self._older_slabs: list[tuple[int, int, str]] = []
        self._accounted: dict[Thread, tuple[int, int]] = {}
        """Slabs (first pfn, order) whose vector has been allocated, but no object yet."""
        self._slabs: dict[int, Key] = {}
        """First pfn of a slab to what it was taken for."""
        self._by_key: dict[Key, SlabPages] = {}

    def slab_taken(self, ts_ns: int, pfn: int, order: int, key: Key, thread: Thread) -> None:
        """The slab allocator takes a slab, for an object of this key.

        If that is the vector of an accounted slab, the slab is the next object's.
        """
        self.slab.add(ts_ns, 1 << order)
        if key.site.startswith(VECTOR_SITE) and thread not in self._accounted:
            self._accounted[thread] = (pfn, order)
        else:
            self._own(pfn, order, key)

    def object_follows(self, key: Key, thread: Thread) -> None:
        """The thread allocates an object: its vector, if it had one, was for this one's slab."""
        accounted = self._accounted.get(thread)
        if accounted is not None and not key.site.startswith(VECTOR_SITE):
            del self._accounted[thread]
            self._own(*accounted, key)

    def _own(self, pfn: int, order: int, key: Key) -> None:
        self._slabs[pfn] = key
        self._by_key.setdefault(key, SlabPages()).taken += 1 << order

    def slab_given_back(self, ts_ns: int, pfn: int, order: int) -> None:
        """It gives a slab back that it took while the trace ran."""
        self.slab.add(ts_ns, -1 << order)
        key = self._slabs.pop(pfn, None)
        if key is not None:
            self._by_key[key].given_back += 1 << order

    def older_slab(self, ts_ns: int, order: int, name: str) -> None:
        """A slab from before the trace is given back; :meth:`settle` says what it stood for."""
        self._older_slabs.append((ts_ns, 1 << order, name))

    def settle(
        self, stands_as_pages: list[bool], caches: Sequence[CacheSpec], bulk: Iterable[str]
    ) -> None:
        """Name the caches, now that the keys have them.

        For each older slab: whether it stands as pages in the trace, not as a slab. ``bulk`` are
        the caches whose objects also come from bulk allocation.
        """
        self.bulk_caches = {general_name(name) for name in bulk}
        for (ts_ns, pages, name), as_pages in zip(self._older_slabs, stands_as_pages, strict=True):
            if not as_pages:
                self.slab.add(ts_ns, -pages)
                self.caches.setdefault(general_name(name), SlabPages()).given_back += pages
        self._older_slabs = []
        for key, slabs in self._by_key.items():
            name = f"kmalloc-{key.size}" if key.op == KMALLOC else caches[key.arg].name
            found = self.caches.setdefault(general_name(name), SlabPages())
            found.taken += slabs.taken
            found.given_back += slabs.given_back
        self._by_key = {}

    def page(self, ts_ns: int, order: int, pages: int) -> None:
        """Pages are handed out (fewer on the per-cpu lists) or freed to them."""
        if order <= MAX_PCP_ORDER:
            self.per_cpu.add(ts_ns, pages)


def general_name(name: str) -> str:
    """The name of a cache, that of the model's where kernels have several for one size."""
    for prefix in ("kmalloc-cg-", "kmalloc-rcl-"):
        if name.startswith(prefix):
            name = "kmalloc-" + name.removeprefix(prefix)
    if name.startswith("kmalloc-") and name.endswith("k"):
        name = f"kmalloc-{int(name[8:-1]) * 1024}"
    return name
