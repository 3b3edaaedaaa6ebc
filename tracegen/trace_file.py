"""Traces in files and pipes: batches one after another, plain or zstd-compressed.

Reading is streaming and holds one batch and one chunk at a time, whatever the size
of the trace. A reader checks that batches follow one another as the format wants it
(a header opens each epoch of each source, numbers have no gap) and, unless told
otherwise, that every event suits its header. Each batch comes with the bytes it
stands in, so that it can be forwarded unchanged.

``-`` is standard input or output. A path that ends in ``.zst`` is written
compressed; on reading, the content decides. Byte offsets in errors are those of the
decompressed stream.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

import msgpack
import zstandard

from allocator.events import Limits
from tracegen.batch import DEFAULT_LIMITS, Batch, HeaderBatch, check, decode, encode, undecodable
from tracegen.errors import (
    NO_HEADER,
    NOT_MSGPACK,
    SEQUENCE,
    TOO_LARGE,
    TRUNCATED,
    BatchError,
    PfmemdError,
    StoppedError,
)
from tracegen.header import Header
from tracegen.limits import MAP_BYTES, BatchLimits

STANDARD_STREAM: Final = "-"
ZSTD_SUFFIX: Final = ".zst"
MAX_TRACE_SOURCES: Final = 256
"""Sources in one trace; a reader remembers a header for each."""

_STDIN: Final = 0
_STDOUT: Final = 1
_CHUNK: Final = 256 << 10
_ZSTD_PIECE: Final = 1 << 10
"""Compressed bytes looked at in one go: 4 of them can stand for 128 KiB, so this bounds
what one step may inflate to at 32 MiB."""
_ZSTD_MAX_WINDOW: Final = 1 << 27
"""What ``zstd -d`` accepts without being asked to."""
_ZSTD_LEVEL: Final = 9

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_OTHER_FORMATS: Final = {
    b"\x1f\x8b": "gzip: decompress it first, or use zstd",
    b"\xfd7zXZ\x00": "xz: decompress it first, or use zstd",
    b"BZh": "bzip2: decompress it first, or use zstd",
    b"PK\x03\x04": "a zip archive",
    b"PERFILE2": "a perf recording: import what perf script prints",
    b"\x17\x08\x44tracing": "a trace-cmd recording: import what trace-cmd report prints",
}
_TEXT_SAMPLE: Final = 64
_SPACE: Final = 0x20


class FileError(PfmemdError):
    """A path that cannot be opened, or a file that cannot be read on."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch of a trace: its number from 1, where it stands, its bytes, what it says.

    ``header`` is the one that the batch's events refer to, or the batch's own.
    """

    number: int
    offset: int
    data: bytes
    batch: Batch
    header: Header


class StreamOrder:
    """Where each source of a stream of batches stands, and which batch may come next.

    A header begins an epoch, with a higher number than the source's last: a new life of
    it. Events follow their epoch's header, numbered without a gap. Sources may be mixed.
    """

    def __init__(self) -> None:
        self._places: dict[str, tuple[int, int, Header]] = {}

    def accept(self, batch: Batch) -> Header:
        """Take the next batch and return the header in force.

        Raises :class:`BatchError` (``no_header`` or ``sequence``) for one out of turn.
        """
        place = self._places.get(batch.source)
        if isinstance(batch, HeaderBatch):
            if place is None and len(self._places) >= MAX_TRACE_SOURCES:
                raise BatchError(
                    f"{batch.source} is one source too many, expected at most {MAX_TRACE_SOURCES}",
                    reason=TOO_LARGE,
                )
            if place is not None and batch.epoch <= place[0]:
                raise BatchError(
                    f"a header of {batch.source} for epoch {batch.epoch} after one for epoch"
                    f" {place[0]}, expected a later epoch",
                    reason=SEQUENCE,
                )
            self._places[batch.source] = (batch.epoch, batch.seq, batch.header)
            return batch.header
        if place is None or batch.epoch > place[0]:
            raise BatchError(
                f"events of {batch.source}, epoch {batch.epoch}, seq {batch.seq}, without a header:"
                " a trace begins with one",
                reason=NO_HEADER,
            )
        epoch, seq, header = place
        if batch.epoch < epoch:
            raise BatchError(
                f"events of {batch.source}, epoch {batch.epoch}, after epoch {epoch} has begun",
                reason=SEQUENCE,
            )
        if batch.seq != seq + 1:
            raise BatchError(
                f"seq of {batch.source} is {batch.seq}, expected {seq + 1}", reason=SEQUENCE
            )
        self._places[batch.source] = (epoch, batch.seq, header)
        return header


class TraceReader:
    """Iterates over the batches of a trace, each checked, in constant memory.

    ``check_events`` False leaves out the check of each event against the header, for
    a reader whose peer does it. ``before_read`` is called with the file descriptor
    before each read that may block, so that a caller can wait in its own way.
    """

    def __init__(
        self,
        path: str,
        *,
        limits: BatchLimits = DEFAULT_LIMITS,
        check_events: bool = True,
        before_read: Callable[[int], None] | None = None,
    ) -> None:
        self.name = "standard input" if path == STANDARD_STREAM else path
        self._limits = limits
        self._check_events = check_events
        self._before_read = before_read
        self.compressed = False
        """Known once reading has begun."""
        self._file = self._open(path)

    def _open(self, path: str) -> BinaryIO:
        try:
            if path == STANDARD_STREAM:
                if os.isatty(_STDIN):
                    raise FileError("standard input is a terminal, expected a trace")
                return open(_STDIN, "rb", buffering=0, closefd=False)
            return Path(path).open("rb", buffering=0)
        except OSError as error:
            raise FileError(f"cannot read {self.name}: {error.strerror}") from error

    @property
    def size(self) -> int | None:
        """Bytes that the batches will take in all, if that can be known beforehand."""
        status = os.fstat(self._file.fileno())
        return status.st_size if stat.S_ISREG(status.st_mode) and not self.compressed else None

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Entry]:
        """Yield every batch once; raise :class:`BatchError` at the first bad one."""
        order = StreamOrder()
        limits: dict[str, Limits] = {}
        for number, offset, data in self.frames():
            try:
                batch = decode(data, self._limits)
                header = order.accept(batch)
                if isinstance(batch, HeaderBatch):
                    limits[batch.source] = header.limits()
                elif self._check_events:
                    check(batch, header, limits[batch.source])
            except BatchError as error:
                raise error.at(batch=number, start=offset, file=self.name) from None
            yield Entry(number, offset, data, batch, header)

    def _read(self) -> bytes:
        if self._before_read is not None:
            self._before_read(self._file.fileno())
        try:
            return self._file.read(_CHUNK)
        except OSError as error:
            raise FileError(f"cannot read {self.name}: {error.strerror}") from error

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Cut the stream into ``(number, offset, bytes)`` of batches, not looked into."""
        first = self._read()
        while first and len(first) < len(_ZSTD_MAGIC):
            more = self._read()
            if not more:
                break
            first += more
        read = self._read
        self.compressed = first.startswith(_ZSTD_MAGIC)
        if self.compressed:
            read = _ZstdInput(first, self._read, self.name).read
            first = read()
        if not first:
            raise BatchError("empty, expected a trace", reason=TRUNCATED).at(file=self.name)
        if first[0] not in MAP_BYTES:
            what = f"no trace: {_guess(first)}"
            raise BatchError(what, reason=NOT_MSGPACK).at(file=self.name)
        yield from _cut(first, read, self._limits.max_bytes, self.name)


