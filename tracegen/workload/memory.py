"""The machine's memory, as the rest of the simulation sees it: requests and frees.

Every request goes to the model, is put into the trace if there is one, and comes back as
a handle, or as 0 with the model's outcome. A handle is odd for pages and even for
objects, so it says itself what its free is. A denied handle is freed at once: the
kernel has given nothing, and nobody will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from allocator.config import CacheSpec, MachineConfig
from allocator.events import (
    CTX_HARDIRQ,
    CTX_PF_MEMALLOC,
    CTX_SOFTIRQ,
    MARK,
    MIN_FREE,
    OBJ_ALLOC,
    OBJ_FREE,
    PAGE_ALLOC,
    PAGE_FREE,
)
from allocator.machine import Machine
from allocator.outcome import FIRST_DENIED, FIRST_STALLED
from allocator.revision import Variant
from tracegen.workload.engine import Engine
from tracegen.workload.footprint import Want
from tracegen.workload.recorder import Recorder

_PER_MILLE: Final = 1000
_TOLD_OF_FREES: Final = CTX_SOFTIRQ | CTX_HARDIRQ
"""What a tracer sees of the context of a free, and all that matters about it."""


class Answering(Protocol):
    """Whoever answers requests: the model in this process, or a daemon's."""

    def ask(self, handle: int, want: Want, cpu: int, ctx: int, now: int) -> int:
        """Make a request; the outcome code."""

    def free(self, handle: int, cpu: int, now: int) -> None:
        """Free what a handle stands for."""

    def free_pages(self) -> int:
        """Free pages of all zones."""

    def watermarks(self) -> tuple[int, int, int]:
        """The sums of min, low and high over all zones."""

    def drain(self, cpu: int) -> None:
        """``drain_all_pages``."""

    def is_boosted(self) -> bool:
        """Whether a zone's watermarks are boosted (Linux 5.0 and later)."""

    def min_free_kbytes(self) -> int:
        """``min_free_kbytes`` as it is."""

    def set_min_free_kbytes(self, kbytes: int) -> None:
        """Set ``min_free_kbytes``, which ends a boost."""

    @property
    def woke_kswapd(self) -> bool:
        """Whether the last request woke kswapd."""


class OwnModel:
    """The model in this process."""

    __slots__ = ("_zones", "machine")

    def __init__(
        self, config: MachineConfig, variant: Variant, caches: Iterable[CacheSpec]
    ) -> None:
        self.machine = Machine(config, variant, list(caches))
        self._zones = self.machine.pages.zones

    def ask(self, handle: int, want: Want, cpu: int, ctx: int, now: int) -> int:
        """Make a request; the outcome code."""
        del now
        if want.op == PAGE_ALLOC:
            return self.machine.page_alloc(handle, want.arg, want.gfp, cpu, -1, ctx)
        if want.op == OBJ_ALLOC:
            return self.machine.obj_alloc(handle, want.number, want.gfp, cpu, -1, ctx)
        return self.machine.kmalloc(handle, want.arg, want.gfp, cpu, -1, ctx)

    def free(self, handle: int, cpu: int, now: int) -> None:
        """Free what a handle stands for."""
        del now
        self.machine.obj_free(handle, cpu)

    def free_pages(self) -> int:
        """Free pages of all zones."""
        free = 0
        for zone in self._zones:
            free += zone.free_pages
        return int(free)

    def watermarks(self) -> tuple[int, int, int]:
        """The sums of min, low and high over all zones."""
        zones = self._zones
        return (
            sum(int(zone.wmark_min) for zone in zones),
            sum(int(zone.wmark_low) for zone in zones),
            sum(int(zone.wmark_high) for zone in zones),
        )

    def drain(self, cpu: int) -> None:
        """``drain_all_pages``."""
        self.machine.drain_all_pages(cpu)

    def is_boosted(self) -> bool:
        """Whether a zone's watermarks are boosted (Linux 5.0 and later)."""
        return any(zone.watermark_boost > 0 for zone in self._zones)

    def min_free_kbytes(self) -> int:
        """``min_free_kbytes`` as it is."""
        return int(str(self.machine.boot()["min_free_kbytes"]))

    def set_min_free_kbytes(self, kbytes: int) -> None:
        """Set ``min_free_kbytes``, which ends a boost."""
        self.machine.set_min_free_kbytes(kbytes)

    @property
    def woke_kswapd(self) -> bool:
        """Whether the last request woke kswapd."""
        return self.machine.answer.wk > 0


