"""Pages that slabs were made of, cache by cache: the kernel's beside the model's."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.machine import Machine
from allocator.stats import CacheStats
from tracegen.kernel_trace.balance import Balance, general_name
from tracegen.kernel_trace.slab_pages import order_of


@dataclass(frozen=True, slots=True)
class CachePages:
    """One cache, from the trace's beginning to its end, in pages."""

    name: str
    machine_taken: int
    model_taken: int
    machine_net: int
    """Taken less given back."""
    model_net: int
    bulk: bool
    """Its objects also come from bulk allocation, so the import has pages for slabs."""


def taken(machine: Machine) -> dict[str, tuple[int, int]]:
    """By cache: pages of all slabs ever grown, and of those there are."""
    found: dict[str, tuple[int, int]] = {}
    for cache in machine.stats().caches:
        name = general_name(cache.name)
        grown, held = found.get(name, (0, 0))
        found[name] = (
            grown + _grown_pages(cache),
            held + cache.slabs * cache.pages_per_slab,
        )
    return found


def _grown_pages(cache: CacheStats) -> int:
    counters = cache.counters
    slabs = counters.get("alloc_slab", counters.get("grown", 0))
    smaller = counters.get("order_fallback", 0)
    least = 1 << order_of(max(cache.object_size, 1))
    return (slabs - smaller) * cache.pages_per_slab + smaller * least


def by_cache(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], balance: Balance
) -> list[CachePages]:
    """Every cache that either took pages for, those that took most first."""
    found = []
    for name in sorted(after.keys() | balance.caches.keys()):
        grown, held = after.get(name, (0, 0))
        grown_before, held_before = before.get(name, (0, 0))
        kernel = balance.caches.get(name)
        kernel_taken = kernel.taken if kernel is not None else 0
        given_back = kernel.given_back if kernel is not None else 0
        pages = CachePages(
            name,
            kernel_taken,
            grown - grown_before,
            kernel_taken - given_back,
            held - held_before,
            name in balance.bulk_caches,
        )
        if pages.machine_taken or pages.model_taken:
            found.append(pages)
    return sorted(found, key=lambda pages: -max(pages.machine_taken, pages.model_taken))
