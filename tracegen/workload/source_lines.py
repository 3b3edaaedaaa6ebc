"""Where in a TOML text a key stands: errors name the line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tracegen.workload.errors import ScenarioError

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]\]?")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


@dataclass(frozen=True, slots=True)
class SourceLines:
    """The text of a scenario, its name, and the dotted keys that were changed from outside."""

    name: str
    text: str
    changed: frozenset[str] = frozenset()

    def blame(self, path: tuple[int | str, ...], reason: str) -> ScenarioError:
        """The error that says what is wrong with the key at ``path``, and where that stands."""
        dotted = ".".join(map(str, path))
        line = self._line(path)
        if self._is_changed(dotted, is_written=line > 0):
            where = " --set"
        else:
            where = f" line {line}:" if line else ""
        return ScenarioError(f"{self.name}:{where} {dotted} {reason}")

    def _is_changed(self, dotted: str, *, is_written: bool) -> bool:
        """Whether a change from outside set the key, or something in a table of no text's."""
        if any(dotted == key or dotted.startswith(f"{key}.") for key in self.changed):
            return True
        return not is_written and any(key.startswith(f"{dotted}.") for key in self.changed)

    def _line(self, path: tuple[int | str, ...]) -> int:
        """The line of a key, or of the nearest table around it that is written out; 0 is none."""
        best = depth = 0
        for line, key_path in _keys_with_lines(self.text):
            if depth < len(key_path) <= len(path) and key_path == path[: len(key_path)]:
                best, depth = line, len(key_path)
        return best


def _keys_with_lines(text: str) -> Iterator[tuple[int, tuple[int | str, ...]]]:
    """Every table and key of a TOML text with its line, but for inline tables and dotted keys."""
    counts: dict[str, int] = {}
    table: tuple[int | str, ...] = ()
    in_text = False
    for number, line in enumerate(text.splitlines(), start=1):
        quotes = line.count('"""')
        if in_text or quotes == 1:
            in_text ^= quotes == 1
            if in_text and (match := _KEY.match(line)):
                yield number, (*table, match[1])
            continue
        if match := _HEADER.match(line):
            steps: tuple[int | str, ...] = ()
            parts = match[2].split(".")
            for index, part in enumerate(parts):
                steps = (*steps, part)
                whole = ".".join(parts[: index + 1])
                if index == len(parts) - 1 and match[1] == "[[":
                    counts[whole] = counts.get(whole, -1) + 1
                if whole in counts:
                    steps = (*steps, counts[whole])
            table = steps
            yield number, table
        elif match := _KEY.match(line):
            yield number, (*table, match[1])
