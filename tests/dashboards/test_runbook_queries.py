"""What the runbooks tell to ask Prometheus can be asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from daemon.metric_table import BY_NAME
from dashboards import other_metrics
from dashboards.runbook_board import RUNBOOKS

PROMETHEUS = RUNBOOKS.parent / "prometheus"
_DOCUMENT = yaml.safe_load((PROMETHEUS / "rules.yml").read_text("utf-8"))
RECORDED = {rule["record"] for group in _DOCUMENT["groups"] for rule in group["rules"]}
ELSEWHERE = {"node_exporter_build_info"}
"""By what node_exporter is known to run."""


def queries() -> list[tuple[str, str]]:
    """Each line of each page's block of queries, with the page's name."""
    return [
        (page.stem, line)
        for page in sorted(RUNBOOKS.glob("*.md"))
        for block in re.findall(r"(?ms)^```\n(.*?)^```$", page.read_text("utf-8"))
        for line in block.splitlines()
        if line.strip()
    ]


def test_every_page_has_queries() -> None:
    """Whoever is woken has something to type."""
    asked = {page for page, _ in queries()}

    assert {page.stem for page in RUNBOOKS.glob("*.md")} - asked <= {"PfmemdDown"}


def test_prometheus_understands_every_query(promtool: Callable[..., str], tmp_path: Path) -> None:
    """Each is good PromQL, in Prometheus' own eyes."""
    rules: list[dict[str, Any]] = [
        {"record": f"runbook:query:{number}", "expr": query}
        for number, (_, query) in enumerate(queries())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}), "utf-8")

    promtool("check", "rules", file)


def test_every_metric_of_a_query_is_there() -> None:
    """No page sends anybody to a metric or a recorded series that does not exist."""
    unknown = []
    for page, query in queries():
        for name in re.findall(r"(?<![\w:\"])(?:\w+:)?(?:pfmemd|node)_\w+(?::\w+)*", query):
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            if not {name, plain} & {*BY_NAME, *other_metrics.BY_NAME, *RECORDED, *ELSEWHERE}:
                unknown.append((page, name))

    assert [] == unknown
