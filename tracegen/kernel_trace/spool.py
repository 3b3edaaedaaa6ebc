"""Records on disk between the two halves of an import: 32 bytes for each event."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from tracegen.errors import StoppedError

PIECE: Final = 4096 * 32
"""Bytes that are read back at once: one batch."""


class Spool:
    """A file without a name that is gone when it is closed, in ``folder`` if there is one."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # close()
        except OSError as error:
            raise self._failed(error) from error

    def write(self, records: bytes) -> None:
        """Append records."""
        try:
            self._file.write(records)
        except OSError as error:
            raise self._failed(error) from error

    def pieces(self) -> Iterator[bytes]:
        """Everything that was written, a batch at a time."""
        try:
            self._file.seek(0)
            while piece := self._file.read(PIECE):
                yield piece
        except OSError as error:
            raise self._failed(error) from error

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self._file.tell()

    def close(self) -> None:
        """Let it go."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _failed(self, error: OSError) -> StoppedError:
        where = self._folder or tempfile.gettempdir()
        return StoppedError(f"cannot write a temporary file in {where}: {error.strerror}")
