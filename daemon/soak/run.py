"""One soak from its order to its result, whatever ends it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

from allocator import COMPILED
from allocator.revision import parse_variant
from daemon.soak.conditions import Condition
from daemon.soak.moments import MOST_EVENTS, moments
from daemon.soak.play import Limits, Player, Progress, Target
from daemon.soak.result import Breach, MachineResult, SoakResult
from daemon.version import program_version


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be played, until when, and what has to hold."""

    traces: tuple[str, ...]
    limits: Limits
    speed: float | None
    """A factor on the trace's own time; None is as fast as it goes."""
    interval: float
    """Seconds between two looks."""
    thresholds: tuple[Condition, ...]
    fail_fast: bool
    explain: bool | None
    """Whether the worst events are looked for; None leaves it to how many there are."""
    machines: tuple[MachineResult, ...] = ()
    """Those that were simulated to make traces."""

    def breaches(self, progress: Progress) -> list[Breach]:
        """Every threshold that a model or a simulated machine has crossed."""
        return [
            *self._breaches_of_machines(),
            *self._breaches_of_models(progress),
        ]

    def _breaches_of_machines(self) -> list[Breach]:
        return [
            Breach(
                condition=condition.text,
                source=machine.scenario,
                variant=machine.kernel,
                what=what,
            )
            for machine in self.machines
            for condition in self.thresholds
            if (what := condition.breach_of_machine(machine)) is not None
        ]

    def _breaches_of_models(self, progress: Progress) -> list[Breach]:
        return [
            Breach(condition=condition.text, source=model.source, variant=model.variant, what=what)
            for model in progress.tally.models()
            for condition in self.thresholds
            if condition.applies_to(model) and (what := condition.breach(model)) is not None
        ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a soak came to."""

    result: SoakResult
    explained: bool
    """Whether the worst events were looked for."""
    signal: int
    """The signal that ended it, 0 if none did."""


class _Stopped(Exception):  # noqa: N818 - no error: the user's wish
    """A signal asks for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def soak(order: Order, target: Target, shown: Callable[[Progress], None]) -> Outcome:
    """Play until a limit, a crossed threshold that ends it, or a signal."""
    started = datetime.now(UTC)
    player = Player(
        target,
        order.limits,
        speed=order.speed,
        interval=order.interval,
        shown=shown,
        enough=lambda progress: order.fail_fast and bool(order.breaches(progress)),
    )
    ended_by = _play(player, order.traces)
    progress = player.progress
    result = SoakResult(
        version=program_version(),
        compiled=COMPILED,
        started=started.isoformat(timespec="seconds"),
        seconds=progress.seconds,
        traces=list(order.traces),
        speed="max" if order.speed is None else f"{order.speed:g}x",
        conditions=[condition.text for condition in order.thresholds],
        plays=progress.plays,
        events=progress.events,
        interrupted=ended_by != 0,
        models=progress.tally.models(),
        machines=list(order.machines),
        breaches=order.breaches(progress),
        timeline=progress.tally.timeline.samples,
    )
    return Outcome(result, _explained(order, result), ended_by)


def _explained(order: Order, result: SoakResult) -> bool:
    """Find the worst events, if it is wanted; returns whether it was."""
    wanted = order.explain
    if wanted is None:
        few = result.events <= MOST_EVENTS * max(1, result.plays)
        wanted = few and not result.interrupted
    if wanted:
        # Of the models that took part: a daemon that was named has its own.
        names = dict.fromkeys(model.variant for model in result.models)
        variants = [parse_variant(name) for name in names]
        result.moments = [each for trace in order.traces for each in moments(trace, variants)]
    return wanted


def _play(player: Player, traces: Sequence[str]) -> int:
    """Play until the end or a signal; returns the signal, 0 at the end."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        player.run(list(traces))
    except _Stopped as stopped:
        return stopped.number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0
