"""What the SLUBs of all kernels have in common: their caches, trimming, and how they look.

How objects and slabs move is each kernel's own (:mod:`allocator.linux3.slub`,
:mod:`allocator.linux6.slub`).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.config import MachineConfig
from allocator.object_allocator import (
    NO_CACHE,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_SHIFT,
    ObjectAllocator,
)
from allocator.page_allocator import PageAllocator
from allocator.slub_cache import (
    C_FREELIST,
    C_PAGE,
    LEAKS,
    N_NR_PARTIAL,
    NULL,
    PFMEMALLOC_MISMATCH,
    S_FLAGS,
    S_FREELIST,
    S_INUSE,
    S_OBJECTS,
    S_ORDER_MASK,
    S_ORDER_SHIFT,
    S_PFN,
    SLAB_FROZEN,
    SLAB_PFMEMALLOC,
    SLUB_MAX_ORDER,
    STAT_NAMES,
    KmemCache,
)
from allocator.slub_verify import verify_cache
from allocator.stats import CacheStats
from allocator.task import Task

_REAP_JIFFIES: Final = 2500


class SlubAllocator(ObjectAllocator):
    """``mm/slub.c`` of one machine, as far as kernels agree."""

    __slots__ = (
        "_cpu_node",
        "_general",
        "_leak_names",
        "_merge",
        "_names",
        "_nodes",
        "_numa",
        "_slab_caches",
        "caches",
    )

    def __init__(
        self,
        config: MachineConfig,
        pages: PageAllocator,
        current: Task,
        leak_names: tuple[str, ...],
    ) -> None:
        """Begin without caches; ``leak_names`` name the words from LEAKS on."""
        super().__init__(pages, current)
        self._numa: bool = config.numa
        self._nodes: i64 = len(config.nodes)
        self._cpu_node: tuple[int, ...] = config.cpu_node
        self._merge: bool = config.slub_merge
        self._leak_names: tuple[str, ...] = leak_names
        self.caches: list[KmemCache] = []
        """By number; an alias stands for the cache it was merged into."""
        self._names: list[str] = []
        self._slab_caches: list[KmemCache] = []
        """``slab_caches``, oldest first: without aliases."""
        self._general: i64 = 0
        """How many of the first caches are kmalloc caches."""

    # Caches.

    def _add_cache(self, s: KmemCache) -> int:
        """Take a new cache into the books: its number."""
        self._slab_caches.append(s)
        self.caches.append(s)
        self._names.append(s.name)
        return len(self.caches) - 1

    def _add_alias(self, s: KmemCache, name: str, size: int) -> int:
        """``__kmem_cache_alias``: a name more for a cache; its own number."""
        s.object_size = max(s.object_size, size)
        s.inuse = max(s.inuse, (size + 7) & ~7)
        self.caches.append(s)
        self._names.append(name)
        return len(self.caches) - 1

    def cache_number(self, name: str) -> int:
        """Number of the newest cache with that name, or NO_CACHE."""
        for number in range(len(self._names) - 1, -1, -1):
            if self._names[number] == name:
                return number
        return NO_CACHE

    def cache_name(self, number: int) -> str:
        """Name of a cache, the alias's own if it is one."""
        return self._names[number]

    def _count_slab_pages(self, s: KmemCache, pfn: i64, nr_pages: i64) -> i64:
        """Count slab pages in their zone; returns its node."""
        zone = self.pages.page_zone(pfn)
        if s.flags & SLAB_RECLAIM_ACCOUNT:
            zone.slab_reclaimable += nr_pages
        else:
            zone.slab_unreclaimable += nr_pages
        return zone.nid

    def _leak(self, s: KmemCache, way: i64, page: i64) -> None:
        """Count an object of a flagged slab that goes to a caller who may not have it.

        ``way`` is the word of the table that counts it.
        """
        s.table[way] += 1
        self.leaked = way - LEAKS + 1
        if self.pages.story is not None:
            name = self._leak_names[way - LEAKS]
            self.pages.story.leak(name, s.name, s.table[page + S_PFN])

    # Trimming.

    def reap(self) -> None:
        """SLUB has no ``cache_reap``: a reap interval passes and the cpu is flushed."""
        self.pages.jiffies += _REAP_JIFFIES
        for s in self._slab_caches:
            self._flush_cpu_slab(s, self.current.cpu)

    def _flush_cpu_slab(self, s: KmemCache, cpu: i64) -> None:
        """``__flush_cpu_slab``: the cpu slab and the partial slabs."""
        raise NotImplementedError

    def _flush_all(self, s: KmemCache) -> None:
        """``flush_all``: every cpu flushes itself, ascending."""
        current = self.current
        cpu = current.cpu
        node = current.node
        for other, nid in enumerate(self._cpu_node):
            current.cpu = other
            current.node = nid
            self._flush_cpu_slab(s, other)
        current.cpu = cpu
        current.node = node

    # What it looks like from outside.

    def slab_pfn(self, number: i64, objp: i64) -> i64:
        """First pfn of an object's slab."""
        return self.caches[number].table[(objp >> SLAB_SHIFT) + S_PFN]

    def obj_pfmemalloc(self, number: i64, objp: i64) -> bool:
        """The flag of an object's slab, which is its head page's."""
        flags = self.caches[number].table[(objp >> SLAB_SHIFT) + S_FLAGS]
        return flags & SLAB_PFMEMALLOC != 0

    def geometry(self, number: int) -> dict[str, object]:
        """What ``kmem_cache_create`` computed, by the vectors' key names."""
        s = self.caches[number]
        return {
            "cache": number,
            "name": self._names[number],
            "size": int(s.size),
            "inuse": int(s.inuse),
            "align": int(s.align),
            "fp_offset": int(s.offset),
            "objs": int(s.objects),
            "order": int(s.order),
            "min_objs": int(s.min_objects),
            "min_order": int(s.min_order),
            "min_partial": int(s.min_partial),
            "cpu_partial": int(s.cpu_partial),
            "allocflags": int(s.allocflags),
            "defrag_ratio": int(s.defrag_ratio),
            "flags": int(s.flags),
            "alias_of": None if s.number == number else int(s.number),
        }

    def boot(self) -> dict[str, object]:
        """The allocator's part of the vectors' ``boot``."""
        return {
            "slub_min_order": 0,
            "slub_max_order": SLUB_MAX_ORDER,
            "slub_min_objects": 0,
            "slub_nomerge": int(not self._merge),
            "general_caches": [self.geometry(number) for number in range(self._general)],
        }

    def cache_stats(self) -> list[CacheStats]:
        """A reading of every cache. What an alias holds counts with the cache it stands for."""
        return [
            self._cache_stats(s, self._names[number], own=s.number == number)
            for number, s in enumerate(self.caches)
        ]

    def _cache_stats(self, s: KmemCache, name: str, *, own: bool) -> CacheStats:
        table = s.table
        handed = 0
        flagged_objects = 0
        for i in range(s.pfmemalloc_slabs):
            handed += int(table[s.flagged[i] + S_INUSE])
            flagged_objects += int(table[s.flagged[i] + S_OBJECTS])
        for cpu in range(len(self._cpu_node)):
            # What a cpu has taken to itself counts as in use in its slab.
            page = table[s.cpu(cpu) + C_PAGE]
            if page != NULL and table[page + S_FLAGS] & SLAB_PFMEMALLOC:
                handed -= len(s.chain(page, table[s.cpu(cpu) + C_FREELIST]))
        return CacheStats(
            name=name,
            object_size=int(s.object_size),
            objects_per_slab=int(s.objects),
            pages_per_slab=1 << int(s.order),
            slabs=int(s.nr_slabs) if own else 0,
            objects=int(s.total_objects) if own else 0,
            active_objects=0,
            pfmemalloc_slabs=int(s.pfmemalloc_slabs) if own else 0,
            pfmemalloc_objects=handed if own else 0,
            preserved_objects=flagged_objects - handed if own else 0,
            allocations=0,
            denied=0,
            stalled=0,
            frees=0,
            counters=_counters(s) if own else {},
            leaks=self._leaks(s) if own else {},
        )

    def _leaks(self, s: KmemCache) -> dict[str, int]:
        """Reserve objects handed to callers without entitlement, by how it happened."""
        return {name: int(s.table[LEAKS + i]) for i, name in enumerate(self._leak_names)}

    def chain(self) -> list[int]:
        """``slab_caches``."""
        return [int(s.number) for s in reversed(self._slab_caches)]

    def leak_ways(self) -> tuple[str, ...]:
        """The ways in which this allocator can leak the reserve."""
        return self._leak_names

    def flagged_slabs(self) -> list[tuple[int, int]]:
        """(cache number, first pfn) of every flagged slab."""
        return [
            (int(s.number), int(s.table[s.flagged[i] + S_PFN]))
            for s in self._slab_caches
            for i in range(s.pfmemalloc_slabs)
        ]

    def slab_pages(self) -> list[tuple[int, int]]:
        """(first pfn, order) of every slab."""
        return [
            (
                int(s.table[page + S_PFN]),
                int(s.table[page + S_FLAGS] >> S_ORDER_SHIFT & S_ORDER_MASK),
            )
            for s in self._slab_caches
            for page in s.slabs()
        ]

    def verify(self, held: list[list[int]]) -> None:
        """Every object in exactly one place; lists, counts and flags agree."""
        for s in self._slab_caches:
            verify_cache(
                s,
                int(self._nodes),
                len(self._cpu_node),
                [
                    objp
                    for number, other in enumerate(self.caches)
                    if other is s
                    for objp in held[number]
                ],
            )

    def hidden_state(self) -> object:
        """Slabs on no list, counts of cpu partial lists, the patch's counters."""
        return [
            {
                "name": s.name,
                "full": sorted(
                    page_fields(s, page)
                    for page in s.slabs()
                    if s.table[page + S_FREELIST] == NULL
                    and not s.table[page + S_FLAGS] & SLAB_FROZEN
                ),
                "pobjects": [
                    self._partial_counts(s, s.cpu(cpu)) for cpu in range(len(self._cpu_node))
                ],
                "counters": _counters(s),
                "leaks": self._leaks(s),
            }
            for s in self._slab_caches
        ]

    def _partial_counts(self, s: KmemCache, c: i64) -> list[int]:  # noqa: ARG002  # see linux3
        """What a cpu's partial slabs count besides their number, in kernels where they do."""
        return []

    def state(self) -> list[dict[str, object]]:
        """Every cache's state as the vectors' digests write it."""
        return [self._cache_state(s) for s in self._slab_caches]

    def _cache_state(self, s: KmemCache) -> dict[str, object]:
        table = s.table
        return {
            "name": s.name,
            "cpus": [self._cpu_state(s, s.cpu(cpu)) for cpu in range(len(self._cpu_node))],
            "nodes": [
                {
                    "nr_partial": int(table[s.node(node) + N_NR_PARTIAL]),
                    "partial": [_page_state(s, page) for page in s.node_partials(s.node(node))],
                }
                for node in range(self._nodes)
            ],
            "stats": {
                name: int(table[item]) for item, name in enumerate(STAT_NAMES) if table[item] != 0
            },
        }

    def _cpu_state(self, s: KmemCache, c: i64) -> dict[str, object]:
        page = s.table[c + C_PAGE]
        return {
            "slab": None if page == NULL else _page_state(s, page),
            "freelist": s.chain(page, s.table[c + C_FREELIST]),
            "partial": [_page_state(s, frozen) for frozen in s.cpu_partials(c)],
        }


def _page_state(s: KmemCache, page: i64) -> list[object]:
    """A slab as [first pfn, inuse, objects, frozen, flag, free chain]."""
    return [*page_fields(s, page), s.chain(page, s.table[page + S_FREELIST])]


def page_fields(s: KmemCache, page: i64) -> list[int]:
    """A slab as [first pfn, inuse, objects, frozen, flag]."""
    table = s.table
    flags = table[page + S_FLAGS]
    return [
        int(table[page + S_PFN]),
        int(table[page + S_INUSE]),
        int(table[page + S_OBJECTS]),
        int(flags & SLAB_FROZEN != 0),
        int(flags & SLAB_PFMEMALLOC != 0),
    ]


def _counters(s: KmemCache) -> dict[str, int]:
    """The kernel's statistics by their names in ``/sys/kernel/slab``, and the patch's."""
    counters = {name: int(s.table[item]) for item, name in enumerate(STAT_NAMES)}
    counters["pfmemalloc_mismatch"] = int(s.table[PFMEMALLOC_MISMATCH])
    return counters
