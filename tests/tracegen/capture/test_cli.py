"""``pfmemd capture`` on this machine where that may be, and what it says where not."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.tracegen.capture.fakes import fake_tracefs
from tests.tracegen.fakes import RouterDaemon, Storage
from tracegen.cli import main
from tracegen.info import TraceInfo
from tracegen.trace_file import TraceReader

TRACEFS = Path("/sys/kernel/tracing")
NAME = f"pfmemd-test-{os.getpid()}"
INSTANCE = TRACEFS / "instances" / NAME
CAPTURE = (sys.executable, "-m", "tracegen", "capture", "--instance", NAME, "--buffer", "4")

real = pytest.mark.skipif(
    not os.access(TRACEFS / "events" / "kmem" / "mm_page_alloc" / "enable", os.W_OK),
    reason="needs root and a kernel with tracefs",
)


def run(*arguments: str) -> Result:
    """Run ``pfmemd capture`` in this process."""
    return CliRunner().invoke(main, ["capture", *arguments])


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    assert not os.path.lexists(INSTANCE)


@real
def test_this_machine_is_captured(tmp_path: Path) -> None:
    """For as long as a command runs; the trace, the text and the machine's files are there."""
    out, raw, report = tmp_path / "a.pfmt", tmp_path / "a.txt", tmp_path / "r.json"
    process = subprocess.run(
        [*CAPTURE, "-o", out, "--raw", raw, "--report", report, "--", "ls", "-lR", "/sys/module"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    with TraceReader(str(out)) as reader:
        info = TraceInfo()
        for entry in reader:
            info.add(entry)
    counts = json.loads(report.read_text())

    assert (0, "; no event was lost" in process.stderr) == (process.returncode, True), process
    assert len(raw.read_bytes().splitlines()) == counts["lines"] == counts["events"]
    assert info.events == sum(counts["written"].values()) > 0
    assert (tmp_path / "a.pfmt.machine" / "after" / "zoneinfo").is_file()


@real
def test_a_signal_ends_a_capture_as_its_time_would(tmp_path: Path) -> None:
    """SIGTERM: the trace is whole, and tracefs is as before."""
    comms = (TRACEFS / "saved_cmdlines_size").read_text()
    out = tmp_path / "a.pfmt"
    with subprocess.Popen(
        [*CAPTURE, "-o", str(out), "--raw", tmp_path / "raw", "--", "sleep", "60"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while (
            not (INSTANCE / "tracing_on").exists() or (INSTANCE / "tracing_on").read_text() == "0\n"
        ):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        stderr = process.communicate(timeout=120)[1]
    with TraceReader(str(out)) as reader:
        batches = sum(1 for _ in reader)

    assert (0, True) == (process.returncode, batches > 1), stderr
    assert comms == (TRACEFS / "saved_cmdlines_size").read_text()


@real
def test_a_capture_is_sent_as_it_comes() -> None:
    """Straight to a daemon."""
    storage = Storage()
    daemon = RouterDaemon(storage).start()
    process = subprocess.run(
        [*CAPTURE, "--connect", daemon.address, "--source", "here", "--seconds", "0.2"],
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    daemon.close()

    assert 0 == process.returncode, process.stderr
    assert ["here"] == [source for source, _ in storage.stored]


@real
@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell")
def test_the_script_does_the_same(tmp_path: Path) -> None:
    """What --dry-run prints leaves a text and files that can be imported, and no instance."""
    script = run("--dry-run", "--instance", NAME, "--buffer", "4", "--seconds", "0.2").stdout
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, timeout=120, capture_output=True)
    command = re.search(r"# Then: pfmemd (.*)", script)
    assert command is not None
    given = command[1].replace("trace.txt", str(tmp_path / "trace.txt"))
    given = given.replace("before", str(tmp_path / "before"))
    imported = CliRunner().invoke(
        main, given.replace("trace.pfmt.zst", str(tmp_path / "o")).split()
    )

    assert 0 == imported.exit_code, imported.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, "say where to: -o OUT or --connect URL"),
        (["-o", "x", "--connect", "tcp://127.0.0.1:1"], 2, "say where to"),
        (["-o", "x", "--event", "kfree"], 2, "'kfree', expected GROUP/NAME"),
        (["-o", "x", "--event", "net/none"], 3, "this kernel has no event net/none"),
        (["-o", "x", "--connect", "tcp://127.0.0.1:1", "--key", "k"], 2, "say where to"),
        (["--connect", "tcp://127.0.0.1:1", "--key", "k"], 2, "go together"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, arguments: list[str], code: int, expected: str) -> None:
    """In one line, before anything is touched."""
    tracefs = fake_tracefs(tmp_path / "tracing")
    result = run("--tracefs", str(tracefs), *arguments)

    assert code == result.exit_code
    assert expected in result.stderr
    assert [] == list((tracefs / "instances").iterdir())


def test_a_folder_that_is_no_tracefs_is_told(tmp_path: Path) -> None:
    """So is one that may not be read."""
    result = run("-o", str(tmp_path / "x"), "--tracefs", str(tmp_path))

    assert 3 == result.exit_code
    assert f"{tmp_path} is no tracefs, or not ours to read: run it as root\n" in result.stderr
    assert not (tmp_path / "x").exists()
