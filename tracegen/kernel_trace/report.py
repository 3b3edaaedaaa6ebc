"""What an import understood, inferred, guessed and dropped, in numbers.

Every event lands in exactly one category, so that for each event name the categories
add up to the number of such events in the text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from tracegen.errors import shown

PAIRED: Final = 0
NEVER_FREED: Final = 1
FREE_UNSEEN: Final = 2
FAILED: Final = 3
SLAB_INTERNAL: Final = 4
OLDER: Final = 5
MOVED: Final = 6
BULK: Final = 7
UNMATCHED: Final = 8
NULL_FREE: Final = 9
TWICE: Final = 10
CONTEXT: Final = 11
OUTSIDE_MODEL: Final = 12
LOST: Final = 13

CATEGORIES: Final = (
    "paired",
    "never_freed",
    "free_unseen",
    "failed",
    "slab_internal",
    "older_than_trace",
    "moved",
    "bulk",
    "unmatched",
    "null_free",
    "printed_twice",
    "context",
    "outside_model",
    "lost",
)
"""The categories in the order of their numbers, as the JSON report names them."""

MEANINGS: Final[dict[str, str]] = {
    "paired": "an allocation and its free",
    "never_freed": "an allocation that is still there at the end",
    "free_unseen": "an allocation whose address was handed out again with no free between",
    "failed": "the kernel gave nothing: imported as an allocation freed at once",
    "slab_internal": "what the slab allocator took for itself, gave back, or failed to get",
    "older_than_trace": "a free of what was allocated before the trace began",
    "moved": "a page freed by compaction: its content moved, memory in use did not change",
    "bulk": "a free of what bulk allocation or kmalloc(0) gave: they have no tracepoint",
    "unmatched": "a second free of an address whose allocation between was not traced",
    "null_free": "a free of nothing",
    "printed_twice": "mm_page_free_batched: mm_page_free prints the same free",
    "context": "tells who reclaims or was killed, and when kswapd is at work",
    "outside_model": "says nothing to the model",
    "lost": "a free whose allocation is among the events that the kernel lost",
}
"""What a reader of the report is told of each category."""

_FIRST_FEW: Final = 5
MAX_TOLD: Final = 10_000
"""Events of no known meaning that are told one by one; what comes after them is only counted."""
_SHOWN_LINE: Final = 160


class Report:
    """Counts of one import; :meth:`text` for people, :meth:`to_json` for programs."""

    def __init__(self) -> None:
        self.counts: list[list[int]] = []
        """For each kind of event, the number of events by category."""
        self.names: Sequence[str] = []
        """What each kind is called."""
        self.lines = 0
        self.form = ""
        """How the lines are made up, in a few words."""
        self.bad_lines = 0
        self.first_bad: list[tuple[int, str, str]] = []
        """Number, text and what was expected, of the first few lines that are none."""
        self.first_strays: list[tuple[int, str]] = []
        """Line and text of the first few events that mean nothing known."""
        self.left_out: dict[str, int] = {}
        """Events whose meaning is known, and that came to nothing all the same."""
        self.lost_markers = 0
        self.lost_events = 0
        self.inferred: dict[str, int] = {}
        """What rules decided that the trace itself bears out."""
        self.guessed: dict[str, int] = {}
        """What was chosen because nothing better was there to see."""
        self.written: dict[str, int] = {}
        """Events of the trace that was made, by what they are for."""
        self.notes: list[str] = []
        """Sentences about the machine and its beginning."""

    def of(self, kind: int) -> list[int]:
        """The counters of a kind of event, by category."""
        while kind >= len(self.counts):
            self.counts.append([0] * len(CATEGORIES))
        return self.counts[kind]

    def bad_line(self, number: int, line: str, expected: str) -> None:
        """Count a line that could not be read."""
        self.bad_lines += 1
        if len(self.first_bad) < _FIRST_FEW:
            self.first_bad.append((number, line[:_SHOWN_LINE], expected))

    def stray(self, number: int, text: str) -> None:
        """Tell of an event of no known meaning."""
        if len(self.first_strays) < _FIRST_FEW:
            self.first_strays.append((number, text))

    def leave_out(self, why: str) -> None:
        """Count an event that was understood, and cannot be part of the trace."""
        self.left_out[why] = self.left_out.get(why, 0) + 1

    @property
    def events(self) -> int:
        """Events understood."""
        return sum(sum(counts) for counts in self.counts)

    @property
    def guesses(self) -> int:
        """Decisions that are no more than likely."""
        return sum(self.guessed.values())

    def by_category(self) -> dict[str, int]:
        """Events of each category."""
        totals = [0] * len(CATEGORIES)
        for counts in self.counts:
            for category, count in enumerate(counts):
                totals[category] += count
        return dict(zip(CATEGORIES, totals, strict=True))

    def by_event(self) -> dict[str, dict[str, int]]:
        """For each event name the categories that its events landed in."""
        return {
            self.names[kind]: {
                name: count for name, count in zip(CATEGORIES, counts, strict=True) if count
            }
            for kind, counts in enumerate(self.counts)
            if any(counts)
        }

    def to_json(self) -> str:
        """The report as one JSON document, for programs."""
        document = {
            "lines": self.lines,
            "form": self.form,
            "events": self.events,
            "categories": self.by_category(),
            "by_event": self.by_event(),
            "inferred": self.inferred,
            "guessed": self.guessed,
            "left_out": self.left_out,
            "unmatched": [{"line": number, "text": text} for number, text in self.first_strays],
            "dropped": {
                "lines": self.bad_lines,
                "first": [
                    {"line": number, "text": line, "expected": expected}
                    for number, line, expected in self.first_bad
                ],
                "lost_markers": self.lost_markers,
                "lost_events": self.lost_events,
            },
            "written": self.written,
            "notes": self.notes,
        }
        return json.dumps(document, indent=2)

    def text(self) -> str:
        """The report as lines for a person to read."""
        out = [f"{self.lines:,} lines, {self.events:,} events ({self.form})"]
        for name, count in self.by_category().items():
            if count:
                out.append(f"  {count:>11,}  {name:<17} {MEANINGS[name]}")
        out += _section("inferred by rule", self.inferred)
        out += _section("guessed", self.guessed)
        out += _section("left out", self.left_out)
        out += _section("written", self.written)
        if self.first_strays:
            out.append("unmatched, the first of them:")
            out += [f"  line {number}: {text}" for number, text in self.first_strays]
        if self.lost_markers:
            out.append(
                f"the kernel lost events in {self.lost_markers:,} places, {self.lost_events:,} in"
                " all where it says how many: what follows such a place may be paired wrongly"
            )
        if self.bad_lines:
            out.append(f"dropped: {self.bad_lines:,} lines that are no events, the first of them")
            out += [
                f"  line {number}: {shown(line)}, expected {expected}"
                for number, line, expected in self.first_bad
            ]
        out += self.notes
        return "\n".join(out)


def _section(title: str, counts: Mapping[str, int]) -> list[str]:
    rows = [f"  {count:>11,}  {name}" for name, count in counts.items() if count]
    return [f"{title}:", *rows] if rows else []
