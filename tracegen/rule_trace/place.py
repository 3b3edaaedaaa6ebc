"""Words with their columns, and errors that say where they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from tracegen.rule_trace.answer import RunError, expanded
from tracegen.rule_trace.trace import RuleTraceError

MAX_NUMBER: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a line; columns count from 1."""

    text: str
    column: int

    @property
    def key(self) -> str:
        """What stands before ``=``; empty if there is none."""
        before, equals, _ = self.text.partition("=")
        return before if equals else ""

    @property
    def value(self) -> str:
        """What stands after ``=``, or the whole word."""
        before, equals, after = self.text.partition("=")
        return after if equals else before


def words_of(text: str) -> list[Word]:
    """Split a line at white space."""
    return [Word(match[0], match.start() + 1) for match in re.finditer(r"\S+", text)]


def split_at(words: Sequence[Word], text: str) -> tuple[list[Word], list[Word]]:
    """Return the words before the first one that is ``text``, and that one with the rest."""
    at = next((i for i, word in enumerate(words) if word.text == text), len(words))
    return list(words[:at]), list(words[at:])


class Place:
    """A file and a line in it."""

    def __init__(self, path: Path) -> None:
        """Begin above the first line."""
        self.path = path
        self.line = 0

    def fail(self, what: str, word: Word | None = None) -> NoReturn:
        """Raise the error that ``what`` is wrong here."""
        column = f", column {word.column}" if word is not None else ""
        raise RuleTraceError(f"{self.path}: line {self.line}{column}: {what}")

    def number(self, word: Word, least: int = 0) -> int:
        """Return the number after ``=``, or that the whole word is."""
        return self.number_in(word.value, word, least)

    def number_in(self, text: str, word: Word, least: int = 0) -> int:
        """Return the number that ``text``, a part of ``word``, is."""
        few = len(text) <= len(str(MAX_NUMBER))
        if not (text.isascii() and text.isdecimal() and few and least <= int(text) <= MAX_NUMBER):
            self.fail(f"{text!r}, expected a number from {least} to {MAX_NUMBER}", word)
        return int(text)

    def run(self, text: str, word: Word) -> tuple[str, ...]:
        """Return what a run in ``word`` stands for."""
        try:
            return expanded(text)
        except RunError as error:
            self.fail(str(error), word)
