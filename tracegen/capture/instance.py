"""A private instance of tracefs: set up, read, and gone again as if it had never been.

What is done inside ``instances/NAME`` disturbs nobody and vanishes with it. The one thing outside
is ``saved_cmdlines_size``, how many tasks the kernel remembers the names of; it is put back.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tracegen.errors import StoppedError

USUAL_PLACE: Final = Path("/sys/kernel/tracing")
MOUNTS: Final = Path("/proc/self/mounts")
SAVED_CMDLINES: Final = "saved_cmdlines_size"
COMMS: Final = 4096
"""Names of tasks that the kernel is asked to remember: events carry only pids."""
_READ: Final = 64 << 10
"""The kernel gives no more than a page or two at once."""
_REMOVE_TRIES: Final = 20
_REMOVE_PAUSE: Final = 0.05
_STAT: Final = re.compile(r"(overrun|commit overrun|dropped events): (\d+)$", re.MULTILINE)


class TracefsError(StoppedError):
    """tracefs is not there, not ours to use, or does not do what it is told."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that a file of the instance is given."""

    file: str
    """Relative to the instance."""
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Recording:
    """What is to be recorded, and how."""

    events: Sequence[str]
    """Folders below ``events``."""
    clock: str = "mono"
    buffer_kbytes: int = 16 << 10
    """Size of the ring buffer of each cpu."""

    def settings(self) -> Iterator[Setting]:
        """What an instance is told before it begins, in this order."""
        yield Setting("tracing_on", "0", "nothing is recorded yet")
        yield Setting("trace_clock", self.clock, "time does not jump")
        yield Setting("options/overwrite", "0", "what does not fit is dropped, and counted")
        yield Setting("buffer_size_kb", str(self.buffer_kbytes), "for each cpu")
        for event in self.events:
            yield Setting(f"events/{event}/enable", "1", "")


def find_tracefs(mounts: Path = MOUNTS) -> Path:
    """Where tracefs is mounted, the usual place first.

    Raises :class:`TracefsError` if it is nowhere.
    """
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise TracefsError(f"cannot read {mounts}: {error.strerror}") from error
    fields = [line.split() for line in lines]
    places = [Path(f[1]) for f in fields if len(f) > 2 and f[2] == "tracefs"]  # noqa: PLR2004
    if not places:
        raise TracefsError(
            f"tracefs is not mounted: as root, mount -t tracefs nodev {USUAL_PLACE}"
            " (a kernel built with CONFIG_FTRACE has it)"
        )
    return USUAL_PLACE if USUAL_PLACE in places else places[0]


def available(tracefs: Path, events: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of the events that this kernel has, and those that it does not have."""
    has = [event for event in events if (tracefs / "events" / event).is_dir()]
    return has, [event for event in events if event not in has]


class Instance:
    """One private instance, for as long as the ``with`` block lasts.

    ``make`` and ``remove`` make and remove its folder, which the kernel fills and empties.
    """

    def __init__(
        self,
        tracefs: Path,
        name: str,
        recording: Recording,
        make: Callable[[Path], None] = Path.mkdir,
        remove: Callable[[Path], None] = Path.rmdir,
    ) -> None:
        self._make_folder = make
        self._remove_folder = remove
        self._tracefs = tracefs
        self.folder = tracefs / "instances" / name
        self._recording = recording
        self._saved_cmdlines = ""
        """What is to be put back, empty if nothing."""
        self._made = False
        self._pipe: int | None = None

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self) -> None:
        try:
            self._make_folder(self.folder)
        except FileExistsError:
            raise TracefsError(
                f"{self.folder} is there already: another capture runs, or one was killed"
                f" (rmdir {self.folder} removes it)"
            ) from None
        except PermissionError:
            raise TracefsError(f"no permission to make {self.folder}: run it as root") from None
        except OSError as error:
            raise TracefsError(f"cannot make {self.folder}: {error.strerror}") from error
        self._made = True
        self._remember_comms()
        for setting in self._recording.settings():
            self._write(self.folder / setting.file, setting.value)

    def _remember_comms(self) -> None:
        path = self._tracefs / SAVED_CMDLINES
        try:
            size = path.read_text().strip()
        except OSError:
            return  # since Linux 3.15
        if size.isdigit() and int(size) < COMMS:
            self._write(path, str(COMMS))
            self._saved_cmdlines = size

    def start(self) -> None:
        """Record from now on."""
        self._write(self.folder / "tracing_on", "1")

    def stop(self) -> None:
        """Record no more; what was recorded can still be read."""
        self._write(self.folder / "tracing_on", "0")

    def read(self) -> bytes:
        """The next of what was recorded, as text; nothing if there is none now."""
        path = self.folder / "trace_pipe"
        try:
            if self._pipe is None:
                self._pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            return os.read(self._pipe, _READ)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise TracefsError(f"cannot read {path}: {error.strerror}") from error

    def lost(self) -> dict[int, int]:
        """For each cpu how many events its buffer had no room for."""
        found: dict[int, int] = {}
        for path in sorted(self.folder.glob("per_cpu/cpu*/stats")):
            try:
                text = path.read_text()
            except OSError as error:
                raise TracefsError(f"cannot read {path}: {error.strerror}") from error
            cpu = int(path.parent.name.removeprefix("cpu"))
            found[cpu] = sum(int(number) for _, number in _STAT.findall(text))
        return found

    def close(self) -> None:
        """Leave everything as it was before.

        Raises :class:`TracefsError`, after all was tried, if the instance cannot be removed.
        """
        try:
            if self._saved_cmdlines:
                size, self._saved_cmdlines = self._saved_cmdlines, ""
                self._write(self._tracefs / SAVED_CMDLINES, size)
        finally:
            self._remove()

    def _remove(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if not self._made:
            return
        self._made = False
        for tries_left in reversed(range(_REMOVE_TRIES)):
            try:
                self._remove_folder(self.folder)
            except OSError as error:
                # Somebody else may be looking into it.
                if tries_left == 0:
                    raise TracefsError(f"cannot remove {self.folder}: {error.strerror}") from error
                time.sleep(_REMOVE_PAUSE)
            else:
                return

    def _write(self, path: Path, value: str) -> None:
        try:
            path.write_text(value)
        except OSError as error:
            raise TracefsError(f"cannot write {value} to {path}: {error.strerror}") from error
