"""``pfmemd soak`` with real processes: verdict, files, limits, and its end in any way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import pytest

from tests.e2e.traces import Script, drained, drawn, write

PFMEMD = (sys.executable, "-P", "-m", "daemon")

Start: TypeAlias = Callable[..., Any]
"""What the fixtures of conftest.py give."""


def soak(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it in a folder, with the model of SLAB as mailed only."""
    command = [*PFMEMD, "soak", "--variant", "slab-seed", "--interval", "0.1", *arguments]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


@pytest.fixture
def dry(tmp_path: Path) -> Path:
    """A trace in which the reserve runs dry."""
    return write(tmp_path / "dry.pfmt", "dry", drained())


def test_dry_reserve_fails_the_soak_and_the_next_run_is_compared(tmp_path: Path, dry: Path) -> None:
    """Exit code 1, one line for each threshold, and three files that say the same."""
    first = soak(tmp_path, dry.name, "--plays", "2", "--fail-on", "reserve-exhausted,leak")

    assert 1 == first.returncode, first.stderr
    assert "failed reserve-exhausted: slab-seed of dry: " in first.stderr
    assert "the fewest free pages were 0 of 256 in zone DMA32 of node 0" in first.stderr
    out = tmp_path / "soak-report"
    result = json.loads((out / "result.json").read_text("utf-8"))
    (model,) = result["models"]
    # An eighth of min is 32 pages: 32 allocations leave less, in each of two plays.
    assert (2, 2 * 32, 0) == (model["plays"], model["exhausted_allocations"], model["lowest_free"])
    suite = ET.parse(out / "junit.xml").getroot()  # noqa: S314 - our own
    assert ("2", "1") == (suite.get("tests"), suite.get("failures"))
    assert "less than an eighth of the reserve left" in (out / "report.html").read_text("utf-8")

    second = soak(tmp_path, dry.name, "--plays", "2", "--fail-on", "leak", "--json")

    assert 0 == second.returncode, second.stderr
    # Whether a hang is seen depends on when the daemon is looked at; nothing else does.
    again = json.loads(second.stdout)["models"]
    assert [model | {"hangs": 0}] == [one | {"hangs": 0} for one in again]
    assert "as before" in (out / "report.html").read_text("utf-8")


def test_limits_end_it(tmp_path: Path) -> None:
    """Time and a crossed threshold each end a soak that would go on."""
    trace = write(tmp_path / "drawn.pfmt", "drawn", drawn(rounds=20))
    common = (trace.name, "--no-explain", "--fail-on", "denied")

    by_time = soak(tmp_path, *common, "--for", "1s", "--json")
    fast = soak(tmp_path, *common, "--for", "1h", "--fail-fast")

    assert 1 <= json.loads(by_time.stdout)["seconds"] < 30
    assert [1, 1] == [by_time.returncode, fast.returncode], fast.stderr


def test_several_traces_are_played_in_turn(tmp_path: Path, dry: Path) -> None:
    """A set of traces is played once through when no limit is given."""
    quiet = Script()
    quiet.free(2, quiet.pages(10))
    write(tmp_path / "quiet.pfmt", "quiet", quiet.events)

    done = soak(tmp_path, "quiet.pfmt", dry.name, "--fail-on", "", "--no-explain", "--json")

    models = json.loads(done.stdout)["models"]
    assert {"quiet": 1, "dry": 1} == {model["source"]: model["plays"] for model in models}


def test_running_daemon_is_soaked(tmp_path: Path, dry: Path, serve: Start) -> None:
    """With --connect no daemon is started, and only what is played there counts."""
    daemon = serve("--variant", "slub-seed")

    done = soak(
        tmp_path, dry.name, "--connect", daemon.receiving, "--http", daemon.http, "--json",
        "--no-explain",
    )  # fmt: skip

    assert ["slub-seed"] == [model["variant"] for model in json.loads(done.stdout)["models"]]


def test_interrupted_soak_reports_what_was_seen(tmp_path: Path) -> None:
    """A kill ends it in order, as Ctrl-C does: a report, nothing left, the shell's exit code."""
    write(tmp_path / "drawn.pfmt", "drawn", drawn(rounds=20))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [*PFMEMD, "soak", "drawn.pfmt", "--for", "1h", "--variant", "slab-seed"]
    process = subprocess.Popen(
        [*command, "--interval", "0.1"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stderr is not None
    assert "least left" in process.stderr.readline()
    process.terminate()
    _, said = process.communicate()

    assert 128 + signal.SIGTERM == process.returncode, said
    assert json.loads((tmp_path / "soak-report" / "result.json").read_text())["interrupted"]
    assert [] == list(temporary.iterdir())


def test_daemon_that_is_not_there(tmp_path: Path, dry: Path) -> None:
    """Exit code 3 and one line that says where nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

    done = soak(tmp_path, dry.name, "--connect", "tcp://127.0.0.1:9", "--http", address)

    assert 3 == done.returncode
    assert f"nothing answers at http://{address}/state" in done.stderr
    assert 1 == len(done.stderr.splitlines())
