"""``/proc/slabinfo`` and ``/sys/kernel/slab`` of a machine.

``s_show`` and, from Linux 3.7 on, ``cache_show``; ``slab_attrs`` of ``mm/slub.c``, with
CONFIG_SLUB_STATS. Newest cache first, as in the kernel. SLUB counts an object as active
unless it is free in a slab of a node's partial list, and so do these texts; a cpu's own
share of the statistics is not kept here, so they have no ``C0=…``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from librt.vecs import vec
from mypy_extensions import i64

from allocator.linux3 import kmem_cache as slab3
from allocator.linux3.slab import Slab3
from allocator.linux6 import slab_cache as slab6
from allocator.linux6.slab import Slab6
from allocator.machine import Machine
from allocator.object_allocator import (
    SLAB_CACHE_DMA,
    SLAB_HWCACHE_ALIGN,
    SLAB_RECLAIM_ACCOUNT,
)
from allocator.revision import LINUX_6
from allocator.slab_cache import S_NEXT, SLABS_FREE, SLABS_FULL, SLABS_PARTIAL
from allocator.slub_allocator import SlubAllocator
from allocator.slub_cache import (
    C_PAGE,
    C_PARTIAL,
    NULL,
    S_FLAGS,
    S_INUSE,
    S_NODE_MASK,
    S_NODE_SHIFT,
    S_OBJECTS,
    S_PAGES,
    S_POBJECTS,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
    SLAB_TYPESAFE_BY_RCU,
    STAT_NAMES,
    KmemCache,
)

_HEAD: Final = (
    "slabinfo - version: 2.1\n"
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor>"
    " : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
)
_DEBUG_FREE: Final = 0x100
"""SLAB_DEBUG_FREE, later SLAB_CONSISTENCY_CHECKS."""


class SlabinfoRow:
    """A line of ``/proc/slabinfo`` (``struct slabinfo``)."""

    __slots__ = (
        "active_objs",
        "active_slabs",
        "batchcount",
        "limit",
        "name",
        "num",
        "num_objs",
        "num_slabs",
        "order",
        "shared",
        "shared_avail",
        "size",
    )

    def __init__(self, name: str, size: i64, num: i64, order: i64) -> None:
        """A cache without slabs."""
        self.name: str = name
        self.size: int = int(size)
        self.num: int = int(num)
        self.order: int = int(order)
        self.active_objs: int = 0
        self.num_objs: int = 0
        self.active_slabs: int = 0
        self.num_slabs: int = 0
        self.limit: int = 0
        self.batchcount: int = 0
        self.shared: int = 0
        self.shared_avail: int = 0

    def text(self) -> str:
        """The line, as ``s_show`` and ``cache_show`` print it."""
        return (
            f"{self.name:<17} {self.active_objs:6} {self.num_objs:6} {self.size:6} {self.num:4}"
            f" {1 << self.order:4} : tunables {self.limit:4} {self.batchcount:4} {self.shared:4}"
            f" : slabdata {self.active_slabs:6} {self.num_slabs:6} {self.shared_avail:6}\n"
        )


def slabinfo(machine: Machine) -> str:
    """The whole of ``/proc/slabinfo``."""
    return _HEAD + "".join(row.text() for row in _rows(machine))


def _rows(machine: Machine) -> list[SlabinfoRow]:
    objects = machine.objects
    if isinstance(objects, Slab3):
        return [_slab3_row(objects.caches[number]) for number in objects.chain()]
    if isinstance(objects, Slab6):
        return [_slab6_row(objects.caches[number]) for number in objects.chain()]
    assert isinstance(objects, SlubAllocator)
    nodes = len(machine.config.nodes)
    return [_slub_row(objects.caches[number], nodes) for number in objects.chain()]


def _list(table: vec[i64], head: i64) -> list[int]:
    """The slabs on one of SLAB's lists."""
    found: list[int] = []
    slabp = table[head + S_NEXT]
    while slabp != head:
        found.append(int(slabp))
        slabp = table[slabp + S_NEXT]
    return found


