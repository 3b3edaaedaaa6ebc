"""What is shown of a reading, in cells and colours: for the screen and for plain text."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from daemon.findings import EXHAUSTED, THROTTLED
from daemon.top.rows import CACHE_COLUMNS, CacheRow, Trouble, VariantRow

MOST_TROUBLES: Final = 7
VARIANT_COLUMNS: Final = (
    *("model", "left", "least", "granted/s", "denied", "denied/s", "entitled", "stalled"),
    *("leaked", "flagged", "active"),
)


def variant_cells(row: VariantRow, mark: str = "") -> list[Text]:
    """One model, a cell for each of VARIANT_COLUMNS; ``mark`` stands before its name."""
    return [
        Text(mark + row.name, "bold"),
        _share(row.left),
        _share(row.lowest_left),
        _right(f"{row.ok_rate:,.0f}"),
        _right(f"{row.denied:,}"),
        _right(f"{row.denied_rate:,.0f}", "red" if row.denied_rate else ""),
        _right(f"{row.entitled_denied:,}", "red" if row.entitled_denied else ""),
        _right(f"{row.stalled:,}"),
        _right(f"{row.leaked:,}", "dark_orange" if row.leaked else ""),
        _right(f"{row.flagged:,}"),
        _right("on", "dark_orange") if row.active else _right("off", "dim"),
    ]


def cache_cells(row: CacheRow) -> list[Text]:
    """One cache, a cell for each of CACHE_COLUMNS."""
    cells = [Text(row.name)]
    for column in CACHE_COLUMNS[1:]:
        hot = column.title in {"denied", "flagged", "kept"} and column.key(row)
        cells.append(_right(column.cell(row), "dark_orange" if hot else ""))
    return cells


def _right(text: str, style: str = "") -> Text:
    return Text(text, style, justify="right")


def _share(left: float) -> Text:
    color = "red" if left < EXHAUSTED else "dark_orange" if left < THROTTLED else "green"
    return _right(f"{left:.0%}", color)


def troubles_text(found: list[Trouble], firing: list[str]) -> Text:
    """What is wrong, a line each: alerts that fire first."""
    lines = [Text.assemble(("alert ", "bold red"), line) for line in firing]
    lines += [
        Text.assemble(("● ", "bold red" if trouble.critical else "dark_orange"), trouble.text)
        for trouble in found
    ]
    if not lines:
        lines = [Text.assemble(("● ", "green"), "nothing is wrong")]
    return Text("\n").join(lines[:MOST_TROUBLES])
