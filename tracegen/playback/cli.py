"""``pfmemd replay``: a recorded trace as new life of its sources."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tracegen.batch import Batch
from tracegen.batch_sender import BatchSender
from tracegen.command_line import EXIT_SIGNAL
from tracegen.errors import EXIT_GOOD
from tracegen.interruption import interruptible
from tracegen.keys import SenderKeys, sender_keys
from tracegen.limits import MAX_BATCH_EVENTS
from tracegen.parameters import SourceName
from tracegen.playback.event_filter import EventFilter
from tracegen.playback.player import (
    BATCH_EVENTS,
    InterruptedPlayError,
    Played,
    Player,
    Score,
    Target,
)
from tracegen.playback.section import Section
from tracegen.sender import DEFAULT_TIMEOUT, InterruptedSendError
from tracegen.trace_file import STANDARD_STREAM, TraceWriter

FOR_EVER: Final = 0
"""``--loop`` without a number."""
LINE_SECONDS: Final = 2.0
"""How often --progress says something where it cannot draw."""
DRAW_SECONDS: Final = 0.1
_SPEED: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)x?", re.ASCII)


def speed_factor(_context: click.Context, _option: click.Parameter, value: str) -> float | None:
    """``max`` is no pace at all; ``10x`` and ``10`` are ten times the trace's own time."""
    if value == "max":
        return None
    match = _SPEED.fullmatch(value)
    factor = float(match[1]) if match else 0.0
    if not factor > 0:
        raise click.BadParameter(f"{value!r}, expected max or a factor such as 1x, 0.05x or 10")
    return factor


