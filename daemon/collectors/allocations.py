"""Allocations by what they came to, frees, and ``pfmemalloc_active``."""

from __future__ import annotations

from itertools import product
from typing import Final

from allocator.outcome import (
    CALLER_NAMES,
    KIND_NAMES,
    OUTCOME_NAMES,
    RESULT_DENIED,
    RESULT_OK,
    RESULT_STALLED,
)
from allocator.stats import MachineStats
from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples
from daemon.reading import Reading

_BY_RESULT: Final = {
    RESULT_OK: m.ALLOCATIONS_OK_TOTAL,
    RESULT_DENIED: m.ALLOCATIONS_DENIED_TOTAL,
    RESULT_STALLED: m.ALLOCATIONS_STALLED_TOTAL,
}

_SEEDED: Final = tuple(
    (_BY_RESULT[result], (caller, kind, reason))
    for result, reason in OUTCOME_NAMES.values()
    if result != RESULT_OK
    for caller, kind in product(CALLER_NAMES, KIND_NAMES)
)
"""What is shown as 0 before it first happens, so that ``increase()`` sees the first one."""

_PLAIN: Final = (
    (m.PAGE_FREES_TOTAL, "page_frees"),
    (m.OBJECT_FREES_TOTAL, "object_frees"),
    (m.DENIED_FREES_TOTAL, "denied_frees"),
    (m.UNKNOWN_FREES_TOTAL, "unknown_frees"),
    (m.REUSED_HANDLES_TOTAL, "reused_handles"),
    (m.LIVE_HANDLES, "live_handles"),
    (m.PFMEMALLOC_ACTIVE, "pfmemalloc_active"),
    (m.PFMEMALLOC_ACTIVATIONS_TOTAL, "pfmemalloc_activations"),
    (m.PFMEMALLOC_DEACTIVATIONS_TOTAL, "pfmemalloc_deactivations"),
    (m.PFMEMALLOC_WRONG_DEACTIVATIONS_TOTAL, "pfmemalloc_wrong_deactivations"),
    (m.PFMEMALLOC_MARKS_TOTAL, "pfmemalloc_marks"),
)


class AllocationsCollector:
    """What was asked of the machines, and what they answered."""

    name = "allocations"
    specs = (*_BY_RESULT.values(), *(spec for spec, _ in _PLAIN))

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Add the counts of every machine."""
        for source in reading.sources:
            name = bounds.fold("source", source.name)
            for variant in source.life.variants:
                _add_machine(samples, (name, variant.variant), variant.stats)


def _add_machine(samples: Samples, model: tuple[str, str], stats: MachineStats) -> None:
    for spec, labels in _SEEDED:
        samples.add(spec, (*model, *labels), 0)
    for outcome in stats.outcomes:
        labels = (outcome.caller, outcome.kind, outcome.path)
        samples.add(_BY_RESULT[outcome.result], (*model, *labels), outcome.count)
    for spec, field in _PLAIN:
        samples.add(spec, model, int(getattr(stats, field)))
