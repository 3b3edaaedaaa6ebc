"""Whether the model's time for an event grows with what it holds: a table and plots.

    python benchmarks/growth/growth.py [--plots DIR] [--counts FILE.json] [-o OUT.md]

Runs on the pfmemd that is installed beside this interpreter, which should be compiled
(`make bench-growth` sees to it, and to PYTHONPATH=benchmarks/model). From a middle point one
thing is varied at a time. Every point is a process of its own and the best of some rounds; the
points of a series take turns, so that what else the machine does is not taken for growth.

Beside the time stand the instructions, counted by valgrind's callgrind where it is there. They
have no noise: what grows in them is the model's doing, what grows only in the time is memory that
the cpu's caches do not hold. With --counts they are read from that file, or written to it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeAlias

from streams import GFP_FLAVOUR, GFP_KERNEL, GIBIBYTE_PAGES, machine_config

import allocator
from allocator.config import CacheSpec
from allocator.events import OBJ_ALLOC, OBJ_FREE, RECORD_SIZE
from allocator.machine import Machine
from allocator.revision import parse_variant

ROUNDS = 4
OPERATIONS = 200_000
OBJECT_SIZE = 192
COUNTED = 50_000
"""Events that are enough where instructions are counted, which takes fifty times as long."""
COUNTED_LIVE = 1_000_000
"""With more objects the warm-up alone would take too long to count."""
BATCH = 4096 * RECORD_SIZE
VARIANTS = ("slab-seed", "slub-seed")

Counts: TypeAlias = dict[str, float]
"""Instructions an event, by variant."""

_pack = struct.Struct("<QQIIHhBBH").pack


@dataclass(frozen=True, slots=True)
class Point:
    """A machine and what goes on in it."""

    live: int = 100_000
    gibibytes: int = 4
    caches: int = 10
    cpus: int = 4
    operations: int = OPERATIONS


SERIES: dict[str, tuple[str, list[int]]] = {
    "live": ("live objects", [1_000, 10_000, 100_000, 1_000_000, 10_000_000]),
    "gibibytes": ("machine, GiB", [1, 8, 64, 1024]),
    "caches": ("caches", [10, 30, 100, 300, 1000]),
    "cpus": ("cpus", [1, 4, 16, 64, 256]),
    "operations": ("events after the warm-up", [200_000, 400_000, 800_000, 1_600_000]),
}


def make_stream(point: Point) -> tuple[bytes, bytes]:
    """The warm-up and the timed part: free a random object, allocate another one."""
    random = Random(1)
    draw = random.random

    def alloc(handle: int) -> bytes:
        cache, cpu = int(draw() * point.caches), int(draw() * point.cpus)
        return _pack(0, handle, GFP_KERNEL, cache, cpu, -1, OBJ_ALLOC, 0, 0)

    warmup = b"".join(alloc(handle) for handle in range(1, point.live + 1))
    handles = array("Q", range(1, point.live + 1))
    main = []
    for following in range(point.live + 1, point.live + 1 + point.operations // 2):
        at = int(draw() * point.live)
        main.append(_pack(0, handles[at], 0, 0, int(draw() * point.cpus), -1, OBJ_FREE, 0, 0))
        main.append(alloc(following))
        handles[at] = following
    return warmup, b"".join(main)


def boot(point: Point, variant: str) -> Machine:
    """The machine of a point."""
    caches = [
        CacheSpec(number, f"bench-{number}", OBJECT_SIZE, 0, 0x2000)
        for number in range(point.caches)
    ]
    config = machine_config(point.gibibytes * GIBIBYTE_PAGES, point.cpus)
    return Machine(config, parse_variant(variant), caches, GFP_FLAVOUR)


def apply(point: Point, machine: Machine, records: bytes) -> None:
    """Apply the records in batches."""
    for at in range(0, len(records), BATCH):
        machine.apply(records[at : at + BATCH])
    if any(count.result != "ok" for count in machine.stats().outcomes):
        sys.exit(f"{point}: the machine is too small")


def measure(point: Point) -> dict[str, float]:
    """Nanoseconds of the CPU an event, by variant."""
    warmup, main = make_stream(point)
    taken = {}
    for name in VARIANTS:
        machine = boot(point, name)
        apply(point, machine, warmup)
        started = time.process_time()
        apply(point, machine, main)
        taken[name] = (time.process_time() - started) / point.operations * 1e9
    return taken


def instructions(point: Point) -> dict[str, float]:
    """Instructions an event, by variant: of a run less those of a run without the timed part."""
    counted = {}
    with tempfile.TemporaryDirectory(prefix="pfmemd-bench-") as name:
        paths = [Path(name) / "warmup.bin", Path(name) / "main.bin"]
        for path, records in zip(paths, make_stream(point), strict=True):
            path.write_bytes(records)
        for variant in VARIANTS:
            less, more = (instructions_of(point, variant, paths[:several]) for several in (1, 2))
            counted[variant] = (more - less) / point.operations
    return counted


def instructions_of(point: Point, variant: str, paths: list[Path]) -> int:
    """Instructions of a process that applies these files."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    command += ["-P", __file__, "--point", json.dumps(dataclasses.asdict(point))]
    command += ["--apply", variant, *map(str, paths)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        sys.exit(f"valgrind counted nothing:\n{done.stderr}")
    return int(found[1])


def measure_apart(point: Point) -> dict[str, float]:
    """:func:`measure` in a process of its own."""
    command = [sys.executable, "-P", __file__, "--point", json.dumps(dataclasses.asdict(point))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def best_of_rounds(points: list[Point]) -> list[dict[str, float]]:
    """The best of every point, in the order of ``points``."""
    best = [dict.fromkeys(VARIANTS, float("inf")) for _ in points]
    for _ in range(ROUNDS):
        for known, point in zip(best, points, strict=True):
            found = measure_apart(point)
            known.update({name: min(known[name], found[name]) for name in VARIANTS})
    return best


def points_of(name: str) -> list[Point]:
    """The points of a series."""
    return [dataclasses.replace(Point(), **{name: x}) for x in SERIES[name][1]]


def counts_of(name: str) -> list[Counts]:
    """Instructions at the points of a series; no number where they cannot be counted."""
    counts = []
    for point in points_of(name):
        if shutil.which("valgrind") is None or point.live > COUNTED_LIVE:
            counts.append(dict.fromkeys(VARIANTS, float("nan")))
            continue
        fewer = point.operations if name == "operations" else COUNTED
        counts.append(instructions(dataclasses.replace(point, operations=fewer)))
    return counts


def plot(folder: Path, name: str, times: list[dict[str, float]], counts: list[Counts]) -> None:
    """Draw one of the series: the time, and beside it the instructions."""
    import matplotlib as mpl  # noqa: PLC0415 - only who wants plots needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the same
    from matplotlib.ticker import EngFormatter, NullLocator  # noqa: PLC0415 - the same

    label, xs = SERIES[name]
    figure, panels = plt.subplots(1, 2, figsize=(8, 2.6), dpi=100)
    for axes, ys, what in zip(panels, (times, counts), ("ns", "instructions"), strict=True):
        for variant in VARIANTS:
            axes.plot(xs, [y[variant] for y in ys], marker="o", label=variant)
        axes.set(xscale="log", xlabel=label, ylabel=f"{what} an event", ylim=(0, None))
        axes.set_xticks(xs)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(folder / f"performance-{name}.png")
    plt.close(figure)


def shown(count: float) -> str:
    """A count, or that there is none."""
    return "-" if math.isnan(count) else f"{count:.0f}"


def run_point(options: argparse.Namespace) -> None:
    """What a process of one point does."""
    point = Point(**json.loads(options.point))
    if not options.apply:
        print(json.dumps(measure(point)))
        return
    variant, *paths = options.apply
    machine = boot(point, variant)
    for path in paths:
        apply(point, machine, Path(path).read_bytes())


def all_counts(path: Path | None) -> dict[str, list[Counts]]:
    """Instructions of every series, from ``path`` if they are there."""
    if path is not None and path.exists():
        known: dict[str, list[Counts]] = json.loads(path.read_text(encoding="utf-8"))
        return known
    counts = {}
    for name, (label, _) in SERIES.items():
        print(f"{label}: instructions …", file=sys.stderr)
        counts[name] = counts_of(name)
    if path is not None:
        path.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    return counts


def main() -> None:
    """Measure all series, draw them, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--apply", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--plots", type=Path, help="draw performance-*.png there (matplotlib)")
    parser.add_argument("--counts", type=Path, help="read the instructions there, or write them")
    parser.add_argument("-o", "--output", type=Path, help="also write the table there")
    options = parser.parse_args()
    if options.point:
        run_point(options)
        return
    counts = all_counts(options.counts)
    columns = [f"{variant} {what}" for what in ("ns", "instructions") for variant in VARIANTS]
    lines = [f"| varied | | {' | '.join(columns)} |", "|---|---:|---:|---:|---:|---:|"]
    for name, (label, xs) in SERIES.items():
        print(f"{label} …", file=sys.stderr)
        times = best_of_rounds(points_of(name))
        for x, taken, counted in zip(xs, times, counts[name], strict=True):
            cells = [f"{taken[v]:.1f}" for v in VARIANTS] + [shown(counted[v]) for v in VARIANTS]
            lines.append(f"| {label} | {x:,} | {' | '.join(cells)} |")
        if options.plots:
            plot(options.plots, name, times, counts[name])
    head = (
        f"Python {platform.python_version()}, {os.cpu_count()} cpus, the model"
        f" {'compiled' if allocator.COMPILED else 'plain Python'}; best of {ROUNDS}; where not"
        f" varied: {Point()}"
    )
    text = "\n".join([head, "", *lines]) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
