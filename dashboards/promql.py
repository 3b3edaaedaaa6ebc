"""PromQL made of metric specs: what a metric cannot answer fails here, not on the screen.

A metric is selected by those dashboard variables that are labels of it. Grouping or
matching by a label that it does not carry, the rate of a gauge and the sum of a counter
raise ValueError while the dashboards are built.
"""

from __future__ import annotations

from typing import Final

from daemon.metric_table import MetricSpec, MetricType

VARIABLES: Final = {
    "source": "source",
    "variant": "variant",
    "instance": "host",
    "node": "node",
    "zone": "zone",
    "cache": "cache",
}
"""Label to the dashboard variable that chooses its values, in the order of the selectors."""

BUSIEST: Final = 10
"""Series shown where showing all would hide the ones that matter."""


def select(spec: MetricSpec, *, without: tuple[str, ...] = (), **matchers: str) -> str:
    """The metric's series that the variables and ``matchers`` (regular expressions) leave.

    The variables of the labels ``without`` are left out: a dashboard may not have them.
    """
    chosen = [
        f'{label}=~"${variable}"'
        for label, variable in VARIABLES.items()
        if label in spec.labels and label not in without
    ]
    for label, pattern in matchers.items():
        check_labels(spec, (label,))
        chosen.append(f'{label}=~"{pattern}"')
    return f"{spec.name}{{{','.join(chosen)}}}" if chosen else spec.name


def total(spec: MetricSpec, by: tuple[str, ...], selected: str | None = None) -> str:
    """A gauge, added up over what ``by`` leaves out (the scraped instance above all)."""
    _check(spec, "gauge", by)
    return f"sum {_by(by)}({selected or select(spec)})"


def largest(spec: MetricSpec, by: tuple[str, ...], selected: str | None = None) -> str:
    """A gauge that is the same, or has no sum, over what ``by`` leaves out."""
    _check(spec, "gauge", by)
    return f"max {_by(by)}({selected or select(spec)})"


def rate(spec: MetricSpec, by: tuple[str, ...], selected: str | None = None) -> str:
    """A counter's growth per second."""
    return _growth("rate", "$__rate_interval", spec, by, selected)


def increase(spec: MetricSpec, by: tuple[str, ...], selected: str | None = None) -> str:
    """A counter's growth over the time shown."""
    return _growth("increase", "$__range", spec, by, selected)


def rate_of_what_happened(
    spec: MetricSpec, by: tuple[str, ...], selected: str | None = None
) -> str:
    """As rate, without the many label values that counted nothing in the time shown."""
    return f"{rate(spec, by, selected)} and {increase(spec, by, selected)} > 0"


def since_start(spec: MetricSpec, by: tuple[str, ...], selected: str | None = None) -> str:
    """A counter as it stands.

    Right for few and early events, whose counter Prometheus may first see when they are
    over: to increase() nothing happened then.
    """
    _check(spec, "counter", by)
    return f"sum {_by(by)}({selected or select(spec)})"


def quantile(share: float, spec: MetricSpec, by: tuple[str, ...]) -> str:
    """The value that ``share`` (0 to 1) of a histogram's observations stayed below."""
    return f"histogram_quantile({share}, {buckets_rate(spec, by)})"


def buckets_rate(spec: MetricSpec, by: tuple[str, ...]) -> str:
    """A histogram's observations per second by upper bound, as a heatmap wants them."""
    _check(spec, "histogram", by)
    selected = select(spec).replace(spec.name, f"{spec.name}_bucket")
    return f"sum by ({', '.join((*by, 'le'))}) (rate({selected}[$__rate_interval]))"


def ratio(part: str, whole: str) -> str:
    """``part`` of ``whole`` where there is a whole: a zone without pages has no reserve."""
    return f"{part} / ({whole} > 0)"


def share(part: str, rest: str) -> str:
    """``part`` of what it is together with ``rest``, where there is anything."""
    return f"{part} / ({part} + {rest} > 0)"


def busiest_rate(spec: MetricSpec, by: tuple[str, ...]) -> str:
    """A counter's growth per second, of the few series that grew most in the time shown."""
    most = _growth("increase", "$__range", spec, by, None, at=" @ end()")
    return f"{rate(spec, by)} and topk({BUSIEST}, {most} > 0)"


def busiest(
    spec: MetricSpec,
    by: tuple[str, ...],
    expression: str | None = None,
    selected: str | None = None,
) -> str:
    """A gauge, of the few series that were largest in the time shown.

    With ``expression``, which is grouped by the same labels, that is shown of them instead.
    """
    _check(spec, "gauge", by)
    most = f"sum {_by(by)}(max_over_time({selected or select(spec)}[$__range] @ end()))"
    return f"{expression or total(spec, by, selected)} and topk({BUSIEST}, {most} > 0)"


def values(spec: MetricSpec, label: str, *narrowed_by: str) -> str:
    """Grafana's query for the values of a label, narrowed by the variables of these labels."""
    check_labels(spec, (label, *narrowed_by))
    chosen = ",".join(f'{name}=~"${VARIABLES[name]}"' for name in narrowed_by)
    return f"label_values({spec.name}{{{chosen}}}, {label})"


def check_labels(spec: MetricSpec, labels: tuple[str, ...]) -> None:
    """Raise ValueError for a label that the metric does not carry."""
    for label in labels:
        if label not in spec.labels:
            raise ValueError(f"{spec.name} has labels {', '.join(spec.labels)}, no {label}")


def _growth(
    function: str,
    window: str,
    spec: MetricSpec,
    by: tuple[str, ...],
    selected: str | None,
    at: str = "",
) -> str:
    _check(spec, "counter", by)
    return f"sum {_by(by)}({function}({selected or select(spec)}[{window}]{at}))"


def _by(labels: tuple[str, ...]) -> str:
    """What one series is kept for, with a space behind; nothing for one series of all."""
    return f"by ({', '.join(labels)}) " if labels else ""


def _check(spec: MetricSpec, kind: MetricType, labels: tuple[str, ...]) -> None:
    if spec.type != kind:
        raise ValueError(f"{spec.name} is a {spec.type}, expected a {kind}")
    check_labels(spec, labels)
