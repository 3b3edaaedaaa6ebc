"""``pfmemd demo``: the whole path on a real machine's trace, watched live.

Everything is what a user would start by hand, as processes of their own: the
importer, the daemon on free loopback ports, the sender over ZeroMQ. Whatever ends
the demo, its end, Ctrl-C, SIGTERM or a closed terminal, none of them is left.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

import click
from rich.console import Console
from rich.table import Table

from allocator import COMPILED
from daemon.live_state import Source, Variant, Zone, read_state
from daemon.live_view import reserve_drawn
from daemon.settings import ENV_PREFIX
from daemon.watch import Feed, watch
from tracegen.command_line import EXIT_SIGNAL
from tracegen.errors import StoppedError
from tracegen.info import TraceInfo
from tracegen.samples import TRACE, import_arguments
from tracegen.trace_file import TraceReader

PFMEMD: Final = (sys.executable, "-P", "-m", "daemon")
"""This very pfmemd; -P, because a folder called daemon may lie where the user stands."""
VARIANTS: Final = ("slab-seed", "slub-seed")
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
BATCHES_PER_SECOND: Final = 10
"""So many batches make the view move smoothly."""
POLL_SECONDS: Final = 0.05


class DemoError(StoppedError):
    """A process of the demo did not do its part."""


class Children:
    """Processes that do not outlive the ``with`` block, however it is left."""

    def __init__(self, folder: Path) -> None:
        """Each process's standard error goes to a file in ``folder``."""
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start ``pfmemd`` with these arguments; return it and the file of its log."""
        log = self._folder / f"{arguments[0]}.log"
        with log.open("wb") as file:
            # A session of its own: Ctrl-C goes to the demo alone, which ends them in order.
            process = subprocess.Popen(  # noqa: S603 - this very program
                [*PFMEMD, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not is_setting(name)},
            )
        self._running.append(process)
        return process, log

    def __enter__(self) -> Self:
        """Turn the signals that would end the demo at once into an orderly end."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End what still runs, the last started first."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self._running):
            end(process)


def is_setting(name: str) -> bool:
    """Tell whether an environment variable sets something for a daemon of the user's own."""
    return name.startswith(ENV_PREFIX)


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(EXIT_SIGNAL + number)


