"""Reads a journal back, and judges what it finds where a group should be.

Three things can end a journal. Its end. A torn tail: bytes that were being written when
the process or the machine died, and that nobody was promised. Damage: bytes that were
safe once and are not what was written. A tail is torn only in the last segment, and
only if no whole group behind it says that this place was safe already when it was
written. Everything else is damage, and is never passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from daemon.files import Folder, ReadFile
from daemon.journal.errors import CorruptJournalError, JournalError
from daemon.journal.layout import (
    GROUP_HEADER_SIZE,
    GROUP_MAGIC,
    SEGMENT_HEADER_SIZE,
    GroupHeader,
    Position,
    SegmentHeader,
    decode_group_header,
    decode_payload,
    decode_segment_header,
    segment_name,
    segment_numbers,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that is there: its header and its size in bytes."""

    header: SegmentHeader
    size: int

    @property
    def number(self) -> int:
        """Its number."""
        return self.header.number


@dataclass(frozen=True, slots=True)
class Group:
    """Batches that were written in one go."""

    position: Position
    end: Position
    written_ns: int
    batches: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TornTail:
    """What a crash left behind the last whole group."""

    position: Position
    size: int
    what: str


class JournalReader:
    """The segments of a folder, and the groups in them."""

    def __init__(self, folder: Folder) -> None:
        """Look at every segment's header.

        Raises :class:`CorruptJournalError` for a segment that is missing, or whose header or
        size is not what it was, :class:`JournalError` for what cannot be read.
        """
        self._folder = folder
        self.segments: list[Segment] = []
        self.unfinished: str | None = None
        """A last segment that was never begun: a crash came between its name and its header."""
        self.torn: TornTail | None = None
        """What :meth:`groups` found behind the last whole group."""
        try:
            numbers = segment_numbers(folder.names())
        except OSError as error:
            raise self._unreadable("the names", error) from None
        for number in numbers:
            self._add(number, is_last=number == numbers[-1])

    @property
    def journal(self) -> bytes | None:
        """What all segments carry to tell this journal from others; None without segments."""
        return self.segments[0].header.journal if self.segments else None

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def complete(self) -> bool:
        """Whether the journal reaches back to its beginning."""
        return not self.segments or self.segments[0].number == 1

    @property
    def start(self) -> Position:
        """Where the first group is, or would be."""
        number = self.segments[0].number if self.segments else 1
        return Position(number, SEGMENT_HEADER_SIZE)

    def size_from(self, position: Position) -> int:
        """Bytes from ``position`` to the end."""
        return sum(
            segment.size - (position.offset if segment.number == position.segment else 0)
            for segment in self.segments
            if segment.number >= position.segment
        )

    def holds(self, position: Position) -> bool:
        """Whether the journal reaches from before ``position`` to it, or past it."""
        return any(
            segment.number == position.segment and position.offset <= segment.size
            for segment in self.segments
        )

    def groups(self, start: Position | None = None) -> Iterator[Group]:
        """Every group from ``start`` on, which is the beginning or the end of one.

        Sets :attr:`torn` at a torn tail; raises :class:`CorruptJournalError` at damage.
        """
        start = start or self.start
        for segment in self.segments:
            if segment.number < start.segment:
                continue
            offset = start.offset if segment.number == start.segment else SEGMENT_HEADER_SIZE
            with closing(self._open(segment.number)) as file:
                yield from self._groups_of(segment, file, offset)

    def _groups_of(self, segment: Segment, file: ReadFile, offset: int) -> Iterator[Group]:
        while offset < segment.size:
            found = self._group(segment, file, offset)
            if isinstance(found, str):
                self._judge(segment, file, offset, found)
                return
            yield found
            offset = found.end.offset

    def _group(self, segment: Segment, file: ReadFile, offset: int) -> Group | str:
        """The group at ``offset``, or what is wrong with it."""
        salt = segment.header.salt
        available = segment.size - offset
        data = self._read(file, segment.number, offset, min(GROUP_HEADER_SIZE, available))
        header = decode_group_header(data, salt, offset)
        if isinstance(header, str):
            return header
        return self._body(segment, file, header)

    def _body(self, segment: Segment, file: ReadFile, header: GroupHeader) -> Group | str:
        start = header.offset + GROUP_HEADER_SIZE
        size = min(header.payload_size, segment.size - start)
        payload = self._read(file, segment.number, start, size)
        batches = decode_payload(payload, header, segment.header.salt)
        if isinstance(batches, str):
            return batches
        return Group(
            Position(segment.number, header.offset),
            Position(segment.number, start + header.payload_size),
            header.written_ns,
            batches,
        )

    def _judge(self, segment: Segment, file: ReadFile, offset: int, what: str) -> None:
        """Take what is at ``offset`` for a torn tail, or raise."""
        position = Position(segment.number, offset)
        if segment is not self.segments[-1]:
            raise CorruptJournalError(self._folder.name, position, what)
        rest = self._read(file, segment.number, offset, segment.size - offset)
        at = rest.find(GROUP_MAGIC, 1)
        while at >= 0:
            header = decode_group_header(
                rest[at : at + GROUP_HEADER_SIZE], segment.header.salt, offset + at
            )
            # A header that was safe, or was written after this place was: either says so.
            if isinstance(header, GroupHeader) and header.safe_size > offset:
                raise CorruptJournalError(self._folder.name, position, what)
            at = rest.find(GROUP_MAGIC, at + 1)
        self.torn = TornTail(position, segment.size - offset, what)

    def _add(self, number: int, *, is_last: bool) -> None:
        name = segment_name(number)
        with closing(self._open(number)) as file:
            size = file.size
            data = self._read(file, number, 0, min(size, SEGMENT_HEADER_SIZE))
        header = decode_segment_header(data)
        if isinstance(header, str):
            if is_last and size <= SEGMENT_HEADER_SIZE:
                self.unfinished = name
                return
            raise CorruptJournalError(self._folder.name, number, header)
        if header.number != number:
            what = f"the segment is number {header.number}"
            raise CorruptJournalError(self._folder.name, number, what)
        if self.segments:
            self._follows(self.segments[-1], header)
        self.segments.append(Segment(header, size))

    def _follows(self, before: Segment, header: SegmentHeader) -> None:
        what = None
        if header.journal != before.header.journal:
            what = "the segment is of another journal"
        elif header.number != before.number + 1:
            what = f"{segment_name(before.number + 1)} is missing before it"
        elif header.previous_size != before.size:
            what = (
                f"{segment_name(before.number)} before it has {before.size} bytes,"
                f" it had {header.previous_size}"
            )
        if what is not None:
            raise CorruptJournalError(self._folder.name, header.number, what)

    def _open(self, number: int) -> ReadFile:
        try:
            return self._folder.open(segment_name(number))
        except OSError as error:
            raise self._unreadable(segment_name(number), error) from None

    def _read(self, file: ReadFile, number: int, offset: int, size: int) -> bytes:
        try:
            return file.read(offset, size)
        except OSError as error:
            raise self._unreadable(str(Position(number, offset)), error) from None

    def _unreadable(self, what: str, error: OSError) -> JournalError:
        return JournalError(f"cannot read {what} in {self._folder.name}: {error.strerror}")
