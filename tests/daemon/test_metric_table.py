"""The metric table keeps the naming rules of Prometheus and of this project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from allocator.leak import LEAK_WAYS
from daemon import metric_table
from daemon.metric_table import GROUPS, METRICS, MetricSpec
from daemon.metrics_doc import metrics_markdown

DOCS = Path(__file__).parents[2] / "docs"
SUFFIX_OF_UNIT = {"bytes": "_bytes", "seconds": "_seconds"}


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_name_follows_type_and_unit(spec: MetricSpec) -> None:
    """A counter ends in _total, an info in _info, nothing else does; base units are suffixes."""
    assert re.fullmatch(r"pfmemd_[a-z0-9]+(_[a-z0-9]+)*", spec.name)
    assert (spec.type == "counter") == spec.name.endswith("_total")
    assert (spec.type == "info") == spec.name.endswith("_info")
    suffix = SUFFIX_OF_UNIT.get(spec.unit, "")
    assert suffix in spec.name


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_help_is_one_sentence(spec: MetricSpec) -> None:
    """HELP is one line that ends with a full stop and starts with a capital or a digit."""
    assert spec.help.endswith(".")
    assert "\n" not in spec.help
    assert spec.help[0].isupper() or spec.help[0].isdigit()


def test_names_are_unique_and_constants_are_complete() -> None:
    """Each constant of the module is in the table once, under its own name."""
    constants = {
        name: value for name, value in vars(metric_table).items() if isinstance(value, MetricSpec)
    }

    assert {f"pfmemd_{name.lower()}" for name in constants} == {s.name for s in METRICS}
    assert len(METRICS) == len(constants)


def test_import_needs_no_prometheus_client() -> None:
    """The dashboards can read the table where prometheus_client is not installed."""
    code = (
        "import sys; sys.modules['prometheus_client'] = None; import daemon.metric_table as t;"
        "print(len(t.METRICS))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert str(len(METRICS)) == done.stdout.strip()


def test_groups_have_names_and_members() -> None:
    """The docs have no empty table and no two of one name."""
    titles = [title for title, _ in GROUPS]

    assert len(titles) == len(set(titles))
    assert all(specs for _, specs in GROUPS)


def test_help_of_leaks_names_every_way() -> None:
    """The table imports nothing of the model, so the names are written there once more."""
    ways = metric_table.CACHE_LEAKS_TOTAL.help.partition(": ")[2].removesuffix(".").split(", ")

    assert list(LEAK_WAYS) == ways


def test_docs_are_current() -> None:
    """docs/METRICS.md is what ``python -m daemon.metrics_doc`` writes."""
    assert metrics_markdown() == (DOCS / "METRICS.md").read_text("utf-8")


def test_docs_tell_of_every_metric_and_label() -> None:
    """Each metric has its row, and each of its labels is explained."""
    page = metrics_markdown()
    _, _, after = page.partition("## Labels")
    labels, _, tables = after.partition("\n## ")

    for spec in METRICS:
        assert f"| `{spec.name}` | {spec.type} |" in tables
    rows = re.findall(r"^\| ([a-z, ]+?)(?: \(.+?\))? \|", labels, re.MULTILINE)
    explained = {name for row in rows for name in row.split(", ")}
    used = {label for spec in METRICS if spec.type != "info" for label in spec.labels}
    assert used <= explained | {
        "label"
    }  # which is named by what it holds: the label that is folded
