"""What an event costs in each part of its way through the daemon, in one process.

    python benchmarks/parts/parts.py [--events N] [--live N] [-o OUT.md]

Runs on the pfmemd that is installed beside this interpreter, which should be compiled
(`make bench-path` sees to it, and to PYTHONPATH=benchmarks/model:benchmarks/traces). Every
part is timed over the same batches, the best of some rounds; the rounds of all parts
alternate, so that a noisy machine is noisy for all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import lzma
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgpack
import zmq
from streams import SIZES
from traces import encoded, make_header, make_records

import allocator
from allocator.events import RECORD_SIZE
from allocator.machine import Machine
from allocator.revision import parse_variant
from daemon.files import OsFolder
from daemon.journal.reader import JournalReader
from daemon.journal.writer import FsyncMode, Journal, JournalRules
from tracegen.batch import EventBatch, check, decode
from tracegen.kernel_trace.cli import import_group
from tracegen.samples import FREE_PAGES, PROC, TRACE

GLIBC_REPLAY = Path(__file__).resolve().parent.parent / "model" / "glibc_replay.c"
ROUNDS = 5
GROUP = 8
"""Batches of a group of the journal: 1 MiB, see daemon/intake.py."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something to time: ``run`` does it for ``events`` events and returns the seconds."""

    name: str
    events: int
    run: Callable[[], float]


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """The CPU seconds that ``work`` takes: who else uses the machine is not its fault."""

    def run() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return run


def copy_all(batches: list[bytes]) -> None:
    """Copy the bytes of every batch once: memcpy, and nothing else."""
    for data in batches:
        bytearray(data)


def unpack_all(batches: list[bytes]) -> None:
    """What msgpack alone takes to build Python objects."""
    for data in batches:
        msgpack.unpackb(data, use_list=False)


def journal_run(batches: list[bytes], fsync: FsyncMode) -> float:
    """Seconds to append all batches in groups, each safe as the mode says.

    Of the CPU; but where the disk is waited for, all of them.
    """
    clock = time.process_time if fsync == "never" else time.perf_counter
    with (
        tempfile.TemporaryDirectory(prefix="pfmemd-bench-") as name,
        OsFolder(Path(name)) as folder,
        ThreadPoolExecutor(1) as executor,
    ):
        journal = Journal(folder, JournalReader(folder), JournalRules(fsync=fsync), executor)
        started = clock()
        for at in range(0, len(batches), GROUP):
            journal.append(batches[at : at + GROUP])
            journal.wait_until_safe()
        elapsed = clock() - started
        journal.close()
        return elapsed


def socket_run(batches: list[bytes]) -> float:
    """CPU seconds of both ends for all batches over ZeroMQ and loopback TCP."""
    context = zmq.Context()
    with context.socket(zmq.PAIR) as sender, context.socket(zmq.PAIR) as receiver:
        port = receiver.bind_to_random_port("tcp://127.0.0.1")
        sender.connect(f"tcp://127.0.0.1:{port}")
        sender.send(b"")
        receiver.recv()
        started = time.process_time()
        for data in batches:
            sender.send(data)
            receiver.recv()
        elapsed = time.process_time() - started
    context.term()
    return elapsed


