"""What leaves panels.py is what Grafana itself would write today."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from dashboards.panels import (
    COUNT,
    PAGES,
    RATIO,
    SCHEMA_VERSION,
    Annotation,
    Dashboard,
    Panel,
    Query,
    Row,
    Step,
    Style,
    Variable,
    bars,
    heatmap,
    panel_id,
    runbook_path,
    stat,
    state_timeline,
    table,
    text,
    timeseries,
    to_json,
    wide_table,
)

QUERIES = [Query("up", "{{job}}"), Query("sum(up)")]


def lines(title: str = "Lines", *, width: int = 12, height: int = 8) -> Panel:
    """A graph of two queries."""
    return timeseries(title, "What it shows.", PAGES, QUERIES, width=width, height=height)


def written(*rows: Row, variables: tuple[Variable, ...] = ()) -> dict[str, Any]:
    """A dashboard of ``rows``, written and read back."""
    dashboard = Dashboard("uid", "Title", "What for.", rows, variables)
    document: dict[str, Any] = json.loads(to_json(dashboard))
    return document


def field_defaults(panel: Panel) -> dict[str, Any]:
    """The panel's fieldConfig defaults."""
    config: Any = panel.json["fieldConfig"]
    defaults: dict[str, Any] = config["defaults"]
    return defaults


def test_targets_have_letters_and_full_resolution() -> None:
    """Targets are told apart by refId, and neither they nor the panel thin the data out."""
    panel = lines()
    targets: Any = panel.json["targets"]

    assert ["A", "B"] == [target["refId"] for target in targets]
    assert [1, 1] == [target["intervalFactor"] for target in targets]
    assert ["{{job}}", "__auto"] == [target["legendFormat"] for target in targets]
    assert "maxDataPoints" not in panel.json


def test_data_source_is_the_dashboards_variable() -> None:
    """Panels and targets name the data source by type and variable, never by a name."""
    panel = lines()
    targets: Any = panel.json["targets"]
    expected = {"type": "prometheus", "uid": "${datasource}"}

    assert expected == panel.json["datasource"]
    assert [expected, expected] == [target["datasource"] for target in targets]


def test_first_threshold_step_is_null() -> None:
    """The step from the bottom has a JSON null, which Grafana asks for, not the text "null"."""
    panel = stat(
        "Left", "What is left.", RATIO, Query("x"), steps=[Step(None, "red"), Step(0.5, "green")]
    )

    assert {
        "mode": "absolute",
        "steps": [{"color": "red", "value": None}, {"color": "green", "value": 0.5}],
    } == field_defaults(panel)["thresholds"]


def test_stat_shows_the_newest_value() -> None:
    """A single number is the newest one, not the mean of the range, and says when there is none."""
    panel = stat("Left", "What is left.", RATIO, Query("x"))
    options: Any = panel.json["options"]

    assert ["lastNotNull"] == options["reduceOptions"]["calcs"]
    assert "no data" == field_defaults(panel)["noValue"]


def test_ceiling_may_be_a_fraction() -> None:
    """A graph's upper end takes any number, though grafanalib's takes whole ones."""
    assert 0.5 == field_defaults(timeseries("Lines", "What.", RATIO, QUERIES, ceiling=0.5))["max"]


def test_style_without_colour_keeps_the_palette() -> None:
    """A style sets a fixed colour only when it names one."""
    panel = timeseries(
        "Lines",
        "What.",
        PAGES,
        QUERIES,
        styles=[Style("^min", "red", dashed=True), Style("^free", width=2)],
    )
    config: Any = panel.json["fieldConfig"]

    set_by_style = [
        [(field["id"], field["value"]) for field in override["properties"]]
        for override in config["overrides"]
    ]
    assert ("color", {"mode": "fixed", "fixedColor": "red"}) in set_by_style[0]
    assert "color" not in [name for name, _ in set_by_style[1]]


def test_states_are_mapped_to_words() -> None:
    """A state timeline shows words and colours for the numbers of a state."""
    panel = state_timeline(
        "Flag", "Whether set.", COUNT, [Query("x")], mapping={0: ("off", "green"), 1: ("on", "red")}
    )

    assert [
        {
            "type": "value",
            "options": {
                "0": {"text": "off", "color": "green", "index": 0},
                "1": {"text": "on", "color": "red", "index": 1},
            },
        }
    ] == field_defaults(panel)["mappings"]
    assert field_defaults(panel)["unit"] == COUNT


def test_table_asks_for_one_moment() -> None:
    """A table's target is instant and in table form, its value column named and without time."""
    panel = table("Who", "Who did it.", COUNT, Query("x"), columns=["caller"], value="times")
    targets: Any = panel.json["targets"]
    transformations: Any = panel.json["transformations"]

    assert (
        "table",
        True,
        False,
    ) == (targets[0]["format"], targets[0]["instant"], targets[0]["range"])
    assert {"Value": "times"} == transformations[0]["options"]["renameByName"]
    assert {"Time": True} == transformations[0]["options"]["excludeByName"]


def test_too_many_queries_are_refused() -> None:
    """A panel has one letter for each query, and so at most 26 of them."""
    with pytest.raises(ValueError, match="panel 'Many' has 27 queries, expected at most 26"):
        timeseries("Many", "Too many.", COUNT, [Query("up")] * 27)


def test_panels_wrap_at_24_columns() -> None:
    """Panels stand side by side until the line is full, and the next row starts below them."""
    row = Row("One", (lines("a", width=12), lines("b", width=8, height=9), lines("c", width=8)))
    panels = written(row, Row("Two", (text("d", "Words.", "words"),)))["panels"]

    assert {
        "One": {"h": 1, "w": 24, "x": 0, "y": 0},
        "a": {"h": 8, "w": 12, "x": 0, "y": 1},
        "b": {"h": 9, "w": 8, "x": 12, "y": 1},
        "c": {"h": 8, "w": 8, "x": 0, "y": 10},
        "Two": {"h": 1, "w": 24, "x": 0, "y": 18},
        "d": {"h": 4, "w": 24, "x": 0, "y": 19},
    } == {panel["title"]: panel["gridPos"] for panel in panels}


