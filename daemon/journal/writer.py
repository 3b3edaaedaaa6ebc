"""Appends groups of batches to the journal, and makes them safe.

A group is appended in one write and is then safe from the end of the process. When it is
safe from the end of the machine is the fsync mode's to say: always before
:meth:`Journal.wait_until_safe` returns, within an interval, or whenever the operating
system likes. Between :meth:`Journal.append` and :meth:`Journal.wait_until_safe` the
disk works in a thread of its own, and whoever appended may do something useful.

A segment that has grown enough is finished and made safe before the next one begins, so
only the last one can have a torn tail.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from daemon.files import NO_ROOM, AppendFile, Folder
from daemon.histogram import Histogram
from daemon.journal.errors import JournalError, NoRoomError
from daemon.journal.layout import (
    JOURNAL_ID_SIZE,
    SEGMENT_HEADER_SIZE,
    Position,
    SegmentHeader,
    encode_group,
    encode_segment_header,
    segment_name,
)
from daemon.journal.reader import JournalReader, Segment

FsyncMode: TypeAlias = Literal["always", "interval", "never"]

SYNC_SECONDS_BOUNDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
)
"""From a disk with a battery to one that is being asked too much."""


@dataclass(frozen=True, slots=True)
class JournalRules:
    """How the journal is kept; see the settings of the same names."""

    fsync: FsyncMode = "always"
    fsync_interval_seconds: float = 1.0
    segment_bytes: int = 64 << 20
    retention_bytes: int = 4 << 30
    retention_seconds: float = 7 * 86400.0


@dataclass(slots=True)
class JournalCounts:
    """What the journal has done since the daemon started, and what it holds."""

    bytes: int = 0
    segments: int = 0
    appended_bytes: int = 0
    appended_batches: int = 0
    groups: int = 0
    removed_segments: int = 0
    refusals: int = 0
    """Groups that could not be written because there was no room."""
    torn_bytes: int = 0
    """Bytes of a torn tail that were cut off at start."""
    sync_seconds: Histogram = field(default_factory=lambda: Histogram(SYNC_SECONDS_BOUNDS))


class Journal:
    """The end of a journal, for its one writer."""

    def __init__(
        self,
        folder: Folder,
        found: JournalReader,
        rules: JournalRules,
        executor: Executor,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        draw: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """Go on at the end of ``found``, which has been read through.

        A torn tail is cut off. Whatever is there is made safe: the process that wrote it
        may not have come so far, and from here on it counts as kept. ``executor`` runs
        what waits for the disk, one thing at a time. Raises :class:`JournalError`.
        """
        self._folder = folder
        self._rules = rules
        self._executor = executor
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        self._draw = draw
        self._segments = list(found.segments)
        self.counts = JournalCounts()
        self.id = found.journal or draw(JOURNAL_ID_SIZE)
        self._syncing: Future[None] | None = None
        self._lost: str | None = None
        """Why nobody knows what the disk holds, once it has failed. Asking it again proves
        nothing: a system may forget what it failed to write, and then report success."""
        self._synced_at = clock()
        try:
            if found.unfinished is not None:
                folder.remove(found.unfinished)
            if self._segments:
                self._reopen(found)
            else:
                self._begin_segment(1, 0)
        except OSError as error:
            raise self._failed("cannot go on with", error) from None
        self._safe_size = self._size
        self._count_segments()

    # What is where.

    @property
    def end(self) -> Position:
        """Where the next group will be, if this segment takes it."""
        return Position(self._header.number, self._size)

    @property
    def oldest_segment(self) -> int:
        """The number of the first segment that is still there."""
        return self._segments[0].number if self._segments else self._header.number

    # Writing.

    def append(self, batches: Sequence[bytes]) -> None:
        """Write one group.

        Raises :class:`NoRoomError` when it does not fit on the disk: the journal is then as
        before. Raises :class:`JournalError` when nothing can be relied on any more.
        """
        if self._size >= self._rules.segment_bytes:
            self._rotate()
        group = encode_group(
            batches, self._header.salt, self._size, self._safe_size, self._wall_clock_ns()
        )
        try:
            self._file.append(group)
        except OSError as error:
            self._take_back()
            raise self._failed("cannot write", error) from None
        self._size += len(group)
        if not self._file.linked:
            name = segment_name(self._header.number)
            raise JournalError(f"{name} was removed from {self._folder.name} while it was written")
        self.counts.groups += 1
        self.counts.appended_batches += len(batches)
        self.counts.appended_bytes += len(group)
        self.counts.bytes += len(group)
        self._begin_sync()

    def wait_until_safe(self) -> None:
        """Return when what was appended is as safe as the fsync mode promises.

        Raises :class:`JournalError` if the disk failed: nobody knows then what it holds.
        """
        if self._syncing is None:
            return
        if self._rules.fsync == "always" or self._syncing.done():
            self._end_sync()

    def turn(self) -> None:
        """Do what is due by the time alone: an interval is over though nothing was appended."""
        if self._syncing is None and self._safe_size < self._size:
            self._begin_sync()
        self.wait_until_safe()

    def make_safe(self) -> None:
        """Make everything appended safe now, whatever the mode. Raises :class:`JournalError`."""
        self._end_sync()
        if self._lost is not None:
            raise JournalError(self._lost)
        if self._safe_size < self._size:
            self._submit_sync()
            self._end_sync()

    def has_room(self, size: int) -> bool:
        """Whether ``size`` more bytes would fit on the disk, and a file could be opened."""
        try:
            self._file.reserve(size)
            self._folder.open(segment_name(self._header.number)).close()
        except OSError as error:
            if error.errno in NO_ROOM:
                return False
            raise self._failed("cannot write", error) from None
        return True

    def retain(self, needed: Position) -> int:
        """Remove the oldest segments beyond size and age, but none from ``needed`` on.

        Returns how many went. Raises :class:`JournalError`.
        """
        oldest_ns = self._wall_clock_ns() - int(self._rules.retention_seconds * 1e9)
        removed = 0
        while self._segments and self._segments[0].number < needed.segment:
            # A segment is as old as the beginning of the one after it.
            after = self._segments[1].header if len(self._segments) > 1 else self._header
            if self.counts.bytes <= self._rules.retention_bytes and after.created_ns >= oldest_ns:
                break
            try:
                self._folder.remove(segment_name(self._segments[0].number))
            except OSError as error:
                raise self._failed("cannot remove the oldest segment of", error) from None
            self.counts.bytes -= self._segments[0].size
            del self._segments[0]
            removed += 1
        self.counts.removed_segments += removed
        self.counts.segments -= removed
        return removed

    def close(self) -> None:
        """Make everything safe and give the files up."""
        try:
            self.make_safe()
        finally:
            self._file.close()

    # Inside.

    def _reopen(self, found: JournalReader) -> None:
        last = self._segments.pop()
        self._header = last.header
        self._size = last.size
        self._file = self._folder.extend(segment_name(last.number))
        if found.torn is not None:
            self._size = found.torn.position.offset
            self._file.truncate(self._size)
            self.counts.torn_bytes = found.torn.size
        self._file.sync()
        self._folder.sync()

    def _begin_segment(self, number: int, previous_size: int) -> None:
        """Make segment ``number`` the one that is written, once it is safely there."""
        salt = int.from_bytes(self._draw(4), "little")
        header = SegmentHeader(number, self._wall_clock_ns(), self.id, previous_size, salt)
        name = segment_name(number)
        file = self._folder.create(name)
        try:
            file.append(encode_segment_header(header))
            file.sync()
            self._folder.sync()
        except OSError:
            file.close()
            with suppress(OSError):  # an unfinished one is known by its header
                self._folder.remove(name)
            raise
        self._file = file
        self._header = header
        self._size = SEGMENT_HEADER_SIZE

    def _rotate(self) -> None:
        """Finish the segment and begin the next one."""
        self.make_safe()
        finished = Segment(self._header, self._size)
        old = self._file
        try:
            self._begin_segment(finished.number + 1, finished.size)
        except OSError as error:
            raise self._failed("cannot begin a segment of", error) from None
        old.close()
        self._segments.append(finished)
        self._safe_size = self._size
        self.counts.segments += 1
        self.counts.bytes += self._size

    def _take_back(self) -> None:
        """Cut off what a write that failed has left."""
        try:
            self._file.truncate(self._size)
        except OSError as error:
            raise JournalError(
                f"cannot cut {segment_name(self._header.number)} in {self._folder.name} back to its"
                f" last whole group: {error.strerror}"
            ) from None

    def _begin_sync(self) -> None:
        """Start what the fsync mode wants, unless it is under way."""
        match self._rules.fsync:
            case "always":
                self._submit_sync()
            case "interval" if self._syncing is None:
                if self._clock() - self._synced_at >= self._rules.fsync_interval_seconds:
                    self._submit_sync()
            case _:
                pass

    def _submit_sync(self) -> None:
        self._syncing = self._executor.submit(self._sync, self._file, self._size)

    def _sync(self, file: AppendFile, size: int) -> None:
        """In the thread that waits for the disk."""
        started = self._clock()
        file.sync()
        self._safe_size = size
        self._synced_at = self._clock()
        self.counts.sync_seconds.observe(self._synced_at - started)

    def _end_sync(self) -> None:
        """Wait for the sync that is under way."""
        syncing, self._syncing = self._syncing, None
        if syncing is None:
            return
        try:
            syncing.result()
        except OSError as error:
            self._lost = (
                f"the disk failed to keep {segment_name(self._header.number)} in"
                f" {self._folder.name}: {error.strerror}"
            )
            raise JournalError(self._lost) from None

    def _failed(self, what: str, error: OSError) -> JournalError:
        text = f"{what} the journal in {self._folder.name}: {error.strerror}"
        if error.errno in NO_ROOM:
            self.counts.refusals += 1
            return NoRoomError(text)
        return JournalError(text)

    def _count_segments(self) -> None:
        self.counts.segments = len(self._segments) + 1
        self.counts.bytes = sum(segment.size for segment in self._segments) + self._size
