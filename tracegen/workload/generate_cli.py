"""``pfmemd generate``: a scenario as a trace, into a file or to a daemon."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from allocator.revision import variant_names
from tracegen.command_line import EXIT_SIGNAL
from tracegen.errors import EXIT_GOOD
from tracegen.interruption import Interruption, interruptible
from tracegen.keys import sender_keys
from tracegen.limits import MAX_SOURCE_LENGTH
from tracegen.parameters import Duration, SourceName, Speed
from tracegen.sender import DEFAULT_TIMEOUT, InterruptedSendError
from tracegen.trace_file import TraceWriter
from tracegen.workload.cli import (
    KernelChoice,
    plan_for,
    scenario_argument,
    seed_option,
    settings_option,
)
from tracegen.workload.generate import (
    MAX_MACHINES,
    Generated,
    Limits,
    Sink,
    generate,
    source_names,
)
from tracegen.workload.scenario_file import read_scenario
from tracegen.workload.sinks import DaemonSink, FileSink, Metronome

DEFAULT_KERNEL: Final = "slub-v3.6"
_GRACE: Final = 5.0
"""Seconds for the last acknowledgements when it ends before its time."""


class Pace(Speed):
    """As a speed, but ``max`` is 0, for None is no choice at all."""

    name = "pace"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The factor."""
        return super().convert(value, param, ctx) or 0.0


@click.command("generate")
@scenario_argument
@click.option("-o", "--output", metavar="FILE|-", help="Write a trace; - is standard output.")
@click.option("--connect", "url", metavar="URL", help="Send to a daemon (its --bind).")
@click.option(
    "--variant",
    "kernel",
    type=KernelChoice(),
    default=DEFAULT_KERNEL,
    show_default=True,
    metavar="ALLOCATOR-REVISION[:SERIES]",
    help=f"The kernel that the machines run; there are {', '.join(variant_names())}.",
)
@settings_option
@seed_option
@click.option(
    "--machines",
    type=click.IntRange(1, MAX_MACHINES),
    default=1,
    show_default=True,
    metavar="N",
    help="So many at once, each a source with a seed of its own.",
)
@click.option("--events", type=click.IntRange(min=1), metavar="N", help="Until N events are made.")
@click.option(
    "--for", "seconds", type=Duration(), metavar="TIME", help="Until so much simulated time: 8h."
)
@click.option(
    "--closed",
    is_flag=True,
    help="Let the daemon's model of --variant answer the machine, not one in the generator.",
)
@click.option(
    "--pace",
    type=Pace(),
    metavar="FACTOR|max",
    help="1x lets simulated time pass as real time.  [default: 1x to a daemon, else max]",
)
@click.option(
    "--source", metavar="NAME", type=SourceName(), help="The source's name.  [default: SCENARIO]"
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long without a word from the daemon; 0 is never.",
)
@click.option("--key", type=click.Path(path_type=Path), help="The sender's key (pfmemd keys).")
@click.option("--daemon-key", type=click.Path(path_type=Path), help="The daemon's public key.")
@click.option("--json", "as_json", is_flag=True, help="What was generated, as JSON.")
def generate_command(
    scenario: str,
    output: str | None,
    url: str | None,
    kernel: tuple[str, str],
    settings: tuple[tuple[str, object], ...],
    seed: int,
    machines: int,
    events: int | None,
    seconds: float | None,
    pace: float | None,
    source: str | None,
    timeout: float,
    key: Path | None,
    daemon_key: Path | None,
    *,
    closed: bool,
    as_json: bool,
) -> int:
    r"""Make a trace of a simulated machine that swaps over the network.

    One run of the scenario, or with --events or --for one after another, each a new life of its
    source. The loop is open: a model in the generator answers the machine, and whatever a daemon
    makes of the events does not come back. With --closed the daemon's model of --variant answers
    it: each request waits for its answer. The same seed gives the same bytes in a file.

    \b
    Examples:
      pfmemd generate gorman -o gorman.pfmt.zst
      pfmemd generate receive-flood --events 100000 -o - | pfmemd run -
      pfmemd generate emergency-overflow --connect tcp://127.0.0.1:5571 --for 8h --machines 3
      pfmemd generate gorman --connect tcp://127.0.0.1:5571 --closed --variant slub-seed --pace max
      pfmemd generate mine.toml --variant slub-unpatched --seed 7 -o mine.pfmt

    The exit code is 0 when all was written or acknowledged, 2 for a scenario that cannot be, 3 when
    the daemon was lost, has no such variant or lost an answer, or the disk is full.
    """
    if (output is None) == (url is None):
        raise click.UsageError("expected -o FILE or --connect URL, and one of them")
    if closed and url is None:
        raise click.UsageError("--closed goes with --connect URL: the daemon answers")
    if (key is None) != (daemon_key is None):
        raise click.UsageError("--key and --daemon-key go together")
    keys = sender_keys(key, daemon_key) if key is not None and daemon_key is not None else None
    plan = plan_for(read_scenario(scenario, dict(settings)), kernel, seed)
    sources = source_names(source or name_of(scenario), machines)
    limits = Limits(events, seconds)

    def run(sink: Sink, first_epoch: int, interruption: Interruption) -> Generated:
        with _progress(scenario) as show:
            return generate(
                plan, sources, _Stoppable(sink, interruption), limits,
                first_epoch=first_epoch, closed=closed, progress=show,
            )  # fmt: skip

    started = time.monotonic()
    with interruptible() as interruption:
        stopped = interruption.requested
        if output is not None:
            with TraceWriter(output) as writer:
                sink = FileSink(writer, Metronome(pace or None), stopped)
                done = _until_stopped(lambda: run(sink, 1, interruption))
        else:
            assert url is not None  # noqa: S101 - the other of the two
            factor = 1.0 if pace is None else pace
            daemon = DaemonSink(
                url,
                Metronome(factor or None),
                timeout=timeout or None,
                keys=keys,
                interrupted=stopped,
                answers=plan.variant.name if closed else "",
            )
            done = _to_the_end(daemon, lambda: run(daemon, time.time_ns(), interruption))
    if done is None:
        return EXIT_SIGNAL + interruption.signal
    _report(done, time.monotonic() - started, as_json=as_json)
    return EXIT_GOOD


