"""Every PromQL expression of the dashboards: the one module here that names metrics.

Names come from ``daemon.metric_table``. A metric is selected by those dashboard
variables that are labels of it; grouping or matching by a label that the metric
does not carry fails when the dashboards are built, not on the screen.
"""

from __future__ import annotations

from typing import Final

from daemon import metric_table as m
from daemon.metric_table import MetricSpec, MetricType

VARIABLES: Final = ("source", "variant", "node", "zone")
"""Dashboard variables, named as the labels they choose values of."""

_MODEL: Final = ("source", "variant")
_ZONE: Final = ("source", "variant", "node", "zone")
BUSIEST: Final = 10
"""Caches shown where showing all would hide the ones that matter."""


def _select(spec: MetricSpec, **matchers: str) -> str:
    """The metric's series that the variables and ``matchers`` (regular expressions) leave."""
    chosen = [f'{label}=~"${label}"' for label in VARIABLES if label in spec.labels]
    for label, pattern in matchers.items():
        _check_labels(spec, (label,))
        chosen.append(f'{label}=~"{pattern}"')
    return f"{spec.name}{{{','.join(chosen)}}}" if chosen else spec.name


def _total(spec: MetricSpec, by: tuple[str, ...], **matchers: str) -> str:
    """A gauge, added up over what ``by`` leaves out (the scraped instance above all)."""
    _check(spec, "gauge", by)
    return f"sum by ({', '.join(by)}) ({_select(spec, **matchers)})"


def _rate(spec: MetricSpec, by: tuple[str, ...], **matchers: str) -> str:
    """A counter's growth per second."""
    return _growth("rate", "$__rate_interval", spec, by, **matchers)


def _increase(spec: MetricSpec, by: tuple[str, ...], **matchers: str) -> str:
    """A counter's growth over the time shown."""
    return _growth("increase", "$__range", spec, by, **matchers)


def _rate_of_what_happened(spec: MetricSpec, by: tuple[str, ...], **matchers: str) -> str:
    """As _rate, without the many label values that counted nothing in the time shown."""
    return f"{_rate(spec, by, **matchers)} and {_increase(spec, by, **matchers)} > 0"


def _since_start(spec: MetricSpec, by: tuple[str, ...], **matchers: str) -> str:
    """A counter as it stands, where it counted anything.

    Right for few and early events, whose counter Prometheus may first see when they are
    over: to increase() nothing happened then.
    """
    _check(spec, "counter", by)
    return f"sum by ({', '.join(by)}) ({_select(spec, **matchers)}) > 0"


def _growth(
    function: str, window: str, spec: MetricSpec, by: tuple[str, ...], **matchers: str
) -> str:
    _check(spec, "counter", by)
    return f"sum by ({', '.join(by)}) ({function}({_select(spec, **matchers)}[{window}]))"


def _check(spec: MetricSpec, kind: MetricType, labels: tuple[str, ...]) -> None:
    if spec.type != kind:
        raise ValueError(f"{spec.name} is a {spec.type}, expected a {kind}")
    _check_labels(spec, labels)


def _check_labels(spec: MetricSpec, labels: tuple[str, ...]) -> None:
    for label in labels:
        if label not in spec.labels:
            raise ValueError(f"{spec.name} has labels {', '.join(spec.labels)}, no {label}")


def _ratio(part: str, whole: str) -> str:
    """``part`` of ``whole`` where there is a whole: a zone without pages has no reserve."""
    return f"{part} / ({whole} > 0)"


def _values(spec: MetricSpec, label: str, *narrowed_by: str) -> str:
    """Grafana's query for the values of a label, narrowed by the variables before it."""
    _check_labels(spec, (label, *narrowed_by))
    chosen = ",".join(f'{name}=~"${name}"' for name in narrowed_by)
    return f"label_values({spec.name}{{{chosen}}}, {label})"


def _busiest(expression: str) -> str:
    return f"topk({BUSIEST}, {expression} > 0)"


# --- Variables -------------------------------------------------------------------------

SOURCE_VALUES: Final = _values(m.PFMEMALLOC_ACTIVE, "source")
VARIANT_VALUES: Final = _values(m.PFMEMALLOC_ACTIVE, "variant", "source")
NODE_VALUES: Final = _values(m.ZONE_FREE_PAGES, "node", "source")
ZONE_VALUES: Final = _values(m.ZONE_FREE_PAGES, "zone", "source", "node")

