"""``pfmemd import``: a trace of ours from what a kernel's own tracers print."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from tracegen.errors import PfmemdError, StoppedError
from tracegen.header import CLOCKS
from tracegen.kernel_trace.importer import PAGES_PER_MIB, Importer, Options
from tracegen.kernel_trace.proc import ZONE_INDEX
from tracegen.kernel_trace.report import Report
from tracegen.limits import SOURCE_EXPECTED, is_source_name
from tracegen.trace_file import TraceWriter

_FREE: Final = re.compile(r"(?:(\d+)/)?(\w+)=(\d+)")
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


def _source(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not is_source_name(value):
        raise click.BadParameter(f"{value!r}, expected {SOURCE_EXPECTED}")
    return value


@click.group("import")
def import_group() -> None:
    """Turn what a kernel's tracers print into a trace."""


@import_group.command("ftrace")
@click.argument("trace_path", metavar="IN|-")
@click.option(
    "-o", "--output", required=True, metavar="OUT|-", help="The trace to write; .zst compresses."
)
@click.option(
    "--proc",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Files of /proc and /sys from the traced machine, taken before the trace: zones,"
    " watermarks, cpus, caches, and what was in use.",
)
@click.option(
    "--free-pages",
    callback=_free_pages,
    metavar="ZONE=PAGES,...",
    help="Free pages when the trace begins, if it begins later than --proc was taken.",
)
@click.option("--mem", callback=_mem, metavar="SIZE", help="Without --proc: 320M, 4G.")
@click.option("--cpus", type=click.IntRange(1, 1024), help="Without --proc: number of cpus.")
@click.option(
    "--min-free-kbytes",
    type=click.IntRange(min=1),
    metavar="KB",
    help="vm.min_free_kbytes, if not as --proc says.",
)
@click.option("--source", callback=_source, default="ftrace", show_default=True, metavar="NAME")
@click.option(
    "--clock",
    type=click.Choice(CLOCKS),
    default="local",
    show_default=True,
    help="The trace's clock, which its text does not say (trace_clock).",
)
@click.option(
    "--epoch",
    type=click.IntRange(0, (1 << 64) - 1),
    help="The number of this life of the source.  [default: the time now, in microseconds]",
)
@click.option(
    "--form",
    type=click.Choice(("packed", "readable")),
    default="packed",
    show_default=True,
    help="Form of the batches.",
)
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Report as JSON.")
@click.option("--strict", is_flag=True, help="Any bad line and any guess is an error.")
def ftrace(
    trace_path: str,
    output: str,
    proc: Path | None,
    free_pages: dict[tuple[int, str], int] | None,
    mem: int,
    cpus: int | None,
    min_free_kbytes: int | None,
    source: str,
    clock: str,
    epoch: int | None,
    form: str,
    report: Path | None,
    strict: bool,
) -> None:
    """Import what ftrace prints: its trace or trace_pipe file.

    IN may be compressed (xz, gzip, zstd); - is standard input. A regular file is read
    twice and so understood better; a pipe is read once, as it comes. The report on
    standard error says how many events were understood, inferred, guessed and dropped;
    docs/IMPORT.md says how.

    \b
    pfmemd import ftrace trace.txt.xz -o nbd.pfmt.zst --proc before/
    pfmemd import ftrace part.txt -o part.pfmt --proc before/ --free-pages DMA=278,DMA32=566
    cat /sys/kernel/tracing/trace_pipe | pfmemd import ftrace - --proc /proc -o - | pfmemd serve -

    The exit code is 0 when it is written, 1 when --strict found a guess, 2 when the
    input is unreadable or --strict found a bad line.
    """  # noqa: D301  # click wants the character that \b stands for
    if proc is not None and (mem or cpus):
        raise click.UsageError("--mem and --cpus are for a machine without --proc")
    options = Options(
        source=source,
        epoch=time.time_ns() // 1000 if epoch is None else epoch,
        proc=proc,
        free_pages=free_pages,
        mem_pages=mem,
        cpus=cpus or 0,
        min_free_kbytes=min_free_kbytes or 0,
        clock=clock,
        strict=strict,
    )
    with _progress(trace_path) as progress:
        writer = TraceWriter(output, readable=form == "readable")
        importer = Importer(trace_path, options, writer.write, progress)
        try:
            with writer:
                importer.run()
        except PfmemdError:
            if importer.report.events:
                _tell(importer.report, report)
            raise
    _tell(importer.report, report)


def _tell(report: Report, path: Path | None) -> None:
    click.echo(report.text(), err=True)
    if path is not None:
        try:
            path.write_text(report.to_json() + "\n", "utf-8")
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
