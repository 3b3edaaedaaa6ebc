"""Verdicts side by side, for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracegen.workload.scenario import Scenario
from tracegen.workload.verdict import Verdict

_ROWS: Final[tuple[tuple[str, Callable[[Verdict], object]], ...]] = (
    ("rest of the series", lambda v: v.series),
    ("at, simulated s", lambda v: f"{v.seconds:.1f}"),
    ("at event", lambda v: v.event),
    ("all work done", lambda v: {True: "yes", False: "no", None: "has no end"}[v.all_work_done]),
    ("steps of programs", lambda v: v.work_done),
    ("pages out", lambda v: v.pages_out),
    ("pages in", lambda v: v.pages_in),
    ("reserve, pages", lambda v: v.min_pages),
    ("fewest free pages", lambda v: v.lowest_free),
    ("requests", lambda v: v.requests),
    ("  denied", lambda v: v.denied),
    ("  stalled", lambda v: v.stalled),
    ("direct reclaims", lambda v: v.direct_reclaims),
    ("  throttled", lambda v: v.throttled),
    ("OOM kills", lambda v: v.oom_kills),
    ("frames missed", lambda v: v.missed),
    ("packets dropped", lambda v: v.dropped),
)
_STYLE: Final = {"survived": "green", "hung": "red", "deadlocked": "bold red"}


def render(scenario: Scenario, verdicts: Sequence[Verdict]) -> RenderableType:
    """A table with a column for each run, and under it who waits for what."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for verdict in verdicts:
        table.add_column(verdict.variant, justify="right")
    table.add_row("outcome", *(Text(v.outcome, _STYLE[v.outcome]) for v in verdicts))
    for name, value in _ROWS:
        table.add_row(name, *(_shown(value(verdict)) for verdict in verdicts))
    title = Text(scenario.title, "bold")
    return Group(title, table, *(_waits(verdict) for verdict in verdicts if not verdict.survived))


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _waits(verdict: Verdict) -> RenderableType:
    certainty = {
        "deadlocked": "nothing that is left to happen can free a page or wake anybody",
        "hung": "nothing was written, read, freed or granted for the time that counts as a hang",
    }[verdict.outcome]
    head = Text.assemble(
        (f"{verdict.variant} {verdict.outcome}", "bold"),
        f" at {verdict.seconds:.1f} s, event {verdict.event:,}: {certainty}.",
    )
    waiters = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    for waiter in verdict.waiters:
        waiters.add_row(waiter.who, f"waits for {waiter.what}")
    facts = Text("\n".join(f"  {fact}" for fact in verdict.facts) + "\n", style="dim")
    return Group(head, waiters, facts)