def _section(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> Section | None:
    section = None if value is None else Section.parse(value)
    if value is not None and section is None:
        raise click.BadParameter(
            f"{value!r}, expected FROM:TO in seconds (10:12.5s) or events (1000e:2000e)"
        )
    return section


@click.command("replay")
@click.argument("trace", metavar="TRACE|-")
@click.option("--connect", "url", metavar="URL", help="The daemon to play it to (its --bind).")
@click.option("-o", "--output", metavar="OUT|-", help="Or the trace to write; - as it is played.")
@click.option(
    "--speed",
    "pace",
    metavar="max|FACTOR",
    default="max",
    show_default=True,
    callback=speed_factor,
    help="Pace: 1x is the trace's own time, 10x ten times faster.",
)
@click.option(
    "--loop",
    "plays",
    is_flag=False,
    flag_value=FOR_EVER,
    type=click.IntRange(min=0),
    metavar="[N]",
    help="Play it N times (--loop=3), or without N until Ctrl-C; each time is a new life.",
)
@click.option(
    "--slice",
    "section",
    metavar="FROM:TO",
    callback=_section,
    help="Only this part: seconds after its first event (10:12.5) or events (1000e:2000e).",
)
@click.option(
    "--filter",
    "expression",
    metavar="EXPR",
    help="Only allocations such as these, and their frees: 'op == kmalloc and bytes > 1024'.",
)
@click.option("--source", metavar="NAME", type=SourceName(), help="Under another name.")
@click.option(
    "--epoch",
    type=click.IntRange(0, (1 << 63) - 1),
    help="Number of the first life.  [default: the time now, in nanoseconds]",
)
@click.option(
    "--batch-events",
    type=click.IntRange(1, MAX_BATCH_EVENTS),
    default=BATCH_EVENTS,
    show_default=True,
    metavar="N",
    help="Events of a batch at most.",
)
@click.option(
    "--progress",
    "shows",
    is_flag=True,
    help="Say how far it is also where standard error is no terminal.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long without a word from the daemon; 0 is never.",
)
@click.option("--key", type=click.Path(path_type=Path), metavar="FILE", help="As for pfmemd send.")
@click.option(
    "--daemon-key", type=click.Path(path_type=Path), metavar="FILE", help="As for pfmemd send."
)
@click.option("--json", "as_json", is_flag=True, help="What was played, as JSON, with --connect.")
def replay_command(
    trace: str,
    url: str | None,
    output: str | None,
    pace: float | None,
    plays: int | None,
    section: Section | None,
    expression: str | None,
    source: str | None,
    epoch: int | None,
    batch_events: int,
    shows: bool,
    timeout: float,
    key: Path | None,
    daemon_key: Path | None,
    as_json: bool,
) -> int:
    r"""Play a recorded trace as new life.

    pfmemd send delivers a trace as it is, and goes on where the daemon says; replay begins a new
    life of its sources, so that the daemon begins with fresh machines: a part of the trace, some
    of its events, again and again, at its own pace or faster. A part that begins in the middle
    allocates first what was in use there. A filter decides about allocations; frees follow what
    they free. It compares op (page_alloc, obj_alloc, kmalloc), order, bytes, cache, cpu, node,
    gfp and ctx (pf_memalloc, memdie, softirq, hardirq, rt, cold); bits as in ctx & softirq.

    \b
    pfmemd replay nbd.pfmt --connect tcp://127.0.0.1:5571 --speed 1x --loop
    pfmemd replay nbd.pfmt -o dip.pfmt --slice 1.2:1.8
    pfmemd replay nbd.pfmt -o - --filter 'op == kmalloc and bytes > 1024' | pfmemd run -

    The exit code is 0 when everything was played, 2 when the trace is unreadable, refused, or
    nothing is left of it, 3 when the daemon was not reached or fell silent.
    """
    if (url is None) == (output is None):
        raise click.UsageError("say where to: --connect URL or -o OUT")
    if plays is not None and trace == STANDARD_STREAM:
        raise click.UsageError("standard input cannot be played in a loop")
    if as_json and url is None:
        raise click.UsageError("--json goes with --connect")
    if (key is None) != (daemon_key is None):
        raise click.UsageError("--key and --daemon-key go together")
    score = Score(
        path=trace,
        epoch=time.time_ns() if epoch is None else epoch,
        speed=pace,
        plays=1 if plays is None else plays or None,
        section=section,
        event_filter=None if expression is None else EventFilter(expression),
        source=source,
        batch_events=batch_events,
    )
    keys = sender_keys(key, daemon_key) if key is not None and daemon_key is not None else None
    with (
        interruptible() as interruption,
        _drawn(trace, shows=shows) as drawing,
        _target(url, output, keys, timeout, interruption.requested) as target,
    ):
        player = Player(score, target, interrupted=interruption.requested, progress=drawing.show)
        try:
            player.run()
        except (InterruptedPlayError, InterruptedSendError):
            interruption.seen = True
    _tell(player.played, as_json=as_json)
    ended_as_meant = not interruption.seen or score.plays is None
    return EXIT_GOOD if ended_as_meant else EXIT_SIGNAL + interruption.signal


@contextlib.contextmanager
def _target(
    url: str | None,
    output: str | None,
    keys: SenderKeys | None,
    timeout: float,
    interrupted: Callable[[], bool],
) -> Iterator[Target]:
    if url is not None:
        with _Daemon(url, keys, timeout or None, interrupted) as daemon:
            yield daemon
    else:
        with TraceWriter(output or STANDARD_STREAM) as writer:
            yield _File(writer)


class _File:
    """A trace that is written."""

    def __init__(self, writer: TraceWriter) -> None:
        self.write = writer.write

    @staticmethod
    def wait_until(moment: float) -> None:
        """Wait."""
        time.sleep(max(0.0, moment - time.monotonic()))


class _Daemon:
    """A daemon, to which each source has a connection of its own."""

    def __init__(
        self,
        url: str,
        keys: SenderKeys | None,
        timeout: float | None,
        interrupted: Callable[[], bool],
    ) -> None:
        self._interrupted = interrupted
        self._url = url
        self._keys = keys
        self._timeout = timeout
        self._senders: dict[str, BatchSender] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.__exit__(*failure)  # type: ignore[arg-type]  # what it was given

    def write(self, batch: Batch) -> None:
        """Send a batch, waiting until there is credit for it."""
        sender = self._senders.get(batch.source)
        if sender is None:
            sender = self._senders[batch.source] = self._stack.enter_context(
                BatchSender(
                    self._url,
                    batch.source,
                    agent="pfmemd replay",
                    timeout=self._timeout,
                    keys=self._keys,
                    interrupted=self._interrupted,
                )
            )
        sender.write(batch)

    def wait_until(self, moment: float) -> None:
        """Wait, tending all connections."""
        for sender in self._senders.values():
            sender.tend()
        for sender in self._senders.values():
            sender.wait_until(moment)


class _Drawing:
    """How far it is: a bar on a terminal, a line now and then where one is wanted elsewhere."""

    def __init__(self, progress: Progress, trace: str, *, draws: bool, says: bool) -> None:
        self._progress = progress
        self._task = progress.add_task(trace, total=None, events="")
        self._seconds = DRAW_SECONDS if draws else LINE_SECONDS
        self._silent = not (draws or says)
        self._draws = draws
        self._due = 0.0

    def show(self, played: Played) -> None:
        """Show it, if it is time to."""
        now = time.monotonic()
        if self._silent or now < self._due:
            return
        self._due = now + self._seconds
        events = f"{played.events:,} events"
        if self._draws:
            done, size = played.offset, played.size
            self._progress.update(self._task, completed=done, total=size, events=events)
        else:
            part = f", {played.offset / played.size:.0%} of play" if played.size else ", play"
            click.echo(f"{events}{part} {played.plays + 1}", err=True)


@contextlib.contextmanager
def _drawn(trace: str, *, shows: bool) -> Iterator[_Drawing]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]}"),
        TimeElapsedColumn(),
    )
    draws = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not draws) as progress:
        yield _Drawing(progress, trace, draws=draws, says=shows)


def _tell(played: Played, *, as_json: bool) -> None:
    if as_json:
        found = {
            "plays": played.plays,
            "batches": played.batches,
            "events": played.events,
            "epochs": played.epochs,
        }
        click.echo(json.dumps(found))
    lives = ", ".join(f"{source} epoch {epoch}" for source, epoch in played.epochs.items())
    click.echo(
        f"played {played.events:,} events in {played.batches:,} batches ({lives or 'nothing'})",
        err=True,
    )
