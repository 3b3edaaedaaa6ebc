"""Makes an ordinary trace of what a daemon takes, as it takes it, by following its journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from daemon.files import Folder
from daemon.journal.errors import CorruptJournalError
from daemon.journal.follow import Follower
from daemon.journal.reader import Group
from daemon.journal.survey import survey
from tracegen.batch import EventBatch, decode
from tracegen.errors import BatchError

PAUSE: Final = 0.2
"""Seconds between two looks at a journal that had nothing new."""


@dataclass(slots=True)
class _Life:
    """Where the recording of a source stands."""

    epoch: int
    last: int
    recorded: bool
    """Its batches are in the trace, without a gap so far."""
    left_out: int = 0
    """Batches of this epoch that are not."""


@dataclass(frozen=True, slots=True)
class Missed:
    """Batches that are not in the trace although they were asked for."""

    source: str
    epoch: int
    batches: int


class Recording:
    """Takes groups of a journal and writes those batches that make whole epochs.

    ``since`` says for each source which epochs are wanted: that one and later ones, all of a
    source that is not there. ``sources`` empty means every source.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        since: dict[str, int],
        sources: Iterable[str] = (),
        max_events: int | None = None,
    ) -> None:
        self._max_events = max_events
        self._write = write
        self._since = since
        self._sources = frozenset(sources)
        self._lives: dict[str, _Life] = {}
        self.batches = 0
        self.events = 0
        self._missed: list[Missed] = []

    @property
    def full(self) -> bool:
        """Whether it has as many events as were wanted."""
        return self._max_events is not None and self.events >= self._max_events

    @property
    def sources(self) -> int:
        """How many sources are in the trace."""
        return len(self._lives)

    @property
    def missed(self) -> list[Missed]:
        """What could not be recorded."""
        now = (_missed(source, life) for source, life in self._lives.items())
        return [*self._missed, *(missed for missed in now if missed is not None)]

    def take(self, folder: str, group: Group) -> None:
        """Record what is wanted of a group.

        Raises :class:`CorruptJournalError` for a batch that cannot be read.
        """
        for data in group.batches:
            try:
                batch = decode(data)
            except BatchError as error:
                raise CorruptJournalError(folder, group.position, str(error)) from None
            if self._sources and batch.source not in self._sources:
                continue
            if batch.epoch < self._since.get(batch.source, 0):
                continue
            if self._goes_on(batch.source, batch.epoch, batch.seq):
                self._write(data)
                self.batches += 1
                self.events += batch.events if isinstance(batch, EventBatch) else 0

    def _goes_on(self, source: str, epoch: int, seq: int) -> bool:
        """Whether the trace can have this batch: it begins an epoch, or comes next in one."""
        life = self._lives.get(source)
        if life is None or life.epoch != epoch:
            if life is not None and (missed := _missed(source, life)):
                self._missed.append(missed)
            life = self._lives[source] = _Life(epoch, seq - 1, recorded=seq == 1)
        life.recorded = life.recorded and seq == life.last + 1
        life.last = seq
        if not life.recorded:
            life.left_out += 1
        return life.recorded


def _missed(source: str, life: _Life) -> Missed | None:
    return Missed(source, life.epoch, life.left_out) if life.left_out else None


def present_epochs(folder: Folder) -> dict[str, int]:
    """The epoch that each source of a journal is in.

    Raises what :func:`survey` raises.
    """
    epochs: dict[str, int] = {}
    for source, epoch in survey(folder).stretches:
        epochs[source] = max(epoch, epochs.get(source, 0))
    return epochs


def follow(
    folder: Folder,
    recording: Recording,
    over: Callable[[], bool],
    pause: Callable[[float], None],
) -> int:
    """Record until it is ``over`` and all that was there by then was read, or until it is full.

    Returns how many segments were removed too early.

    Raises :class:`JournalError` for what is damaged or cannot be read.
    """
    follower = Follower(folder)
    while True:
        last = over()
        came = False
        for group in follower.groups():
            recording.take(folder.name, group)
            came = True
            if recording.full:
                return follower.missed_segments
        if last:
            return follower.missed_segments
        if not came:
            pause(PAUSE)
