"""The commands of this room: ``import``, ``send``, ``trace`` and ``truth``.

``daemon.cli`` puts them into the ``pfmemd`` command; ``python -m tracegen`` has them
without a daemon.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tracegen.batch import decode
from tracegen.capture.cli import capture_command
from tracegen.command_line import EXIT_SIGNAL, CommandGroup
from tracegen.dump import dump
from tracegen.errors import BatchError, PfmemdError
from tracegen.info import TraceInfo, render
from tracegen.interruption import interruptible
from tracegen.kernel_trace.cli import import_group
from tracegen.keys import sender_keys
from tracegen.likeness.cli import compare_command, profile_command
from tracegen.limits import MAX_BATCH_EVENTS
from tracegen.parameters import SourceName
from tracegen.playback.cli import replay_command, speed_factor
from tracegen.protocol import DEFAULT_PORT
from tracegen.send import Plan, Replay, Sent
from tracegen.sender import DEFAULT_TIMEOUT, InterruptedSendError
from tracegen.trace_file import TraceReader
from tracegen.truth.cli import truth_command
from tracegen.workload.cli import scenarios_command, simulate_command
from tracegen.workload.generate_cli import generate_command

DEFAULT_URL: Final = f"tcp://127.0.0.1:{DEFAULT_PORT}"
_PROGRESS_INTERVAL: Final = 0.1


@click.command("send")
@click.argument("trace", metavar="TRACE|-")
@click.option(
    "--connect",
    "url",
    metavar="URL",
    default=DEFAULT_URL,
    show_default=True,
    help="Where the daemon receives (its --bind).",
)
@click.option(
    "--speed",
    metavar="max|FACTOR",
    default="max",
    show_default=True,
    callback=speed_factor,
    help="Pace: 1x is the trace's own time, 0.05x twenty times slower.",
)
@click.option(
    "--loop", is_flag=True, help="Play it again and again, each time as a new life of its source."
)
@click.option(
    "--new-epoch",
    is_flag=True,
    help="Send it as a new life of its source instead of resuming it; the daemon begins afresh.",
)
@click.option("--source", metavar="NAME", type=SourceName(), help="Send it under another name.")
@click.option(
    "--batch-events",
    type=click.IntRange(1, MAX_BATCH_EVENTS),
    metavar="N",
    help="Cut batches into smaller ones, for a smoother pace.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long without a word from the daemon; 0 is never.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="This sender's secret key, for a daemon that wants one; see pfmemd keys.",
)
@click.option(
    "--daemon-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The daemon's public key.",
)
@click.option("--json", "json_wanted", is_flag=True, help="What was sent, as JSON.")
def send(
    trace: str,
    url: str,
    speed: float | None,
    loop: bool,
    new_epoch: bool,
    source: str | None,
    batch_events: int | None,
    timeout: float,
    key: Path | None,
    daemon_key: Path | None,
    json_wanted: bool,
) -> int:
    r"""Send a trace to a daemon, losing nothing.

    Every batch is kept until the daemon has acknowledged it, over reconnects and
    restarts of either side: the daemon may be started later, and sending the same
    trace again goes on where the daemon says. TRACE is a file (.zst or not) or - for
    standard input, which may be a live pipe.

    \b
    pfmemd send nbd.trace.zst
    pfmemd send nbd.trace.zst --speed 1x --loop
    ssh host cat /sys/kernel/tracing/trace_pipe | pfmemd import ftrace - -o - | pfmemd send -

    The exit code is 0 when everything is acknowledged, 2 when the trace is unreadable
    or refused, 3 when the daemon was not reached or fell silent.
    """
    if loop and trace == "-":
        raise click.UsageError("standard input cannot be played in a loop")
    if (key is None) != (daemon_key is None):
        raise click.UsageError("--key and --daemon-key go together")
    keys = sender_keys(key, daemon_key) if key is not None and daemon_key is not None else None
    plan = Plan(url, timeout or None, speed, loop, new_epoch, source, batch_events, keys)
    started = time.monotonic()
    with interruptible() as interruption, _progress(trace) as progress:
        replay = Replay(plan, interrupted=interruption.requested, progress=progress.show)
        try:
            replay.run(trace)
        except InterruptedSendError:
            interruption.seen = True
    _report(replay.sent, time.monotonic() - started, json_wanted)
    return 0 if loop or not interruption.seen else EXIT_SIGNAL + interruption.signal


class _Progress:
    """A line on the terminal: how far, how many; nothing when it is not a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._due = 0.0

    def show(self, sent: Sent, size: int | None) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _PROGRESS_INTERVAL
            self._progress.update(
                self._task,
                completed=sent.offset,
                total=size,
                events=f"{sent.events:,} events",
            )


