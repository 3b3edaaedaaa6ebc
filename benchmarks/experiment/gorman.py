"""Gorman's test, and what its result depends on: tables, and a plot.

    python benchmarks/experiment/gorman.py [--seeds N] [--sensitivity] [--plot FILE.svg] [-o OUT.md]

It is no part of the package: it only runs `pfmemd simulate`'s own machinery many times over, and
draws. Runs are spread over this machine's cpus; what they say does not depend on them, for time is
simulated. `make experiment-gorman` runs it on the compiled model. docs/EXPERIMENT.md reads it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import allocator
from tracegen.workload.cli import plan_for
from tracegen.workload.scenario_file import read_scenario
from tracegen.workload.series import SWITCH_NAMES
from tracegen.workload.simulation import Simulation
from tracegen.workload.verdict import Verdict, judge

Settings = tuple[tuple[str, object], ...]

KERNELS = (
    ("slub-unpatched", "SLUB, unpatched"),
    ("slub-seed:none", "SLUB, the mail's patch alone"),
    ("slub-seed", "SLUB, the whole series as mailed"),
    ("slub-v3.6", "SLUB, as merged in 3.6"),
    ("slab-unpatched", "SLAB, unpatched"),
    ("slab-seed:none", "SLAB, the mail's patch alone"),
    ("slab-seed", "SLAB, the whole series as mailed"),
    ("slab-v3.6", "SLAB, as merged in 3.6"),
)
RESERVES_KIB = (1448, 2896, 5792, 11584, 23168)
"""A quarter of the kernel's own choice for 2 GiB, to four times as much."""
ASSUMPTIONS: tuple[tuple[str, Settings], ...] = (
    ("as it is", ()),
    ("the card gathers: data in pages, not in slab objects", (("network.scatter_gather", True),)),
    ("4 cpus (32 mappers)", (("machine.cpus", 4),)),
    ("16 mappers for each cpu", (("load.0.per_cpu", 16),)),
    ("mappings of 2 times memory", (("load.0.memory_ratio", 2),)),
    ("readers: every page is written once only", (("load.0.writes", False),)),
    ("round trip of 5 ms", (("server.round_trip_ms", 5),)),
    ("100 Mbit/s", (("server.bandwidth_mbit", 100),)),
    ("1 % of frames lost", (("server.loss", 0.01),)),
    ("no page cache at the start", (("machine.file_cache_mib", 0),)),
    ("no readahead from swap", (("swap.readahead_pages", 1),)),
    ("queue of 32 requests", (("swap.queue_requests", 32),)),
    ("requests of 8 pages", (("swap.request_pages", 8),)),
    ("send buffer of 256 KiB", (("swap.send_buffer_kib", 256),)),
    ("ring of 64 buffers", (("network.rx_ring", 64),)),
    ("built without NUMA", (("machine.numa", False),)),
    ("memory 48 instead of 32 times smaller", (("machine.scale", 48),)),
)
SENSITIVE = ("slub-unpatched", "slab-unpatched", "slub-seed")
FLOOD: Settings = (("duration_seconds", 8),)
"""Enough of `receive-flood`: what hangs under it has done so by then."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run."""

    kernel: str
    settings: Settings = ()
    seed: int = 0
    scenario: str = "gorman"


@dataclass(frozen=True, slots=True)
class Run:
    """What became of it, and its course: simulated seconds, pages written, free pages."""

    verdict: Verdict
    course: list[tuple[float, int, int]] = field(default_factory=list)


def run(job: Job) -> Run:
    """Run one job."""
    variant, _, series = job.kernel.partition(":")
    plan = plan_for(read_scenario(job.scenario, dict(job.settings)), (variant, series), job.seed)
    simulation = Simulation(plan)
    course = []
    while simulation.go_on():
        course.append(
            (simulation.seconds, simulation.swap.pages_out, simulation.memory.free_pages())
        )
    simulation.close()
    return Run(judge(simulation), course)


