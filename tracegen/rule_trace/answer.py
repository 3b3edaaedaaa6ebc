"""What an operation came to, or is expected to come to: words, then ``key=value``.

Values are lists of strings. Runs are written short and mean what they stand for:
``3..6`` is 3, 4, 5, 6 and ``6..3`` the same backwards; ``9216:3..5*`` is
``9216:3*``, ``9216:4*``, ``9216:5*``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

MAX_RUN: Final = 4096
"""Longest run that is written short."""
_SHORTEST_RUN: Final = 3
"""Fewer members than this are printed one by one."""

_RUN: Final = re.compile(r"(.*?)(\d+)\.\.(\d+)(\*?)\Z", re.ASCII)
_MEMBER: Final = re.compile(r"(.*?)(\d+)(\*?)\Z", re.ASCII)

SETS: Final = frozenset({"flags"})
"""Fields whose members have no order."""


class RunError(ValueError):
    """A run that is too long to be meant."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Words and fields, in the order in which they are told."""

    words: tuple[str, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        """Write it as a rule trace does."""
        return " ".join([*compressed(self.words), *self.field_texts()])

    def field_texts(self, keys: Iterable[str] | None = None) -> Iterator[str]:
        """Yield the fields, or those of them that are asked for, as ``key=value``."""
        for key in self.fields if keys is None else keys:
            separator = "|" if key in SETS else ","
            yield f"{key}={separator.join(compressed(self.fields[key]))}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as expected. ``key`` is empty for the words."""

    key: str
    expected: str
    got: str


def differences(expected: Answer, got: Answer, *, all_words: bool) -> Iterator[Difference]:
    """Yield what ``expected`` states and ``got`` does not.

    With ``all_words`` the words must be the same, else ``got`` may have more of them.
    """
    stated = got.words if all_words else got.words[: len(expected.words)]
    if expected.words and expected.words != stated:
        yield Difference("", _text(expected.words), _text(got.words))
    for key, value in expected.fields.items():
        other = got.fields.get(key)
        if other is None:
            yield Difference(key, _text(value), "nothing of that name")
        elif (set(value) != set(other)) if key in SETS else (value != other):
            yield Difference(key, _text(value), _text(other))


def _text(members: Sequence[str]) -> str:
    return ",".join(compressed(members))


def expanded(text: str) -> tuple[str, ...]:
    """Return the members that a run stands for; anything else is one member, itself."""
    match = _RUN.match(text)
    if match is None:
        return (text,)
    before, first, last, after = match[1], int(match[2]), int(match[3]), match[4]
    if abs(last - first) >= MAX_RUN:
        raise RunError(f"{text!r} stands for more than {MAX_RUN} members")
    step = 1 if last >= first else -1
    return tuple(f"{before}{number}{after}" for number in range(first, last + step, step))


def compressed(members: Sequence[str]) -> list[str]:
    """Return ``members`` with runs written short."""
    told: list[str] = []
    at = 0
    while at < len(members):
        end = _run_end(members, at)
        if end - at < _SHORTEST_RUN:
            told.append(members[at])
            at += 1
            continue
        first, last = _MEMBER.match(members[at]), _MEMBER.match(members[end - 1])
        assert first is not None  # noqa: S101  # _run_end has matched them
        assert last is not None  # noqa: S101
        told.append(f"{first[1]}{first[2]}..{last[2]}{first[3]}")
        at = end
    return told


def _run_end(members: Sequence[str], start: int) -> int:
    """Return where the run that begins at ``start`` ends."""
    end, step = start + 1, 0
    before = _MEMBER.match(members[start])
    while before is not None and end < len(members):
        match = _MEMBER.match(members[end])
        if match is None or (match[1], match[3]) != (before[1], before[3]):
            break
        distance = int(match[2]) - int(before[2])
        if abs(distance) != 1 or step not in {0, distance}:
            break
        step, before, end = distance, match, end + 1
    return end
