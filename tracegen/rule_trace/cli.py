"""``pfmemd rule``: go through rule traces."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import click

from allocator.revision import VariantError, parse_variant, variant_names
from tracegen.conformance.vector_file import VectorError, VectorFile
from tracegen.errors import EXIT_BAD, EXIT_GOOD
from tracegen.rule_trace import report
from tracegen.rule_trace.parser import read_rule_trace
from tracegen.rule_trace.recording import Comparison, compare
from tracegen.rule_trace.runner import Run, run_rule_trace
from tracegen.rule_trace.trace import RuleTrace, RuleTraceError

SUFFIX: Final = ".rule"
_VECTOR_SUFFIXES: Final = (".jsonl.gz", ".jsonl")


def _variants(
    _context: click.Context, _option: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return tuple(parse_variant(name).name for name in dict.fromkeys(names))
    except VariantError as error:
        raise click.BadParameter(str(error)) from None


@click.command("rule")
@click.argument(
    "paths",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    callback=_variants,
    metavar="V",
    help="Go through it as another kernel and see what differs; may be given again."
    f" There are {', '.join(variant_names())}.",
)
@click.option(
    "--why",
    is_flag=True,
    help="Tell under each operation which kernel functions decided it, and by which rule.",
)
@click.option("--brief", is_flag=True, help="One line for each file and variant.")
@click.option("--json", "json_wanted", is_flag=True, help="Everything as one JSON document.")
@click.option(
    "--vectors",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Hold the files against the kernel's recorded answers in this folder as well.",
)
def rule(
    paths: tuple[Path, ...],
    variants: tuple[str, ...],
    *,
    why: bool,
    brief: bool,
    json_wanted: bool,
    vectors: Path | None,
) -> None:
    r"""Go through rule traces: what the patch does, shown in a few operations.

    FILE is a .rule file, or a folder with such files. Each operation is shown with
    the model's answer beside what the trace expects, each note where it belongs, and what
    other kernels answer. A trace is shown for the variant that it is about; the other variants
    of which it says something are run as well and get a line each.

    The exit code is 0 when every answer is as stated, 1 when one is not, 2 when a file could
    not be read.

    \b
    Examples:
      pfmemd rule tests/rules/A4-swap.rule
      pfmemd rule tests/rules/A4-swap.rule --variant slub-seed
      pfmemd rule tests/rules/leak-node-path.rule --why
      pfmemd rule tests/rules --brief --vectors tests/conformance/vectors
      pfmemd rule tests/rules --json | jq -r '.runs[] | select(.leaks[]) | .file'
    """
    entries: list[dict[str, object]] = []
    passed = failed = 0
    for trace in [read_rule_trace(path) for path in _files(paths)]:
        for variant in variants or trace.variants:
            run = run_rule_trace(trace, variant, tell=why)
            recorded = _recorded(trace, variant, vectors)
            wrong = bool(run.differing) or (recorded is not None and bool(recorded.wrong))
            passed, failed = passed + (not wrong), failed + wrong
            if json_wanted:
                entries.append(report.run_json(run, recorded))
            else:
                shown = not brief and (bool(variants) or variant == trace.variants[0])
                _show(run, recorded, shown=shown)
    if json_wanted:
        click.echo(json.dumps({"passed": passed, "failed": failed, "runs": entries}, indent=2))
    else:
        click.echo(report.summary(passed, failed))
    sys.exit(EXIT_BAD if failed else EXIT_GOOD)


def _show(run: Run, recorded: Comparison | None, *, shown: bool) -> None:
    if shown:
        for line in report.full_lines(run):
            click.echo(line)
        click.echo()
    click.echo(report.verdict_line(run))
    recording = run.trace.recording_of(run.variant)
    if recorded is not None and recording is not None:
        for line in report.recording_lines(run, recording, recorded):
            click.echo(line)


def _files(paths: tuple[Path, ...]) -> list[Path]:
    """Every rule trace that the paths name, in order, each once."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            below = sorted(file for file in path.rglob(f"*{SUFFIX}") if file.is_file())
            if not below:
                raise click.UsageError(f"{path}: no rule traces (*{SUFFIX}) in this folder")
            found.update(dict.fromkeys(below))
        else:
            found[path] = None
    return list(found)


def _recorded(trace: RuleTrace, variant: str, vectors: Path | None) -> Comparison | None:
    """Hold a trace against its recording, if there is one and a folder to look in."""
    recording = trace.recording_of(variant)
    if vectors is None or recording is None:
        return None
    for suffix in _VECTOR_SUFFIXES:
        path = vectors / f"{recording}{suffix}"
        if path.is_file():
            try:
                return compare(trace, variant, VectorFile(path))
            except VectorError as error:
                raise RuleTraceError(str(error)) from error
    raise RuleTraceError(f"{trace.path}: there is no {recording}{_VECTOR_SUFFIXES[0]} in {vectors}")
