"""Random machines and event streams that several allocator tests drive."""

from __future__ import annotations

import struct
from random import Random

from allocator.config import CacheSpec, MachineConfig
from allocator.events import (
    CTX_HARDIRQ,
    CTX_MEMDIE,
    CTX_PF_MEMALLOC,
    CTX_RT,
    CTX_SOFTIRQ,
    KMALLOC,
    MIN_FREE,
    OBJ_ALLOC,
    OBJ_FREE,
    PAGE_ALLOC,
    PAGE_FREE,
    REAP,
    SHRINK,
)
from allocator.gfp import encode
from allocator.machine import Machine
from allocator.revision import parse_variant

_pack = struct.Struct("<QQIIHhBBH").pack

SIZES = (24, 200, 700, 2048, 8192, 30000)
CACHES = tuple(
    CacheSpec(number, f"cache-{size}", size, 0, 0x2000 if number % 2 else 0x20000)
    for number, size in enumerate(SIZES)
)

_GFP = {
    flavour: tuple(encode(text, flavour) for text in texts)
    for flavour, texts in {
        "v3.3": (
            "GFP_KERNEL",
            "GFP_ATOMIC",
            "GFP_NOIO",
            "GFP_NOWAIT",
            "GFP_KERNEL|__GFP_NORETRY",
            "GFP_ATOMIC|__GFP_NOMEMALLOC",
            "GFP_HIGHUSER_MOVABLE",
            "GFP_KERNEL|__GFP_THISNODE|__GFP_NORETRY|__GFP_NOWARN",
            "GFP_KERNEL|__GFP_NOFAIL",
        ),
        "v6.1": (
            "GFP_KERNEL",
            "GFP_ATOMIC",
            "GFP_NOIO",
            "GFP_NOWAIT",
            "GFP_KERNEL|__GFP_NORETRY",
            "GFP_ATOMIC|__GFP_NOMEMALLOC",
            "GFP_ATOMIC|__GFP_MEMALLOC",
            "GFP_HIGHUSER_MOVABLE",
            "GFP_KERNEL|__GFP_NOFAIL",
        ),
    }.items()
}
_CONTEXTS = (
    0,
    0,
    0,
    CTX_PF_MEMALLOC,
    CTX_MEMDIE,
    CTX_SOFTIRQ,
    CTX_PF_MEMALLOC | CTX_SOFTIRQ,
    CTX_HARDIRQ,
    CTX_RT,
)


def record(
    op: int,
    *,
    handle: int = 0,
    gfp: int = 0,
    arg: int = 0,
    cpu: int = 0,
    node: int = -1,
    ctx: int = 0,
    ts_ns: int = 0,
) -> bytes:
    """One packed event."""
    return _pack(ts_ns, handle, gfp, arg, cpu, node, op, ctx, 0)


def random_config(random: Random) -> MachineConfig:
    """A small machine: 1 to 3 nodes, 1 to 6 cpus, NUMA or not, tight or roomy."""
    nodes = random.choice((1, 1, 2, 3))
    pages = random.choice((2048, 4096, 8192))
    cpus = random.randint(nodes, 6)
    end = nodes * pages
    return MachineConfig(
        cpus=cpus,
        cpu_node=tuple(cpu % nodes for cpu in range(cpus)),
        nodes=tuple((node * pages, (node + 1) * pages) for node in range(nodes)),
        zone_end_pfn=random.choice(((min(4096, end), end, end), (0, end, end), (0, end // 2, end)))
        if nodes == 1 and end >= 4096
        else (min(4096, end), end, end),
        numa=nodes > 1 or random.random() < 0.5,
        min_free_kbytes=random.choice((0, 512, 4000)),
        memalloc_socks=random.random() < 0.8,
    )


class RandomStream:
    """Random events for one machine, and the handles that are live."""

    def __init__(self, random: Random, config: MachineConfig, variant: str) -> None:
        """Draw from ``random`` alone."""
        self.random = random
        self.config = config
        flavour = parse_variant(variant).revision.gfp_flavour
        self._gfps = _GFP["v6.1" if flavour == "v6.1" else "v3.3"]
        self._live: list[tuple[int, int]] = []
        self._next = 1

    def step(self) -> bytes:
        """One event: mostly allocations and frees, now and then something else."""
        draw = self.random.random()
        cpu = self.random.randrange(self.config.cpus)
        if draw < 0.55 or not self._live:
            return self._allocation(cpu)
        if draw < 0.95:
            handle, op = self._live.pop(self.random.randrange(len(self._live)))
            return record(op, handle=handle, cpu=cpu)
        if draw < 0.97:
            return record(REAP, cpu=cpu)
        if draw < 0.99:
            return record(SHRINK, arg=self.random.randrange(len(SIZES)), cpu=cpu)
        return record(MIN_FREE, arg=self.random.choice((512, 2000, 8000)), cpu=cpu)

    def _allocation(self, cpu: int) -> bytes:
        op = self.random.choice((PAGE_ALLOC, OBJ_ALLOC, OBJ_ALLOC, OBJ_ALLOC, KMALLOC))
        handle = self._next
        self._next += 1
        self._live.append((handle, PAGE_FREE if op == PAGE_ALLOC else OBJ_FREE))
        if op == PAGE_ALLOC:
            arg = self.random.choice((0, 0, 0, 1, 3, 5, 10))
        elif op == OBJ_ALLOC:
            arg = self.random.randrange(len(SIZES))
        else:
            arg = self.random.choice((8, 100, 5000, 100000))
        return record(
            op,
            handle=handle,
            gfp=self.random.choice(self._gfps),
            arg=arg,
            cpu=cpu,
            node=self.random.choice((-1, -1, self.random.randrange(len(self.config.nodes)))),
            ctx=self.random.choice(_CONTEXTS),
        )

    def free_all(self) -> bytes:
        """Free whatever is live, in random order, on random cpus."""
        self.random.shuffle(self._live)
        events = b"".join(
            record(op, handle=handle, cpu=self.random.randrange(self.config.cpus))
            for handle, op in self._live
        )
        self._live.clear()
        return events


def empty_caches(machine: Machine) -> None:
    """Shrink every cache until no slab is left, then drain the per-cpu pages."""
    for _ in range(2):  # off-slab descriptors come home only when their owners' slabs go
        for number in range(len(machine.objects.cache_stats())):
            machine.cache_shrink(number, 0)
    machine.drain_all_pages(0)
