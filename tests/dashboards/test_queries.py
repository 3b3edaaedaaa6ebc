"""An expression that no metric could answer fails while it is built."""

from __future__ import annotations

import re

import pytest

from daemon import metric_table as m
from dashboards import queries

PROMQL_NAME = re.compile(r"\bpfmemd_\w+")


def expressions() -> dict[str, str]:
    """Every expression of the module, by the name of its constant."""
    return {
        name: value
        for name, value in vars(queries).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }


def test_every_name_is_in_the_metric_table() -> None:
    """No expression names a metric that the daemon does not have."""
    named = {name for text in expressions().values() for name in PROMQL_NAME.findall(text)}

    assert len(named) > 10
    assert named - set(m.BY_NAME) == set()


def test_every_counter_is_asked_for_its_growth() -> None:
    """A counter stands within rate() or increase(), except where the title says since when."""
    for text in expressions().values():
        if text == queries.DRAWN:
            continue
        for name in PROMQL_NAME.findall(text):
            if m.BY_NAME[name].type == "counter":
                assert re.search(rf"(rate|increase)\({name}\{{", text), text


def test_selectors_follow_the_dashboards_variables() -> None:
    """A metric is narrowed by just those variables that are labels of it."""
    assert queries._select(m.ZONE_FREE_PAGES) == (
        'pfmemd_zone_free_pages{source=~"$source",variant=~"$variant",node=~"$node",zone=~"$zone"}'
    )
    assert 'pfmemd_events_applied_total{source=~"$source"}' == queries._select(
        m.EVENTS_APPLIED_TOTAL
    )
    assert "pfmemd_sources" == queries._select(m.SOURCES)


def test_unknown_matcher_is_refused() -> None:
    """Matching by a label that the metric does not carry would select nothing."""
    with pytest.raises(ValueError, match=r"pfmemd_zone_free_pages has labels .*, no path"):
        queries._select(m.ZONE_FREE_PAGES, path="reserve")


def test_unknown_grouping_is_refused() -> None:
    """Grouping by a label that the metric does not carry would fold all series into one."""
    with pytest.raises(ValueError, match=r"pfmemd_events_applied_total has labels source, no zone"):
        queries._rate(m.EVENTS_APPLIED_TOTAL, ("zone",))


def test_rate_of_a_gauge_is_refused() -> None:
    """rate() of a gauge is a number without meaning."""
    with pytest.raises(ValueError, match="pfmemd_zone_free_pages is a gauge, expected a counter"):
        queries._rate(m.ZONE_FREE_PAGES, ("zone",))


def test_sum_of_a_counter_is_refused() -> None:
    """A counter's value since some start is not what a panel shows."""
    with pytest.raises(ValueError, match="is a counter, expected a gauge"):
        queries._total(m.EVENTS_APPLIED_TOTAL, ("source",))


def test_ratio_leaves_out_what_has_no_whole() -> None:
    """A zone whose watermark is 0 gives no series instead of a division by zero."""
    assert "a / (b > 0)" == queries._ratio("a", "b")
