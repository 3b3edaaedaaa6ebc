"""Memory over a great many events: a trace without end through the daemon, which is watched.

    python benchmarks/soak_rss/soak_rss.py [--events N] [--live N] [--data-dir DIR]
        [--plot FILE.png] [-o OUT.csv]

A loop of events that ends where it began is piped into `pfmemd serve -` again and again, of
the pfmemd that is installed beside this interpreter (`make bench-rss` sees to it, and to
PYTHONPATH=benchmarks/model:benchmarks/traces). Each second the daemon's own /metrics tells how
many events were applied and how much memory is resident. With a data folder everything also
goes through the journal, of which the daemon then keeps no more than it needs.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streams import CPUS, GFP_KERNEL, SIZES
from traces import BATCH_EVENTS, EPOCH, SOURCE, make_header, make_records, with_times

from allocator.events import OBJ_ALLOC, OBJ_FREE, RECORD_SIZE
from tracegen.batch import RECORD, BatchMaker, encode

PFMEMD = (sys.executable, "-P", "-m", "daemon")
LOOP_EVENTS = 1_000_000
INTERVAL_SECONDS = 1.0
START_SECONDS = 60.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What the daemon said at one moment."""

    seconds: float
    events: int
    resident_bytes: int


def way_back(live: int, records: bytes) -> bytes:
    """Events after ``records`` that make those handles live again that were so before."""
    held = set(range(1, live + 1))
    first = frozenset(held)
    for _, handle, _, _, _, _, op, _, _ in RECORD.iter_unpack(records):
        if op == OBJ_ALLOC:
            held.add(handle)
        else:
            held.remove(handle)
    frees = [
        RECORD.pack(0, handle, 0, 0, handle % CPUS, -1, OBJ_FREE, 0, 0)
        for handle in sorted(held - first)
    ]
    allocs = [
        RECORD.pack(0, handle, GFP_KERNEL, handle % len(SIZES), handle % CPUS, -1, OBJ_ALLOC, 0, 0)
        for handle in sorted(first - held)
    ]
    return b"".join(record for pair in zip(frees, allocs, strict=True) for record in pair)


def trace(live: int, events: int) -> Iterator[bytes]:
    """The batches: header, warm-up, and the loop until there were so many events."""
    made = make_records(live, LOOP_EVENTS)
    loop = with_times(made.main + way_back(live, made.main))
    maker = BatchMaker(SOURCE, EPOCH)
    yield encode(maker.header(make_header(live)))
    size = BATCH_EVENTS * RECORD_SIZE
    written = 0
    records = made.warmup
    while written < events:
        for at in range(0, len(records), size):
            yield encode(maker.events(records[at : at + size]))
        written += len(records) // RECORD_SIZE
        records = loop


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """The daemon's HTTP address, as soon as it has one."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            event: dict[str, str] = json.loads(line)
            if event["event"] == "ready":
                return event["http"]
        time.sleep(INTERVAL_SECONDS / 10)
    sys.exit(f"the daemon did not start: {log.read_text(encoding='utf-8')}")


def sample(http: str, started: float) -> Sample:
    """Ask the daemon."""
    with urllib.request.urlopen(f"{http}/metrics") as answer:  # noqa: S310 - the daemon's own address
        lines: list[str] = answer.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    events = values.get(f'pfmemd_events_applied_total{{source="{SOURCE}"}}', "0")
    return Sample(time.monotonic() - started, int(events), int(values["pfmemd_memory_bytes"]))


def watch(options: argparse.Namespace, folder: Path) -> list[Sample]:
    """Run the daemon on the trace; what it said every second."""
    log = folder / "daemon.log"
    command = [*PFMEMD, "serve", "-", "--http", "127.0.0.1:0", "--log-format", "json"]
    command += ["--variant", options.variant]
    if options.data_dir:
        command += ["--data-dir", str(options.data_dir), "--journal-retention-bytes", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=file, cwd=folder)
    pipe = process.stdin
    if pipe is None:
        raise RuntimeError("no pipe to the daemon")

    def feed() -> None:
        with pipe:
            for data in trace(options.live, options.events):
                pipe.write(data)

    samples: list[Sample] = []
    try:
        http = wait_until_ready(process, log)
        started = time.monotonic()
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        while True:
            feeding = feeder.is_alive()
            samples.append(sample(http, started))
            if not feeding and samples[-1].events >= options.events:
                return samples
            feeder.join(INTERVAL_SECONDS)
    finally:
        process.terminate()
        process.wait()


def plot(path: Path, samples: list[Sample]) -> None:
    """Draw memory over events."""
    import matplotlib as mpl  # noqa: PLC0415 - only who wants a plot needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the same

    figure, axes = plt.subplots(figsize=(6, 2.6), dpi=110)
    resident = [s.resident_bytes / MIB for s in samples]
    axes.plot([s.events / 1e6 for s in samples], resident)
    top = 1.25 * max(resident)
    axes.set(xlabel="million events", ylabel="resident, MiB", ylim=(0, top), xlim=(0, None))
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    """Watch, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=1_000_000_000)
    parser.add_argument("--live", type=int, default=100_000)
    parser.add_argument("--variant", default="slab-seed")
    parser.add_argument("--data-dir", type=Path, help="have the daemon keep a journal there")
    parser.add_argument("--plot", type=Path, help="draw memory over events there (matplotlib)")
    parser.add_argument("-o", "--output", type=Path, help="write all samples there, as CSV")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pfmemd-bench-") as name:
        samples = watch(options, Path(name))
    if options.output:
        with options.output.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("seconds", "events", "resident_bytes"))
            writer.writerows((f"{s.seconds:.1f}", s.events, s.resident_bytes) for s in samples)
    if options.plot:
        plot(options.plot, samples)
    last = samples[-1]
    tenth = next(s for s in samples if s.events >= last.events / 10)
    later = [s.resident_bytes for s in samples if s.events >= tenth.events]
    print(
        f"{last.events:,} events in {last.seconds:.0f} s"
        f" ({last.events / last.seconds / 1e6:.2f} M/s, {os.cpu_count()} cpus);"
        f" resident after a tenth of them {tenth.resident_bytes / MIB:.1f} MiB,"
        f" from there on {min(later) / MIB:.1f} to {max(later) / MIB:.1f},"
        f" at the end {last.resident_bytes / MIB:.1f}"
    )


if __name__ == "__main__":
    main()
