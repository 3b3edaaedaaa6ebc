"""A fixed amount of one part's work, for the counting of instructions; see check.py.

Prints how many events, series or lines that was. With ``nothing``, ``scrape-ready`` and
``import-ready`` all is made ready, and nothing or a little of the work is done.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
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
SCRAPED_CACHES = 200
SCRAPES = 5
IMPORTED_LINES = 20_000
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


def machine_config() -> MachineConfig:
    """A machine on which nothing is ever short."""
    return MachineConfig(
        cpus=CPUS,
        cpu_node=(0,) * CPUS,
        nodes=((0, 65536),),
        zone_end_pfn=(4096, 65536, 1 << 20),
    )


def make_header(caches: int = CACHES) -> Header:
    """The header of the stream."""
    specs = tuple(CacheSpec(n, f"check-{n}", 64 << (n % 4), 0, 0x2000) for n in range(caches))
    return Header(machine=machine_config(), caches=specs, gfp="v3.3", clock="mono")


def go_through_events(part: str) -> int:
    """The parts that every event goes through; how many events."""
    header = make_header()
    limits = header.limits()
    records = make_records()
    maker = BatchMaker("check", 1)
    maker.header(header)
    size = BATCH_EVENTS * RECORD_SIZE
    batches = [maker.events(records[at : at + size]) for at in range(0, len(records), size)]
    packed = [encode(batch) for batch in batches]
    readable = [encode(batch, readable=True) for batch in batches]
    machines = {
        name: Machine(header.machine, parse_variant(name), header.caches, "v3.3")
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
    parts[part]()
    return 0 if part == "nothing" else EVENTS


def scrape(scrapes: int) -> int:
    """Render /metrics again and again; how many series in all."""
    from daemon.collector import MetricsPage, SubsystemCollector  # noqa: PLC0415 - so the other parts start sooner
    from daemon.collectors.caches import CachesCollector  # noqa: PLC0415 - the same
    from daemon.collectors.samples import LabelBounds  # noqa: PLC0415 - the same
    from daemon.collectors.zones import ZonesCollector  # noqa: PLC0415 - the same
    from daemon.engine import Engine  # noqa: PLC0415 - the same
    from daemon.sources import Admitted  # noqa: PLC0415 - the same

    engine = Engine([parse_variant("slab-seed")], 1, Machine, lambda: 0.0)
    maker = BatchMaker("check", 1)
    uses = b"".join(
        RECORD.pack(TS_NS, cache + 1, 0xD0, cache, 0, -1, OBJ_ALLOC, 0, 0)
        for cache in range(SCRAPED_CACHES)
    )
    for batch in (maker.header(make_header(SCRAPED_CACHES)), maker.events(uses)):
        admitted = engine.admit(batch, encode(batch))
        if isinstance(admitted, Admitted):
            engine.apply(admitted)
    subsystems: list[SubsystemCollector] = [ZonesCollector(), CachesCollector()]
    page = MetricsPage(engine.read, subsystems, LabelBounds(SCRAPED_CACHES), lambda: 0, lambda: 0)
    body, _ = page.render("")
    for _ in range(scrapes):
        body, _ = page.render("")
    series = sum(not line.startswith(b"#") for line in body.splitlines())
    return series * scrapes


def import_lines(lines: int) -> int:
    """Import so many lines of the packaged recording."""
    from tracegen.kernel_trace.cli import import_group  # noqa: PLC0415 - the same
    from tracegen.samples import TRACE  # noqa: PLC0415 - the same

    with lzma.open(TRACE) as file:
        # Decompressed as far whatever is imported of it: that is no part of an import.
        all_lines = [line for line, _ in zip(file, range(IMPORTED_LINES), strict=False)]
    text = b"".join(all_lines[:lines])
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        source = Path(folder) / "trace.txt"
        source.write_bytes(text)
        arguments = ["ftrace", str(source), "-o", str(Path(folder) / "trace.pfmt")]
        import_group.main(arguments, standalone_mode=False)
    return lines


def main() -> None:
    """Make everything ready, do the part that the argument names."""
    if not allocator.COMPILED:
        sys.exit("the model is not compiled")
    part = sys.argv[1]
    other: dict[str, Callable[[], int]] = {
        "scrape-ready": lambda: scrape(0),
        "scrape": lambda: scrape(SCRAPES),
        "import-ready": lambda: import_lines(IMPORTED_LINES // 10),
        "import": lambda: import_lines(IMPORTED_LINES),
    }
    print(other[part]() if part in other else go_through_events(part))


if __name__ == "__main__":
    main()
