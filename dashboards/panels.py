"""The only module that knows grafanalib: typed panels with its pitfalls taken out.

grafanalib 0.7.1 is untyped and emits, by default, JSON of Grafana's 2016 schema:
string data sources, targets without a refId, halved resolution, thresholds whose
first step is the text "null". Here each panel is made once, with modern types
only, and leaves as plain JSON with those defaults corrected. Replacing grafanalib
means rewriting this file and no other.

A panel cannot be made without a title, a description and a unit: what a reader of
a dashboard needs is an argument, not an option.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Final, TypeAlias, cast

from grafanalib import core as g

Json: TypeAlias = dict[str, object]

SCHEMA_VERSION: Final = 39
"""Grafana 10.4's schema. grafanalib's own default is 12, which sends a dashboard
through every migration since 2016 and loses thresholds on the way."""

DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
GRID_COLUMNS: Final = 24
RUNBOOKS_UID: Final = "pfmemd-runbooks"
RUNBOOKS_ROW: Final = "Runbooks"

# Units, as Grafana spells them.
PAGES: Final = "suffix: pages"
OBJECTS: Final = "suffix: objects"
SLABS: Final = "suffix: slabs"
COUNT: Final = "short"
PER_SECOND: Final = "suffix: /s"
RATIO: Final = "percentunit"
SECONDS: Final = "s"
BYTES: Final = "bytes"
BYTES_PER_SECOND: Final = "Bps"
STATE: Final = "bool_on_off"

# Colours with one meaning on every dashboard.
GOOD: Final = "green"
WARNING: Final = "orange"
CRITICAL: Final = "red"
CALM: Final = "blue"
NEUTRAL: Final = "text"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and how its series are called in the legend.

    ``step`` ("15s") is how far its points are apart at least, which a target that is scraped
    more seldom than the data source's own interval needs: rates are taken over four steps.
    """

    expr: str
    legend: str = ""
    step: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """From ``value`` upward (None: from the bottom) a threshold paints ``color``."""

    value: float | None
    color: str


@dataclass(frozen=True, slots=True)
class Style:
    """How series whose legend matches ``pattern`` (a regular expression) are drawn.

    ``color`` None leaves each series its own colour of the palette.
    """

    pattern: str
    color: str | None = None
    dashed: bool = False
    width: int = 1
    fill: int = 0


@dataclass(frozen=True, slots=True)
class Panel:
    """A finished panel: its JSON, its place being the dashboard's affair.

    ``width`` is in columns of 24, ``height`` in Grafana's rows of 30 pixels.
    """

    title: str
    width: int
    height: int
    json: Json


