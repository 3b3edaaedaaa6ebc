"""The ``soak`` command."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from allocator.revision import VariantError, parse_variant, variant_names
from daemon.demo import Children, last_line, wait_until_ready
from daemon.live_state import NoDaemonError
from daemon.settings import Settings, split_address
from daemon.soak import conditions as c
from daemon.soak.junit import junit_xml
from daemon.soak.moments import MOST_EVENTS
from daemon.soak.play import Limits, Target
from daemon.soak.report import html_report
from daemon.soak.result import SoakResult, read_result
from daemon.soak.run import Order, Outcome, soak
from daemon.soak.scenarios import Kernel, Playable, is_scenario, simulated
from daemon.soak.span import span_text
from daemon.soak.view import View
from tracegen.command_line import EXIT_SIGNAL
from tracegen.errors import EXIT_BAD, EXIT_GOOD, StoppedError
from tracegen.interruption import interruptible
from tracegen.keys import SenderKeys, sender_keys
from tracegen.parameters import Duration, Speed
from tracegen.workload.cli import KernelChoice, seed_option, settings_option
from tracegen.workload.generate import Generated

RESULT, REPORT, JUNIT = "result.json", "report.html", "junit.xml"
NOTHING_HAPPENED: Final = (
    "Nothing happened that is worth telling: no denial, no leak, no zone below min."
)
NOT_EXPLAINED: Final = "The traces were not run once more to find them; --explain does that."


@click.command("soak")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE|SCENARIO...")
@click.option("--for", "seconds", type=Duration(), help="Play again and again for so long: 8h.")
@click.option("--events", type=click.IntRange(min=1), help="Play until so many events were sent.")
@click.option("--plays", type=click.IntRange(min=1), help="Play so many times.")
@click.option(
    "--speed", type=Speed(), default="max", show_default=True, help="1x is as fast as it happened."
)
@click.option(
    "--fail-on",
    default=c.DEFAULT,
    show_default=True,
    metavar="LIST",
    help=f"Thresholds, separated by commas: {c.EXPLANATION}.",
)
@click.option("--fail-fast", is_flag=True, help="Stop as soon as a threshold is crossed.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=Settings.model_fields["variants"].default,
    show_default=True,
    metavar="ALLOCATOR-REVISION",
    help=f"A model of the daemon that is started; there are {', '.join(variant_names())}.",
)
@click.option(
    "--connect", metavar="URL", help="Soak this daemon instead of one that is started for it."
)
@click.option(
    "--http",
    default="127.0.0.1:9571",
    show_default=True,
    metavar="HOST:PORT",
    help="With --connect: where that daemon says how it stands.",
)
@click.option("--key", type=click.Path(path_type=Path), help="With --connect: the sender's key.")
@click.option(
    "--daemon-key", type=click.Path(path_type=Path), help="With --connect: the daemon's public key."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("soak-report"),
    show_default=True,
    help=f"Folder for {REPORT}, {JUNIT} and {RESULT}.",
)
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The {RESULT} to compare with.  [default: the one in --out, if there is one]",
)
@click.option(
    "--explain/--no-explain",
    default=None,
    help=(
        "Run the traces once more, offline, to find and tell the worst events.  [default: with"
        f" up to {MOST_EVENTS:,} events a play]"
    ),
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.05, max=3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks at the daemon.",
)
@click.option(
    "--kernel",
    type=KernelChoice(),
    default="slub-v3.6",
    show_default=True,
    metavar="ALLOCATOR-REVISION[:SERIES]",
    help="What the machine of a scenario runs while its trace is made.",
)
@settings_option
@seed_option
@click.option("--json", "as_json", is_flag=True, help=f"Print {RESULT} on standard output, too.")
def soak_command(
    traces: tuple[str, ...],
    seconds: float | None,
    events: int | None,
    plays: int | None,
    speed: float | None,
    fail_on: str,
    fail_fast: bool,
    variants: tuple[str, ...],
    connect: str | None,
    http: str,
    key: Path | None,
    daemon_key: Path | None,
    out: Path,
    baseline: Path | None,
    explain: bool | None,
    interval: float,
    kernel: tuple[str, str],
    settings: tuple[tuple[str, object], ...],
    seed: int,
    as_json: bool,
) -> int:
    r"""Play traces to a daemon for a time and say whether the reserve held.

    The traces are played one after another, again and again, each time with fresh
    machines, until the first limit is reached; without one, once each. Meanwhile the daemon is
    looked at each second. The verdict is the exit code: 0 if every threshold was kept, 1 if one
    was crossed. The folder --out then has a report for people, JUnit XML for a CI system, and
    the numbers, with which the next run is compared.

    A SCENARIO (pfmemd scenarios, or a .toml file) is simulated once, for --kernel; its trace, kept
    in --out, is played like any other. If the simulated machine hangs, that is a hang.

    \b
    Examples:
      pfmemd soak night.pfmt
      pfmemd soak nbd.pfmt nfs.pfmt --for 8h --speed 1x
      pfmemd soak nbd.pfmt --plays 100 --fail-on "reserve<25%,hang,denied>5000"
      pfmemd soak nbd.pfmt --variant slab-seed --variant slub-v6.1 --fail-on slab-seed:leak
      pfmemd soak nbd.pfmt --connect tcp://127.0.0.1:5571 --for 1h
      pfmemd soak gorman outage-and-return --kernel slub-v6.1 --variant slub-v6.1

    Ctrl-C ends it early; what was seen by then is reported. A daemon that is lost ends it with 3.
    """
    variants = _variants(variants)
    thresholds = c.parse_conditions(fail_on)
    keys = _keys(key, daemon_key, connect)
    last = _last(baseline, out)
    console = Console(stderr=True)
    playables = _playables(traces, Kernel(kernel, dict(settings), seed), out, console)
    order = Order(
        traces=tuple(playable.trace for playable in playables),
        machines=tuple(each.machine for each in playables if each.machine is not None),
        limits=_limits(seconds, events, plays, len(traces)),
        speed=speed,
        interval=interval,
        thresholds=thresholds,
        fail_fast=fail_fast,
        explain=explain,
    )
    view = View(console, order.limits)
    with _target(connect, http, variants, keys) as target, view:
        outcome = soak(order, target, view.show)
    result = outcome.result
    _write(outcome, order.thresholds, last, out)
    _tell(result, out, console)
    if as_json:
        click.echo(result.model_dump_json(indent=2))
    if outcome.signal:
        return EXIT_SIGNAL + outcome.signal
    return EXIT_BAD if result.breaches else EXIT_GOOD


def _playables(
    names: tuple[str, ...], kernel: Kernel, out: Path, console: Console
) -> list[Playable]:
    """Every trace, and one made of every scenario; none is simulated if a name is wrong."""
    scenarios = {name for name in names if is_scenario(name)}
    with interruptible() as interruption, console.status("") as status:

        def progress(done: Generated) -> None:
            told = f"{done.seconds:.1f} simulated s, {done.events:,} events"
            status.update(f"simulating for the trace to play: {told}")
            if interruption.requested():
                raise SystemExit(EXIT_SIGNAL + interruption.signal)

        return [
            simulated(name, kernel, out, progress) if name in scenarios else Playable(name)
            for name in names
        ]


def _limits(seconds: float | None, events: int | None, plays: int | None, traces: int) -> Limits:
    limits = Limits(seconds, events, plays)
    return Limits(plays=traces) if limits == Limits() else limits


def _keys(key: Path | None, daemon_key: Path | None, connect: str | None) -> SenderKeys | None:
    if key is None and daemon_key is None:
        return None
    if key is None or daemon_key is None:
        raise click.UsageError("--key and --daemon-key go together")
    if connect is None:
        raise click.UsageError("--key is for a daemon named by --connect")
    return sender_keys(key, daemon_key)


def _variants(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, each once, all of them known."""
    for name in names:
        try:
            parse_variant(name)
        except VariantError as error:
            raise click.BadParameter(str(error), param_hint="--variant") from None
    return tuple(dict.fromkeys(names))


