"""Traces played as new life: parts of them, some events of them, at a pace."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.config import CacheSpec, MachineConfig
from allocator.events import (
    KMALLOC,
    MARK,
    MIN_FREE,
    OBJ_FREE,
    OP_NAMES,
    PAGE_ALLOC,
    PAGE_FREE,
)
from tracegen.batch import RECORD, Batch, BatchMaker, EventBatch, HeaderBatch, check
from tracegen.errors import PfmemdError
from tracegen.header import Header
from tracegen.kernel_trace.population import BEGIN_LABEL
from tracegen.playback.event_filter import EventFilter
from tracegen.playback.player import InterruptedPlayError, Player, Score
from tracegen.playback.section import Section
from tracegen.trace_file import TraceWriter

MACHINE = MachineConfig(
    cpus=2,
    cpu_node=(0, 0),
    nodes=((0, 4096),),
    zone_end_pfn=(1024, 4096, 4096),
    min_free_kbytes=512,
)
SECOND = 10**9
Brief = list[tuple[str, int, int]]

EVENTS = (
    (1 * SECOND, 1, PAGE_ALLOC, 0),
    (2 * SECOND, 2, KMALLOC, 64),
    (3 * SECOND, 1, PAGE_FREE, 0),
    (4 * SECOND, 0, MIN_FREE, 1024),
    (5 * SECOND, 3, KMALLOC, 512),
    (6 * SECOND, 2, OBJ_FREE, 0),
    (7 * SECOND, 3, OBJ_FREE, 0),
)


def records(*events: tuple[int, int, int, int]) -> bytes:
    """Events given by (ts_ns, handle, op, arg)."""
    return b"".join(
        RECORD.pack(ts_ns, handle, 0, arg, 0, -1, op, 0, 0) for ts_ns, handle, op, arg in events
    )


def write_trace(path: Path, *parts: bytes, labels: tuple[str, ...] = ()) -> str:
    """A trace of one source with a batch for each part."""
    maker = BatchMaker("a", 1)
    header = Header(MACHINE, (CacheSpec(0, "dentry", 192),), "v6.1", "mono", labels=labels)
    with TraceWriter(str(path)) as writer:
        writer.write(maker.header(header))
        for part in parts:
            writer.write(maker.events(part))
    return str(path)


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Seven events in two batches."""
    return write_trace(tmp_path / "t.pfmt", records(*EVENTS[:3]), records(*EVENTS[3:]))


