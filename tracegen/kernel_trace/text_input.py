"""The text of a kernel trace: from a file or a pipe, compressed or not, cut into lines.

Memory is bounded whatever comes in: one piece of input and one line are held at a
time, and a line has a greatest length. The content decides about compression (xz,
gzip, zstd), not the name.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol, Self

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


class InputError(PfmemdError):
    """An input that cannot be opened, or not be read on."""


class TextInput:
    """One reading of the input; iterate over :meth:`lines`.

    ``size`` is the length of a regular file in bytes, 0 of anything else; ``position``
    how much of it was read, compressed as it is.
    """

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == STANDARD_STREAM else path
        try:
            if path == STANDARD_STREAM:
                if os.isatty(_STDIN):
                    raise InputError("standard input is a terminal, expected a kernel trace")
                self._raw = open(_STDIN, "rb", closefd=False)  # noqa: SIM115  # close()
            else:
                self._raw = Path(path).open("rb")  # noqa: SIM115  # the same
            status = os.fstat(self._raw.fileno())
            start = self._raw.peek(_LONGEST_MAGIC)[:_LONGEST_MAGIC]
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror}") from error
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        for magic, what in _RECORDINGS.items():
            if start.startswith(magic):
                self._raw.close()
                raise InputError(f"{self.name} is {what}")
        self._stream = self._decompressed(start)

    def _decompressed(self, start: bytes) -> _Source:
        if start.startswith(_XZ_MAGIC):
            return lzma.LZMAFile(self._raw)
        if start.startswith(_GZIP_MAGIC):
            return gzip.GzipFile(fileobj=self._raw)
        if start.startswith(_ZSTD_MAGIC):
            return _Zstd(self._raw)
        return self._raw

    @property
    def position(self) -> int:
        """Bytes of a regular file that were read."""
        return self._raw.tell() if self.size else 0

    def lines(self) -> Iterator[list[str]]:
        """Yield the lines without their ends, as many together as one read brought."""
        rest = b""
        while piece := self._read():
            cut = piece.rfind(b"\n")
            if cut < 0:
                rest += piece[: MAX_LINE_BYTES + 1 - len(rest)]
                continue
            whole = rest + piece[:cut]
            rest = piece[cut + 1 :][: MAX_LINE_BYTES + 1]
            yield whole.decode("utf-8", "backslashreplace").split("\n")
        if rest:
            yield [rest.decode("utf-8", "backslashreplace")]

    def _read(self) -> bytes:
        try:
            return self._stream.read1(_PIECE)
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror or error}") from error
        except (EOFError, lzma.LZMAError, zlib.error, zstandard.ZstdError) as error:
            raise InputError(f"cannot read {self.name}: broken compressed data: {error}") from error

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Source(Protocol):
    """Where decompressed text comes from."""

    def read1(self, size: int, /) -> bytes:
        """At most ``size`` bytes, as soon as there are some; nothing at the end."""


class _Zstd:
    """What zstd data inflates to; unlike zstandard's own reader it tells a cut file."""

    def __init__(self, raw: io.BufferedReader) -> None:
        self._raw = raw
        self._context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._compressed = b""
        self._inflated = b""

    def read1(self, size: int, /) -> bytes:
        """At most ``size`` bytes; EOFError where the data ends in the middle of a frame."""
        while not self._inflated:
            self._compressed = self._compressed or self._raw.read1(_ZSTD_PIECE)
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


def is_regular_file(path: str) -> bool:
    """Tell whether the input can be read twice."""
    return path != STANDARD_STREAM and Path(path).is_file()