def end(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to stop, make it if it does not; return its exit code."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def last_line(log: Path) -> str:
    """Return the last thing that a process wrote, which is why it ended."""
    lines = log.read_text("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the daemon listens, on ports that were free."""

    http: str
    receiving: str


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> Addresses:
    """Wait for the daemon's own word that it is ready, and where."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for line in log.read_text("utf-8", "replace").splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "ready":
                return Addresses(event["http"].removeprefix("http://"), event["receiving"])
        if process.poll() is not None:
            raise DemoError(f"the daemon did not start: {last_line(log)}")
        time.sleep(POLL_SECONDS)
    raise DemoError(f"the daemon was not ready after {START_SECONDS:.0f} s: {last_line(log)}")


def run_to_the_end(children: Children, *arguments: str) -> Path:
    """Run ``pfmemd`` with these arguments until it is done; return the file of its log."""
    process, log = children.start(*arguments)
    if process.wait() != 0:
        raise DemoError(f"pfmemd {arguments[0]} failed: {last_line(log)}")
    return log


@dataclass(frozen=True, slots=True)
class Pace:
    """How a trace is sent so that it takes about so many seconds."""

    speed: float
    batch_events: int


def pace_of(trace: Path, seconds: float) -> Pace:
    """Look at the trace's own time and number of events."""
    info = TraceInfo()
    with TraceReader(str(trace)) as reader:
        for entry in reader:
            info.add(entry)
    span_seconds = max(source.span_ns for source in info.sources.values()) / 1e9
    return Pace(
        speed=span_seconds / seconds,
        batch_events=max(1, round(info.events / seconds / BATCHES_PER_SECOND)),
    )


def demonstrate(console: Console, folder: Path, seconds: float, variants: Sequence[str]) -> Source:
    """Import, serve, send and watch; return what the daemon said at the end."""
    trace = folder / "nbd-swap.pfmt"
    no_settings = folder / "pfmemd.toml"
    no_settings.touch()
    with Children(folder) as children:
        console.print(
            f"import  {TRACE.name}: what a Linux 6.1 kernel wrote while it swapped", soft_wrap=True
        )
        run_to_the_end(children, "import", *import_arguments(), "-o", str(trace))
        pace = pace_of(trace, seconds)
        chosen = [word for variant in variants for word in ("--variant", variant)]
        daemon, daemon_log = children.start(
            "serve",
            *("--bind", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json"),
            *("--log-level", "info", "--config", str(no_settings), *chosen),
        )
        at = wait_until_ready(daemon, daemon_log)
        console.print(
            f"serve   {' and '.join(variants)}; http://{at.http}/metrics while it runs",
            soft_wrap=True,
        )
        sender, sender_log = children.start(
            *("send", str(trace), "--connect", at.receiving),
            *("--speed", f"{pace.speed:.6f}x", "--batch-events", str(pace.batch_events)),
        )
        console.print(
            f"send    over ZeroMQ to {at.receiving}, in about {seconds:.0f} s", soft_wrap=True
        )

        def sending(wanted: float) -> bool:
            try:
                sender.wait(wanted)
            except subprocess.TimeoutExpired:
                return True
            return False

        watch(Feed(at.http), console, sending)
        if sender.returncode != 0:
            raise DemoError(f"pfmemd send failed: {last_line(sender_log)}")
        state = read_state(at.http)
        if end(daemon) != 0:
            raise DemoError(f"the daemon did not stop cleanly: {last_line(daemon_log)}")
    (source,) = state.sources.values()
    return source


def deepest(variant: Variant) -> Zone:
    """Return the zone whose reserve was drawn deepest, as it was at that moment."""
    lowest = (zone.model_copy(update={"free": zone.lowest_free}) for zone in variant.zones)
    return max(lowest, key=reserve_drawn)


def summary(source: Source) -> Table:
    """Put the models side by side: what each granted, refused, and drew."""
    table = Table(box=None, padding=(0, 3, 0, 0), title_justify="left")
    table.add_column("", no_wrap=True)
    for name in source.variants:
        table.add_column(name, justify="right")

    def row(title: str, *values: str) -> None:
        table.add_row(title, *values)

    models = source.variants.values()
    row("allocations granted", *(f"{model.ok:,}" for model in models))
    row("denied", *(f"{model.denied:,}" for model in models))
    row("stalled (would wait in reclaim)", *(f"{model.stalled:,}" for model in models))
    worst = [deepest(model) for model in models]
    row("fewest free pages, of min", *(f"{zone.free:,} of {zone.min:,}" for zone in worst))
    row("reserve drawn at most", *(f"{reserve_drawn(zone):.0%}" for zone in worst))
    row(
        "pfmemalloc_active set / cleared",
        *(f"{m.pfmemalloc_activations:,} / {m.pfmemalloc_deactivations:,}" for m in models),
    )
    row("reserve objects that others got", *(f"{sum(m.leaks.values()):,}" for m in models))
    row(
        "slabs of the reserve held at the end",
        *(f"{sum(cache.pfmemalloc_slabs for cache in m.caches):,}" for m in models),
    )
    return table


def next_steps(console: Console) -> None:
    """Say what to type to do the same by hand, and what else there is."""
    program = Path(sys.argv[0])
    pfmemd = os.path.relpath(program) if program.name == "pfmemd" else shlex.join(PFMEMD)
    sample = shlex.join(os.path.relpath(a) if a.startswith("/") else a for a in import_arguments())
    for line in (
        "The same by hand:",
        f"  {pfmemd} import {sample} -o nbd.pfmt",
        f"  {pfmemd} trace info nbd.pfmt",
        f"  {pfmemd} run nbd.pfmt --variant slab-seed --variant slab-v3.6",
        f"  {pfmemd} serve &",
        f"  {pfmemd} send nbd.pfmt --connect tcp://127.0.0.1:5571",
        "  curl http://127.0.0.1:9571/metrics",
        "Dashboards: docker compose up, then http://127.0.0.1:3000",
        "README.md says what the numbers mean; every command has --help.",
    ):
        console.print(line, markup=False, soft_wrap=True)


@click.command("demo")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=3600),
    default=45.0,
    show_default=True,
    help="How long the replay takes.",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=VARIANTS,
    show_default=True,
    metavar="ALLOCATOR-REVISION",
    help="A model to run; may be given several times.",
)
def demo_command(seconds: float, variants: tuple[str, ...]) -> None:
    r"""Replay a real machine's trace through a daemon and watch it live.

    The trace is 2.2 seconds out of the life of a Linux 6.1 machine with 320 MiB
    that swapped over NBD, around the moment when its emergency reserve was drawn
    deepest. It is imported, sent over ZeroMQ to a daemon on free loopback ports,
    and shown as it goes; then the demo says what happened and leaves nothing behind.

    \b
    Example:
      pfmemd demo --seconds 20 --variant slab-seed --variant slub-v6.1
    """
    console = Console(highlight=False)
    mode = "compiled" if COMPILED else "plain Python"
    console.print(f"[bold]pfmemd demo[/bold]  (the model runs {mode}; Ctrl-C stops everything)")
    try:
        with tempfile.TemporaryDirectory(prefix="pfmemd-demo-") as folder:
            source = demonstrate(console, Path(folder), seconds, variants)
        console.print(f"\n{source.events:,} events were replayed. What each model did:")
        console.print(summary(source))
        console.print()
        next_steps(console)
    except KeyboardInterrupt:
        console.print("nothing is left running")
        raise