# --- The reserve of a zone -----------------------------------------------------------------

ZONE_FREE: Final = _total(m.ZONE_FREE_PAGES, _ZONE)
ZONE_LOWEST_FREE: Final = _total(m.ZONE_LOWEST_FREE_PAGES, _ZONE)
# The variants of one source are one machine under different rules: same watermarks.
ZONE_MIN: Final = f"max by (node, zone) ({_select(m.ZONE_MIN_PAGES)})"
ZONE_LOW: Final = f"max by (node, zone) ({_select(m.ZONE_LOW_PAGES)})"
ZONE_HIGH: Final = f"max by (node, zone) ({_select(m.ZONE_HIGH_PAGES)})"
RESERVE_LEFT: Final = _ratio(
    _total(m.ZONE_RESERVE_FREE_PAGES, _ZONE), _total(m.ZONE_MIN_PAGES, _ZONE)
)
RESERVE_LEFT_WORST: Final = f"min by (source, variant) ({RESERVE_LEFT})"
LOWEST_LEFT_WORST: Final = (
    "min by (source, variant) (clamp_max("
    + _ratio(_total(m.ZONE_LOWEST_FREE_PAGES, _ZONE), _total(m.ZONE_MIN_PAGES, _ZONE))
    + ", 1))"
)
RESERVE_USED: Final = _total(m.ZONE_RESERVE_USED_PAGES, _ZONE)
BELOW_MIN_RATE: Final = _rate(m.ZONE_BELOW_MIN_ALLOCATIONS_TOTAL, _ZONE)

# --- pfmemalloc_active -------------------------------------------------------------------------

PFMEMALLOC_ACTIVE: Final = f"max by (source, variant) ({_select(m.PFMEMALLOC_ACTIVE)})"
ACTIVATIONS: Final = _rate(m.PFMEMALLOC_ACTIVATIONS_TOTAL, _MODEL)
DEACTIVATIONS: Final = _rate(m.PFMEMALLOC_DEACTIVATIONS_TOTAL, _MODEL)

# --- Who drew the reserve ------------------------------------------------------------------------

_BELOW_MIN: Final = "below_min|oom_reserve|reserve"
"""Paths of pages handed out below min: HIGH and HARDER, an OOM victim, no watermark at all."""
DRAWN_RATE: Final = _rate_of_what_happened(
    m.ALLOCATIONS_OK_TOTAL, (*_MODEL, "caller", "kind"), path=_BELOW_MIN
)
DRAWN: Final = _since_start(
    m.ALLOCATIONS_OK_TOTAL, (*_MODEL, "caller", "kind", "path"), path=_BELOW_MIN
)
LEAKS_RATE: Final = _rate_of_what_happened(m.CACHE_LEAKS_TOTAL, (*_MODEL, "cause"))

# --- Refused and stalled ------------------------------------------------------------------------

DENIED_RATE: Final = _rate(m.ALLOCATIONS_DENIED_TOTAL, _MODEL)
DENIED_BY_REASON: Final = _rate_of_what_happened(m.ALLOCATIONS_DENIED_TOTAL, (*_MODEL, "reason"))
DENIED_BY_CALLER: Final = _rate_of_what_happened(
    m.ALLOCATIONS_DENIED_TOTAL, (*_MODEL, "caller", "kind")
)
STALLED_RATE: Final = _rate(m.ALLOCATIONS_STALLED_TOTAL, _MODEL)
STALLED_BY_REASON: Final = _rate_of_what_happened(
    m.ALLOCATIONS_STALLED_TOTAL, (*_MODEL, "reason", "caller")
)

# --- What is held -------------------------------------------------------------------------------

PFMEMALLOC_PAGES: Final = _total(m.ZONE_PFMEMALLOC_PAGES, _ZONE)
PFMEMALLOC_SLABS: Final = _busiest(_total(m.CACHE_PFMEMALLOC_SLABS, (*_MODEL, "cache")))
PFMEMALLOC_OBJECTS: Final = _total(m.CACHE_PFMEMALLOC_OBJECTS, _MODEL)
PRESERVED_OBJECTS: Final = _total(m.CACHE_PRESERVED_OBJECTS, _MODEL)

# --- Is anything arriving -------------------------------------------------------------------------

EVENTS_RATE: Final = _rate(m.EVENTS_APPLIED_TOTAL, ("source",))
