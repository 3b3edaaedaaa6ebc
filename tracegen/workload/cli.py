"""``pfmemd simulate`` and ``pfmemd scenarios``: machines that swap over the network, or hang."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from allocator import COMPILED
from allocator.revision import VariantError, parse_variant, variant_names
from tracegen.command_line import EXIT_SIGNAL
from tracegen.errors import EXIT_BAD, EXIT_GOOD
from tracegen.interruption import Interruption, interruptible
from tracegen.workload.engine import SECOND
from tracegen.workload.keys_doc import keys_text
from tracegen.workload.report import render
from tracegen.workload.scenario import Scenario
from tracegen.workload.scenario_file import read_scenario, scenario_names, scenario_text
from tracegen.workload.series import SWITCHES, default_series, parse_series
from tracegen.workload.simulation import Plan, Simulation
from tracegen.workload.verdict import Verdict, judge

_DEFAULT_VARIANTS: Final = ("slub-unpatched", "slub-v3.6")


class KernelChoice(click.ParamType[tuple[str, str]]):
    """``ALLOCATOR-REVISION[:SERIES]``: a variant, and what of the series goes with it."""

    name = "kernel"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The variant's name and the series' text; both checked."""
        variant, _, series = str(value).partition(":")
        try:
            parse_variant(variant)
        except VariantError as error:
            self.fail(str(error), param, ctx)
        if series:
            parse_series(series)
        return variant, series


class Setting(click.ParamType[tuple[str, object]]):
    """``KEY=VALUE``: a dotted key of a scenario, and its value as TOML has it."""

    name = "setting"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, object]:
        """The key and the value."""
        key, equals, text = str(value).partition("=")
        if not equals or not key or not all(key.split(".")):
            self.fail(f"{value!r}, expected KEY=VALUE such as server.loss=0.1", param, ctx)
        try:
            return key, tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return key, text


scenario_argument = click.argument("scenario", metavar="SCENARIO|FILE")
settings_option = click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the scenario, such as server.loss=0.1 or load.0.passes=2; repeatable.",
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="The same seed gives the same run.",
)


def plan_for(scenario: Scenario, kernel: tuple[str, str], seed: int) -> Plan:
    """The plan of a run of a scenario on a kernel."""
    variant = parse_variant(kernel[0])
    series = parse_series(kernel[1]) if kernel[1] else default_series(variant.revision)
    return Plan(scenario, variant, series, seed)


@click.command("simulate")
@scenario_argument
@click.option(
    "--variant",
    "kernels",
    type=KernelChoice(),
    multiple=True,
    metavar="ALLOCATOR-REVISION[:SERIES]",
    help=(
        f"A kernel; give it once for each. There are {', '.join(variant_names())}. SERIES is whole,"
        " none, or switches joined with +; by default whole for a patched kernel, none for an"
        f" unpatched one.  [default: {', '.join(_DEFAULT_VARIANTS)}]"
    ),
)
@settings_option
@seed_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def simulate_command(
    scenario: str,
    kernels: tuple[tuple[str, str], ...],
    settings: tuple[tuple[str, object], ...],
    seed: int,
    *,
    as_json: bool,
) -> int:
    r"""Simulate a machine that swaps over the network, and say whether it survives.

    Applications touch more memory than there is; pages go to the server and come back; what the
    model denies has consequences: a packet is dropped and sent again, a page that cannot be
    written is not freed, and a machine in which nothing can go on hangs. For each kernel: survived
    or hung, when, and who waits for what. SCENARIO is a built-in one (pfmemd scenarios) or a TOML
    file (docs/WORKLOADS.md). Time is simulated: it says what comes before what, not how long a
    real machine takes.

    \b
    Examples:
      pfmemd simulate gorman
      pfmemd simulate gorman --variant slub-unpatched --variant slub-seed:none --variant slub-seed
      pfmemd simulate gorman --set machine.min_free_kbytes=23168
      pfmemd simulate gorman --set machine.scale=1          (all 2 GiB: some minutes)
      pfmemd simulate mine.toml --variant slub-v6.1 --seed 7 --json

    The exit code is 0 when all survive, 1 when one hangs, 2 for a scenario that cannot be.
    """
    chosen = read_scenario(scenario, dict(settings))
    plans = [
        plan_for(chosen, kernel, seed)
        for kernel in kernels or tuple((name, "") for name in _DEFAULT_VARIANTS)
    ]
    with interruptible() as interruption:
        verdicts = list(_verdicts(plans, interruption))
    if interruption.requested():
        return EXIT_SIGNAL + interruption.signal
    if as_json:
        runs = [verdict.to_json() for verdict in verdicts]
        answer = {"scenario": scenario, "title": chosen.title, "compiled": COMPILED, "runs": runs}
        click.echo(json.dumps(answer, indent=2))
    else:
        Console().print(render(chosen, verdicts))
    return EXIT_GOOD if all(verdict.survived for verdict in verdicts) else EXIT_BAD


def _verdicts(plans: Sequence[Plan], interruption: Interruption) -> Iterator[Verdict]:
    for plan in plans:
        simulation = Simulation(plan)
        with _progress(plan) as bar:
            while simulation.go_on():
                if interruption.requested():
                    return
                bar.show(simulation)
        simulation.close()
        yield judge(simulation)


class _Bar:
    """A line on the terminal; nothing when it is not a terminal."""

    def __init__(self, progress: Progress, plan: Plan) -> None:
        self._progress = progress
        total = plan.scenario.duration_seconds
        self._task = progress.add_task(plan.variant.name, total=total, told="")

    def show(self, simulation: Simulation) -> None:
        """Say how far the simulation is."""
        self._progress.update(
            self._task,
            completed=simulation.engine.now / SECOND,
            told=f"{simulation.engine.now / SECOND:.1f} s, {simulation.memory.events:,} events",
        )


@contextmanager
def _progress(plan: Plan) -> Iterator[_Bar]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield _Bar(progress, plan)


@click.command("scenarios")
@click.argument("name", required=False)
@click.option("--keys", is_flag=True, help="Every key that a scenario file may have.")
@click.option("--series", is_flag=True, help="The switches of the series, and what each does.")
def scenarios_command(name: str | None, *, keys: bool, series: bool) -> None:
    r"""List the built-in scenarios, or print one to start your own from.

    \b
    Examples:
      pfmemd scenarios
      pfmemd scenarios gorman > mine.toml
      pfmemd scenarios --keys
      pfmemd scenarios --series
    """
    if name is not None:
        click.echo(scenario_text(name), nl=False)
    if keys:
        click.echo(keys_text(), nl=False)
    if series:
        for switch in SWITCHES:
            click.echo(f"{switch.name}\n  {switch.text}\n  {switch.source}")
    if name is None and not keys and not series:
        width = max(map(len, scenario_names()))
        for known in scenario_names():
            click.echo(f"{known:{width}}  {read_scenario(known).title}")
