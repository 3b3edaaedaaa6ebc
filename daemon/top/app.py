"""The screen: gauges, models, caches, and what is wrong; keys as htop and slabtop have them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Footer, Input, Static

from daemon.live_state import State
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
from tracegen.errors import PfmemdError

READINGS: Final = 4
"""Rates are taken over the last so many readings."""
NOTHING_YET: Final = "No source has sent anything yet: `pfmemd send TRACE` does."


class TopApp(App[None]):
    """Asks a daemon again and again and shows what it says."""

    CSS = """
    #head { height: 1; background: $primary-darken-2; color: $text; padding: 0 1; }
    #above { height: auto; max-height: 12; }
    #zones { width: 78; height: auto; padding: 0 1; }
    #troubles { width: 1fr; height: auto; padding: 0 1; }
    #variants { height: auto; max-height: 8; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    #caches { height: 1fr; }
    DataTable > .datatable--header { background: $panel; color: $text-muted; }
    """
    TITLE = "pfmemd top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("v", "next_variant", "model"),
        # Tab would move the focus; here is only one thing that has it.
        Binding("tab", "next_variant", "model", show=False, priority=True),
        Binding("s", "next_source", "source"),
        Binding("less_than_sign,comma", "sort(-1)", "sort left", key_display="<"),
        Binding("greater_than_sign,full_stop", "sort(1)", "sort right", key_display=">"),
        Binding("r", "reverse", "reverse"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("escape", "no_filter", "all", show=False),
        Binding("space", "pause", "pause"),
    ]

    def __init__(
        self,
        read: Callable[[], State],
        alerts: Callable[[], list[str]] | None = None,
        *,
        address: str = "",
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``read`` asks the daemon, ``alerts`` an Alertmanager; both in a thread of their own."""
        super().__init__()
        self._read = read
        self._alerts = alerts
        self._address = address
        self._interval = interval
        self._clock = clock
        self._moments: deque[Moment] = deque(maxlen=READINGS)
        self._firing: list[str] = []
        self._lost: str | None = None
        self._source: str | None = None
        self._variant: str | None = None
        self._column = BUSY
        self._reverse = True
        self._wanted = ""
        self.paused = False

    def compose(self) -> ComposeResult:
        """The parts of the screen, from above."""
        yield Static(id="head")
        with Horizontal(id="above"):
            yield Static(id="zones")
            yield Static(id="troubles")
        yield DataTable(id="variants", cursor_type="row", zebra_stripes=True)
        yield Input(placeholder="part of a name; Enter keeps it, Esc shows all", id="filter")
        yield DataTable(id="caches", cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        models: DataTable[Text] = self.query_one("#variants", DataTable)
        models.can_focus = False  # the keys move through the caches; v chooses the model
        for at, title in enumerate(VARIANT_COLUMNS):
            models.add_column(Text(title, justify="right" if at else "left"))
        self._head_caches()
        self.query_one("#caches", DataTable).focus()
        self.refresh_reading()
        self.set_interval(self._interval, self.refresh_reading)

    def refresh_reading(self) -> None:
        """Ask for a reading, unless paused."""
        if not self.paused:
            self.run_worker(self._ask, thread=True, exclusive=True, group="ask")

    def _ask(self) -> None:
        try:
            state = self._read()
        except PfmemdError as error:
            self.call_from_thread(self._take, None, str(error), [])
            return
        firing = self._alerts() if self._alerts is not None else []
        self.call_from_thread(self._take, state, None, firing)

    def _take(self, state: State | None, lost: str | None, firing: list[str]) -> None:
        self._lost = lost
        if state is not None:
            self._firing = firing
            self._moments.append(Moment(self._clock(), state))
        self.draw()

    # What is shown.

    @property
    def now(self) -> Moment | None:
        """The newest reading."""
        return self._moments[-1] if self._moments else None

    @property
    def _before(self) -> Moment | None:
        return self._moments[0] if len(self._moments) > 1 else None

    def _sources(self) -> list[str]:
        """The sources that have models."""
        if self.now is None:
            return []
        return [name for name, source in self.now.state.sources.items() if source.variants]

    def _chosen(self) -> tuple[Moment, str, str] | None:
        """The reading, source and model that are shown; the first ones where they are gone."""
        sources = self._sources()
        if self.now is None or not sources:
            return None
        if self._source not in sources:
            self._source = sources[0]
        variants = self.now.state.sources[self._source].variants
        if self._variant not in variants:
            self._variant = next(iter(variants))
        return self.now, self._source, self._variant

    def draw(self) -> None:
        """Draw everything anew."""
        chosen = self._chosen()
        self.query_one("#head", Static).update(self._head(chosen))
        if chosen is None:
            self.query_one("#zones", Static).update(Text(self._lost or NOTHING_YET, "dim"))
            return
        now, source, variant = chosen
        model = now.state.sources[source].variants[variant]
        self.query_one("#zones", Static).update(zones_table(model, "zone"))
        found = troubles(source, variant, now, self._before)
        self.query_one("#troubles", Static).update(troubles_text(found, self._firing))
        self._draw_variants(now, source, variant)
        self._draw_caches(now, source, variant)

    def _head(self, chosen: tuple[Moment, str, str] | None) -> Text:
        text = Text()
        if chosen is not None:
            now, source, variant = chosen
            life = now.state.sources[source]
            sources = self._sources()
            text.append(source, "bold")
            text.append(f" ({sources.index(source) + 1} of {len(sources)})  ")
            text.append(variant, "bold")
            rate = events_rate(source, now, self._before)
            text.append(f"  {life.events:,} events  {rate:,.0f}/s")
            if life.phase:
                text.append(f"  {life.phase}", "italic")
        text.append(f"  {self._address}", "dim")
        if self.paused:
            text.append("  paused", "bold reverse")
        if self._lost is not None:
            text.append(f"  {self._lost}", "bold red")
        return text

    def _draw_variants(self, now: Moment, source: str, variant: str) -> None:
        table: DataTable[Text] = self.query_one("#variants", DataTable)
        table.clear()
        rows = variant_rows(source, now, self._before)
        for row in rows:
            mark = "▶ " if row.name == variant else "  "
            table.add_row(*variant_cells(row, mark))
        table.move_cursor(row=[row.name for row in rows].index(variant))

    def _head_caches(self) -> None:
        table: DataTable[Text] = self.query_one("#caches", DataTable)
        table.clear(columns=True)
        for at, column in enumerate(CACHE_COLUMNS):
            mark = (" ▼" if self._reverse else " ▲") if at == self._column else ""
            table.add_column(Text(column.title + mark, justify="right" if at else "left"))

    def _draw_caches(self, now: Moment, source: str, variant: str) -> None:
        table: DataTable[Text] = self.query_one("#caches", DataTable)
        rows = cache_rows(
            source,
            variant,
            now,
            self._before,
            column=self._column,
            reverse=self._reverse,
            wanted=self._wanted,
        )
        cursor, scrolled = table.cursor_coordinate, table.scroll_y
        table.clear()
        for row in rows:
            table.add_row(*cache_cells(row))
        if rows:
            table.cursor_coordinate = Coordinate(min(cursor.row, len(rows) - 1), cursor.column)
            table.scroll_to(y=scrolled, animate=False)

    # Keys.

    def action_next_variant(self) -> None:
        """Show the next model of the source."""
        chosen = self._chosen()
        if chosen is not None:
            now, source, variant = chosen
            names = list(now.state.sources[source].variants)
            self._variant = names[(names.index(variant) + 1) % len(names)]
            self.draw()

    def action_next_source(self) -> None:
        """Show the next source."""
        chosen = self._chosen()
        if chosen is not None:
            names = self._sources()
            self._source = names[(names.index(chosen[1]) + 1) % len(names)]
            self.draw()

    def action_sort(self, step: int) -> None:
        """Sort the caches by the next column to the right or to the left."""
        self._sort_by((self._column + step) % len(CACHE_COLUMNS))

    def _sort_by(self, column: int) -> None:
        # Names from A on, numbers from the largest on; the same column again, the other way.
        self._reverse = column > 0 if column != self._column else not self._reverse
        self._column = column
        self._head_caches()
        self.draw()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._sort_by(self._column)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a heading sorts by it; on the same again, the other way round."""
        if event.data_table.id == "caches":
            self._sort_by(event.column_index)

    def action_filter(self) -> None:
        """Ask for a part of a name."""
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    def action_no_filter(self) -> None:
        """Show all caches again."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.remove_class("shown")
        self.query_one("#caches", DataTable).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self._wanted = event.value
        self.draw()

    def on_input_submitted(self) -> None:
        """Keep the filter and go back to the table."""
        self.query_one("#caches", DataTable).focus()

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self.paused = not self.paused
        self.draw()
