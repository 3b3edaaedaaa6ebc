"""Which code is which kernel's: builds the allocators of a variant."""

from __future__ import annotations

from allocator.config import MachineConfig
from allocator.linux3.page_alloc import Linux3PageAllocator
from allocator.linux3.slab import Slab3
from allocator.linux3.slub import Slub3
from allocator.linux6.page_alloc import Linux6PageAllocator
from allocator.linux6.slab import Slab6
from allocator.linux6.slub import Slub6
from allocator.object_allocator import ObjectAllocator
from allocator.page_allocator import PageAllocator
from allocator.revision import LINUX_6, Variant
from allocator.task import Task


def boot_kernel(
    config: MachineConfig, variant: Variant, current: Task
) -> tuple[PageAllocator, ObjectAllocator]:
    """Boot the page allocator and the object allocator of a variant."""
    if variant.revision.linux == LINUX_6:
        pages6 = Linux6PageAllocator(config, current)
        if variant.allocator == "slub":
            return pages6, Slub6(config, pages6, current)
        return pages6, Slab6(config, pages6, current)
    pages = Linux3PageAllocator(config, variant.revision, current)
    if variant.allocator == "slub":
        return pages, Slub3(config, variant.revision, pages, current)
    return pages, Slab3(config, variant.revision, pages, current)
