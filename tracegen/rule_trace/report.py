"""Tell what came of a rule trace: as a teacher would go through it, in one line, or as JSON.

A line of the trace is shown with the model's answer under it: ``=`` before it when that
is what the trace states, ``!`` and both when it is not. What the trace does not state
follows in brackets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

import click

from tracegen.rule_trace.answer import Answer, compressed
from tracegen.rule_trace.recording import Comparison
from tracegen.rule_trace.runner import Done, Run
from tracegen.rule_trace.trace import RULES, Beyond, Prose, Step

_TEXT_WIDTH: Final = 52
"""Notes of shorter operations begin here."""
_EACH: Final = 4
"""Up to so many handles of a line are told one by one."""
_QUIET: Final = frozenset({"cache", "stats"})
"""Verbs whose answers hold much that a trace does not ask for."""


def full_lines(run: Run) -> Iterator[str]:
    """Go through a whole trace."""
    yield click.style(f"{run.trace.path}, under {run.variant}", bold=True)
    for rule in run.trace.rules:
        yield from wrap(RULES[rule], 96, initial_indent=f"  {rule}  ", subsequent_indent="      ")
    recording = run.trace.recording_of(run.variant)
    if recording:
        yield f"  the kernel's own answers to these operations are in {recording}"
    elif run.variant in run.trace.variants:
        yield f"  no kernel's answers to these operations are at hand for {run.variant}"
    for file, number in run.trace.seen:
        yield f"  a kernel does the same at op {number} of {file}"
    yield ""
    yield from (f"  {line}".rstrip() for line in run.trace.summary)
    yield ""
    for entry in run.entries:
        match entry:
            case Prose(heading=True):
                yield click.style(f"  -- {entry.text}", bold=True)
            case Prose():
                yield click.style(f"  {entry.text}", dim=True)
            case Beyond():
                yield click.style(f"  -- beyond {entry.text or 'the recording'}", bold=True)
            case _:
                yield from _step_lines(entry, run.variant, run.trace.variants[0])


def _step_lines(done: list[Done], variant: str, first: str) -> Iterator[str]:
    step = done[0].step
    if len(done) == 1 or _alike(done):
        yield _operation_line(step, done, step.text)
        yield from _answer_lines(done)
        if len(done) == 1:
            yield from _story_lines(done[0])
    else:
        for number, one in enumerate(done):
            yield _operation_line(step, [one], _with_handle(one), told=number == 0)
            yield from _answer_lines([one])
            yield from _story_lines(one)
    yield from (
        click.style(f"         {who}: {answer}", fg="cyan")
        for who, answer in _others(step, variant, first)
    )


def _alike(done: Sequence[Done]) -> bool:
    """Whether the handles of a line are told at once."""
    if any(one.differences for one in done):
        return False
    if done[0].step.operation.verb == "free":
        return True
    return len(done) > _EACH and done[0].expected is not None


def _operation_line(step: Step, done: Sequence[Done], text: str, *, told: bool = True) -> str:
    first, last = done[0].n, done[-1].n
    number = "" if not first else str(first) if first == last else f"{first}-{last}"
    line = f"{number:>5}  {text}"
    if not (told and step.note):
        return line
    return f"{line:<{_TEXT_WIDTH}}  " + click.style(step.note, dim=True)


def _with_handle(done: Done) -> str:
    """The line as it would be written for one of its handles."""
    operation = done.step.operation
    rest = [word for word in done.step.text.split()[1:] if operation.verb != "free" or "=" in word]
    words = [operation.verb, done.handle, *(rest if operation.verb == "free" else rest[1:])]
    return " ".join([*words, "cold"] if operation.verb == "free" and operation.cold else words)


def _answer_lines(done: Sequence[Done]) -> Iterator[str]:
    one = done[-1]
    if one.expected is None:
        yield f"         {one.got}"
    elif len(done) > 1:
        yield f"       = {_stated_whole(done)}"
    elif one.differences:
        yield click.style(f"       ! expected  {one.expected}", fg="red")
        yield click.style("         answered  ", fg="red") + _beside(one, one.expected)
    else:
        yield f"       = {_beside(one, one.expected)}"


def _story_lines(done: Done) -> Iterator[str]:
    for told in done.story:
        rule = f"  [{told.rule}]" if told.rule else ""
        yield click.style(f"           {told.function}: {told.text}{rule}", fg="blue")


def _stated_whole(done: Sequence[Done]) -> Answer:
    """What was stated of all handles of a line, as the line states it."""
    stated = [one.expected for one in done if one.expected is not None]
    fields = {}
    for key in stated[0].fields:
        values = [answer.fields[key] for answer in stated]
        same = all(value == values[0] for value in values)
        fields[key] = values[0] if same else tuple(value[0] for value in values)
    return Answer(stated[0].words, fields)


def _beside(done: Done, expected: Answer) -> str:
    """The model's answer: first what is stated, then the rest in brackets."""
    got = done.got
    stated = [key for key in expected.fields if key in got.fields]
    told = " ".join([*compressed(got.words), *got.field_texts(stated)])
    rest = [key for key in got.fields if key not in expected.fields]
    if not rest or done.step.operation.verb in _QUIET:
        return told or "nothing of that"
    return told + click.style(f"  ({' '.join(got.field_texts(rest))})", dim=True)


