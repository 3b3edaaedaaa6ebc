"""How the reserve leaks: objects of flagged slabs in the hands of the not entitled.

A leak is an object of a slab that is flagged pfmemalloc when the allocation meets
it, given to a caller for whom ``gfp_pfmemalloc_allowed`` (P2) is false. Each way it
can happen has a name, the ``way`` of the metrics; each allocator counts those that
its code leaves open.
"""

from __future__ import annotations

from typing import Final

NODE_PATH: Final = "node_path"
FORCED_REFILL: Final = "forced_refill"
WRONG_CACHE: Final = "wrong_cache"
DESCRIPTOR_CACHE: Final = "descriptor_cache"
PARTIAL_UNFLAG: Final = "partial_unflag"
NO_MEMALLOC_SOCKS: Final = "no_memalloc_socks"
FAST_PATH: Final = "fast_path"
SAME_SLAB_AGAIN: Final = "same_slab_again"
PARTIAL_SLAB: Final = "partial_slab"
GROW_FILLS_ARRAY: Final = "grow_fills_array"
SHARED_ARRAY: Final = "shared_array"
NOFAIL: Final = "nofail"

LEAK_WAYS: Final[dict[str, str]] = {
    NODE_PATH: "SLAB 3.x, NUMA: ____cache_alloc_node takes from a node's slabs without looking",
    FORCED_REFILL: "SLAB 3.x: a forced refill grows a slab, then hands out the old reserve object",
    WRONG_CACHE: "SLAB 3.x: untagged, for a cache without reserve slabs had cleared the global",
    DESCRIPTOR_CACHE: "SLAB 3.x: untagged, for a slab descriptor's cache had cleared the global",
    PARTIAL_UNFLAG: "SLAB 3.x: untagged, for un-flagging one page of a slab had cleared the global",
    NO_MEMALLOC_SOCKS: "SLAB 3.6: without memalloc sockets the arrays look at nothing",
    FAST_PATH: "SLUB 3.6 and 6.1: the fast path does not test the cpu slab's flag",
    SAME_SLAB_AGAIN: "SLUB seed: the mismatching cpu slab is deactivated and taken straight back",
    PARTIAL_SLAB: "SLUB 3.x: a slab of a cpu's or node's partial list is loaded without a look",
    GROW_FILLS_ARRAY: "SLAB 6.1: growing for an entitled caller fills the array with the reserve",
    SHARED_ARRAY: "SLAB 6.1: reserve objects reach the array by way of alien and shared arrays",
    NOFAIL: "6.1: __GFP_NOFAIL takes the reserve on the out-of-memory path",
}
"""Every way, and a sentence that says it."""