def test_collapsed_row_holds_its_panels() -> None:
    """Grafana wants the panels of a collapsed row inside it, those of an open row after it."""
    panels = written(Row("Shut", (lines("a"),), collapsed=True), Row("Open", (lines("b"),)))[
        "panels"
    ]

    assert ["Shut", "Open", "b"] == [panel["title"] for panel in panels]
    assert [
        ["a"],
        [],
        [],
    ] == [[inner["title"] for inner in panel.get("panels", [])] for panel in panels]


def test_panel_id_depends_on_its_titles_alone() -> None:
    """A link to a panel survives panels being added before it."""
    alone = written(Row("Row", (lines("a"),)))["panels"][1]["id"]
    behind = written(Row("Row", (lines("new"), lines("a"))))["panels"][2]["id"]

    assert alone == behind == panel_id("Row", "a")


def test_equal_titles_in_one_row_are_refused() -> None:
    """Two panels that a link could not tell apart do not make a dashboard."""
    with pytest.raises(ValueError, match="have one id"):
        written(Row("Row", (lines("a"), lines("a"))))


def test_runbook_link_names_no_host() -> None:
    """A panel's link to a runbook works in whatever Grafana shows the panel."""
    panel = timeseries("Lines", "What.", PAGES, QUERIES, runbook="SomeAlert")

    (link,) = cast("list[dict[str, object]]", panel.json["links"])

    assert ("Runbook: SomeAlert", runbook_path("SomeAlert")) == (link["title"], link["url"])
    assert runbook_path("SomeAlert").startswith("/d/pfmemd-runbooks?")


def test_variables_start_with_all() -> None:
    """A variable of several values starts with all of them, as one short expression."""
    one = Variable("source", "Source", "label_values(up, job)", multi=False)
    many = Variable("zone", "Zone", 'label_values(up{job=~"$source"}, zone)')
    found = written(variables=(one, many))["templating"]["list"]

    assert ["datasource", "source", "zone"] == [variable["name"] for variable in found]
    assert "allValue" not in found[1]
    assert (".+", ["$__all"]) == (found[2]["allValue"], found[2]["current"]["value"])
    assert found[2]["query"]["query"] == many.query


def test_schema_version_is_todays() -> None:
    """The dashboard says which schema it is written in, so that no migration rewrites it."""
    assert written()["schemaVersion"] == SCHEMA_VERSION


def test_text_shows_markdown() -> None:
    """A panel of words carries them as Markdown and asks Prometheus nothing."""
    panel = text("Words", "Some words.", "# Title")

    assert {"content": "# Title", "mode": "markdown"} == panel.json["options"]
    assert "targets" not in panel.json


def test_bars_are_full_at_their_ceiling() -> None:
    """Bars of shares end at the whole, not at the longest of them, and keep their thresholds."""
    panel = bars("Left", "What.", RATIO, Query("x"), ceiling=1, steps=[Step(None, "red")])
    defaults = field_defaults(panel)

    assert (0, 1) == (defaults["min"], defaults["max"])
    assert "thresholds" == defaults["color"]["mode"]
    assert "max" not in field_defaults(bars("Left", "What.", COUNT, Query("x")))


def test_heatmap_asks_for_buckets() -> None:
    """A heatmap's target gives Prometheus' buckets as such; nothing is calculated from them."""
    panel = heatmap("Depth", "What.", RATIO, Query("x", "{{le}}"))
    targets: Any = panel.json["targets"]
    options: Any = panel.json["options"]

    assert [("heatmap", True)] == [(target["format"], target["range"]) for target in targets]
    assert options["calculate"] is False


def test_wide_table_has_a_column_for_each_query() -> None:
    """Queries are merged by their labels, named by headings, and each has its own unit."""
    panel = wide_table(
        "Totals", "What.", ["variant"], [("free", PAGES, "a"), ("left", RATIO, "b")], sort_by="free"
    )
    merge, organize = cast("list[dict[str, Any]]", panel.json["transformations"])
    config: Any = panel.json["fieldConfig"]

    assert "merge" == merge["id"]
    assert {"Value #A": "free", "Value #B": "left"} == organize["options"]["renameByName"]
    assert {"free": PAGES, "left": RATIO} == {
        override["matcher"]["options"]: override["properties"][0]["value"]
        for override in config["overrides"]
    }
    sorted_by: Any = panel.json["options"]
    assert [{"displayName": "free", "desc": True}] == sorted_by["sortBy"]


def test_annotations_are_what_prometheus_reads() -> None:
    """An annotation asks the dashboard's data source and says what it is by labels."""
    annotation = Annotation("Phases", "phase == 1", "purple", "{{phase}}", "of {{source}}")
    dashboard = Dashboard("uid", "Title", "What for.", (), annotations=(annotation,))
    (found,) = json.loads(to_json(dashboard))["annotations"]["list"]

    assert {"type": "prometheus", "uid": "${datasource}"} == found["datasource"]
    assert ("phase == 1", "{{phase}}") == (found["target"]["expr"], found["titleFormat"])
    assert found["enable"] is True


def test_time_on_a_logarithmic_axis_has_no_zero() -> None:
    """An axis that starts at 0 has no logarithm."""
    assert "min" not in field_defaults(timeseries("T", "What.", RATIO, QUERIES, logarithmic=True))
    assert 0 == field_defaults(timeseries("T", "What.", RATIO, QUERIES))["min"]
