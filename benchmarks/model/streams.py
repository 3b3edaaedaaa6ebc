"""Streams of packed records for the benchmarks of the model.

A stream is a warm-up that allocates until ``live`` handles are live, and a main
part of equally many frees and allocations: each frees a random live handle on a
random cpu and allocates anew. Cpus, caches and choices are uniform and seeded.
"""

from __future__ import annotations

import array
import struct
from pathlib import Path
from random import Random

from allocator.config import CacheSpec, MachineConfig
from allocator.events import OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC, PAGE_FREE

SIZES = (32, 64, 96, 128, 192, 256, 512, 1024)
CPUS = 4
GIBIBYTE_PAGES = 1 << 18
GFP_KERNEL = 0xD0
GFP_FLAVOUR = "v3.3"

_pack = struct.Struct("<QQIIHhBBH").pack
_CHUNK = 1 << 15


def machine_config(pages: int, cpus: int = CPUS) -> MachineConfig:
    """One node of ``pages`` pages, zones as on x86-64."""
    return MachineConfig(
        cpus=cpus,
        cpu_node=(0,) * cpus,
        nodes=((0, pages),),
        zone_end_pfn=(min(4096, pages), min(pages, 1 << 20), max(pages, 1 << 20)),
    )


def cache_specs() -> list[CacheSpec]:
    """The caches the object streams draw from."""
    return [
        CacheSpec(number, f"bench-{size}", size, 0, 0x2000) for number, size in enumerate(SIZES)
    ]


def pages_needed(kind: str, live: int) -> int:
    """A machine on which the stream stays far above the watermarks."""
    bytes_each = 4096 if kind == "page" else sum(SIZES) / len(SIZES)
    return max(GIBIBYTE_PAGES, int(live * bytes_each * 2) >> 12)


def write_stream(kind: str, live: int, operations: int, folder: Path, seed: int = 1) -> None:
    """Write ``warmup.bin`` and ``main.bin``; kind is "object" or "page"."""
    random = Random(seed)
    alloc, free = (PAGE_ALLOC, PAGE_FREE) if kind == "page" else (OBJ_ALLOC, OBJ_FREE)
    caches = 1 if kind == "page" else len(SIZES)
    draw = random.random
    handles = array.array("Q", range(1, live + 1))
    with (folder / "warmup.bin").open("wb") as file:
        for start in range(0, live, _CHUNK):
            file.write(
                b"".join(
                    _pack(
                        0,
                        handle,
                        GFP_KERNEL,
                        int(draw() * caches),
                        int(draw() * CPUS),
                        -1,
                        alloc,
                        0,
                        0,
                    )
                    for handle in handles[start : start + _CHUNK]
                )
            )
    following = live + 1
    with (folder / "main.bin").open("wb") as file:
        for start in range(0, operations // 2, _CHUNK):
            chunk: list[bytes] = []
            for _ in range(min(_CHUNK, operations // 2 - start)):
                at = int(draw() * live)
                chunk.append(_pack(0, handles[at], 0, 0, int(draw() * CPUS), -1, free, 0, 0))
                chunk.append(
                    _pack(
                        0,
                        following,
                        GFP_KERNEL,
                        int(draw() * caches),
                        int(draw() * CPUS),
                        -1,
                        alloc,
                        0,
                        0,
                    )
                )
                handles[at] = following
                following += 1
            file.write(b"".join(chunk))
