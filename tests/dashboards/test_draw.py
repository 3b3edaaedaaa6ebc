"""Dashboards are drawn without Grafana, from what a Prometheus answers."""

from __future__ import annotations

import json
import math
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from dashboards import draw
from dashboards.drawn_panels import Series, cells_of, with_gaps
from dashboards.drawn_style import number, threshold_color
from dashboards.panels import BYTES, COUNT, PAGES, RATIO, SECONDS, Query, table, wide_table

START = 1_700_000_000.0


@pytest.fixture
def prometheus() -> Any:  # noqa: ANN401 - yields its URL
    """Answers every query with two series, and remembers the queries."""
    asked: list[tuple[str, dict[str, list[str]]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            asked.append((parts.path.rpartition("/")[2], query))
            body = json.dumps({"status": "success", "data": answer(parts.path, query)}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def answer(path: str, query: dict[str, list[str]]) -> Any:  # noqa: ANN401 - JSON
    """Data of two series that have every label, as a range or at one time."""
    if path.endswith("/values"):
        return ["DMA", "DMA32"]
    series = [
        {"source": "a", "variant": variant, "node": "0", "zone": "DMA", "cache": "dentry"}
        | {"le": "0.5", "caller": "plain", "instance": "h", "slab": "dentry", "phase": "p"}
        for variant in ("slab-seed", "slub-seed")
    ]
    if "start" not in query:
        return {"result": [{"metric": labels, "value": [START, "3"]} for labels in series]}
    start = float(query["start"][0])
    values = [[start + at, str(at % 3)] for at in range(5)]
    return {"result": [{"metric": labels, "values": values} for labels in series]}


@pytest.mark.parametrize(("name", "row"), [("ingest", "Flow"), ("slab-slub", "Caches")])
def test_picture_is_drawn(prometheus: Any, tmp_path: Path, name: str, row: str) -> None:  # noqa: ANN401
    """Every kind of panel is drawn; each of the dashboard's queries is asked, filled in."""
    image = pytest.importorskip("PIL.Image", reason="no matplotlib (pip install pfmemd[pictures])")
    url, asked = prometheus
    output = tmp_path / "board.png"

    result = CliRunner().invoke(
        draw.main, [name, "-o", str(output), "--prometheus", url, "--row", "Now", "--row", row]
    )

    assert 0 == result.exit_code, result.output
    with image.open(output) as picture:
        assert "PNG" == picture.format
        assert picture.width > 1000
        assert len(picture.getcolors()) > 10
    queries = [query["query"][0] for _, query in asked if "query" in query]
    assert len(queries) > 10
    assert not [text for text in queries if "$" in text]


def test_rows_and_values_are_chosen(prometheus: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """--row leaves the others out, --var narrows what is asked for."""
    pytest.importorskip("matplotlib", reason="no matplotlib (pip install pfmemd[pictures])")
    url, asked = prometheus
    arguments = ["reserve", "-o", str(tmp_path / "x.png"), "--prometheus", url]

    result = CliRunner().invoke(
        draw.main, [*arguments, "--row", "Now", "--var", "source=nbd", "--var", "zone=DMA32"]
    )

    assert 0 == result.exit_code, result.output
    panels = [query["query"][0] for _, query in asked if "query" in query]
    assert len(panels) < 15
    assert any('source=~"nbd"' in text for text in panels)


def test_no_prometheus_is_one_line(tmp_path: Path) -> None:
    """Where nothing answers, the message says who was asked what."""
    pytest.importorskip("matplotlib", reason="no matplotlib (pip install pfmemd[pictures])")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

    result = CliRunner().invoke(
        draw.main, ["reserve", "-o", str(tmp_path / "x.png"), "--prometheus", url]
    )

    assert 1 == result.exit_code
    assert f"{url} does not answer" in result.output
    assert 1 == len(result.output.splitlines())


def test_wrong_variable_is_refused(tmp_path: Path) -> None:
    """A variable without a value is wrong use."""
    result = CliRunner().invoke(
        draw.main, ["reserve", "-o", str(tmp_path / "x.png"), "--var", "source"]
    )

    assert 2 == result.exit_code
    assert "'source' is not NAME=VALUE" in result.output


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.125, RATIO, "12.5 %"),
        (0.00042, SECONDS, "420 µs"),
        (7.1, SECONDS, "7.1 s"),
        (2890.0, SECONDS, "48.2 min"),
        (64_100.0, PAGES, "64.1 kpages"),
        (483.0, PAGES, "483 pages"),
        (2_500_000.0, BYTES, "2.5 MB"),
        (math.nan, COUNT, "-"),
    ],
)
def test_numbers_have_their_unit(value: float, unit: str, expected: str) -> None:
    """Numbers are short and say what they count."""
    assert expected == number(value, unit)


def test_missing_points_are_a_gap() -> None:
    """Where a series was not there, no line says that it was."""
    times, shown = with_gaps([(0.0, 1.0), (1.0, 2.0), (5.0, 3.0)])

    assert [0.0, 1.0, 2.0, 5.0] == times
    assert [1.0, 2.0, 3.0] == [value for value in shown if not math.isnan(value)]


def test_thresholds_colour_values() -> None:
    """A value has the colour of the highest step that it reaches."""
    steps = [{"value": None, "color": "red"}, {"value": 0.5, "color": "green"}]
    defaults = {"thresholds": {"steps": steps}}

    assert threshold_color(0.4, defaults) != threshold_color(0.5, defaults)


def one(value: float, **labels: str) -> Series:
    """A series of one value."""
    return Series("", labels, [(START, value)])


def test_table_has_its_columns_in_order() -> None:
    """Labels come as the panel orders them, and lines by the column that it sorts by."""
    panel = table("T", "What.", COUNT, Query("x"), columns=["variant", "caller"], value="n")
    small, large = one(1, variant="b", caller="x"), one(9, variant="c", caller="y")

    head, lines, numbers = cells_of(panel.json, [[small, large]])

    assert (["variant", "caller", "n"], 1) == (head, numbers)
    assert [["c", "y", "9"], ["b", "x", "1"]] == lines


def test_wide_table_merges_its_queries() -> None:
    """What has the same key is one line; a query without it leaves the cell empty."""
    columns = [("free", PAGES, "a"), ("left", RATIO, "b")]
    panel = wide_table("T", "What.", ["zone"], columns, sort_by="zone")

    free = [one(5, zone="A"), one(6, zone="B")]

    head, lines, _ = cells_of(panel.json, [free, [one(1, zone="B")]])

    assert ["zone", "free", "left"] == head
    assert [["A", "5 pages", "-"], ["B", "6 pages", "100 %"]] == lines
