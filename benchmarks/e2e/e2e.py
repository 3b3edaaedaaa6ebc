"""The whole path as users run it, in events a second, and what each process pays for it.

    python benchmarks/e2e/e2e.py [--events N] [--live N] [--rounds N] [--only NAME] [-o OUT.md]

`pfmemd send` -> ZeroMQ -> `pfmemd serve --data-dir` (fsync always) -> the models, while
/metrics is scraped each second: all real processes, of the pfmemd that is installed
beside this interpreter (`make bench-path` sees to it, and to
PYTHONPATH=benchmarks/model:benchmarks/traces). Events a second are from the
daemon's first applied event to the end of the last sender. The cases take turns, and every
round is told on standard error: its spread is the machine's noise. CPU time an event
depends less on who else uses the machine, so it is given beside.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streams import GFP_KERNEL
from traces import START_NS, encoded, make_header, make_records

import allocator
from allocator.config import CacheSpec
from allocator.events import OBJ_ALLOC, RECORD_SIZE
from tracegen.batch import RECORD
from tracegen.header import Header

PFMEMD = (sys.executable, "-P", "-m", "daemon")
START_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")
POLL_SECONDS = 0.01
UNUSED_HANDLES = 1 << 40
MANY_CACHES = 195
"""With two variants about 10,000 series."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    name: str
    trace: Path
    events: int
    variants: tuple[str, ...] = ("slab-seed",)
    sources: int = 1
    scrape_seconds: float = 1.0
    fsync: str = "always"
    workers: int = 0


@dataclass(slots=True)
class Result:
    """What was measured of a case."""

    events: int
    seconds: float = 0.0
    daemon_cpu: float = 0.0
    sender_cpu: float = 0.0
    rss_bytes: int = 0
    series: int = 0
    recovery_seconds: float = 0.0
    scrapes: list[float] = field(default_factory=list)


def with_children(pid: int) -> list[int]:
    """A process and those that it has started: a daemon and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [pid, *map(int, children.split())]


def cpu_seconds(pid: int) -> float:
    """User and system time of a daemon that runs, with its workers."""
    ticks = 0
    for one in with_children(pid):
        stat = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(stat[11]) + int(stat[12])
    return ticks / TICKS


def peak_rss(pid: int) -> int:
    """The most memory that a daemon and each of its workers have had, in bytes."""
    kibibytes = 0
    for one in with_children(pid):
        status = Path(f"/proc/{one}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        kibibytes += int(line.split()[1])
    return kibibytes * 1024


@contextlib.contextmanager
def daemon(case: Case, data_dir: Path, log: Path) -> Iterator[tuple[int, str, str]]:
    """Run a daemon; gives its pid, its HTTP address and where it receives."""
    chosen = [word for variant in case.variants for word in ("--variant", variant)]
    command = [
        *(*PFMEMD, "serve", "--bind", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0"),
        *("--log-format", "json", "--data-dir", str(data_dir), "--fsync", case.fsync),
        *("--workers", str(case.workers), *chosen),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, cwd=data_dir.parent)
    try:
        ready = wait_until_ready(process, log)
        yield process.pid, ready["http"], ready["receiving"]
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    """What the daemon says when it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            event: dict[str, str] = json.loads(line)
            if event["event"] == "ready":
                return event
        time.sleep(POLL_SECONDS)
    sys.exit(f"the daemon did not start: {log.read_text(encoding='utf-8')}")


