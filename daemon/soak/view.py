"""How far a soak is, shown while it goes on."""

from __future__ import annotations

import time
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from daemon.findings import EXHAUSTED, THROTTLED
from daemon.soak.play import Limits, Progress
from daemon.soak.span import span_text

LINE_SECONDS: Final = 10.0
"""How often a line is printed where there is no terminal."""


class View:
    """How far the soak is: a table on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, limits: Limits) -> None:
        self._console = console
        self._limits = limits
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._next_line = 0.0

    def __enter__(self) -> None:
        if self._console.is_terminal:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show how it stands now."""
        if self._console.is_terminal:
            self._live.update(self.table(progress), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._console.print(self.line(progress), soft_wrap=True, highlight=False)

    def head(self, progress: Progress) -> str:
        """Time, plays and events, of how many."""
        limits = self._limits
        seconds = span_text(progress.seconds)
        of = f" of {span_text(limits.seconds)}" if limits.seconds else ""
        plays = f" of {limits.plays:,}" if limits.plays else ""
        events = f" of {limits.events:,}" if limits.events else ""
        rate = progress.events / progress.seconds if progress.seconds else 0.0
        return (
            f"{seconds}{of}, play {progress.plays + 1:,}{plays} ({progress.trace}),"
            f" {progress.events:,}{events} events, {rate:,.0f}/s"
        )

    def line(self, progress: Progress) -> str:
        """Everything in one line."""
        models = "; ".join(
            f"{model.variant}: least left {model.lowest_left:.0%}, denied {model.denied:,},"
            f" leaked {model.leaked:,}"
            for model in progress.tally.models()
        )
        return f"{self.head(progress)} | {models}"

    def table(self, progress: Progress) -> RenderableType:
        """A line for each model."""
        table = Table(
            title=self.head(progress), title_justify="left", box=None, padding=(0, 2, 0, 0)
        )
        table.add_column("model")
        for title in ("left now", "least left", "denied", "entitled", "stalled", "leaked"):
            table.add_column(title, justify="right")
        samples = progress.tally.timeline.samples
        now = samples[-1].left if samples else {}
        for model in progress.tally.models():
            table.add_row(
                model.variant,
                _share(now.get(model.variant, 1.0)),
                _share(model.lowest_left),
                f"{model.denied:,}",
                Text(f"{model.entitled_denied:,}", "red" if model.entitled_denied else ""),
                f"{model.stalled:,}",
                f"{model.leaked:,}",
            )
        return table


def _share(left: float) -> Text:
    color = "red" if left < EXHAUSTED else "dark_orange" if left < THROTTLED else "green"
    return Text(f"{left:.1%}", color)
