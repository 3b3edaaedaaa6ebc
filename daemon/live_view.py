"""How the terminal shows a machine: the reserve as bars, who was served, who was not.

Pure drawing: plain records in, rich renderables or one line of text out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.columns import Columns
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from daemon.live_state import Source, State, Variant, Zone

BAR_SPAN: Final = 2
"""A bar is full at this many times the high watermark: the marks stand at the same places
for every zone, and an idle machine's bar is simply full."""
BAR_WIDTH: Final = 30
PANEL_WIDTH: Final = 78
"""Fits a terminal of 80 columns; a wide one takes several side by side."""
PANEL_HEIGHT: Final = 22
"""Of a machine with two zones and all kinds of callers; about a terminal of 24 lines."""
TOP_CACHES: Final = 5

MIN_MARK: Final = "m"
LOW_MARK: Final = "l"
HIGH_MARK: Final = "h"
FULL: Final = "█"
EMPTY: Final = "·"


@dataclass(frozen=True, slots=True)
class Rates:
    """Events a second of each source, over the last few readings."""

    events: Mapping[str, float]

    def of(self, source: str) -> float:
        """Return one source's rate; 0 before there are two readings of it."""
        return self.events.get(source, 0.0)


def reserve_drawn(zone: Zone) -> float:
    """Return how much of the emergency reserve is gone, 0 to 1: min pages less free pages."""
    return min(1.0, max(0.0, (zone.min - zone.free) / zone.min)) if zone.min else 0.0


def level(zone: Zone) -> tuple[str, str]:
    """Return a zone's state in a word, and its colour."""
    if zone.free < zone.min:
        return f"reserve {reserve_drawn(zone):.0%} drawn", "bold red"
    if zone.free < zone.low:
        return "below low", "dark_orange"
    if zone.free < zone.high:
        return "below high", "yellow"
    return "above high", "green"


def zone_bar(zone: Zone) -> Text:
    """Draw free pages as a bar with the three watermarks on it."""
    span = max(1, BAR_SPAN * zone.high)

    def cells(pages: int) -> int:
        return min(BAR_WIDTH, max(0, pages) * BAR_WIDTH // span)

    filled = max(cells(zone.free), 1 if zone.free > 0 else 0)
    marks = {cells(zone.min): MIN_MARK, cells(zone.low): LOW_MARK, cells(zone.high): HIGH_MARK}
    _, colour = level(zone)
    bar = Text()
    for cell in range(BAR_WIDTH):
        style = colour if cell < filled else "dim"
        if cell in marks:
            bar.append(marks[cell], f"{style} reverse")
        else:
            bar.append(FULL if cell < filled else EMPTY, style)
    return bar


def zones_table(variant: Variant, first: str) -> Table:
    """Each zone's free pages as a gauge against its watermarks, under a title of ``first``."""
    table = Table(box=None, padding=(0, 1, 0, 0), expand=False)
    table.add_column(first, no_wrap=True)
    table.add_column(f"free pages ({MIN_MARK}in {LOW_MARK}ow {HIGH_MARK}igh)", no_wrap=True)
    for title in ("free", "min", "lowest"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    several = len({zone.node for zone in variant.zones}) > 1
    for zone in variant.zones:
        word, colour = level(zone)
        table.add_row(
            f"{zone.node}:{zone.zone}" if several else zone.zone,
            zone_bar(zone),
            f"{zone.free:,}",
            f"{zone.min:,}",
            Text(f"{zone.lowest_free:,}", "red" if zone.lowest_free < zone.min else ""),
            Text(word, colour),
        )
    return table


def _callers(variant: Variant) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), expand=False)
    table.add_column("asked by", no_wrap=True, min_width=14)
    for title in ("ok", "denied", "stalled"):
        table.add_column(title, justify="right", no_wrap=True, min_width=9)
    for caller, results in variant.by_caller.items():
        table.add_row(
            caller,
            f"{results.ok:,}",
            Text(f"{results.denied:,}", "red" if results.denied else "dim"),
            Text(f"{results.stalled:,}", "dark_orange" if results.stalled else "dim"),
        )
    return table


