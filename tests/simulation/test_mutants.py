"""The simulation can fail: each way of getting it wrong is caught within some seeds."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest
import structlog

from allocator.revision import Variant
from daemon.engine import Engine
from daemon.intake import Intake
from daemon.journal import layout
from daemon.journal.reader import JournalReader
from daemon.journal.writer import FsyncMode, Journal
from daemon.sources import Admitted, MachineFactory, Source, Verdict
from tests.simulation.disk import SimulatedFile, SimulatedFolder
from tests.simulation.world import World
from tracegen.batch import Batch, EventBatch

SEEDS = 150


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Log nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def no_dedupe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was applied before is applied again."""
    admit = Source.admit

    def mutant(
        self: Source,
        batch: Batch,
        data: bytes,
        variants: Sequence[Variant],
        machine_factory: MachineFactory,
        max_live_handles: int | None = None,
    ) -> Admitted | Verdict:
        verdict = admit(self, batch, data, variants, machine_factory, max_live_handles)
        if verdict is Verdict.DUPLICATE and isinstance(batch, EventBatch) and self.life:
            return Admitted(self, self.life, batch, data)
        return verdict

    monkeypatch.setattr(Source, "admit", mutant)


def gap_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is applied though the one before it is missing."""
    admit = Source.admit

    def mutant(
        self: Source,
        batch: Batch,
        data: bytes,
        variants: Sequence[Variant],
        machine_factory: MachineFactory,
        max_live_handles: int | None = None,
    ) -> Admitted | Verdict:
        verdict = admit(self, batch, data, variants, machine_factory, max_live_handles)
        same_life = self.life is not None and self.life.epoch == batch.epoch
        if verdict is Verdict.GAP and isinstance(batch, EventBatch) and self.life and same_life:
            self.life.admitted_seq = batch.seq
            return Admitted(self, self.life, batch, data)
        return verdict

    monkeypatch.setattr(Source, "admit", mutant)


def ack_before_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group is acknowledged, and written only with the next one."""
    append = Journal.append
    late: dict[int, Sequence[bytes]] = {}

    def mutant(self: Journal, batches: Sequence[bytes]) -> None:
        before = late.get(id(self))
        late[id(self)] = batches
        if before is not None:
            append(self, before)

    monkeypatch.setattr(Journal, "append", mutant)


def ack_before_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group is acknowledged while the disk still works on it."""
    monkeypatch.setattr(Journal, "wait_until_safe", lambda _self: None)


def found_is_not_made_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process wrote and did not sync counts as kept at once."""

    def mutant(self: Journal, found: JournalReader) -> None:
        last = self._segments.pop()
        self._header = last.header
        self._size = found.torn.position.offset if found.torn else last.size
        self._file = self._folder.extend(layout.segment_name(last.number))
        self._file.truncate(self._size)

    monkeypatch.setattr(Journal, "_reopen", mutant)


def snapshot_is_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot gets its name before it is on the disk."""
    create = SimulatedFolder.create

    def mutant(self: SimulatedFolder, name: str) -> SimulatedFile:
        file = create(self, name)
        if name.endswith(".part"):
            monkeypatch.setattr(file, "sync", lambda: None)
        return file

    monkeypatch.setattr(SimulatedFolder, "create", mutant)


def names_are_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new segment is used before its name is on the disk."""
    monkeypatch.setattr(SimulatedFolder, "sync", lambda _self: None)


def journal_is_behind_its_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is taken before the journal is safe up to its place."""
    monkeypatch.setattr(Journal, "make_safe", Journal.wait_until_safe)


def checksums_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in the journal is believed."""

    def crc32(data: bytes, value: int = 0) -> int:
        del data, value
        return 0

    monkeypatch.setattr(layout, "zlib", SimpleNamespace(crc32=crc32))
    assert zlib.crc32(b"a") != 0


def refused_group_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the full disk did not take still counts as admitted."""

    def mutant(self: Engine, group: Sequence[Admitted]) -> None:
        del self, group

    monkeypatch.setattr(Engine, "abandon", mutant)


def refused_group_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the full disk did not take is applied all the same."""

    def mutant(self: Engine, group: Sequence[Admitted]) -> None:
        for admitted in group:
            self.apply(admitted)

    monkeypatch.setattr(Engine, "abandon", mutant)


def torn_tail_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal goes on behind what a crash left, instead of in its place."""
    monkeypatch.setattr(SimulatedFile, "truncate", lambda _self, _size: None)


def journal_is_shortened_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments go that the older snapshot still needs."""
    retain = Journal.retain
    monkeypatch.setattr(Journal, "retain", lambda self, _needed: retain(self, self.end))


def stop_is_snapshotted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is taken between the writing of a group and its being applied."""
    apply = Intake._apply

    def mutant(self: Intake, group: list[Admitted]) -> bool:
        if self._storage is not None:
            self._storage.turn(self.engine)
        return apply(self, group)

    monkeypatch.setattr(Intake, "_apply", mutant)


@pytest.mark.parametrize(
    ("mutate", "fsync"),
    [
        (no_dedupe, "always"),
        (gap_is_applied, "always"),
        (ack_before_write, "always"),
        (ack_before_write, "never"),
        (ack_before_sync, "always"),
        (found_is_not_made_safe, "always"),
        (snapshot_is_not_synced, "always"),
        (names_are_not_synced, "always"),
        (journal_is_behind_its_snapshot, "never"),
        (checksums_are_not_looked_at, "always"),
        (refused_group_is_not_forgotten, "always"),
        (refused_group_is_applied, "always"),
        (torn_tail_stays, "always"),
        (journal_is_shortened_too_far, "always"),
        (stop_is_snapshotted, "always"),
    ],
)
def test_mutant_is_caught(
    mutate: Callable[[pytest.MonkeyPatch], None],
    fsync: FsyncMode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one safeguard taken out, some seed breaks a promise."""
    mutate(monkeypatch)

    assert any(breaks(seed, fsync) for seed in range(SEEDS))


def breaks(seed: int, fsync: FsyncMode) -> bool:
    """Whether a promise is broken in that world."""
    try:
        World(seed, fsync).run()
    except Exception:  # noqa: BLE001 - however it shows
        return True
    return False
