"""Storage: the journal, the snapshots, and what the last start found of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from daemon import metric_table as m
from daemon.collectors.samples import LabelBounds, Samples
from daemon.reading import Reading
from daemon.storage import StorageReading


class StorageCollector:
    """What the daemon keeps on disk; nothing without a data folder."""

    name = "storage"
    specs = (
        m.JOURNAL_BYTES,
        m.JOURNAL_SEGMENTS,
        m.JOURNAL_APPENDED_BYTES_TOTAL,
        m.JOURNAL_GROUPS_TOTAL,
        m.JOURNAL_SYNC_SECONDS,
        m.JOURNAL_BLOCKED,
        m.JOURNAL_GROUPS_REFUSED_TOTAL,
        m.JOURNAL_TORN_BYTES,
        m.JOURNAL_DISK_FREE_BYTES,
        m.SNAPSHOTS_TOTAL,
        m.SNAPSHOTS_FAILED_TOTAL,
        m.SNAPSHOT_BYTES,
        m.SNAPSHOT_SECONDS,
        m.SNAPSHOT_TIMESTAMP_SECONDS,
        m.RECOVERY_SECONDS,
        m.RECOVERY_BATCHES,
        m.RECOVERY_SNAPSHOTS_REFUSED,
    )

    def __init__(
        self, read: Callable[[], StorageReading | None], data_dir: Path | None = None
    ) -> None:
        """``data_dir`` is on the file system whose room is shown."""
        self._read = read
        self._data_dir = data_dir

    def collect(self, reading: Reading, bounds: LabelBounds, samples: Samples) -> None:
        """Add what there is."""
        del reading, bounds
        storage = self._read()
        if storage is None:
            return
        journal, snapshots, recovered = storage.journal, storage.snapshots, storage.recovered
        for spec, value in (
            (m.JOURNAL_BYTES, journal.bytes),
            (m.JOURNAL_SEGMENTS, journal.segments),
            (m.JOURNAL_APPENDED_BYTES_TOTAL, journal.appended_bytes),
            (m.JOURNAL_GROUPS_TOTAL, journal.groups),
            (m.JOURNAL_BLOCKED, int(storage.blocked)),
            (m.JOURNAL_GROUPS_REFUSED_TOTAL, journal.refusals),
            (m.JOURNAL_TORN_BYTES, journal.torn_bytes),
            (m.SNAPSHOTS_TOTAL, snapshots.taken),
            (m.SNAPSHOTS_FAILED_TOTAL, snapshots.failed),
            (m.SNAPSHOT_BYTES, snapshots.bytes),
            (m.SNAPSHOT_SECONDS, snapshots.seconds),
            (m.SNAPSHOT_TIMESTAMP_SECONDS, snapshots.taken_at),
            (m.RECOVERY_SECONDS, recovered.seconds),
            (m.RECOVERY_BATCHES, recovered.batches),
            (m.RECOVERY_SNAPSHOTS_REFUSED, recovered.damaged_snapshots),
        ):
            samples.add(spec, (), value)
        samples.add_histogram(m.JOURNAL_SYNC_SECONDS, (), journal.sync_seconds)
        if self._data_dir is not None:
            with suppress(OSError):  # a vanished disk is the journal's to tell
                free = shutil.disk_usage(self._data_dir).free
                samples.add(m.JOURNAL_DISK_FREE_BYTES, (), free)
