"""One line of text becomes one event, whichever tracer or tool printed it.

* tracefs ``trace``, ``trace_pipe``, ``trace-cmd show``, ``trace-cmd report``:
  ``COMM-PID [CPU] FLAGS SECONDS: EVENT: FIELDS``, with or without the flags column (the
  option ``irq-info``; ``trace-cmd report`` has none) and the TGID column (``record-tgid``)
* ``trace-cmd report -l`` and the option ``latency-format``: ``COMM-PID CPUFLAGS SECONDS: ...``
  and ``COMM-PID CPUFLAGS MICROSECONDSus: ...``
* ``perf script``: ``COMM TID [CPU] SECONDS: SYSTEM:EVENT: FIELDS``, or ``COMM PID/TID``

A comm may hold blanks, dashes, slashes, colons, brackets. What repeats from line to line is
looked up in tables of what was seen before. A line that is not found there is looked at
closely, by regular expressions, and what is learnt from it goes into the tables; both ways
agree.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from tracegen.kernel_trace.gfp_text import GfpText
from tracegen.kernel_trace.kernel_event import (
    INTERRUPT_BITS,
    KFREE,
    KMALLOC,
    MARK_VICTIM,
    NO_POINTER,
    OBJ_ALLOC,
    OBJ_FREE,
    PAGE_ALLOC,
    PAGE_FREE,
    PCP_DRAIN,
    PCP_REFILL,
    Event,
    Origin,
    Shape,
    Thread,
)
from tracegen.kernel_trace.shapes import MAX_PFN, MAX_POINTER, FieldError, Shapes

_STAMP: Final = (
    r"(?P<seconds>\d{1,19})(?:(?<!\d{11})\.(?P<fraction>\d{3,9})|(?P<us>us)[ +!#*@$]?)?:"
)
"""Of seconds with a fraction there are ten digits at most; a bare counter may have more."""
_EVENT: Final = (
    r"\s+(?:\d+\s+)?(?:[\w-]+:)?"
    r"(?:(?P<name>[A-Za-z_]\w*):(?:\s+(?P<fields>.*))?"
    r"|(?P<printed>[\w.]+\+0x[\da-f]+/0x[\da-f]+(?: \[\w+\])?: |0x[\da-f]{6,16}: ).*"
    r"|(?P<other>\S+ <-|<stack trace|sys_\w+(?:\(| ->)).*)"
)
_PRINTED: Final = "(trace_printk)"
"""In place of an event's name: the kernel prints where it was called from."""
_FLAGS: Final = r"(?P<flags>[.A-Za-z]{2}[hHszZ.][\da-f.]{1,3})"
_FORMS: Final[dict[str, re.Pattern[str]]] = {
    "ftrace": re.compile(
        r"(?P<comm>.{0,64})-(?P<pid>\d{1,9})\s+(?:\(\s*[\d-]+\)\s+)?\[(?P<cpu>\d{1,5})\]\s+"
        rf"(?:{_FLAGS}\s+)?{_STAMP}{_EVENT}",
        re.ASCII,
    ),
    "ftrace, latency format": re.compile(
        rf"(?P<comm>.{{0,64}})-(?P<pid>\d{{1,9}})\s+(?P<cpu>\d{{1,5}}){_FLAGS}\s+{_STAMP}{_EVENT}",
        re.ASCII,
    ),
    "perf script": re.compile(
        r"(?P<comm>.{0,64}?)\s{1,64}(?:\d+/)?(?P<pid>\d{1,9})\s+\[(?P<cpu>\d{1,5})\]\s+"
        rf"(?:{_FLAGS}\s+)?{_STAMP}{_EVENT}",
        re.ASCII,
    ),
}
"""How a line is made up, by the tool that makes it so; tried in this order."""
_EXPECTED: Final = (
    "COMM-PID [CPU] FLAGS SECONDS: EVENT: FIELDS (ftrace, trace-cmd)"
    " or COMM TID [CPU] SECONDS: SYSTEM:EVENT: FIELDS (perf script)"
)
_BUFFER: Final = re.compile(r"([\w.-]+:)\s+(?=\S)", re.ASCII)
"""What ``trace-cmd report`` puts before the lines of a buffer other than the main one: at
the very start, where a comm, shorter than its column, never begins."""

