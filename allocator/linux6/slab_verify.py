"""What must always be true of a SLAB cache of Linux 6.1: each slab and object in one place.

Reads the table and the arrays and nothing else, and counts everything anew.
"""

from __future__ import annotations

from mypy_extensions import i64

from allocator.linux6.slab_cache import (
    S_ACTIVE,
    S_FLAGS,
    S_NODE_MASK,
    S_NODE_SHIFT,
    SLAB_PFMEMALLOC,
    SLAB_WORDS,
    KmemCache,
    KmemCacheNode,
)
from allocator.object_allocator import INDEX_MASK, INDEX_SHIFT, SLAB_SHIFT, TAG
from allocator.slab_cache import (
    S_NEXT,
    S_PREV,
    SLABS_FREE,
    SLABS_FULL,
    SLABS_PARTIAL,
    ArrayCache,
)
from allocator.verify import require

_LISTS = ((SLABS_FULL, "full"), (SLABS_PARTIAL, "partial"), (SLABS_FREE, "free"))


def verify_cache(c: KmemCache, held: list[int]) -> None:
    """Check a cache; ``held`` are the objps in callers' and other caches' hands.

    Raises InvariantError.
    """
    where: dict[int, str] = {}
    slabs: set[int] = set()
    for nid, n in enumerate(c.node):
        slabs |= _verify_node(c, nid, n, where)
    require(len(slabs) == c.nr_slabs, f"{_of(c)}{len(slabs)} slabs, {c.nr_slabs} counted")
    for cpu, ac in enumerate(c.array):
        _verify_array(c, ac, f"in cpu {cpu}'s array", where)
    for nid, n in enumerate(c.node):
        if n.shared is not None:
            _verify_array(c, n.shared, f"in node {nid}'s shared array", where)
        for other, alien in enumerate(n.alien or []):
            if alien is not None:
                _verify_array(c, alien, f"in node {nid}'s array for node {other}", where)
    for objp in held:
        require(not objp & TAG, f"{_of(c)}object {objp:#x} is tagged")
        _put(c, objp, "in use", where)
    objects = len(slabs) * int(c.num)
    require(len(where) == objects, f"{_of(c)}{len(where)} objects are somewhere, {objects} exist")
    for objp, place in where.items():
        require(objp >> SLAB_SHIFT in slabs, f"{_of(c)}object {objp:#x}, {place}, is of no slab")
    flagged = sorted(slabp for slabp in slabs if c.table[slabp + S_FLAGS] & SLAB_PFMEMALLOC)
    listed = sorted(int(c.flagged[i]) for i in range(c.pfmemalloc_slabs))
    require(flagged == listed, f"{_of(c)}slabs {flagged} are flagged, {listed} are listed as such")


def _of(c: KmemCache) -> str:
    return f"cache {c.name}: "


def _verify_node(c: KmemCache, nid: int, n: KmemCacheNode, where: dict[int, str]) -> set[int]:
    """A node's lists and counts; returns its slabs."""
    table = c.table
    slabs: set[int] = set()
    free_objects = 0
    free_slabs = 0
    for which, name in _LISTS:
        head = int(n.head) + which
        before = head
        slabp = int(table[head + S_NEXT])
        while slabp != head:
            require(slabp not in slabs, f"{_of(c)}slab {slabp} is on two lists")
            require(table[slabp + S_PREV] == before, f"{_of(c)}slab {slabp} is linked wrongly")
            require(
                table[slabp + S_FLAGS] >> S_NODE_SHIFT & S_NODE_MASK == nid,
                f"{_of(c)}slab {slabp} is on the lists of node {nid}, not its own",
            )
            slabs.add(slabp)
            active = int(table[slabp + S_ACTIVE])
            wanted = "full" if active == c.num else "free" if active == 0 else "partial"
            require(name == wanted, f"{_of(c)}slab {slabp} is on {name}, not {wanted}")
            free_objects += int(c.num) - active
            free_slabs += name == "free"
            for at in range(active, int(c.num)):
                index = table[slabp + SLAB_WORDS + at]
                require(0 <= index < c.num, f"{_of(c)}slab {slabp} has a free object {index}")
                _put(c, slabp << SLAB_SHIFT | index << INDEX_SHIFT, "free in its slab", where)
            before = slabp
            slabp = int(table[slabp + S_NEXT])
        require(table[head + S_PREV] == before, f"{_of(c)}the list {name} is linked wrongly")
    for what, counted, found in (
        ("free objects", n.free_objects, free_objects),
        ("free slabs", n.free_slabs, free_slabs),
        ("slabs", n.total_slabs, len(slabs)),
    ):
        require(counted == found, f"{_of(c)}node {nid} has {found} {what}, {counted} counted")
    return slabs


def _verify_array(c: KmemCache, ac: ArrayCache, place: str, where: dict[int, str]) -> None:
    require(0 <= ac.avail <= ac.limit, f"{_of(c)}{ac.avail} objects {place} of {ac.limit}")
    for i in range(ac.avail):
        _put(c, ac.entry[i] & ~TAG, place, where)


def _put(c: KmemCache, objp: i64, place: str, where: dict[int, str]) -> None:
    key = int(objp)
    require(objp >> INDEX_SHIFT & INDEX_MASK < c.num, f"{_of(c)}object {key:#x} is beyond its slab")
    require(key not in where, f"{_of(c)}object {key:#x} is {place} and {where.get(key)}")
    where[key] = place