def get(url: str) -> bytes:
    """The body of an HTTP answer."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - the daemon's own address
        body: bytes = answer.read()
    return body


def wait_for_first_event(http: str) -> None:
    """Return when a batch of events has been applied."""
    while True:
        state = json.loads(get(f"{http}/state?digest=0"))
        if any(source["events"] for source in state["sources"].values()):
            return
        time.sleep(POLL_SECONDS)


class Scraper(threading.Thread):
    """Gets /metrics at every interval, and remembers how long each took."""

    def __init__(self, http: str, interval: float) -> None:
        super().__init__(daemon=True)
        self._url = f"{http}/metrics"
        self._interval = interval
        self._over = threading.Event()
        self.seconds: list[float] = []
        self.series = 0

    def run(self) -> None:
        """Scrape until stopped."""
        while not self._over.wait(self._interval):
            started = time.perf_counter()
            page = get(self._url)
            self.seconds.append(time.perf_counter() - started)
            self.series = sum(1 for line in page.splitlines() if not line.startswith(b"#"))

    def stop(self) -> None:
        """End it after the scrape that is under way."""
        self._over.set()
        self.join()


def run_case(case: Case, folder: Path) -> Result:
    """Run a case once, the journal in ``folder``."""
    result = Result(case.events * case.sources)
    data_dir = folder / "data"
    with daemon(case, data_dir, folder / "daemon.log") as (pid, http, receiving):
        cpu_before = cpu_seconds(pid)
        children_before = os.times()
        senders = [
            subprocess.Popen(
                [*PFMEMD, "send", str(case.trace), "--connect", receiving, "--source", f"s{number}"]
                if case.sources > 1
                else [*PFMEMD, "send", str(case.trace), "--connect", receiving],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
            )
            for number in range(case.sources)
        ]
        wait_for_first_event(http)
        started = time.perf_counter()
        scraper = Scraper(http, case.scrape_seconds)
        scraper.start()
        for sender in senders:
            if sender.wait() != 0:
                sys.exit(f"a sender failed in {case.name}")
        result.seconds = time.perf_counter() - started
        scraper.stop()
        result.scrapes = scraper.seconds
        result.series = scraper.series
        result.daemon_cpu = cpu_seconds(pid) - cpu_before
        children = os.times()
        result.sender_cpu = (
            children.children_user
            + children.children_system
            - children_before.children_user
            - children_before.children_system
        )
        result.rss_bytes = peak_rss(pid)
        state = json.loads(get(f"{http}/state?digest=0"))
        applied = sum(source["events"] for source in state["sources"].values())
        if applied != result.events:
            sys.exit(f"{case.name}: {applied} events applied of {result.events}")
    for snapshot in data_dir.glob("snapshot-*"):
        snapshot.unlink()  # so that the next start reads the whole journal
    log = folder / "again.log"
    with daemon(case, data_dir, log):
        lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
        recovered = next(line for line in lines if line["event"] == "recovered")
        if recovered["events"] == result.events:
            result.recovery_seconds = recovered["seconds"]
    return result


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def row(case: Case, rounds: Sequence[Result]) -> str:
    """One line of the table: every round where that is noisy, all scrapes of all rounds."""

    def each(values: Iterable[float], form: str) -> str:
        return ", ".join(format(value, form) for value in values)

    scrapes = [seconds * 1e3 for result in rounds for seconds in result.scrapes]
    cells = (
        case.name,
        each((r.events / r.seconds / 1e6 for r in rounds), ".2f"),
        each((r.daemon_cpu / r.events * 1e9 for r in rounds), ".0f"),
        each((r.sender_cpu / r.events * 1e9 for r in rounds), ".0f"),
        each((r.events / r.recovery_seconds / 1e6 for r in rounds if r.recovery_seconds), ".2f"),
        f"{max(r.series for r in rounds):,}",
        f"{quantile(scrapes, 0.5):.0f}",
        f"{quantile(scrapes, 0.99):.0f} ({len(scrapes)})",
        f"{max(r.rss_bytes for r in rounds) / 2**20:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def write_trace(path: Path, header: Header, records: bytes, *, readable: bool = False) -> int:
    """Write a trace; returns its number of events."""
    with path.open("wb") as file:
        for data in encoded(header, records, readable=readable):
            file.write(data)
    return len(records) // RECORD_SIZE


def cases(folder: Path, live: int, operations: int) -> list[Case]:
    """All cases, their traces written to ``folder``."""
    records = make_records(live, operations).all
    header = make_header(live)
    packed, readable = folder / "packed.pfmt", folder / "readable.pfmt"
    many = folder / "many.pfmt"
    events = write_trace(packed, header, records)
    write_trace(readable, header, records, readable=True)
    more = [
        CacheSpec(number, f"more-{number}", 64, 0, 0x2000)
        for number in range(len(header.caches), MANY_CACHES)
    ]
    # A cache is on /metrics from its first use on.
    uses = b"".join(
        RECORD.pack(
            START_NS, UNUSED_HANDLES + cache.id, GFP_KERNEL, cache.id, 0, -1, OBJ_ALLOC, 0, 0
        )
        for cache in more
    )
    many_events = write_trace(many, make_header(live, [*header.caches, *more]), uses + records)
    two = ("slab-seed", "slub-seed")
    return [
        Case("packed, slab-seed", packed, events),
        Case("packed, slub-seed", packed, events, ("slub-seed",)),
        Case("packed, slab-seed, fsync never", packed, events, fsync="never"),
        Case("packed, two variants", packed, events, two),
        Case("packed, two sources", packed, events, sources=2),
        Case("packed, slab-seed, 1 worker", packed, events, workers=1),
        Case("packed, two variants, 2 workers", packed, events, two, workers=2),
        Case("packed, two sources, 2 workers", packed, events, sources=2, workers=2),
        Case("readable, slab-seed", readable, events),
        Case("readable, two variants", readable, events, two),
        *(
            Case(
                f"packed, two variants, {MANY_CACHES} caches, scraped 10 times a second"
                + (f", {workers} workers" if workers else ""),
                many,
                many_events,
                two,
                scrape_seconds=0.1,
                workers=workers,
            )
            for workers in (0, 2)
        ),
    ]


def main() -> None:
    """Run all cases, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--live", type=int, default=100_000)
    parser.add_argument("--only", help="only the cases whose name begins so")
    parser.add_argument("--rounds", type=int, default=3, help="of all cases in turn")
    parser.add_argument("-o", "--output", type=Path, help="also write the table there")
    options = parser.parse_args()
    lines = [
        (
            "| case | M events/s, each round | daemon CPU ns/event | sender CPU ns/event |"
            " recovery M events/s | series | scrape p50 ms | p99 ms (scrapes) | peak RSS MiB |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory(prefix="pfmemd-bench-") as name:
        chosen = [
            case
            for case in cases(Path(name), options.live, options.events)
            if not options.only or case.name.startswith(options.only)
        ]
        results: list[list[Result]] = [[] for _ in chosen]
        for number in range(options.rounds):
            for case, found in zip(chosen, results, strict=True):
                with tempfile.TemporaryDirectory(prefix="round-", dir=name) as round_name:
                    found.append(run_case(case, Path(round_name)))
                print(f"round {number + 1}: {row(case, found[-1:])}", file=sys.stderr)
        for case, found in zip(chosen, results, strict=True):
            lines.append(row(case, found))
    head = (
        f"Python {platform.python_version()}, {os.cpu_count()} cpus, the model"
        f" {'compiled' if allocator.COMPILED else 'plain Python'}; {options.events:,} events"
        f" a source, {options.live:,} live, {options.rounds} rounds"
    )
    text = "\n".join([head, "", *lines]) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
