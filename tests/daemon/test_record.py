"""A recording is what the daemon took, whole epochs of it, and says what it missed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.files import OsFolder
from daemon.journal.follow import Follower
from daemon.journal.layout import segment_name
from daemon.record import Missed, Recording, follow
from tests.daemon.fakes import allocations, events_batch, header_batch
from tests.daemon.journal.journals import open_journal
from tracegen.batch import Batch, encode
from tracegen.trace_file import TraceReader

FIRST: list[Batch] = [header_batch("a"), events_batch(2, allocations(3), source="a")]
SECOND: list[Batch] = [header_batch("b", epoch=9), events_batch(3, allocations(2, 9), source="a")]
NEW_LIFE: list[Batch] = [
    header_batch("a", epoch=6),
    events_batch(2, allocations(1), source="a", epoch=6),
]


class Writer:
    """The daemon's end of a journal."""

    def __init__(self, path: Path, segment_bytes: int = 1 << 20) -> None:
        self.path = path
        self.journal = open_journal(OsFolder(path, make=True), segment_bytes=segment_bytes)

    def write(self, batches: list[Batch]) -> None:
        """Each batch as a group."""
        for batch in batches:
            self.journal.append([encode(batch)])
            self.journal.wait_until_safe()

    def remove(self, *segments: int) -> None:
        """Shorten the journal."""
        for number in segments:
            (self.path / segment_name(number)).unlink()


def turns(*steps: Callable[[], None]) -> tuple[Callable[[], bool], Callable[[float], None]]:
    """``over`` and ``pause`` of a recording during which the steps happen, a pause each."""
    left = list(steps)

    def pause(_seconds: float) -> None:
        left.pop(0)()

    return lambda: not left, pause


def recorded(
    path: Path, since: dict[str, int], *steps: Callable[[], None]
) -> tuple[list[bytes], Recording, int]:
    """Record while the steps happen: the batches, the recording, segments missed."""
    batches: list[bytes] = []
    recording = Recording(batches.append, since)
    with OsFolder(path) as folder:
        missed = follow(folder, recording, *turns(*steps))
    return batches, recording, missed


def test_what_comes_while_it_records_is_recorded(tmp_path: Path) -> None:
    """Byte for byte, from the beginning of the life that a source is in."""
    daemon = Writer(tmp_path)
    daemon.write(FIRST)
    batches, recording, missed = recorded(
        tmp_path, {}, lambda: daemon.write(SECOND), lambda: daemon.write(NEW_LIFE)
    )

    assert [encode(batch) for batch in FIRST + SECOND + NEW_LIFE] == batches
    assert (6, 2, [], 0) == (recording.events, recording.sources, recording.missed, missed)


def test_lives_that_are_over_are_left_out(tmp_path: Path) -> None:
    """They were not asked for, so they are not missed either."""
    daemon = Writer(tmp_path)
    daemon.write(FIRST + NEW_LIFE)
    batches, recording, _ = recorded(tmp_path, {"a": 6}, lambda: None)

    assert [encode(batch) for batch in NEW_LIFE] == batches
    assert [] == recording.missed


def test_a_group_that_is_being_written_comes_when_it_is_whole(tmp_path: Path) -> None:
    """Half of it looks like the end of the journal."""
    daemon = Writer(tmp_path)
    daemon.write(FIRST)
    path = tmp_path / segment_name(1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with OsFolder(tmp_path) as folder:
        follower = Follower(folder)
        before = [len(group.batches) for group in follower.groups()]
        path.write_bytes(whole)
        after = [group.batches for group in follower.groups()]

    assert [1] == before
    assert [(encode(FIRST[1]),)] == after


def test_segments_that_were_read_may_go(tmp_path: Path) -> None:
    """The daemon shortens its journal as it likes."""
    daemon = Writer(tmp_path, segment_bytes=1)
    daemon.write(FIRST)
    batches, recording, missed = recorded(
        tmp_path,
        {},
        lambda: daemon.write(SECOND),
        lambda: daemon.remove(1, 2, 3),
        lambda: daemon.write(NEW_LIFE),
    )

    assert [encode(batch) for batch in FIRST + SECOND + NEW_LIFE] == batches
    assert ([], 0) == (recording.missed, missed)


def test_what_was_removed_too_early_is_told(tmp_path: Path) -> None:
    """The rest of that life cannot be part of the trace; the next life can."""
    daemon = Writer(tmp_path, segment_bytes=1)
    daemon.write(FIRST)

    def too_fast() -> None:
        daemon.write(SECOND)
        daemon.write([events_batch(4, allocations(2, 20), source="a")])
        daemon.remove(1, 2, 3, 4, 5)
        daemon.write(NEW_LIFE)

    batches, recording, missed = recorded(tmp_path, {}, too_fast)

    assert [encode(batch) for batch in FIRST + NEW_LIFE] == batches
    assert ([Missed("a", 5, 1)], 3) == (recording.missed, missed)


def run(*arguments: str | Path) -> Result:
    """Run ``pfmemd record``."""
    return CliRunner().invoke(main, ["record", *map(str, arguments)], prog_name="pfmemd")


def test_the_command_writes_a_trace(tmp_path: Path) -> None:
    """Of the sources that are asked for."""
    Writer(tmp_path / "data").write(FIRST + SECOND)
    result = run(tmp_path / "data", "-o", tmp_path / "t.pfmt", "--seconds", "0", "--source", "a")
    with TraceReader(str(tmp_path / "t.pfmt")) as reader:
        batches = [entry.data for entry in reader]

    assert 0 == result.exit_code, result.stderr
    assert [encode(batch) for batch in (*FIRST, SECOND[1])] == batches
    assert "recorded 5 events in 3 batches of 1 sources; nothing was missed\n" == result.stderr


def test_a_signal_ends_the_trace_whole(tmp_path: Path) -> None:
    """What has been recorded by then is there, and the exit code is good."""
    Writer(tmp_path / "data").write(FIRST)
    with subprocess.Popen(
        [sys.executable, "-m", "daemon", "record", tmp_path / "data", "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        expected = b"".join(encode(batch) for batch in FIRST)
        got = b""
        while len(got) < len(expected):
            got += os.read(process.stdout.fileno(), len(expected))
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)

    assert (0, expected) == (process.returncode, got)
    assert stderr.startswith(b"recorded 3 events in 2 batches")


@pytest.mark.parametrize(
    ("source", "code", "expected"), [("none", 1, "nothing came that could be recorded")]
)
def test_nothing_recorded_is_no_trace(
    tmp_path: Path, source: str, code: int, expected: str
) -> None:
    """No empty file is left."""
    Writer(tmp_path / "data").write(FIRST)
    out = tmp_path / "t.pfmt"
    result = run(tmp_path / "data", "-o", out, "--seconds", "0", "--source", source)

    assert (code, True) == (result.exit_code, expected in result.stderr)
    assert not out.exists()


def test_a_folder_without_a_journal_is_told(tmp_path: Path) -> None:
    """It may be the wrong one."""
    result = run(tmp_path, "-o", tmp_path / "t.pfmt")

    assert 2 == result.exit_code
    assert f"there is no journal in {tmp_path}" in result.stderr