class Runs:
    """Every run once, several at a time, with a line of progress."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        wanted = list(dict.fromkeys(jobs))
        self._runs: dict[Job, Run] = {}
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for job, done in zip(wanted, pool.map(run, wanted), strict=True):
                self._runs[job] = done
                print(f"\r{len(self._runs)} of {len(wanted)} runs", end="", file=sys.stderr)
        print(file=sys.stderr)

    def __getitem__(self, job: Job) -> Run:
        return self._runs[job]

    def verdicts(self, jobs: Sequence[Job]) -> list[Verdict]:
        """What became of some of them."""
        return [self[job].verdict for job in jobs]


def main_jobs(
    seeds: int, scenario: str = "gorman", settings: Settings = ()
) -> dict[str, list[Job]]:
    """Each kernel, with each seed."""
    return {
        kernel: [Job(kernel, settings, seed, scenario) for seed in range(seeds)]
        for kernel, _ in KERNELS
    }


def reserve_jobs(seeds: int) -> dict[tuple[str, int], list[Job]]:
    """Each reserve without the series and with it."""
    return {
        (kernel, kib): [
            Job(kernel, (("machine.min_free_kbytes", kib),), seed) for seed in range(count)
        ]
        for kernel, count in (("slub-unpatched", seeds), ("slub-seed", 1))
        for kib in RESERVES_KIB
    }


def added_jobs(kernel: str) -> list[tuple[str, Job]]:
    """The switches of the series, added in the order of its patches."""
    jobs = [("the mail's patch alone", Job(f"{kernel}:none"))]
    for count, name in enumerate(SWITCH_NAMES, start=1):
        jobs.append((f"+ {name}", Job(f"{kernel}:{'+'.join(SWITCH_NAMES[:count])}")))
    return jobs


def left_out_jobs(
    kernel: str, scenario: str = "gorman", settings: Settings = ()
) -> list[tuple[str, Job]]:
    """The whole series, and each switch left out."""
    jobs = [("the whole series", Job(kernel, settings, 0, scenario))]
    for name in SWITCH_NAMES:
        series = "+".join(other for other in SWITCH_NAMES if other != name)
        jobs.append((f"all but {name}", Job(f"{kernel}:{series}", settings, 0, scenario)))
    return jobs


def sensitivity_jobs() -> dict[tuple[str, str], Job]:
    """Each assumption varied alone."""
    return {
        (told, kernel): Job(kernel, settings)
        for told, settings in ASSUMPTIONS
        for kernel in SENSITIVE
    }


def outcome(verdicts: Sequence[Verdict]) -> str:
    """``deadlocked (3 of 3), 3.2 to 3.8 s``."""
    by_outcome: dict[str, list[float]] = {}
    for verdict in verdicts:
        by_outcome.setdefault(verdict.outcome, []).append(verdict.seconds)
    parts = []
    for name, seconds in by_outcome.items():
        count = f" ({len(seconds)} of {len(verdicts)})" if len(verdicts) > 1 else ""
        low, high = f"{min(seconds):.1f}", f"{max(seconds):.1f}"
        parts.append(f"{name}{count}, {low if low == high else f'{low} to {high}'} s")
    return "; ".join(parts)


def span(values: Sequence[int]) -> str:
    """``1,234`` or ``1,234 to 5,678``."""
    low, high = f"{min(values):,}", f"{max(values):,}"
    return low if low == high else f"{low} to {high}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, figures to the right of the first two columns."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---' if i < 2 else '---:' for i in range(len(head)))}|"  # noqa: PLR2004
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def main_table(runs: Runs, title: str, jobs: Mapping[str, list[Job]]) -> Iterator[str]:
    """Kernels side by side."""
    yield f"## {title}\n"
    rows = []
    for kernel, told in KERNELS:
        verdicts = runs.verdicts(jobs[kernel])
        rows.append(
            [
                told,
                outcome(verdicts),
                span([v.pages_out for v in verdicts]),
                span([v.lowest_free for v in verdicts]),
                span([v.throttled for v in verdicts]),
                span([v.missed for v in verdicts]),
                span([v.dropped for v in verdicts]),
            ]
        )
    head = (
        *("kernel", "outcome, simulated time", "pages written", "fewest free", "throttled"),
        *("frames missed", "packets dropped"),
    )
    yield from table(head, rows)


def reserve_table(runs: Runs, seeds: int) -> Iterator[str]:
    """A bigger reserve."""
    yield "## A bigger reserve\n"
    jobs = reserve_jobs(seeds)
    rows = [
        [
            f"{kib:,}",
            outcome(runs.verdicts(jobs["slub-unpatched", kib])),
            outcome(runs.verdicts(jobs["slub-seed", kib])),
        ]
        for kib in RESERVES_KIB
    ]
    yield from table(("min_free_kbytes", "SLUB, unpatched", "SLUB, whole series"), rows)


def switch_table(runs: Runs, title: str, jobs: Sequence[tuple[str, Job]]) -> Iterator[str]:
    """What each behaviour of the series buys."""
    yield f"## {title}\n"
    rows = []
    for told, job in jobs:
        v = runs[job].verdict
        rows.append([told, outcome([v]), f"{v.lowest_free:,}", f"{v.missed:,}", f"{v.dropped:,}"])
    head = ("series", "outcome, simulated time", "fewest free", "missed", "dropped")
    yield from table(head, rows)


def sensitivity_table(runs: Runs) -> Iterator[str]:
    """What the result depends on."""
    yield "## Each assumption varied\n"
    jobs = sensitivity_jobs()
    rows = [
        [told, *(outcome([runs[jobs[told, kernel]].verdict]) for kernel in SENSITIVE)]
        for told, _ in ASSUMPTIONS
    ]
    yield from table(("assumption", *SENSITIVE), rows)


def plot(file: Path, runs: Runs, seeds: int) -> None:
    """Progress, free pages, and the moment of the hang against the reserve."""
    import matplotlib as mpl  # noqa: PLC0415 - only who wants a plot needs it

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "pfmemd"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the same

    figure, (progress, free, reserve) = plt.subplots(1, 3, figsize=(13, 3.8))
    colours = {"slub-unpatched": "#c0392b", "slub-seed:none": "#e67e22", "slub-seed": "#27ae60"}
    colours |= {"slab-unpatched": "#7f8c8d", "slab-seed": "#2980b9"}
    names: Mapping[str, str] = dict(KERNELS)
    for kernel, colour in colours.items():
        done = runs[Job(kernel)]
        cut = [point for point in done.course if point[0] <= done.verdict.seconds + 0.1]
        seconds = [point[0] for point in cut]
        progress.plot(
            seconds, [point[1] / 1000 for point in cut], color=colour, label=names[kernel]
        )
        if kernel != "slab-unpatched":
            free.plot(seconds, [point[2] for point in cut], color=colour, lw=0.9)
        if not done.verdict.survived:
            progress.plot(seconds[-1], cut[-1][1] / 1000, "X", color=colour, ms=9)
    progress.set(xlabel="simulated seconds", ylabel="thousand pages written to swap")
    progress.set_title("Progress; X is a deadlock")
    progress.legend(fontsize=7, loc="lower right")
    least = runs[Job("slub-seed")].verdict.min_pages
    for level, told in ((least, "min: the reserve"), (least // 2, "half of it: throttling")):
        free.axhline(level, color="black", lw=0.7, ls=":")
        free.text(0.2, level - 110, told, fontsize=7)
    free.set(xlabel="simulated seconds", ylabel="free pages", ylim=(0, 2 * least))
    free.set_title("Free pages, each tenth of a second")
    jobs = reserve_jobs(seeds)
    for kib in RESERVES_KIB:
        for verdict in runs.verdicts(jobs["slub-unpatched", kib]):
            reserve.plot(kib, verdict.seconds, "X", color=colours["slub-unpatched"], ms=8)
        (verdict,) = runs.verdicts(jobs["slub-seed", kib])
        mark = "o" if verdict.survived else "X"
        reserve.plot(kib, verdict.seconds, mark, color=colours["slub-seed"], ms=7)
    reserve.set(xscale="log", xlabel="min_free_kbytes", ylabel="simulated seconds", ylim=(0, None))
    reserve.set_xticks(RESERVES_KIB, [f"{kib:,}" for kib in RESERVES_KIB], fontsize=7)
    reserve.minorticks_off()
    reserve.set_title("X deadlock without the series, o end of work with it")
    for axes in (progress, free, reserve):
        axes.grid(alpha=0.25)
        axes.title.set_fontsize(9)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def _footer(seeds: int, seconds: float) -> str:
    build = "compiled" if allocator.COMPILED else "plain Python"
    return (
        f"{seeds} seeds; the model {build}, Python {platform.python_version()},"
        f" {os.cpu_count()} cpus, {seconds:.0f} s."
    )


def main() -> None:
    """Run everything, print the tables, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each kernel")
    parser.add_argument("--sensitivity", action="store_true", help="also vary each assumption")
    parser.add_argument("--plot", type=Path, help="draw there (matplotlib)")
    parser.add_argument("-o", "--output", type=Path, help="also write the tables there")
    options = parser.parse_args()
    started = time.monotonic()
    tests = main_jobs(options.seeds)
    floods = main_jobs(1, "receive-flood", FLOOD)
    added = [*added_jobs("slub-seed"), *left_out_jobs("slub-seed")]
    left_out = left_out_jobs("slub-v3.6", "receive-flood", FLOOD)
    sensitive = sensitivity_jobs() if options.sensitivity else {}
    runs = Runs(
        [
            *(job for jobs in (*tests.values(), *floods.values()) for job in jobs),
            *(job for jobs in reserve_jobs(options.seeds).values() for job in jobs),
            *(job for _, job in (*added, *left_out)),
            *sensitive.values(),
        ]
    )
    lines = [
        *main_table(runs, "Gorman's test", tests),
        *reserve_table(runs, options.seeds),
        *switch_table(runs, "What each switch buys: SLUB, seed", added),
        *main_table(runs, "A flood of packets meanwhile (`receive-flood`)", floods),
        *switch_table(runs, "What each switch buys under the flood: SLUB, v3.6", left_out),
        *(sensitivity_table(runs) if sensitive else ()),
        _footer(options.seeds, time.monotonic() - started),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    if options.plot:
        plot(options.plot, runs, options.seeds)
        print(f"the plot is {options.plot}", file=sys.stderr)


if __name__ == "__main__":
    main()
