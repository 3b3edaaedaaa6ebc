"""What the dashboards share: variables, annotations, legends and what colours mean."""

from __future__ import annotations

from typing import Final

from dashboards import queries as q
from dashboards.panels import (
    CALM,
    CRITICAL,
    GOOD,
    NEUTRAL,
    WARNING,
    Annotation,
    Query,
    Step,
    Variable,
)

EXHAUSTED: Final = "PfmemallocReserveExhausted"

MODEL: Final = "{{variant}}"
ZONE: Final = "{{variant}} node {{node}} {{zone}}"
CACHE: Final = "{{variant}} {{cache}}"

# --- Variables -------------------------------------------------------------------------

SOURCE: Final = Variable("source", "Source", q.SOURCE_VALUES, multi=False)
SOURCES: Final = Variable("source", "Source", q.SOURCE_VALUES)
VARIANT: Final = Variable("variant", "Variant", q.VARIANT_VALUES)
NODE: Final = Variable("node", "Node", q.NODE_VALUES)
ZONES: Final = Variable("zone", "Zone", q.ZONE_VALUES)
CACHES: Final = Variable("cache", "Cache", q.CACHE_VALUES)

# --- Annotations -----------------------------------------------------------------------------

PHASES: Final = Annotation("Phases", q.PHASES, "purple", "{{phase}}", "A MARK event of {{source}}.")
"""The phases of a scenario, named by its MARK events."""
FLIPS: Final = (
    Annotation("Switched on", q.FLIPS_ON, WARNING, "pfmemalloc_active on", "{{variant}}"),
    Annotation("Switched off", q.FLIPS_OFF, CALM, "pfmemalloc_active off", "{{variant}}"),
)
ALERTS: Final = Annotation(
    "Alerts",
    q.ALERTS_FIRING,
    CRITICAL,
    "{{alertname}}",
    "{{source}} {{variant}} {{node}} {{zone}}",
    shown=False,
)
MODEL_ANNOTATIONS: Final = (PHASES, *FLIPS, ALERTS)

# --- What colours mean -------------------------------------------------------------------------

RESERVE_STEPS: Final = [
    Step(None, CRITICAL),
    # The alert's threshold, and where the kernel throttles direct reclaimers
    # (mm/vmscan.c: pfmemalloc_watermark_ok(), half of min).
    Step(0.125, WARNING),
    Step(0.5, CALM),
    Step(1, GOOD),
]
NONE_IS_GOOD: Final = [Step(None, GOOD), Step(0.000_001, WARNING)]
NONE_MUST_BE: Final = [Step(None, GOOD), Step(0.000_001, CRITICAL)]
SECONDS_LEFT_STEPS: Final = [
    Step(None, CRITICAL),
    Step(30, WARNING),
    Step(300, CALM),
    Step(3600, NEUTRAL),
]
ACTIVE: Final = {0.0: ("inactive", GOOD), 1.0: ("active", WARNING)}


def queries(expressions: dict[str, str], legend: str = MODEL) -> list[Query]:
    """One query for each name, which comes after what tells the series apart."""
    return [Query(expr, f"{legend} {name}") for name, expr in expressions.items()]