class Stage:
    """A target whose clock is moved by waiting only."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.at: list[float] = []
        self.now = 100.0

    def write(self, batch: Batch) -> None:
        """Note the batch and the time."""
        self.batches.append(batch)
        self.at.append(self.now - 100)

    def wait_until(self, moment: float) -> None:
        """Let the time pass."""
        self.now = moment

    def clock(self) -> float:
        """The time."""
        return self.now

    def brief(self) -> Brief:
        """(op, handle, arg) of every event; each is checked against the header."""
        found: Brief = []
        header: Header | None = None
        for batch in self.batches:
            if isinstance(batch, HeaderBatch):
                header = batch.header
                continue
            assert header is not None
            check(batch, header)
            found += [(OP_NAMES[r[6]], r[1], r[3]) for r in RECORD.iter_unpack(batch.records)]
        return found


def play(score: Score) -> Stage:
    """Play it to the end."""
    stage = Stage()
    Player(score, stage, clock=stage.clock).run()
    return stage


def brief(*events: tuple[int, int, int, int]) -> Brief:
    """What :meth:`Stage.brief` says of such events."""
    return [(OP_NAMES[op], handle, arg) for _, handle, op, arg in events]


def test_each_play_is_a_new_life(trace: str) -> None:
    """The epochs follow one another, under the name that is asked for."""
    stage = play(Score(trace, epoch=5, plays=2, source="b"))

    assert [("b", 5, 1), ("b", 5, 2), ("b", 5, 3), ("b", 6, 1), ("b", 6, 2), ("b", 6, 3)] == [
        (batch.source, batch.epoch, batch.seq) for batch in stage.batches
    ]
    assert brief(*EVENTS) * 2 == stage.brief()


def test_a_slice_begins_with_what_was_in_use_there(trace: str) -> None:
    """Under the lowest reserve, then under the one that was set by then, and a mark."""
    stage = play(Score(trace, epoch=5, section=Section.parse("3.5:5.5")))

    assert [
        ("MIN_FREE", 0, 128),
        ("KMALLOC", 2, 64),
        ("MIN_FREE", 0, 1024),
        ("MARK", 0, 0),
        *brief(EVENTS[4], EVENTS[5]),
    ] == stage.brief()
    header = stage.batches[0]
    assert isinstance(header, HeaderBatch)
    assert (BEGIN_LABEL,) == header.header.labels


@pytest.mark.parametrize(
    ("text", "first", "end"), [(":2", 0, 2), (":3e", 0, 3), (":", 0, 7), (":100", 0, 7)]
)
def test_a_slice_from_the_beginning_needs_no_prelude(
    trace: str, text: str, first: int, end: int
) -> None:
    """It ends before the first event that is at its end or beyond."""
    stage = play(Score(trace, epoch=5, section=Section.parse(text)))

    assert brief(*EVENTS[first:end]) == stage.brief()


def test_an_imports_own_prelude_is_no_part_of_a_slice(tmp_path: Path) -> None:
    """It is played in front of one from the beginning, and goes into the prelude of a later one."""
    prelude = ((SECOND, 8, PAGE_ALLOC, 0), (SECOND, 9, PAGE_ALLOC, 0), (SECOND, 0, MARK, 0))
    both = records(*prelude, *EVENTS)
    path = write_trace(tmp_path / "t.pfmt", both, labels=(BEGIN_LABEL,))

    early = play(Score(path, epoch=5, section=Section.parse(":2e"))).brief()
    late = play(Score(path, epoch=5, section=Section.parse("1e:2e"))).brief()

    assert brief(*prelude, *EVENTS[:2]) == early
    assert [("PAGE_ALLOC", handle, 0) for handle in (8, 9, 1)] == late[1:4]
    assert brief(EVENTS[1]) == late[6:]


def test_a_free_goes_the_way_of_its_allocation(trace: str) -> None:
    """What sets up the machine stays."""
    stage = play(Score(trace, epoch=5, event_filter=EventFilter("bytes == 64")))

    assert brief(EVENTS[1], EVENTS[3], EVENTS[5]) == stage.brief()


def test_a_pace_is_kept_and_smooth(trace: str) -> None:
    """Batches are cut so that none is late by more than a tenth of a second."""
    stage = play(Score(trace, epoch=5, speed=5))

    assert brief(*EVENTS) == stage.brief()
    assert [0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1.2] == [round(at, 6) for at in stage.at]


def test_batches_are_as_small_as_asked_for(trace: str) -> None:
    """For a receiver that takes no larger ones."""
    stage = play(Score(trace, epoch=5, batch_events=2))

    assert [2, 1, 2, 2] == [b.events for b in stage.batches if isinstance(b, EventBatch)]


def test_an_interruption_ends_a_loop(trace: str) -> None:
    """Between two batches."""
    stage = Stage()
    player = Player(
        Score(trace, epoch=5, plays=None), stage, interrupted=lambda: len(stage.batches) == 7
    )
    with pytest.raises(InterruptedPlayError):
        player.run()

    assert (7, 2) == (len(stage.batches), player.played.plays)


def test_nothing_to_play_is_told(trace: str) -> None:
    """A loop would never end."""
    with pytest.raises(PfmemdError, match="nothing of it is left to be played"):
        play(Score(trace, epoch=5, section=Section.parse("100:")))


@pytest.mark.parametrize("text", ["", "1", "a:b", "1:2:3", "-1:", "1e3:", "1ee:"])
def test_what_is_no_slice_is_told(text: str) -> None:
    """FROM:TO, either of which may be left out."""
    assert Section.parse(text) is None