def _slab3_row(c: slab3.KmemCache) -> SlabinfoRow:
    row = SlabinfoRow(c.name, c.buffer_size, c.num, c.gfporder)
    for l3 in c.nodelists:
        full = len(_list(c.table, l3.head + SLABS_FULL))
        partial = _list(c.table, l3.head + SLABS_PARTIAL)
        row.active_objs += full * row.num
        row.active_objs += sum(int(c.table[slabp + slab3.S_INUSE]) for slabp in partial)
        row.active_slabs += full + len(partial)
        row.num_slabs += full + len(partial) + len(_list(c.table, l3.head + SLABS_FREE))
        row.shared_avail += 0 if l3.shared is None else int(l3.shared.avail)
    row.num_objs = row.num_slabs * row.num
    row.limit = int(c.limit)
    row.batchcount = int(c.batchcount)
    row.shared = int(c.shared)
    return row


def _slab6_row(c: slab6.KmemCache) -> SlabinfoRow:
    row = SlabinfoRow(c.name, c.size, c.num, c.gfporder)
    for n in c.node:
        row.num_slabs += int(n.total_slabs)
        row.active_slabs += int(n.total_slabs - n.free_slabs)
        row.active_objs -= int(n.free_objects)
        row.shared_avail += 0 if n.shared is None else int(n.shared.avail)
    row.num_objs = row.num_slabs * row.num
    row.active_objs += row.num_objs
    row.limit = int(c.limit)
    row.batchcount = int(c.batchcount)
    row.shared = int(c.shared)
    return row


def _slub_row(s: KmemCache, nodes: int) -> SlabinfoRow:
    row = SlabinfoRow(s.name, s.size, s.objects, s.order)
    row.num_objs = int(s.total_objects)
    row.num_slabs = row.active_slabs = int(s.nr_slabs)
    free = sum(_partial_free(s, node) for node in range(nodes))
    row.active_objs = row.num_objs - free
    return row


def _partial_free(s: KmemCache, node: int) -> int:
    """``count_partial(n, count_free)``."""
    return sum(
        int(s.table[page + S_OBJECTS] - s.table[page + S_INUSE])
        for page in s.node_partials(s.node(node))
    )


# /sys/kernel/slab, for SLUB.


def slab_attributes(machine: Machine) -> dict[str, dict[str, str]]:
    """``/sys/kernel/slab``: per cache, alias names included, the content of each file.

    Empty for a machine with SLAB, which has no such folder.
    """
    objects = machine.objects
    if not isinstance(objects, SlubAllocator):
        return {}
    told: dict[str, dict[str, str]] = {}
    for number in range(len(objects.caches)):
        told[objects.cache_name(number)] = _attributes(machine, objects, objects.caches[number])
    return told


