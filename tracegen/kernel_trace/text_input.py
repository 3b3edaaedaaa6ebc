"""The text of a kernel trace: from a file or a pipe, compressed or not, in whole lines.

Memory is bounded whatever comes in: one piece of input and one line are held at a
time, and a line has a greatest length. The content decides about compression (xz,
gzip, zstd), not the name. A pipe that is silent keeps nobody from being interrupted.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import select
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

import zstandard

from tracegen.errors import PfmemdError

STANDARD_STREAM: Final = "-"
MAX_LINE_BYTES: Final = 16 << 10
"""A longer line is handed on cut, which makes it a line that cannot be read."""

_STDIN: Final = 0
_PIECE: Final = 256 << 10
_ZSTD_PIECE: Final = 1 << 10
"""Compressed bytes inflated in one go: 4 of them can stand for 128 KiB."""
_ZSTD_MAX_WINDOW: Final = 1 << 27
"""What ``zstd -d`` accepts without being asked to."""

_XZ_MAGIC: Final = b"\xfd7zXZ\x00"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_RECORDINGS: Final = {
    b"PERFILE2": "a perf recording; import what `perf script` prints of it",
    b"\x17\x08\x44tracing": "a trace-cmd recording; import what `trace-cmd report` prints of it",
}
_LONGEST_MAGIC: Final = 16
_TURN: Final = 0.25
"""Seconds after which a wait for a pipe asks whether it was interrupted."""

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class InputError(PfmemdError):
    """An input that cannot be opened, or not be read on."""


class _Raw(io.RawIOBase):
    """The bytes of a file or a pipe; what was looked at beforehand comes first.

    An interruption ends a pipe as its writer would.
    """

    def __init__(self, file: io.FileIO, interrupted: Callable[[], bool]) -> None:
        self._file = file
        self._interrupted = interrupted
        self.is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        self._first = b""
        while len(self._first) < _LONGEST_MAGIC and (more := self._wait_and_read(_PIECE)):
            self._first += more
            if not self.is_file and b"\n" in more:
                break
        self.start = self._first[:_LONGEST_MAGIC]

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer with what is there."""
        view = memoryview(buffer)
        data = self._first[: len(view)]
        self._first = self._first[len(data) :]
        if not data:
            data = self._wait_and_read(len(view))
        view[: len(data)] = data
        return len(data)

    def is_ready(self) -> bool:
        """Wait a moment for something to read, or the end; tell whether it came."""
        if self.is_file or self._first:
            return True
        return bool(select.select([self._file], [], [], _TURN)[0])

    @property
    def position(self) -> int:
        """Bytes of a regular file that were read."""
        return self._file.tell() - len(self._first) if self.is_file else 0

    def _wait_and_read(self, size: int) -> bytes:
        while not self.is_file:
            if self._interrupted():
                return b""
            if select.select([self._file], [], [], _TURN)[0]:
                break
        return self._file.read(size) or b""


class TextInput:
    """One reading of the input; iterate over :meth:`pieces`.

    ``size`` is the length of a regular file in bytes, 0 of anything else; ``position``
    how much of it was read, compressed as it is. ``interrupted`` is asked now and then.
    """

    def __init__(self, path: str, interrupted: Callable[[], bool] = lambda: False) -> None:
        self.name = "standard input" if path == STANDARD_STREAM else path
        self._interrupted = interrupted
        try:
            if path == STANDARD_STREAM:
                if os.isatty(_STDIN):
                    raise InputError("standard input is a terminal, expected a kernel trace")
                self._file = io.FileIO(_STDIN, closefd=False)
            else:
                self._file = io.FileIO(path)
            self._raw = _Raw(self._file, interrupted)
            self.size = os.fstat(self._file.fileno()).st_size if self._raw.is_file else 0
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror}") from error
        for magic, what in _RECORDINGS.items():
            if self._raw.start.startswith(magic):
                self._file.close()
                raise InputError(f"{self.name} is {what}")
        self._packed: _Source | None = _decompressed(self._raw)

    @property
    def position(self) -> int:
        """Bytes of a regular file that were read."""
        return self._raw.position

    def pieces(self) -> Iterator[bytes]:
        """Yield whole lines with their ends, as many together as one read brought.

        While a pipe is silent an empty piece comes now and then.
        """
        return whole_lines(self._reads())

    def _reads(self) -> Iterator[bytes]:
        """What each read brought, nothing while a pipe is silent."""
        while not self._interrupted():
            if self._packed is None and not self._raw.is_ready():
                yield b""
                continue
            piece = self._read()
            if not piece:
                break
            yield piece

    def _read(self) -> bytes:
        try:
            if self._packed is None:
                return self._raw.read(_PIECE) or b""
            return self._packed.read1(_PIECE)
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror or error}") from error
        except (EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
            raise InputError(f"cannot read {self.name}: broken compressed data: {error}") from error

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TextSource(Protocol):
    """Where the text of a kernel trace comes from, opened before :meth:`pieces` is asked."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def size(self) -> int:
        """Bytes in all, 0 if that is not known."""

    @property
    def position(self) -> int:
        """How many of them were read."""

    def pieces(self) -> Iterator[bytes]:
        """See :meth:`TextInput.pieces`."""


class _Source(Protocol):
    """Where decompressed text comes from."""

    def read1(self, size: int, /) -> bytes:
        """At most ``size`` bytes, as soon as there are some; nothing at the end."""


def _decompressed(raw: _Raw) -> _Source | None:
    """What decompresses the input; None if it is not compressed."""
    if raw.start.startswith(_XZ_MAGIC):
        return lzma.LZMAFile(io.BufferedReader(raw))
    if raw.start.startswith(_GZIP_MAGIC):
        return gzip.GzipFile(fileobj=io.BufferedReader(raw))
    if raw.start.startswith(_ZSTD_MAGIC):
        return _Zstd(raw)
    return None


class _Zstd:
    """What zstd data inflates to; unlike zstandard's own reader it tells a cut file."""

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._compressed = b""
        self._inflated = b""

    def read1(self, size: int, /) -> bytes:
        """At most ``size`` bytes; EOFError where the data ends in the middle of a frame."""
        while not self._inflated:
            self._compressed = self._compressed or self._raw.read(_ZSTD_PIECE) or b""
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("it ends in the middle")
                return b""
            frame = self._frame or self._context.decompressobj()
            self._inflated = frame.decompress(self._compressed)
            self._frame = None if frame.eof else frame
            self._compressed = frame.unused_data if frame.eof else b""
        piece, self._inflated = self._inflated[:size], self._inflated[size:]
        return piece


def whole_lines(reads: Iterable[bytes]) -> Iterator[bytes]:
    """Cut what reads brought behind the last line's end of each; what is left comes with the next.

    A read that brought nothing is handed on as it is: nobody may wait for more.
    """
    rest = b""
    for piece in reads:
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield rest + piece[:cut]
            rest = piece[cut:][: MAX_LINE_BYTES + 1]
        elif piece:
            rest += piece[: MAX_LINE_BYTES + 1 - len(rest)]
        else:
            yield b""
    if rest:
        yield rest + b"\n"


def is_regular_file(path: str) -> bool:
    """Tell whether the input is a file, which does not grow while it is read."""
    return path != STANDARD_STREAM and Path(path).is_file()
