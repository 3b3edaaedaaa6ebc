"""Virtual time: a heap of what happens next, and tasks that wait for one another.

A task is a generator. It yields nanoseconds to let time pass, or a :class:`Wait` to sleep
until somebody wakes the queue it waits on. Two things due at the same time happen in the
order in which they were scheduled, so a run is the same every time.

Who waits for what is not lost: every wait names its queue and says why, and that is
what a hang is explained with.

Nor is it lost what may still come of what is due. An event is *hopeful* if it can change
something by itself: a packet arrives, a program runs. It is a *retry* if it only tries again
what has failed (a timeout, another round of reclaim), and hopeless if it can but take. When no
hopeful event is left, and whoever retries has done so in vain, nothing will ever change:
hang.py looks for that.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator
from typing import Any, Final, TypeAlias

MICROSECOND: Final = 1_000
MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000


class WaitQueue:
    """Tasks that sleep until something happens; ``name`` is what they wait for."""

    __slots__ = ("name", "sleepers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.sleepers: list[Task] = []


class Wait:
    """What a task yields to sleep: until woken, or for ``timeout`` nanoseconds at most.

    ``why`` completes the sentence "waits for ...". A timeout only makes the task look again;
    ``is_try`` says that it then tries all it can, and not one step of many.
    """

    __slots__ = ("is_try", "queue", "timeout", "why")

    def __init__(
        self, queue: WaitQueue, why: str, timeout: int | None = None, *, is_try: bool = True
    ) -> None:
        self.queue = queue
        self.why = why
        self.timeout = timeout
        self.is_try = is_try


class Tries:
    """When somebody last tried again, whole tries only, and how many more are due."""

    __slots__ = ("before", "due", "last")

    def __init__(self) -> None:
        self.before = self.last = -1
        self.due = 0

    def note(self, now: int) -> None:
        """A try is over."""
        self.before = self.last
        self.last = now

    def in_vain_since(self, moment: int) -> bool:
        """Whether a whole try lies after ``moment``: the one before it ended after it."""
        return self.before > moment


Steps: TypeAlias = Generator["int | Wait", None, None]
"""The body of a task."""


class Task:
    """One thread of the simulated machine."""

    __slots__ = (
        "body",
        "cpu",
        "ctx",
        "done",
        "kernel",
        "killed",
        "name",
        "queue",
        "seeks_memory",
        "timed",
        "token",
        "tries",
        "why",
    )

    def __init__(self, name: str, cpu: int, *, kernel: bool) -> None:
        self.name = name
        self.cpu = cpu
        self.kernel = kernel
        """A kernel thread (PF_KTHREAD)."""
        self.ctx = 0
        """Its CTX_* bits: CTX_PF_MEMALLOC while it reclaims."""
        self.killed = False
        """Chosen by the OOM killer."""
        self.done = False
        self.seeks_memory = False
        """It reclaims: that it runs is no progress in itself, only what it frees is."""
        self.queue: WaitQueue | None = None
        self.timed = False
        """It sleeps, but looks again by itself."""
        self.tries = Tries()
        self.why = ""
        self.token = 0
        self.body: Steps


class Engine:
    """The clock, in nanoseconds, and everything that is going to happen."""

    __slots__ = (
        "_heap",
        "_sequence",
        "cpu_free_at",
        "hopeful",
        "now",
        "retriers",
        "stopped",
        "tasks",
    )

    def __init__(self, cpus: int) -> None:
        self.now = 0
        self.stopped = False
        self.hopeful = 0
        """Events that are due and can change something by themselves."""
        self.tasks: list[Task] = []
        self.retriers: list[Tries] = []
        """Tries of those who are no tasks: a card, a connection."""
        self.cpu_free_at = [0] * cpus
        self._heap: list[tuple[int, int, Callable[[Any], None], Any, int]] = []
        self._sequence = 0

    def at(
        self, when: int, call: Callable[[Any], None], argument: object = None, hope: int = 1
    ) -> None:
        """Call ``call(argument)`` when the clock shows ``when``; 0 ``hope`` if it is hopeless."""
        self._sequence += 1
        self.hopeful += hope
        heapq.heappush(self._heap, (when, self._sequence, call, argument, hope))

    def after(self, delay: int, call: Callable[[Any], None], argument: object = None) -> None:
        """Call ``call(argument)`` after ``delay`` nanoseconds."""
        self.at(self.now + delay, call, argument)

    def retry(
        self, delay: int, call: Callable[[Any], None], argument: object, tries: Tries
    ) -> None:
        """Call ``call(argument)`` after ``delay`` nanoseconds, to try again what has failed."""
        tries.due += 1
        self.at(self.now + delay, self._try_again, (tries, call, argument), 0)

    def spawn(self, task: Task, body: Steps, delay: int = 0) -> Task:
        """Start a task ``delay`` nanoseconds from now."""
        task.body = body
        self.tasks.append(task)
        self.after(delay, self._resume, (task, task.token))
        return task

    def busy(self, cpu: int, duration: int) -> int:
        """Nanoseconds until a cpu, taken in turn, has worked for ``duration`` more."""
        start = max(self.cpu_free_at[cpu], self.now)
        self.cpu_free_at[cpu] = start + duration
        return start + duration - self.now

    def wake(self, queue: WaitQueue) -> None:
        """Wake every task that waits on the queue."""
        sleepers = queue.sleepers
        if sleepers:
            queue.sleepers = []
            for task in sleepers:
                self._rouse(task)

    def wake_one(self, queue: WaitQueue) -> None:
        """Wake the task that has waited longest on the queue."""
        if queue.sleepers:
            self._rouse(queue.sleepers.pop(0))

    def run(self, until: int) -> None:
        """Let everything happen that is due by ``until``; stops early when ``stopped`` is set."""
        heap = self._heap
        pop = heapq.heappop
        while heap and heap[0][0] <= until and not self.stopped:
            when, _, call, argument, hope = pop(heap)
            self.now = when
            self.hopeful -= hope
            call(argument)
        if not self.stopped and self.now < until:
            self.now = until

    def nothing_can_change_since(self, moment: int) -> bool:
        """Whether only retries are left, and all have been in vain since ``moment``."""
        return (
            self.hopeful == 0
            and all(
                task.tries.in_vain_since(moment)
                for task in self.tasks
                if task.timed or task.queue is None
            )
            and all(tries.in_vain_since(moment) for tries in self.retriers if tries.due)
        )

    def _try_again(self, due: tuple[Tries, Callable[[Any], None], object]) -> None:
        tries, call, argument = due
        tries.due -= 1
        tries.note(self.now)
        call(argument)

    def _rouse(self, task: Task) -> None:
        task.queue = None
        task.token += 1
        self.at(self.now, self._resume, (task, task.token))

    def _resume(self, due: tuple[Task, int]) -> None:
        task, token = due
        if token != task.token or task.done:
            return  # woken before its timeout
        if task.queue is not None:
            task.queue.sleepers.remove(task)
            task.queue = None
        try:
            wanted = next(task.body)
        except StopIteration:
            task.done = True
            self.tasks.remove(task)
            return
        task.token += 1
        if type(wanted) is int:
            hope = 0 if task.seeks_memory else 1
            self.at(self.now + wanted, self._resume, (task, task.token), hope)
            return
        assert isinstance(wanted, Wait)  # noqa: S101 - a body yields nothing else
        task.queue = wanted.queue
        task.why = wanted.why
        wanted.queue.sleepers.append(task)
        task.timed = wanted.timeout is not None
        if wanted.timeout is not None:
            look = self._look_again if wanted.is_try else self._resume
            self.at(self.now + wanted.timeout, look, (task, task.token), 0)

    def _look_again(self, due: tuple[Task, int]) -> None:
        task, token = due
        if token == task.token and not task.done:
            task.tries.note(self.now)
            self._resume(due)
