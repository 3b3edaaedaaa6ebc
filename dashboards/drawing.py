"""A picture in Grafana's layout: rows and panels on a grid of 24 columns, drawn by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dashboards.drawn_panels import DRAWERS, Answers, Frame, Mark, Series
from dashboards.drawn_style import BACKGROUND, COLORS, TEXT
from dashboards.panels import GRID_COLUMNS

if TYPE_CHECKING:  # an extra: who does not draw does not need it
    from matplotlib.figure import Figure

COLUMN_INCHES: Final = 0.62
LINE_INCHES: Final = 0.34
DPI: Final = 72
GAP_INCHES: Final = 0.03
PNG_COLORS: Final = 96


class Canvas:
    """Takes panels in order, lays them out as Grafana does, and writes the picture."""

    def __init__(self, title: str, span: tuple[float, float]) -> None:
        """``span`` is the time shown, from and to, in Unix time."""
        self._title = title
        self._span = span
        self._placed: list[tuple[dict[str, Any], str, Answers, int, int, int]] = []
        self._rows: list[tuple[int, str]] = []
        self._marks: list[Mark] = []
        self._left = self._top = self._line = 0

    def annotate(self, color: str, series: list[Series]) -> None:
        """Mark where these series rise above 0, on every graph over time."""
        self._marks += [Mark(COLORS.get(color, color), one.points) for one in series]

    def row(self, title: str) -> None:
        """Begin a row."""
        self._wrap()
        self._rows.append((self._top, title))
        self._top += 1

    def panel(self, panel: dict[str, Any], title: str, answers: Answers, width: int) -> None:
        """Put a panel beside the last one, or below if there is no room."""
        if self._left + width > GRID_COLUMNS:
            self._wrap()
        self._placed.append((panel, title, answers, self._left, self._top, width))
        self._left += width
        self._line = max(self._line, panel["gridPos"]["h"])

    def save(self, path: Path) -> None:
        """Write the picture as PNG."""
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import

        self._wrap()
        lines = self._top + 1
        size = (GRID_COLUMNS * COLUMN_INCHES, lines * LINE_INCHES)
        figure = Figure(figsize=size, facecolor=BACKGROUND, dpi=DPI)
        figure.text(0.008, 1 - 0.62 / lines, self._title, color=TEXT, fontsize=13, va="center")
        for top, title in self._rows:
            place = 1 - (top + 1.6) / lines
            figure.text(0.008, place, title, color=TEXT, fontsize=10.5, weight="bold", va="center")
        for panel, title, answers, left, top, width in self._placed:
            height = panel["gridPos"]["h"]
            frame = self._frame(figure, left, lines - top - 1 - height, width, height)
            frame.title(title)
            DRAWERS[panel["type"]](frame, panel, answers)
        figure.savefig(path, facecolor=BACKGROUND, dpi=DPI)
        _fewer_colors(path)

    def _wrap(self) -> None:
        self._top += self._line
        self._left = self._line = 0

    def _frame(self, figure: Figure, left: int, bottom: int, width: int, height: int) -> Frame:
        """A panel's frame; its place counts in columns and lines, from below on the left."""
        return Frame(
            figure,
            left * COLUMN_INCHES + GAP_INCHES,
            bottom * LINE_INCHES + GAP_INCHES,
            width * COLUMN_INCHES - 2 * GAP_INCHES,
            height * LINE_INCHES - 2 * GAP_INCHES,
            self._span,
            self._marks,
        )


def _fewer_colors(path: Path) -> None:
    """A third of the size, and nobody sees it."""
    from PIL import Image  # noqa: PLC0415 - comes with matplotlib

    with Image.open(path) as image:
        few = image.convert("RGB").quantize(colors=PNG_COLORS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
