"""The dashboards' expressions name what there is, and ask counters for their growth."""

from __future__ import annotations

import re
from collections.abc import Iterator

from daemon import metric_table as m
from dashboards import other_metrics, queries

METRIC = re.compile(r"\b(?:pfmemd|node|process|scrape)_\w+")
KNOWN = {**m.BY_NAME, **other_metrics.BY_NAME}


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of the module with the name of its constant."""
    for name, value in vars(queries).items():
        if not name.isupper() or name.startswith("_"):
            continue
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict):
            yield from ((name, text) for text in value.values())


def test_every_name_is_known() -> None:
    """No expression names a metric that nobody has."""
    named = {name for _, text in expressions() for name in METRIC.findall(text)}

    assert len(named) > 100
    assert {name.removesuffix("_bucket") for name in named} - set(KNOWN) == set()


SINCE_START = {
    "DRAWN",
    "ENTITLED_DENIED",
    "CACHE_COLUMNS",
    "VARIANT_COLUMNS",
    "LEAKS_SINCE_START",
    "DENIED_SINCE_START",
    "STALLED_SINCE_START",
    "EPOCHS",
    "MARKS",
    "REFUSED_BATCHES",
    "REFUSED_MESSAGES",
    "AWAY",
    "SNAPSHOTS",
}
"""What is shown as it stands: the panels say since when."""


def test_every_counter_is_asked_for_its_growth() -> None:
    """A counter stands within rate() or increase(), except where the panel says since when."""
    for constant, text in expressions():
        if constant in SINCE_START:
            continue
        for name in METRIC.findall(text):
            spec = KNOWN[name.removesuffix("_bucket")]
            if spec.type in {"counter", "histogram"}:
                assert re.search(rf"(rate|increase)\({name}[{{\[]", text), text
