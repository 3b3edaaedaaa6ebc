"""The report, the JUnit file and the numbers say the same."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from daemon.soak.conditions import parse_conditions
from daemon.soak.junit import junit_xml
from daemon.soak.report import html_report, times
from daemon.soak.result import (
    BaselineError,
    Breach,
    ModelResult,
    Moment,
    Sample,
    SoakResult,
    read_result,
)
from daemon.soak.span import span_text

CONDITIONS = parse_conditions("denied>5,leak,slub-seed:hang")


def result(denied: int = 10, *, allocations: int = 1000, plays: int = 1) -> SoakResult:
    """A soak of one model that denied so many."""
    model = ModelResult(
        source="a",
        variant="slab-seed",
        plays=plays,
        allocations=allocations,
        ok=allocations - denied,
        denied=denied,
        lowest_left=0.25,
        lowest_free=120,
        lowest_min=480,
        lowest_zone="zone DMA32 of node 0",
    )
    return SoakResult(
        version="1.2.3",
        compiled=True,
        started="2026-11-24T10:00:00+00:00",
        seconds=75.0,
        traces=["<night>.pfmt"],
        speed="max",
        conditions=[condition.text for condition in CONDITIONS],
        plays=plays,
        events=150_000,
        interrupted=False,
        models=[model],
        breaches=[Breach(condition="denied>5", source="a", variant="slab-seed", what="10")],
        timeline=[
            Sample(seconds=1, events=1, left={"slab-seed": 1.0}, denied={}, phase="calm & <quiet>"),
            Sample(seconds=75, events=2, left={"slab-seed": 0.25}, denied={}),
        ],
        moments=[
            Moment(
                variant="slab-seed",
                source="a",
                epoch=1,
                event=77,
                what="the first denial",
                told="zone_watermark_ok 5 < 7",
                command="pfmemd explain x --event 77",
            )
        ],
    )


class Page(HTMLParser):
    """Text of a page, and what it asks of the world."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.asks: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember open tags and whatever would be fetched."""
        if tag not in {"meta", "line", "polyline", "br"}:
            self.open.append(tag)
        self.asks += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        """Every tag ends where it should."""
        if tag not in {"line", "polyline"}:
            assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Collect the words."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """All words, one blank between any two."""
        return " ".join(" ".join(self.words).split())


def page(now: SoakResult, last: SoakResult | None = None) -> Page:
    """The report, read."""
    return Page(html_report(now, CONDITIONS, last, "Nothing happened."))


def test_report_says_what_was_asked_and_what_came_of_it() -> None:
    """Verdict, thresholds, numbers and the event that explains them are on the page."""
    text = page(result()).text

    assert "Soak test of the PFMEMALLOC reserve failed" in text
    assert "condition slab-seed denied>5 10 leak kept slub-seed:hang not asked" in text
    assert "1 play · 150,000 events in 1 min 15 s (2,000/s)" in text
    assert "least left of the reserve 25.0 % (120 of 480)" in text
    assert "slab-seed , event 77: the first denial zone_watermark_ok 5 < 7" in text


def test_report_needs_nothing_else_and_is_whole() -> None:
    """No script, no picture, no font from anywhere; tags are balanced, names are escaped."""
    read = page(result())

    assert [] == read.asks
    assert [] == read.open
    assert "calm & <quiet>" in read.text
    assert "<night>.pfmt" in read.text


def test_line_goes_through_the_samples() -> None:
    """The chart's line is at the top with all of the reserve left, three quarters down at 25 %."""
    html = html_report(result(), CONDITIONS, None, "")
    found = re.search(r'points="([^"]+)"', html)

    assert found is not None
    assert ["62.5,15.0", "990.0,210.0"] == found[1].split()


def test_crossed_thresholds_come_first() -> None:
    """The reader sees what went wrong before what did not."""
    html = html_report(result(), parse_conditions("leak,denied>5"), None, "")

    assert html.index("<code>denied&gt;5") < html.index("<code>leak")


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (2.0, [0, 0.5, 1.0, 1.5, 2.0]),
        (21.4, [0, 5, 10, 15, 20]),
        (29_100, [0, 7200, 14_400, 21_600, 28_800]),
        (20 * 86_400, [0, 259_200, 518_400, 777_600, 1_036_800, 1_296_000, 1_555_200]),
    ],
)
def test_time_axis_has_round_marks(end: float, expected: list[float]) -> None:
    """From a blink to weeks: a few marks at round times."""
    assert expected == times(end)


def test_report_without_moments_or_samples() -> None:
    """Where there is nothing to show, it says so."""
    empty = result().model_copy(update={"timeline": [], "moments": []})
    text = page(empty).text

    assert "The daemon was not looked at while anything happened." in text
    assert "Nothing happened." in text


@pytest.mark.parametrize(
    ("now", "last", "expected"),
    [
        (result(12), result(10), "denied 12 +2 (+20 %)"),
        (result(8), result(10), "denied 8 -2 (-20 %)"),
        (result(10), result(10), "denied 10 as before"),
        (result(20, allocations=2000, plays=2), result(10), "denied 20 as before"),
        (result(30, allocations=2000, plays=2), result(10), "denied 30 +50 % an allocation"),
        (result(3), result(0), "denied 3 +3"),
    ],
)
def test_change_since_the_last_run(now: SoakResult, last: SoakResult, expected: str) -> None:
    """Runs of one length are compared by numbers, others by numbers for each allocation."""
    assert expected in page(now, last).text


def test_junit_has_a_case_for_each_condition_and_model() -> None:
    """Crossed thresholds are failures with the words of the report; others are passed."""
    suite = ET.fromstring(junit_xml(result(), CONDITIONS))  # noqa: S314 - our own
    cases = {case.get("name"): case.find("failure") for case in suite.iter("testcase")}

    assert ("2", "1") == (suite.get("tests"), suite.get("failures"))
    assert {"denied>5", "leak"} == set(cases)
    assert cases["leak"] is None
    failure = cases["denied>5"]
    assert failure is not None
    assert "slab-seed of a: denied>5: 10" == failure.text


def test_result_is_read_again(tmp_path: Path) -> None:
    """What was written is what the next run compares with."""
    path = tmp_path / "result.json"
    path.write_text(result().model_dump_json(), "utf-8")

    assert result() == read_result(path)


def test_bad_baseline_is_one_line(tmp_path: Path) -> None:
    """A file that is no result is refused with the place of the fault."""
    path = tmp_path / "x.json"
    path.write_text('{"version": 1}', "utf-8")

    with pytest.raises(BaselineError, match=r"x\.json is no result of a soak: version: "):
        read_result(path)
    with pytest.raises(BaselineError, match=r"cannot read .*none\.json"):
        read_result(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.42, "0.4 s"),
        (45.2, "45 s"),
        (59.9, "1 min"),
        (320, "5 min 20 s"),
        (29_100, "8 h 5 min"),
        (7200, "2 h"),
    ],
)
def test_spans_are_short(seconds: float, expected: str) -> None:
    """Times are as exact as they need be."""
    assert expected == span_text(seconds)