@dataclass(frozen=True, slots=True)
class Row:
    """A titled group of panels, laid out left to right and wrapped at 24 columns."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A dashboard variable filled from Prometheus' labels.

    ``query`` is Grafana's ``label_values(selector, label)``. With ``multi`` the
    reader may pick several values or all of them, and starts with all.
    """

    name: str
    label: str
    query: str
    multi: bool = True


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks on every graph where ``expr`` has a value above 0, as long as it has.

    ``title`` and ``text`` may name labels, as a legend does. ``shown`` False leaves it to
    the reader to switch them on at the top of the dashboard.
    """

    name: str
    expr: str
    color: str
    title: str
    text: str
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard before it becomes JSON."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    refresh: str = "5s"
    time_from: str = "now-15m"
    tags: tuple[str, ...] = field(default=("pfmemd",))


def timeseries(
    title: str,
    description: str,
    unit: str,
    queries: list[Query],
    *,
    styles: list[Style] | None = None,
    steps: list[Step] | None = None,
    stacked: bool = False,
    staircase: bool = False,
    logarithmic: bool = False,
    ceiling: float | None = None,
    repeat: str | None = None,
    runbook: str | None = None,
    width: int = 12,
    height: int = 8,
) -> Panel:
    """Lines over time, from zero upward.

    ``steps`` draw threshold lines; ``staircase`` keeps a value until it changes,
    for what the kernel counts rather than measures; ``logarithmic`` is for times that
    differ by orders of magnitude; ``repeat`` makes one panel for each value of that
    variable; ``runbook`` links to the page of that alert.
    """
    scale: Json = {"type": "log", "log": 10} if logarithmic else {"type": "linear"}
    panel = g.TimeSeries(
        **_common(title, description, queries, runbook=runbook),
        unit=unit,
        # Whole numbers only here; a ceiling of 0.5 has to go in by extraJson.
        valueMin=None if logarithmic else 0,
        lineWidth=1,
        fillOpacity=25 if stacked else 5,
        stacking={"mode": "normal", "group": "A"} if stacked else {"mode": "none", "group": "A"},
        lineInterpolation="stepAfter" if staircase else "linear",
        showPoints="never",
        legendDisplayMode="table",
        legendCalcs=["lastNotNull", "min", "max"],
        tooltipMode="multi",
        tooltipSort="desc",
        thresholds=_steps(steps),
        thresholdsStyleMode="dashed" if steps else "off",
        overrides=[_override(style) for style in styles or []],
        repeat=g.Repeat("h", repeat, maxPerRow=2) if repeat else g.Repeat(),
        extraJson=_extra(
            field_config={
                **({} if ceiling is None else {"max": ceiling}),
                "custom": {"scaleDistribution": scale},
            },
            options={"legend": {"showLegend": True}},
        ),
    )
    return _finish(panel, width, height)


def stat(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    steps: list[Step] | None = None,
    mapping: dict[float, tuple[str, str]] | None = None,
    now: bool = False,
    nothing: str = "no data",
    runbook: str | None = None,
    width: int = 4,
    height: int = 5,
) -> Panel:
    """One number a series, the newest, on a background that says how bad it is.

    ``mapping`` replaces numbers by ``(text, colour)``; with ``now`` a series that has no value
    at the moment is left out instead of shown as it last was; ``nothing`` is said where there
    is no series; ``runbook`` as for timeseries.
    """
    panel = g.Stat(
        **_common(title, description, [query], instant=now, runbook=runbook),
        format=unit,
        colorMode="background" if steps or mapping else "value",
        graphMode="area",
        # grafanalib's defaults here are the mean of the range and the text "none".
        reduceCalc="lastNotNull",
        noValue=nothing,
        textMode="value_and_name",
        thresholds=_steps(steps),
        mappings=_mappings(mapping),
        color={"mode": "thresholds"},
        extraJson=_extra(
            options={
                "percentChangeColorMode": "standard",
                "showPercentChange": False,
                "wideLayout": True,
            }
        ),
    )
    return _finish(panel, width, height)


def state_timeline(
    title: str,
    description: str,
    unit: str,
    queries: list[Query],
    *,
    mapping: dict[float, tuple[str, str]],
    width: int = 12,
    height: int = 6,
) -> Panel:
    """Bands over time, one a series, coloured by state: ``mapping`` is state to (text, colour)."""
    panel = g.StateTimeline(
        **_common(title, description, queries),
        showValue="never",
        mergeValues=True,
        mappings=_mappings(mapping),
        thresholds=_steps(None),
        # StateTimeline has no unit argument.
        extraJson=_extra(
            field_config={"unit": unit},
            options={"legend": {"calcs": [], "showLegend": True}, "tooltip": {"sort": "none"}},
        ),
    )
    return _finish(panel, width, height)


def bars(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    steps: list[Step] | None = None,
    ceiling: float | None = None,
    runbook: str | None = None,
    width: int = 8,
    height: int = 8,
) -> Panel:
    """The newest value of each series as a horizontal bar, for comparing many.

    ``ceiling`` is where a bar is full; without it, the longest one is.
    """
    # grafanalib's BarGauge writes the options of Grafana 6.
    panel = _raw(
        "bargauge",
        _common(title, description, [query], runbook=runbook),
        defaults={
            "unit": unit,
            "min": 0,
            **({} if ceiling is None else {"max": ceiling}),
            "color": {"mode": "thresholds" if steps else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": _steps(steps)},
        },
        options={
            "displayMode": "basic",
            "legend": {"calcs": [], "displayMode": "list", "placement": "bottom"}
            | {"showLegend": False},
            "maxVizHeight": 40,
            "minVizHeight": 16,
            "minVizWidth": 8,
            "namePlacement": "auto",
            "orientation": "horizontal",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "showUnfilled": True,
            "sizing": "auto",
            "valueMode": "color",
        },
    )
    return _finish(panel, width, height)


def heatmap(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    runbook: str | None = None,
    width: int = 12,
    height: int = 8,
) -> Panel:
    """How often what was observed, over time: ``query`` gives a histogram's buckets by ``le``."""
    # grafanalib's Heatmap writes the options of Grafana 8.
    panel = _raw(
        "heatmap",
        _common(title, description, [query], runbook=runbook, target_format="heatmap"),
        defaults={"unit": unit, "custom": {"scaleDistribution": {"type": "linear"}}},
        options={
            "calculate": False,
            "cellGap": 1,
            "color": {
                "exponent": 0.5,
                "fill": "dark-orange",
                "mode": "scheme",
                "reverse": False,
                "scale": "exponential",
                "scheme": "YlOrRd",
                "steps": 64,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
        },
    )
    return _finish(panel, width, height)


def table(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    columns: list[str],
    value: str,
    width: int = 12,
    height: int = 8,
) -> Panel:
    """The newest value of each series as a table, largest first.

    ``columns`` are the labels shown, in order; ``value`` heads the number's column.
    """
    panel = g.Table(
        **_common(title, description, [query], target_format="table"),
        unit=unit,
        thresholds=_steps(None),
        sortBy=[g.TableSortByField(displayName=value, desc=True)],
        extraJson=_extra(
            field_config={"custom": {"cellOptions": {"type": "auto"}, "inspect": False}},
            options={"frameIndex": 0},
        ),
        transformations=[
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": {name: at for at, name in enumerate([*columns, "Value"])},
                    "renameByName": {"Value": value},
                },
            }
        ],
    )
    return _finish(panel, width, height)


