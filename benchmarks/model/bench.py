"""How fast the model is, as ratios to glibc's malloc and free in the same run.

    python benchmarks/model/bench.py [--quick] [--variant V]... [--live N]... -o OUT.md

Builds the compiled model in a copy of the sources (or takes one that is built already, with
--compiled), makes the streams, and runs glibc, the compiled and the plain model over each of
them in turn. Machines are shared and noisy: compare within a line, and lines of one table,
never tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from streams import GIBIBYTE_PAGES, SIZES, pages_needed, write_stream

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PLAIN_MOST_LIVE = 100_000
"""Above this the plain model would take minutes to warm up."""
PAGE_MOST_LIVE = 1_000_000
"""Above this glibc's own 4 KiB blocks would not fit into a common machine's memory."""


def _run(*command: object, python_path: Path | None = None) -> str:
    environment = dict(os.environ)
    if python_path is not None:
        environment["PYTHONPATH"] = f"{python_path}:{HERE}"
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def build_compiled(folder: Path) -> Path:
    """Compile the model with mypyc in a copy; returns the folder to put on the path."""
    copy = folder / "compiled"
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "allocator", copy / "allocator", ignore=ignore)
    modules = sorted(
        str(path.relative_to(copy))
        for path in copy.rglob("*.py")
        if path != copy / "allocator" / "__init__.py"
    )
    environment = {**os.environ, "MYPYC_OPT_LEVEL": "3", "MYPYC_DEBUG_LEVEL": "0"}
    environment["CFLAGS"] = "-fno-semantic-interposition"  # as .ci/wheel has it
    script = "from mypyc.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--strict", *modules],
        cwd=copy,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"mypyc failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return copy


def _measure(path: Path, *arguments: object) -> dict[str, float]:
    # -P: the sources in the current folder must not hide the compiled copy.
    script = HERE / "measure.py"
    result: dict[str, float] = json.loads(
        _run(sys.executable, "-P", script, *arguments, python_path=path)
    )
    return result


def replay_rows(
    variant: str, kind: str, live: int, operations: int, compiled: Path, folder: Path
) -> str:
    """One line of the table: glibc, compiled and plain over one stream."""
    streams = folder / f"{kind}-{live}"
    if not streams.exists():
        streams.mkdir()
        write_stream(kind, live, operations, streams)
    pages = pages_needed(kind, live)
    sizes = ",".join(map(str, SIZES))
    repeats = 5 if live <= PLAIN_MOST_LIVE else 1
    glibc = min(
        float(_run(folder / "glibc_replay", streams / "warmup.bin", streams / "main.bin", sizes))
        for _ in range(repeats)
    )
    fast = _measure(compiled, "replay", variant, pages, repeats, streams)
    row = f"| {variant} | {kind} | {live:,} | {glibc:.1f} |"
    row += f" {fast['ns']:.1f} | {fast['ns'] / glibc:.2f} |"
    if live <= PLAIN_MOST_LIVE:
        plain = _measure(ROOT, "replay", variant, pages, 1, streams)
        row += f" {plain['ns']:,.0f} | {plain['ns'] / fast['ns']:.0f} |"
    else:
        row += " | |"
    return row + f" {fast['rss_bytes'] / live:.0f} |"


def boot_row(variant: str, gibibytes: int, compiled: Path) -> str:
    """One line of the table: start-up of a machine."""
    fast = _measure(compiled, "boot", variant, gibibytes * GIBIBYTE_PAGES)
    plain = _measure(ROOT, "boot", variant, gibibytes * GIBIBYTE_PAGES)
    return (
        f"| {variant} | {gibibytes:,} GiB | {fast['boot_ns'] / 1e6:.1f} ms"
        f" | {plain['boot_ns'] / 1e6:.0f} ms | {fast['rss_bytes'] / 2**20:.1f} MiB |"
    )


def report(
    variants: list[str], lives: list[int], operations: int, compiled: Path, folder: Path
) -> list[str]:
    """The tables, as lines of Markdown."""
    lines = [
        (
            "| variant | stream | live | glibc ns | compiled ns | x glibc"
            " | plain ns | plain x | B/live |"
        ),
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for live in lives:
        for variant in variants:
            for kind in ("object", "page"):
                if kind == "page" and (variant != variants[0] or live > PAGE_MOST_LIVE):
                    continue
                print(f"{variant}, {kind} stream, {live:,} live …", file=sys.stderr)
                lines.append(replay_rows(variant, kind, live, operations, compiled, folder))
    lines += ["", "| variant | machine | boot | boot, plain | RSS |", "|---|---:|---:|---:|---:|"]
    lines += [boot_row(variants[0], size, compiled) for size in (1, 64, 1024)]
    return lines


def main() -> None:
    """Build, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--variant", action="append", help="default: slab-seed and slub-seed")
    parser.add_argument("--live", action="append", type=int, help="default: 1000, 100000, 10000000")
    parser.add_argument("--operations", type=int, default=2_000_000)
    parser.add_argument("--compiled", type=Path, help="a folder with the compiled model in it")
    parser.add_argument("--quick", action="store_true", help="1000 and 100000 live, 400000 ops")
    parser.add_argument("-o", "--output", type=Path, help="also write the table there")
    options = parser.parse_args()
    variants = options.variant or ["slab-seed", "slub-seed"]
    lives = options.live or ([1000, 100_000] if options.quick else [1000, 100_000, 10_000_000])
    operations = 400_000 if options.quick else options.operations
    with tempfile.TemporaryDirectory(prefix="pfmemd-bench-") as name:
        folder = Path(name)
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            sys.exit("a C compiler is needed: the ratios are to malloc and free driven from C")
        _run(compiler, "-O2", "-o", folder / "glibc_replay", HERE / "glibc_replay.c")
        compiled = options.compiled
        if compiled is None:
            print("compiling the model …", file=sys.stderr)
            compiled = build_compiled(folder)
        lines = report(variants, lives, operations, compiled, folder)
    head = (
        f"Python {platform.python_version()}, {platform.libc_ver()[0]} {platform.libc_ver()[1]},"
        f" {os.cpu_count()} cpus; {operations:,} operations a stream, best of 5 (1 at 10 M live)"
    )
    text = "\n".join([head, "", *lines]) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
