"""What was recorded beside a trace, on the same clock, as lines of ftrace text.

Free pages, from /proc/zoneinfo, written into ``trace_marker``::

    ...: tracing_mark_write: zones: node=0 zone=DMA free=N boost=N min=N low=N high=N | node=0 ...

Attempts at a page that ignored watermarks or came from below min, by a kprobe at the entry
of ``get_page_from_freelist``::

    ...: gpff: (...) gfp=0x... order=N aflags=0x... free=N wmin=N zone="DMA32"

min, low and high are without the watermark boost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tracegen.errors import PfmemdError, shown
from tracegen.kernel_trace.text_input import TextInput

Place: TypeAlias = tuple[int, str]
"""(node, name of the zone)."""

_HEAD: Final = (
    r"\s*(?P<comm>.{1,64}?)-(?P<pid>\d+)\s+\[\d+\]\s+(?:(?P<flags>[A-Za-z.]{2}[hHsSzZ.]\S*)\s+)?"
    r"(?P<seconds>\d+)\.(?P<fraction>\d{6,9}): "
)
_READING: Final = re.compile(_HEAD + r"\w+: zones: (?P<zones>.*)", re.ASCII)
_ZONE: Final = re.compile(
    r"node=(\d+) zone=(\w+) free=(\d+)(?: boost=(\d+))? min=(\d+) low=(\d+) high=(\d+)", re.ASCII
)
_ATTEMPT: Final = re.compile(
    _HEAD + r"gpff: \(.*?\) gfp=0x(?P<gfp>[0-9a-f]+) order=(?P<order>\d+)"
    r" aflags=0x(?P<aflags>[0-9a-f]+) free=(?P<free>\d+) wmin=(?P<min>\d+)"
    r' zone="(?P<zone>\w+)"',
    re.ASCII,
)
ALLOC_NO_WATERMARKS: Final = 0x4


class GroundTruthError(PfmemdError):
    """A file that holds no ground truth."""


@dataclass(frozen=True, slots=True)
class ZoneReading:
    """One zone at one moment, in pages."""

    free: int
    boost: int
    min: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Reading:
    """All zones at one moment."""

    ts_ns: int
    zones: dict[Place, ZoneReading]

    @property
    def free(self) -> int:
        """Free pages of all zones."""
        return sum(zone.free for zone in self.zones.values())


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at pages: not whether it came to any."""

    ts_ns: int
    comm: str
    pid: int
    interrupt: str
    gfp: int
    order: int
    aflags: int
    free: int
    min: int
    zone: str

    @property
    def ignores_watermarks(self) -> bool:
        """ALLOC_NO_WATERMARKS was set."""
        return self.aflags & ALLOC_NO_WATERMARKS != 0


@dataclass(slots=True)
class GroundTruth:
    """Everything in one file, in the order of time."""

    readings: list[Reading] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    other_lines: int = 0

    def free_at(self, ts_ns: int) -> dict[Place, int]:
        """Free pages when a trace begins: the last reading before that, or the first."""
        before = [reading for reading in self.readings if reading.ts_ns <= ts_ns]
        reading = before[-1] if before else self.readings[0]
        return {place: zone.free for place, zone in reading.zones.items()}


def read_ground_truth(path: str) -> GroundTruth:
    """Read a file, compressed or not.

    Raises :class:`GroundTruthError` if there is not a single reading of free pages in it.
    """
    found = GroundTruth()
    for line in _lines(path):
        if match := _READING.match(line):
            zones = {
                (int(node), name): ZoneReading(
                    int(free), int(boost or 0), int(least), int(low), int(high)
                )
                for node, name, free, boost, least, low, high in _ZONE.findall(match["zones"])
            }
            if zones:
                found.readings.append(Reading(_ts_ns(match), zones))
                continue
        elif match := _ATTEMPT.match(line):
            found.attempts.append(_attempt(match))
            continue
        if line.strip() and not line.startswith("#"):
            found.other_lines += 1
    if not found.readings:
        raise GroundTruthError(
            f"{path} has no reading of free pages, expected lines such as"
            f" {shown('... tracing_mark_write: zones: node=0 zone=DMA free=3808 ...')}"
        )
    found.readings.sort(key=lambda reading: reading.ts_ns)
    found.attempts.sort(key=lambda attempt: attempt.ts_ns)
    return found


def _lines(path: str) -> Iterator[str]:
    with TextInput(path) as text:
        for piece in text.pieces():
            yield from piece.decode("utf-8", "backslashreplace").splitlines()


def _ts_ns(match: re.Match[str]) -> int:
    return int(match["seconds"]) * 10**9 + int(match["fraction"].ljust(9, "0"))


def _attempt(match: re.Match[str]) -> Attempt:
    return Attempt(
        _ts_ns(match),
        match["comm"].strip(),
        int(match["pid"]),
        (match["flags"] or "")[2:3],
        int(match["gfp"], 16),
        int(match["order"]),
        int(match["aflags"], 16),
        int(match["free"]),
        int(match["min"]),
        match["zone"],
    )
