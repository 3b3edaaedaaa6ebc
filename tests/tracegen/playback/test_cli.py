"""``pfmemd replay``: to a daemon, to a file, through a pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.tracegen.fakes import RouterDaemon, Storage
from tests.tracegen.playback.test_player import EVENTS, records, write_trace
from tracegen.batch import decode
from tracegen.cli import main
from tracegen.trace_file import TraceReader


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Seven events in two batches."""
    return write_trace(tmp_path / "t.pfmt", records(*EVENTS[:3]), records(*EVENTS[3:]))


def run(*arguments: str | Path) -> Result:
    """Run ``pfmemd replay``."""
    return CliRunner().invoke(main, ["replay", *map(str, arguments)])


def test_a_trace_is_played_to_a_daemon(trace: str) -> None:
    """As many times as asked for."""
    storage = Storage()
    daemon = RouterDaemon(storage).start()
    result = run(trace, "--connect", daemon.address, "--loop=2", "--epoch", "7", "--json")
    daemon.close()

    assert 0 == result.exit_code, result.stderr
    assert {"plays": 2, "batches": 6, "events": 14, "epochs": {"a": 8}} == json.loads(result.stdout)
    assert [("a", 7), ("a", 8)] == list(storage.stored)
    assert "played 14 events in 6 batches (a epoch 8)\n" == result.stderr


def test_a_signal_ends_a_loop_and_what_was_sent_is_kept(trace: str) -> None:
    """A loop was meant to be ended so: the exit code is good."""
    storage = Storage()
    daemon = RouterDaemon(storage).start()
    with subprocess.Popen(
        [sys.executable, "-m", "tracegen", "replay", trace, "--connect", daemon.address, "--loop"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        while len(storage.stored) < 3:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    daemon.close()

    events = sum(len(batches) for batches in storage.stored.values())
    assert (0, b"played ") == (process.returncode, stderr[:7])
    assert f" in {events:,} batches".encode() in stderr


def test_a_trace_is_written(trace: str, tmp_path: Path) -> None:
    """And may be played again."""
    out = tmp_path / "o.pfmt.zst"
    result = run(trace, "-o", out, "--slice", "1:3", "--filter", "op == kmalloc", "--progress")
    with TraceReader(str(out)) as reader:
        batches = [entry.batch for entry in reader]

    assert (0, 2) == (result.exit_code, len(batches)), result.stderr
    assert result.stderr.startswith("0 events, ")


def test_a_pipe_is_played_as_it_comes(trace: str) -> None:
    """What has come is passed on before the next batch is there; a signal ends it."""
    data = Path(trace).read_bytes()
    with subprocess.Popen(
        [sys.executable, "-m", "tracegen", "replay", "-", "-o", "-", "--loop=1"],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as process:
        assert process.stderr is not None
        assert b"standard input cannot be played in a loop" in process.stderr.read()
    with subprocess.Popen(
        [sys.executable, "-m", "tracegen", "replay", "-", "-o", "-", "--epoch", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data)
        process.stdin.flush()
        got = b""
        while len(got) < len(data):
            got += os.read(process.stdout.fileno(), len(data))
        process.send_signal(signal.SIGTERM)
        # Its standard input stays open until it has gone: it is the signal that ends it.
        assert 143 == process.wait(timeout=60)
        assert process.stderr is not None
        stderr = process.stderr.read()

    assert data == got
    assert stderr.startswith(b"played 7 events in 3 batches")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "say where to: --connect URL or -o OUT"),
        (["-o", "x", "--connect", "tcp://127.0.0.1:1"], "say where to"),
        (["-o", "x", "--speed", "fast"], "'fast', expected max or a factor such as 1x"),
        (["-o", "x", "--slice", "1"], "'1', expected FROM:TO in seconds"),
        (["-o", "x", "--filter", "op =="], "expected comparisons such as"),
        (["-o", "x", "--filter", "a == 1"], "unknown name a, expected one of op"),
        (["-o", "x", "--source", "a b"], "expected 1 to 64"),
        (["-o", "x", "--json"], "--json goes with --connect"),
    ],
)
def test_wrong_use_is_told(trace: str, arguments: list[str], expected: str, tmp_path: Path) -> None:
    """In one line, and no file is left."""
    given = [str(tmp_path / "x") if argument == "x" else argument for argument in arguments]
    result = run(trace, *given)

    assert (2, 1) == (result.exit_code, result.stderr.count("\n")), result.stderr
    assert expected in result.stderr
    assert not (tmp_path / "x").exists()


def test_a_batch_that_is_played_is_a_batch_that_is_read(trace: str, tmp_path: Path) -> None:
    """Byte for byte as it was, under the same epoch, when nothing is to be changed."""
    out = tmp_path / "o.pfmt"
    assert 0 == run(trace, "-o", out, "--epoch", "1").exit_code

    assert Path(trace).read_bytes() == out.read_bytes()
    assert decode(next(iter(_frames(out)))).epoch == 1


def _frames(path: Path) -> list[bytes]:
    with TraceReader(str(path)) as reader:
        return [entry.data for entry in reader]
