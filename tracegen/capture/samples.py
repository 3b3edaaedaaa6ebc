"""What the machine itself says of its free pages, written into the trace: ``--samples``.

``pfmemd truth`` holds models against these readings. Each is a mark in the trace, on its clock:
``zones: node=0 zone=DMA free=3808 boost=0 min=28 low=35 high=42 | node=0 zone=DMA32 ...``.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Final, Self

from tracegen.capture.instance import TracefsError

INTERVAL: Final = 0.025
"""Seconds between two readings."""
_ZONE: Final = re.compile(r"^Node (\d+), zone +(\w+)$", re.MULTILINE)
_COUNT: Final = re.compile(r"^ +(?:pages )?(free|boost|min|low|high|managed) +(\d+)$", re.MULTILINE)


def reading(zoneinfo: str) -> str:
    """One line of all zones with pages; the watermarks are without the boost."""
    parts = _ZONE.split(zoneinfo)[1:]
    found = []
    for node, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        counts: dict[str, int] = {}
        for key, value in _COUNT.findall(text):
            counts.setdefault(key, int(value))
        boost = counts.get("boost", 0)
        if counts.get("managed", 0):
            marks = " ".join(f"{mark}={counts[mark] - boost}" for mark in ("min", "low", "high"))
            found.append(f"node={node} zone={name} free={counts['free']} boost={boost} {marks}")
    return f"zones: {' | '.join(found)}"


class Sampler:
    """Writes readings into an instance, from a thread, for as long as the ``with`` block lasts."""

    def __init__(
        self, instance: Path, interval: float = INTERVAL, zoneinfo: Path = Path("/proc/zoneinfo")
    ) -> None:
        self._marker = instance / "trace_marker"
        self._interval = interval
        self._zoneinfo = zoneinfo
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="samples", daemon=True)
        self._fd = -1

    def __enter__(self) -> Self:
        try:
            self._fd = os.open(self._marker, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise TracefsError(f"cannot write {self._marker}: {error.strerror}") from error
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._fd)

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            try:
                os.write(self._fd, reading(self._zoneinfo.read_text()).encode())
            except OSError:
                continue  # before recording begins, and after it has ended
