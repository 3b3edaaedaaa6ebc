"""Keeps the process from taking all memory: it stops, cleanly, before the system kills it.

Whatever comes in is bounded where it comes in. What is left is one way of ZeroMQ's: a
message of many frames is gathered before anybody sees it. And there may be faults that
nobody knows of. What is acknowledged is in the journal, so to stop and be started again
is safe; to be killed in the middle of the night by somebody else's shortage is not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tracegen.errors import StoppedError

INTERVAL_SECONDS: Final = 1.0
"""How often memory is looked at."""
SHARE: Final = 0.9
"""Of what there is, the default limit."""

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where a container finds the limit of its control group, version 2 and 1."""


class MemoryLimitError(StoppedError):
    """The process has grown beyond its limit."""


class MemoryWatch:
    """Looks at the process's resident memory now and then."""

    def __init__(
        self,
        limit: int = 0,
        read: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``limit`` in bytes; 0 is nine tenths of what there is."""
        self.limit = limit or int(SHARE * available_bytes())
        self.read = read or resident_bytes
        """Resident memory now, in bytes."""
        self._clock = clock
        self._due = 0.0

    def turn(self) -> None:
        """Look, if it is time to; raises :class:`MemoryLimitError`."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + INTERVAL_SECONDS
        try:
            resident = self.read()
        except OSError:  # strangers may have taken every file there is; they will be gone
            return
        if resident > self.limit:
            raise MemoryLimitError(
                f"{resident:,} bytes of memory are in use, more than the {self.limit:,} of"
                " --max-memory-bytes: what is acknowledged is as safe as after any other stop"
            )


def resident_bytes(pid: int | None = None) -> int:
    """Resident memory of a process, None is this one; 0 of one that is gone."""
    try:
        statm = Path(f"/proc/{pid or 'self'}/statm").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(statm.split()[1]) * _PAGE


def available_bytes() -> int:
    """Memory of the machine, or of the control group if that has less."""
    (total,) = (
        int(line.split()[1]) * 1024
        for line in _MEMINFO.read_text("ascii").splitlines()
        if line.startswith("MemTotal:")
    )
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text("ascii").strip()
        except OSError:
            continue
        if text.isdigit():  # else "max"
            total = min(total, int(text))
    return total
