"""The intake: batches are admitted one by one, written down as a group, then carried out.

Whoever receives batches (a socket, a trace) hands them in by :meth:`Intake.admit` and ends
the group with :meth:`Intake.commit`. What is committed is applied, and kept in the sense of
the storage's fsync mode; it may be acknowledged, and nothing else may.

While the disk makes a group safe, the models already apply it: nothing of that leaves
the process before both are done. If the group cannot be written because the disk is
full, all of it is as if it had never come, and the intake is blocked until there is room.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from daemon.engine import Engine
from daemon.health import Health
from daemon.journal.errors import NoRoomError
from daemon.memory import MemoryWatch
from daemon.sources import Admitted, Verdict
from daemon.storage import Storage
from daemon.workers import WorkerPool
from tracegen.batch import Batch

log = structlog.get_logger()

GROUP_BATCHES: Final = 64
GROUP_BYTES: Final = 1 << 20
"""How much one group takes: more would only make acknowledgements later."""
RETRY_SECONDS: Final = 1.0
"""How often a full disk is looked at."""


class Intake:
    """Groups batches on their way into the storage and the engine."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage | None,
        health: Health,
        stopping: Callable[[], bool] = lambda: False,
        memory: MemoryWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
        workers: WorkerPool | None = None,
    ) -> None:
        """``storage`` None keeps nothing: what is committed is lost with the process.

        ``stopping`` is asked between batches: a stop does not wait for a whole group.
        """
        self._memory = memory
        self._workers = workers
        self.engine = engine
        self._storage = storage
        self._health = health
        self._stopping = stopping
        self._clock = clock
        self._group: list[Admitted] = []
        self._bytes = 0
        self._wanted_room = 0
        self._retry_at = 0.0
        self._behind = False
        """The storage has batches that the engine has not: a stop or a failure came between."""

    @property
    def blocked(self) -> str | None:
        """Why nothing can be taken for now; None if it can."""
        return self._health.blocked

    @property
    def full(self) -> bool:
        """Whether the group should be committed before more is taken."""
        return len(self._group) >= GROUP_BATCHES or self._bytes >= GROUP_BYTES

    def admit(self, batch: Batch, data: bytes) -> Admitted | Verdict:
        """Decide on a batch, see :meth:`Engine.admit`; one that is admitted joins the group.

        Not to be called while the intake is blocked.
        """
        verdict = self.engine.admit(batch, data)
        if isinstance(verdict, Admitted):
            self._group.append(verdict)
            self._bytes += len(data)
        return verdict

    def commit(self) -> bool:
        """Write the group down and carry it out; False if there is no room for it.

        After a stop some of it may be left: that is not applied, and not to be acknowledged.
        Raises JournalError or ModelFaultError when the daemon cannot go on.
        """
        group, size = self._group, self._bytes
        self._group = []
        self._bytes = 0
        if not group:
            return True
        if self._storage is None:
            self._apply(group)
            return True
        try:
            self._storage.append([admitted.data for admitted in group])
        except NoRoomError as error:
            self.engine.abandon(group)
            self._storage.blocked = True
            self._block(str(error), size)
            return False
        self._behind = True
        self._behind = not self._apply(group)
        self._storage.wait_until_safe()
        return True

    def _apply(self, group: list[Admitted]) -> bool:
        """Whether all of the group was applied before a stop."""
        for admitted in group:
            if self._stopping():
                return False
            self.engine.apply(admitted)
        return True

    def turn(self) -> bool:
        """Do what is due between two groups; True if the intake has just become free again.

        Raises JournalError if the disk failed, MemoryLimitError if memory is used up,
        WorkerError or ModelFaultError if a worker is lost.
        """
        if self._workers is not None:
            self._workers.turn()
        if self._memory is not None:
            self._memory.turn()
        if self._storage is None or self._behind:
            return False
        self._storage.turn(self.engine)
        if self.blocked is None or self._clock() < self._retry_at:
            return False
        if not self._storage.journal.has_room(self._wanted_room):
            self._retry_at = self._clock() + RETRY_SECONDS
            return False
        self._storage.blocked = False
        self._health.blocked = None
        log.info("there is room again")
        return True

    def close(self) -> None:
        """Let the storage go, with a last snapshot if it is of use."""
        if self._storage is not None:
            lost = self._workers is not None and self._workers.lost
            self._storage.close(None if self._behind or lost else self.engine)

    def _block(self, why: str, size: int) -> None:
        if self.blocked is None:
            log.error("nothing is taken until there is room", why=why)
        self._health.blocked = why
        self._wanted_room = max(size, GROUP_BYTES)
        self._retry_at = self._clock() + RETRY_SECONDS
