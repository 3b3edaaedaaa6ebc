"""What a daemon keeps in its --data-dir: the journal and the snapshots, as one thing.

Only the thread that feeds the engine calls it. Disk work that takes long (making the
journal safe, writing a snapshot) is done by an executor beside it; a snapshot's images
are taken between two groups, so it stands at one place of the journal.

A snapshot that cannot be written costs nothing but time at the next start: it is logged,
counted and tried again. A journal that cannot be written stops the intake.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Final

import structlog

from daemon.engine import Engine
from daemon.files import Folder
from daemon.journal.errors import JournalError
from daemon.journal.layout import Position
from daemon.journal.writer import Journal, JournalCounts, JournalRules
from daemon.recovery import Recovered, recover
from daemon.snapshots import (
    KEPT,
    Snapshot,
    SnapshotFileError,
    generations,
    snapshot_name,
    write_snapshot,
)
from daemon.sources import MachineImages

log = structlog.get_logger()

SHARE: Final = 10
"""A snapshot that took a second is followed by the next one after ten at the earliest: it
never takes more than a tenth of the time, however large the machines are."""
RETRY_SECONDS: Final = 10.0
"""How long a snapshot that failed is left alone."""
LAST_SECONDS: Final = 0.5
"""A stop has two seconds; a snapshot that takes longer than this is left out of it."""


@dataclass(frozen=True, slots=True)
class SnapshotRules:
    """When snapshots are taken; see the settings of the same names."""

    interval_seconds: float = 60.0
    journal_bytes: int = 256 << 20


@dataclass(slots=True)
class SnapshotCounts:
    """What has become of the snapshots since the daemon started."""

    taken: int = 0
    failed: int = 0
    bytes: int = 0
    """Size of the newest one."""
    taken_at: float = 0.0
    """Unix time of the newest one; 0 before the first."""
    seconds: float = 0.0
    """How long the newest one took, from the first image to its being safe."""


@dataclass(frozen=True, slots=True)
class StorageReading:
    """What /metrics shows of the storage."""

    journal: JournalCounts
    snapshots: SnapshotCounts
    recovered: Recovered
    blocked: bool


@dataclass(slots=True)
class _Writing:
    """A snapshot on its way to the disk."""

    generation: int
    position: Position
    appended: int
    started: float
    taken_ns: int
    future: Future[int]


@dataclass(slots=True)
class Storage:
    """The journal and the snapshots of one daemon."""

    folder: Folder
    journal: Journal
    recovered: Recovered
    images: MachineImages
    rules: SnapshotRules
    executor: Executor
    """Writes snapshots; not the one that the journal waits for."""
    program: str
    clock: Callable[[], float] = time.monotonic
    wall_clock_ns: Callable[[], int] = time.time_ns
    snapshots: SnapshotCounts = field(default_factory=SnapshotCounts)
    blocked: bool = False
    """Whether the intake waits for room on the disk."""
    _writing: _Writing | None = None
    _kept: list[tuple[int, Position]] = field(init=False)
    _generation: int = field(init=False)
    _finished_at: float = field(init=False)
    """When the newest snapshot was there, or the daemon began."""
    _not_before: float = field(init=False)
    _appended_then: int = field(init=False)
    """What had been appended when the newest snapshot was taken."""

    def __post_init__(self) -> None:
        self._kept = self.recovered.snapshots[:KEPT]
        self._generation = self.recovered.newest_generation
        self._finished_at = self._not_before = self.clock()
        # What the start had to read again counts as written since the last snapshot.
        self._appended_then = -self.recovered.bytes_total

    def append(self, batches: Sequence[bytes]) -> None:
        """Write a group down, see :meth:`Journal.append`."""
        self.journal.append(batches)

    def wait_until_safe(self) -> None:
        """Return when what was appended may be acknowledged."""
        self.journal.wait_until_safe()

    def turn(self, engine: Engine) -> None:
        """Do what is due between two groups. Raises JournalError if the disk failed."""
        self.journal.turn()
        if self._writing is not None and self._writing.future.done():
            self._finish_snapshot()
        if self._writing is None and self._is_due():
            self._begin_snapshot(engine)

    def close(self, engine: Engine | None) -> None:
        """Make everything safe and give it up.

        With an ``engine`` that has applied all that was appended, a last snapshot spares the
        next start the reading, if snapshots are known to be quick.
        """
        self._finish_snapshot()
        quick = self.snapshots.taken > 0 and self.snapshots.seconds <= LAST_SECONDS
        if engine is not None and quick and self._written > 0:
            self._begin_snapshot(engine)
            self._finish_snapshot()
        self.journal.close()

    def read(self) -> StorageReading:
        """For /metrics."""
        return StorageReading(self.journal.counts, self.snapshots, self.recovered, self.blocked)

    # Snapshots.

    @property
    def _written(self) -> int:
        """Bytes of the journal that a start would have to read now."""
        return self.journal.counts.appended_bytes - self._appended_then

    def _is_due(self) -> bool:
        now = self.clock()
        if self._written <= 0 or now < self._not_before:
            return False
        return (
            self._written >= self.rules.journal_bytes
            or now - self._finished_at >= self.rules.interval_seconds
        )

    def _begin_snapshot(self, engine: Engine) -> None:
        started = self.clock()
        # A snapshot must not be ahead of its journal, whatever dies now.
        self.journal.make_safe()
        self._generation += 1
        snapshot = Snapshot(
            journal=self.journal.id,
            position=self.journal.end,
            taken_ns=self.wall_clock_ns(),
            program=self.program,
            sources=tuple(engine.images(self.images)),
        )
        future = self.executor.submit(write_snapshot, self.folder, self._generation, snapshot)
        appended = self.journal.counts.appended_bytes
        self._writing = _Writing(
            self._generation, snapshot.position, appended, started, snapshot.taken_ns, future
        )

    def _finish_snapshot(self) -> None:
        """Wait for the snapshot that is on its way, if there is one."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        counts = self.snapshots
        name = snapshot_name(writing.generation)
        try:
            counts.bytes = writing.future.result()
        except (OSError, SnapshotFileError) as error:
            counts.failed += 1
            log.warning("snapshot failed", snapshot=name, why=str(error))
            self._not_before = self.clock() + RETRY_SECONDS
            return
        self._appended_then = writing.appended
        counts.taken += 1
        counts.taken_at = writing.taken_ns / 1e9
        self._finished_at = self.clock()
        counts.seconds = self._finished_at - writing.started
        self._not_before = self._finished_at + SHARE * counts.seconds
        self._kept = [(writing.generation, writing.position), *self._kept][:KEPT]
        log.debug("snapshot taken", snapshot=name, bytes=counts.bytes)
        self._remove_old()

    def _remove_old(self) -> None:
        """Keep the newest snapshots, and of the journal what the older of them needs."""
        kept = {generation for generation, _ in self._kept}
        try:
            for generation in generations(self.folder):
                if generation not in kept:
                    self.folder.remove(snapshot_name(generation))
        except OSError as error:
            log.warning("old snapshot not removed", why=error.strerror)
        if len(self._kept) < KEPT:
            return
        try:
            removed = self.journal.retain(min(position for _, position in self._kept))
        except JournalError as error:
            log.warning("journal not shortened", why=str(error))
            return
        if removed:
            log.info("journal shortened", segments=removed, oldest=self.journal.oldest_segment)