def _others(step: Step, variant: str, first: str) -> Iterator[tuple[str, Answer]]:
    """What the trace says of others at this line, where it differs from this variant's."""
    own = step.expected_of(variant, 0) if step.times == 1 else None
    if step.expected is None or not step.alternatives:
        return
    names = (variant, variant.partition("-")[2], variant.partition("-")[0])
    if any(name in step.alternatives for name in names):
        yield first, step.expected
    for who, answer in step.alternatives.items():
        if who not in names and answer != own:
            yield who, answer


def verdict_line(run: Run) -> str:
    """One line about one run."""
    differing = len(run.differing)
    what = f"{run.trace.operations} operations, {run.checks} answers"
    if differing:
        word = click.style("DIFFERS", fg="red", bold=True)
        what += f", {differing} not as stated (first in line {run.differing[0].step.line})"
    else:
        word = click.style("ok", fg="green") + "     "
    return f"{word}  {run.trace.path}  {run.variant}  {what}"


def recording_lines(run: Run, recording: str, comparison: Comparison) -> Iterator[str]:
    """What holding the trace against the kernel's recorded answers brought."""
    if not comparison.wrong:
        yield (
            f"kernel   {run.trace.path}  {run.variant}  {comparison.confirmed} answers are"
            f" the kernel's own ({recording})"
        )
        return
    for wrong in comparison.wrong:
        line = f"NOT SO   {run.trace.path}  {run.variant}  {wrong} ({recording})"
        yield click.style(line, fg="red")


def summary(passed: int, failed: int) -> str:
    """The line that ends the command."""
    return f"{passed} passed, {failed} failed"


def run_json(run: Run, recorded: Comparison | None) -> dict[str, object]:
    """Everything that the text tells, for programs."""
    kernel = None
    if recorded is not None:
        kernel = {"confirmed": recorded.confirmed, "wrong": recorded.wrong}
    return {
        "file": str(run.trace.path),
        "summary": run.trace.summary,
        "rules": list(run.trace.rules),
        "leaks": list(run.trace.leaks),
        "variant": run.variant,
        "recording": run.trace.recording_of(run.variant),
        "seen": [f"{file}:{number}" for file, number in run.trace.seen],
        "status": "differs" if run.differing else "ok",
        "operations": run.trace.operations,
        "answers": run.checks,
        "kernel": kernel,
        "steps": [_done_json(done) for done in run.done],
    }


def _done_json(done: Done) -> dict[str, object]:
    return {
        "line": done.step.line,
        "n": done.n or None,
        "operation": done.step.text,
        "handle": done.handle or None,
        "note": done.step.note,
        "expected": None if done.expected is None else _answer_json(done.expected),
        "answer": _answer_json(done.got),
        "why": [
            {"function": told.function, "text": told.text, "rule": told.rule or None}
            for told in done.story
        ],
        "others": {who: str(answer) for who, answer in done.step.alternatives.items()},
        "differences": [
            {"key": difference.key, "expected": difference.expected, "got": difference.got}
            for difference in done.differences
        ],
    }


def _answer_json(answer: Answer) -> dict[str, object]:
    return {
        "words": list(answer.words),
        "fields": {key: list(value) for key, value in answer.fields.items()},
    }
