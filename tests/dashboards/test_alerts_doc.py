"""docs/ALERTS.md is made from the rules, and every alert is in it."""

from __future__ import annotations

import re
from pathlib import Path

from dashboards.alerts_doc import PROMETHEUS, alerts_markdown
from dashboards.other_metrics import NODE_EXPORTER_FLAGS

PAGE = Path(__file__).parents[2] / "docs" / "ALERTS.md"


def test_docs_are_current() -> None:
    """docs/ALERTS.md is what ``make docs`` writes: run it after changing any rule."""
    assert PAGE.read_text("utf-8") == alerts_markdown()


def test_every_alert_and_every_flag_is_told_of() -> None:
    """Each alert has its section with its runbook, and node_exporter's flags are all there."""
    page = alerts_markdown()
    rules = (PROMETHEUS / "alerts.yml").read_text("utf-8")

    for name in re.findall(r"- alert: (\w+)", rules):
        section = page.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert f"(../dashboards/runbooks/{name}.md)" in section
    for flag in NODE_EXPORTER_FLAGS:
        assert flag in page
