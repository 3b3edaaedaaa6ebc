"""Scenarios as traces: several machines at once, life after life, in constant memory.

The loop is open, and each machine is answered by a model of its own; or it is closed, and the sink
answers. A *life* is one run of the scenario; when it is over (its time is up,
its work is done, the machine hangs) the next begins as a new epoch with a seed of its own. All
machines advance together, a tenth of a simulated second at a time.

The same plan, seed and limits give the same batches, at whatever pace they are sent.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from allocator.events import RECORD_SIZE
from tracegen.batch import BatchMaker, EventBatch, HeaderBatch
from tracegen.header import Header
from tracegen.protocol import MAX_ANSWERED_EVENTS, Answer
from tracegen.workload.daemon_model import DaemonModel
from tracegen.workload.recorder import Recorder
from tracegen.workload.simulation import Plan, Simulation


@dataclass(frozen=True, slots=True)
class Limits:
    """When generating ends; without any, after one life of each machine."""

    events: int | None = None
    """Of all machines together."""
    seconds: float | None = None
    """Simulated, for each machine, over all its lives."""

    @property
    def is_one_life(self) -> bool:
        """Whether there is no limit but the scenario's own end."""
        return self.events is None and self.seconds is None


@dataclass(slots=True)
class Generated:
    """What has been generated so far."""

    events: int = 0
    batches: int = 0
    lives: int = 0
    hangs: int = 0
    seconds: float = 0.0
    """Simulated, of the machine that is furthest."""
    epochs: dict[str, int] = field(default_factory=dict)


class Sink(Protocol):
    """Where batches go; in a closed loop, also what answers them."""

    def open(self, batch: HeaderBatch) -> Answer | None:
        """Begin a life of a source."""

    def send(self, batch: EventBatch) -> Answer | None:
        """Hand over the next batch of a source's life."""

    def wait_until(self, seconds: float) -> None:
        """Let real time pass until so many simulated seconds are due."""


class Machine:
    """One source: its simulation of the moment, and the batches that come of it."""

    def __init__(
        self,
        plan: Plan,
        source: str,
        number: int,
        sink: Sink,
        done: Generated,
        limits: Limits,
        first_epoch: int,
        *,
        closed: bool,
    ) -> None:
        self._closed = closed
        self._model: DaemonModel | None = None
        self._plan = plan
        self._source = source
        self._number = number
        self._sink = sink
        self._done = done
        self._limits = limits
        self._epoch = first_epoch
        self._life = 0
        self._lived = 0.0
        """Simulated seconds of the lives before this one."""
        self._maker: BatchMaker
        self._simulation: Simulation
        self._recorder: Recorder
        self._begin()

    @property
    def seconds(self) -> float:
        """Simulated seconds over all lives."""
        return self._lived + self._simulation.seconds

    @property
    def is_over(self) -> bool:
        """Whether it has reached a limit."""
        limits, done = self._limits, self._done
        if limits.is_one_life:
            return self._life > 1
        return (limits.events is not None and done.events >= limits.events) or (
            limits.seconds is not None and self.seconds >= limits.seconds
        )

    def go_on(self) -> None:
        """Live for another tenth of a simulated second."""
        if self._simulation.go_on():
            self._recorder.flush()
            return
        self._simulation.close()
        self._done.hangs += self._simulation.hang is not None
        if self._limits.is_one_life:
            self._life += 1
        else:
            self._lived += self._simulation.seconds
            self._begin()

    def _begin(self) -> None:
        plan = replace(self._plan, seed=life_seed(self._plan.seed, self._number, self._life))
        self._maker = BatchMaker(self._source, self._epoch + self._life)
        self._life += 1
        if self._closed:
            self._recorder = Recorder(self._deliver, MAX_ANSWERED_EVENTS)
            self._simulation = Simulation(plan, self._recorder, self._open)
            return
        first: list[bytes] = []  # a machine's pools and page cache are filled as it is built
        self._recorder = Recorder(first.append)
        self._simulation = Simulation(plan, self._recorder)
        self._open_sink(self._simulation.header)
        self._recorder.deliver = self._deliver
        for records in first:
            self._deliver(records)

    def _open(self, header: Header) -> DaemonModel:
        """Begin a life whose model is the daemon's."""
        self._model = DaemonModel(header, self._recorder, _wanted(self._open_sink(header)))
        return self._model

    def _open_sink(self, header: Header) -> Answer | None:
        self._done.lives += 1
        self._done.epochs[self._source] = self._maker.epoch
        self._done.batches += 1
        return self._sink.open(self._maker.header(header))

    def _deliver(self, records: bytes) -> None:
        done, limit = self._done, self._limits.events
        if limit is not None:
            records = records[: max(0, limit - done.events) * RECORD_SIZE]
        if records:
            answer = self._sink.send(self._maker.events(records))
            done.batches += 1
            done.events += len(records) // RECORD_SIZE
            if self._model is not None:
                self._model.hear(_wanted(answer))
        if self._closed and limit is not None and done.events >= limit:
            raise _EnoughError  # whoever asked gets no answer any more


class _EnoughError(Exception):
    """The limit of events is reached, in the middle of a closed loop."""


def _wanted(answer: Answer | None) -> Answer:
    if answer is None:
        raise TypeError("a closed loop needs a sink that answers")
    return answer


def generate(
    plan: Plan,
    sources: list[str],
    sink: Sink,
    limits: Limits,
    *,
    first_epoch: int = 1,
    closed: bool = False,
    progress: Callable[[Generated], None] = lambda _: None,
) -> Generated:
    """Run the machines until a limit is reached; raises what the sink raises.

    ``closed`` has the sink answer them.
    """
    if closed:
        Simulation(plan)  # a scenario that cannot be is refused before anybody hears of it
    done = Generated()
    with suppress(_EnoughError):
        _live(plan, sources, sink, limits, done, first_epoch, progress, closed=closed)
    return done


def _live(
    plan: Plan,
    sources: list[str],
    sink: Sink,
    limits: Limits,
    done: Generated,
    first_epoch: int,
    progress: Callable[[Generated], None],
    *,
    closed: bool,
) -> None:
    machines = [
        Machine(plan, source, number, sink, done, limits, first_epoch, closed=closed)
        for number, source in enumerate(sources)
    ]
    while machines := [machine for machine in machines if not machine.is_over]:
        for machine in machines:
            machine.go_on()
        done.seconds = max(machine.seconds for machine in machines)
        progress(done)
        sink.wait_until(done.seconds)


def life_seed(seed: int, machine: int, life: int) -> int:
    """The seed of a life; that of the first machine's first is the one that was asked for."""
    if machine == life == 0:
        return seed
    return random.Random(f"{seed}/{machine}/{life}").getrandbits(64)  # noqa: S311 - seeded


MAX_MACHINES: Final = 64
"""Each has a connection and a model of its own."""


def source_names(name: str, machines: int) -> list[str]:
    """``name``, or ``name-1`` to ``name-N``."""
    if machines == 1:
        return [name]
    return [f"{name}-{number}" for number in range(1, machines + 1)]
