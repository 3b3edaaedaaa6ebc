"""A small machine of Linux 6.1, driven one operation at a time."""

from __future__ import annotations

from typing import Any

from allocator.config import MachineConfig
from allocator.events import CTX_PF_MEMALLOC
from allocator.linux6.page_alloc import Linux6PageAllocator
from allocator.machine import Machine
from allocator.outcome import OUTCOME_NAMES
from allocator.revision import parse_variant

GFP_KERNEL = 0xCC0
GFP_NOIO = 0xC00
GFP_ATOMIC = 0xA20
GFP_NOWAIT = 0x800
GFP_HIGHUSER_MOVABLE = 0x100CCA
DMA = 0x1
MOVABLE = 0x8
RECLAIMABLE = 0x10
HIGH = 0x20
RETRY_MAYFAIL = 0x4000
NOFAIL = 0x8000
NORETRY = 0x10000
MEMALLOC = 0x20000
NOMEMALLOC = 0x80000
THISNODE = 0x200000
PLAIN = GFP_KERNEL | NORETRY
"""Denied rather than stalled."""

ALL_MEMORY = 1 << 20
"""Kilobytes: min above the whole machine, so that only the entitled get pages."""


class Driver:
    """One machine. Handles are given out in ascending order from 1."""

    def __init__(
        self,
        variant: str = "slub-v6.1",
        *,
        cpus: int = 2,
        nodes: int = 1,
        pages: int = 10240,
        zone_end_pfn: tuple[int, int, int] | None = None,
        numa: bool = True,
        min_free_kbytes: int = 512,
        memalloc_socks: bool = True,
        merge: bool = False,
        kmalloc: bool = False,
    ) -> None:
        """``pages`` a node; cpus round-robin over the nodes; all memory is zone DMA32."""
        end = nodes * pages
        self.machine = Machine(
            MachineConfig(
                cpus=cpus,
                cpu_node=tuple(cpu % nodes for cpu in range(cpus)),
                nodes=tuple((node * pages, (node + 1) * pages) for node in range(nodes)),
                zone_end_pfn=zone_end_pfn or (0, end, end),
                numa=numa,
                min_free_kbytes=min_free_kbytes,
                memalloc_socks=memalloc_socks,
                slub_merge=merge,
                kmalloc=kmalloc,
            ),
            parse_variant(variant),
        )
        self.answer = self.machine.answer
        self.outcome = 0
        """Of the last allocation."""
        self._next = 1

    @property
    def pages(self) -> Linux6PageAllocator:
        """The page allocator."""
        pages = self.machine.pages
        assert isinstance(pages, Linux6PageAllocator)
        return pages

    @property
    def result(self) -> str:
        """Result and path of the last allocation: ``ok/pcp``."""
        return "/".join(OUTCOME_NAMES[self.outcome])

    def page(
        self, gfp: int = GFP_KERNEL, order: int = 0, *, cpu: int = 0, node: int = -1, ctx: int = 0
    ) -> int:
        """``alloc_pages``: the handle."""
        handle = self._take()
        self.outcome = self.machine.page_alloc(handle, order, gfp, cpu, node, ctx)
        return handle

    def free_page(self, *handles: int, cpu: int = 0) -> None:
        """``__free_pages`` on a cpu, in this order."""
        for handle in handles:
            self.machine.page_free(handle, cpu, False)

    def cache(self, size: int, flags: int = 0, *, align: int = 0) -> int:
        """``kmem_cache_create``: the cache's number."""
        name = f"cache-{size}-{flags:x}-{self._next}"
        return self.machine.cache_create(name, size, align, flags)

    def obj(
        self,
        cache: int,
        gfp: int = GFP_KERNEL,
        *,
        cpu: int = 0,
        node: int = -1,
        ctx: int = 0,
    ) -> int:
        """``kmem_cache_alloc``: the handle."""
        handle = self._take()
        self.outcome = self.machine.obj_alloc(handle, cache, gfp, cpu, node, ctx)
        return handle

    def reserve_obj(self, cache: int, *, cpu: int = 0) -> int:
        """An object for a PF_MEMALLOC caller."""
        return self.obj(cache, GFP_NOIO, cpu=cpu, ctx=CTX_PF_MEMALLOC)

    def free(self, *handles: int, cpu: int = 0) -> None:
        """``kmem_cache_free`` on a cpu, in this order."""
        for handle in handles:
            self.machine.obj_free(handle, cpu)

    def only_reserve(self) -> None:
        """Raise min above all memory."""
        self.machine.set_min_free_kbytes(ALL_MEMORY)

    def geometry(self, cache: int) -> dict[str, Any]:
        """What ``kmem_cache_create`` computed."""
        return self.machine.geometry(cache)

    def state(self, cache: int) -> dict[str, Any]:
        """A cache as the vectors' digests write it."""
        name = self.machine.objects.cache_name(cache)
        caches: Any = self.machine.state("L3")["caches"]
        found: dict[str, Any] = next(c for c in caches if c["name"] == name)
        return found

    def leaks(self, cache: int) -> dict[str, int]:
        """Reserve objects given to callers without entitlement, zeros left out."""
        leaks = self.machine.stats().caches[cache].leaks
        return {way: count for way, count in leaks.items() if count}

    def _take(self) -> int:
        self._next += 1
        return self._next - 1