def _attributes(machine: Machine, objects: SlubAllocator, s: KmemCache) -> dict[str, str]:
    nodes = len(machine.config.nodes)
    slabs = s.slabs()
    partials = [s.node_partials(s.node(node)) for node in range(nodes)]

    def by_node(count: Callable[[int], int]) -> str:
        return _with_nodes(machine, [count(node) for node in range(nodes)])

    def of_node(node: int) -> list[int]:
        return [page for page in slabs if _node(s, page) == node]

    def objects_of(node: int) -> int:
        return sum(int(s.table[page + S_OBJECTS]) for page in of_node(node))

    aliases = sum(1 for other in objects.caches if other is s) - 1
    attributes = {
        "slab_size": int(s.size),
        "object_size": int(s.object_size),
        "objs_per_slab": int(s.objects),
        "order": int(s.order),
        "min_partial": int(s.min_partial),
        "cpu_partial": int(s.cpu_partial),
        "objects": by_node(lambda node: objects_of(node) - _partial_free(s, node)),
        "objects_partial": by_node(
            lambda node: sum(int(s.table[page + S_INUSE]) for page in partials[node])
        ),
        "partial": by_node(lambda node: len(partials[node])),
        "cpu_slabs": _cpu_slabs(machine, s),
        "aliases": aliases,
        "align": int(s.align),
        "hwcache_align": _flag(s, SLAB_HWCACHE_ALIGN),
        "reclaim_account": _flag(s, SLAB_RECLAIM_ACCOUNT),
        "destroy_by_rcu": _flag(s, SLAB_TYPESAFE_BY_RCU),
        "slabs_cpu_partial": _slabs_cpu_partial(machine, s),
        "total_objects": by_node(objects_of),
        "slabs": by_node(lambda node: len(of_node(node))),
        "sanity_checks": _flag(s, _DEBUG_FREE),
        "trace": _flag(s, SLAB_TRACE),
        "red_zone": _flag(s, SLAB_RED_ZONE),
        "poison": _flag(s, SLAB_POISON),
        "store_user": _flag(s, SLAB_STORE_USER),
        "cache_dma": _flag(s, SLAB_CACHE_DMA),
    }
    if machine.variant.revision.linux != LINUX_6:
        attributes["reserved"] = 0
    if machine.config.numa:
        attributes["remote_node_defrag_ratio"] = int(s.defrag_ratio) // 10
    for item, name in enumerate(STAT_NAMES):
        attributes[name] = int(s.table[item])
    return {name: f"{value}\n" for name, value in attributes.items()}


def _flag(s: KmemCache, bit: int) -> int:
    return 1 if s.flags & bit else 0


def _node(s: KmemCache, page: i64) -> int:
    return int(s.table[page + S_FLAGS] >> S_NODE_SHIFT & S_NODE_MASK)


def _with_nodes(machine: Machine, counts: list[int]) -> str:
    """``show_slab_objects``: the sum, and with CONFIG_NUMA each node that has any."""
    text = str(sum(counts))
    if machine.config.numa:
        text += "".join(f" N{node}={count}" for node, count in enumerate(counts) if count)
    return text


def _cpu_slabs(machine: Machine, s: KmemCache) -> str:
    """``SO_CPU``: the cpus' slabs. 3.x adds the objects of their partial slabs, 6.1 those slabs."""
    counts = [0] * len(machine.config.nodes)
    is_6 = machine.variant.revision.linux == LINUX_6
    for cpu in range(machine.config.cpus):
        c = s.cpu(cpu)
        page = s.table[c + C_PAGE]
        if page != NULL:
            counts[_node(s, page)] += 1
        partial = s.table[c + C_PARTIAL]
        if partial != NULL:
            counts[_node(s, page if page != NULL and not is_6 else partial)] += int(
                s.table[partial + (S_PAGES if is_6 else S_POBJECTS)]
            )
    return _with_nodes(machine, counts)


def _slabs_cpu_partial(machine: Machine, s: KmemCache) -> str:
    """``slabs_cpu_partial_show``: free objects (6.1: half of all) and, in brackets, slabs."""
    is_6 = machine.variant.revision.linux == LINUX_6
    by_cpu: list[tuple[int, int, int]] = []
    for cpu in range(machine.config.cpus):
        partial = s.table[s.cpu(cpu) + C_PARTIAL]
        if partial != NULL:
            slabs = int(s.table[partial + S_PAGES])
            free = slabs * int(s.objects) // 2 if is_6 else int(s.table[partial + S_POBJECTS])
            by_cpu.append((cpu, free, slabs))
    slabs = sum(count for _, _, count in by_cpu)
    free = slabs * int(s.objects) // 2 if is_6 else sum(count for _, count, _ in by_cpu)
    text = f"{free}({slabs})"
    if machine.config.cpus > 1:
        text += "".join(f" C{cpu}={objects}({count})" for cpu, objects, count in by_cpu)
    return text
