"""The metric table keeps the naming rules of Prometheus and of this project."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from daemon import metric_table
from daemon.metric_table import METRICS, MetricSpec

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
