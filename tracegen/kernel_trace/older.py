"""Where the free of an address is brought before that no allocation of the trace gave.

It was allocated before the trace, or unseen. :mod:`.population` answers at once, from what
the prelude allocated; :mod:`.ledger` notes the question, so that the prelude can be made for
exactly what will be asked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tracegen.kernel_trace import report as r
from tracegen.kernel_trace.kernel_event import Key
from tracegen.kernel_trace.report import BULK, Report

STRAY: Final = -1
"""In place of a handle: an address that was freed before. Its allocation between was not traced, or
lost, so this free has nothing to free either."""
_MAX_STRAYS: Final = 1 << 16
NOT_IN_PRELUDE: Final = "free of something older that the prelude has nothing left for"


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
    pcp: int = 0
    """Pages on the per-cpu lists: neither in use nor free."""


class ZonesByPfn:
    """Finds the zone in which a page lies."""

    def __init__(self, zones: Sequence[ZoneUse]) -> None:
        self._order = sorted(range(len(zones)), key=lambda index: zones[index].first_pfn)
        self._starts = [zones[index].first_pfn for index in self._order]

    def of(self, pfn: int) -> int:
        """The index of the zone; the nearest one for a pfn outside of all."""
        return self._order[max(bisect_right(self._starts, pfn) - 1, 0)]


@dataclass(slots=True)
class Plan:
    """What the prelude allocates for later frees to take."""

    objects: dict[str, int] = field(default_factory=dict)
    """Objects by name of cache."""
    kmallocs: dict[int, int] = field(default_factory=dict)
    """Objects of the general caches by size in bytes."""
    pages: dict[tuple[int, int], int] = field(default_factory=dict)
    """Blocks by (index of the zone, order)."""
    sites: dict[str, tuple[str, int]] = field(default_factory=dict)
    """What is freed from a call site: (cache, 0) or (empty, bytes of a general cache)."""
    bulk: set[str] = field(default_factory=set)
    """Caches, or call sites, whose objects also come from bulk allocation, unseen."""
    spare_objects: dict[str, int] = field(default_factory=dict)
    """Free slots in slabs that begin half empty, by name of cache."""
    spare_kmallocs: dict[int, int] = field(default_factory=dict)
    """The same of the general caches, by size in bytes."""
    learns: bool = False
    """The plan was made without having read the trace."""


class Older:
    """Finds handles for frees of unknown addresses, and counts each such event.

    ``kind`` is the event's in the report. A handle of 0 is none: the free is left out; so is
    one of :data:`STRAY`, which whoever asked must count.
    """

    def __init__(self, report: Report, zones: Sequence[ZoneUse]) -> None:
        self.report = report
        self.zone_of = ZonesByPfn(zones)
        self.moved: dict[int, list[int]] = {}
        self._strays: set[int] = set()
        self.events_lost = False
        """The kernel has lost events, so an allocation may have been among them."""
        self.taken_unseen = 0
        """Single pages that :mod:`.bulk_pages` knows to be in use: so many frees of unknown
        ones free nothing that the model has."""

    def object(self, kind: int, name: str, site: str, ptr: int) -> int:
        """An object of the cache ``name``; empty where the kernel does not name it."""
        raise NotImplementedError

    def kmalloc(self, kind: int, site: str, ptr: int, *, of_slab: bool) -> int:
        """An object of a general cache, or (``of_slab``) what belonged to an older slab."""
        raise NotImplementedError

    def pages(self, kind: int, pfn: int, order: int) -> tuple[int, ...]:
        """Pages, 2^order in all."""
        raise NotImplementedError

    def slab_page(self, kind: int, name: str, pfn: int, order: int) -> tuple[int, ...]:
        """A slab's page; the model's slab allocator may hold it itself."""
        raise NotImplementedError

    def freed(self, site: str, key: Key) -> None:
        """An object of the key was freed from a call site that does not say to which cache."""
        raise NotImplementedError

    def stray(self, kind: int, ptr: int) -> int:
        """Count a kfree of an address that was freed before, unless it is the first: STRAY then.

        An address that is freed again and again comes from where there is no tracepoint:
        ``kmalloc(0)``, whose answer is hashed like any other, or bulk allocation.
        """
        if self.events_lost or ptr not in self._strays:
            if len(self._strays) < _MAX_STRAYS:
                self._strays.add(ptr)
            return STRAY
        self.report.of(kind)[BULK] += 1
        return 0

    def keep_moved(self, order: int, handle: int) -> None:
        """Compaction moved a block: a free of its unknown new place will want the handle."""
        self.moved.setdefault(order, []).append(handle)

    def take_moved(self, order: int) -> int:
        """A block that compaction moved, or 0."""
        handles = self.moved.get(order)
        return handles.pop() if handles else 0

    def was_unseen(self, kind: int, order: int) -> bool:
        """Whether the free of an unknown block is taken for one that was allocated unseen."""
        if order or self.taken_unseen == 0:
            return False
        self.taken_unseen -= 1
        self.report.of(kind)[r.BULK] += 1
        return True