@contextmanager
def _progress(trace: str) -> Iterator[_Progress]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield _Progress(progress, progress.add_task(trace, total=None, events=""))


def _report(sent: Sent, seconds: float, json_wanted: bool) -> None:
    if json_wanted:
        report = {
            "events": sent.events,
            "batches": sent.batches,
            "already_there": sent.already_there,
            "resent": sent.resent,
            "plays": sent.plays,
            "epochs": sent.epochs,
            "seconds": round(seconds, 3),
        }
        click.echo(json.dumps(report))
    streams = ", ".join(f"{source} epoch {epoch}" for source, epoch in sent.epochs.items())
    extra = "".join(
        f", {count:,} {what}"
        for count, what in (
            (sent.already_there, "batches already there"),
            (sent.resent, "batches sent again"),
        )
        if count
    )
    click.echo(
        f"sent {sent.events:,} events in {sent.batches:,} batches in {seconds:.1f} s"
        f" ({streams or 'nothing'}){extra}",
        err=True,
    )


@click.group("trace")
def trace() -> None:
    """Look at traces."""


@trace.command("info")
@click.argument("trace_path", metavar="TRACE|-")
@click.option("--json", "json_wanted", is_flag=True, help="Everything, as JSON.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    metavar="N",
    help="Rows of each table.",
)
def info(trace_path: str, json_wanted: bool, top: int) -> None:
    r"""Tell what is in a trace.

    Sources, machine, span, and events by op, context, gfp, cache, order and size.
    Every batch and event is checked on the way; the first bad one is named and the
    exit code is 2.

    \b
    Example:
      pfmemd trace info nbd.pfmt.zst --top 5
    """
    with TraceReader(trace_path) as reader:
        counted = TraceInfo()
        for entry in reader:
            counted.add(entry)
    if json_wanted:
        click.echo(json.dumps(counted.to_json(), indent=2))
    else:
        click.echo("\n".join(render(counted, reader.name, top)))


@trace.command("dump")
@click.argument("trace_path", metavar="TRACE|-")
@click.option(
    "--batch",
    "wanted",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only this one, counting from 1.  [default: all]",
)
@click.option(
    "--events",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="Events shown of each batch.",
)
def dump_batches(trace_path: str, wanted: int | None, events: int) -> None:
    r"""Show batches byte by byte, each with what it means.

    For people who write the format in another language. A batch that is refused is shown
    all the same, followed by the reason; the exit code is then 2.

    \b
    Example:
      pfmemd trace dump nbd.pfmt --batch 0
    """
    with TraceReader(trace_path) as reader:
        for number, offset, data in reader.frames():
            if wanted is not None and number != wanted:
                continue
            click.echo(f"batch {number}, byte {offset}, {len(data)} bytes")
            try:
                for line in dump(data, events):
                    click.echo(line)
                decode(data)
            except BatchError as error:
                raise error.at(batch=number, start=offset, file=reader.name) from None
            if number == wanted:
                return
    if wanted is not None:
        raise PfmemdError(f"{reader.name}: there is no batch {wanted}")


@click.group("tracegen", cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Make, read, convert and send traces of kernel memory allocation."""


main.add_command(capture_command)
trace.add_command(compare_command)
trace.add_command(profile_command)
main.add_command(import_group)
main.add_command(replay_command)
main.add_command(send)
main.add_command(trace)
main.add_command(truth_command)
main.add_command(simulate_command)
main.add_command(scenarios_command)
main.add_command(generate_command)
