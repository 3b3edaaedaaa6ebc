"""Looks through a journal without changing it: what is in it, and whether it is sound.

For the commands ``pfmemd journal info``, ``verify`` and ``export``. A daemon may be writing
meanwhile; what it has not finished then looks like a torn tail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from daemon.files import Folder
from daemon.journal.errors import CorruptJournalError, JournalError
from daemon.journal.layout import Position, segment_name
from daemon.journal.reader import JournalReader
from daemon.snapshots import (
    Snapshot,
    SnapshotFileError,
    generations,
    read_snapshot,
    snapshot_name,
)
from tracegen.batch import Batch, EventBatch, HeaderBatch, check, decode
from tracegen.errors import EXIT_BAD, BatchError, PfmemdError
from tracegen.header import Header


class NoJournalError(PfmemdError):
    """The folder holds no journal."""


class UnsoundError(PfmemdError):
    """The journal or a snapshot is not what it should be."""

    exit_code = EXIT_BAD


@dataclass(slots=True)
class Stretch:
    """Consecutive batches of one epoch of a source."""

    source: str
    epoch: int
    first: int
    last: int
    events: int = 0
    header: Header | None = None
    """None when the journal no longer has it."""

    @property
    def whole(self) -> bool:
        """Whether it begins with the epoch's header."""
        return self.first == 1


@dataclass(slots=True)
class SegmentSurvey:
    """What one segment holds."""

    name: str
    size: int
    created_ns: int
    groups: int = 0
    batches: int = 0
    events: int = 0


@dataclass(slots=True)
class SnapshotSurvey:
    """A snapshot that is there: what it says, or why it is of no use."""

    name: str
    size: int
    snapshot: Snapshot | None
    trouble: str | None


@dataclass(slots=True)
class Survey:
    """Everything that a folder holds."""

    folder: str
    reader: JournalReader
    segments: list[SegmentSurvey] = field(default_factory=list)
    stretches: dict[tuple[str, int], Stretch] = field(default_factory=dict)
    snapshots: list[SnapshotSurvey] = field(default_factory=list)

    @property
    def events(self) -> int:
        """Events of the whole journal."""
        return sum(segment.events for segment in self.segments)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        torn = self.reader.torn
        return {
            "folder": self.folder,
            "bytes": self.reader.size,
            "complete": self.reader.complete,
            "events": self.events,
            "segments": [
                {
                    "name": segment.name,
                    "bytes": segment.size,
                    "created": timestamp(segment.created_ns),
                    "groups": segment.groups,
                    "batches": segment.batches,
                    "events": segment.events,
                }
                for segment in self.segments
            ],
            "sources": [
                {
                    "source": stretch.source,
                    "epoch": stretch.epoch,
                    "first_seq": stretch.first,
                    "last_seq": stretch.last,
                    "events": stretch.events,
                }
                for stretch in self.stretches.values()
            ],
            "snapshots": [_snapshot_json(one) for one in self.snapshots],
            "torn_tail": None
            if torn is None
            else {"position": str(torn.position), "bytes": torn.size, "why": torn.what},
        }


def _snapshot_json(one: SnapshotSurvey) -> dict[str, Any]:
    found: dict[str, Any] = {"name": one.name, "bytes": one.size, "trouble": one.trouble}
    if one.snapshot is not None:
        found["position"] = str(one.snapshot.position)
        found["taken"] = timestamp(one.snapshot.taken_ns)
        found["program"] = one.snapshot.program
        found["sources"] = {
            source.name: {"seq": source.applied_seq, "variants": list(source.machines)}
            for source in one.snapshot.sources
        }
    return found


def timestamp(unix_ns: int) -> str:
    """A time as people and programs read it."""
    return datetime.fromtimestamp(unix_ns / 1e9, UTC).isoformat(timespec="seconds")


