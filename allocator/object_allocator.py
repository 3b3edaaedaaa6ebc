"""What a machine needs of any object allocator (SLAB, SLUB; any kernel).

An object is one number, ``objp``, as the kernel has one pointer: the place of its
slab in the cache's slab table and its index there, with the low bit free for
SLAB's pfmemalloc tag, as in the kernel::

    objp = slabp << 17 | index << 1 | tag          0 is NULL
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.page_allocator import PageAllocator
from allocator.stats import CacheStats
from allocator.task import Task

NO_OBJECT: Final = 0
SLAB_SHIFT: Final = 17
INDEX_SHIFT: Final = 1
INDEX_MASK: Final = 0xFFFF
TAG: Final = 1
"""SLAB_OBJ_PFMEMALLOC."""

NO_CACHE: Final = -1
LARGE: Final = -2
"""The size goes straight to the page allocator."""

# SLAB_* creation flags (include/linux/slab.h; the same in every kernel modelled).
SLAB_HWCACHE_ALIGN: Final = 0x2000
SLAB_CACHE_DMA: Final = 0x4000
SLAB_RECLAIM_ACCOUNT: Final = 0x20000
SLAB_PANIC: Final = 0x40000
SLAB_MEM_SPREAD: Final = 0x100000
SLAB_NOLEAKTRACE: Final = 0x800000


class ObjectAllocator:
    """The interface. Caches are known by their number in order of creation."""

    __slots__ = (
        "activations",
        "current",
        "deactivations",
        "leaked",
        "outcome",
        "pages",
        "pfmemalloc_active",
        "wrong_deactivations",
    )

    def __init__(self, pages: PageAllocator, current: Task) -> None:
        """Stand over a page allocator."""
        self.pages: PageAllocator = pages
        self.current: Task = current
        self.outcome: i64 = 0
        """What the last allocation came to (:mod:`allocator.outcome`)."""
        self.pfmemalloc_active: bool = False
        """SLAB's global flag; always False elsewhere."""
        self.activations: i64 = 0
        """Flips of the global from false to true."""
        self.deactivations: i64 = 0
        self.wrong_deactivations: i64 = 0
        """Those of them that happened while flagged slabs were left."""
        self.leaked: i64 = 0
        """The last leak: 1 + its place in :meth:`leak_ways`; whoever wants to know sets it to 0."""

    def cache_create(self, name: str, size: int, align: int, flags: int) -> int:
        """``kmem_cache_create`` on cpu 0: the new cache's number (SLUB: maybe an alias)."""
        raise NotImplementedError

    def cache_number(self, name: str) -> int:
        """Number of the cache with that name, or NO_CACHE."""
        raise NotImplementedError

    def cache_name(self, number: int) -> str:
        """Name of a cache."""
        raise NotImplementedError

    def alloc(self, number: i64, gfp: i64, node: i64) -> i64:
        """``kmem_cache_alloc`` (node -1) or ``_node``: objp or NO_OBJECT; sets ``outcome``."""
        raise NotImplementedError

    def free(self, number: i64, objp: i64) -> None:
        """``kmem_cache_free`` on the current cpu."""
        raise NotImplementedError

    def kmalloc_cache(self, size: i64, gfp: i64) -> i64:
        """Number of the general cache for ``size`` bytes, NO_CACHE or LARGE."""
        raise NotImplementedError

    def kmalloc_large(self, order: i64, gfp: i64, node: i64) -> i64:
        """Pages for a size that :meth:`kmalloc_cache` calls LARGE: pfn or NO_PAGE."""
        raise NotImplementedError

    def kfree_large(self, pfn: i64, order: i64) -> None:
        """``kfree`` of what :meth:`kmalloc_large` gave."""
        self.pages.free_pages(pfn, order, False)

    def reap(self) -> None:
        """``cache_reap`` on the current cpu (SLUB: flush that cpu)."""
        raise NotImplementedError

    def shrink(self, number: i64) -> int:
        """``kmem_cache_shrink``: its return value."""
        raise NotImplementedError

    def geometry(self, number: int) -> dict[str, object]:
        """What ``kmem_cache_create`` computed, by the vectors' key names."""
        raise NotImplementedError

    def slab_pfn(self, number: i64, objp: i64) -> i64:
        """First pfn of an object's slab."""
        raise NotImplementedError

    def obj_pfmemalloc(self, number: i64, objp: i64) -> bool:
        """The pfmemalloc flag that governs an object."""
        raise NotImplementedError

    def state(self) -> list[dict[str, object]]:
        """Every cache's state as the vectors' digests write it."""
        raise NotImplementedError

    def machine_state(self) -> dict[str, object]:
        """What the vectors' digests write beside zones and caches."""
        return {}

    def cache_stats(self) -> list[CacheStats]:
        """A reading of every cache; the counts of calls are filled in by the machine."""
        raise NotImplementedError

    def slab_pages(self) -> list[tuple[int, int]]:
        """(first pfn, order) of every slab."""
        raise NotImplementedError

    def chain(self) -> list[int]:
        """The caches' numbers in the order of ``/proc/slabinfo``: newest first, no aliases."""
        raise NotImplementedError

    def leak_ways(self) -> tuple[str, ...]:
        """The ways (:mod:`allocator.leak`) in which this allocator can leak the reserve."""
        raise NotImplementedError

    def flagged_slabs(self) -> list[tuple[int, int]]:
        """(cache number, first pfn) of every slab that carries the flag, in no order."""
        raise NotImplementedError

    def inner_objects(self) -> list[tuple[int, int]]:
        """(cache number, objp) of the objects the allocator itself holds."""
        return []

    def verify(self, held: list[list[int]]) -> None:
        """Check every cache: each object in exactly one place, every count right.

        ``held`` has, per cache number, the objps in callers' hands and in the
        allocator's own. Raises InvariantError.
        """
        raise NotImplementedError

    def hidden_state(self) -> object:
        """State that decides later answers but does not show in :meth:`state`."""
        raise NotImplementedError

    def boot(self) -> dict[str, object]:
        """The allocator's part of the vectors' ``boot``."""
        raise NotImplementedError