def _cut(
    chunk: bytes, read: Callable[[], bytes], max_bytes: int, name: str
) -> Iterator[tuple[int, int, bytes]]:
    # The unpacker only skips: it finds where an object ends and builds nothing. It keeps
    # its place in a half-read object, so no byte is looked at twice.
    unpacker = msgpack.Unpacker(max_buffer_size=max_bytes + 2 * _CHUNK)
    buffer = bytearray()
    start = 0
    number = 1
    while chunk:
        buffer += chunk
        unpacker.feed(chunk)
        consumed = 0
        try:
            while consumed < len(buffer):
                _expect_map(buffer[consumed])
                unpacker.skip()
                size = unpacker.tell() - start
                yield number, start, bytes(buffer[consumed : consumed + size])
                consumed += size
                start += size
                number += 1
        except msgpack.OutOfData:
            pass
        except (ValueError, msgpack.UnpackException) as error:
            refused = error if isinstance(error, BatchError) else undecodable(error)
            raise refused.at(batch=number, start=start, file=name) from None
        del buffer[:consumed]
        if len(buffer) > max_bytes:
            raise BatchError(
                f"the batch has more than {max_bytes} bytes, expected at most that",
                reason=TOO_LARGE,
            ).at(batch=number, start=start, file=name)
        chunk = read()
    if buffer:
        raise BatchError(
            f"the trace ends in the middle of this batch, after {len(buffer)} bytes of it",
            reason=TRUNCATED,
        ).at(batch=number, start=start, file=name)


