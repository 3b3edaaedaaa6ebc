"""The commands as users type them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.tracegen.fakes import RouterDaemon, Storage, encoded, make_batches
from tracegen.cli import main
from tracegen.protocol import Bye

BATCHES = make_batches(batches=10, events=5)


@pytest.fixture
def storage() -> Storage:
    """What the daemon keeps."""
    return Storage()


@pytest.fixture
def daemon(storage: Storage) -> Iterator[RouterDaemon]:
    """A daemon that listens."""
    router = RouterDaemon(storage).start()
    yield router
    router.close()


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """A trace of one source."""
    path = tmp_path / "t.pfmt"
    path.write_bytes(encoded(BATCHES))
    return str(path)


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="tracegen")


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tracegen", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_trace_is_sent_and_reported(daemon: RouterDaemon, storage: Storage, trace: str) -> None:
    """The report on standard error names events, batches, source and epoch."""
    result = _run("send", trace, "--connect", daemon.address)

    assert result.exit_code == 0
    assert BATCHES == storage.batches()
    assert result.stdout == ""
    assert result.stderr.startswith("sent 45 events in 10 batches in ")
    assert result.stderr.endswith(" s (a epoch 1)\n")


def test_the_report_can_be_json(daemon: RouterDaemon, trace: str) -> None:
    """Standard output then holds one JSON object."""
    _run("send", trace, "--connect", daemon.address)
    result = _run("send", trace, "--connect", daemon.address, "--json")

    report = json.loads(result.stdout)
    assert {"events": 0, "batches": 0, "already_there": 10} == {
        key: report[key] for key in ("events", "batches", "already_there")
    }
    assert "10 batches already there" in result.stderr


def test_standard_input_is_sent(daemon: RouterDaemon, storage: Storage) -> None:
    """``-`` takes the trace from a pipe."""
    process = _start("send", "-", "--connect", daemon.address)
    _, stderr = process.communicate(encoded(BATCHES), timeout=60)

    assert (0, b"sent 45 events") == (process.returncode, stderr[:14])
    assert BATCHES == storage.batches()


@pytest.mark.parametrize(
    ("number", "loop", "exit_code"),
    [(signal.SIGTERM, False, 143), (signal.SIGINT, False, 130), (signal.SIGTERM, True, 0)],
)
def test_a_signal_ends_it_cleanly(
    daemon: RouterDaemon, storage: Storage, number: int, loop: bool, exit_code: int
) -> None:
    """Everything that was sent is acknowledged; only a loop was meant to be ended so."""
    if loop:
        process = _start("send", "/dev/stdin", "--loop", "--connect", daemon.address)
    else:
        process = _start("send", "-", "--connect", daemon.address)
    assert process.stdin is not None
    process.stdin.write(encoded(BATCHES[:3]))
    process.stdin.flush()
    while not any(len(batches) == 3 for batches in storage.stored.values()):
        assert process.poll() is None
    process.send_signal(number)
    # Its standard input stays open until it has gone: it is the signal that ends it.
    process.wait(timeout=60)
    stdout, stderr = process.communicate()

    assert exit_code == process.returncode
    assert (b"", b"sent 10 events in 3 batches") == (stdout, stderr[:27])
    assert isinstance(storage.heard[-1], Bye)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--speed", "fast"], "'--speed': 'fast', expected max or a factor such as 1x"),
        (["--speed", "0"], "'--speed': '0', expected max or a factor"),
        (["--source", "a b"], "'--source': 'a b', expected 1 to 64 of the characters"),
        (["--batch-events", "16385"], "'--batch-events': 16385 is not in the range 1<=x<=16384"),
        (["--connect", "localhost"], "cannot connect to 'localhost', expected tcp://HOST:PORT"),
    ],
)
def test_wrong_use_of_send_is_told(trace: str, arguments: list[str], expected: str) -> None:
    """Bad options end with 2 and say what was expected."""
    result = _run("send", trace, *arguments)

    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_standard_input_cannot_loop() -> None:
    """A pipe can be read once."""
    result = _run("send", "-", "--loop")

    assert result.exit_code == 2
    assert "standard input cannot be played in a loop" in result.stderr


def test_no_daemon_ends_with_3(trace: str) -> None:
    """A daemon that is not there is told with address and time."""
    result = _run("send", trace, "--connect", "tcp://127.0.0.1:9", "--timeout", "0.2")

    assert (
        3,
        "tracegen: no connection to tcp://127.0.0.1:9 in 0.2 s: nothing listens there\n",
    ) == (
        result.exit_code,
        result.stderr,
    )


def test_info_tells_what_is_in_a_trace(trace: str) -> None:
    """Lines for people on standard output."""
    result = _run("trace", "info", trace)

    assert result.exit_code == 0
    assert "          45 events in 10 batches, " in result.stdout
    assert "source    a: epoch 1; 10 batches, 45 events" in result.stdout
    assert "PAGE_ALLOC            45  100.00%" in result.stdout


def test_info_can_be_json(trace: str) -> None:
    """JSON for programs."""
    result = _run("trace", "info", trace, "--json")

    assert json.loads(result.stdout)["by_op"] == {"PAGE_ALLOC": 45}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty, expected a trace"),
        (b"# tracer: nop\n", "no trace: it looks like text"),
        (encoded(BATCHES)[:-1], "batch 10, byte 1890: the trace ends in the middle"),
    ],
    ids=["empty", "text", "cut"],
)
def test_info_of_a_bad_trace_ends_with_2(tmp_path: Path, content: bytes, expected: str) -> None:
    """One line with file, batch and byte; nothing on standard output."""
    path = tmp_path / "t"
    path.write_bytes(content)

    result = _run("trace", "info", str(path))

    assert (2, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith(f"tracegen: {path}: {expected}")
    assert result.stderr.count("\n") == 1
