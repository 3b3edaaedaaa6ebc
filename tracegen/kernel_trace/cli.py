"""``pfmemd import``: a trace of ours from what a kernel's own tracers print."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from tracegen.command_line import EXIT_SIGNAL
from tracegen.errors import EXIT_GOOD, PfmemdError, StoppedError
from tracegen.header import CLOCKS
from tracegen.interruption import interruptible
from tracegen.kernel_trace.importer import (
    MAX_CPUS,
    PAGES_PER_MIB,
    Importer,
    InterruptedImportError,
    Options,
)
from tracegen.kernel_trace.proc import ZONE_INDEX
from tracegen.kernel_trace.report import Report
from tracegen.parameters import SourceName
from tracegen.trace_file import STANDARD_STREAM, TraceWriter
from tracegen.truth.ground_truth import read_ground_truth

_FREE: Final = re.compile(r"(?:(\d+)/)?(\w+)=(\d+)")
_VERSION: Final = re.compile(r"(\d{1,2})\.(\d{1,3})")
_MEM: Final = re.compile(r"(\d+)([MG])")
_MIB: Final = {"M": 1, "G": 1024}


def _free_pages(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> dict[tuple[int, str], int] | None:
    if value is None:
        return None
    found: dict[tuple[int, str], int] = {}
    for part in value.split(","):
        match = _FREE.fullmatch(part.strip())
        if match is None or match[2] not in ZONE_INDEX:
            raise click.BadParameter(
                f"{part!r}, expected [NODE/]ZONE=PAGES with a zone {', '.join(ZONE_INDEX)}"
            )
        found[int(match[1] or 0), match[2]] = int(match[3])
    return found


def _mem(_context: click.Context, _option: click.Parameter, value: str | None) -> int:
    if value is None:
        return 0
    match = _MEM.fullmatch(value)
    if match is None or not int(match[1]):
        raise click.BadParameter(f"{value!r}, expected a size such as 320M or 4G")
    return int(match[1]) * _MIB[match[2]] * PAGES_PER_MIB


def _kernel(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[int, int]:
    if value is None:
        return 0, 0
    match = _VERSION.match(value)
    if match is None:
        raise click.BadParameter(f"{value!r}, expected a version such as 3.10 or 6.1.0-56-amd64")
    return int(match[1]), int(match[2])


@click.group("import")
def import_group() -> None:
    """Turn what a kernel's tracers print into a trace."""


_OPTIONS: Final = (
    click.argument("trace_path", metavar="IN|-"),
    click.option(
        *("-o", "--output"),
        default="-",
        metavar="OUT|-",
        help="The trace to write; .zst compresses.  [default: standard output]",
    ),
    click.option(
        "--proc",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="The machine: copies of its /proc/zoneinfo, slabinfo, ..., or /proc itself.",
    ),
    click.option(
        "--free-pages",
        callback=_free_pages,
        metavar="DMA=N,DMA32=N,...",
        help="Free pages when the trace begins, where --proc is older than that.",
    ),
    click.option(
        "--ground-truth",
        metavar="FILE",
        help="Take the free pages at the beginning from what was recorded beside the trace.",
    ),
    click.option("--mem", callback=_mem, metavar="SIZE", help="Without --proc: 320M, 4G."),
    click.option(
        "--cpus", type=click.IntRange(1, MAX_CPUS), help="Without --proc: number of cpus."
    ),
    click.option(
        "--min-free-kbytes",
        type=click.IntRange(min=1),
        metavar="KB",
        help="vm.min_free_kbytes, if not as --proc says.",
    ),
    click.option(
        "--kernel",
        callback=_kernel,
        metavar="VERSION",
        help="The traced kernel's version, which tells what its numbers mean.",
    ),
    click.option(
        "--source", type=SourceName(), default="ftrace", show_default=True, metavar="NAME"
    ),
    click.option(
        "--clock",
        type=click.Choice(CLOCKS),
        default="local",
        show_default=True,
        help="The trace's clock, which its text does not say (trace_clock).",
    ),
    click.option(
        "--epoch",
        type=click.IntRange(0, (1 << 64) - 1),
        help="The number of this life of the source.  [default: the time now, in microseconds]",
    ),
    click.option(
        "--live/--whole",
        "live",
        default=None,
        help="Write as it comes, or read to the end first and understand more."
        "  [default: a file whole, a pipe live]",
    ),
    click.option(
        "--form",
        type=click.Choice(("packed", "readable")),
        default="packed",
        show_default=True,
        help="Form of the batches.",
    ),
    click.option(
        "--report", type=click.Path(path_type=Path), metavar="FILE", help="Report as JSON."
    ),
    click.option(
        "--bad-lines",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Every line that could not be read: number, text, what was expected.",
    ),
    click.option("--strict", is_flag=True, help="Any bad line and any guess is an error."),
)
"""What both commands take."""


