"""Draw a dashboard as a picture, without Grafana: ``python -m dashboards.draw NAME -o FILE``.

For documents, and for reports where no Grafana is at hand. The queries are the
dashboard's own, asked of a Prometheus; the picture has Grafana's layout, thresholds,
colours and units, as near as matplotlib comes (the extra ``pictures`` installs it).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from dashboards.build import DASHBOARDS
from dashboards.drawing import Canvas
from dashboards.drawn_panels import Series
from dashboards.panels import to_json
from dashboards.prometheus_api import NoAnswerError, Prometheus

STEPS: Final = 240
"""So many points a graph has; the picture is not much wider."""


class Board:
    """A dashboard's JSON with its variables filled, and the answers to its queries."""

    def __init__(
        self,
        document: dict[str, Any],
        prometheus: Prometheus,
        chosen: dict[str, str],
        span: tuple[float, float],
    ) -> None:
        """``chosen`` are values of variables; of the others every value is taken."""
        self.document = document
        self._prometheus = prometheus
        self._chosen = chosen
        self._start, self._end = span
        self._step = max(1.0, (self._end - self._start) / STEPS)

    def filled(self, text: str, step: float) -> str:
        """An expression or a title as Grafana would send or show it."""
        for variable in self.document["templating"]["list"]:
            name = variable["name"]
            text = text.replace(f"${name}", self._chosen.get(name, ".+"))
        spans = {"$__rate_interval": max(4.0, 4 * step), "$__range": self._end - self._start}
        for name, seconds in spans.items():
            text = text.replace(name, f"{seconds:.0f}s")
        return text

    def series(self, target: dict[str, Any]) -> list[Series]:
        """What a target gives over the time shown, or now if it asks for no more."""
        interval = target.get("interval") or "1s"
        step = max(self._step, float(interval.removesuffix("s")))
        expr = self.filled(target["expr"], float(interval.removesuffix("s")))
        answer = (
            self._prometheus.instant(expr, self._end)
            if target.get("instant")
            else self._prometheus.range(expr, self._start, self._end, step)
        )
        legend = target.get("legendFormat", "")
        return [Series(labelled(legend, labels), labels, points) for labels, points in answer]

    def copies(self, panel: dict[str, Any]) -> list[Board]:
        """This board once for each value of the variable that the panel is repeated for."""
        name = panel.get("repeat")
        if not name or name in self._chosen:
            return [self]
        found = self._prometheus.label_values(name, self._start, self._end)
        return [
            Board(self.document, self._prometheus, {**self._chosen, name: value}, self.span)
            for value in found
        ] or [self]

    @property
    def span(self) -> tuple[float, float]:
        """From when to when, in Unix time."""
        return self._start, self._end


def labelled(legend: str, labels: dict[str, str]) -> str:
    """A series' name in the legend."""
    if legend in {"", "__auto"}:
        return ", ".join(f"{name}={value}" for name, value in labels.items() if name != "__name__")
    for name, value in labels.items():
        legend = legend.replace(f"{{{{{name}}}}}", value)
    return legend


def draw(board: Board, path: Path, rows: tuple[str, ...] = ()) -> None:
    """Write the picture of the board, or of these rows of it."""
    document = board.document
    shown, wanted = [], not rows
    for panel in document["panels"]:
        if panel["type"] == "row":
            wanted = not rows or panel["title"] in rows
        if wanted and panel["type"] != "text":
            shown.append(panel)
    canvas = Canvas(document["title"], board.span)
    for annotation in document["annotations"]["list"]:
        if annotation["enable"]:
            target = {**annotation["target"], "legendFormat": annotation["titleFormat"]}
            canvas.annotate(annotation["iconColor"], board.series(target))
    for panel in shown:
        if panel["type"] == "row":
            canvas.row(panel["title"])
            continue
        copies = board.copies(panel)
        for copy in copies:
            width = panel["gridPos"]["w"] // min(2, len(copies))
            answers = [copy.series(target) for target in panel["targets"]]
            title = copy.filled(panel["title"], 1)
            canvas.panel(panel, title, answers, width)
    canvas.save(path)


@click.command()
@click.argument("name", type=click.Choice([name.removesuffix(".json") for name in DASHBOARDS]))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="PNG file.")
@click.option(
    "--prometheus", default="http://127.0.0.1:9090", show_default=True, help="Whom to ask."
)
@click.option("--minutes", default=15.0, show_default=True, help="How far back to look.")
@click.option("--row", "rows", multiple=True, help="Only this row; may be given several times.")
@click.option(
    "--var",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable's value (a regular expression); else all of them.",
)
def main(
    name: str,
    output: Path,
    prometheus: str,
    minutes: float,
    rows: tuple[str, ...],
    variables: tuple[str, ...],
) -> None:
    """Draw a dashboard as a picture, asking a Prometheus its queries."""
    chosen = dict(_pair(text) for text in variables)
    make: Callable[[], Any] = DASHBOARDS[f"{name}.json"]
    now = time.time()
    board = Board(
        json.loads(to_json(make())), Prometheus(prometheus), chosen, (now - 60 * minutes, now)
    )
    try:
        draw(board, output, rows)
    except NoAnswerError as error:
        raise click.ClickException(str(error)) from None
    click.echo(output)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--var")
    return name, value


if __name__ == "__main__":
    main()
