"""Whether the model's time for an event grows with what it holds: a table and plots.

    python benchmarks/growth/growth.py [--plots DIR] [-o OUT.md]

Runs on the pfmemd that is installed beside this interpreter, which should be compiled
(`make bench-growth` sees to it, and to PYTHONPATH=benchmarks/model). From a middle point one
thing is varied at a time. Every point is a process of its own and the best of some rounds; the
points of a series take turns, so that what else the machine does is not taken for growth.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import struct
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from random import Random

from streams import GFP_FLAVOUR, GFP_KERNEL, GIBIBYTE_PAGES, machine_config

import allocator
from allocator.config import CacheSpec
from allocator.events import OBJ_ALLOC, OBJ_FREE, RECORD_SIZE
from allocator.machine import Machine
from allocator.revision import parse_variant

ROUNDS = 4
OPERATIONS = 200_000
OBJECT_SIZE = 192
BATCH = 4096 * RECORD_SIZE
VARIANTS = ("slab-seed", "slub-seed")

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
    "live": ("live objects", [1_000, 10_000, 100_000, 1_000_000]),
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


def measure(point: Point) -> dict[str, float]:
    """Nanoseconds of the CPU an event, by variant."""
    warmup, main = make_stream(point)
    config = machine_config(point.gibibytes * GIBIBYTE_PAGES, point.cpus)
    caches = [
        CacheSpec(number, f"bench-{number}", OBJECT_SIZE, 0, 0x2000)
        for number in range(point.caches)
    ]
    taken = {}
    for name in VARIANTS:
        machine = Machine(config, parse_variant(name), caches, GFP_FLAVOUR)
        machine.apply(warmup)
        started = time.process_time()
        for at in range(0, len(main), BATCH):
            machine.apply(main[at : at + BATCH])
        taken[name] = (time.process_time() - started) / point.operations * 1e9
        if any(count.result != "ok" for count in machine.stats().outcomes):
            sys.exit(f"{point}: the machine is too small")
    return taken


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


def plot(folder: Path, name: str, label: str, xs: list[int], ys: list[dict[str, float]]) -> None:
    """Draw one of the series."""
    import matplotlib as mpl  # noqa: PLC0415 - only who wants plots needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the same

    figure, axes = plt.subplots(figsize=(4, 2.6), dpi=80)
    for variant in VARIANTS:
        axes.plot(xs, [y[variant] for y in ys], marker="o", label=variant)
    axes.set(xscale="log", xlabel=label, ylabel="ns an event", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / f"performance-{name}.png")
    plt.close(figure)


def main() -> None:
    """Measure all series, draw them, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--plots", type=Path, help="draw performance-*.png there (matplotlib)")
    parser.add_argument("-o", "--output", type=Path, help="also write the table there")
    options = parser.parse_args()
    if options.point:
        print(json.dumps(measure(Point(**json.loads(options.point)))))
        return
    lines = [f"| varied | | {' | '.join(f'{v} ns' for v in VARIANTS)} |", "|---|---:|---:|---:|"]
    for name, (label, xs) in SERIES.items():
        print(f"{label} …", file=sys.stderr)
        ys = best_of_rounds([dataclasses.replace(Point(), **{name: x}) for x in xs])
        lines += [
            f"| {label} | {x:,} | " + " | ".join(f"{y[v]:.1f}" for v in VARIANTS) + " |"
            for x, y in zip(xs, ys, strict=True)
        ]
        if options.plots:
            plot(options.plots, name, label, xs, ys)
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