class Memory:
    """Requests and frees of the whole machine, and what became of them."""

    __slots__ = (
        "_answering",
        "_due",
        "_engine",
        "_handle",
        "_min_free_kbytes",
        "_recorder",
        "alive_at",
        "alive_event",
        "denied",
        "events",
        "lowest_free",
        "marked",
        "on_kswapd_wanted",
        "outcome",
        "requests",
        "stalled",
        "wmark_high",
        "wmark_low",
        "wmark_min",
    )

    def __init__(self, engine: Engine, answering: Answering, recorder: Recorder | None) -> None:
        self._engine = engine
        self._min_free_kbytes = answering.min_free_kbytes()
        self._answering = answering
        self._recorder = recorder
        self._handle = 0
        self._due: dict[Want, int] = {}
        self.on_kswapd_wanted: Callable[[], None] = _nobody
        self.outcome = 0
        """Outcome code of the last request."""
        self.marked = False
        """Whether the last request was granted by way of the reserve, for an skb."""
        self.events = 0
        """Requests and frees; the number that an event has in the trace's account."""
        self.alive_at = 0
        """When the machine last showed a sign of life, and how many events there had been."""
        self.alive_event = 0
        self.requests = 0
        self.denied = 0
        self.stalled = 0
        self.wmark_min, self.wmark_low, self.wmark_high = answering.watermarks()
        self.lowest_free = answering.free_pages()

    def take(self, want: Want, cpu: int, ctx: int) -> int:
        """Ask once, without waiting; the handle, or 0 with ``outcome`` set."""
        self.marked = False
        while True:
            handle = self._ask(want, cpu, ctx & want.keep | want.add)
            if handle:
                if want.marks:
                    self.marked = True
                return handle
            following = want.then
            if following is None or self.outcome >= FIRST_STALLED:
                return 0
            if following.marks and not following.entitled and not ctx & CTX_PF_MEMALLOC:
                return 0  # kmalloc_reserve: gfp_pfmemalloc_allowed() says no
            want = following

    def _ask(self, want: Want, cpu: int, ctx: int) -> int:
        op = want.op
        self._handle += 2
        handle = self._handle | 1 if op == PAGE_ALLOC else self._handle
        now = self._engine.now
        answering = self._answering
        self.events += 1
        self.requests += 1
        recorder = self._recorder
        if recorder is not None:  # first: a daemon answers what it has been sent
            recorder.put(now, handle, want.gfp, want.arg, cpu, op, ctx)
        outcome = answering.ask(handle, want, cpu, ctx, now)
        if answering.woke_kswapd:
            self.on_kswapd_wanted()
        self.outcome = outcome
        if outcome < FIRST_DENIED:
            return handle
        if outcome < FIRST_STALLED:
            self.denied += 1
        else:
            self.stalled += 1
        self.free(handle, cpu, ctx)
        return 0

    @property
    def must_wait(self) -> bool:
        """Whether the last request would wait for reclaim: the slow path goes on."""
        return self.outcome >= FIRST_STALLED

    def free(self, handle: int, cpu: int, ctx: int) -> None:
        """Give back what a handle stands for."""
        self.events += 1
        now = self._engine.now
        self._answering.free(handle, cpu, now)
        if self._recorder is not None:
            op = PAGE_FREE if handle & 1 else OBJ_FREE
            self._recorder.put(now, handle, 0, 0, cpu, op, ctx & _TOLD_OF_FREES)

    def free_all(self, handles: list[int], cpu: int, ctx: int) -> None:
        """Give back several, and forget them."""
        for handle in handles:
            self.free(handle, cpu, ctx)
        handles.clear()

    def times(self, want: Want) -> int:
        """How often a request of a step is to be made this time, so that ``per`` comes true."""
        if want.per == 1:
            return 1
        due = self._due.get(want, 0) + round(want.per * _PER_MILLE)
        self._due[want] = due % _PER_MILLE
        return due // _PER_MILLE

    def take_step(self, wants: tuple[Want, ...], cpu: int, ctx: int, held: list[int]) -> bool:
        """Ask for everything of a step without waiting.

        True if all was granted; otherwise nothing of it is held.
        """
        taken: list[int] = []
        marked = False
        due = {want: self._due.get(want, 0) for want in wants if want.per != 1}
        for want in wants:
            for _ in range(self.times(want)):
                handle = self.take(want, cpu, ctx)
                if not handle:
                    self.free_all(taken, cpu, ctx)
                    self._due.update(due)  # what was not taken is still due
                    return False
                taken.append(handle)
                marked = marked or self.marked
        held += taken
        self.marked = marked
        return True

    def free_pages(self) -> int:
        """Free pages of all zones."""
        free = self._answering.free_pages()
        self.lowest_free = min(self.lowest_free, free)
        return free

    def note_life(self) -> None:
        """A page was written, read or freed by reclaim, or somebody who waited was served."""
        self.alive_at = self._engine.now
        self.alive_event = self.events

    def note_free_pages(self) -> None:
        """Let the fewest free pages be known, where nobody has asked for a while."""
        self.free_pages()

    def drain(self, cpu: int) -> None:
        """``drain_all_pages``: the cpus' own lists go back to the zones."""
        self._answering.drain(cpu)

    def is_boosted(self) -> bool:
        """Whether a zone's watermarks are boosted (Linux 5.0 and later)."""
        return self._answering.is_boosted()

    def end_boost(self) -> None:
        """What balance_pgdat() does with a boost when it is through.

        A trace has no event for it. Setting ``min_free_kbytes`` to what it is has the same effect.
        """
        self._answering.set_min_free_kbytes(self._min_free_kbytes)
        if self._recorder is not None:
            now = self._engine.now
            self._recorder.put(now, 0, 0, self._min_free_kbytes, 0, MIN_FREE, 0)

    def mark(self, label: int) -> None:
        """Put an annotation into the trace."""
        if self._recorder is not None:
            self._recorder.put(self._engine.now, 0, 0, label, 0, MARK, 0)


def _nobody() -> None:
    """Nobody is told yet."""
