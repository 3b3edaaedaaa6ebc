"""What can go wrong around a trace, and the exit code each failure ends with.

Every error that a user can cause derives from :class:`PfmemdError` and reads as
one line: what, where, and what was expected. ``tracegen.command_line`` prints it
and exits with its code; anything else that escapes is a fault of the program.
"""

from __future__ import annotations

from typing import Final, Self

from allocator.events import BAD_REASONS

EXIT_GOOD: Final = 0
"""All went well."""
EXIT_BAD: Final = 1
"""The thing asked about is bad: a vector failed, a threshold was crossed."""
EXIT_USAGE: Final = 2
"""Wrong use or unreadable input."""
EXIT_STOPPED: Final = 3
"""Could not go on: lost connection, full disk."""


class PfmemdError(Exception):
    """A failure that is told in one line, without a traceback."""

    exit_code: int = EXIT_USAGE


class StoppedError(PfmemdError):
    """Something outside the input gave way: a connection, a disk, a peer."""

    exit_code: int = EXIT_STOPPED


TOO_LARGE: Final = "too_large"
"""More bytes or events than the limits allow."""
NOT_MSGPACK: Final = "not_msgpack"
"""Bytes that are no msgpack object, or a cut one."""
TRUNCATED: Final = "truncated"
"""A trace that ends in the middle of a batch, or before the first one."""
SHAPE: Final = "shape"
"""Msgpack, but not the map that a batch is: keys, types, number ranges."""
VERSION: Final = "version"
"""A version of the format that this program does not read."""
SOURCE: Final = "source"
"""A source name outside the character set or too long."""
HEADER: Final = "header"
"""A header that describes no machine, or names its caches twice."""
ROW: Final = "row"
"""A readable event that is not eight integers in range."""
NO_HEADER: Final = "no_header"
"""Events before the header of their epoch."""
SEQUENCE: Final = "sequence"
"""A batch number, an epoch or a header out of its turn."""

BATCH_ERROR_REASONS: Final = (
    TOO_LARGE,
    NOT_MSGPACK,
    TRUNCATED,
    SHAPE,
    VERSION,
    SOURCE,
    HEADER,
    ROW,
    *BAD_REASONS.values(),
    NO_HEADER,
    SEQUENCE,
)
"""Why a batch is refused: a closed set, for a metric label."""


class BatchError(PfmemdError, ValueError):
    """A batch that is refused whole, and where in it the trouble is.

    ``reason`` is one of :data:`BATCH_ERROR_REASONS`. ``event`` counts from 0 within
    the batch; ``offset`` is a byte within the batch. Whoever knows where the batch
    stands adds that by :meth:`at`.
    """

    def __init__(
        self, what: str, *, reason: str, event: int | None = None, offset: int | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.reason = reason
        self.event = event
        self.offset = offset
        self.batch: int | None = None
        self.start: int | None = None
        self.file: str | None = None

    def at(
        self, *, batch: int | None = None, start: int | None = None, file: str | None = None
    ) -> Self:
        """Say which batch it is, counting from 1, and where: in what, from which byte on."""
        self.batch = self.batch if batch is None else batch
        self.start = self.start if start is None else start
        self.file = self.file if file is None else file
        return self

    def __str__(self) -> str:
        where = []
        if self.batch is not None:
            where.append(f"batch {self.batch}")
        if self.start is not None:
            where.append(f"byte {self.start + (self.offset or 0)}")
        elif self.offset is not None:
            where.append(f"byte {self.offset} of the batch")
        if self.event is not None:
            where.append(f"event {self.event}")
        parts = [self.file or "", ", ".join(where), self.what]
        return ": ".join(part for part in parts if part)


_SHOWN_LENGTH: Final = 64
_SHOWN_TYPES: Final[dict[type, str]] = {tuple: "an array", list: "an array", dict: "a map"}


def shown(value: object) -> str:
    """Return a short form of a value from outside, for an error's sentence.

    A nested value is only named by its type: its repr could be long, or too deep.
    """
    if isinstance(value, str | bytes):
        cut = value[:_SHOWN_LENGTH]
        return repr(cut) if len(value) == len(cut) else f"{cut!r}... of length {len(value)}"
    if isinstance(value, int | float) or value is None:
        return repr(value)
    return _SHOWN_TYPES.get(type(value), f"a {type(value).__name__}")
