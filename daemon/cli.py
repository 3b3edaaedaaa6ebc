"""The ``pfmemd`` command: the daemon, offline runs, and everything tracegen offers."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import click
from rich.console import Console

from allocator import COMPILED
from allocator.revision import VariantError, parse_variant, variant_names
from daemon.compare_cli import compare_command
from daemon.demo import demo_command
from daemon.explain_cli import explain_command
from daemon.journal.cli import journal_group
from daemon.keys_cli import keys_group
from daemon.logs import configure_logs
from daemon.offline import print_results, results_of, run_trace
from daemon.record_cli import record_command
from daemon.service import Service, new_machine
from daemon.settings import Settings, load_settings
from daemon.settings_options import given_flags, settings_options
from daemon.soak.cli import soak_command
from daemon.stop_signal import StopSignal
from daemon.top.cli import top_command
from daemon.version import program_version
from daemon.view_cli import view_command
from daemon.watch import watch_command
from daemon.workers import worker_pool
from tracegen.capture.cli import capture_command
from tracegen.cli import send, trace
from tracegen.command_line import CommandGroup
from tracegen.conformance.cli import conformance
from tracegen.kernel_trace.cli import import_group
from tracegen.playback.cli import replay_command
from tracegen.rule_trace.cli import rule
from tracegen.truth.cli import truth_command
from tracegen.workload.cli import scenarios_command, simulate_command
from tracegen.workload.generate_cli import generate_command

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    del parameter
    if value and not ctx.resilient_parsing:
        model = "compiled" if COMPILED else "plain Python"
        click.echo(
            f"pfmemd {program_version()} (model: {model}; Python {platform.python_version()})"
        )
        ctx.exit()


@click.group("pfmemd", cls=CommandGroup, context_settings=_CONTEXT)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and whether the model is compiled, and exit.",
)
def main() -> None:
    r"""The Linux PFMEMALLOC emergency reserve, made visible.

    pfmemd runs streams of kernel allocation events through a model of the page
    allocator and of SLAB or SLUB, and shows how deep the reserve was drawn, who drew
    it, who was denied, and whether the machine would have hung.

    \b
    Watch a real machine's trace go through it:
      pfmemd demo
    Run the daemon, send it a trace, look at it:
      pfmemd serve &
      pfmemd send trace.pfmt --connect tcp://127.0.0.1:5571
      curl http://127.0.0.1:9571/metrics
    Ask one question of one trace:
      pfmemd run trace.pfmt --variant slab-seed --variant slab-unpatched
      pfmemd compare trace.pfmt --variant slab-seed --variant slub-seed --events 5
      pfmemd explain trace.pfmt --denied 1
    Ask what a kernel's log says:
      pfmemd explain --line "swapper: page allocation failure: order:0, mode:0x20"

    Exit codes: 0 good; 1 the thing asked about is bad; 2 wrong use or unreadable input; 3 could
    not go on (lost connection, full disk).
    """


@main.command()
@click.argument("trace_path", required=False, metavar="[TRACE|-]")
@click.option("--stdin", is_flag=True, help="Take the trace from standard input, like '-'.")
@click.option(
    "--exit-when-done",
    is_flag=True,
    help="With a trace: stop at its end instead of going on serving what came of it.",
)
@settings_options
@click.pass_context
def serve(
    ctx: click.Context,
    /,
    trace_path: str | None,
    config: Path | None,
    *,
    stdin: bool,
    exit_when_done: bool,
    **_: object,
) -> None:
    r"""Run the daemon: take batches, apply them to the models, serve the numbers.

    Batches come over ZeroMQ from `pfmemd send` or any other sender of the protocol; with
    TRACE they come from that file, with '-' from a pipe, and no socket is opened. Each source
    has machines of its own, one for each --variant. With --data-dir what is acknowledged is kept
    over the end of the daemon, however it comes; without it everything is in memory.

    \b
    HTTP serves
      /metrics   for Prometheus (text or OpenMetrics)
      /state     JSON: every source and model; ?digest=0 leaves out the digests,
                 ?caches=N lists N of the busiest caches
      /healthz   200 while the daemon is alive
      /readyz    200 while it takes batches
      /proc/SOURCE/VARIANT/slabinfo, zoneinfo, buddyinfo, pagetypeinfo   as the kernel has them
      /sys/SOURCE/VARIANT/kernel/slab[/CACHE]   as grep -r prints it (SLUB)

    \b
    Examples:
      pfmemd serve
      pfmemd serve --variant slab-seed --variant slub-seed --variant slab-unpatched
      pfmemd serve --data-dir /var/lib/pfmemd
      pfmemd import ftrace /sys/kernel/tracing/trace_pipe -o - | pfmemd serve -
      pfmemd serve night.pfmt.zst --exit-when-done --log-format json

    SIGTERM and Ctrl-C stop it cleanly, with exit code 0. An address that is taken or a trace
    that is bad ends it with 2, a model that failed with 3. Settings are taken from flags, then
    the environment, then a TOML file, then defaults.
    """
    if stdin and trace_path not in {None, "-"}:
        raise click.UsageError("--stdin and a TRACE exclude each other")
    source = "-" if stdin else trace_path
    if exit_when_done and source is None:
        raise click.UsageError("--exit-when-done needs a TRACE, '-' or --stdin")
    settings = load_settings(given_flags(ctx.params), config)
    configure_logs(settings.log_level, settings.log_format)
    with StopSignal() as stop, worker_pool(settings.workers) as workers:
        service = Service(settings, program_version(), workers=workers)
        service.run(stop, source, exit_when_done=exit_when_done)


@main.command()
@click.argument("trace_path", metavar="TRACE|-")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=Settings.model_fields["variants"].default,
    show_default=True,
    metavar="ALLOCATOR-REVISION",
    help=f"A model to run; give it once for each. There are {', '.join(variant_names())}.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    default=0,
    show_default=True,
    metavar="N",
    help="Processes that hold the models, so that several variants and sources use several cores;"
    " 0 holds them in this one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def run(trace_path: str, variants: tuple[str, ...], workers: int, *, as_json: bool) -> None:
    r"""Run a trace through the models, offline, and say what came of it.

    For each source and variant: allocations that were ok, denied and stalled, by reason and by
    caller; the fewest free pages of each zone against its min watermark; flips of
    pfmemalloc_active; pages, slabs and objects of the reserve still held; leaks; and the digest
    of the model's whole state (equal state, equal digest).

    \b
    Examples:
      pfmemd run trace.pfmt
      pfmemd run trace.pfmt.zst --variant slab-seed --variant slab-v3.6 --workers 2
      zstdcat trace.pfmt.zst | pfmemd run - --json | jq '.sources[].variants[].denied'
    """
    try:
        chosen = [parse_variant(name) for name in dict.fromkeys(variants)]
    except VariantError as error:
        raise click.BadParameter(str(error), param_hint="--variant") from None
    with worker_pool(workers) as pool:
        factory = new_machine if pool is None else pool.new_machine
        results = results_of(run_trace(trace_path, chosen, factory))
    if as_json:
        version = program_version()
        answer = {"version": version, "compiled": COMPILED, "trace": trace_path, "sources": results}
        click.echo(json.dumps(answer, indent=2))
    else:
        print_results(results, Console())


for _command in (
    *(import_group, send, trace, conformance, watch_command, demo_command),
    *(compare_command, explain_command, view_command, rule, journal_group, keys_group),
    *(soak_command, top_command, truth_command, capture_command, record_command),
    replay_command,
    *(simulate_command, scenarios_command, generate_command),
):
    main.add_command(_command)