def wide_table(
    title: str,
    description: str,
    keys: list[str],
    columns: list[tuple[str, str, str]],
    *,
    sort_by: str,
    width: int = 24,
    height: int = 8,
) -> Panel:
    """One row for each set of values of the labels ``keys``, one column for each query.

    ``columns`` are ``(heading, unit, expression)``; every expression is grouped by ``keys``.
    ``sort_by`` is a key, sorted upward, or a heading, sorted downward.
    """
    queries = [Query(expr) for _, _, expr in columns]
    names = [f"Value #{ref}" for ref, _ in zip(ascii_uppercase, columns, strict=False)]
    panel = g.Table(
        **_common(title, description, queries, target_format="table"),
        unit=COUNT,
        thresholds=_steps(None),
        sortBy=[g.TableSortByField(displayName=sort_by, desc=sort_by not in keys)],
        extraJson=_extra(
            field_config={"custom": {"cellOptions": {"type": "auto"}, "inspect": False}},
            options={"frameIndex": 0},
        ),
        overrides=[
            {
                "matcher": {"id": "byName", "options": heading},
                "properties": [{"id": "unit", "value": unit}],
            }
            for heading, unit, _ in columns
        ],
        transformations=[
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": {name: at for at, name in enumerate([*keys, *names])},
                    "renameByName": {
                        name: heading for name, (heading, _, _) in zip(names, columns, strict=True)
                    },
                },
            },
        ],
    )
    return _finish(panel, width, height)


def text(title: str, description: str, markdown: str, *, width: int = 24, height: int = 4) -> Panel:
    """Words, in Markdown."""
    panel = g.Text(title=title, description=description, content=markdown)
    return _finish(panel, width, height)


def to_json(dashboard: Dashboard) -> str:
    """The dashboard as Grafana stores it: the same text for the same input, newline at the end.

    Raises ValueError when two panels would get the same id, which needs two equal
    titles in one row.
    """
    raw = g.Dashboard(
        uid=dashboard.uid,
        title=dashboard.title,
        description=dashboard.description,
        tags=list(dashboard.tags),
        schemaVersion=SCHEMA_VERSION,
        editable=False,
        refresh=dashboard.refresh,
        time=g.Time(dashboard.time_from, "now"),
        # Kernel people compare with logs of the machine at hand.
        timezone="browser",
        graphTooltip=g.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        templating=g.Templating(
            list=[_datasource_variable(), *(_label_variable(v) for v in dashboard.variables)]
        ),
        links=[
            g.DashboardLink(
                type="dashboards",
                title="pfmemd",
                tags=["pfmemd"],
                asDropdown=True,
                includeVars=True,
                keepTime=True,
            )
        ],
        panels=_lay_out(dashboard.rows),
    ).to_json_data()
    document = _plain(raw)
    for key in _LEGACY_DASHBOARD_KEYS:
        document.pop(key, None)
    document["annotations"] = {"list": [_annotation(a) for a in dashboard.annotations]}
    cast("Json", document["timepicker"]).pop("time_options", None)
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


