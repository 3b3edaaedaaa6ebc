"""One line of ftrace text becomes one event: a plain tuple, whatever the text's dialect.

``COMM-PID [CPU] FLAGS SECONDS: EVENT: FIELDS``, as ``trace``, ``trace_pipe`` and
``trace-cmd show`` print it, with or without the flags column (the option ``irq-info``)
and the TGID column (``record-tgid``). A comm may hold blanks, dashes, slashes, colons,
brackets. Another dialect is another way to the same tuple.

What repeats from line to line (the task, the flags, the cpu) is looked up in a table
of what was seen before. A line that is not found there, or has its fields in another
order, takes a slower way; both ways agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from tracegen.errors import shown

Task: TypeAlias = tuple[int, str]
"""pid and comm."""
Fields: TypeAlias = tuple[str | None, ...]
Event: TypeAlias = tuple[int, int, int, Task, str, Fields]
"""(kind, ts_ns, cpu, task, interrupt, fields).

``interrupt`` is the third flag: ``.`` task, ``s`` softirq, ``h`` hardirq, ``H`` hardirq
inside softirq, ``z`` or ``Z`` NMI; empty where the text has no flags. ``fields`` are
text, named by :data:`FIELDS` of the kind; one that this kernel does not print is None.
"""

OBJ_ALLOC: Final = 0
KMALLOC: Final = 1
PAGE_ALLOC: Final = 2
OBJ_FREE: Final = 3
KFREE: Final = 4
PAGE_FREE: Final = 5
PAGE_FREE_BATCHED: Final = 6
RECLAIM_BEGIN: Final = 7
RECLAIM_END: Final = 8
MARK_VICTIM: Final = 9
OUTSIDE: Final = 10
"""Kinds from here on are events that say nothing to the model: one kind a name, in the
order in which they appear; :attr:`TraceText.names` has the names."""
MAX_NAMES: Final = 256
"""Names told apart; what comes after them counts under the last kind."""
OTHER_NAMES: Final = "(other names)"

KINDS: Final[dict[str, int]] = {
    "kmem_cache_alloc": OBJ_ALLOC,
    "kmem_cache_alloc_node": OBJ_ALLOC,
    "kmalloc": KMALLOC,
    "kmalloc_node": KMALLOC,
    "mm_page_alloc": PAGE_ALLOC,
    "kmem_cache_free": OBJ_FREE,
    "kfree": KFREE,
    "mm_page_free": PAGE_FREE,
    "mm_page_free_batched": PAGE_FREE_BATCHED,
    "mm_vmscan_direct_reclaim_begin": RECLAIM_BEGIN,
    "mm_vmscan_direct_reclaim_end": RECLAIM_END,
    "mm_vmscan_memcg_reclaim_begin": RECLAIM_BEGIN,
    "mm_vmscan_memcg_reclaim_end": RECLAIM_END,
    "mm_vmscan_node_reclaim_begin": RECLAIM_BEGIN,
    "mm_vmscan_node_reclaim_end": RECLAIM_END,
    "mark_victim": MARK_VICTIM,
}
"""Event name to kind; every other name is outside the model."""
KIND_NAMES: Final = (
    "kmem_cache_alloc",
    "kmalloc",
    "mm_page_alloc",
    "kmem_cache_free",
    "kfree",
    "mm_page_free",
    "mm_page_free_batched",
    "mm_vmscan_direct_reclaim_begin",
    "mm_vmscan_direct_reclaim_end",
    "mark_victim",
)
"""What the kinds below OUTSIDE are called."""

_ALLOC_FIELDS: Final = (
    "call_site",
    "ptr",
    "bytes_req",
    "bytes_alloc",
    "gfp_flags",
    "node",
    "name",
)
FIELDS: Final[dict[int, tuple[str, ...]]] = {
    OBJ_ALLOC: _ALLOC_FIELDS,
    KMALLOC: _ALLOC_FIELDS,
    PAGE_ALLOC: ("pfn", "order", "gfp_flags"),
    OBJ_FREE: ("call_site", "ptr", "name"),
    KFREE: ("call_site", "ptr"),
    PAGE_FREE: ("pfn", "order"),
    MARK_VICTIM: ("pid",),
}
"""What :data:`Event` holds of each kind, in this order."""

_OPTIONAL: Final = {"node", "name"}
_NUMBER: Final = re.compile(r"-?\d+\Z|0x[0-9a-f]+\Z", re.ASCII)
_NUMBERS: Final = {"bytes_req", "bytes_alloc", "order", "node", "pfn", "pid"}

_SITE_PTR: Final = r"call_site=(\S+(?: \[\w+\])?) ptr=(\S+)"
_NEVER: Final = r"((?!))?"
"""A field that this form of the event does not have."""
_LAYOUTS: Final[dict[int, str]] = {
    OBJ_ALLOC: _SITE_PTR
    + r" bytes_req=(\d+) bytes_alloc=(\d+) gfp_flags=(\S+) node=(-?\d+) accounted=\w+"
    + _NEVER,
    KMALLOC: _SITE_PTR
    + r" bytes_req=(\d+) bytes_alloc=(\d+) gfp_flags=(\S+) node=(-?\d+) accounted=\w+"
    + _NEVER,
    PAGE_ALLOC: r"page=\S+ pfn=(0x[0-9a-f]+) order=(\d+) migratetype=-?\d+ gfp_flags=(\S+)",
    OBJ_FREE: _SITE_PTR + r" name=(\S+)",
    KFREE: _SITE_PTR,
    PAGE_FREE: r"page=\S+ pfn=(0x[0-9a-f]+) order=(\d+)",
    PAGE_FREE_BATCHED: r".*",
    RECLAIM_BEGIN: r".*",
    RECLAIM_END: r".*",
}
"""The fields as Linux 6.1 prints them: the quick way."""

_HEAD: Final = re.compile(
    r"(?P<comm>.*)-(?P<pid>\d+)\s+(?:\(\s*[\d-]+\)\s+)?\[(?P<cpu>\d+)\]\s+"
    r"(?:(?P<flags>[dbDX.][NnpBbLl.][hHszZ.][\da-f.][\da-f.]?)\s+)?"
    r"(?P<seconds>\d+)\.(?P<fraction>\d{3,9}): (?:\w+:)?(?P<name>[A-Za-z_]\w*):\s*(?P<fields>.*)",
    re.ASCII,
)
_KEY_VALUE: Final = re.compile(r"(?<!\w)(\w{1,32})[=:](\S+(?: \[\w+\])?)")
"""A call site in a module has the module behind it: ``f+0x1/0x2 [ext4]``."""
_LOST: Final = re.compile(r"CPU:\s?\d+ \[LOST (\d+ )?EVENTS\]")
_CPUS: Final = re.compile(r"#P:(\d+)")

_ANYTHING: Final = re.compile(r".*").fullmatch
_LINE_EXPECTED: Final = "COMM-PID [CPU] FLAGS SECONDS.MICROSECONDS: EVENT: FIELDS"
_MAX_REMEMBERED: Final = 1 << 16
"""Tasks remembered before the table begins anew: pids are not bounded, memory is."""
_FRACTION_DIGITS: Final = 9


class LineError(ValueError):
    """A line that cannot be read; the text is what was expected there."""


class TraceText:
    """Turns lines into events and counts what it meets on the way.

    ``bad_line`` is called with the line's number from 1, the line, and what was
    expected, for each line that cannot be read.
    """

    def __init__(self, bad_line: Callable[[int, str, str], None]) -> None:
        self._bad_line = bad_line
        self.lines = 0
        """Lines read so far: the number of the line that the last event stood in."""
        self.cpus = 0
        """Number of cpus that the text's own header names; 0 if it has none."""
        self.lost_markers = 0
        """Places where the kernel says that events were lost."""
        self.lost_events = 0
        """How many, where it says that too."""
        self.names: list[str] = list(KIND_NAMES)
        """What each kind is called."""
        self._tasks: dict[str, Task] = {}
        self._flags: dict[str, str] = {}
        self._cpu_numbers: dict[str, int] = {}
        self._readers: dict[str, tuple[int, Callable[[str], re.Match[str] | None]]] = {
            f"{name}:": (kind, re.compile(_LAYOUTS[kind], re.ASCII).fullmatch)
            for name, kind in KINDS.items()
            if kind in _LAYOUTS
        }

    def events(self, pieces: Iterable[list[str]]) -> Iterator[Event]:
        """Yield the events of the lines, in their order."""
        readers = self._readers
        flags_seen = self._flags
        cpus_seen = self._cpu_numbers
        tasks_seen = self._tasks
        for lines in pieces:
            for line in lines:
                self.lines += 1
                event = None
                head, _, rest = line.partition(" [")
                try:
                    cpu, flags, stamp, name, text = rest.split(None, 4)
                    kind, match = readers[name]
                    found = match(text)
                    if found is not None and stamp[-8] == ".":
                        event = (
                            kind,
                            int(stamp[:-8] + stamp[-7:-1]) * 1000,
                            cpus_seen[cpu],
                            tasks_seen[head],
                            flags_seen[flags],
                            found.groups(),
                        )
                except (ValueError, LookupError):
                    pass
                if event is None:
                    event = self._look_closely(line)
                    if event is None:
                        continue
                yield event

    def _look_closely(self, line: str) -> Event | None:
        if not line or line.isspace() or line.startswith("#"):
            if match := _CPUS.search(line):
                self.cpus = int(match[1])
            return None
        if lost := _LOST.match(line):
            self.lost_markers += 1
            self.lost_events += int(lost[1] or 0)
            return None
        try:
            return self._parse(line)
        except LineError as error:
            self._bad_line(self.lines, line, str(error))
            return None

    def _parse(self, line: str) -> Event:
        # Without the blanks in front: a pattern that skips them could take quadratic time.
        stripped = line.lstrip()
        match = _HEAD.fullmatch(stripped)
        if match is None:
            raise LineError(_LINE_EXPECTED)
        task = (int(match["pid"]), match["comm"])
        flags = match["flags"] or ""
        interrupt = flags[2:3]
        cpu = int(match["cpu"])
        if len(self._tasks) >= _MAX_REMEMBERED:
            self._tasks.clear()
        before_cpu = len(line) - len(stripped) + match.start("cpu") - len(" [")
        self._tasks[line[:before_cpu]] = task
        self._cpu_numbers[f"{match['cpu']}]"] = cpu
        if flags:
            self._flags[flags] = interrupt
        ts_ns = int(match["seconds"]) * 10**9 + int(match["fraction"].ljust(_FRACTION_DIGITS, "0"))
        kind = KINDS.get(match["name"])
        if kind is None:
            kind = self._outside(match["name"])
        return kind, ts_ns, cpu, task, interrupt, _read_fields(kind, match["fields"])

    def _outside(self, name: str) -> int:
        """The kind of an event that the model has no use for."""
        if name in self.names:
            return self.names.index(name)
        if len(self.names) >= MAX_NAMES:
            name = OTHER_NAMES
            if name in self.names:
                return self.names.index(name)
        self.names.append(name)
        kind = len(self.names) - 1
        if name != OTHER_NAMES:
            self._readers[f"{name}:"] = (kind, _ANYTHING)
        return kind


def _read_fields(kind: int, text: str) -> Fields:
    """Pick the kind's fields out of ``key=value`` text in any order."""
    wanted = FIELDS.get(kind, ())
    found: dict[str, str] = {}
    for key, value in _KEY_VALUE.findall(text):
        found.setdefault(key, value)
    for key in wanted:
        value = found.get(key)
        if value is None:
            if key not in _OPTIONAL:
                raise LineError(f"{key}= among the event's fields")
        elif key in _NUMBERS and _NUMBER.match(value) is None:
            raise LineError(f"a number as {key}=, not {shown(value)}")
    return tuple(found.get(key) for key in wanted)
