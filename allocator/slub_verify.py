"""What must always be true of a SLUB cache: each slab and each object in one place.

Reads the table and nothing else, and counts everything anew.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.object_allocator import INDEX_MASK, INDEX_SHIFT, SLAB_SHIFT, TAG
from allocator.slub_cache import (
    C_FREELIST,
    C_PAGE,
    N_NR_PARTIAL,
    NULL,
    S_FLAGS,
    S_FREELIST,
    S_INUSE,
    S_NODE_MASK,
    S_NODE_SHIFT,
    S_OBJECTS,
    S_ORDER_MASK,
    S_ORDER_SHIFT,
    S_PAGES,
    S_PREV,
    SLAB_FROZEN,
    SLAB_PFMEMALLOC,
    SLAB_WORDS,
    KmemCache,
)
from allocator.verify import require

# Where a slab can be.
_ON_NO_LIST: Final = "on no list"
_CPU_SLAB: Final = "a cpu slab"
_CPU_PARTIAL: Final = "on a cpu's partial list"
_NODE_PARTIAL: Final = "on a node's partial list"


def verify_cache(s: KmemCache, nodes: int, cpus: int, held: list[int]) -> None:
    """Check a cache; ``held`` are the objps in callers' hands. Raises InvariantError."""
    slabs = s.slabs()
    require(len(slabs) == s.nr_slabs, f"{_of(s)}{len(slabs)} slabs, {s.nr_slabs} counted")
    objects = sum(int(s.table[page + S_OBJECTS]) for page in slabs)
    require(objects == s.total_objects, f"{_of(s)}{objects} objects, {s.total_objects} counted")
    place = _places(s, set(slabs), nodes, cpus)
    where: dict[int, str] = {}
    for page in slabs:
        _verify_slab(s, page, place.get(page, _ON_NO_LIST))
        _put_chain(s, page, s.table[page + S_FREELIST], "free in its slab", where)
    for cpu in range(cpus):
        c = s.cpu(cpu)
        _put_chain(s, s.table[c + C_PAGE], s.table[c + C_FREELIST], "on a cpu's freelist", where)
    for objp in held:
        require(not objp & TAG, f"{_of(s)}object {objp:#x} is tagged")
        page = objp >> SLAB_SHIFT
        require(page in place or page in slabs, f"{_of(s)}object {objp:#x} is of no slab")
        _put(s, page + SLAB_WORDS + (objp >> INDEX_SHIFT & INDEX_MASK), "in use", where)
    require(
        len(where) == objects,
        f"{_of(s)}{len(where)} objects are somewhere, {objects} exist",
    )
    flagged = sorted(page for page in slabs if s.table[page + S_FLAGS] & SLAB_PFMEMALLOC)
    listed = sorted(int(s.flagged[i]) for i in range(s.pfmemalloc_slabs))
    require(flagged == listed, f"{_of(s)}slabs {flagged} are flagged, {listed} are listed as such")


def _of(s: KmemCache) -> str:
    return f"cache {s.name}: "


def _places(s: KmemCache, slabs: set[int], nodes: int, cpus: int) -> dict[int, str]:
    """Where each slab is that is anywhere."""
    place: dict[int, str] = {}

    def put(page: int, where: str) -> None:
        require(page in slabs, f"{_of(s)}slab {page}, {where}, does not exist")
        require(page not in place, f"{_of(s)}slab {page} is {where} and {place.get(page)}")
        place[page] = where

    table = s.table
    for cpu in range(cpus):
        c = s.cpu(cpu)
        if table[c + C_PAGE] != NULL:
            put(int(table[c + C_PAGE]), _CPU_SLAB)
        else:
            require(table[c + C_FREELIST] == NULL, f"{_of(s)}cpu {cpu} has objects of no slab")
        partials = s.cpu_partials(c)
        for behind, page in enumerate(reversed(partials)):
            put(page, _CPU_PARTIAL)
            require(
                table[page + S_PAGES] == behind + 1,
                f"{_of(s)}slab {page} counts {table[page + S_PAGES]} partial slabs of cpu {cpu},"
                f" there are {behind + 1}",
            )
    for nid in range(nodes):
        n = s.node(nid)
        partials = s.node_partials(n)
        before = int(n)
        for page in partials:
            put(page, _NODE_PARTIAL)
            require(table[page + S_PREV] == before, f"{_of(s)}slab {page} is linked wrongly")
            require(
                table[page + S_FLAGS] >> S_NODE_SHIFT & S_NODE_MASK == nid,
                f"{_of(s)}slab {page} is on the list of node {nid}, not its own",
            )
            before = page
        require(table[n + S_PREV] == before, f"{_of(s)}the list of node {nid} is linked wrongly")
        require(
            len(partials) == table[n + N_NR_PARTIAL],
            f"{_of(s)}node {nid} has {len(partials)} partial slabs,"
            f" {table[n + N_NR_PARTIAL]} counted",
        )
    return place


def _verify_slab(s: KmemCache, page: i64, place: str) -> None:
    """A slab's own fields, and that they fit the place where it is."""
    table = s.table
    objects = table[page + S_OBJECTS]
    order = table[page + S_FLAGS] >> S_ORDER_SHIFT & S_ORDER_MASK
    require(
        (order == s.order and objects == s.objects)
        or (order == s.min_order and objects == s.min_objects),
        f"{_of(s)}slab {page} has {objects} objects in order {order}",
    )
    free = _chain_length(s, page, table[page + S_FREELIST])
    require(
        table[page + S_INUSE] + free == objects,
        f"{_of(s)}slab {page} of {objects} objects has {table[page + S_INUSE]} in use, {free} free",
    )
    frozen = table[page + S_FLAGS] & SLAB_FROZEN != 0
    require(
        frozen == (place in {_CPU_SLAB, _CPU_PARTIAL}),
        f"{_of(s)}slab {page} is {place} and {'frozen' if frozen else 'not frozen'}",
    )
    require(
        place == _CPU_SLAB or (free == 0) == (place == _ON_NO_LIST),
        f"{_of(s)}slab {page} is {place} and has {free} free objects",
    )


def _chain_length(s: KmemCache, page: i64, freelist: i64) -> int:
    """Length of a free list, each link of which must stay in the slab and which must end."""
    length = 0
    objects = s.table[page + S_OBJECTS]
    while freelist != NULL:
        index = freelist - page - SLAB_WORDS
        require(0 <= index < objects, f"{_of(s)}a free list of slab {page} leads out of it")
        require(length < objects, f"{_of(s)}a free list of slab {page} does not end")
        length += 1
        freelist = s.table[freelist]
    return length


def _put_chain(s: KmemCache, page: i64, freelist: i64, place: str, where: dict[int, str]) -> None:
    if page == NULL:
        return
    _chain_length(s, page, freelist)
    for index in s.chain(page, freelist):
        _put(s, page + SLAB_WORDS + index, place, where)


def _put(s: KmemCache, object_: i64, place: str, where: dict[int, str]) -> None:
    key = int(object_)
    require(key not in where, f"{_of(s)}object {key} is {place} and {where.get(key)}")
    where[key] = place
