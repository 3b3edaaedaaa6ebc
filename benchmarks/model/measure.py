"""Measure one thing in a process of its own, and print the result as JSON.

    python measure.py replay VARIANT PAGES REPEATS FOLDER
    python measure.py boot VARIANT PAGES

The model is whichever ``allocator`` comes first on the path: the sources, or the
compiled package. RSS is read from /proc, in bytes; times are nanoseconds,
of a replay those of the CPU, so that who else uses the machine does not count.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from streams import GFP_FLAVOUR, cache_specs, machine_config

import allocator
from allocator.machine import Machine
from allocator.revision import parse_variant


def _rss() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


def boot(variant: str, pages: int) -> dict[str, object]:
    """Boot one machine."""
    config = machine_config(pages)
    before = _rss()
    start = time.perf_counter_ns()
    machine = Machine(config, parse_variant(variant))
    elapsed = time.perf_counter_ns() - start
    return {
        "compiled": allocator.COMPILED,
        "boot_ns": elapsed,
        "rss_bytes": _rss() - before,
        "managed_pages": sum(zone.managed_pages for zone in machine.stats().zones),
    }


def replay(variant: str, pages: int, repeats: int, folder: Path) -> dict[str, object]:
    """Replay a stream; the best of ``repeats`` runs, each on a fresh machine."""
    warmup = (folder / "warmup.bin").read_bytes()
    main = (folder / "main.bin").read_bytes()
    operations = len(main) // 32
    best = float("inf")
    rss = 0
    for _ in range(repeats):
        before = _rss()
        machine = Machine(machine_config(pages), parse_variant(variant), cache_specs(), GFP_FLAVOUR)
        machine.apply(warmup)
        rss = _rss() - before
        start = time.process_time_ns()
        machine.apply(main)
        best = min(best, (time.process_time_ns() - start) / operations)
        stats = machine.stats()
        refused = sum(count.count for count in stats.outcomes if count.result != "ok")
        if refused:
            raise RuntimeError(f"{refused} allocations refused: the machine is too small")
        del machine
    return {"compiled": allocator.COMPILED, "ns": best, "rss_bytes": rss}


def main() -> None:
    """Do what the arguments say."""
    what, variant, pages = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if what == "boot":
        result = boot(variant, pages)
    else:
        result = replay(variant, pages, int(sys.argv[4]), Path(sys.argv[5]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
