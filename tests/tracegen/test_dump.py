"""Batches byte by byte."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.tracegen.fakes import encoded, make_batches
from tracegen.batch import encode
from tracegen.cli import main
from tracegen.dump import dump
from tracegen.errors import BatchError

HEADER, EVENTS = make_batches(batches=2, events=5)


def _bytes_of(lines: list[str]) -> bytes:
    """The bytes that a dump shows, put together again."""
    return b"".join(bytes.fromhex(line[8:32]) for line in lines)


@pytest.mark.parametrize(
    "data",
    [encode(HEADER), encode(EVENTS), encode(EVENTS, readable=True)],
    ids=["header", "packed", "readable"],
)
def test_every_byte_is_shown_once(data: bytes) -> None:
    """The shown bytes are the batch."""
    assert data == _bytes_of(list(dump(data, max_events=100)))


@given(st.recursive(st.integers(0, 2**64 - 1) | st.text(max_size=3), st.lists, max_leaves=40))
def test_any_msgpack_is_shown(value: object) -> None:
    """What is no batch but msgpack is shown as well, however it nests."""
    data = msgpack.packb(value)

    assert data == _bytes_of(list(dump(data, max_events=100)))


@pytest.mark.parametrize("readable", [False, True])
def test_only_the_first_events_are_shown(readable: bool) -> None:
    """The rest is counted in events and bytes."""
    lines = list(dump(encode(EVENTS, readable=readable), max_events=2))

    assert any(line.endswith("event 1") or "event 1: " in line for line in lines)
    assert not any("event 2" in line for line in lines)
    assert "3 more events in" in lines[-1]


def test_broken_bytes_are_shown_as_far_as_they_go() -> None:
    """The place where msgpack ends is named."""
    lines = dump(encode(EVENTS)[:10], 3)

    assert "map of 5" in next(lines)
    with pytest.raises(BatchError, match=r"byte 5 of the batch: no msgpack from here on"):
        list(lines)


def test_a_refused_batch_is_shown_with_the_reason(tmp_path: Path) -> None:
    """What one's own writer does wrong stands there to be seen."""
    path = tmp_path / "t"
    path.write_bytes(encoded([HEADER]) + msgpack.packb({"v": 1, "sauce": "a"}))

    result = CliRunner().invoke(main, ["trace", "dump", str(path), "--batch", "2"])

    assert result.exit_code == 2
    assert 'key "sauce"' in result.stdout
    assert "batch 2, byte" in result.stderr
    assert "the map has a key 'sauce', expected v, source, epoch, seq" in result.stderr


def test_a_batch_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Asking for a batch beyond the end is an error."""
    path = tmp_path / "t"
    path.write_bytes(encoded([HEADER, EVENTS]))

    result = CliRunner().invoke(main, ["trace", "dump", str(path), "--batch", "3"])

    assert (2, f"{path}: there is no batch 3\n") == (
        result.exit_code,
        result.stderr.removeprefix("main: ").removeprefix("tracegen: "),
    )
