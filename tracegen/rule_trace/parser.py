"""Read the text of a rule trace; what cannot be meant is told with line and column.

A line is a verb, its arguments, and after ``->`` what is expected; after a ``|`` that
stands alone, what another variant answers. A line that begins with ``|`` goes on with
the one before. ``#`` begins a comment; an indented one belongs to the line before.
Everything is read into memory, so a file has a largest size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from allocator.revision import ALLOCATORS, REVISIONS, VariantError, parse_variant
from tracegen.rule_trace.answer import Answer
from tracegen.rule_trace.grammar import VERBS, OperationReader
from tracegen.rule_trace.machine_line import machine_of
from tracegen.rule_trace.place import Place, Word, split_at, words_of
from tracegen.rule_trace.trace import (
    ALLOCATIONS,
    RULES,
    Beyond,
    Operation,
    Prose,
    RuleTrace,
    RuleTraceError,
    Step,
)

MAX_BYTES: Final = 1 << 20
"""Largest file."""
_ARROW: Final = "->"
_OR: Final = "|"
_COMMENT: Final = re.compile(r"(?:\A|\s)#")
_MARKS: Final = ("mark", "beyond")
HEADERS: Final = ("machine", "variants", "rule", "leak", "recorded", "seen")


def read_rule_trace(path: Path) -> RuleTrace:
    """Read a file. Raises :class:`RuleTraceError`."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise RuleTraceError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise RuleTraceError(f"{path}: larger than {MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RuleTraceError(f"{path}: line {line}: not UTF-8 text") from error
    return parse_rule_trace(text, path)


def parse_rule_trace(text: str, path: Path) -> RuleTrace:
    """Read the text of a file called ``path``. Raises :class:`RuleTraceError`."""
    return _Parser(path).parse(text)


class _Parser:
    def __init__(self, path: Path) -> None:
        self.place = Place(path)
        self.header: dict[str, list[Word]] = {}
        self.lines: dict[str, int] = {}
        """Where the header's lines stand."""
        self.recordings: dict[str, str] = {}
        self.seen: list[tuple[str, int]] = []
        self.summary: list[str] = []
        self.trace: RuleTrace | None = None
        self.reader: OperationReader | None = None
        self.handles = _Handles(self.place)

    def parse(self, text: str) -> RuleTrace:
        for self.place.line, line in enumerate(text.splitlines(), start=1):
            self._line(line)
        if self.trace is None or not self.trace.steps:
            self.place.fail("the file ends, expected at least one operation")
        return self.trace

    def _line(self, line: str) -> None:
        comment = _COMMENT.search(line)
        code = line[: comment.start()] if comment else line
        note = line[comment.end() :].strip() if comment else ""
        words = words_of(code)
        if words:
            self._words(words, code, note)
        elif comment:
            self._comment(note, indented=line[0].isspace())
        elif self.summary and not self.header:
            self.summary.append("")

    def _words(self, words: list[Word], code: str, note: str) -> None:
        first = words[0]
        if first.text in HEADERS:
            self._header(first, words[1:])
        elif first.text == _OR:
            self._more(words, note)
        elif first.text in _MARKS:
            self._mark(first, code[first.column - 1 + len(first.text) :].strip())
        elif first.text in VERBS:
            self._step(words, note)
        else:
            known = ", ".join([*HEADERS, *VERBS, *_MARKS])
            self.place.fail(f"{first.text!r} is not known; there are {known}", first)

    def _mark(self, first: Word, text: str) -> None:
        line = self.place.line
        mark = Prose(line, text, heading=True) if first.text == "mark" else Beyond(line, text)
        self._begun(first)[0].body.append(mark)

    def _comment(self, text: str, *, indented: bool) -> None:
        if self.trace is None:
            if not self.header:
                self.summary.append(text)
            return
        last = self.trace.body[-1] if self.trace.body else None
        if indented and isinstance(last, Step):
            last.note = " ".join(filter(None, [last.note, text]))
        else:
            self.trace.body.append(Prose(self.place.line, text))

    # The header.

    def _header(self, name: Word, rest: list[Word]) -> None:
        if self.trace is not None:
            self.place.fail(f"{name.text!r} belongs above the first operation", name)
        if not rest:
            self.place.fail(f"nothing after {name.text!r}", name)
        if name.text in {"recorded", "seen"}:
            take = self._recorded if name.text == "recorded" else self._seen
            for word in rest:
                take(word)
            return
        if name.text in self.header:
            self.place.fail(f"{name.text!r} is said twice", name)
        self.header[name.text] = rest
        self.lines[name.text] = self.place.line

    def _recorded(self, word: Word) -> None:
        who, colon, file = word.text.partition(":")
        if not colon or not file or not _is_who(who):
            self.place.fail(
                f"{word.text!r}, expected a revision and the vector file in which its kernel"
                " answered, such as seed:l2/tiny-a4-swap-seed",
                word,
            )
        if who in self.recordings:
            self.place.fail(f"what {who} was recorded in is said twice", word)
        self.recordings[who] = file

    def _seen(self, word: Word) -> None:
        file, colon, number = word.text.partition(":")
        if not colon or not file:
            self.place.fail(
                f"{word.text!r}, expected a vector file and the number of an op in it, such as"
                " l2/emerg-2node-seed:957",
                word,
            )
        self.seen.append((file, self.place.number_in(number, word, 1)))

    def _begun(self, first: Word) -> tuple[RuleTrace, OperationReader]:
        """The trace, whose header is complete now that an operation comes."""
        if self.trace is None or self.reader is None:
            for name in ("machine", "variants"):
                if name not in self.header:
                    self.place.fail(f"expected a line {name!r} above the first operation", first)
            here = self.place.line
            self.place.line = self.lines["variants"]
            variants = tuple(self._variant(word) for word in self.header["variants"])
            self.place.line = self.lines["machine"]
            machine = machine_of(self.header["machine"], self.place)
            self.place.line = self.lines.get("rule", 0)
            rules = tuple(self._rule(word) for word in self.header.get("rule", []))
            self.place.line = here
            while self.summary and not self.summary[-1]:
                self.summary.pop()
            flavour = parse_variant(variants[0]).revision.gfp_flavour
            self.reader = OperationReader(self.place, machine, flavour)
            self.trace = RuleTrace(
                path=self.place.path,
                machine=machine,
                variants=variants,
                rules=rules,
                leaks=tuple(word.text for word in self.header.get("leak", [])),
                recordings=self.recordings,
                seen=tuple(self.seen),
                summary=self.summary,
            )
        return self.trace, self.reader

    def _variant(self, word: Word) -> str:
        try:
            return parse_variant(word.text).name
        except VariantError as error:
            self.place.fail(str(error), word)

    def _rule(self, word: Word) -> str:
        if word.text not in RULES:
            self.place.fail(f"{word.text!r}, expected a rule: {', '.join(RULES)}", word)
        return word.text

    # Operations and what is expected of them.

    def _step(self, words: list[Word], note: str) -> None:
        trace, reader = self._begun(words[0])
        done, rest = split_at(words, _ARROW)
        operation = reader.read(done[0], done[1:])
        self.handles.follow(operation, done[0])
        step = Step(self.place.line, " ".join(w.text for w in done), operation, note=note)
        trace.body.append(step)
        if rest:
            expected, others = split_at(rest[1:], _OR)
            if not expected:
                self.place.fail("nothing is expected after '->'", rest[0])
            step.expected = self._answer(expected)
            self._alternatives(step, others)

    def _more(self, words: list[Word], note: str) -> None:
        """A line that begins with ``|``: more of what others answer at the line before."""
        last = self.trace.body[-1] if self.trace is not None and self.trace.body else None
        if not isinstance(last, Step) or last.expected is None:
            self.place.fail("'|' goes on with a line that has '->'; there is none above", words[0])
        self._alternatives(last, words)
        last.note = " ".join(filter(None, [last.note, note]))

    def _alternatives(self, step: Step, words: list[Word]) -> None:
        """``| v3.6: ok idx=1 | unpatched,slub: denied``: those that answer otherwise."""
        for bar, part in _parts(words):
            if not part or not part[0].text.endswith(":"):
                self.place.fail("expected who answers so after '|', such as v3.6:", bar)
            if not part[1:]:
                self.place.fail(f"nothing is expected after {part[0].text!r}", part[0])
            answer = self._answer(part[1:])
            for who in part[0].text[:-1].split(","):
                if not _is_who(who):
                    names = ", ".join([*REVISIONS, *ALLOCATORS])
                    self.place.fail(f"{who!r}, expected a variant, or one of {names}", part[0])
                if who in step.alternatives:
                    self.place.fail(f"what {who} answers is said twice", part[0])
                step.alternatives[who] = answer

    def _answer(self, words: Sequence[Word]) -> Answer:
        told: list[str] = []
        fields: dict[str, tuple[str, ...]] = {}
        for word in words:
            if "=" not in word.text:
                told += self.place.run(word.text, word)
                continue
            if not word.key or not word.value:
                self.place.fail(f"{word.text!r}, expected key=value", word)
            if word.key in fields:
                self.place.fail(f"{word.key!r} is said twice", word)
            parts = word.value.split("|" if word.key == "flags" else ",")
            fields[word.key] = tuple(m for part in parts for m in self.place.run(part, word))
        return Answer(tuple(told), fields)


class _Handles:
    """Keeps book of what is live: a handle names one thing, once."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._live: set[str] = set()
        self._used: set[str] = set()

    def follow(self, operation: Operation, verb: Word) -> None:
        """Take note of what an operation allocates or frees."""
        for handle in operation.handles:
            if operation.verb in ALLOCATIONS:
                if handle in self._used:
                    self._place.fail(f"{handle!r} was used before; a handle is used once", verb)
                self._used.add(handle)
                self._live.add(handle)
            elif handle in self._live:
                self._live.remove(handle)
            else:
                was = "was freed already" if handle in self._used else "was never allocated"
                self._place.fail(f"{handle!r} {was}", verb)


def _parts(words: Sequence[Word]) -> Iterator[tuple[Word, list[Word]]]:
    """Each ``|`` with the words up to the next one."""
    bars = [at for at, word in enumerate(words) if word.text == _OR]
    for at, following in zip(bars, [*bars, len(words)][1:], strict=True):
        yield words[at], list(words[at + 1 : following])


def _is_who(name: str) -> bool:
    """Whether ``name`` is a variant, a revision or an allocator."""
    allocator, dash, revision = name.partition("-")
    if allocator in ALLOCATORS:
        return not dash or revision in REVISIONS
    return name in REVISIONS
