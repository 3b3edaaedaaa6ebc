"""The committed dashboards are what the code makes, and keep the house's rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from daemon import metric_table
from dashboards import build, other_metrics, runbook_board
from dashboards.panels import GRID_COLUMNS, RUNBOOKS_UID, panel_id, to_json

MODERN_PANELS = {
    "bargauge",
    "heatmap",
    "row",
    "stat",
    "state-timeline",
    "table",
    "text",
    "timeseries",
}
VARIABLE = re.compile(r"\$\{?(\w+)")


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those inside collapsed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def test_committed_json_is_current() -> None:
    """What Grafana is given is what the code makes now."""
    assert [] == build.stale()


def test_check_names_what_is_not_current(tmp_path: Path) -> None:
    """--check writes nothing, names the changed, the missing and the left over, and exits 1."""
    build.write(tmp_path)
    (tmp_path / "reserve.json").write_text("{}")
    (tmp_path / "runbooks.json").unlink()
    (tmp_path / "old.json").write_text("{}")

    result = CliRunner().invoke(build.main, ["--check", "--output", str(tmp_path)])

    assert 1 == result.exit_code
    assert [
        f"{tmp_path}/reserve.json is not what the code makes now",
        f"{tmp_path}/runbooks.json is missing",
        f"{tmp_path}/old.json is made by no dashboard",
        "python -m dashboards.build writes them anew",
    ] == result.output.splitlines()
    assert "{}" == (tmp_path / "reserve.json").read_text()


def test_build_writes_all_and_removes_the_rest(tmp_path: Path) -> None:
    """After a build the folder is current: the same again is written and old files are gone."""
    (tmp_path / "old.json").write_text("{}")

    result = CliRunner().invoke(build.main, ["--output", str(tmp_path)])

    assert 0 == result.exit_code
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(build.DASHBOARDS)
    assert 0 == CliRunner().invoke(build.main, ["--check", "--output", str(tmp_path)]).exit_code


def test_panels_are_modern(dashboard: dict[str, Any]) -> None:
    """No panel type that needs Angular or a migration: Grafana 12 and later have neither."""
    assert {panel["type"] for panel in panels(dashboard)} - MODERN_PANELS == set()


def test_panels_explain_themselves(dashboard: dict[str, Any]) -> None:
    """Every panel has a title and a description, and every number has a unit."""
    for panel in panels(dashboard):
        if panel["type"] == "row":
            continue
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        if panel["type"] != "text":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_targets_can_be_told_apart(dashboard: dict[str, Any]) -> None:
    """Each target of a panel has a refId of its own, and asks the dashboard's data source."""
    for panel in panels(dashboard):
        targets = panel.get("targets", [])
        refs = [target["refId"] for target in targets]
        assert len(set(refs)) == len(refs), panel["title"]
        for target in targets:
            assert {"type": "prometheus", "uid": "${datasource}"} == target["datasource"]
            assert target["expr"], panel["title"]


def test_ids_are_unique(dashboard: dict[str, Any]) -> None:
    """Two panels never share an id: links and repeated panels go by it."""
    ids = [panel["id"] for panel in panels(dashboard)]

    assert len(set(ids)) == len(ids)


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    """Every panel lies within the grid and on no other."""
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    for place in places:
        assert place["x"] + place["w"] <= GRID_COLUMNS
    for one, other in combinations(places, 2):
        apart_in_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_in_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_in_x or apart_in_y, (one, other)


def test_variables_are_defined_before_they_are_used(dashboard: dict[str, Any]) -> None:
    """Queries, titles and repeats use the dashboard's variables, filled one after another."""
    known = {"datasource"}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            assert set(VARIABLE.findall(variable["query"]["query"])) - known == set()
        known.add(variable["name"])
    for panel in panels(dashboard):
        texts = [panel["title"], *(target["expr"] for target in panel.get("targets", []))]
        texts += [annotation["target"]["expr"] for annotation in dashboard["annotations"]["list"]]
        used = {name for text in texts for name in VARIABLE.findall(text)}
        used -= {"__rate_interval", "__range"}
        assert used - known == set(), panel["title"]
        assert panel.get("repeat") in {None, *known}


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names, histograms without the ending of their series."""
    names = re.findall(r"\b(?:pfmemd|node|process|scrape)_\w+|\bALERTS\b", expression)
    return {name.removesuffix("_bucket") for name in names}


KNOWN = {*metric_table.BY_NAME, *other_metrics.BY_NAME}


def test_expressions_name_known_metrics(dashboard: dict[str, Any]) -> None:
    """Each query of the JSON names only metrics of the tables."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            names = metrics_of(target["expr"])
            assert names, panel["title"]
            assert names - KNOWN == set(), panel["title"]


def test_every_metric_is_shown() -> None:
    """Each metric is on some dashboard."""
    shown = {
        name
        for make in build.DASHBOARDS.values()
        for panel in panels(json.loads(to_json(make())))
        for target in panel.get("targets", [])
        for name in metrics_of(target["expr"])
    }

    assert set() == set(metric_table.BY_NAME) - shown


def test_annotations_name_known_metrics(dashboard: dict[str, Any]) -> None:
    """Every mark on the graphs comes from a known metric and says what it is."""
    for annotation in dashboard["annotations"]["list"]:
        names = metrics_of(annotation["target"]["expr"])
        assert names, annotation["name"]
        assert names - KNOWN == set(), annotation["name"]
        assert annotation["titleFormat"]


def test_runbook_links_lead_to_a_page(dashboard: dict[str, Any]) -> None:
    """Every link from a panel opens an existing page of the runbook dashboard."""
    pages = {panel_id("Runbooks", path.stem) for path in runbook_board.RUNBOOKS.glob("*.md")}
    for panel in panels(dashboard):
        for link in panel.get("links", []):
            uid, number = re.fullmatch(r"/d/([\w-]+)\?viewPanel=(\d+)", link["url"]).groups()  # type: ignore[union-attr]  # a link of another form fails the test too
            assert (RUNBOOKS_UID, True) == (uid, int(number) in pages), panel["title"]


def test_uids_and_titles_differ() -> None:
    """Grafana keeps one dashboard for each uid, and people one for each title."""
    made = [make() for make in build.DASHBOARDS.values()]

    assert len({dashboard.uid for dashboard in made}) == len(made)
    assert len({dashboard.title for dashboard in made}) == len(made)


@pytest.mark.parametrize("name", [name for name in build.DASHBOARDS if name != "runbooks.json"])
def test_no_line_of_a_dashboard_has_a_gap(name: str) -> None:
    """Panels side by side are as high as one another and fill the width."""
    document = json.loads(to_json(build.DASHBOARDS[name]()))
    lines: dict[int, list[dict[str, int]]] = {}
    for panel in panels(document):
        if panel["type"] != "row":
            lines.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])

    ragged = [
        (y, [place["w"] for place in places], [place["h"] for place in places])
        for y, places in lines.items()
        if sum(place["w"] for place in places) != GRID_COLUMNS
        or len({place["h"] for place in places}) != 1
    ]

    assert [] == ragged
