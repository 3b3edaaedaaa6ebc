"""``pfmemd capture``: a trace of the machine that it runs on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import click

from tracegen.capture.by_hand import script
from tracegen.capture.events import NEEDED, PAGE_LISTS, WANTED
from tracegen.capture.instance import Recording, TracefsError, available, find_tracefs
from tracegen.capture.run import Plan, capture
from tracegen.errors import EXIT_GOOD
from tracegen.keys import sender_keys
from tracegen.parameters import SourceName
from tracegen.trace_file import STANDARD_STREAM

CLOCKS: Final = ("mono", "boot", "local", "global")
"""Trace clocks in nanoseconds that a trace has a name for."""
_EVENT_FORM: Final = "GROUP/NAME as below events/ of tracefs, such as skb/kfree_skb"


def _events(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    for value in values:
        parts = value.split("/")
        if len(parts) != 2 or not all(part.isidentifier() for part in parts):  # noqa: PLR2004
            raise click.BadParameter(f"{value!r}, expected {_EVENT_FORM}")
    return values


@click.command("capture", context_settings={"allow_interspersed_args": False})
@click.option(
    "-o",
    "--output",
    metavar="OUT|-",
    help="The trace to write; .zst compresses, - passes it on as it comes.",
)
@click.option("--connect", metavar="URL", help="Send it to a daemon as it comes, instead.")
@click.option("--raw", metavar="FILE", help="Keep the kernel's text as well; .zst compresses.")
@click.option(
    "--machine-files",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where copies of /proc and /sys files go, as DIR/before and DIR/after."
    "  [default: OUT.machine]",
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after so long.")
@click.option(
    "--buffer",
    type=click.IntRange(1, 4096),
    default=16,
    show_default=True,
    metavar="MIB",
    help="Ring buffer of each cpu.",
)
@click.option("--clock", type=click.Choice(CLOCKS), default="mono", show_default=True)
@click.option("--source", type=SourceName(), default="capture", show_default=True, metavar="NAME")
@click.option(
    "--page-lists",
    is_flag=True,
    help="Trace the per-cpu page lists as well, which pfmemd truth can make use of.",
)
@click.option(
    "--samples",
    is_flag=True,
    help="Write the machine's own free pages into the trace every 25 ms, for pfmemd truth.",
)
@click.option(
    "--event",
    "more",
    multiple=True,
    callback=_events,
    metavar="GROUP/NAME",
    help="One more event, for --raw; give it once for each.",
)
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE", help="Report as JSON.")
@click.option("--instance", default="pfmemd", show_default=True, metavar="NAME", help="Its name.")
@click.option(
    "--tracefs",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where tracefs is mounted.  [default: as /proc/self/mounts says]",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --connect: the secret key of this sender, see pfmemd keys.",
)
@click.option(
    "--daemon-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --connect: the daemon's public key.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done as a shell script.")
@click.argument("command", nargs=-1, metavar="[-- COMMAND...]")
def capture_command(
    output: str | None,
    connect: str | None,
    raw: str | None,
    machine_files: Path | None,
    seconds: float | None,
    buffer: int,
    clock: str,
    source: str,
    page_lists: bool,
    samples: bool,
    more: tuple[str, ...],
    report: Path | None,
    instance: str,
    tracefs: Path | None,
    key: Path | None,
    daemon_key: Path | None,
    dry_run: bool,
    command: tuple[str, ...],
) -> int:
    r"""Trace this machine's memory allocation.

    As root, on Linux. A private instance of tracefs is set up, what the kernel records in it is
    imported as it comes (see pfmemd import ftrace), and everything is put back at the end:
    after --seconds, when COMMAND has ended, on Ctrl-C, SIGTERM, or an error. Copies of /proc
    and /sys/kernel/slab files are taken before and after, so that the model begins where the
    machine stood. The report says what was understood, and what the kernel had no room for.

    \b
    pfmemd capture -o swap.pfmt.zst --seconds 30
    pfmemd capture -o load.pfmt.zst --raw load.txt.zst -- stress-ng --vm 2 --timeout 20
    pfmemd capture -o t.pfmt --raw t.txt --samples --page-lists --seconds 30
    pfmemd capture --connect tcp://127.0.0.1:5571 --source host-a
    pfmemd capture -o - | ssh other pfmemd serve -
    pfmemd capture --dry-run --seconds 30 > by-hand.sh

    The exit code is 0 when it is written, 2 for wrong use, 3 without root or tracefs, or when
    the disk or the daemon gave way. docs/CAPTURE.md tells more.
    """
    if not dry_run and (output is None) == (connect is None):
        raise click.UsageError("say where to: -o OUT or --connect URL")
    if (key is None) != (daemon_key is None):
        raise click.UsageError("--key and --daemon-key go together")
    place = find_tracefs() if tracefs is None else tracefs
    wanted = (*WANTED, *(PAGE_LISTS if page_lists else ()))
    recording = Recording(_choose(place, wanted, more), clock, buffer << 10)
    if dry_run:
        target = output or "trace.pfmt.zst"
        how = f"pfmemd import ftrace trace.txt -o {target} --proc before --clock {clock}"
        click.echo(script(place, instance, recording, seconds, f"{how} --source {source}"))
        return EXIT_GOOD
    if machine_files is None and output not in {None, STANDARD_STREAM}:
        machine_files = Path(f"{output}.machine")
    capture(
        Plan(
            tracefs=place,
            instance=instance,
            recording=recording,
            source=source,
            epoch=time.time_ns() // 1000,
            output=output,
            connect=connect,
            keys=sender_keys(key, daemon_key) if key and daemon_key else None,
            raw=raw,
            machine_files=machine_files,
            samples=samples,
            seconds=seconds,
            command=command,
            report=report,
        )
    )
    return EXIT_GOOD


def _choose(tracefs: Path, wanted: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """The events to be recorded: what must be there, what is there of the rest."""
    if not os.access(tracefs / "events", os.R_OK | os.X_OK):
        raise TracefsError(f"{tracefs} is no tracefs, or not ours to read: run it as root")
    has, missing = available(tracefs, (*NEEDED, *more))
    if missing:
        raise TracefsError(f"this kernel has no event {missing[0]}, expected it in {tracefs}")
    return (*has, *available(tracefs, wanted)[0])
