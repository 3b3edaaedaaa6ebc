"""``pfmemd top --once``: the same as the screen, as text, for pipes and logs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from daemon.live_view import zones_table
from daemon.top.cells import (
    VARIANT_COLUMNS,
    cache_cells,
    troubles_text,
    variant_cells,
)
from daemon.top.rows import (
    BUSY,
    CACHE_COLUMNS,
    Moment,
    cache_rows,
    events_rate,
    troubles,
    variant_rows,
)

MOST_CACHES: Final = 10
"""Shown of each model: the busiest, then those that come first by name."""


def report(now: Moment, before: Moment | None, firing: list[str]) -> Iterator[RenderableType]:
    """Every source with its models: gauges, what is wrong, the busiest caches."""
    for line in firing:
        yield Text.assemble(("alert ", "bold red"), line)
    for source, life in now.state.sources.items():
        if not life.variants:
            continue
        phase = f"  {life.phase}" if life.phase else ""
        rate = events_rate(source, now, before)
        yield Text(f"{source}  {life.events:,} events  {rate:,.0f}/s{phase}", "bold")
        yield _table(
            VARIANT_COLUMNS, [variant_cells(row) for row in variant_rows(source, now, before)]
        )
        for name, model in life.variants.items():
            rows = cache_rows(source, name, now, before, column=BUSY, reverse=True, wanted="")
            yield Text(f"\n{name}", "bold")
            yield zones_table(model, "zone")
            yield troubles_text(troubles(source, name, now, before), [])
            titles = [column.title for column in CACHE_COLUMNS]
            yield _table(titles, [cache_cells(row) for row in rows[:MOST_CACHES]])


def _table(titles: list[str] | tuple[str, ...], rows: list[list[Text]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for at, title in enumerate(titles):
        table.add_column(title, justify="right" if at else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