def _import_options(command: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@import_group.command("ftrace")
@_import_options
def ftrace(**given: Any) -> int:  # noqa: ANN401  # what _import_options lists
    """Import what ftrace and trace-cmd print.

    That is the tracefs files trace and trace_pipe, trace-cmd show, and trace-cmd report with or
    without -l, -R, -t; which of them it is, is seen from the lines. IN may be compressed
    (xz, gzip, zstd); - is standard input. A file is read to its end before the trace is
    written, and so understood better; a pipe is passed on as it comes, until it ends
    or Ctrl-C ends it. The report on standard error says how many events were understood,
    inferred, guessed and dropped; docs/IMPORT.md says how.

    \b
    pfmemd import ftrace trace.txt.xz -o nbd.pfmt.zst --proc before/
    pfmemd import ftrace part.txt -o part.pfmt --proc before/ --free-pages DMA=278,DMA32=566
    cat /sys/kernel/tracing/trace_pipe | pfmemd import ftrace - --proc /proc | pfmemd serve -

    The exit code is 0 when it is written, 1 when --strict found a guess, 2 when the
    input is unreadable or --strict found a bad line.
    """  # noqa: D301  # click wants the character that \b stands for
    return _run("pfmemd import ftrace", **given)


@import_group.command("perf")
@_import_options
def perf(**given: Any) -> int:  # noqa: ANN401  # what _import_options lists
    """Import what perf script prints.

    IN is its output, plain or with -F comm,tid,cpu,time,event,trace and more (tid, cpu, time,
    event and trace are needed), with or without --ns. There is no flags column in it: what
    happened in interrupts looks like the interrupted task's.

    \b
    perf record -a -m 1024 -k mono -e 'kmem:*' -e 'vmscan:mm_vmscan_direct_reclaim_*' sleep 10
    perf script --ns | pfmemd import perf - --whole -o swap.pfmt.zst --proc before/ --clock mono

    Options and exit codes are those of pfmemd import ftrace.
    """  # noqa: D301  # click wants the character that \b stands for
    return _run("pfmemd import perf", **given)


def _run(
    tool: str,
    trace_path: str,
    output: str,
    proc: Path | None,
    free_pages: dict[tuple[int, str], int] | None,
    ground_truth: str | None,
    mem: int,
    cpus: int | None,
    min_free_kbytes: int | None,
    kernel: tuple[int, int],
    source: str,
    clock: str,
    epoch: int | None,
    live: bool | None,
    form: str,
    report: Path | None,
    bad_lines: Path | None,
    strict: bool,
) -> int:
    if proc is not None and (mem or cpus):
        raise click.UsageError("--mem and --cpus are for a machine without --proc")
    if ground_truth is not None and free_pages is not None:
        raise click.UsageError("--free-pages and --ground-truth say the same: give one of them")
    truth = read_ground_truth(ground_truth) if ground_truth is not None else None
    options = Options(
        source=source,
        epoch=time.time_ns() // 1000 if epoch is None else epoch,
        proc=proc,
        free_pages=truth.free_at if truth is not None else free_pages,
        mem_pages=mem,
        cpus=cpus or 0,
        min_free_kbytes=min_free_kbytes or 0,
        kernel=kernel,
        clock=clock,
        strict=strict,
        whole=None if live is None else not live,
        spool=None if output == STANDARD_STREAM else Path(output).absolute().parent,
        tool=tool,
    )
    with (
        interruptible() as interruption,
        _progress(trace_path) as progress,
        _listing(bad_lines) as listing,
    ):
        writer = TraceWriter(output, readable=form == "readable")
        importer = Importer(
            trace_path, options, writer.write, progress, interruption.requested, listing
        )
        try:
            with writer:
                importer.run()
        except InterruptedImportError:
            return EXIT_SIGNAL + interruption.signal
        except PfmemdError:
            if importer.report.events:
                tell(importer.report, report)
            raise
    tell(importer.report, report)
    return EXIT_GOOD


def tell(report: Report, path: Path | None) -> None:
    """Say what was understood on standard error and, as JSON, in a file.

    Raises :class:`StoppedError` if the file cannot be written.
    """
    click.echo(report.text(), err=True)
    if path is not None:
        try:
            path.write_text(report.to_json() + "\n", "utf-8")
        except OSError as error:
            raise StoppedError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def _listing(path: Path | None) -> Iterator[Callable[[int, str, str], None]]:
    """A file of the lines that could not be read."""
    if path is None:
        yield lambda _number, _line, _expected: None
        return
    try:
        with path.open("w", encoding="utf-8") as file:
            yield lambda number, line, expected: print(
                f"{number}: {line!r}, expected {expected}", file=file
            )
    except OSError as error:
        raise StoppedError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal; nothing when it is not one."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield show
