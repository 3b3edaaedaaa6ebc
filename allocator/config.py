"""What a machine is made of, and which caches it has.

Plain data with its own checks; the same keys as a trace header and as the
conformance vectors use (``cpus``, ``cpu_node``, ``nodes``, ``zone_end_pfn``, …).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 4096

ZONE_NAMES: Final = ("DMA", "DMA32", "Normal")
"""Zone types in the kernel's order (x86-64 without HIGHMEM)."""

MAX_CPUS: Final = 1024
MAX_NODES: Final = 64
_PAGEBLOCK: Final = 1024
_LEAST_PAGES: Final = 256
MAX_PFN: Final = 1 << 31
"""8 TiB of 4 KiB pages: page frame numbers stay within 31 bits."""


class ConfigError(ValueError):
    """A machine or cache description that cannot be."""


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """One machine: cpus, nodes, zones and build options.

    ``nodes`` holds one ``(first pfn, end pfn)`` per node; ``zone_end_pfn`` the
    end of DMA, DMA32 and Normal over the whole machine (a node's zone is the
    overlap, an empty overlap is no zone). ``min_free_kbytes`` 0 takes the
    kernel's own formula. ``reserved`` are ranges ``(first pfn, end pfn)`` that
    the page allocator never owns (kernel image, holes).
    """

    cpus: int
    cpu_node: tuple[int, ...]
    nodes: tuple[tuple[int, int], ...]
    zone_end_pfn: tuple[int, int, int]
    numa: bool = True
    min_free_kbytes: int = 0
    memalloc_socks: bool = True
    slub_merge: bool = False
    kmalloc: bool = True
    reserved: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no kernel could boot on."""
        if not 1 <= self.cpus <= MAX_CPUS:
            raise ConfigError(f"cpus is {self.cpus}, expected 1 to {MAX_CPUS}")
        if not 1 <= len(self.nodes) <= MAX_NODES:
            raise ConfigError(f"{len(self.nodes)} nodes, expected 1 to {MAX_NODES}")
        if len(self.cpu_node) != self.cpus:
            raise ConfigError(
                f"cpu_node names {len(self.cpu_node)} cpus, the machine has {self.cpus}"
            )
        for cpu, node in enumerate(self.cpu_node):
            if not 0 <= node < len(self.nodes):
                raise ConfigError(f"cpu {cpu} is on node {node}, which does not exist")
        end = 0
        for node, (first, last) in enumerate(self.nodes):
            if not end <= first < last <= MAX_PFN:
                raise ConfigError(
                    f"node {node} spans pfns {first} to {last}; expected an ascending,"
                    f" non-empty range after {end} and below {MAX_PFN}"
                )
            end = last
        if not 0 <= self.zone_end_pfn[0] <= self.zone_end_pfn[1] <= self.zone_end_pfn[2]:
            raise ConfigError(f"zone_end_pfn {self.zone_end_pfn} is not ascending")
        if end > self.zone_end_pfn[2]:
            raise ConfigError(
                f"node memory ends at pfn {end}, zone Normal at {self.zone_end_pfn[2]}"
            )
        self._check_boundaries()
        if not self.numa and len(self.nodes) > 1:
            raise ConfigError("a kernel without CONFIG_NUMA has one node")
        if self.min_free_kbytes < 0:
            raise ConfigError(f"min_free_kbytes is {self.min_free_kbytes}, expected 0 or more")

    def _check_boundaries(self) -> None:
        """A pageblock belongs to one zone, as ``struct zone`` demands of its start."""
        starts = [first for first, _ in self.nodes[1:]]
        starts += [
            end
            for end in self.zone_end_pfn
            if any(first < end < last for first, last in self.nodes)
        ]
        for pfn in starts:
            if pfn % _PAGEBLOCK:
                raise ConfigError(
                    f"a zone begins at pfn {pfn}; expected a multiple of {_PAGEBLOCK}"
                    " (one pageblock)"
                )
        pages = sum(last - first for first, last in self.nodes)
        if pages < _LEAST_PAGES:
            raise ConfigError(f"the machine has {pages} pages, expected {_LEAST_PAGES} or more")


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """A cache as ``kmem_cache_create`` takes it: bytes, bytes, SLAB_* bits."""

    id: int
    name: str
    size: int
    align: int = 0
    flags: int = 0

    def __post_init__(self) -> None:
        """Refuse what ``kmem_cache_create`` would refuse."""
        if not 0 <= self.id < 1 << 14:
            raise ConfigError(f"cache {self.name!r} has id {self.id}, expected 0 to 16383")
        if not self.name:
            raise ConfigError(f"cache {self.id} has no name")
        if not 8 <= self.size <= 1 << 22:
            raise ConfigError(
                f"cache {self.name!r} has size {self.size}, expected 8 to 4194304 bytes"
            )
        if self.align < 0 or self.align & (self.align - 1) or self.align > PAGE_SIZE:
            raise ConfigError(
                f"cache {self.name!r} has align {self.align}, expected 0 or a power of two"
                f" up to {PAGE_SIZE}"
            )