_LOST: Final = re.compile(
    r"CPU:\s?\d+ \[(?:LOST (?P<n>\d{1,18} )?EVENTS|(?P<m>\d{1,18} )?EVENTS DROPPED)\]"
    r"|.*PERF_RECORD_LOST.*?lost[ :]+(?P<p>\d{1,18})"
)
_CPUS: Final = re.compile(r"(?:#.*#P:|cpus=|# nrcpus online : )(\d{1,5})(?!\d)")
_KERNEL: Final = re.compile(r"#.* (?:on|release :) (\d{1,9})\.(\d{1,9})\.?\S*$")
"""In the head of the latency format, and of ``perf script --header``."""
_NO_EVENT: Final = ("#", "\t", " => ")
"""How most lines begin that are passed over."""
_PASSED_OVER: Final = re.compile(
    r"\s*$|#|=> |\s+=> |\s+[0-9a-f]{6,16} .+ \(.+\)$|cpus=\d+$|version = \d+$|CPU[ :]?\d+ is empty$"
)
"""Blank lines, comments, stack traces, and what trace-cmd says before the first event."""

POINTER: Final = 0
"""Events with the address behind ``ptr=``."""
PAGE: Final = 1
"""Events with the pfn behind ``pfn=``."""
BARE: Final = 2
"""Events of which only the name matters."""
CLOSELY: Final = 3
"""Events that are always looked at closely."""
WAYS: Final[dict[int, int]] = {
    OBJ_ALLOC: POINTER,
    KMALLOC: POINTER,
    OBJ_FREE: POINTER,
    KFREE: POINTER,
    PAGE_ALLOC: PAGE,
    PAGE_FREE: PAGE,
    PCP_REFILL: PAGE,
    PCP_DRAIN: PAGE,
    MARK_VICTIM: CLOSELY,
}

MAX_REMEMBERED: Final = 1 << 16
"""Entries of a table before it begins anew: pids and call sites are not bounded, memory is."""
_FRACTION_DIGITS: Final = 9
MAX_NS: Final = (1 << 63) - 1
_US_AT: Final = -7
"""Where the point stands in SECONDS.MICROSECONDS."""
_NS_AT: Final = -10


class LineError(ValueError):
    """A line that cannot be read; the text is what was expected there."""


class Reader:
    """What is known of an event name: how to read its fields, and those read before."""

    __slots__ = ("remembered", "shape", "shapes", "way")

    def __init__(self, way: int, shape: Shape) -> None:
        self.way = way
        self.shape = shape
        """Of a :data:`BARE` event."""
        self.shapes: dict[str, dict[str, Shape]] = {}
        """By what stands before the address and what stands behind it."""
        self.remembered = 0

    def remember(self, before: str, behind: str, shape: Shape) -> None:
        """Keep a shape for the next event of the same text around the address."""
        if self.remembered >= MAX_REMEMBERED:
            self.shapes.clear()
            self.remembered = 0
        self.remembered += 1
        self.shapes.setdefault(before, {})[behind] = shape