def open_storage(
    folder: Folder,
    engine: Engine,
    images: MachineImages,
    journal_rules: JournalRules,
    snapshot_rules: SnapshotRules,
    program: str,
    progress: Callable[[Recovered], None],
    executors: tuple[Executor, Executor],
    *,
    clock: Callable[[], float] = time.monotonic,
    wall_clock_ns: Callable[[], int] = time.time_ns,
    draw: Callable[[int], bytes] = secrets.token_bytes,
) -> Storage:
    """Recover ``engine`` from the folder and go on from there.

    ``executors`` are the journal's and the snapshots'. Raises what :func:`recover` and
    :class:`Journal` raise.
    """
    recovered = recover(folder, engine, images, progress, clock)
    torn = recovered.reader.torn
    if torn is not None:
        log.warning(
            "torn tail cut off", position=str(torn.position), bytes=torn.size, why=torn.what
        )
    journal = Journal(
        folder,
        recovered.reader,
        journal_rules,
        executors[0],
        clock=clock,
        wall_clock_ns=wall_clock_ns,
        draw=draw,
    )
    log.info(
        "recovered",
        folder=folder.name,
        snapshot=None if recovered.used is None else snapshot_name(recovered.used),
        position=str(journal.end),
        batches=recovered.batches,
        events=recovered.events,
        seconds=round(recovered.seconds, 3),
    )
    return Storage(
        folder,
        journal,
        recovered,
        images,
        snapshot_rules,
        executors[1],
        program,
        clock,
        wall_clock_ns,
    )
