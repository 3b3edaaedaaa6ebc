"""The text of a trace, however it is packed, in bounded memory."""

from __future__ import annotations

import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tracegen.kernel_trace.text_input import (
    MAX_LINE_BYTES,
    InputError,
    TextInput,
    is_regular_file,
)

TEXT = "".join(f"line {number}\n" for number in range(100_000)).encode()


def lines_of(path: Path) -> list[str]:
    """Every line of a file."""
    with TextInput(str(path)) as text:
        return b"".join(text.pieces()).decode("utf-8", "backslashreplace").split("\n")[:-1]


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        lzma.compress,
        gzip.compress,
        zstandard.ZstdCompressor().compress,
        lambda text: gzip.compress(text[:500]) + gzip.compress(text[500:]),
        lambda text: zstandard.compress(text[:500]) + zstandard.compress(text[500:]),
    ],
    ids=["plain", "xz", "gzip", "zstd", "gzip in parts", "zstd in parts"],
)
def test_the_content_decides_about_compression(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """Every line comes out, whatever the file is called."""
    path = tmp_path / "trace"
    path.write_bytes(pack(TEXT))

    assert TEXT.decode().splitlines() == lines_of(path)


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress, zstandard.compress])
def test_a_compressed_file_that_breaks_off_is_an_error(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """Half a file is not taken for a whole one."""
    path = tmp_path / "trace"
    whole = pack(TEXT)
    path.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(InputError, match=f"cannot read {path}: broken compressed data"):
        lines_of(path)


def test_a_last_line_without_an_end_is_a_line(tmp_path: Path) -> None:
    """A trace that was cut off keeps what it has."""
    path = tmp_path / "trace"
    path.write_bytes(b"a\nb")

    assert ["a", "b"] == lines_of(path)


def test_an_endless_line_is_cut(tmp_path: Path) -> None:
    """A file without line ends is not read into memory as one line."""
    path = tmp_path / "trace"
    path.write_bytes(b"x" * (8 * MAX_LINE_BYTES) + b"\nnext\n" + b"y" * (40 * MAX_LINE_BYTES))

    first, second, third = lines_of(path)

    assert MAX_LINE_BYTES < len(first) <= 2 * MAX_LINE_BYTES + 8 * MAX_LINE_BYTES
    assert "next" == second
    assert MAX_LINE_BYTES + 1 == len(third)


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    """A comm is bytes to the kernel."""
    path = tmp_path / "trace"
    path.write_bytes(b"caf\xe9-1\n")

    assert ["caf\\xe9-1"] == lines_of(path)


@pytest.mark.parametrize(
    ("start", "what"),
    [(b"PERFILE2", "perf script"), (b"\x17\x08\x44tracing", "trace-cmd report")],
)
def test_a_recording_is_named_for_what_it_is(tmp_path: Path, start: bytes, what: str) -> None:
    """Somebody who brings the binary file is told which tool prints its text."""
    path = tmp_path / "trace"
    path.write_bytes(start + bytes(100))

    with pytest.raises(InputError, match=what):
        lines_of(path)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """The path and the reason."""
    with pytest.raises(InputError, match=r"nowhere: No such file or directory$"):
        TextInput(str(tmp_path / "nowhere"))


def test_a_pipe_gives_what_is_there(tmp_path: Path) -> None:
    """A line comes through before the next one is written; a pipe cannot be read twice."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    try:
        os.write(writer, b"one\n")
        with TextInput(str(path)) as text:
            pieces = (piece for piece in text.pieces() if piece)
            first = next(pieces)
            os.write(writer, b"two\nthr")
            second = next(pieces)
    finally:
        os.close(writer)

    assert [b"one\n", b"two\n"] == [first, second]
    assert not is_regular_file(str(path))
    assert not is_regular_file("-")
