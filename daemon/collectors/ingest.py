"""Ingest: what became of the sources' batches, and where each source stands."""

from __future__ import annotations

from typing import Final

from allocator.config import PAGE_SIZE
from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples
from daemon.reading import Reading, SourceReading

_PLAIN: Final = (
    (m.EVENTS_APPLIED_TOTAL, "events_applied"),
    (m.BATCHES_APPLIED_TOTAL, "batches_applied"),
    (m.BATCHES_DUPLICATE_TOTAL, "batches_duplicate"),
    (m.BATCHES_GAPPED_TOTAL, "batches_gapped"),
    (m.RECEIVED_BYTES_TOTAL, "bytes_received"),
    (m.SOURCE_EPOCHS_TOTAL, "epochs"),
)
NS_PER_SECOND: Final = 1_000_000_000


class IngestCollector:
    """The way from the senders to the machines."""

    name = "ingest"
    specs = (
        *(spec for spec, _ in _PLAIN),
        m.BATCHES_REFUSED_TOTAL,
        m.BATCH_APPLY_SECONDS,
        m.BATCH_AGE_SECONDS,
        m.SOURCE_CONNECTED,
        m.SOURCE_SEQUENCE,
        m.SOURCE_LAST_EVENT_SECONDS,
        m.SOURCE_LAST_BATCH_TIMESTAMP_SECONDS,
        m.SOURCE_PHASE,
        m.SOURCE_MARKS_TOTAL,
        m.MACHINE_INFO,
        m.SOURCES,
        m.SOURCES_LIMIT,
        m.MESSAGES_REFUSED_TOTAL,
    )

    def __init__(self, max_sources: int) -> None:
        self._max_sources = max_sources

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Add every source."""
        samples.add(m.SOURCES, (), len(reading.sources))
        samples.add(m.SOURCES_LIMIT, (), self._max_sources)
        for reason, count in reading.messages_refused.items():
            samples.add(m.MESSAGES_REFUSED_TOTAL, (reason,), count)
        for source in reading.sources:
            name = bounds.fold("source", source.name)
            _add_counts(samples, name, source, bounds)
            if name == source.name:  # where a source stands has no sum with others
                _add_position(samples, source, bounds)


def _add_position(samples: Samples, source: SourceReading, bounds: LabelBounds) -> None:
    name = source.name
    samples.add(m.SOURCE_LAST_BATCH_TIMESTAMP_SECONDS, (name,), source.last_batch_at)
    life = source.life
    samples.add(m.SOURCE_SEQUENCE, (name,), life.seq)
    samples.add(m.SOURCE_LAST_EVENT_SECONDS, (name,), life.last_ts_ns / NS_PER_SECOND)
    for phase in life.phases:
        labels = (name, bounds.fold("phase", phase))
        samples.add(m.SOURCE_PHASE, labels, int(phase == life.phase))
    config = life.config
    samples.put(
        m.MACHINE_INFO,
        (
            name,
            str(config.cpus),
            str(len(config.nodes)),
            "yes" if config.numa else "no",
            life.gfp_flavour,
            str(PAGE_SIZE),
        ),
    )


def _add_counts(samples: Samples, name: str, source: SourceReading, bounds: LabelBounds) -> None:
    for spec, field in _PLAIN:
        samples.add(spec, (name,), getattr(source, field))
    for reason, count in source.batches_refused.items():
        samples.add(m.BATCHES_REFUSED_TOTAL, (name, reason), count)
    for phase, count in source.marks.items():
        samples.add(m.SOURCE_MARKS_TOTAL, (name, bounds.fold("phase", phase)), count)
    samples.add(m.SOURCE_CONNECTED, (name,), int(source.connected))
    samples.add_histogram(m.BATCH_APPLY_SECONDS, (name,), source.apply_seconds)
    samples.add_histogram(m.BATCH_AGE_SECONDS, (name,), source.age_seconds)
