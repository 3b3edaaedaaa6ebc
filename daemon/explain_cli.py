"""The ``explain`` command."""

from __future__ import annotations

import json
from typing import Final

import click

from allocator import COMPILED
from allocator.failure_line import KERNELS
from allocator.revision import VariantError, parse_variant, variant_names
from daemon.explain import Choice, Where, explain, find, overview
from daemon.explain_line import explain_lines
from daemon.explain_text import (
    explanation_json,
    explanation_lines,
    overview_json,
    overview_lines,
)
from daemon.trace_pass import TracePasses
from daemon.version import program_version

DEFAULT_VARIANT: Final = "slab-seed"
_NUMBER: Final = click.IntRange(min=1)


@click.command("explain")
@click.argument("trace_path", required=False, metavar="[TRACE|-]")
@click.option("--event", "number", type=_NUMBER, metavar="N", help="The N-th event of the source.")
@click.option("--denied", type=_NUMBER, metavar="N", help="The N-th event that was denied.")
@click.option("--stalled", type=_NUMBER, metavar="N", help="The N-th that stalled.")
@click.option("--leak", type=_NUMBER, metavar="N", help="The N-th that leaked a reserve object.")
@click.option("--flip", type=_NUMBER, metavar="N", help="The N-th that set or cleared the global.")
@click.option("--drawn", type=_NUMBER, metavar="N", help="The N-th that drew the reserve.")
@click.option(
    "--by",
    metavar="NAME",
    help="Count only those by this reason, way or direction, as the overview names them.",
)
@click.option("--cache", metavar="NAME", help="Count only those of this cache.")
@click.option(
    "--variant",
    default=DEFAULT_VARIANT,
    show_default=True,
    metavar="ALLOCATOR-REVISION",
    help=f"The model to ask. There are {', '.join(variant_names())}.",
)
@click.option("--source", metavar="NAME", help="The source of the trace.  [default: the first]")
@click.option(
    "--epoch", type=int, metavar="N", help="The epoch of the source.  [default: the first]"
)
@click.option(
    "--before",
    "leading",
    type=click.IntRange(min=0, max=1000),
    default=3,
    show_default=True,
    metavar="K",
    help="Show the K events before it.",
)
@click.option(
    "--line",
    metavar="TEXT|-",
    help="Instead of a trace: decode a kernel's failure line, or all that come on standard input.",
)
@click.option(
    "--kernel",
    type=click.Choice(KERNELS),
    help="With --line: whose numbers and rules.  [default: as the line looks]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def explain_command(
    trace_path: str | None,
    number: int | None,
    variant: str,
    source: str | None,
    epoch: int | None,
    leading: int,
    line: str | None,
    kernel: str | None,
    by: str | None,
    cache: str | None,
    *,
    as_json: bool,
    **nth: int | None,
) -> int:
    r"""Tell why an event of a trace came to what it came to, or decode a kernel's failure line.

    With TRACE alone: what there is to explain, by kind and reason, with numbers of events. With
    an event: what was asked for and by whom, the zones' numbers, the kernel functions in order
    with their arithmetic, the rules that decided, and for flagged slabs which event drew their
    pages and who was given objects of them since. A quiet allocation shows only its outcome: the
    fast paths decide nothing.

    \b
    Examples:
      pfmemd explain nbd.pfmt --variant slub-seed
      pfmemd explain nbd.pfmt --event 7286 --variant slub-seed
      pfmemd explain nbd.pfmt --leak 1 --by forced_refill
      pfmemd explain nbd.pfmt --denied 1 --cache skbuff_head_cache --json
      pfmemd explain --line "swapper: page allocation failure: order:0, mode:0x20"
      dmesg | pfmemd explain --line -

    The exit code is 2 when there is no such event, or no line can be decoded.
    """
    if line is not None:
        if trace_path is not None or number is not None or any(nth.values()):
            raise click.UsageError("--line is asked without a trace and its events")
        return explain_lines(line, kernel, as_json=as_json)
    if kernel is not None:
        raise click.UsageError("--kernel belongs to --line")
    if trace_path is None:
        raise click.UsageError("a TRACE or --line is wanted")
    try:
        where = Where(parse_variant(variant), source, epoch)
    except VariantError as error:
        raise click.BadParameter(str(error), param_hint="--variant") from None
    _explain_trace(trace_path, where, number, nth, by, cache, leading, as_json=as_json)
    return 0


def _explain_trace(
    trace_path: str,
    where: Where,
    number: int | None,
    nth: dict[str, int | None],
    by: str | None,
    cache: str | None,
    leading: int,
    *,
    as_json: bool,
) -> None:
    wanted = {kind: count for kind, count in nth.items() if count is not None}
    if len(wanted) + (number is not None) > 1:
        raise click.UsageError(
            "one event at a time: --event, --denied, --stalled, ... exclude each other"
        )
    if (by or cache) and not wanted:
        raise click.UsageError("--by and --cache choose among --denied, --stalled, --leak, ...")
    head = {"version": program_version(), "compiled": COMPILED, "trace": trace_path}
    with TracePasses(trace_path) as trace:
        if number is None and not wanted:
            tallies = overview(trace, where)
            if as_json:
                told = {**head, "variant": where.variant.name, "events": overview_json(tallies)}
                click.echo(json.dumps(told, indent=2))
            else:
                for text in overview_lines(trace.name, where.variant.name, tallies):
                    click.echo(text)
            return
        if number is None:
            ((kind, count),) = wanted.items()
            number = find(trace, where, Choice(kind, by, cache), count)
        explanation = explain(trace, where, number, leading)
    if as_json:
        click.echo(json.dumps({**head, **explanation_json(explanation)}, indent=2))
    else:
        for text in explanation_lines(explanation):
            click.echo(text)
