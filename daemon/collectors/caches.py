"""Caches: geometry, slabs and objects, what was asked of them, SLAB's and SLUB's counters.

A cache is shown from its first use on. There may be more caches than the bound
of the label: the busiest at the first scrape that sees them get it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from operator import attrgetter
from typing import Final

from allocator.stats import CacheStats
from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples
from daemon.metric_table import MetricSpec
from daemon.reading import Reading, VariantReading
from daemon.summary import activity, busiest

_GEOMETRY: Final = (
    (m.CACHE_OBJECT_SIZE_BYTES, "object_size"),
    (m.CACHE_OBJECTS_PER_SLAB, "objects_per_slab"),
    (m.CACHE_PAGES_PER_SLAB, "pages_per_slab"),
)
"""What does not add up, so has no meaning under ``other``."""

_PLAIN: Final = (
    (m.CACHE_SLABS, "slabs"),
    (m.CACHE_OBJECTS, "objects"),
    (m.CACHE_ACTIVE_OBJECTS, "active_objects"),
    (m.CACHE_PFMEMALLOC_SLABS, "pfmemalloc_slabs"),
    (m.CACHE_PFMEMALLOC_OBJECTS, "pfmemalloc_objects"),
    (m.CACHE_PRESERVED_OBJECTS, "preserved_objects"),
    (m.CACHE_ALLOCATIONS_OK_TOTAL, "allocations"),
    (m.CACHE_ALLOCATIONS_DENIED_TOTAL, "denied"),
    (m.CACHE_ALLOCATIONS_STALLED_TOTAL, "stalled"),
    (m.CACHE_FREES_TOTAL, "frees"),
)


class CachesCollector:
    """What the object allocators hold and did."""

    name = "caches"
    specs = (
        *(spec for spec, _ in _GEOMETRY),
        *(spec for spec, _ in _PLAIN),
        m.CACHE_LEAKS_TOTAL,
        *m.SLAB_COUNTERS.values(),
        *m.SLUB_COUNTERS.values(),
    )

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Add the used caches of every machine."""
        for source in reading.sources:
            name = bounds.fold("source", source.name)
            for variant in source.life.variants:
                _add_caches(samples, bounds, (name, variant.variant), variant)


def _add_caches(
    samples: Samples, bounds: LabelBounds, model: tuple[str, str], variant: VariantReading
) -> None:
    shown = {
        cache.name: bounds.fold("cache", cache.name) for cache in busiest(variant.stats.caches)
    }
    used = [cache for cache in variant.stats.caches if activity(cache)]
    named = Counter(cache.name for cache in used)
    own: list[CacheStats] = []
    """Nearly all: what stands under their labels is theirs alone."""
    shared: list[CacheStats] = []
    for cache in used:  # in an order that stays from scrape to scrape
        name = cache.name
        if named[name] == 1 and shown[name] == name and model[0] != m.OTHER:
            own.append(cache)
        else:
            shared.append(cache)
    counters = m.SLAB_COUNTERS if variant.allocator == "slab" else m.SLUB_COUNTERS
    _add_own(samples, model, own, counters)
    for cache in shared:
        _add_shared(samples, (*model, shown[cache.name]), cache, counters)


def _add_own(
    samples: Samples,
    model: tuple[str, str],
    caches: list[CacheStats],
    counters: Mapping[str, MetricSpec],
) -> None:
    """Most of all samples are these, so they go in by metric."""
    labels = [(*model, cache.name) for cache in caches]
    for spec, field in (*_GEOMETRY, *_PLAIN):
        samples.add_column(spec, labels, map(attrgetter(field), caches))
    for key, spec in counters.items():
        samples.add_column(spec, labels, [cache.counters.get(key, 0) for cache in caches])
    for label, cache in zip(labels, caches, strict=True):
        for cause, count in cache.leaks.items():
            samples.add(m.CACHE_LEAKS_TOTAL, (*label, cause), count)


def _add_shared(
    samples: Samples,
    labels: tuple[str, str, str],
    cache: CacheStats,
    counters: Mapping[str, MetricSpec],
) -> None:
    for spec, field in _PLAIN:
        samples.add(spec, labels, getattr(cache, field))
    for cause, count in cache.leaks.items():
        samples.add(m.CACHE_LEAKS_TOTAL, (*labels, cause), count)
    for key, spec in counters.items():
        samples.add(spec, labels, cache.counters.get(key, 0))