def parts(live: int, operations: int) -> list[Part]:
    """All parts of the way of packed and readable events."""
    header = make_header(live)
    records = make_records(live, operations)
    limits = header.limits()
    packed = list(encoded(header, records.main))[1:]
    readable_operations = records.main[: operations // 4 * RECORD_SIZE]
    readable = list(encoded(header, readable_operations, readable=True))[1:]
    events = records.events
    fewer = len(readable_operations) // RECORD_SIZE
    batches = [batch for batch in map(decode, packed) if isinstance(batch, EventBatch)]

    def decode_all(encoded_batches: list[bytes]) -> None:
        for data in encoded_batches:
            decode(data)

    def check_all() -> None:
        for batch in batches:
            check(batch, header, limits)

    def apply_all(name: str) -> float:
        machine = Machine(header.machine, parse_variant(name), header.caches, header.gfp)
        machine.apply(records.warmup)
        started = time.process_time()
        for batch in batches:
            machine.apply(batch.records)
        return time.process_time() - started

    return [
        Part("memcpy of the packed bytes", events, timed(lambda: copy_all(packed))),
        Part("msgpack alone, packed", events, timed(lambda: unpack_all(packed))),
        Part("msgpack alone, readable", fewer, timed(lambda: unpack_all(readable))),
        Part("ZeroMQ, packed", events, lambda: socket_run(packed)),
        Part("decode, packed", events, timed(lambda: decode_all(packed))),
        Part("decode, readable", fewer, timed(lambda: decode_all(readable))),
        Part("check", events, timed(check_all)),
        Part("journal, no fsync", events, lambda: journal_run(packed, "never")),
        Part("journal, fsync always (wall clock)", events, lambda: journal_run(packed, "always")),
        Part("journal, readable, no fsync", fewer, lambda: journal_run(readable, "never")),
        Part("model, slab-seed", events, lambda: apply_all("slab-seed")),
        Part("model, slub-seed", events, lambda: apply_all("slub-seed")),
    ]


def glibc_part(live: int, operations: int, folder: Path) -> Part | None:
    """Glibc's malloc and free over the same records; None where no C compiler is."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    program = folder / "glibc_replay"
    subprocess.run([compiler, "-O2", "-o", program, GLIBC_REPLAY], check=True)
    records = make_records(live, operations)
    warmup, main = folder / "warmup.bin", folder / "main.bin"
    warmup.write_bytes(records.warmup)
    main.write_bytes(records.main)
    command = [str(program), str(warmup), str(main), ",".join(map(str, SIZES))]

    def run() -> float:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout) * records.events / 1e9

    return Part("glibc malloc and free", records.events, run)


def import_part(folder: Path) -> Part:
    """``pfmemd import`` of the sample; its events are lines of text."""
    text = folder / "sample.ftrace"
    with lzma.open(TRACE) as packed_text:
        text.write_bytes(packed_text.read())
    arguments = ["ftrace", str(text), "--proc", str(PROC), "--free-pages", FREE_PAGES]
    arguments += ["-o", str(folder / "sample.pfmt")]

    def run() -> float:
        with contextlib.redirect_stderr(io.StringIO()):
            return timed(lambda: import_group.main(arguments, standalone_mode=False))()

    return Part("import, lines", text.read_bytes().count(b"\n"), run)


def table(results: dict[str, float], base: float) -> list[str]:
    """Lines of Markdown; ``base`` is the nanoseconds of the memcpy."""
    lines = ["| part | ns an event | M events/s | x memcpy |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {ns:.1f} | {1e3 / ns:.2f} | {ns / base:.1f} |" for name, ns in results.items()
    ]
    return lines


def main() -> None:
    """Time all parts in turn, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--live", type=int, default=100_000)
    parser.add_argument("-o", "--output", type=Path, help="also write the table there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pfmemd-bench-") as name:
        folder = Path(name)
        chosen = parts(options.live, options.events)
        glibc = glibc_part(options.live, options.events, folder)
        chosen += [part for part in (glibc, import_part(folder)) if part is not None]
        best = {part.name: float("inf") for part in chosen}
        for _ in range(ROUNDS):
            for part in chosen:
                best[part.name] = min(best[part.name], part.run() / part.events * 1e9)
    head = (
        f"Python {platform.python_version()}, msgpack {'.'.join(map(str, msgpack.version))},"
        f" libzmq {zmq.zmq_version()}, {os.cpu_count()} cpus, the model"
        f" {'compiled' if allocator.COMPILED else 'plain Python'}; {options.events:,} events,"
        f" {options.live:,} live, best of {ROUNDS}"
    )
    text = "\n".join([head, "", *table(best, best["memcpy of the packed bytes"])]) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