_LEGACY_DASHBOARD_KEYS: Final = (
    "__inputs",
    "gnetId",
    "hideControls",
    "rows",
    "sharedCrosshair",
    "style",
)
_LEGACY_PANEL_KEYS: Final = (
    "cacheTimeout",
    "color",
    "columns",
    "editable",
    "error",
    "fontSize",
    "height",
    "hideTimeOverride",
    "mappings",
    "minSpan",
    "span",
)
"""Written by grafanalib, read by no Grafana since 5 (fieldConfig and gridPos took over)."""
_LEGACY_VARIABLE_KEYS: Final = (
    "auto",
    "auto_count",
    "auto_min",
    "tagValuesQuery",
    "tagsQuery",
    "useTags",
)
"""Of other kinds of variable, or gone with Grafana 7."""
_LEGACY_TARGET_KEYS: Final = ("metric", "query", "step", "target")


def _common(
    title: str,
    description: str,
    queries: list[Query],
    *,
    target_format: str = "time_series",
    instant: bool = False,
    runbook: str | None = None,
) -> dict[str, object]:
    """The arguments every grafanalib panel with targets takes; a table has the newest values."""
    targets = [
        g.Target(
            expr=query.expr,
            legendFormat=query.legend or "__auto",
            refId=ref,
            datasource=DATASOURCE,
            interval=query.step,
            # 2, the default, halves the resolution.
            intervalFactor=1,
            format=target_format,
            instant=instant or target_format == "table",
        )
        for ref, query in zip(ascii_uppercase, queries, strict=False)
    ]
    if len(targets) != len(queries):
        raise ValueError(f"panel {title!r} has {len(queries)} queries, expected at most 26")
    return {
        "title": title,
        "description": description,
        "targets": targets,
        "dataSource": DATASOURCE,
        # 100, the default, draws a full-screen graph from 100 points.
        "maxDataPoints": None,
        "links": [_runbook_link(runbook)] if runbook else [],
    }


def _runbook_link(alert: str) -> Json:
    return {
        "title": f"Runbook: {alert}",
        "tooltip": "What the alert means and what to do",
        "type": "link",
        "icon": "doc",
        # Without a host: right in whatever Grafana shows the panel.
        "url": runbook_path(alert),
        "targetBlank": True,
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "tags": [],
    }


def runbook_path(alert: str) -> str:
    """Where the alert's page is on the runbook dashboard, from Grafana's root."""
    return f"/d/{RUNBOOKS_UID}?viewPanel={panel_id(RUNBOOKS_ROW, alert)}"


def _steps(steps: list[Step] | None) -> list[Json]:
    """Threshold steps as plain JSON: g.Threshold writes the first value as the text "null"."""
    return [{"color": step.color, "value": step.value} for step in steps or [Step(None, NEUTRAL)]]


def _mappings(mapping: dict[float, tuple[str, str]] | None) -> list[Json]:
    """Value mappings in the form Grafana 8 brought; grafanalib has only the one before."""
    if not mapping:
        return []
    return [
        {
            "type": "value",
            "options": {
                f"{value:g}": {"text": shown, "color": color, "index": at}
                for at, (value, (shown, color)) in enumerate(mapping.items())
            },
        }
    ]


