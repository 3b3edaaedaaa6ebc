"""``pfmemd truth``: a model held against what was recorded beside a trace."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from allocator.revision import VariantError, parse_variant, variant_names
from tracegen.batch import Batch
from tracegen.errors import NOT_MSGPACK, BatchError, StoppedError
from tracegen.kernel_trace.balance import Balance
from tracegen.kernel_trace.importer import Importer, Options
from tracegen.trace_file import STANDARD_STREAM, TraceReader, TraceWriter
from tracegen.truth.comparison import Comparison
from tracegen.truth.ground_truth import GroundTruth, read_ground_truth
from tracegen.truth.picture import draw
from tracegen.truth.report import to_html, to_markdown
from tracegen.truth.run import compare_with_truth
from tracegen.truth.text import render, to_csv, to_json

_REPORTS: Final = {".html", ".md", ".svg"}


@click.command("truth")
@click.argument("path", metavar="TRACE|TEXT")
@click.option(
    "--ground-truth",
    "truth_path",
    metavar="FILE",
    help="What was recorded beside the trace.  [default: it stands in TEXT itself]",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=("slub-v6.1",),
    show_default=True,
    metavar="ALLOCATOR-REVISION",
    help=f"A model; give it once for each. There are {', '.join(variant_names())}.",
)
@click.option(
    "--proc",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="For TEXT: the machine, as for pfmemd import.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Every reading with the models' free pages, for a plot.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A report to keep, by its ending: .html, .md (its picture beside it), .svg.",
)
def truth_command(
    path: str,
    truth_path: str | None,
    variants: tuple[str, ...],
    proc: Path | None,
    *,
    as_json: bool,
    csv_path: Path | None,
    output: Path | None,
) -> None:
    """Hold models against the machine that a trace was recorded on.

    The ground truth has the machine's free pages every so often; docs/TRUTH.md shows its
    lines. At each the models' free pages are compared: how far apart, below min together
    or not, drawn how deep. TRACE is a trace of ours; TEXT is what the kernel's tracer
    printed, which is imported first, from the ground truth's own beginning, and also says why
    they part: slabs, per-cpu lists, what the model denied, what was not seen.

    \b
    pfmemd truth trace.txt.xz --proc before/ --ground-truth groundtruth.txt.xz
    pfmemd truth nbd.pfmt --ground-truth groundtruth.txt.xz --variant slub-v6.1 --csv free.csv
    pfmemd truth trace.txt.xz --proc before/ --ground-truth groundtruth.txt.xz -o truth.html
    """  # noqa: D301  # click wants the character that \b stands for
    try:
        chosen = [parse_variant(name) for name in dict.fromkeys(variants)]
    except VariantError as error:
        raise click.BadParameter(str(error), param_hint="--variant") from None
    if output is not None and output.suffix not in _REPORTS:
        raise click.BadParameter(
            f"{output.name} ends in {output.suffix or 'nothing'}, expected .html, .md or .svg",
            param_hint="--output",
        )
    of_ours = _is_trace(path)
    if of_ours and truth_path is None:
        raise click.UsageError("--ground-truth is needed: a trace of ours has none in it")
    if of_ours and proc is not None:
        raise click.UsageError("--proc is for what a tracer printed; this is a trace of ours")
    truth = read_ground_truth(truth_path or path)
    with _progress(path) as show, _batches(path, truth, proc, of_ours=of_ours) as (trace, balance):
        comparisons = compare_with_truth(trace, truth, chosen, balance, show)
    with_causes = balance is not None
    if csv_path is not None:
        _write(csv_path, to_csv(comparisons))
    if output is not None:
        _write_report(output, comparisons)
    if as_json:
        found = [to_json(comparison, with_causes=with_causes) for comparison in comparisons]
        click.echo(json.dumps({"trace": path, "comparisons": found}, indent=2))
    else:
        click.echo(render(comparisons, truth, with_causes=with_causes))


def _write_report(output: Path, comparisons: Sequence[Comparison]) -> None:
    if output.suffix == ".html":
        _write(output, to_html(comparisons))
        return
    picture = output.with_suffix(".svg")
    _write(picture, draw(comparisons))
    if output != picture:
        _write(output, to_markdown(comparisons, picture.name))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise StoppedError(f"cannot write {path}: {error.strerror}") from error


def _is_trace(path: str) -> bool:
    """Whether the file is a trace of ours, by its content."""
    if path == STANDARD_STREAM:
        raise click.UsageError("standard input cannot be read twice: give a file")
    with TraceReader(path) as reader:
        try:
            next(reader.frames())
        except BatchError as error:
            return error.reason != NOT_MSGPACK
    return True


@contextmanager
def _batches(
    path: str, truth: GroundTruth, proc: Path | None, *, of_ours: bool
) -> Iterator[tuple[Iterator[Batch], Balance | None]]:
    """The batches of a trace, or of what a text is imported to."""
    if of_ours:
        with TraceReader(path) as reader:
            yield (entry.batch for entry in reader), None
        return
    with tempfile.TemporaryDirectory() as folder:
        imported = str(Path(folder) / "trace")
        options = Options("truth", 0, proc=proc, free_pages=truth.free_at, whole=True)
        with TraceWriter(imported) as writer:
            importer = Importer(path, options, writer.write)
            importer.balance = Balance()
            importer.run()
        with TraceReader(imported) as reader:
            yield (entry.batch for entry in reader), importer.balance


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int], None]]:
    """A line on the terminal; nothing when it is not one."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,} events"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda events: bar.advance(task, events)
