"""Rules and alerts name metrics that exist, fire when they should, and lead to a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.metric_table import BY_NAME
from dashboards import other_metrics
from dashboards.panels import runbook_path

HERE = Path(__file__).parent
PROMETHEUS = HERE.parents[1] / "dashboards" / "prometheus"
RUNBOOKS = HERE.parents[1] / "dashboards" / "runbooks"
# By what node_exporter is known to run; no number of its own.
KNOWN = {*BY_NAME, *other_metrics.BY_NAME, "node_exporter_build_info"}
UNIT_TESTS = sorted((HERE / "rules").glob("*.test.yml"))


def rules(file: str) -> list[dict[str, Any]]:
    """Every rule of the file, whatever its group."""
    document = yaml.safe_load((PROMETHEUS / file).read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


ALERTS = rules("alerts.yml")
RECORDED = {rule["record"] for rule in rules("rules.yml")}


def texts(rule: dict[str, Any]) -> str:
    """All text of a rule in which a metric may be named: the templates query too."""
    return "\n".join([rule["expr"], *rule.get("annotations", {}).values()])


@pytest.mark.parametrize("file", ["rules.yml", "alerts.yml"])
def test_every_metric_is_in_the_table(file: str) -> None:
    """No rule waits for a metric that the daemon does not have."""
    for rule in rules(file):
        names = set(re.findall(r"(?<![\w:])(?:pfmemd|node)_\w+", texts(rule)))
        names = {name.removesuffix("_bucket") for name in names}
        names.discard("node_exporter")  # the program
        assert names - KNOWN == set()


def test_every_recorded_name_is_recorded() -> None:
    """An alert that uses a recording rule finds it in rules.yml."""
    for rule in ALERTS:
        used = set(re.findall(r"\b\w+:(?:pfmemd|node)_\w+(?::\w+)*", texts(rule)))
        assert used - RECORDED == set()


def test_recorded_names_say_level_metric_operation() -> None:
    """Recorded series are named level:metric:operations."""
    for name in RECORDED:
        assert re.fullmatch(r"[a-z_]+:(?:pfmemd|node)_[a-z_]+:[a-z_0-9]+", name)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_says_what_and_where_to_look(alert: dict[str, Any]) -> None:
    """Severity, a summary without labels, a description of this very case, the alert's own page."""
    annotations = alert["annotations"]

    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert "{{" not in annotations["summary"]
    assert re.search(r"\$(value|labels)", annotations["description"])
    assert (RUNBOOKS / f"{alert['alert']}.md").is_file()
    assert f"http://127.0.0.1:3000{runbook_path(alert['alert'])}" == annotations["runbook_url"]


def test_every_page_belongs_to_an_alert() -> None:
    """No runbook is left over from an alert that is gone."""
    assert {alert["alert"] for alert in ALERTS} == {page.stem for page in RUNBOOKS.glob("*.md")}


def test_every_alert_has_a_unit_test() -> None:
    """Each alert is shown firing and not firing in a file of its name."""
    assert [path.name for path in UNIT_TESTS] == sorted(
        f"{alert['alert']}.test.yml" for alert in ALERTS
    )


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.name)
def test_alert_fires_when_it_should(promtool: Callable[..., str], path: Path) -> None:
    """Prometheus' own evaluation over written-down series gives just the alerts expected."""
    promtool("test", "rules", path)


@pytest.mark.parametrize("file", ["rules.yml", "alerts.yml"])
def test_prometheus_takes_the_rules(promtool: Callable[..., str], file: str) -> None:
    """The rule files are what Prometheus reads, without a lint."""
    promtool("check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / file)
