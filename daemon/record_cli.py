"""``pfmemd record``: what a running daemon takes, as an ordinary trace."""

from __future__ import annotations

import time
from pathlib import Path

import click

from daemon.files import OsFolder
from daemon.record import Recording, follow, present_epochs
from tracegen.errors import EXIT_BAD, EXIT_GOOD, PfmemdError
from tracegen.interruption import interruptible
from tracegen.trace_file import TraceWriter


class NothingRecordedError(PfmemdError):
    """No batch came that could be part of a trace."""

    exit_code = EXIT_BAD


@click.command("record")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE|-",
    help="The trace; - passes it on as it comes, a name that ends in .zst is compressed.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME",
    help="Only this source; give it once for each.  [default: all]",
)
@click.option("--all", "everything", is_flag=True, help="Earlier lives of the sources as well.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after so long.")
@click.option("--events", type=click.IntRange(min=1), help="Stop after so many events.")
def record_command(
    folder: Path,
    output: str,
    sources: tuple[str, ...],
    *,
    everything: bool,
    seconds: float | None,
    events: int | None,
) -> int:
    r"""Record what a running daemon takes.

    DIR is the daemon's --data-dir: the recorder follows the journal in it, so the daemon never
    waits for the recorder and does not know of it, however slow it is. The life that each source
    is in is recorded from its beginning, for no trace begins in the middle of one; lives that
    begin later follow. Ctrl-C or SIGTERM ends the trace whole. What was removed from the journal
    before it was read is told.

    \b
    pfmemd serve --data-dir night &
    pfmemd record night -o night.pfmt.zst
    pfmemd record night -o - --source host-a | pfmemd run -

    The exit code is 0 when something was recorded and nothing missed, 1 if not, 2 when there is
    no journal, 3 when the disk gave way.
    """
    ends_at = None if seconds is None else time.monotonic() + seconds
    with interruptible() as interruption, OsFolder(folder) as opened:

        def over() -> bool:
            return interruption.requested() or (ends_at is not None and time.monotonic() >= ends_at)

        since = {} if everything else present_epochs(opened)
        with TraceWriter(output) as writer:
            recording = Recording(writer.write_bytes, since, sources, events)
            missed_segments = follow(
                opened,
                recording,
                over,
                time.sleep,
            )
            if not recording.batches:
                raise NothingRecordedError(f"{folder}: nothing came that could be recorded")
    missed = recording.missed
    what = "".join(
        f"; MISSED {one.batches:,} batches of {one.source}, epoch {one.epoch}" for one in missed
    )
    if missed_segments:
        what += f"; the journal was shortened by up to {missed_segments:,} segments unread"
    click.echo(
        f"recorded {recording.events:,} events in {recording.batches:,} batches of"
        f" {recording.sources:,} sources{what or '; nothing was missed'}",
        err=True,
    )
    return EXIT_BAD if what else EXIT_GOOD
