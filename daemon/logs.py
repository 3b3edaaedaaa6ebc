"""Structured logs on standard error: one event a line, as text or as JSON.

What others can provoke is not logged as often as they like: each event has so many
lines a minute, the rest is counted on the next line that comes through.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


LINES_A_MINUTE: Final = 60
"""Of one event."""
MINUTE: Final = 60.0


class Throttle:
    """A structlog processor that lets so many lines of an event through a minute."""

    def __init__(self, lines: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}
        """By event, when its minute began and how many came since."""

    def __call__(
        self, logger: object, method: str, entry: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Let the entry through, or raise DropEvent."""
        del logger, method
        event = str(entry["event"])  # a closed set: events are written in the program
        now = self._clock()
        began, count = self._seen.get(event, (now, 0))
        if now - began >= MINUTE:
            left_out = count - self._lines
            began, count = now, 0
            if left_out > 0:
                entry["left_out_before"] = left_out
        self._seen[event] = began, count + 1
        if count >= self._lines:
            raise structlog.DropEvent
        return entry


def configure_logs(level: str, log_format: str) -> None:
    """Write log lines of ``level`` and above to standard error as ``text`` or ``json``."""
    rendering: list[structlog.typing.Processor]
    if log_format == "json":
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        rendering = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=24,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    structlog.configure(
        processors=[
            Throttle(LINES_A_MINUTE),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