class TraceText:
    """Turns lines into events and counts what it meets on the way.

    ``bad_line`` is called with the line's number from 1, the line, and what was
    expected, for each line that cannot be read. ``kernel`` is (major, minor) of the traced
    kernel, if that is known.
    """

    def __init__(
        self, bad_line: Callable[[int, str, str], None], kernel: tuple[int, int] = (0, 0)
    ) -> None:
        self._bad_line = bad_line
        self.shapes = Shapes(GfpText(kernel))
        self.lines = 0
        """Lines read so far."""
        self.first_line = 0
        """Number of the line before those whose events were asked for last."""
        self.gaps: list[int] = []
        """Of those lines, the ones without an event: how many events stand before each."""
        self.cpus = 0
        """Number of cpus that the text's own header names; 0 if it has none."""
        self.form = ""
        """How the first event's line was made up, see :data:`_FORMS`; empty before it."""
        self.has_flags = False
        """Whether that line said what is interrupted."""
        self.buffer = ""
        """What stands before each line of a buffer other than the main one, see
        :data:`_BUFFER`."""
        self.lost_markers = 0
        """Places where the kernel says that events were lost."""
        self.lost_events = 0
        """How many, where it says that too."""
        self._readers: dict[str, Reader] = {}
        self._origins: dict[str, Origin] = {}
        self._threads: dict[int, Thread] = {}
        self._interrupts: dict[tuple[int, int], Thread] = {}

    def events(self, lines: list[str]) -> list[Event]:
        """The events of the next lines, in their order."""
        found: list[Event] = []
        self.begin_piece()
        for line in lines:
            self.lines += 1
            event = self._look_up(line.removeprefix(self.buffer) if self.buffer else line)
            if event is None:
                event = self.look_closely(line)
                if event is None:
                    self.gaps.append(len(found))
                    continue
            found.append(event)
        return found

    def begin_piece(self) -> None:
        """Number the lines to come from here, for :meth:`line_of`."""
        self.first_line = self.lines
        self.gaps = []

    def line_of(self, index: int) -> int:
        """Number of the line of an event, by its place among those asked for last."""
        return self.first_line + index + bisect_right(self.gaps, index) + 1

    def _look_up(self, line: str) -> Event | None:
        """The event in a line whose parts have all been seen before."""
        place, _, body = line.partition(": ")
        who, _, stamp = place.rpartition(" ")
        title, _, fields = body.partition(": ")
        try:
            origin = self._origins[who]
            reader = self._readers[title]
            ts_ns = _nanoseconds(stamp)
            if reader.way == POINTER:
                before, _, behind = fields.partition(" ptr=")
                number, _, behind = behind.partition(" ")
                address = int(number, 16)
                if address <= MAX_POINTER:
                    return reader.shapes[before][behind], ts_ns, origin, address
            elif reader.way == PAGE:
                _, _, behind = fields.partition("pfn=")
                number, _, behind = behind.partition(" ")
                address = int(number, 0)
                if 0 < address < MAX_PFN:
                    return reader.shapes[""][behind], ts_ns, origin, address
            elif reader.way == BARE:
                return reader.shape, ts_ns, origin, NO_POINTER
        except (ValueError, LookupError):
            pass
        return None

    def look_closely(self, line: str) -> Event | None:
        """The event in a line by the long way; None if there is none, which is then counted."""
        if line.startswith(_NO_EVENT) and self._passes_over(line):
            return None
        if match := _LOST.match(line):
            self.lost_markers += 1
            self.lost_events += int(match["n"] or match["m"] or match["p"] or 0)
            return None
        try:
            return self._parse(line)
        except LineError as error:
            if not self._passes_over(line):
                self._bad_line(self.lines, line, str(error))
            return None

    def _passes_over(self, line: str) -> bool:
        if match := _CPUS.match(line):
            self.cpus = int(match[1])
        if match := _KERNEL.match(line):
            self.shapes.gfp.is_of((int(match[1]), int(match[2])))
        return _PASSED_OVER.match(line) is not None

    def _parse(self, line: str) -> Event:
        # Without the blanks in front: a pattern that skips them could take quadratic time.
        stripped = line.lstrip()
        if len(stripped) == len(line) and (buffer := _BUFFER.match(line)):
            self.buffer = buffer[1]
            stripped = line[buffer.end() :]
        match = self._match(stripped)
        flags = match["flags"] or ""
        origin = self._origin(int(match["pid"]), match["comm"], int(match["cpu"]), flags[2:3])
        ts_ns = _stamp(match)
        if ts_ns > MAX_NS:
            raise LineError("a time below 2^63 ns")
        if match["name"] is None:
            name = _PRINTED if match["printed"] is not None else match["other"].strip()
            shape, address = self.shapes.read(name, "")
            return shape, ts_ns, origin, address
        try:
            shape, address = self.shapes.read(match["name"], match["fields"] or "")
        except FieldError as error:
            raise LineError(str(error)) from None
        event = (shape, ts_ns, origin, address)
        self._remember(line.removeprefix(self.buffer), event)
        return event

    def _match(self, line: str) -> re.Match[str]:
        for form, pattern in _FORMS.items():
            match = pattern.fullmatch(line)
            if match is not None:
                if not self.form:
                    self.form, self.has_flags = form, match["flags"] is not None
                return match
        raise LineError(_EXPECTED)

    def _origin(self, pid: int, comm: str, cpu: int, interrupt: str) -> Origin:
        bits = INTERRUPT_BITS[interrupt]
        thread: Thread | None
        if bits or not pid:
            thread = self._interrupts.get((cpu, bits))
            if thread is None:
                if len(self._interrupts) >= MAX_REMEMBERED:
                    self._forget()
                thread = self._interrupts[cpu, bits] = Thread(0)
        else:
            thread = self._threads.get(pid)
            if thread is None:
                if len(self._threads) >= MAX_REMEMBERED:
                    self._forget()
                thread = self._threads[pid] = Thread(pid)
        return Origin(comm, cpu, interrupt, thread)

    def _forget(self) -> None:
        """Begin the tables anew; keep the tasks of which something is known that counts later."""
        kept = {pid: thread for pid, thread in self._threads.items() if thread.matters}
        self._threads = kept if len(kept) < MAX_REMEMBERED // 2 else {}
        self._interrupts.clear()
        self._origins.clear()

    def thread(self, pid: int) -> Thread:
        """The thread of a task that is spoken of by its pid."""
        return self._origin(pid, "", 0, "").thread

    def _remember(self, line: str, event: Event) -> None:
        """Put into the tables what the quick way would look for there, if it finds the same."""
        shape, ts_ns, origin, address = event
        place, _, body = line.partition(": ")
        who, _, stamp = place.rpartition(" ")
        title, _, fields = body.partition(": ")
        way = WAYS.get(shape.role, BARE)
        before = number = behind = ""
        if way == POINTER:
            before, _, behind = fields.partition(" ptr=")
            number, _, behind = behind.partition(" ")
        elif way == PAGE:
            _, _, behind = fields.partition("pfn=")
            number, _, behind = behind.partition(" ")
        try:
            if _nanoseconds(stamp) != ts_ns:
                return
            if number and int(number, 16 if way == POINTER else 0) != address:
                return
        except ValueError:
            return
        if max(len(self._origins), len(self._readers)) >= MAX_REMEMBERED:
            self._forget()
            self._readers.clear()
        self._origins[who] = origin
        reader = self._readers.get(title)
        if reader is None:
            reader = self._readers[title] = Reader(way, shape)
        if number:
            reader.remember(before, behind, shape)


def _nanoseconds(stamp: str) -> int:
    """The time that SECONDS.MICROSECONDS or SECONDS.NANOSECONDS stands for."""
    time = -1
    if stamp[_US_AT:-6] == ".":
        time = int(stamp[:_US_AT] + stamp[-6:]) * 1000
    elif stamp[_NS_AT:-9] == ".":
        time = int(stamp[:_NS_AT] + stamp[-9:])
    if not 0 <= time <= MAX_NS:
        raise ValueError(stamp)
    return time


def _stamp(match: re.Match[str]) -> int:
    if match["us"]:
        return int(match["seconds"]) * 1000
    fraction = match["fraction"]
    if fraction is None:
        # A clock that counts (``counter``, ``x86-tsc``): its steps are taken for nanoseconds.
        return int(match["seconds"])
    return int(match["seconds"]) * 10**9 + int(fraction.ljust(_FRACTION_DIGITS, "0"))