def _reasons(variant: Variant) -> Text:
    reasons = [
        *(f"leaked {cause} {count:,}" for cause, count in variant.leaks.items() if count),
        *(f"denied {reason} {count:,}" for reason, count in variant.denied_by_reason.items()),
        *(f"stalled {reason} {count:,}" for reason, count in variant.stalled_by_reason.items()),
    ]
    return Text(", ".join(reasons) or "nothing denied, stalled or leaked", "dim", no_wrap=True)


def _caches(variant: Variant) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), expand=False)
    table.add_column("busiest caches", no_wrap=True, max_width=22, min_width=14)
    for title in ("allocs", "in use", "denied", "reserve slabs", "kept"):
        table.add_column(title, justify="right", no_wrap=True)
    for cache in variant.caches[:TOP_CACHES]:
        table.add_row(
            cache.name,
            f"{cache.allocations:,}",
            f"{cache.active_objects:,}",
            Text(f"{cache.denied:,}", "red" if cache.denied else "dim"),
            Text(f"{cache.pfmemalloc_slabs:,}", "" if cache.pfmemalloc_slabs else "dim"),
            Text(f"{cache.preserved_objects:,}", "" if cache.preserved_objects else "dim"),
        )
    return table


def _active(variant: Variant) -> Text:
    text = Text("pfmemalloc_active ")
    if variant.pfmemalloc_active:
        text.append(" yes ", "bold white on red")
    else:
        text.append(" no ", "dim")
    text.append(
        f"  set {variant.pfmemalloc_activations:,}x, cleared {variant.pfmemalloc_deactivations:,}x"
    )
    return text


def variant_panel(name: str, variant: Variant) -> Panel:
    """Draw one model of a source."""
    return Panel(
        Group(
            zones_table(variant, "reserve"),
            _active(variant),
            _callers(variant),
            _reasons(variant),
            _caches(variant),
        ),
        title=f"[bold]{name}[/bold]",
        title_align="left",
        width=PANEL_WIDTH,
    )


def source_view(name: str, source: Source, rate: float, panels: int) -> RenderableType:
    """Draw one source: a head line, so many models as panels, the rest as a line each."""
    head = Text.assemble(
        ("source ", "dim"),
        (name, "bold"),
        ("  events ", "dim"),
        f"{source.events:,}",
        ("  now ", "dim"),
        f"{rate:,.0f}/s",
        ("  batch ", "dim"),
        f"{source.seq:,}",
    )
    if source.phase:
        head.append(f"  {source.phase}", "italic")
    models = list(source.variants.items())
    return Group(
        head,
        Columns([variant_panel(model, variant) for model, variant in models[:panels]]),
        *(Text(variant_line(model, variant)) for model, variant in models[panels:]),
    )


def state_view(state: State, rates: Rates, size: ConsoleDimensions) -> RenderableType:
    """Draw everything that a daemon says of itself, as much of it as fits."""
    if not state.sources:
        return Text("No source has sent anything yet: `pfmemd send TRACE` does.", "dim")
    across = max(1, size.width // PANEL_WIDTH)
    down = max(1, size.height // PANEL_HEIGHT // len(state.sources))
    return Group(
        *(
            source_view(name, source, rates.of(name), across * down)
            for name, source in state.sources.items()
        )
    )


def variant_line(name: str, variant: Variant) -> str:
    """Say in a few words how one model stands, for a log or a pipe."""
    zones = "; ".join(
        f"{zone.zone} free {zone.free:,} (min {zone.min:,}, lowest {zone.lowest_free:,})"
        for zone in variant.zones
    )
    active = "active" if variant.pfmemalloc_active else "inactive"
    return (
        f"{name}: {zones}; pfmemalloc {active}; ok {variant.ok:,} denied {variant.denied:,}"
        f" stalled {variant.stalled:,}"
    )


def state_lines(state: State, rates: Rates) -> list[str]:
    """Say how every model of every source stands, one line each."""
    return [
        f"{name} {source.events:,} events {rates.of(name):,.0f}/s | {variant_line(model, variant)}"
        for name, source in state.sources.items()
        for model, variant in source.variants.items()
    ]
