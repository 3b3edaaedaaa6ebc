"""The configuration of Prometheus, Alertmanager and Grafana fits together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml


def read(path: Path) -> dict[str, Any]:
    """A YAML file."""
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def test_prometheus_takes_its_configuration(promtool: Callable[..., str], rooms: Path) -> None:
    """Prometheus reads the configuration and finds the rule files that it names."""
    output = promtool("check", "config", rooms / "prometheus" / "prometheus.yml")

    assert "2 rule files found" in output


def test_alertmanager_takes_its_configuration(amtool: Callable[..., str], rooms: Path) -> None:
    """Alertmanager reads the configuration."""
    amtool("check-config", rooms / "alertmanager" / "alertmanager.yml")


def test_grafana_knows_the_scrape_interval(rooms: Path) -> None:
    """$__rate_interval is made of the data source's interval, which is Prometheus' own."""
    prometheus = read(rooms / "prometheus" / "prometheus.yml")
    (source,) = read(rooms / "grafana/provisioning/datasources/prometheus.yml")["datasources"]

    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_dashboards_start_with_the_provisioned_data_source(rooms: Path) -> None:
    """The data source variable's first value is the uid under which Grafana has Prometheus."""
    (source,) = read(rooms / "grafana/provisioning/datasources/prometheus.yml")["datasources"]
    reserve = json.loads((rooms / "grafana/dashboards/reserve.json").read_text(encoding="utf-8"))
    variable = reserve["templating"]["list"][0]

    assert ("datasource", source["uid"]) == (variable["name"], variable["current"]["value"])
