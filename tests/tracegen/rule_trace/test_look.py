"""Looks: what is seen in a state, in the model's and in a recorded one."""

from __future__ import annotations

from typing import Any

import pytest

from tracegen.rule_trace.look import look, state_of
from tracegen.rule_trace.trace import Operation

SLAB: dict[str, Any] = {
    "name": "skb",
    "cpus": [
        {"avail": 2, "entries": [[9216, 0, 1], [9216, 1, 1]]},
        {"avail": 0, "entries": []},
    ],
    "nodes": [
        {
            "full": [[9218, 15, 3]],
            "partial": [[9216, 2, 2, [2, 3, 4]]],
            "free": [],
            "shared": [[9220, 1, 0]],
            "alien": [[], [[19456, 0, 1]]],
        }
    ],
    "stats": {"allochit": 3, "allocmiss": 0},
}
SLUB: dict[str, Any] = {
    "name": "skb",
    "cpus": [
        {"slab": [9216, 16, 16, 1, 1, []], "freelist": [3, 4, 5], "partial": []},
        {"slab": None, "freelist": [], "partial": [[9224, 15, 16, 1, 0, [0]]]},
    ],
    "nodes": [{"nr_partial": 1, "partial": [[9232, 0, 16, 0, 1, [1, 0]]]}],
    "stats": {"alloc_fastpath": 2},
}


@pytest.mark.parametrize(
    ("cache", "operation", "seen"),
    [
        (SLAB, Operation("array"), "9216:0* 9216:1*"),
        (SLAB, Operation("array", cpu=1), "empty"),
        (SLAB, Operation("shared", node=0), "9220:1"),
        (SLAB, Operation("alien", node=0, of=1), "19456:0*"),
        (SLAB, Operation("alien", node=0, of=0), "empty"),
        (SLAB, Operation("slabs", node=0), "full=9218* partial=9216* free=none"),
        (SLAB, Operation("slab", pfn=9216), "partial inuse=2 flagged=page1 free=2..4"),
        (SLAB, Operation("slab", pfn=9218), "full inuse=15 flagged=all free=none"),
        (SLAB, Operation("slab", pfn=1), "none"),
        (SLAB, Operation("stats"), "allochit=3 allocmiss=0"),
        (SLAB, Operation("cpuslab"), "none in slab"),
        (SLUB, Operation("cpuslab"), "slab=9216* freelist=3..5 partial=none"),
        (SLUB, Operation("cpuslab", cpu=1), "slab=none freelist=none partial=9224"),
        (SLUB, Operation("partial", node=0), "9232*"),
        (
            SLUB,
            Operation("slab", pfn=9216),
            "cpu0 inuse=16 objects=16 flagged=all free=none",
        ),
        (
            SLUB,
            Operation("slab", pfn=9224),
            "cpu1-partial inuse=15 objects=16 flagged=none free=0",
        ),
        (
            SLUB,
            Operation("slab", pfn=9232),
            "node0-partial inuse=0 objects=16 flagged=all free=1,0",
        ),
        (SLUB, Operation("array"), "none in slub"),
    ],
)
def test_each_place_can_be_seen(cache: dict[str, Any], operation: Operation, seen: str) -> None:
    """Arrays, lists, slabs and counters are told in words; what is not there is none."""
    operation.cache = "skb"

    assert seen == str(look(state_of({"caches": [cache]}, {"skb": 2}), operation))


def test_a_cache_that_is_not_in_the_state_has_nothing() -> None:
    """General caches without slabs are left out of a state."""
    assert "none" == str(look(state_of({"caches": []}, {}), Operation("array", cache="size-64")))
