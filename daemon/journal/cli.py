"""``pfmemd journal``: what a data folder holds, whether it is sound, and a trace out of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from daemon.files import OsFolder
from daemon.journal.errors import CorruptJournalError
from daemon.journal.survey import (
    SnapshotSurvey,
    Stretch,
    Survey,
    UnsoundError,
    survey,
    timestamp,
)
from tracegen.errors import EXIT_BAD, PfmemdError
from tracegen.trace_file import TraceWriter

_FOLDER: Final = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


class NothingToExportError(PfmemdError):
    """The journal has no epoch from its beginning."""

    exit_code = EXIT_BAD


@click.group("journal")
def journal_group() -> None:
    """Look into the folder that `pfmemd serve --data-dir` keeps.

    Nothing is changed, and a daemon may be running on it.
    """


@journal_group.command("info")
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def info(folder: Path, *, as_json: bool) -> None:
    r"""Tell what is in a journal.

    Segments, sources with their epochs and batches, snapshots, and whether something was cut
    off by a crash.

    \b
    Example:
      pfmemd journal info /var/lib/pfmemd
    """
    found = _look(folder, deep=False)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(_render(found)))


@journal_group.command("verify")
@_FOLDER
def verify(folder: Path) -> None:
    r"""Read everything, and say whether it is what was written.

    Every checksum, every batch and event, the order of the batches of each source, and
    whether each snapshot agrees with the journal. Exit code 1 names the first place that is
    damaged. A torn tail is no damage: it was promised to nobody.

    \b
    Example:
      pfmemd journal verify /var/lib/pfmemd
    """
    found = _look(folder, deep=True)
    for one in found.snapshots:
        if one.trouble is not None:
            raise UnsoundError(f"{folder}: {one.name}: {one.trouble}")
    torn = found.reader.torn
    tail = "" if torn is None else f"; a torn tail of {torn.size:,} bytes at {torn.position}"
    click.echo(
        f"{folder}: sound: {len(found.segments):,} segments, {found.reader.size:,} bytes,"
        f" {sum(segment.batches for segment in found.segments):,} batches,"
        f" {found.events:,} events, {len(found.snapshots)} snapshots{tail}"
    )


@journal_group.command("export")
@_FOLDER
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE|-",
    help="The trace; '-' is standard output, a name that ends in .zst is compressed.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME",
    help="Only this source; give it once for each.  [default: all]",
)
def export(folder: Path, output: str, sources: tuple[str, ...]) -> None:
    r"""Make an ordinary trace of a journal, byte for byte what was received.

    An epoch whose beginning has been removed with old segments cannot be part of a trace; it
    is left out, and named.

    \b
    Examples:
      pfmemd journal export /var/lib/pfmemd -o night.pfmt.zst
      pfmemd journal export /var/lib/pfmemd --source host-a -o - | pfmemd run -
    """
    left_out: dict[tuple[str, int], Stretch] = {}
    with TraceWriter(output) as writer:

        def write(stretch: Stretch, data: bytes) -> None:
            if sources and stretch.source not in sources:
                return
            if stretch.whole:
                writer.write_bytes(data)
            else:
                left_out[stretch.source, stretch.epoch] = stretch

        with OsFolder(folder) as opened:
            survey(opened, each=write)
        if not writer.batches:
            raise NothingToExportError(_nothing(folder, sources, left_out.values()))
    for stretch in left_out.values():
        click.echo(f"left out: {_describe(stretch)}: it has lost its beginning", err=True)


def _look(folder: Path, *, deep: bool) -> Survey:
    try:
        with OsFolder(folder) as opened:
            return survey(opened, deep=deep)
    except CorruptJournalError as error:
        raise UnsoundError(str(error)) from None


def _nothing(folder: Path, sources: tuple[str, ...], left_out: Iterable[Stretch]) -> str:
    found = ", ".join(_describe(stretch) for stretch in left_out)
    wanted = f" of {', '.join(sources)}" if sources else ""
    lost = f"; without their beginning: {found}" if found else ""
    return f"{folder}: no epoch{wanted} is there from its beginning{lost}"


def _describe(stretch: Stretch) -> str:
    return (
        f"{stretch.source} epoch {stretch.epoch}, batches {stretch.first:,} to {stretch.last:,},"
        f" {stretch.events:,} events"
    )


def _render(found: Survey) -> list[str]:
    """The survey for people."""
    reader = found.reader
    reach = (
        "from its beginning"
        if reader.complete
        else f"from {found.segments[0].name} on; what was before has been removed"
    )
    what = f"{len(found.segments):,} segments, {reader.size:,} bytes, {found.events:,} events"
    lines = [f"{found.folder}: {what}, {reach}"]
    lines += [
        f"  {segment.name}  {segment.size:>14,} bytes  {timestamp(segment.created_ns)}"
        f"  {segment.groups:>8,} groups  {segment.batches:>9,} batches"
        for segment in found.segments
    ]
    lines.append("sources")
    lines += [f"  {_describe(stretch)}" for stretch in found.stretches.values()] or ["  none"]
    lines.append("snapshots, the newest first")
    lines += [f"  {_describe_snapshot(one)}" for one in found.snapshots] or ["  none"]
    if reader.torn is not None:
        torn = reader.torn
        lines.append(f"torn tail: {torn.size:,} bytes at {torn.position}: {torn.what}")
    return lines


def _describe_snapshot(one: SnapshotSurvey) -> str:
    size = f"{one.name}  {one.size:>14,} bytes"
    if one.snapshot is None:
        return f"{size}  of no use: {one.trouble}"
    variants = sorted({name for source in one.snapshot.sources for name in source.machines})
    return (
        f"{size}  {timestamp(one.snapshot.taken_ns)}  at {one.snapshot.position}:"
        f" {len(one.snapshot.sources)} sources, {' '.join(variants) or 'no models'}"
    )
