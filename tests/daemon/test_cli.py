"""The command as a user types it: processes, exit codes, one line for each mistake."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import zmq
from click.testing import CliRunner

from daemon.cli import main
from tests.daemon.fakes import allocations, encoded_trace, events_batch, header_batch, mark, record
from tracegen import protocol
from tracegen.batch import encode
from tracegen.protocol import Ack, Bye, Hello, Welcome, fingerprint_of

PFMEMD = [sys.executable, "-m", "daemon"]
SECONDS = 60
TRACE = encoded_trace(allocations(500), mark(1) + allocations(20, 1000))
EVENTS = 521


def pfmemd(
    *arguments: str, stdin: bytes | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    return subprocess.run(
        [*PFMEMD, *arguments],
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, **(env or {})},
    )


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line on standard error, and no traceback."""
    (line,) = done.stderr.decode().splitlines()
    return line


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A sound trace of one source."""
    path = tmp_path / "trace.pfmt"
    path.write_bytes(TRACE)
    return path


class Daemon:
    """A running ``pfmemd serve`` on free ports, and what its log says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        assert process.stderr is not None
        self._log: IO[bytes] = process.stderr
        self.ready = self.wait_for("ready")
        self.http: str = self.ready["http"]
        self.endpoint: str = self.ready["receiving"]

    def wait_for(self, event: str) -> dict[str, Any]:
        """The log line of that event; lines before it are passed over."""
        for line in self._log:
            entry: dict[str, Any] = json.loads(line)
            if entry["event"] == event:
                return entry
        raise AssertionError(f"the daemon ended without saying {event!r}")

    def get(self, path: str, accept: str = "*/*") -> str:
        """The body at ``path``."""
        request = urllib.request.Request(self.http + path, headers={"Accept": accept})  # noqa: S310 - our own daemon
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310 - the same
            body: bytes = response.read()
        return body.decode()

    def state(self) -> dict[str, Any]:
        """What /state says."""
        state: dict[str, Any] = json.loads(self.get("/state"))
        return state

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def serving(*arguments: str, stdin: int | IO[bytes] = subprocess.DEVNULL) -> Iterator[Daemon]:
    """A daemon that is killed at the end if it still runs."""
    process = subprocess.Popen(
        [
            *PFMEMD,
            "serve",
            *("--bind", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json"),
            *("--variant", "slab-seed"),
            *arguments,
        ],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield Daemon(process)
        finally:
            process.kill()


class TestServe:
    """``pfmemd serve`` with senders."""

    def test_batches_become_metrics(self) -> None:
        """What a sender sends is acknowledged and then shown on every endpoint."""
        header = encode(header_batch())
        with serving() as daemon:
            context = zmq.Context()
            sender = context.socket(zmq.DEALER)
            sender.setsockopt(zmq.RCVTIMEO, SECONDS * 1000)
            sender.connect(daemon.endpoint)
            sender.send(protocol.encode(Hello("a", 5, 1, fingerprint_of(header), "test")))
            assert isinstance(receive(sender), Welcome)
            sender.send(header)
            sender.send(encode(events_batch(2, allocations(30) + mark(0))))
            answer = receive(sender)
            while isinstance(answer, Ack) and answer.last_seq < 2:
                answer = receive(sender)
            assert answer == Ack(5, 2, 32)

            metrics = daemon.get("/metrics")
            assert 'pfmemd_events_applied_total{source="a"} 31\n' in metrics
            assert 'pfmemd_source_phase{source="a",phase="outage"} 1\n' in metrics
            assert "process_resident_memory_bytes" in metrics
            assert daemon.get("/healthz") == "ok\n"
            assert daemon.get("/readyz") == "ready\n"
            source = daemon.state()["sources"]["a"]
            assert (5, 2, 31) == (source["epoch"], source["seq"], source["events"])
            variant = source["variants"]["slab-seed"]
            assert (30, 30, 0) == (variant["allocations"], variant["ok"], variant["denied"])
            assert len(variant["digest"]) == 64

            assert daemon.stop() == 0
            assert receive(sender) == Bye(5, 2)
            context.destroy(linger=0)

    def test_openmetrics_on_request(self) -> None:
        """Prometheus is given OpenMetrics when it asks for it."""
        with serving() as daemon:
            text = daemon.get("/metrics", "application/openmetrics-text; version=1.0.0")

            assert text.endswith("# EOF\n")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal_stops_it_cleanly(self, number: int) -> None:
        """SIGTERM and Ctrl-C end with exit code 0 and a last word in the log."""
        with serving() as daemon:
            daemon.process.send_signal(number)

            assert daemon.wait_for("stopped")["level"] == "info"
            assert daemon.process.wait(SECONDS) == 0

    def test_misspelt_environment_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A PFMEMD_ variable that sets nothing is named in the log before the daemon is ready."""
        monkeypatch.setenv("PFMEMD_CREDTI", "4")
        process = subprocess.Popen(
            [*PFMEMD, "serve", "--bind", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0"],
            stderr=subprocess.PIPE,
        )
        with process:
            assert process.stderr is not None
            assert b"PFMEMD_CREDTI" in process.stderr.readline()
            process.terminate()

    @pytest.mark.parametrize("flag", ["--bind", "--http"])
    def test_port_in_use_is_exit_2_and_one_line(self, flag: str) -> None:
        """A taken port says which, and which flag chooses another."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            free = {"--bind": "tcp://127.0.0.1:0", "--http": "127.0.0.1:0"}
            free[flag] = f"tcp://{address}" if flag == "--bind" else address

            done = pfmemd("serve", *(word for pair in free.items() for word in pair))

        assert done.returncode == 2
        assert address in complaint(done)
        assert "Address already in use" in complaint(done)
        assert flag in complaint(done)


class TestServeTrace:
    """``pfmemd serve TRACE``."""

    def test_piped_trace_is_applied_and_served(self) -> None:
        """A trace from a pipe is shown while the pipe is open and after its end."""
        read_fd, write_fd = os.pipe()
        with (
            os.fdopen(read_fd, "rb") as reader,
            os.fdopen(write_fd, "wb") as writer,
            serving("-", stdin=reader) as daemon,
        ):
            assert daemon.endpoint == "standard input"
            writer.write(TRACE)
            writer.close()
            assert daemon.wait_for("trace done")["events"] == EVENTS

            assert daemon.state()["sources"]["a"]["events"] == EVENTS
            assert daemon.get("/readyz") == "ready\n"
            assert daemon.stop() == 0

    def test_signal_ends_the_wait_for_a_pipe(self) -> None:
        """A pipe with nothing in it does not keep the daemon from stopping."""
        read_fd, write_fd = os.pipe()
        with (
            os.fdopen(read_fd, "rb") as reader,
            os.fdopen(write_fd, "wb"),
            serving("--stdin", stdin=reader) as daemon,
        ):
            assert daemon.get("/healthz") == "ok\n"
            assert daemon.stop() == 0

    def test_exit_when_done(self, trace: Path) -> None:
        """With --exit-when-done the end of the trace is the end of the daemon."""
        with serving(str(trace), "--exit-when-done") as daemon:
            daemon.wait_for("stopped")

            assert daemon.process.wait(SECONDS) == 0

    def test_bad_trace_names_batch_and_event(self, tmp_path: Path) -> None:
        """A bad event in the middle: file, batch, byte and event, and what was expected."""
        path = tmp_path / "bad.pfmt"
        path.write_bytes(encoded_trace(allocations(3), allocations(2, 9) + record(op=77)))

        done = pfmemd("serve", str(path), "--http", "127.0.0.1:0", "--log-level", "error")

        assert done.returncode == 2
        first = len(encoded_trace(allocations(3)))
        assert f"{path}: batch 3, byte {first}, event 2: op is 77, expected 1 to 9" in complaint(
            done
        )


class TestRun:
    """``pfmemd run``."""

    def test_json_has_the_counts_of_each_variant(self, trace: Path) -> None:
        """Each variant's counts, zones and digest are there for programs."""
        done = pfmemd(
            "run", str(trace), "--variant", "slab-seed", "--variant", "slab-unpatched", "--json"
        )

        assert (0, b"") == (done.returncode, done.stderr)
        source = json.loads(done.stdout)["sources"]["a"]
        assert source["events"] == EVENTS
        assert list(source["variants"]) == ["slab-seed", "slab-unpatched"]
        variant = source["variants"]["slab-seed"]
        assert (520, 520) == (variant["allocations"], variant["by_caller"]["atomic"]["ok"])
        for zone in variant["zones"]:
            assert 0 < zone["min"] < zone["low"] < zone["high"] < zone["lowest_free"]

    def test_digest_is_that_of_the_daemon(self, trace: Path) -> None:
        """The same trace gives the same digest from a file, from a pipe and in the daemon."""
        piped = pfmemd("run", "-", "--variant", "slab-seed", "--json", stdin=TRACE)
        with serving(str(trace)) as daemon:
            daemon.wait_for("trace done")
            served = daemon.state()

        digests = {
            answer["sources"]["a"]["variants"]["slab-seed"]["digest"]
            for answer in (json.loads(piped.stdout), served)
        }
        assert len(digests) == 1

    def test_table_is_for_people(self, trace: Path) -> None:
        """Without --json the same numbers stand in a table."""
        done = pfmemd("run", str(trace), "--variant", "slab-seed")

        assert done.returncode == 0
        text = done.stdout.decode()
        assert "a: 521 events" in text
        assert "atomic" in text
        assert "digest slab-seed: " in text

    def test_cut_trace_says_where(self, tmp_path: Path) -> None:
        """A trace that ends in the middle of a batch is refused with batch and byte."""
        path = tmp_path / "cut.pfmt"
        path.write_bytes(TRACE[:-10])

        done = pfmemd("run", str(path), "--variant", "slab-seed")

        assert done.returncode == 2
        assert f"{path}: batch 3, byte " in complaint(done)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serve", "--http", "0.0.0.0:9571"], "--insecure"),
        (["serve", "--variant", "slab-2.6"], "no variant 'slab-2.6'"),
        (["serve", "--credit", "many"], "'many' is not a valid int"),
        (["serve", "--config", "/nonexistent.toml"], "cannot read settings from /nonexistent"),
        (["serve", "--stdin", "x.pfmt"], "exclude each other"),
        (["serve", "--exit-when-done"], "--exit-when-done needs a TRACE"),
        (["serve", "/nonexistent.pfmt", "--http", "127.0.0.1:0"], "cannot read /nonexistent"),
        (["run", "/nonexistent.pfmt"], "cannot read /nonexistent.pfmt: No such file"),
        (["run", "/dev/null"], "/dev/null: empty, expected a trace"),
        (["run", "/", "--variant", "slab-seed"], "cannot read /: Is a directory"),
        (["run", "x", "--variant", "slab-2.6"], "no variant 'slab-2.6'; there are slab-unp"),
        (["sevre"], "sevre"),
    ],
)
def test_wrong_use_is_exit_2_and_one_line(arguments: list[str], expected: str) -> None:
    """A user's mistake is told in one line, without a traceback."""
    done = CliRunner().invoke(main, arguments, prog_name="pfmemd")

    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert expected in line


def test_version_tells_how_the_model_runs() -> None:
    """--version names the version and whether the model is compiled."""
    done = pfmemd("--version")

    assert done.returncode == 0
    assert done.stdout.startswith(b"pfmemd ")
    assert b"model: plain Python" in done.stdout or b"model: compiled" in done.stdout


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help(command: str) -> None:
    """--help works for each command and shows how it is used."""
    done = CliRunner().invoke(main, [command, "--help"], prog_name="pfmemd")

    assert done.exit_code == 0
    assert f"Usage: pfmemd {command}" in done.stdout


def receive(socket: zmq.Socket[bytes]) -> protocol.Message:
    """The next answer of the daemon."""
    data = socket.recv()
    assert isinstance(data, bytes)
    return protocol.decode(data)
