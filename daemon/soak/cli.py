"""The ``soak`` command."""

from __future__ import annotations

import re
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from allocator import COMPILED
from allocator.revision import Variant, VariantError, parse_variant, variant_names
from daemon.demo import Children, last_line, wait_until_ready
from daemon.findings import EXHAUSTED, THROTTLED
from daemon.live_state import NoDaemonError
from daemon.settings import Settings, split_address
from daemon.soak import conditions as c
from daemon.soak.junit import junit_xml
from daemon.soak.moments import MOST_EVENTS, moments
from daemon.soak.play import Limits, Player, Progress, SoakError, Target
from daemon.soak.report import html_report
from daemon.soak.result import Breach, Moment, SoakResult, read_result
from daemon.soak.span import span_text
from daemon.version import program_version
from tracegen.command_line import EXIT_SIGNAL
from tracegen.errors import EXIT_BAD, EXIT_GOOD, StoppedError
from tracegen.keys import sender_keys

RESULT, REPORT, JUNIT = "result.json", "report.html", "junit.xml"
LINE_SECONDS: Final = 10.0
"""How often a line is printed where there is no terminal."""
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds of ``90``, ``90s``, ``15m``, ``8h``, ``2d``."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        if found is None or float(found[1]) == 0:
            self.fail(f"expected a time such as 30s, 15m or 8h, not {value!r}", param, ctx)
        return float(found[1]) * _UNITS[found[2] or "s"]


class _Speed(click.ParamType[float | None]):
    name = "speed"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """A factor on the trace's own time; None for ``max``."""
        if value == "max":
            return None
        found = re.fullmatch(r"(\d+(?:\.\d+)?)x?", str(value))
        if found is None or float(found[1]) == 0:
            self.fail(f"expected a factor such as 1x or 10x, or max, not {value!r}", param, ctx)
        return float(found[1])


class _Stopped(Exception):  # noqa: N818 - no error: the user's wish
    """A signal asks for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How the playing ended."""

    progress: Progress
    signal: int = 0


@click.command("soak")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@click.option("--for", "seconds", type=_Duration(), help="Play again and again for so long: 8h.")
@click.option("--events", type=click.IntRange(min=1), help="Play until so many events were sent.")
@click.option("--plays", type=click.IntRange(min=1), help="Play so many times.")
@click.option(
    "--speed", type=_Speed(), default="max", show_default=True, help="1x is as fast as it happened."
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
    as_json: bool,
) -> int:
    r"""Play traces to a daemon for a time and say whether the reserve held.

    The traces are played one after another, again and again, each time with fresh
    machines, until the first limit is reached; without one, once each. Meanwhile the daemon is
    looked at each second. The verdict is the exit code: 0 if every threshold was kept, 1 if one
    was crossed. The folder --out then has a report for people, JUnit XML for a CI system, and
    the numbers, with which the next run is compared.

    \b
    Examples:
      pfmemd soak night.pfmt
      pfmemd soak nbd.pfmt nfs.pfmt --for 8h --speed 1x
      pfmemd soak nbd.pfmt --plays 100 --fail-on "reserve<25%,hang,denied>5000"
      pfmemd soak nbd.pfmt --variant slab-seed --variant slub-v6.1 --fail-on slab-seed:leak
      pfmemd soak nbd.pfmt --connect tcp://127.0.0.1:5571 --for 1h

    Ctrl-C ends it early; what was seen by then is reported. A daemon that is lost ends it with 3.
    """
    thresholds = c.parse_conditions(fail_on)
    chosen = _variants(variants)
    if (key is None) != (daemon_key is None):
        raise click.UsageError("--key and --daemon-key go together")
    if key is not None and connect is None:
        raise click.UsageError("--key is for a daemon named by --connect")
    limits = Limits(seconds, events, plays)
    if limits == Limits():
        limits = Limits(plays=len(traces))
    for trace in traces:
        if trace == "-" or not Path(trace).is_file():
            raise SoakError(f"{trace} is no file: a soak plays its traces several times")
    last = _last(baseline, out)
    console = Console(stderr=True)
    keys = sender_keys(key, daemon_key) if key is not None and daemon_key is not None else None
    started = datetime.now(UTC)
    with _target(connect, http, variants) as (receiving, address):
        view = _View(console, limits)

        def enough(progress: Progress) -> bool:
            return fail_fast and bool(_breaches(thresholds, progress))

        player = Player(
            Target(receiving, address, keys),
            limits,
            speed=speed,
            interval=interval,
            shown=view.show,
            enough=enough,
        )
        with view:
            outcome = _play(player, list(traces))
    progress = outcome.progress
    result = SoakResult(
        version=program_version(),
        compiled=COMPILED,
        started=started.isoformat(timespec="seconds"),
        seconds=progress.seconds,
        traces=list(traces),
        speed="max" if speed is None else f"{speed:g}x",
        conditions=[condition.text for condition in thresholds],
        plays=progress.plays,
        events=progress.events,
        interrupted=outcome.signal != 0,
        models=progress.tally.models(),
        breaches=_breaches(thresholds, progress),
        timeline=progress.tally.timeline.samples,
    )
    wanted = explain
    if wanted is None:
        wanted = progress.events <= MOST_EVENTS * max(1, progress.plays) and not outcome.signal
    result.moments = list(_moments(traces, chosen)) if wanted else []
    _write(result, thresholds, last, out, told=wanted)
    _tell(result, out, console)
    if as_json:
        click.echo(result.model_dump_json(indent=2))
    if outcome.signal:
        return EXIT_SIGNAL + outcome.signal
    return EXIT_BAD if result.breaches else EXIT_GOOD