def _last(baseline: Path | None, out: Path) -> SoakResult | None:
    if baseline is not None:
        return read_result(baseline)
    own = out / RESULT
    return read_result(own) if own.exists() else None


@contextmanager
def _target(
    connect: str | None, http: str, variants: Sequence[str], keys: SenderKeys | None
) -> Iterator[Target]:
    """The daemon that was named, or one that is started for this."""
    if connect is not None:
        try:
            split_address(http)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--http") from None
        yield Target(connect, http, keys)
        return
    with (
        tempfile.TemporaryDirectory(prefix="pfmemd-soak-") as folder,
        Children(Path(folder)) as children,
    ):
        chosen = [word for variant in variants for word in ("--variant", variant)]
        process, log = children.start(
            "serve",
            *("--bind", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json"),
            *chosen,
        )
        at = wait_until_ready(process, log)
        try:
            yield Target(at.receiving, at.http)
        except NoDaemonError:
            raise StoppedError(f"the daemon is gone: {last_line(log)}") from None


def _write(
    outcome: Outcome, thresholds: tuple[c.Condition, ...], last: SoakResult | None, out: Path
) -> None:
    result = outcome.result
    nothing = NOTHING_HAPPENED if outcome.explained else NOT_EXPLAINED
    files = {
        REPORT: html_report(result, thresholds, last, nothing),
        JUNIT: junit_xml(result, thresholds),
        RESULT: result.model_dump_json(indent=1) + "\n",
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, "utf-8")
    except OSError as error:
        raise StoppedError(f"cannot write the report to {out}: {error.strerror}") from None


def _tell(result: SoakResult, out: Path, console: Console) -> None:
    for breach in result.breaches:
        console.print(
            f"[bold red]failed[/] {breach.condition}: {breach.variant} of {breach.source}:"
            f" {breach.what}",
            soft_wrap=True,
            highlight=False,
        )
    plural = "" if result.plays == 1 else "s"
    verdict = "[bold red]failed[/]" if result.breaches else "[bold green]passed[/]"
    console.print(
        f"{verdict}: {result.plays:,} play{plural}, {result.events:,} events in"
        f" {span_text(result.seconds)}; the report is {out / REPORT}",
        soft_wrap=True,
        highlight=False,
    )
