"""The ``view`` command: a machine at any event, in the kernel's own formats."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from allocator.revision import VariantError, parse_variant, variant_names
from allocator.views import PROC_FILES
from daemon.trace_pass import TracePasses
from daemon.view import machine_at, slab_view, write_views

DEFAULT_VARIANT: Final = "slab-seed"
SLAB: Final = "slab"
"""The view of ``/sys/kernel/slab``."""


@click.command("view")
@click.argument("trace_path", metavar="TRACE|-")
@click.argument("name", required=False, type=click.Choice([*PROC_FILES, SLAB]), metavar="[VIEW]")
@click.argument("cache", required=False, metavar="[CACHE]")
@click.option(
    "--at",
    "number",
    type=click.IntRange(min=0),
    metavar="N",
    help="After the N-th event; 0 is just booted.  [default: at the end]",
)
@click.option(
    "--variant",
    default=DEFAULT_VARIANT,
    show_default=True,
    metavar="ALLOCATOR-REVISION",
    help=f"The model to look at. There are {', '.join(variant_names())}.",
)
@click.option("--source", metavar="NAME", help="The source of the trace.  [default: the first]")
@click.option("--epoch", type=int, metavar="N", help="Its epoch.  [default: the first]")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write every view below DIR, as proc/slabinfo, sys/kernel/slab/... are in a kernel.",
)
def view_command(
    trace_path: str,
    name: str | None,
    cache: str | None,
    number: int | None,
    variant: str,
    source: str | None,
    epoch: int | None,
    folder: Path | None,
) -> None:
    r"""Show a machine in the kernel's own formats, as it is after any event of a trace.

    \b
    VIEW is
      slabinfo, zoneinfo, buddyinfo, pagetypeinfo   the file of that name in /proc
      slab [CACHE]     /sys/kernel/slab, as grep -r prints it (SLUB only)

    Every column is where the model's kernel has it, so whatever reads these files reads these,
    too. What the model does not count (LRU lists, dirty pages, NUMA hits) is 0. A running daemon
    serves the same at /proc/SOURCE/VARIANT/ and /sys/SOURCE/VARIANT/kernel/slab.

    \b
    Examples:
      pfmemd view nbd.pfmt slabinfo --at 7286 --variant slub-seed
      pfmemd view nbd.pfmt slab skbuff_head_cache --variant slub-v3.6
      pfmemd view nbd.pfmt zoneinfo --at 0
      pfmemd view nbd.pfmt -o /tmp/nbd && \
        prometheus-node-exporter --path.procfs=/tmp/nbd/proc --collector.disable-defaults \
        --collector.zoneinfo --collector.buddyinfo --collector.slabinfo
    """
    if (name is None) == (folder is None):
        raise click.UsageError("a VIEW or --output is wanted, and not both")
    if cache is not None and name != SLAB:
        raise click.UsageError("a CACHE belongs to the view slab")
    try:
        chosen = parse_variant(variant)
    except VariantError as error:
        raise click.BadParameter(str(error), param_hint="--variant") from None
    with TracePasses(trace_path, several=False) as trace:
        machine = machine_at(trace, chosen, number, source, epoch)
    if folder is not None:
        write_views(machine, folder)
    elif name == SLAB:
        click.echo(slab_view(machine, cache), nl=False)
    else:
        click.echo(PROC_FILES[str(name)](machine), nl=False)