class _Stoppable:
    """A sink that stops between two batches when a signal asks for it."""

    def __init__(self, sink: Sink, interruption: Interruption) -> None:
        self._interruption = interruption
        self.open = sink.open
        self.send = sink.send
        self._wait_until = sink.wait_until

    def wait_until(self, seconds: float) -> None:
        """Wait, and stop if a signal came."""
        self._wait_until(seconds)
        if self._interruption.requested():
            raise InterruptedSendError("interrupted")


def _to_the_end(daemon: DaemonSink, run: Callable[[], Generated]) -> Generated | None:
    """As :func:`_until_stopped`, and the daemon has acknowledged everything, if it goes well."""
    grace = _GRACE
    try:
        done = _until_stopped(run)
        if done is not None:
            daemon.flush()
            grace = 0.0
    finally:
        daemon.close(grace)
    return done


def _until_stopped(run: Callable[[], Generated]) -> Generated | None:
    """What was generated; None when a signal ended it. What was written by then is whole."""
    try:
        return run()
    except InterruptedSendError:
        return None


def name_of(scenario: str) -> str:
    """A source's name out of a scenario's: that of the file, without what may not be in it."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", Path(scenario).name.removesuffix(".toml"))
    return (name.lstrip("._-") or "machine")[: MAX_SOURCE_LENGTH - len(f"-{MAX_MACHINES}")]


@contextmanager
def _progress(scenario: str) -> Iterator[Callable[[Generated], None]]:
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(scenario, told="")

        def show(done: Generated) -> None:
            progress.update(task, told=f"{done.seconds:.1f} s, {done.events:,} events")

        yield show


def _report(done: Generated, seconds: float, *, as_json: bool) -> None:
    if as_json:
        report = {
            "events": done.events,
            "batches": done.batches,
            "lives": done.lives,
            "hangs": done.hangs,
            "simulated_seconds": round(done.seconds, 3),
            "epochs": done.epochs,
            "seconds": round(seconds, 3),
        }
        click.echo(json.dumps(report), err=False)
    hangs = f", {done.hangs} of them ended in a hang" if done.hangs else ""
    click.echo(
        f"generated {done.events:,} events in {done.batches:,} batches: {done.lives} lives of"
        f" {len(done.epochs)} machines{hangs}, {done.seconds:.1f} simulated s in {seconds:.1f} s",
        err=True,
    )
