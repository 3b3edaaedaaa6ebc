"""A folder, free ports and a ``pfmemd`` in which the commands of a page are run."""

from __future__ import annotations

import lzma
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.docs.pages import ROOT, Example, first_not_found
from tests.docs.warm import DEFAULT_PORTS
from tracegen import samples

SECONDS = 120.0
POLL_SECONDS = 0.05
FAILS = re.compile(r"#.*exit code 1$")
"""Said behind a command that is meant to find something bad."""
ENDLESS = re.compile(
    r"pfmemd (serve(?!.*--exit-when-done)|watch(?!.*--seconds)|top(?!.*--once)|send.*--loop)"
)
"""Goes on until it is stopped; a page's reader stops it by Ctrl-C."""
SIGNS_OF_LIFE = {"serve": "ready", "send": ""}
"""What is waited for; of everything else, any word."""
SHARED = ("tests", "tracegen", "docs", "dashboards", "docker-compose.yml", "Dockerfile")
"""Of the checkout, what commands on pages name by a path in it."""


class Warm:
    """The server that runs every ``pfmemd`` of the session; see ``warm.py``."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "warm.socket"
        self.program = folder / "bin" / "pfmemd"
        warm = Path(__file__).with_name("warm.py")
        command = [sys.executable, "-m", "tests.docs.warm", "serve", str(self.socket)]
        self._server = subprocess.Popen(command, cwd=ROOT)
        self.program.parent.mkdir()
        words = shlex.join([sys.executable, "-IS", str(warm), str(self.socket)])
        self.program.write_text(f'#!/bin/sh\nexec {words} "$@"\n', "utf-8")
        self.program.chmod(0o755)
        _until("the server listens", self.socket.exists)

    def stop(self) -> None:
        """End it."""
        self._server.kill()
        self._server.wait()


@dataclass
class Workshop:
    """Where one page's commands run."""

    folder: Path
    warm: Warm
    ports: dict[str, int] = field(default_factory=dict)
    background: list[subprocess.Popen[bytes]] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    """Programs that are not on this machine; what needs them was not run."""

    def __post_init__(self) -> None:
        for name in SHARED:
            (self.folder / name).symlink_to(ROOT / name)
        self.ports = {port: _free_port() for port in DEFAULT_PORTS}

    def give(self, name: str, sample: Path) -> None:
        """Put a file or folder here that the page takes as the reader's own."""
        path = self.folder / name
        if name.endswith((".pfmt", ".pfmt.zst")):
            self.run_line(f"cat {sample} {'| zstd ' if name.endswith('.zst') else ''}> {name}")
        elif name.endswith(".txt.xz"):
            shutil.copyfile(samples.TRACE, path)
        elif name.endswith(".txt"):
            path.write_bytes(lzma.decompress(samples.TRACE.read_bytes()))
        else:
            path.symlink_to(samples.TRACE.parent / "nbd-swap-proc")

    def run(self, example: Example) -> None:
        """Run a command; fail where it does not do or print what the page says."""
        line = example.command
        started = time.monotonic()
        absent = {word for word in _programs(line) if shutil.which(word, path=self._path()) is None}
        if absent:
            self.missing |= absent
            return
        code = _without_comment(line)
        if code.endswith("&"):
            self._start(code.removesuffix("&"), "background")
        elif ENDLESS.match(line):
            self._look(example)
        else:
            self._to_the_end(example)
        print(f"{time.monotonic() - started:5.1f} s  {line}")  # noqa: T201 - shown with -s

    def _to_the_end(self, example: Example) -> None:
        done = self.run_line(example.command)
        expected = 1 if FAILS.search(example.command) else 0
        said = f"{example.place}: $ {example.command}\n{done.stdout}{done.stderr}"
        assert expected == done.returncode, said
        if example.lines:
            missing = first_not_found(example.lines, self.as_shown(done.stdout).splitlines())
            assert missing is None, f"{missing!r} is not what is printed there:\n{said}"

    def as_shown(self, text: str) -> str:
        """What was printed, with the ports that a reader has."""
        for port, moved in self.ports.items():
            text = text.replace(str(moved), port)
        return text

    def run_line(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell to its end."""
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", self._moved(line)],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def _look(self, example: Example) -> None:
        """Start what goes on for ever, wait for a word of it, interrupt it as Ctrl-C does."""
        process, log = self._start(
            example.command, "endless", on_terminal=" top" in example.command
        )
        del self.background[-1]
        _stop(process, signal.SIGINT)
        said = log.read_text("utf-8", "replace")
        assert process.returncode in {0, 128 + signal.SIGINT}, f"{example.place}: {said}"

    def _start(
        self, line: str, name: str, *, on_terminal: bool = False
    ) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.folder / f".{name}-{len(self.background)}.log"
        with log.open("wb") as file:
            process = self._popen(line, file, on_terminal=on_terminal)
        self.background.append(process)
        sign = next((sign for word, sign in SIGNS_OF_LIFE.items() if f" {word}" in line), None)

        def alive() -> bool:
            said = log.read_text("utf-8", "replace")
            assert process.poll() is None, f"{line} ended: {said}"
            return sign in said if sign is not None else bool(said)

        _until(f"{line} says something", alive)
        return process, log

    def _popen(self, line: str, file: IO[bytes], *, on_terminal: bool) -> subprocess.Popen[bytes]:
        command = ["bash", "-c", f"exec {self._moved(line)}"]
        if on_terminal:
            command = ["script", "-qefc", shlex.join(command), "/dev/null"]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self._environment(), "TERM": "xterm-256color"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )

    def close(self) -> None:
        """End what runs in the background; a daemon ends well."""
        for process in reversed(self.background):
            _stop(process, signal.SIGTERM)
        assert {0} >= {process.returncode for process in self.background}

    def _moved(self, line: str) -> str:
        for port, moved in self.ports.items():
            line = re.sub(rf":{port}\b", f":{moved}", line)
        return line

    def _path(self) -> str:
        return f"{self.warm.program.parent}:{os.environ['PATH']}"

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": self._path(),
            "COLUMNS": "100",
            "PYTHONPATH": str(ROOT),
            "PFMEMD_BIND": f"tcp://127.0.0.1:{self.ports['5571']}",
            "PFMEMD_HTTP": f"127.0.0.1:{self.ports['9571']}",
        }


def _stop(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)
    process.wait(SECONDS)


def _without_comment(line: str) -> str:
    return line.partition(" #")[0].rstrip()


def _programs(line: str) -> set[str]:
    """The programs that a line starts."""
    code = re.sub(r"'[^']*'|\"[^\"]*\"", "x", _without_comment(line))
    parts = re.split(r"[|&;]+", code.replace("2>&1", ""))
    return {part.split()[0] for part in parts if part.split() and "=" not in part.split()[0]}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until(what: str, probe: object) -> None:
    assert callable(probe)
    deadline = time.monotonic() + SECONDS
    while not probe():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {SECONDS:.0f} s: {what}")
        time.sleep(POLL_SECONDS)
