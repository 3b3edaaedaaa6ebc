"""A trace in place of a socket goes through the same intake: written down, resumed, paused."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from daemon import feed
from daemon.feed import TraceFeed
from daemon.stop_signal import StopSignal
from tests.daemon.fakes import allocations, encoded_trace, record
from tests.daemon.storages import Life
from tests.simulation.disk import Disk
from tracegen.errors import BatchError
from tracegen.limits import BatchLimits

TRACE = encoded_trace(*(allocations(5, 1 + 5 * number) for number in range(100)))


@pytest.fixture
def disk() -> Disk:
    """A disk."""
    return Disk(Random(1))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of a hundred batches of events."""
    path = tmp_path / "trace.pfmt"
    path.write_bytes(TRACE)
    return path


def run(life: Life, trace: Path) -> bool:
    """Feed the trace to its end."""
    return TraceFeed(str(trace), BatchLimits(), life.intake, life.health, StopSignal()).run()


def events(life: Life) -> int:
    """Events applied of source a."""
    source = life.engine.source("a")
    return source.events_applied if source is not None else 0


def test_trace_is_written_down_in_groups(disk: Disk, trace: Path) -> None:
    """The next life has it all, and the journal has fewer groups than batches."""
    first = Life(disk)

    assert run(first, trace)

    assert 500 == events(first)
    assert 101 == first.storage.journal.counts.appended_batches
    assert first.storage.journal.counts.groups < 10
    assert first.digests() == Life(disk).digests()


def test_same_trace_again_goes_on_where_it_ended(disk: Disk, trace: Path) -> None:
    """What is there already is passed over, over lives of the daemon."""
    part = trace.with_name("part.pfmt")
    part.write_bytes(encoded_trace(*(allocations(5, 1 + 5 * number) for number in range(30))))
    run(Life(disk), part)
    second = Life(disk)

    run(second, trace)

    assert 500 == events(second)
    undisturbed = Life(Disk(Random(1)))
    run(undisturbed, trace)
    assert undisturbed.digests() == second.digests()


def test_full_disk_pauses_the_trace(
    disk: Disk, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left out and nothing is doubled when it goes on."""
    life = Life(disk)
    disk.capacity = disk.used + 3000
    waits = []
    monkeypatch.setattr(feed, "POLL_MS", 0)

    def turn() -> None:
        """The main loop has come round; at the third time of waiting there is room."""
        if life.intake.blocked is not None:
            waits.append(life.intake.blocked)
            life.now += 1.0
        if len(waits) == 3:
            disk.capacity = 1 << 30

    monkeypatch.setattr(life.health, "turn", turn)

    assert run(life, trace)

    assert 500 == events(life)
    assert len(waits) >= 3
    assert all("No space left" in why for why in waits)
    assert life.digests() == Life(disk).digests()


def test_batches_before_a_bad_one_are_kept(disk: Disk, trace: Path) -> None:
    """The refusal names the place; what came before is written down and applied."""
    good = encoded_trace(allocations(5))
    trace.write_bytes(encoded_trace(allocations(5), record(op=77)))
    life = Life(disk)

    with pytest.raises(BatchError, match=f"batch 3, byte {len(good)}, event 0: op is 77"):
        run(life, trace)

    assert 5 == events(life)
    assert life.digests() == Life(disk).digests()