def _variants(names: Sequence[str]) -> list[Variant]:
    try:
        return [parse_variant(name) for name in dict.fromkeys(names)]
    except VariantError as error:
        raise click.BadParameter(str(error), param_hint="--variant") from None


def _last(baseline: Path | None, out: Path) -> SoakResult | None:
    if baseline is not None:
        return read_result(baseline)
    own = out / RESULT
    return read_result(own) if own.exists() else None


@contextmanager
def _target(connect: str | None, http: str, variants: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The daemon's two addresses: of the one that was named, or of one started for this."""
    if connect is not None:
        try:
            split_address(http)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--http") from None
        yield connect, http
        return
    with (
        tempfile.TemporaryDirectory(prefix="pfmemd-soak-") as folder,
        Children(Path(folder)) as children,
    ):
        chosen = [word for variant in dict.fromkeys(variants) for word in ("--variant", variant)]
        process, log = children.start(
            "serve",
            *("--bind", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json"),
            *chosen,
        )
        at = wait_until_ready(process, log)
        try:
            yield at.receiving, at.http
        except NoDaemonError:
            raise StoppedError(f"the daemon is gone: {last_line(log)}") from None


def _play(player: Player, traces: list[str]) -> _Outcome:
    """Play until the end or a signal; what was seen by then is there either way."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _Outcome(player.run(traces))
    except _Stopped as stopped:
        return _Outcome(player.progress, stopped.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _breaches(thresholds: Sequence[c.Condition], progress: Progress) -> list[Breach]:
    return [
        Breach(condition=condition.text, source=model.source, variant=model.variant, what=what)
        for model in progress.tally.models()
        for condition in thresholds
        if condition.applies_to(model) and (what := condition.breach(model)) is not None
    ]


def _moments(traces: Sequence[str], variants: Sequence[Variant]) -> Iterator[Moment]:
    for trace in traces:
        yield from moments(trace, variants)


def _write(
    result: SoakResult,
    thresholds: tuple[c.Condition, ...],
    last: SoakResult | None,
    out: Path,
    *,
    told: bool,
) -> None:
    nothing = (
        "Nothing happened that is worth telling: no denial, no leak, no zone below min."
        if told
        else "The traces were not run once more to find them; --explain does that."
    )
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
    verdict = "[bold red]failed[/]" if result.breaches else "[bold green]passed[/]"
    console.print(
        f"{verdict}: {result.plays:,} plays, {result.events:,} events in"
        f" {span_text(result.seconds)}; the report is {out / REPORT}",
        soft_wrap=True,
        highlight=False,
    )


class _View:
    """How far the soak is: a table on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, limits: Limits) -> None:
        self._console = console
        self._limits = limits
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._next_line = 0.0

    def __enter__(self) -> None:
        if self._console.is_terminal:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show how it stands now."""
        if self._console.is_terminal:
            self._live.update(self.table(progress), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._console.print(self.line(progress), soft_wrap=True, highlight=False)

    def head(self, progress: Progress) -> str:
        """Time, plays and events, of how many."""
        limits = self._limits
        seconds = span_text(progress.seconds)
        of = f" of {span_text(limits.seconds)}" if limits.seconds else ""
        plays = f" of {limits.plays:,}" if limits.plays else ""
        events = f" of {limits.events:,}" if limits.events else ""
        rate = progress.events / progress.seconds if progress.seconds else 0.0
        return (
            f"{seconds}{of}, play {progress.plays + 1:,}{plays} ({progress.trace}),"
            f" {progress.events:,}{events} events, {rate:,.0f}/s"
        )

    def line(self, progress: Progress) -> str:
        """Everything in one line."""
        models = "; ".join(
            f"{model.variant}: least left {model.lowest_left:.0%}, denied {model.denied:,},"
            f" leaked {model.leaked:,}"
            for model in progress.tally.models()
        )
        return f"{self.head(progress)} | {models}"

    def table(self, progress: Progress) -> RenderableType:
        """A line for each model."""
        table = Table(
            title=self.head(progress), title_justify="left", box=None, padding=(0, 2, 0, 0)
        )
        table.add_column("model")
        for title in ("left now", "least left", "denied", "entitled", "stalled", "leaked"):
            table.add_column(title, justify="right")
        samples = progress.tally.timeline.samples
        now = samples[-1].left if samples else {}
        for model in progress.tally.models():
            table.add_row(
                model.variant,
                _share(now.get(model.variant, 1.0)),
                _share(model.lowest_left),
                f"{model.denied:,}",
                Text(f"{model.entitled_denied:,}", "red" if model.entitled_denied else ""),
                f"{model.stalled:,}",
                f"{model.leaked:,}",
            )
        return table


def _share(left: float) -> Text:
    color = "red" if left < EXHAUSTED else "dark_orange" if left < THROTTLED else "green"
    return Text(f"{left:.1%}", color)
