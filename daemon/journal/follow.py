"""Reads a journal on and on while its daemon writes it.

Nothing is asked of the daemon and it learns nothing of the reader, who is free to be slow: the
disk lies between them. Only where the daemon removes segments that were not read yet is
something missed, and that is told.
"""

from __future__ import annotations

from collections.abc import Iterator

from daemon.files import Folder
from daemon.journal.errors import JournalError
from daemon.journal.layout import Position
from daemon.journal.reader import Group, JournalReader


class Follower:
    """Each look yields the groups that are new since the last one."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._position: Position | None = None
        self.missed_segments = 0
        """Segments that were removed before they had been read through, as far as is known."""

    def groups(self) -> Iterator[Group]:
        """What is new and whole; the rest of a group that is being written comes next time.

        Raises :class:`JournalError` for what is damaged or cannot be read.
        """
        reader = self._look()
        if not reader.segments:
            return
        start = self._position or reader.start
        first = reader.segments[0]
        if start.segment < first.number:
            missed = first.number - start.segment
            if start == Position(first.number - 1, first.header.previous_size):
                missed = 0  # it had been read to its end
            self.missed_segments += missed
            start = reader.start
        for group in reader.groups(start):
            self._position = group.end
            yield group

    def _look(self) -> JournalReader:
        try:
            return JournalReader(self._folder)
        except JournalError:
            # The oldest segment may have been removed between its name and its opening.
            return JournalReader(self._folder)
