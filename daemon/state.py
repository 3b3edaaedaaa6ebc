"""``/state``: where every source stands and what its models hold, as JSON."""

from __future__ import annotations

import time

from allocator import COMPILED
from daemon.reading import Reading, SourceReading
from daemon.summary import BUSIEST, Json, summarize


def state_of(
    reading: Reading, version: str, waiting_for: str | None, most_caches: int = BUSIEST
) -> Json:
    """The whole answer; ``waiting_for`` says why the daemon is not ready, None if it is.

    Of each machine so many of the busiest caches are listed.
    """
    return {
        "version": version,
        "compiled": COMPILED,
        "time": time.time(),
        "ready": waiting_for is None,
        "messages_refused": reading.messages_refused,
        "sources": {source.name: _source(source, most_caches) for source in reading.sources},
    }


def _source(source: SourceReading, most_caches: int) -> Json:
    life = source.life
    return {
        "connected": source.connected,
        "epoch": life.epoch,
        "seq": life.seq,
        "events": life.events,
        "last_ts_ns": life.last_ts_ns,
        "phase": life.phase,
        "last_batch_at": source.last_batch_at,
        "events_applied": source.events_applied,
        "batches_applied": source.batches_applied,
        "batches_duplicate": source.batches_duplicate,
        "batches_gapped": source.batches_gapped,
        "batches_refused": source.batches_refused,
        "bytes_received": source.bytes_received,
        "epochs": source.epochs,
        "marks": source.marks,
        "variants": {
            variant.variant: {"digest": variant.digest, **summarize(variant.stats, most_caches)}
            for variant in life.variants
        },
    }
