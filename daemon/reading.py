"""What the daemon knows at one moment: plain numbers, taken together under one lock.

Everything shown (``/metrics``, ``/state``, summaries) is drawn from a
:class:`Reading`, so that its numbers belong together: free and used add up, and
no counter is a batch ahead of another.
"""

from __future__ import annotations

from dataclasses import dataclass

from allocator.config import MachineConfig
from allocator.stats import MachineStats
from daemon.histogram import Histogram


@dataclass(frozen=True, slots=True)
class VariantReading:
    """One model of one source."""

    variant: str
    allocator: str
    stats: MachineStats
    digest: str | None
    """SHA-256 over the whole state; None when it was not asked for."""


@dataclass(frozen=True, slots=True)
class LifeReading:
    """The current epoch of a source, and its machines."""

    epoch: int
    seq: int
    """The last batch applied."""
    events: int
    last_ts_ns: int
    config: MachineConfig
    gfp_flavour: str
    phases: tuple[str, ...]
    """The label names of the header."""
    phase: str | None
    """The label that the last MARK named."""
    variants: tuple[VariantReading, ...]


@dataclass(frozen=True, slots=True)
class SourceReading:
    """One source: what became of its batches over all its epochs, and its life now."""

    name: str
    life: LifeReading
    connected: bool
    events_applied: int
    batches_applied: int
    batches_duplicate: int
    batches_gapped: int
    batches_refused: dict[str, int]
    bytes_received: int
    epochs: int
    last_batch_at: float
    """Unix time."""
    marks: dict[str, int]
    apply_seconds: Histogram
    age_seconds: Histogram


@dataclass(frozen=True, slots=True)
class Reading:
    """All sources at one moment; a source counts from its first header on."""

    sources: tuple[SourceReading, ...]
    messages_refused: dict[str, int]
