"""Plays traces to a daemon, again and again, and looks at the daemon meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from daemon.live_state import State, read_state
from daemon.soak.tally import Tally
from tracegen.keys import SenderKeys
from tracegen.send import Plan, Replay
from tracegen.sender import InterruptedSendError

TIMEOUT_SECONDS: Final = 30.0
"""A daemon that is silent for so long is lost."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a soak ends: whichever comes first; plays None is without end."""

    seconds: float | None = None
    events: int | None = None
    plays: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The daemon: where it takes batches, and where it says how it stands."""

    receiving: str
    http: str
    keys: SenderKeys | None = None


@dataclass(slots=True)
class Progress:
    """How far the soak is."""

    seconds: float = 0.0
    plays: int = 0
    events: int = 0
    trace: str = ""
    tally: Tally = field(default_factory=Tally)
    sources: set[str] = field(default_factory=set)


class _Sending:
    """One play of one trace, in a thread of its own."""

    def __init__(self, plan: Plan, trace: str) -> None:
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self.interrupted = False
        self.replay = Replay(plan, interrupted=self._stop.is_set)
        self._thread = threading.Thread(target=self._run, args=(trace,), name="replay", daemon=True)
        self._thread.start()

    def _run(self, trace: str) -> None:
        try:
            self.replay.run(trace)
        except InterruptedSendError:
            self.interrupted = True
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asked for it
            self._failure = error

    def wait(self, seconds: float) -> bool:
        """Whether it is over, after waiting so long at most; raises what made it fail."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._failure is not None:
            raise self._failure
        return True

    def stop(self) -> None:
        """End it before its end."""
        self._stop.set()


class Player:
    """Plays every trace in turn until a limit is reached or it is stopped."""

    def __init__(
        self,
        target: Target,
        limits: Limits,
        *,
        speed: float | None,
        interval: float,
        shown: Callable[[Progress], None],
        enough: Callable[[Progress], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``shown`` is told after each look; ``enough`` says to stop before a limit."""
        self._target = target
        self._limits = limits
        self._speed = speed
        self._interval = interval
        self._shown = shown
        self._enough = enough
        self._clock = clock
        self._started = clock()
        self.progress = Progress()

    def run(self, traces: list[str]) -> Progress:
        """Play; raises what sending or asking raises."""
        progress = self.progress
        before = self._state()
        while not self._over():
            trace = traces[progress.plays % len(traces)]
            progress.trace = trace
            progress.tally.begin(before)
            before = self._play(trace)
            progress.plays += 1
        return progress

    def _play(self, trace: str) -> State:
        """One play of one trace; returns how the daemon stands at its end."""
        progress = self.progress
        plan = Plan(
            self._target.receiving,
            TIMEOUT_SECONDS,
            speed=self._speed,
            new_epoch=True,
            keys=self._target.keys,
        )
        sending = _Sending(plan, trace)
        sent_before = progress.events
        try:
            while not sending.wait(self._interval):
                progress.events = sent_before + sending.replay.sent.events
                self._look(set(sending.replay.sent.epochs))
                if self._over():
                    break
        finally:
            sending.stop()
        while not sending.wait(TIMEOUT_SECONDS):
            pass
        progress.events = sent_before + sending.replay.sent.events
        return self._look(set(sending.replay.sent.epochs))

    def _look(self, sources: set[str]) -> State:
        progress = self.progress
        state = self._state()
        progress.seconds = self._clock() - self._started
        progress.sources |= sources
        progress.tally.look(state, sources, progress.seconds, progress.events)
        self._shown(progress)
        return state

    def _state(self) -> State:
        return read_state(self._target.http)

    def _over(self) -> bool:
        limits, progress = self._limits, self.progress
        progress.seconds = self._clock() - self._started
        return (
            (limits.seconds is not None and progress.seconds >= limits.seconds)
            or (limits.events is not None and progress.events >= limits.events)
            or (limits.plays is not None and progress.plays >= limits.plays)
            or self._enough(progress)
        )
