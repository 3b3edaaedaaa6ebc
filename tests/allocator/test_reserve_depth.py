"""How deep each allocation left a zone's reserve is counted as it happens, not sampled."""

from __future__ import annotations

import struct

import pytest

from allocator.config import MachineConfig
from allocator.events import CTX_PF_MEMALLOC, PAGE_ALLOC
from allocator.gfp import encode
from allocator.machine import Machine
from allocator.revision import parse_variant, variant_names
from allocator.stats import ZoneStats
from allocator.zone import RESERVE_PARTS

PAGES = 4096
MIN_PAGES = 256
RECORD = struct.Struct("<QQIIHhBBH")


def page(handle: int) -> bytes:
    """A page for a task with PF_MEMALLOC."""
    gfp = encode("GFP_KERNEL", "v3.3")
    return RECORD.pack(0, handle, gfp, 0, 0, -1, PAGE_ALLOC, CTX_PF_MEMALLOC, 0)


def drained_to(variant: str, free_pages: int) -> ZoneStats:
    """The only zone of a machine from which pages are taken until so many are left."""
    config = MachineConfig(
        cpus=1,
        cpu_node=(0,),
        nodes=((0, PAGES),),
        zone_end_pfn=(0, PAGES, PAGES),
        min_free_kbytes=MIN_PAGES * 4,
    )
    machine = Machine(config, parse_variant(variant), [], "v3.3")
    (zone,) = machine.stats().zones
    for handle in range(zone.free_pages - free_pages):
        machine.apply(page(handle + 1))
    (zone,) = machine.stats().zones
    return zone


@pytest.mark.parametrize("variant", variant_names())
def test_every_allocation_below_min_is_counted_at_its_depth(variant: str) -> None:
    """A reserve drawn to its last page passes through each eighth, and all of it is below min."""
    zone = drained_to(variant, 0)

    assert zone.below_min_events == sum(zone.reserve_left)
    assert [zone.min_pages // RESERVE_PARTS] * RESERVE_PARTS == zone.reserve_left
    drawn = sum(1 - left / zone.min_pages for left in range(zone.min_pages))
    assert drawn == pytest.approx(zone.reserve_drawn_permille / 1000, rel=0.01)


def test_the_last_eighth_counts_what_exhausts_the_reserve() -> None:
    """At an eighth of min nothing is counted there; one page less is."""
    assert 0 == drained_to("slab-seed", MIN_PAGES // RESERVE_PARTS).reserve_left[0]
    assert 1 == drained_to("slab-seed", MIN_PAGES // RESERVE_PARTS - 1).reserve_left[0]
