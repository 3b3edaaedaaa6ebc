"""Which code is which kernel's: builds the allocators of a variant."""

from __future__ import annotations

from allocator.config import MachineConfig
from allocator.linux3.page_alloc import Linux3PageAllocator
from allocator.linux3.slab import Slab3
from allocator.linux3.slub import Slub3
from allocator.object_allocator import ObjectAllocator
from allocator.page_allocator import PageAllocator
from allocator.revision import Variant
from allocator.task import Task


def boot_kernel(
    config: MachineConfig, variant: Variant, current: Task
) -> tuple[PageAllocator, ObjectAllocator]:
    """Boot the page allocator and the object allocator of a variant."""
    pages = Linux3PageAllocator(config, variant.revision, current)
    if variant.allocator == "slub":
        return pages, Slub3(config, variant.revision, pages, current)
    return pages, Slab3(config, variant.revision, pages, current)