def _expect_map(first_byte: int) -> None:
    if first_byte not in MAP_BYTES:
        raise BatchError(
            f"found byte {first_byte:#04x}, expected the next batch, a msgpack map",
            reason=NOT_MSGPACK,
        )


def _guess(first: bytes) -> str:
    """Say what a file that is no trace looks like."""
    for magic, name in _OTHER_FORMATS.items():
        if first.startswith(magic):
            return f"it looks like {name}"
    sample = first[:_TEXT_SAMPLE]
    if all(byte >= _SPACE or byte in b"\t\r\n" for byte in sample):
        return "it looks like text; pfmemd import reads what ftrace and perf print"
    return f"it begins with byte {first[0]:#04x}, expected a msgpack map"


class _ZstdInput:
    """What a zstd file inflates to, in pieces of at most one chunk.

    Holds the decompressor's window, one compressed chunk, and what a small piece of
    that inflated to. A file may have several frames; the last one must be complete.
    """

    def __init__(self, first: bytes, read: Callable[[], bytes], name: str) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._read_compressed = read
        self._compressed = first
        self._inflated = b""
        self._name = name

    def read(self) -> bytes:
        """Return the next piece; nothing at the end of a whole file."""
        while not self._inflated:
            if not self._compressed:
                self._compressed = self._read_compressed()
            if not self._compressed:
                if self._frame is not None:
                    raise BatchError(
                        "the file ends in the middle of its zstd data", reason=TRUNCATED
                    ).at(file=self._name)
                return b""
            self._inflated = self._inflate()
        piece, self._inflated = self._inflated[:_CHUNK], self._inflated[_CHUNK:]
        return piece

    def _inflate(self) -> bytes:
        piece, self._compressed = self._compressed[:_ZSTD_PIECE], self._compressed[_ZSTD_PIECE:]
        if self._frame is None:
            self._frame = self._context.decompressobj()
        try:
            inflated = self._frame.decompress(piece)
        except zstandard.ZstdError as error:
            raise BatchError(f"broken zstd data: {error}", reason=NOT_MSGPACK).at(
                file=self._name
            ) from None
        if self._frame.eof:
            self._compressed = self._frame.unused_data + self._compressed
            self._frame = None
        return inflated


class TraceWriter:
    """Writes batches one after another to a path or to standard output.

    A regular file appears under its name only when it is whole: until then it is
    ``PATH.part``, which is removed if the writing fails. Standard output is flushed
    after each batch, so that a reader at the other end of a pipe sees it at once.
    """

    def __init__(self, path: str, *, readable: bool = False) -> None:
        self.name = "standard output" if path == STANDARD_STREAM else path
        self.batches = 0
        self._readable = readable
        self._live = path == STANDARD_STREAM
        self._target: Path | None = None
        self._part: Path | None = None
        self._file = self._open(path)
        self._stream: BinaryIO | zstandard.ZstdCompressionWriter = self._file
        if path.endswith(ZSTD_SUFFIX):
            context = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
            self._stream = context.stream_writer(self._file, closefd=False)

    def _open(self, path: str) -> BinaryIO:
        try:
            if path == STANDARD_STREAM:
                if os.isatty(_STDOUT):
                    raise FileError("standard output is a terminal, expected a file or a pipe")
                return open(_STDOUT, "wb", closefd=False)
            target = Path(path)
            if target.exists() and not target.is_file():
                self._live = True
                return target.open("wb")
            self._target = target
            self._part = target.with_name(target.name + ".part")
            return self._part.open("wb")
        except OSError as error:
            raise FileError(f"cannot write {self.name}: {error.strerror}") from error

    def write(self, batch: Batch) -> None:
        """Append a batch, in readable form if this writer was made so."""
        self.write_bytes(encode(batch, readable=self._readable))

    def write_bytes(self, data: bytes) -> None:
        """Append a batch that is encoded already."""
        try:
            self._stream.write(data)
            if self._live:
                self._stream.flush()
        except OSError as error:
            raise self._failed(error) from error
        self.batches += 1

    def close(self) -> None:
        """Finish the file and give it its name."""
        try:
            if self._stream is not self._file:
                self._stream.close()
            self._file.close()
            if self._part is not None and self._target is not None:
                self._part.replace(self._target)
        except OSError as error:
            self.discard()
            raise self._failed(error) from error

    def discard(self) -> None:
        """Give up: close without a finished file, and remove what there is of it."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is None:
            self.close()
        else:
            self.discard()

    def _failed(self, error: OSError) -> StoppedError:
        return StoppedError(f"cannot write {self.name}: {error.strerror}")
