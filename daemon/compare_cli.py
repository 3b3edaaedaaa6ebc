"""The ``compare`` command."""

from __future__ import annotations

import json
from typing import Final

import click
from rich.console import Console

from allocator import COMPILED
from allocator.revision import VariantError, parse_variant, variant_names
from daemon.compare import Comparer, Detail
from daemon.compare_table import (
    comparison_csv,
    comparison_json,
    leak_legend,
    print_comparison,
)
from daemon.trace_pass import TracePasses
from daemon.version import program_version

VARIANTS: Final = ("slab-unpatched", "slab-seed", "slab-v3.6")


@click.command("compare")
@click.argument("trace_path", metavar="TRACE|-")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=VARIANTS,
    show_default=True,
    metavar="ALLOCATOR-REVISION",
    help="A model to run; give it once for each. The others are held against the first. There are"
    f" {', '.join(variant_names())}.",
)
@click.option(
    "--events",
    "shown",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also the first N events at which the models part, and the rules that parted them.",
)
@click.option(
    "--differ-in",
    type=click.Choice([detail.value for detail in Detail]),
    default=Detail.RESULT.value,
    show_default=True,
    help="With --events, in what models must differ: what was given, denied, stalled or leaked;"
    " also whether the reserve was drawn and flips; also the way it went.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the numbers as CSV, one a line.")
def compare_command(
    trace_path: str,
    variants: tuple[str, ...],
    shown: int,
    differ_in: str,
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    r"""Run a trace through several models and put them side by side.

    The table has what was denied and stalled by reason, the fewest free pages of each zone, what
    of the reserve was drawn and is held, leaks by the way they happened, flips of
    pfmemalloc_active and slab pages; percents are against the first model. Each event is one line
    of the trace: event N is the N-th of its source, and `pfmemd explain TRACE --event N` tells
    all about it.

    \b
    Examples:
      pfmemd compare nbd.pfmt
      pfmemd compare nbd.pfmt --variant slab-seed --variant slub-seed --events 5
      pfmemd compare nbd.pfmt --variant slub-seed --variant slub-v3.6 --events 5 --differ-in reserve
      zstdcat nbd.pfmt.zst | pfmemd compare - --json | jq '.sources[].change_percent'
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if as_csv and shown:
        raise click.UsageError("--csv has no place for events; use --json")
    try:
        chosen = [parse_variant(name) for name in dict.fromkeys(variants)]
    except VariantError as error:
        raise click.BadParameter(str(error), param_hint="--variant") from None
    if len(chosen) == 1:
        raise click.BadParameter("one model compares with nothing", param_hint="--variant")
    with TracePasses(trace_path, several=shown > 0) as trace:
        comparison = Comparer(trace, chosen, shown, Detail(differ_in)).run()
    if as_json:
        head = {"version": program_version(), "compiled": COMPILED, "trace": trace_path}
        click.echo(json.dumps({**head, **comparison_json(comparison)}, indent=2))
    elif as_csv:
        click.echo(comparison_csv(comparison), nl=False)
    else:
        console = Console()
        print_comparison(comparison, console)
        for line in leak_legend(comparison):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