def _override(style: Style) -> Json:
    """A Style as a field override by regular expression."""
    properties: list[Json] = [
        {"id": "custom.lineWidth", "value": style.width},
        {"id": "custom.fillOpacity", "value": style.fill},
    ]
    if style.color is not None:
        color = {"mode": "fixed", "fixedColor": style.color}
        properties.append({"id": "color", "value": color})
    if style.dashed:
        properties.append({"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}})
    return {"matcher": {"id": "byRegexp", "options": style.pattern}, "properties": properties}


def _raw(kind: str, common: dict[str, object], *, defaults: Json, options: Json) -> Json:
    """A panel of a kind that grafanalib has only in an old form."""
    return {
        "type": kind,
        "title": common["title"],
        "description": common["description"],
        "datasource": common["dataSource"],
        "targets": common["targets"],
        "links": common["links"],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "transparent": False,
    }


def _annotation(annotation: Annotation) -> Json:
    """An annotation as Grafana's Prometheus data source reads it; grafanalib has none of these."""
    return {
        "name": annotation.name,
        "datasource": DATASOURCE,
        "enable": annotation.shown,
        "hide": False,
        "iconColor": annotation.color,
        "target": {"expr": annotation.expr, "interval": "1s", "refId": "Anno"},
        "titleFormat": annotation.title,
        "textFormat": annotation.text,
        "tagKeys": "source,variant",
        "useValueForTime": False,
    }


def _extra(*, field_config: Json | None = None, options: Json) -> Json:
    """What today's schema asks of every panel of a kind and grafanalib does not write."""
    return {"fieldConfig": {"defaults": field_config or {}}, "options": options}


def _finish(panel: object, width: int, height: int) -> Panel:
    """A grafanalib panel as plain JSON, without what old schemas left behind."""
    document = _plain(panel)
    for key in _LEGACY_PANEL_KEYS:
        document.pop(key, None)
    if document["type"] == "text":
        for key in ("fieldConfig", "targets", "datasource"):
            document.pop(key, None)
    else:
        config = cast("dict[str, dict[str, Json]]", document["fieldConfig"])
        # The table cell's old key; cellOptions took over.
        config["defaults"].get("custom", {}).pop("displayMode", None)
    for target in cast("list[Json]", document.get("targets", [])):
        for key in _LEGACY_TARGET_KEYS:
            target.pop(key, None)
        target["range"] = not target["instant"]
        target["editorMode"] = "code"
    return Panel(title=cast("str", document["title"]), width=width, height=height, json=document)


def _plain(thing: object) -> Json:
    """Plain JSON of a grafanalib object, without its nulls.

    The null of a threshold means "from the bottom" and stays.
    """
    document = json.loads(json.dumps(thing, default=_to_json_data))
    return cast("Json", _without_nulls(document))


def _to_json_data(thing: object) -> object:
    return thing.to_json_data()  # type: ignore[attr-defined]  # grafanalib is untyped


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {
            key: _without_nulls(item)
            for key, item in value.items()
            if item is not None or (key == "value" and "color" in value)
        }
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _lay_out(rows: tuple[Row, ...]) -> list[Json]:
    """Every panel with its place and id, rows as Grafana nests them."""
    placed: list[Json] = []
    taken: dict[int, str] = {}
    top = 0
    for row in rows:
        inner, below = _flow(row, top + 1, taken)
        # Plain JSON: g.RowPanel gives a row the thresholds, targets and links of a panel.
        header: Json = {
            "type": "row",
            "title": row.title,
            "collapsed": row.collapsed,
            "id": _panel_id(row.title, "", taken),
            "gridPos": {"h": 1, "w": GRID_COLUMNS, "x": 0, "y": top},
            "panels": inner if row.collapsed else [],
        }
        top = below
        placed.append(header)
        if not row.collapsed:
            placed.extend(inner)
    return placed


def _flow(row: Row, top: int, taken: dict[int, str]) -> tuple[list[Json], int]:
    """The row's panels from ``top`` down, and the first free line below them."""
    panels: list[Json] = []
    left = line_height = 0
    for panel in row.panels:
        if left + panel.width > GRID_COLUMNS:
            top += line_height
            left = line_height = 0
        place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
        panels.append(
            panel.json | {"gridPos": place, "id": _panel_id(row.title, panel.title, taken)}
        )
        left += panel.width
        line_height = max(line_height, panel.height)
    return panels, top + line_height


def panel_id(row: str, title: str) -> int:
    """The id of a panel: made of its titles, so that a link to it outlives its neighbours."""
    return 1 + zlib.crc32(f"{row}/{title}".encode()) % 9_999_991


def _panel_id(row: str, title: str, taken: dict[int, str]) -> int:
    number = panel_id(row, title)
    if number in taken:
        raise ValueError(f"panels {taken[number]!r} and {row}/{title!r} have one id")
    taken[number] = f"{row}/{title}"
    return number


def _datasource_variable() -> Json:
    """The data source, chosen on the dashboard: no name or uid is wired into a panel."""
    variable = _variable(
        g.Template(
            name="datasource",
            label="Data source",
            type="datasource",
            query="prometheus",
            default="prometheus",
        )
    )
    variable["current"] = {"selected": True, "text": "Prometheus", "value": "prometheus"}
    return variable


def _label_variable(variable: Variable) -> Json:
    """A variable of label values; ``All`` is one short regular expression, not a long list."""
    made = _variable(
        g.Template(
            name=variable.name,
            label=variable.label,
            query=variable.query,
            dataSource=DATASOURCE,
            multi=variable.multi,
            includeAll=variable.multi,
            allValue=".+" if variable.multi else None,
            # New sources and zones appear while one watches.
            refresh=g.REFRESH_ON_TIME_RANGE_CHANGE,
        )
    )
    # grafanalib has neither Prometheus' query object nor a current value with its text.
    made["query"] = {"qryType": 1, "query": variable.query, "refId": variable.name}
    if variable.multi:
        made["current"] = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return made


def _variable(template: object) -> Json:
    """A variable as plain JSON, without a current value: grafanalib's lacks the text."""
    document = _plain(template)
    for key in ("current", *_LEGACY_VARIABLE_KEYS):
        document.pop(key, None)
    return document
