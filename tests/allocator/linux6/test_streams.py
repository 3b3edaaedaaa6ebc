"""Long random streams of every operation that the vectors know, near min and below it.

Run as a program it goes on for longer:
``python -m tests.allocator.linux6.test_streams OPS FIRST_SEED SEEDS``.
"""

from __future__ import annotations

import sys
from random import Random

import pytest

from allocator.config import MachineConfig
from allocator.events import (
    CTX_HARDIRQ,
    CTX_MEMDIE,
    CTX_PF_MEMALLOC,
    CTX_RT,
    CTX_SOFTIRQ,
)
from allocator.machine import Machine
from allocator.object_allocator import (
    SLAB_CACHE_DMA,
    SLAB_HWCACHE_ALIGN,
    SLAB_NOLEAKTRACE,
    SLAB_RECLAIM_ACCOUNT,
)
from allocator.outcome import FIRST_DENIED
from allocator.revision import parse_variant
from tests.allocator.linux6.driver import (
    DMA,
    GFP_ATOMIC,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOIO,
    GFP_NOWAIT,
    HIGH,
    MEMALLOC,
    NOFAIL,
    NOMEMALLOC,
    NORETRY,
    RECLAIMABLE,
    RETRY_MAYFAIL,
    THISNODE,
)

CONTEXTS = (
    *(0, 0, 0, CTX_PF_MEMALLOC, CTX_PF_MEMALLOC, CTX_SOFTIRQ, CTX_MEMDIE, CTX_HARDIRQ, CTX_RT),
    *(CTX_SOFTIRQ | CTX_PF_MEMALLOC, CTX_HARDIRQ | CTX_PF_MEMALLOC, CTX_SOFTIRQ | CTX_MEMDIE),
)
BASES = (GFP_KERNEL, GFP_NOIO, GFP_ATOMIC, GFP_NOWAIT)
PAGE_BASES = (*BASES, GFP_HIGHUSER_MOVABLE, GFP_KERNEL | RECLAIMABLE)
EXTRAS = (*(0,) * 6, NORETRY, NORETRY, MEMALLOC, NOMEMALLOC, NOFAIL, HIGH, RETRY_MAYFAIL, THISNODE)
SIZES = (8, 24, 64, 96, 192, 256, 640, 1024, 2112, 4096, 5000)
FLAGS = (0, 0, SLAB_HWCACHE_ALIGN, SLAB_RECLAIM_ACCOUNT, SLAB_CACHE_DMA, SLAB_NOLEAKTRACE)
ORDERS = (*(0,) * 8, 1, 1, 2, 3, 3, 4, 5, 9, 11)
MOST_LIVE = 3000
VERIFY_EVERY = 40


