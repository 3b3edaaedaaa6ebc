"""Hangs: when one has happened, and who waits for what.

A machine shows signs of life when a page is written, read or freed, when somebody who waited for
memory is served, or the OOM killer finds a victim. One without them while somebody waits is

* *deadlocked* when nothing can change any more: no event is due that could free a page or wake
  a task, and everybody who looks again by himself (a mempool's sleeper, a direct reclaimer,
  kswapd, the card's watchdog, TCP's timers) has tried all he can since the last sign, in vain.
  Whatever they try next they find as they found it before. This is seen from what is due, not
  from a clock;
* *hung* when the signs have been absent for ``hung_seconds`` although the server answers. A
  program that needs no new memory may go on all the while, so there is no proof, but the
  kernel's khungtaskd would speak up as well (kernel/hung_task.c, 120 s).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracegen.workload.engine import SECOND, Engine
from tracegen.workload.memory import Memory
from tracegen.workload.network import Wire
from tracegen.workload.pages import Pages
from tracegen.workload.reclaim import Reclaim
from tracegen.workload.swap import Swap

_LOOK_EVERY: Final = SECOND // 10


@dataclass(frozen=True, slots=True)
class Waiter:
    """One task, or several alike, and what they wait for."""

    who: str
    what: str


@dataclass(frozen=True, slots=True)
class Hang:
    """A machine in which nothing goes on any more."""

    at_ns: int
    """When the last sign of life was seen."""
    event: int
    """How many events there had been by then."""
    is_deadlock: bool
    waiters: tuple[Waiter, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Patient:
    """The parts of the machine that are looked at."""

    memory: Memory
    pages: Pages
    swap: Swap
    reclaim: Reclaim
    wire: Wire


class HangWatch:
    """Looks ten times a second whether the machine still gets anything done."""

    __slots__ = ("_engine", "_limit", "_patient", "hang")

    def __init__(self, engine: Engine, patient: Patient, limit_seconds: float) -> None:
        self._engine = engine
        self._patient = patient
        self._limit = round(limit_seconds * SECOND)
        self.hang: Hang | None = None
        self._look(None)

    @property
    def in_doubt(self) -> bool:
        """Whether somebody waits and nothing has happened, though the server is there."""
        silence = self._engine.now - self._patient.memory.alive_at
        is_up = self._patient.wire.conditions.up
        return is_up and silence >= _LOOK_EVERY and self._somebody_waits()

    def _look(self, _: object) -> None:
        engine = self._engine
        memory = self._patient.memory
        memory.note_free_pages()
        if not self._somebody_waits():
            memory.note_life()
        elif self._patient.wire.conditions.up:
            is_deadlock = engine.nothing_can_change_since(memory.alive_at)
            if is_deadlock or engine.now - memory.alive_at >= self._limit:
                self.hang = self._describe(is_deadlock=is_deadlock)
                engine.stopped = True
                return
        engine.at(engine.now + _LOOK_EVERY, self._look, None, 0)

    def _somebody_waits(self) -> bool:
        return any(not task.kernel and task.queue is not None for task in self._engine.tasks)

    def _describe(self, *, is_deadlock: bool) -> Hang:
        alike: dict[tuple[str, str], list[str]] = {}
        for task in self._engine.tasks:
            if task.queue is not None:
                family = task.name if task.kernel else task.name.rstrip("0123456789")
                alike.setdefault((family, task.why), []).append(task.name)
        waiters = [Waiter(_together(names), why) for (_, why), names in alike.items()]
        pages = self._patient.pages
        facts = (
            self._patient.reclaim.shortage(),
            (
                f"{pages.resident} anonymous pages in memory, {pages.writing} being written,"
                f" {len(pages.clean)} written and free to go"
            ),
            *self._patient.swap.device.waits(),
        )
        memory = self._patient.memory
        return Hang(memory.alive_at, memory.alive_event, is_deadlock, tuple(waiters), facts)


def _together(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{names[0]} and {len(names) - 1} more"
