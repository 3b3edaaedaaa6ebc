"""An expression that no metric could answer fails while it is built."""

from __future__ import annotations

import pytest

from daemon import metric_table as m
from dashboards import other_metrics, promql


def test_selectors_follow_the_dashboards_variables() -> None:
    """A metric is narrowed by just those variables that are labels of it."""
    assert promql.select(m.ZONE_FREE_PAGES) == (
        'pfmemd_zone_free_pages{source=~"$source",variant=~"$variant",node=~"$node",zone=~"$zone"}'
    )
    assert 'pfmemd_events_applied_total{source=~"$source"}' == promql.select(m.EVENTS_APPLIED_TOTAL)
    assert "pfmemd_sources" == promql.select(m.SOURCES)


def test_unknown_matcher_is_refused() -> None:
    """Matching by a label that the metric does not carry would select nothing."""
    with pytest.raises(ValueError, match=r"pfmemd_zone_free_pages has labels .*, no path"):
        promql.select(m.ZONE_FREE_PAGES, path="reserve")


def test_unknown_grouping_is_refused() -> None:
    """Grouping by a label that the metric does not carry would fold all series into one."""
    with pytest.raises(ValueError, match=r"pfmemd_events_applied_total has labels source, no zone"):
        promql.rate(m.EVENTS_APPLIED_TOTAL, ("zone",))


def test_rate_of_a_gauge_is_refused() -> None:
    """rate() of a gauge is a number without meaning."""
    with pytest.raises(ValueError, match="pfmemd_zone_free_pages is a gauge, expected a counter"):
        promql.rate(m.ZONE_FREE_PAGES, ("zone",))


def test_sum_of_a_counter_is_refused() -> None:
    """A counter's value since some start is not what a panel shows."""
    with pytest.raises(ValueError, match="is a counter, expected a gauge"):
        promql.total(m.EVENTS_APPLIED_TOTAL, ("source",))


def test_ratio_leaves_out_what_has_no_whole() -> None:
    """A zone whose watermark is 0 gives no series instead of a division by zero."""
    assert "a / (b > 0)" == promql.ratio("a", "b")


def test_a_host_is_chosen_by_the_variable_host() -> None:
    """The label that Prometheus gives every target has a variable of a plainer name."""
    assert 'node_vmstat_pswpout{instance=~"$host"}' == promql.select(other_metrics.HOST_SWAPPED_OUT)


def test_a_variable_can_be_left_out() -> None:
    """A dashboard without the variable must not select by it."""
    selected = promql.select(m.CACHE_SLABS, without=("cache", "source"))

    assert 'pfmemd_cache_slabs{variant=~"$variant"}' == selected


def test_quantiles_are_of_histograms() -> None:
    """A quantile is taken of a histogram's buckets, and of nothing else."""
    assert 'rate(pfmemd_batch_age_seconds_bucket{source=~"$source"}' in promql.quantile(
        0.5, m.BATCH_AGE_SECONDS, ("source",)
    )
    with pytest.raises(ValueError, match="pfmemd_sources is a gauge, expected a histogram"):
        promql.quantile(0.5, m.SOURCES, ())
