"""A fixed amount of one part's work, for the counting of instructions; see check.py.

Prints the number of events. With ``nothing`` all is made ready and no work is done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random

import allocator
from allocator.config import CacheSpec, MachineConfig
from allocator.events import OBJ_ALLOC, OBJ_FREE, RECORD_SIZE
from allocator.machine import Machine
from allocator.revision import parse_variant
from daemon.journal.layout import encode_group
from tracegen.batch import RECORD, BatchMaker, check, decode, encode
from tracegen.header import Header

EVENTS = 20_000
LIVE = 2_000
CACHES = 8
CPUS = 4
BATCH_EVENTS = 4096
TS_NS = 10**12
"""A time that has as many bytes in readable form as a real one."""


def make_records() -> bytes:
    """Allocate until LIVE objects are live, then free the oldest before each allocation."""
    random = Random(1)
    packed: list[bytes] = []
    handle = 0
    while len(packed) < EVENTS:
        if handle >= LIVE and len(packed) % 2 == 0:
            free = handle - LIVE + 1
            packed.append(
                RECORD.pack(TS_NS, free, 0, 0, random.randrange(CPUS), -1, OBJ_FREE, 0, 0)
            )
            continue
        handle += 1
        cache, cpu = random.randrange(CACHES), random.randrange(CPUS)
        packed.append(RECORD.pack(TS_NS, handle, 0xD0, cache, cpu, -1, OBJ_ALLOC, 0, 0))
    return b"".join(packed)


def main() -> None:
    """Make everything ready, do the part that the argument names."""
    if not allocator.COMPILED:
        sys.exit("the model is not compiled")
    machine = MachineConfig(
        cpus=CPUS,
        cpu_node=(0,) * CPUS,
        nodes=((0, 65536),),
        zone_end_pfn=(4096, 65536, 1 << 20),
    )
    caches = tuple(CacheSpec(n, f"check-{n}", 64 << (n % 4), 0, 0x2000) for n in range(CACHES))
    header = Header(machine=machine, caches=caches, gfp="v3.3", clock="mono")
    limits = header.limits()
    records = make_records()
    maker = BatchMaker("check", 1)
    maker.header(header)
    size = BATCH_EVENTS * RECORD_SIZE
    batches = [maker.events(records[at : at + size]) for at in range(0, len(records), size)]
    packed = [encode(batch) for batch in batches]
    readable = [encode(batch, readable=True) for batch in batches]
    machines = {
        name: Machine(machine, parse_variant(name), caches, "v3.3")
        for name in ("slab-seed", "slub-seed")
    }

    def apply(name: str) -> None:
        for batch in batches:
            machines[name].apply(batch.records)

    def check_all() -> None:
        for batch in batches:
            check(batch, header, limits)

    def decode_all(encoded: list[bytes]) -> None:
        for data in encoded:
            decode(data)

    parts: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "slab-seed": lambda: apply("slab-seed"),
        "slub-seed": lambda: apply("slub-seed"),
        "check": check_all,
        "decode-packed": lambda: decode_all(packed),
        "decode-readable": lambda: decode_all(readable),
        "journal": lambda: encode_group(packed, 1, 0, 0, 0),
    }
    parts[sys.argv[1]]()
    print(EVENTS)


if __name__ == "__main__":
    main()
