"""Recovery: the newest good snapshot, then the journal from there to its end.

What comes out is the state of a daemon that was never interrupted. What cannot give that
is refused with the place and the way out; nothing is skipped and nothing made up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from daemon.engine import Engine
from daemon.files import Folder
from daemon.journal.errors import CorruptJournalError, JournalError
from daemon.journal.layout import Position
from daemon.journal.reader import Group, JournalReader
from daemon.snapshots import (
    SnapshotFileError,
    generations,
    position_of,
    read_snapshot,
    remove_unfinished,
    snapshot_name,
)
from daemon.sources import Admitted, MachineImages, ModelFaultError
from tracegen.batch import EventBatch, decode
from tracegen.errors import BatchError

log = structlog.get_logger()


class RecoveryError(JournalError):
    """The folder cannot give back the state it stands for."""


@dataclass(slots=True)
class Recovered:
    """What recovery found and did."""

    reader: JournalReader
    snapshots: list[tuple[int, Position]]
    """Generation and place of the good snapshots that are there, the newest first."""
    newest_generation: int
    """The highest number that any snapshot has; 0 without one."""
    used: int | None = None
    """The generation that the state began from."""
    damaged_snapshots: int = 0
    bytes_total: int = 0
    """Of the journal, to be read."""
    bytes_done: int = 0
    batches: int = 0
    events: int = 0
    seconds: float = 0.0


def recover(
    folder: Folder,
    engine: Engine,
    images: MachineImages,
    progress: Callable[[Recovered], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Recovered:
    """Bring ``engine``, which is empty, to the state that ``folder`` stands for.

    ``progress`` is called after each group; what it raises ends the recovery. Raises
    :class:`CorruptJournalError`, :class:`RecoveryError` or :class:`JournalError`.
    """
    started = clock()
    try:
        remove_unfinished(folder)
        numbers = generations(folder)
    except OSError as error:
        raise JournalError(f"cannot use {folder.name}: {error.strerror}") from None
    reader = JournalReader(folder)
    recovered = Recovered(reader, [], numbers[0] if numbers else 0)
    start = _begin(folder, engine, images, recovered, numbers)
    recovered.bytes_total = reader.size_from(start)
    for group in reader.groups(start):
        _replay(folder, engine, group, recovered)
        recovered.bytes_done += group.end.offset - group.position.offset
        progress(recovered)
    recovered.seconds = clock() - started
    return recovered


def _begin(
    folder: Folder,
    engine: Engine,
    images: MachineImages,
    recovered: Recovered,
    numbers: list[int],
) -> Position:
    """Take over the newest snapshot that is of use; where the journal goes on from there."""
    reader = recovered.reader
    reasons: list[str] = []
    for number in numbers:
        name = snapshot_name(number)
        try:
            if recovered.used is None:
                position = _adopt(folder, engine, images, reader, name)
                recovered.used = number
            else:
                position = position_of(folder, name)
        except SnapshotFileError as error:
            log.warning("snapshot is of no use", snapshot=name, why=str(error))
            reasons.append(f"{name}: {error}")
            recovered.damaged_snapshots += 1
        else:
            recovered.snapshots.append((number, position))
    if recovered.used is not None:
        return recovered.snapshots[0][1]
    if reader.complete and (reader.segments or not numbers):
        return reader.start
    if not reader.segments:
        what = "there are snapshots, but no journal"
    else:
        what = f"the journal begins only with {reader.start}, and no snapshot says what was before"
    raise RecoveryError(
        f"{folder.name} cannot give back its state: {'; '.join([what, *reasons])}. Another"
        " --data-dir starts anew, and pfmemd send --new-epoch sends into it from the beginning"
    )


def _adopt(
    folder: Folder, engine: Engine, images: MachineImages, reader: JournalReader, name: str
) -> Position:
    snapshot = read_snapshot(folder, name)
    if reader.journal is not None and snapshot.journal != reader.journal:
        raise SnapshotFileError("it belongs to another journal")
    if not reader.holds(snapshot.position):
        # It was safe on disk as far as that before the snapshot got its name.
        raise CorruptJournalError(
            folder.name, snapshot.position, f"{name} continues here, but the journal is not there"
        )
    try:
        engine.adopt(snapshot.sources, images)
    except KeyError as error:
        raise SnapshotFileError(f"it has no machine of the variant {error.args[0]}") from None
    except ValueError as error:
        raise SnapshotFileError(str(error)) from None
    log.info(
        "snapshot read", snapshot=name, position=str(snapshot.position), program=snapshot.program
    )
    return snapshot.position


def _replay(folder: Folder, engine: Engine, group: Group, recovered: Recovered) -> None:
    """Apply a group as it was applied when it was written."""
    for data in group.batches:
        try:
            batch = decode(data)
            verdict = engine.admit(batch, data, bounded=False)
        except BatchError as error:
            # It was sound when it was written: this program judges otherwise than that one.
            raise RecoveryError(
                f"the journal in {folder.name} has at {group.position} what this program does"
                f" not accept: {error}"
            ) from None
        if not isinstance(verdict, Admitted):
            what = f"batch {batch.seq} of {batch.source}, epoch {batch.epoch}, is out of turn"
            raise CorruptJournalError(folder.name, group.position, what)
        try:
            engine.apply(verdict, group.written_ns / 1e9)
        except ModelFaultError as error:
            raise ModelFaultError(
                f"{error}. Every start from {folder.name} comes to this: leave that --variant out,"
                " or start anew in another --data-dir; pfmemd journal export gives the trace that"
                " shows it"
            ) from error
        recovered.batches += 1
        recovered.events += batch.events if isinstance(batch, EventBatch) else 0
