"""What stands in a segment of the journal, byte by byte.

A journal is a row of segments ``journal-N``, numbered from 1. A segment is a header and
groups after it. A group is what was written, and made safe, in one go: one or more
batches exactly as they were received, each after its length.

Everything is little-endian and under a checksum. The checksums of a segment's groups
begin from a random number that stands in its header, so that bytes which a sender chose
are never taken for a group. A group also says up to where the segment was known to be
safe on disk when it was written: that is what tells a damaged journal from one whose
last, unacknowledged bytes did not make it to the disk.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

LAYOUT_VERSION: Final = 1

_SEGMENT_MAGIC: Final = b"pfmemd journal\0\n"
_SEGMENT: Final = struct.Struct("<16sIIQQ16sQI")
"""Magic, version, CRC-32 of all that follows it, number, created_ns, journal id, size of
the segment before, salt."""
SEGMENT_HEADER_SIZE: Final = _SEGMENT.size
_SEGMENT_SUMMED: Final = 24
"""What the checksum of a segment's header covers begins here."""

GROUP_MAGIC: Final = b"\xc1grp"
"""0xc1 is the one byte that msgpack never uses."""
_GROUP: Final = struct.Struct("<4sIIIIQQQ")
"""Magic, CRC-32 of all that follows it in the header, CRC-32 of the payload, length of the
payload, batches, offset of the group, safe bytes of the segment, written_ns."""
GROUP_HEADER_SIZE: Final = _GROUP.size
_GROUP_SUMMED: Final = 8
_BATCH: Final = struct.Struct("<I")

MAX_GROUP_BYTES: Final = 16 << 20
"""No payload is longer; groups are far shorter, see ``daemon.intake``."""

JOURNAL_ID_SIZE: Final = 16
_NAME: Final = re.compile(r"journal-([0-9]{10})\Z")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the journal: between two groups, or the end."""

    segment: int
    offset: int

    def __str__(self) -> str:
        return f"{segment_name(self.segment)}, byte {self.offset}"


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The beginning of a segment."""

    number: int
    created_ns: int
    """Unix time."""
    journal: bytes
    """Drawn once for all segments of a journal, and for its snapshots."""
    previous_size: int
    """How long the segment before this one is; 0 for the first."""
    salt: int


@dataclass(frozen=True, slots=True)
class GroupHeader:
    """The beginning of a group."""

    payload_sum: int
    payload_size: int
    batches: int
    offset: int
    safe_size: int
    """Bytes of the segment that were safe on disk when the group was written."""
    written_ns: int
    """Unix time; for people and for retention, never for the model."""


def segment_name(number: int) -> str:
    """The file that holds segment ``number``."""
    return f"journal-{number:010d}"


def segment_numbers(names: Iterable[str]) -> list[int]:
    """The numbers of the segments among ``names``, in their order."""
    return sorted(int(found[1]) for name in names if (found := _NAME.match(name)))


def encode_segment_header(header: SegmentHeader) -> bytes:
    """The first bytes of a segment."""
    fields = (
        header.number,
        header.created_ns,
        header.journal,
        header.previous_size,
        header.salt,
    )
    unsummed = _SEGMENT.pack(_SEGMENT_MAGIC, LAYOUT_VERSION, 0, *fields)
    return _SEGMENT.pack(
        _SEGMENT_MAGIC, LAYOUT_VERSION, zlib.crc32(unsummed[_SEGMENT_SUMMED:]), *fields
    )


def decode_segment_header(data: bytes) -> SegmentHeader | str:
    """The header at the front of ``data``, or what is wrong with it."""
    if len(data) < SEGMENT_HEADER_SIZE:
        return f"the header has {len(data)} bytes, expected {SEGMENT_HEADER_SIZE}"
    magic, version, checksum, *fields = _SEGMENT.unpack_from(data)
    if magic != _SEGMENT_MAGIC:
        return "not a segment of a journal"
    if version != LAYOUT_VERSION:
        return f"the segment is of version {version}, expected {LAYOUT_VERSION}"
    if zlib.crc32(data[_SEGMENT_SUMMED:SEGMENT_HEADER_SIZE]) != checksum:
        return "the header's checksum is wrong"
    return SegmentHeader(*fields)


def encode_group(
    batches: Sequence[bytes], salt: int, offset: int, safe_size: int, written_ns: int
) -> bytes:
    """One group, as it is appended at ``offset`` of its segment."""
    parts = [b""]
    for batch in batches:
        parts.append(_BATCH.pack(len(batch)))
        parts.append(batch)
    payload_size = sum(map(len, parts))
    checksum = salt
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    fields = (checksum, payload_size, len(batches), offset, safe_size, written_ns)
    unsummed = _GROUP.pack(GROUP_MAGIC, 0, *fields)
    parts[0] = _GROUP.pack(GROUP_MAGIC, zlib.crc32(unsummed[_GROUP_SUMMED:], salt), *fields)
    return b"".join(parts)


def decode_group_header(data: bytes, salt: int, offset: int) -> GroupHeader | str:
    """The header of the group at ``offset`` of its segment, or what is wrong with it."""
    if len(data) < GROUP_HEADER_SIZE:
        return f"{len(data)} bytes are left, a group begins with {GROUP_HEADER_SIZE}"
    magic, checksum, *fields = _GROUP.unpack_from(data)
    if magic != GROUP_MAGIC:
        return "no group begins here"
    if zlib.crc32(data[_GROUP_SUMMED:GROUP_HEADER_SIZE], salt) != checksum:
        return "the checksum of the group's header is wrong"
    header = GroupHeader(*fields)
    if header.offset != offset:
        return f"the group belongs at byte {header.offset}"
    if header.payload_size > MAX_GROUP_BYTES:
        return f"the group has {header.payload_size} bytes, expected at most {MAX_GROUP_BYTES}"
    return header


def decode_payload(payload: bytes, header: GroupHeader, salt: int) -> tuple[bytes, ...] | str:
    """The batches of a group, or what is wrong with it."""
    if len(payload) < header.payload_size:
        return f"{len(payload)} bytes of the group are there, expected {header.payload_size}"
    if zlib.crc32(payload, salt) != header.payload_sum:
        return "the checksum of the group is wrong"
    batches = []
    at = 0
    while at + _BATCH.size <= len(payload):
        (size,) = _BATCH.unpack_from(payload, at)
        at += _BATCH.size
        batches.append(payload[at : at + size])
        at += size
    if at != len(payload) or len(batches) != header.batches:
        return "the lengths of the batches do not add up to the group"
    return tuple(batches)
