"""``pfmemd demo`` shows the whole path, and leaves nothing running however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from allocator import COMPILED

CHECKOUT = Path(__file__).parents[2]
PFMEMD = (sys.executable, "-P", "-m", "daemon")


def start(folder: Path, seconds: str) -> subprocess.Popen[str]:
    """Start the demo with a temporary folder of its own, by which its children are known."""
    return subprocess.Popen(
        [*PFMEMD, "demo", "--seconds", seconds],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A run in the background of a script has Ctrl-C ignored, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one call, no lock
        env={
            **os.environ,
            "TMPDIR": str(folder),
            "PYTHONUNBUFFERED": "1",
            "PFMEMD_MAX_SOURCES": "0",  # a user's own setting, and a wrong one: not the demo's
        },
    )


def promised() -> list[str]:
    """Return the lines of the summary as the README quotes it."""
    readme = (CHECKOUT / "README.md").read_text("utf-8")
    return readme.partition("events were replayed")[2].partition("```")[0].splitlines()[1:]


def left_running(folder: Path) -> list[str]:
    """Return the command lines of the processes that have this temporary folder."""
    mark = f"TMPDIR={folder}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
    return found


def test_the_demo_replays_the_trace_and_says_what_happened(tmp_path: Path) -> None:
    """It ends with 0 after a summary, which is the one that the README quotes."""
    demo = start(tmp_path, "1")
    output, _ = demo.communicate()

    assert 0 == demo.returncode, output
    assert f"the model runs {'compiled' if COMPILED else 'plain Python'}" in output
    for line in promised():
        assert line in output
    assert "The same by hand:" in output
    assert [] == left_running(tmp_path)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_stopped_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, a kill and a closed terminal end the daemon and the sender too."""
    demo = start(tmp_path, "600")
    assert demo.stdout is not None
    while not (line := demo.stdout.readline()).startswith("send"):
        assert line, "the demo ended before it sent anything"
    demo.send_signal(number)
    demo.communicate()

    assert 128 + number == demo.returncode
    assert [] == left_running(tmp_path)
    assert [] == list(tmp_path.iterdir())
