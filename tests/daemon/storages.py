"""A daemon's storage on a simulated disk, around machines that can be saved."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from daemon.collector import SubsystemCollector
from daemon.connections import ConnectionCounts
from daemon.engine import Engine
from daemon.health import Health
from daemon.intake import Intake
from daemon.journal.reader import JournalReader
from daemon.journal.writer import JournalCounts, JournalRules
from daemon.memory import MemoryWatch
from daemon.recovery import Recovered
from daemon.service import subsystem_collectors
from daemon.settings import load_settings
from daemon.sources import Admitted
from daemon.storage import SnapshotCounts, SnapshotRules, Storage, StorageReading, open_storage
from tests.daemon.fakes import VARIANTS
from tests.daemon.journal.journals import InlineExecutor
from tests.simulation.disk import Disk, SimulatedFolder
from tests.simulation.world import HashImages, HashMachine
from tracegen.batch import Batch, encode


class Life:
    """One life of a daemon on a disk, as far as its storage goes."""

    def __init__(self, disk: Disk, **changes: Any) -> None:  # noqa: ANN401 - rules of either kind
        """Recover; ``changes`` are of :class:`JournalRules` or :class:`SnapshotRules`."""
        self.now = 0.0
        self.seen: list[Recovered] = []
        variants = changes.pop("variants", VARIANTS)
        snapshot_rules = SnapshotRules(
            changes.pop("interval_seconds", 60.0), changes.pop("journal_bytes", 1 << 30)
        )
        self.health = Health()
        machines = changes.pop("machines", HashMachine)
        self.engine = Engine(variants, changes.pop("max_sources", 4), machines, lambda: 1000.0)
        self.storage: Storage = open_storage(
            SimulatedFolder(disk),
            self.engine,
            changes.pop("images", HashImages()),
            JournalRules(**changes),
            snapshot_rules,
            "1.2.3",
            self.seen.append,
            (InlineExecutor(), InlineExecutor()),
            clock=lambda: self.now,
            wall_clock_ns=lambda: 1_800_000_000 * 10**9,
            draw=Random(3).randbytes,
        )
        self.intake = Intake(self.engine, self.storage, self.health, clock=lambda: self.now)

    def offer(self, *batches: Batch) -> bool:
        """Admit and commit batches as one group; whether there was room."""
        for batch in batches:
            assert isinstance(self.intake.admit(batch, encode(batch)), Admitted)
        return self.intake.commit()

    def snapshot(self) -> None:
        """Have a snapshot taken, whether it is due or not."""
        self.storage._begin_snapshot(self.engine)
        self.storage._finish_snapshot()

    def digests(self) -> dict[str, list[str]]:
        """By source, where its machines stand."""
        found = {}
        for name, source in self.engine._sources.items():
            assert source.life is not None
            found[name] = [machine.digest() for machine in source.life.machines.values()]
        return found


def collectors(variants: Sequence[str] = ("slab-seed", "slub-seed")) -> list[SubsystemCollector]:
    """Every collector of a daemon that keeps what it takes and has just begun."""
    settings = load_settings({"max_sources": 4, "variants": tuple(variants)})
    reader = JournalReader(SimulatedFolder(Disk(Random(1))))
    recovered = Recovered(reader, [], 0, seconds=0.25)
    counts = JournalCounts(bytes=5000, segments=2, appended_bytes=3000, groups=40)
    reading = StorageReading(counts, SnapshotCounts(taken=1, bytes=800), recovered, blocked=False)
    memory = MemoryWatch(1 << 30, lambda: 80 << 20)
    return subsystem_collectors(settings, "1.2.3", lambda: reading, ConnectionCounts(), memory)
