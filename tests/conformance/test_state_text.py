"""States are laid out the way a kernel engineer reads lists, arrays and slabs."""

from __future__ import annotations

from typing import Any

from tracegen.conformance import state_text

ZONE: dict[str, Any] = {
    "nid": 1,
    "zone": "Normal",
    "free": 1030,
    "nr_free": [2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    "free_lists": {"0/0": [17, 5], "10/2": [1024], "2/3": [8]},
    "pcp": [{"count": 0, "lists": [[], [], []]}, {"count": 2, "lists": [[], [], [40, 41]]}],
    "slab_pages": [3, 4],
    "block_types": "32",
}
BOOT: dict[str, Any] = {
    "zones": [
        {
            "nid": 1,
            "zone": "Normal",
            "wmark": {"min": 8, "low": 10, "high": 12},
            "lowmem_reserve": [0, 0, 0, 0],
            "pcp_high": 6,
            "pcp_batch": 1,
        }
    ]
}


def test_a_zone_of_linux_3() -> None:
    """Watermarks, free lists by order and type, per-cpu lists, pageblocks."""
    assert [
        "node 1 Normal: free 1030, min 8 low 10 high 12, lowmem_reserve [0, 0, 0, 0]",
        "  nr_free by order  0:2 2:1 10:1",
        "  free order  0 unmovable   17 5",
        "  free order  2 reserve     8",
        "  free order 10 movable     1024",
        "  pcp cpu 0: count 0 (high 6, batch 1)",
        "  pcp cpu 1: count 2 (high 6, batch 1)",
        "    movable              40 41",
        "  slab pages reclaimable, unreclaimable: [3, 4]",
        "  block types 32",
    ] == list(state_text.zones({"zones": [ZONE]}, BOOT, ["node 1 Normal"]))


def test_a_zone_of_linux_6() -> None:
    """The boost, other types under the same numbers, per-cpu lists by order and type."""
    lists: list[list[int]] = [[] for _ in range(12)]
    lists[1], lists[5], lists[11] = [7], [8, 9], [64]
    zone = {**ZONE, "boost": 512, "boosted_flag": 1, "highatomic": 1024}
    zone["pcp"] = [{"count": 11, "free_factor": 2, "lists": lists}]
    del zone["slab_pages"]

    assert [
        "node 1 Normal: free 1030",
        "  boost 512, boosted_flag 1, highatomic 1024",
        "  nr_free by order  0:2 2:1 10:1",
        "  free order  0 unmovable   17 5",
        "  free order  2 highatomic  8",
        "  free order 10 reclaimable 1024",
        "  pcp cpu 0: count 11, free_factor 2",
        "    order 0 movable      7",
        "    order 1 reclaimable  8 9",
        "    order 3 reclaimable  64",
        "  block types 32",
    ] == list(state_text.zones({"zones": [zone]}, {}, ["node 1 Normal"]))


def test_only_wanted_zones_are_shown() -> None:
    """A zone that the mismatch is not about stays out."""
    assert [] == list(state_text.zones({"zones": [ZONE]}, BOOT, ["node 0 Normal"]))


def test_a_slab_cache() -> None:
    """Array entries with their tags, the three lists, shared and alien arrays, statistics."""
    cache = {
        "name": "skb",
        "cpus": [
            {"avail": 2, "tagged": 1, "touched": 1, "entries": [[32, 1, 1], [36, 0, 0]]},
            {"avail": 0, "tagged": 0, "touched": 0, "entries": []},
        ],
        "nodes": [
            {
                "full": [[32, 8, 3]],
                "partial": [[36, 1, 0, [1, 2, 3]]],
                "free": [[40, 0, 0, [0, 1]]],
                "free_objects": 5,
                "free_touched": 1,
                "shared_touched": 0,
                "shared": [[32, 2, 1]],
                "alien": [[], [[36, 3, 0]]],
            }
        ],
        "stats": {"allochit": 4, "grown": 0},
    }

    assert [
        "cache skb (size 512, objs 8, mgmt_cache size-64)",
        "  cpu 0: avail 2, tagged 1, touched 1  32:1* 36:0",
        "  cpu 1: avail 0, tagged 0, touched 0  none",
        "  node 0: free_objects 5, free_touched 1, shared_touched 0",
        "    full     32  inuse 8  pfmemalloc 0b11",
        "    partial  36  inuse 1  free 1 2 3",
        "    free     40  inuse 0  free 0 1",
        "    shared   32:2*",
        "    alien 1  36:3",
        "  stats: allochit 4",
    ] == list(
        state_text.caches(
            {"caches": [cache]},
            {"skb": {"size": 512, "objs": 8, "mgmt_cache": "size-64", "alias_of": None}},
            ["skb"],
        )
    )


def test_a_slub_cache() -> None:
    """The cpu slab with its freelist, partial pages of cpu and node, frozen and flagged."""
    cache = {
        "name": "bio",
        "cpus": [
            {
                "slab": [32, 16, 16, 1, 1, []],
                "freelist": [3, 2],
                "partial": [[34, 1, 16, 1, 0, [4]]],
            },
            {"slab": None, "freelist": [], "partial": []},
        ],
        "nodes": [{"nr_partial": 1, "partial": [[36, 15, 16, 0, 1, [0]]]}],
        "stats": {},
    }

    assert [
        "cache bio",
        "  cpu 0: 32  inuse 16/16  frozen  pfmemalloc  free none",
        "    freelist 3 2",
        "    partial  34  inuse 1/16  frozen  free 4",
        "  cpu 1: no slab",
        "  node 0: nr_partial 1",
        "    partial  36  inuse 15/16  pfmemalloc  free 0",
        "  stats: all 0",
    ] == list(state_text.caches({"caches": [cache]}, {}, ["bio"]))


def test_a_cache_that_holds_nothing_is_named() -> None:
    """General caches without slabs are not in a state; that is said."""
    assert ["cache size-32 (size 32): not in the state"] == list(
        state_text.caches({"caches": []}, {"size-32": {"size": 32}}, ["size-32"])
    )


def test_long_lists_are_counted_not_shown() -> None:
    """The first twenty members, and how many more there are; the same for slabs."""
    node = {"nr_partial": 22, "partial": [[pfn, 1, 2, 0, 0, [1]] for pfn in range(22)]}
    cache = {"name": "bio", "cpus": [], "nodes": [node], "stats": {}}

    told = list(state_text.caches({"caches": [cache]}, {}, ["bio"]))

    assert f"{' '.join(map(str, range(20)))} … 5 more" == state_text.clip(range(25))
    assert "    partial  … 2 more" == told[-2]