def survey(
    folder: Folder,
    *,
    deep: bool = False,
    each: Callable[[Stretch, bytes], None] = lambda _stretch, _data: None,
) -> Survey:
    """Go through the journal of ``folder`` from its first group to its last.

    ``deep`` also checks every event and holds the snapshots against the journal. ``each``
    gets every batch, after the stretch that it belongs to. Raises :class:`UnsoundError`,
    :class:`CorruptJournalError` or :class:`JournalError`.
    """
    # First, because a daemon that is writing takes the next one at a later place.
    snapshots = _snapshots(folder)
    reader = JournalReader(folder)
    if not reader.segments:
        raise NoJournalError(f"there is no journal in {folder.name}")
    found = Survey(folder.name, reader)
    found.snapshots = snapshots
    due = _Due(found.snapshots, deep=deep)
    found.segments = [
        SegmentSurvey(segment_name(one.number), one.size, one.header.created_ns)
        for one in reader.segments
    ]
    by_number = dict(zip((one.number for one in reader.segments), found.segments, strict=True))
    for group in reader.groups():
        due.look(folder.name, group.position, found.stretches)
        segment = by_number[group.position.segment]
        segment.groups += 1
        for data in group.batches:
            batch = _decode(folder.name, group.position, data)
            stretch = _follow(folder.name, group.position, found.stretches, batch)
            if isinstance(batch, EventBatch):
                segment.events += batch.events
                stretch.events += batch.events
                if deep and stretch.header is not None:
                    _check(folder.name, group.position, batch, stretch.header)
            segment.batches += 1
            each(stretch, data)
    due.finish(folder.name, reader, found.stretches)
    return found


def _decode(folder: str, position: Position, data: bytes) -> Batch:
    try:
        return decode(data)
    except BatchError as error:
        raise CorruptJournalError(folder, position, str(error)) from None


def _check(folder: str, position: Position, batch: EventBatch, header: Header) -> None:
    try:
        check(batch, header)
    except BatchError as error:
        raise CorruptJournalError(folder, position, str(error)) from None


def _follow(
    folder: str, position: Position, stretches: dict[tuple[str, int], Stretch], batch: Batch
) -> Stretch:
    """The stretch that the batch goes on with, or begins."""
    key = (batch.source, batch.epoch)
    stretch = stretches.get(key)
    if stretch is None:
        stretch = stretches[key] = Stretch(batch.source, batch.epoch, batch.seq, batch.seq)
        if isinstance(batch, HeaderBatch):
            stretch.header = batch.header
    elif batch.seq == stretch.last + 1:
        stretch.last = batch.seq
    else:
        what = (
            f"batch {batch.seq} of {batch.source}, epoch {batch.epoch}, follows batch"
            f" {stretch.last}"
        )
        raise CorruptJournalError(folder, position, what)
    return stretch


def _snapshots(folder: Folder) -> list[SnapshotSurvey]:
    found = []
    try:
        for generation in generations(folder):
            name = snapshot_name(generation)
            try:
                snapshot = read_snapshot(folder, name, machines=False)
                found.append(SnapshotSurvey(name, folder.size(name), snapshot, None))
            except SnapshotFileError as error:
                if name in folder.names():  # else a daemon has just removed it
                    found.append(SnapshotSurvey(name, folder.size(name), None, str(error)))
    except OSError as error:
        raise JournalError(f"cannot read {folder.name}: {error.strerror}") from None
    return found


class _Due:
    """Snapshots whose place in the journal is still to come, the nearest first."""

    def __init__(self, snapshots: list[SnapshotSurvey], *, deep: bool) -> None:
        self._left = sorted(
            (one.snapshot.position, one.name, one.snapshot)
            for one in snapshots
            if deep and one.snapshot is not None
        )

    def look(
        self, folder: str, position: Position, stretches: dict[tuple[str, int], Stretch]
    ) -> None:
        """The journal goes on at ``position``: hold what stands there against it."""
        while self._left and self._left[0][0] <= position:
            place, name, snapshot = self._left.pop(0)
            if place != position:
                raise UnsoundError(f"{folder}: {name} stands at {place}, where no group begins")
            _hold_against(folder, name, snapshot, stretches)

    def finish(
        self,
        folder: str,
        reader: JournalReader,
        stretches: dict[tuple[str, int], Stretch],
    ) -> None:
        """The journal has ended."""
        for place, name, snapshot in self._left:
            if not reader.holds(place):
                raise UnsoundError(f"{folder}: {name} stands at {place}, which is not there")
            _hold_against(folder, name, snapshot, stretches)


def _hold_against(
    folder: str, name: str, snapshot: Snapshot, stretches: dict[tuple[str, int], Stretch]
) -> None:
    """The snapshot says of each source what the journal before it says."""
    for source in snapshot.sources:
        header = decode(source.header)
        stretch = stretches.get((source.name, header.epoch))
        if stretch is not None and stretch.last != source.applied_seq:
            raise UnsoundError(
                f"{folder}: {name} has batch {source.applied_seq} of {source.name}, epoch"
                f" {header.epoch}, as the last one; the journal before it has {stretch.last}"
            )
