"""``pfmemd watch``: a running daemon's models, live in the terminal.

On a terminal the whole screen, drawn anew a few times a second; into a pipe or a
log one plain line every few seconds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import click
from rich.console import Console
from rich.live import Live

from daemon.live_state import State, read_state
from daemon.live_view import Rates, state_lines, state_view
from daemon.settings import split_address

SCREEN_SECONDS: Final = 0.4
LINE_SECONDS: Final = 5.0
RATE_SECONDS: Final = 3.0
"""Rates are taken over about so long: over the readings since then, and always over two."""
RATE_READINGS: Final = 16

Pause = Callable[[float], bool]
"""Waits for so many seconds at most; True means go on watching."""


class Feed:
    """Reads a daemon's state again and again and knows how fast events come."""

    def __init__(self, address: str, source: str | None = None) -> None:
        """``source`` leaves out all others."""
        self._address = address
        self._source = source
        self._readings: deque[tuple[float, State]] = deque(maxlen=RATE_READINGS)

    def read(self) -> State:
        """Take a reading; raises what :func:`read_state` raises."""
        state = read_state(self._address)
        if self._source is not None:
            state = State(sources={n: s for n, s in state.sources.items() if n == self._source})
        self._readings.append((time.monotonic(), state))
        return state

    def rates(self) -> Rates:
        """Return events a second of every source, over the last seconds."""
        rates: dict[str, float] = {}
        now, state = self._readings[-1] if self._readings else (0.0, State(sources={}))
        for then, before in reversed(self._readings):
            for name, source in before.sources.items():
                recent = name not in rates or now - then <= RATE_SECONDS
                if now > then and recent and name in state.sources:
                    came = max(0, state.sources[name].events - source.events)
                    rates[name] = came / (now - then)
        return Rates(rates)


def watch(feed: Feed, console: Console, pause: Pause) -> State:
    """Show what ``feed`` reads until ``pause`` says to stop; return the last reading."""
    return (
        _on_screen(feed, console, pause) if console.is_terminal else _in_lines(feed, console, pause)
    )


def _on_screen(feed: Feed, console: Console, pause: Pause) -> State:
    state = feed.read()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(state_view(state, feed.rates(), console.size), refresh=True)
        while pause(SCREEN_SECONDS):
            state = feed.read()
            live.update(state_view(state, feed.rates(), console.size), refresh=True)
    return state


def _in_lines(feed: Feed, console: Console, pause: Pause) -> State:
    while True:
        state = feed.read()
        for line in state_lines(state, feed.rates()):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        if not pause(LINE_SECONDS):
            return state


@click.command("watch")
@click.option(
    "--http",
    "address",
    default="127.0.0.1:9571",
    show_default=True,
    metavar="HOST:PORT",
    help="The daemon's HTTP address.",
)
@click.option("--source", metavar="NAME", help="Show this source only.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after so many seconds; without it, Ctrl-C does.",
)
def watch_command(address: str, source: str | None, seconds: float | None) -> None:
    r"""Watch a running daemon: the reserve, who drew it, who was denied.

    For every model of every source: free pages of each zone against the min, low
    and high watermarks (the bar is full at twice high; below m the emergency
    reserve is being drawn), whether pfmemalloc_active is set, what came of the
    allocations of each kind of caller, and the busiest caches with the slabs they
    took from the reserve and the free objects kept for those entitled to them.

    On a terminal it takes the screen; into a pipe it prints a line every few seconds.

    \b
    Example:
      pfmemd watch --source nbd-swap --seconds 60
    """
    try:
        split_address(address)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--http") from None
    end = None if seconds is None else time.monotonic() + seconds

    def pause(wanted: float) -> bool:
        left = wanted if end is None else min(wanted, end - time.monotonic())
        if left <= 0:
            return False
        time.sleep(left)
        return True

    try:
        watch(Feed(address, source), Console(), pause)
    except KeyboardInterrupt:
        return
