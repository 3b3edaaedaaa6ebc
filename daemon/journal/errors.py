"""What can be wrong with a journal, in one line each."""

from __future__ import annotations

from daemon.journal.layout import Position, segment_name
from tracegen.errors import StoppedError


class JournalError(StoppedError):
    """The journal cannot be read or written on."""


class NoRoomError(JournalError):
    """Nothing can be written for now: the disk is full, or a quota used up."""


class CorruptJournalError(JournalError):
    """Damage that no crash explains: what was safe on disk is not what was written."""

    def __init__(self, folder: str, where: Position | int, what: str) -> None:
        place = str(where) if isinstance(where, Position) else segment_name(where)
        super().__init__(f"the journal in {folder} is damaged: {place}: {what}")
        self.where = where
        self.what = what
