"""Snapshots: all sources and machines at one place of the journal, in one file.

A snapshot is written beside the others under a name of its own, made safe, and only then
given the name by which it counts; it is read back before an older one is removed. Two
generations are kept. So there is always a whole one, whenever the process or the machine
dies, and another if the disk spoils it.

The file: magic, version, CRC-32 of the summary, its length, the summary (msgpack: place
in the journal, sources, sizes and CRC-32 of the machines), and the machines' images.
"""

from __future__ import annotations

import re
import struct
import zlib
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import msgpack

from daemon.files import Folder, ReadFile
from daemon.journal.layout import Position
from daemon.sources import SourceImage

SNAPSHOT_VERSION: Final = 1
KEPT: Final = 2
"""Generations that are kept."""

_MAGIC: Final = b"pfmemd snapshot\n"
_HEAD: Final = struct.Struct("<16sIIQ")
_NAME: Final = re.compile(r"snapshot-([0-9]{10})\Z")
_UNFINISHED: Final = re.compile(r"snapshot-[0-9]{10}\.part\Z")


class SnapshotFileError(ValueError):
    """A file that is no whole snapshot, or cannot be read: says what is wrong."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that outlives the process, at one place of the journal."""

    journal: bytes
    position: Position
    """The batches before it are in here, those from it on are not."""
    taken_ns: int
    """Unix time."""
    program: str
    """Version of the program that took it."""
    sources: tuple[SourceImage, ...]


def snapshot_name(generation: int) -> str:
    """The file of a generation."""
    return f"snapshot-{generation:010d}"


def generations(folder: Folder) -> list[int]:
    """The generations that are there, the newest first. Raises OSError."""
    found = (_NAME.match(name) for name in folder.names())
    return sorted((int(match[1]) for match in found if match), reverse=True)


def write_snapshot(folder: Folder, generation: int, snapshot: Snapshot) -> int:
    """Put a snapshot safely into ``folder`` and read it back; returns its size in bytes.

    Raises OSError, and :class:`SnapshotFileError` if what can be read is not what was
    written. Without it there is no file of that name.
    """
    name = snapshot_name(generation)
    part = f"{name}.part"
    size = 0
    file = folder.create(part)
    try:
        with closing(file):
            for piece in _encode(snapshot):
                file.append(piece)
                size += len(piece)
            file.sync()
        read_snapshot(folder, part, machines=False)
        folder.rename(part, name)
    except (OSError, SnapshotFileError):
        with suppress(OSError):
            folder.remove(part)
        raise
    folder.sync()
    return size


def read_snapshot(folder: Folder, name: str, *, machines: bool = True) -> Snapshot:
    """The snapshot of that name, every checksum checked.

    ``machines`` False leaves the images out of what is returned, not out of what is
    checked. Raises :class:`SnapshotFileError`.
    """
    try:
        with closing(folder.open(name)) as file:
            return _decode(file, machines=machines)
    except OSError as error:
        raise SnapshotFileError(f"cannot be read: {error.strerror}") from None


def position_of(folder: Folder, name: str) -> Position:
    """Where in the journal a snapshot stands. Raises :class:`SnapshotFileError`."""
    try:
        with closing(folder.open(name)) as file:
            return _position(_summary(file)[0])
    except OSError as error:
        raise SnapshotFileError(f"cannot be read: {error.strerror}") from None


def remove_unfinished(folder: Folder) -> None:
    """Remove what a crash left of a snapshot that was being written. Raises OSError."""
    for name in folder.names():
        if _UNFINISHED.match(name):
            folder.remove(name)


def _encode(snapshot: Snapshot) -> list[bytes]:
    images: list[bytes] = []
    sources = []
    for source in snapshot.sources:
        entry = asdict(replace(source, machines={}))
        entry["machines"] = [
            (variant, len(image), zlib.crc32(image)) for variant, image in source.machines.items()
        ]
        images.extend(source.machines.values())
        sources.append(entry)
    summary: bytes = msgpack.packb(
        {
            "journal": snapshot.journal,
            "segment": snapshot.position.segment,
            "offset": snapshot.position.offset,
            "taken_ns": snapshot.taken_ns,
            "program": snapshot.program,
            "sources": sources,
        }
    )
    head = _HEAD.pack(_MAGIC, SNAPSHOT_VERSION, zlib.crc32(summary), len(summary))
    return [head + summary, *images]


def _summary(file: ReadFile) -> tuple[dict[str, Any], int]:
    """The summary, and where the images begin."""
    head = file.read(0, _HEAD.size)
    if len(head) < _HEAD.size:
        raise SnapshotFileError(f"it has {len(head)} bytes, expected at least {_HEAD.size}")
    magic, version, checksum, size = _HEAD.unpack(head)
    if magic != _MAGIC:
        raise SnapshotFileError("it is no snapshot")
    if version != SNAPSHOT_VERSION:
        raise SnapshotFileError(f"it is of version {version}, expected {SNAPSHOT_VERSION}")
    if _HEAD.size + size > file.size:
        raise SnapshotFileError("it ends in its summary")
    data = file.read(_HEAD.size, size)
    if zlib.crc32(data) != checksum:
        raise SnapshotFileError("the checksum of its summary is wrong")
    summary: dict[str, Any] = msgpack.unpackb(data)
    return summary, _HEAD.size + size


def _position(summary: dict[str, Any]) -> Position:
    return Position(summary["segment"], summary["offset"])


def _decode(file: ReadFile, *, machines: bool) -> Snapshot:
    summary, at = _summary(file)
    sources = []
    for entry in summary["sources"]:
        images: dict[str, bytes] = {}
        for variant, size, checksum in entry["machines"]:
            image = file.read(at, size)
            at += size
            if len(image) != size or zlib.crc32(image) != checksum:
                raise SnapshotFileError(f"the machine {variant} of {entry['name']} is damaged")
            images[variant] = image if machines else b""
        sources.append(SourceImage(**{**entry, "machines": images}))
    if at != file.size:
        raise SnapshotFileError(f"{file.size - at} bytes follow its end")
    return Snapshot(
        journal=summary["journal"],
        position=_position(summary),
        taken_ns=summary["taken_ns"],
        program=summary["program"],
        sources=tuple(sources),
    )
