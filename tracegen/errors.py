"""What can go wrong around a trace, and the exit code each failure ends with.

Every error that a user can cause derives from :class:`PfmemdError` and reads as
one line: what, where, and what was expected. ``tracegen.command_line`` prints it
and exits with its code; anything else that escapes is a fault of the program.
"""

from __future__ import annotations

from typing import ClassVar, Final

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

    exit_code: ClassVar[int] = EXIT_USAGE


class StoppedError(PfmemdError):
    """Something outside the input gave way: a connection, a disk, a peer."""

    exit_code: ClassVar[int] = EXIT_STOPPED
