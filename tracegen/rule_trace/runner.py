"""Run a rule trace under a variant and hold every answer against what it expects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from allocator.machine import Machine
from allocator.revision import parse_variant
from tracegen.rule_trace.answer import Answer, Difference, differences
from tracegen.rule_trace.driver import Driver, MachineFactory, Told
from tracegen.rule_trace.trace import WHOLE_WORDS, Beyond, Prose, RuleTrace, Step


@dataclass(slots=True)
class Done:
    """One operation or look, what was expected and what came of it."""

    step: Step
    n: int
    """Number of the operation, from 1; 0 for a look."""
    handle: str
    expected: Answer | None = None
    got: Answer = field(default_factory=Answer)
    differences: list[Difference] = field(default_factory=list)
    story: list[Told] = field(default_factory=list)

    @property
    def checks(self) -> int:
        """How many things were stated."""
        if self.expected is None:
            return 0
        return len(self.expected.fields) + (1 if self.expected.words else 0)


@dataclass(slots=True)
class Run:
    """A rule trace under one variant, line by line."""

    trace: RuleTrace
    variant: str
    entries: list[list[Done] | Prose | Beyond] = field(default_factory=list)

    @property
    def done(self) -> Iterator[Done]:
        """Everything that was done, in order."""
        for entry in self.entries:
            if isinstance(entry, list):
                yield from entry

    @property
    def differing(self) -> list[Done]:
        """What did not come as expected."""
        return [done for done in self.done if done.differences]

    @property
    def checks(self) -> int:
        """How many things were stated and looked at."""
        return sum(done.checks for done in self.done)


def run_rule_trace(
    trace: RuleTrace, variant: str, make: MachineFactory = Machine, *, tell: bool = False
) -> Run:
    """Run the whole trace: a difference does not end it. ``tell`` asks for the stories.

    Raises :class:`~tracegen.rule_trace.trace.RuleTraceError` when the variant lacks a
    cache that an operation needs.
    """
    driver = Driver(trace, parse_variant(variant), make, tell=tell)
    run = Run(trace, variant)
    n = 0
    for entry in trace.body:
        if not isinstance(entry, Step):
            run.entries.append(entry)
            continue
        made = []
        for time, handle in enumerate(entry.operation.handles or ("",)):
            n += not entry.operation.is_look
            done = Done(entry, 0 if entry.operation.is_look else n, handle)
            done.got, done.story = driver.perform(entry, handle)
            done.expected = entry.expected_of(variant, time)
            done.differences = _differences(entry, done.expected, done.got)
            made.append(done)
        run.entries.append(made)
    return run


def _differences(step: Step, expected: Answer | None, got: Answer) -> list[Difference]:
    if expected is None:
        return []
    return list(differences(expected, got, all_words=step.operation.verb in WHOLE_WORDS))
