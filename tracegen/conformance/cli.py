"""``pfmemd conformance``: hold the model against what the kernel answered."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tracegen.conformance import report
from tracegen.conformance.runner import Status, run_file
from tracegen.errors import EXIT_BAD, EXIT_GOOD, EXIT_USAGE, StoppedError

SUFFIXES: Final = (".jsonl", ".jsonl.gz")
"""What a vector file is called, where a folder is given."""


@click.command("conformance")
@click.argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option("--json", "json_wanted", is_flag=True, help="Results as one JSON document.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Files that are run at the same time, each in a process of its own.",
)
@click.option(
    "--max-diff",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Differences between two states that are shown for a file.",
)
def conformance(paths: tuple[Path, ...], json_wanted: bool, jobs: int, max_diff: int) -> None:
    r"""Run vector files: op streams with the answers of the kernel's own C code.

    PATH is a file (.jsonl, .jsonl.gz) or a folder, which is searched with all
    folders below it. Every answer and every digest in a file is compared with
    the model's; the first mismatch ends that file and is shown with both
    answers, the ops before it, and the zones and caches that it touches.

    The exit code is 0 when every file passed, 1 when one did not, 2 when one
    could not be read.

    \b
    Examples:
      pfmemd conformance tests/conformance/vectors
      pfmemd conformance --jobs 2 vectors/l2 vectors/l1/life-2node-seed.jsonl.gz
      pfmemd conformance --json vectors | jq '.files[] | select(.status != "passed")'
    """
    files = _files(paths)
    told: list[_Told] = []
    # On a terminal the lines about the files are the progress.
    silent = json_wanted or not sys.stdout.isatty()
    with _progress(len(files), shown=silent and sys.stderr.isatty()) as advance:
        for one in _run(files, jobs, _Teller(json_wanted, max_diff)):
            told.append(one)
            if not json_wanted:
                click.echo(one.text)
            advance()
    statuses = [one.status for one in told]
    passed = statuses.count(Status.PASSED)
    failed = len(statuses) - passed
    if json_wanted:
        entries = [one.entry for one in told]
        click.echo(json.dumps({"passed": passed, "failed": failed, "files": entries}, indent=2))
    else:
        click.echo(report.summary(passed, failed))
    if Status.UNREADABLE in statuses:
        sys.exit(EXIT_USAGE)
    sys.exit(EXIT_BAD if Status.FAILED in statuses else EXIT_GOOD)


def _files(paths: tuple[Path, ...]) -> list[Path]:
    """Every vector file that the paths name, in order, each once."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            below = sorted(
                file for file in path.rglob("*") if file.name.endswith(SUFFIXES) and file.is_file()
            )
            if not below:
                names = " or ".join(f"*{suffix}" for suffix in SUFFIXES)
                raise click.UsageError(f"{path}: no vector files ({names}) in this folder")
            found.update(dict.fromkeys(below))
        else:
            found[path] = None
    return list(found)


@dataclass(slots=True)
class _Told:
    """What is passed on about a file.

    The result itself stays in its process: a compiled model's configuration cannot be pickled.
    """

    status: Status
    text: str = ""
    entry: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class _Teller:
    """Runs a file and tells what became of it, as text or for JSON."""

    json_wanted: bool
    max_diff: int

    def __call__(self, path: Path) -> _Told:
        result = run_file(path)
        if self.json_wanted:
            return _Told(result.status, entry=report.file_json(result))
        lines = [report.file_line(result), *report.mismatch_lines(result, self.max_diff)]
        return _Told(result.status, text="\n".join(lines))


def _run(files: list[Path], jobs: int, tell: _Teller) -> Iterator[_Told]:
    if jobs == 1 or len(files) == 1:
        yield from map(tell, files)
        return
    # spawn: a forked copy of a process with threads (a progress bar) may hang.
    with ProcessPoolExecutor(min(jobs, len(files)), mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(tell, files)
        except BrokenProcessPool as error:
            raise StoppedError("a process that ran vector files was killed") from error


@contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar on standard error while it runs; standard output stays as it is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        disable=not shown,
    ) as progress:
        task = progress.add_task("vector files", total=total)
        yield lambda: progress.advance(task)
