"""What perf and pfmemd take for the same recording of this machine's own allocations.

    python benchmarks/against_perf/against_perf.py [RECORDING] [--seconds N] [-o OUT.md]

RECORDING is a perf.data with kmem events; without it one is made, of the whole machine, which
needs root. perf reads it with `perf script` and `perf kmem stat`; pfmemd imports what perf script
printed, and runs what it imported through a model: of the pfmemd that is installed beside this
interpreter (`make bench-perf` sees to it). CPU time of whole commands, start included, the best
of some rounds.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PFMEMD = (sys.executable, "-P", "-m", "daemon")
ROUNDS = 3
RECORDED = "kmem:*"


@dataclass(frozen=True, slots=True)
class Command:
    """Something to time; its output goes to ``output``."""

    name: str
    words: tuple[str, ...]
    output: Path = Path(os.devnull)


def children_seconds() -> float:
    """CPU time of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command: Command, folder: Path) -> float:
    """CPU seconds of the command."""
    before = children_seconds()
    with command.output.open("wb") as output:
        done = subprocess.run(
            command.words, check=False, stdout=output, stderr=subprocess.PIPE, cwd=folder
        )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command.words)} failed:\n{done.stderr.decode()}")
    return children_seconds() - before


def record(seconds: int, target: Path) -> None:
    """Record all kmem events of this machine."""
    command = ["perf", "record", "-q", "-a", "-m", "4M", "-e", RECORDED, "-o", str(target)]
    done = subprocess.run(
        [*command, "sleep", str(seconds)], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"perf cannot record here: {done.stderr.strip()}")


def main() -> None:
    """Record, time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("recording", nargs="?", type=Path)
    parser.add_argument("--seconds", type=int, default=5, help="how long to record")
    parser.add_argument("-o", "--output", type=Path, help="also write the table there")
    options = parser.parse_args()
    if shutil.which("perf") is None:
        sys.exit("perf is needed")
    with tempfile.TemporaryDirectory(prefix="pfmemd-bench-") as name:
        folder = Path(name)
        recording = folder / "perf.data"
        if options.recording is None:
            record(options.seconds, recording)
        else:
            shutil.copyfile(options.recording, recording)
        text, trace = folder / "perf.txt", folder / "trace.pfmt"
        commands = [
            Command("perf script", ("perf", "script", "-i", str(recording)), text),
            Command(
                "perf kmem stat", ("perf", "kmem", "-i", str(recording), "--slab", "--page", "stat")
            ),
            Command("pfmemd import perf", (*PFMEMD, "import", "perf", str(text), "-o", str(trace))),
            Command(
                "pfmemd run, slab-seed", (*PFMEMD, "run", str(trace), "--variant", "slab-seed")
            ),
            Command("pfmemd --version", (*PFMEMD, "--version")),
        ]
        best = {command.name: float("inf") for command in commands}
        for _ in range(ROUNDS):
            for command in commands:
                best[command.name] = min(best[command.name], timed(command, folder))
        events = text.read_bytes().count(b"\n")
        size = recording.stat().st_size
    base = best["perf script"]
    lines = [
        f"{events:,} events, {size / 2**20:.0f} MiB of recording; best of {ROUNDS}",
        "",
        "| command | CPU seconds | us an event | x perf script |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {seconds:.2f} | {seconds / events * 1e6:.2f} | {seconds / base:.2f} |"
            for name, seconds in best.items()
        ),
    ]
    output = "\n".join(lines) + "\n"
    print(output)
    if options.output:
        options.output.write_text(output, encoding="utf-8")


if __name__ == "__main__":
    main()