class Stream:
    """One machine and what is live on it."""

    def __init__(self, variant: str, seed: int) -> None:
        """Draw the machine and its caches."""
        self.random = random = Random(seed)
        nodes = random.choice((1, 1, 2, 3))
        cpus = random.choice((1, 2, 4))
        pages = random.choice((4096, 8192, 12288))
        end = nodes * pages
        self.config = MachineConfig(
            cpus=cpus,
            cpu_node=tuple(random.randrange(nodes) for _ in range(cpus)),
            nodes=tuple((node * pages, (node + 1) * pages) for node in range(nodes)),
            zone_end_pfn=random.choice(((1024, end, end), (0, end, end), (1024, 4096, end))),
            numa=nodes > 1 or random.random() < 0.5,
            min_free_kbytes=random.choice((0, 512, 2048)),
            slub_merge=random.random() < 0.3,
            memalloc_socks=random.random() < 0.8,
            kmalloc=random.random() < 0.5,
        )
        self.machine = Machine(self.config, parse_variant(variant))
        self.caches = [self._cache(index) for index in range(6)]
        self.kmalloc = self.config.kmalloc or variant.startswith("slab")
        self.pages: list[int] = []
        self.objects: list[int] = []
        self.denied = 0
        self._next = 1

    def _cache(self, index: int) -> int:
        random = self.random
        align = random.choice((0, 0, 64, 128))
        size, flags = random.choice(SIZES), random.choice(FLAGS)
        return self.machine.cache_create(f"cache-{index}", size, align, flags)

    def step(self) -> None:
        """One operation."""
        random = self.random
        cpu = random.randrange(self.config.cpus)
        draw = random.random()
        live = len(self.pages) + len(self.objects)
        if draw < 0.44 and live < MOST_LIVE:
            self._allocate(cpu)
        elif draw < 0.97:
            self._free(cpu)
        elif draw < 0.98:
            self.machine.reap(cpu)
        elif draw < 0.985:
            self.machine.cache_shrink(random.choice(self.caches), cpu)
        elif draw < 0.99:
            self.machine.drain_all_pages(cpu)
        elif draw < 0.993:
            self.machine.tick(random.choice((1, 250, 1000)))
        else:
            free_kbytes = 4 * sum(self.machine.free_by_zone())
            share = random.choice((0.02, 0.3, 0.9, 1.1, 1.6, 2.4))
            self.machine.set_min_free_kbytes(int(free_kbytes * share) + 1)

    def _allocate(self, cpu: int) -> None:
        random = self.random
        handle, self._next = self._next, self._next + 1
        ctx = random.choice(CONTEXTS)
        node = random.choice((-1, -1, -1, *range(len(self.config.nodes))))
        kind = random.random()
        if kind < 0.4:
            gfp = random.choice(PAGE_BASES) | random.choice(EXTRAS)
            if random.random() < 0.05 and not gfp & GFP_HIGHUSER_MOVABLE & ~GFP_KERNEL:
                gfp |= DMA
            order = random.choice(ORDERS)
            outcome = self.machine.page_alloc(handle, order, gfp, cpu, node, ctx)
            found = self.pages
        else:
            gfp = random.choice(BASES) | random.choice(EXTRAS)
            found = self.objects
            if kind < 0.55 and self.kmalloc:
                size = random.choice((*SIZES, 8193, 20000, 40000))
                outcome = self.machine.kmalloc(handle, size, gfp, cpu, node, ctx)
            else:
                cache = random.choice(self.caches)
                outcome = self.machine.obj_alloc(handle, cache, gfp, cpu, node, ctx)
        if outcome < FIRST_DENIED:
            found.append(handle)
        else:
            self.denied += 1

    def _free(self, cpu: int) -> None:
        live = self.random.choice((self.pages, self.objects, self.objects))
        if live:
            at = self.random.randrange(len(live))
            live[at], live[-1] = live[-1], live[at]
            if live is self.pages:
                self.machine.page_free(live.pop(), cpu, False)
            else:
                self.machine.obj_free(live.pop(), cpu)

    def run(self, ops: int) -> None:
        """So many operations, with all invariants looked at now and then; then free all."""
        for step in range(ops):
            if step % 300 == 299:
                # A burst: allocations only, down to where the reserve begins.
                for _ in range(150):
                    self._allocate(self.random.randrange(self.config.cpus))
            self.step()
            if step % VERIFY_EVERY == 0:
                self.machine.verify()
        while self.pages or self.objects:
            self._free(self.random.randrange(self.config.cpus))
        self.machine.verify()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("variant", ["slub-v6.1", "slab-v6.1"])
def test_no_operation_breaks_an_invariant(variant: str, seed: int) -> None:
    """When all is freed, only what was denied still has a handle; some was, and some not."""
    stream = Stream(variant, seed)

    stream.run(700)

    assert stream.denied == stream.machine.live_handles()
    assert stream.denied > 0
    assert stream.machine.stats().attempts_no_watermarks > 0


if __name__ == "__main__":
    operations, first, count = (int(word) for word in sys.argv[1:])
    for number in range(first, first + count):
        for name in ("slub-v6.1", "slab-v6.1"):
            Stream(name, number).run(operations)
            sys.stdout.write(f"{name} {number} ok\n")
