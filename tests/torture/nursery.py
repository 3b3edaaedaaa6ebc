"""Starts daemons and senders in milliseconds: they are forks of a process that has it all.

``python -m tests.torture.nursery`` reads one JSON object a line. ``{"role": ..., ...}``
forks a child, which plays that role, and answers ``{"pid": N}``. ``{"wait": N}`` waits for
that child and answers ``{"code": C}``: its exit code, or minus the signal that ended it.
The children are processes like any other: a kill -9 ends them in the middle of whatever
they do. The nursery itself has no thread and no socket, which would not survive a fork.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

from daemon.engine import Engine
from daemon.files import AppendFile, Folder, OsAppendFile, OsFolder
from daemon.logs import configure_logs
from daemon.receiver import Receiver
from daemon.service import Service
from daemon.settings import load_settings
from daemon.stop_signal import StopSignal
from daemon.workers import worker_pool
from tests.torture.stream import batch_of
from tracegen import sender as sender_module
from tracegen.errors import PfmemdError
from tracegen.sender import Sender

HOUR_NS: Final = 3600 * 10**9
PR_SET_PDEATHSIG: Final = 1
"""linux/prctl.h: a child outlives its nursery by nothing."""


class Reaper:
    """Ends the process at one of its steps: the ``count``-th, or the ``count``-th of a kind."""

    def __init__(self, step: str | None, count: int) -> None:
        self._step = step
        self._left = count

    def due(self, step: str) -> bool:
        """Whether this is the step."""
        if self._step not in {None, step}:
            return False
        self._left -= 1
        return self._left == 0

    def pass_by(self, step: str) -> None:
        """Come to a step, and perhaps not beyond it."""
        if self.due(step):
            end()


def end() -> None:
    """Die as by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyFile(OsAppendFile):
    """Dies before, in the middle of, and after what it does."""

    reaper: Reaper

    def append(self, data: bytes) -> None:
        """Write; or a part, and then no more."""
        self.reaper.pass_by("before write")
        if self.reaper.due("mid write"):
            super().append(data[: len(data) // 2])
            end()
        super().append(data)
        self.reaper.pass_by("after write")

    def sync(self) -> None:
        """Sync."""
        self.reaper.pass_by("before sync")
        super().sync()
        self.reaper.pass_by("after sync")

    def truncate(self, size: int) -> None:
        """Truncate."""
        self.reaper.pass_by("before truncate")
        super().truncate(size)


class DeadlyFolder(OsFolder):
    """Dies before and after changing names."""

    def __init__(self, path: Path, reaper: Reaper) -> None:
        super().__init__(path, make=True)
        self._reaper = reaper

    def create(self, name: str) -> AppendFile:
        """Create."""
        self._reaper.pass_by("before create")
        file = self._deadly(super()._open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        self._reaper.pass_by("after create")
        return file

    def extend(self, name: str) -> AppendFile:
        """Open."""
        return self._deadly(super()._open(name, os.O_WRONLY))

    def rename(self, old: str, new: str) -> None:
        """Rename."""
        self._reaper.pass_by("before rename")
        super().rename(old, new)
        self._reaper.pass_by("after rename")

    def remove(self, name: str) -> None:
        """Remove."""
        self._reaper.pass_by("before remove")
        super().remove(name)
        self._reaper.pass_by("after remove")

    def sync(self) -> None:
        """Sync."""
        self._reaper.pass_by("before folder sync")
        super().sync()

    def _deadly(self, fd: int) -> DeadlyFile:
        file = DeadlyFile(fd)
        file.reaper = self._reaper
        return file


STEPS: Final = (
    "before write",
    "mid write",
    "after write",
    "before sync",
    "after sync",
    "before truncate",
    "before create",
    "after create",
    "before rename",
    "after rename",
    "before remove",
    "after remove",
    "before folder sync",
    "before apply",
    "after apply",
    "before answer",
    "after answer",
)
"""Where a daemon can be made to die."""


def play_daemon(
    settings: dict[str, Any],
    kill: dict[str, Any] | None = None,
    file_bytes: int | None = None,
    open_files: int | None = None,
    *,
    clock_jumps: bool = False,
) -> int:
    """``pfmemd serve``, with a reaper inside.

    ``file_bytes`` is the longest file that the system lets it write, ``open_files`` how many it
    may have open. With ``clock_jumps``
    the wall clock is an hour off, this way or that, each time it is looked at.
    """
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
    if open_files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    reaper = Reaper(**kill) if kill else Reaper("never", 1)
    if kill:
        _surround(Engine, "apply", reaper)
        _surround(Receiver, "_post", reaper, "answer")

    @contextmanager
    def open_folder(path: Path) -> Iterator[Folder]:
        with DeadlyFolder(path, reaper) as folder:
            folder.lock()
            yield folder

    loaded = load_settings(settings)
    configure_logs(loaded.log_level, loaded.log_format)
    random = Random(1)

    def wall_clock_ns() -> int:
        return time.time_ns() + (random.choice((-HOUR_NS, HOUR_NS)) if clock_jumps else 0)

    with StopSignal() as stop, worker_pool(loaded.workers) as workers:
        service = Service(
            loaded,
            "torture",
            open_folder=open_folder,
            wall_clock_ns=wall_clock_ns,
            workers=workers,
        )
        service.run(stop, None, exit_when_done=False)
    return 0


def _surround(owner: type, method: str, reaper: Reaper, name: str | None = None) -> None:
    inner: Callable[..., Any] = getattr(owner, method)
    step = name or method

    def outer(*arguments: Any) -> Any:  # noqa: ANN401 - whatever the method has
        reaper.pass_by(f"before {step}")
        result = inner(*arguments)
        reaper.pass_by(f"after {step}")
        return result

    setattr(owner, method, outer)


class TellingSender(Sender):
    """Tells each new acknowledgement to a file, one number a line, before anything else."""

    def __init__(self, url: str, source: str, fd: int, interrupted: Callable[[], bool]) -> None:
        super().__init__(url, source, timeout=60.0, interrupted=interrupted)
        self._fd = fd
        self._told = -1

    def turn(self, seconds: float) -> dict[Any, int]:
        """Take a turn and tell."""
        events = super().turn(seconds)
        if self.state.acked != self._told and self.state.welcomed:
            self._told = self.state.acked
            os.write(self._fd, b"%d\n" % self._told)
        return events


def play_sender(url: str, source: str, epoch: int, acks: str) -> int:
    """Send an endless stream from where the daemon is; on SIGTERM, see it acknowledged."""
    # The daemon is back in milliseconds here; waiting would be most of the test.
    sender_module._CONNECT_INTERVAL_MS = 5  # type: ignore[misc]
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    fd = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    sender = TellingSender(url, source, fd, lambda: False)
    seq = sender.open(epoch, batch_of(source, epoch, 1))
    while not asked:
        seq += 1
        sender.send(seq, batch_of(source, epoch, seq), 16)
    sender.flush()
    sender.close()
    return 0


ROLES: Final[dict[str, Callable[..., int]]] = {"daemon": play_daemon, "sender": play_sender}


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            answer = {"pid": fork(order.pop("role"), order.pop("log"), order)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def fork(role: str, log: str, arguments: dict[str, Any]) -> int:
    """Start a child in that role, its standard error in ``log``."""
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    code = 70
    try:
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.dup2(fd, 2)
        code = ROLES[role](**arguments)
    except PfmemdError as error:
        os.write(2, f"{role}: {error}\n".encode())
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - a child must never go on as its parent
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
