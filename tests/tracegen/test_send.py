"""Sending traces: as they are, as new life, in a loop, at a pace, from pipes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tracegen.fakes import HEADER, RouterDaemon, Storage, encoded, make_batches
from tracegen.batch import Batch, EventBatch, HeaderBatch
from tracegen.errors import BatchError, PfmemdError
from tracegen.protocol import Bye
from tracegen.send import Plan, Replay, Sent
from tracegen.sender import InterruptedSendError, LostConnectionError
from tracegen.sender_state import RejectedError

BATCHES = make_batches(batches=10, events=5)


@pytest.fixture
def storage() -> Storage:
    """What the daemon keeps."""
    return Storage()


@pytest.fixture
def daemon(storage: Storage) -> Iterator[RouterDaemon]:
    """A daemon that listens."""
    router = RouterDaemon(storage).start()
    yield router
    router.close()


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """A trace of one source."""
    path = tmp_path / "t.pfmt"
    path.write_bytes(encoded(BATCHES))
    return str(path)


def _records(batches: list[Batch]) -> bytes:
    return b"".join(batch.records for batch in batches if isinstance(batch, EventBatch))


def test_a_trace_is_forwarded_byte_for_byte(
    daemon: RouterDaemon, storage: Storage, trace: str
) -> None:
    """What the daemon keeps is the file, whatever encoder wrote it."""
    sent = Replay(Plan(daemon.address, 30)).run(trace)

    assert Path(trace).read_bytes() == b"".join(storage.stored["a", 1])
    size = Path(trace).stat().st_size
    assert Sent(batches=10, events=45, plays=1, offset=size, epochs={"a": 1}) == sent


def test_a_trace_sent_twice_is_there_once(
    daemon: RouterDaemon, storage: Storage, trace: str
) -> None:
    """The second time the daemon has it all."""
    Replay(Plan(daemon.address, 30)).run(trace)
    sent = Replay(Plan(daemon.address, 30)).run(trace)

    assert BATCHES == storage.batches()
    assert (0, 0, 10) == (sent.batches, sent.events, sent.already_there)


def test_a_daemon_that_has_more_than_the_trace_is_told(
    daemon: RouterDaemon, storage: Storage, trace: str
) -> None:
    """Another trace under the same source and epoch is not passed over."""
    storage.stored["a", 1] = [b""] * 11

    with pytest.raises(PfmemdError, match="has 11 batches of a, epoch 1; this trace ends after 10"):
        Replay(Plan(daemon.address, 30)).run(trace)


def test_a_trace_of_several_sources_and_lives_arrives(
    daemon: RouterDaemon, storage: Storage, tmp_path: Path
) -> None:
    """Each source has a connection of its own, each life its greeting."""
    mixed = [
        batch for pair in zip(make_batches("a"), make_batches("b"), strict=True) for batch in pair
    ]
    mixed += make_batches("a", epoch=2)
    path = tmp_path / "t"
    path.write_bytes(encoded(mixed))

    sent = Replay(Plan(daemon.address, 30)).run(str(path))

    assert make_batches("a") == storage.batches("a")
    assert make_batches("b") == storage.batches("b")
    assert make_batches("a", epoch=2) == storage.batches("a", 2)
    assert {"a": 2, "b": 1} == sent.epochs


def test_a_renamed_trace_keeps_everything_else(
    daemon: RouterDaemon, storage: Storage, trace: str
) -> None:
    """--source changes the name only."""
    Replay(Plan(daemon.address, 30, source="other")).run(trace)

    assert make_batches("other", batches=10, events=5) == storage.batches("other")


def test_several_sources_cannot_share_a_name(daemon: RouterDaemon, tmp_path: Path) -> None:
    """--source is for a trace of one source."""
    path = tmp_path / "t"
    path.write_bytes(encoded([*make_batches("a"), *make_batches("b")]))

    with pytest.raises(PfmemdError, match="several sources, b is another one"):
        Replay(Plan(daemon.address, 30, source="other")).run(str(path))


@pytest.mark.parametrize("batch_events", [1, 2, 3, 5, 100])
def test_batches_can_be_cut(
    daemon: RouterDaemon, storage: Storage, trace: str, batch_events: int
) -> None:
    """--batch-events cuts batches and numbers the pieces; the events stay as they are."""
    Replay(Plan(daemon.address, 30, batch_events=batch_events)).run(trace)

    batches = storage.batches()
    assert list(range(1, len(batches) + 1)) == [batch.seq for batch in batches]
    assert HeaderBatch("a", 1, HEADER) == batches[0]
    assert _records(BATCHES) == _records(batches)
    assert min(batch_events, 5) == max(
        batch.events for batch in batches if isinstance(batch, EventBatch)
    )


def test_a_new_epoch_is_a_new_life(daemon: RouterDaemon, storage: Storage, trace: str) -> None:
    """--new-epoch sends everything again, in an epoch from the clock."""
    Replay(Plan(daemon.address, 30)).run(trace)
    sent = Replay(Plan(daemon.address, 30, new_epoch=True), epoch_clock=lambda: 555).run(trace)

    assert {"a": 555} == sent.epochs
    assert make_batches(epoch=555, batches=10, events=5) == storage.batches(epoch=555)


def test_an_epoch_that_is_over_is_refused_with_what_to_do(
    daemon: RouterDaemon, storage: Storage, trace: str
) -> None:
    """Going back behind a later life of the source is the daemon's to refuse."""
    storage.stored["a", 9] = [b""]

    with pytest.raises(RejectedError, match=r"epoch 1 is over, the daemon has 9 \(fenced\)") as e:
        Replay(Plan(daemon.address, 30)).run(trace)

    assert e.value.exit_code == 2


def test_a_loop_is_a_new_life_each_time(daemon: RouterDaemon, storage: Storage, trace: str) -> None:
    """--loop plays until it is interrupted, each time in a later epoch, even on a slow clock."""
    replay = Replay(
        Plan(daemon.address, 30, loop=True),
        interrupted=lambda: len(storage.stored) > 3,
        epoch_clock=lambda: 100,
    )

    with pytest.raises(InterruptedSendError):
        replay.run(trace)

    assert replay.sent.plays >= 3
    for epoch in (100, 101, 102):
        assert make_batches(epoch=epoch, batches=10, events=5) == storage.batches(epoch=epoch)


def test_an_interrupted_replay_leaves_nothing_unsaid(
    daemon: RouterDaemon, storage: Storage, trace: str
) -> None:
    """What was handed over is acknowledged, and goodbye is said, before it ends."""
    replay = Replay(
        Plan(daemon.address, 30, speed=0.0001),
        interrupted=lambda: len(storage.stored["a", 1]) == 2,
    )

    with pytest.raises(InterruptedSendError):
        replay.run(trace)

    assert BATCHES[:2] == storage.batches()
    assert Bye(1, 2) == storage.heard[-1]


class _Clock:
    """A clock that only the pace moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


def test_the_pace_is_the_traces_own_time(daemon: RouterDaemon, trace: str) -> None:
    """At 0.1x, a batch is sent ten times as long after the first as its events were."""
    clock = _Clock()
    times: list[float] = []

    replay = Replay(
        Plan(daemon.address, None, speed=0.1),
        clock=clock,
        progress=lambda _sent, _size: times.append(clock.now),
    )
    replay.run(trace)

    # The header, then nine batches whose first events are 5 ms apart: 50 ms at this speed.
    # The clock shows the first one's time a little late.
    assert times[9] - times[1] > 8 * 0.050 - 0.05


def test_progress_is_told_batch_by_batch(daemon: RouterDaemon, trace: str) -> None:
    """Events sent, bytes done, and the whole size where it is known."""
    told: list[tuple[int, int | None]] = []

    Replay(
        Plan(daemon.address, 30), progress=lambda sent, size: told.append((sent.events, size))
    ).run(trace)

    size = Path(trace).stat().st_size
    assert [(5 * batch, size) for batch in range(10)] == told


def test_a_speed_of_max_does_not_wait(daemon: RouterDaemon, trace: str) -> None:
    """Without a speed no time is looked at: the clock may as well stand still."""
    sent = Replay(Plan(daemon.address, None), clock=lambda: 0.0).run(trace)

    assert sent.events == 45


def test_a_live_pipe_is_sent_as_it_comes(
    daemon: RouterDaemon, storage: Storage, tmp_path: Path
) -> None:
    """Each batch of a pipe reaches the daemon before the next one is written."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    arrived = []

    def feed() -> None:
        with fifo.open("wb", buffering=0) as pipe:
            for number, batch in enumerate(BATCHES, 1):
                pipe.write(encoded([batch]))
                while len(storage.stored["a", 1]) < number:
                    threading.Event().wait(0.001)
                arrived.append(number)

    feeder = threading.Thread(target=feed)
    feeder.start()
    Replay(Plan(daemon.address, 30)).run(str(fifo))
    feeder.join()

    assert list(range(1, 11)) == arrived
    assert BATCHES == storage.batches()


def test_a_pipe_with_nothing_in_it_can_be_interrupted(tmp_path: Path) -> None:
    """Before the first batch there is no connection to wait on, but still a way out."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)

    with pytest.raises(InterruptedSendError):
        Replay(Plan("tcp://127.0.0.1:9", 30), interrupted=lambda: True).run(str(fifo))
    os.close(writer)


def test_a_bad_trace_stops_after_its_good_part(
    daemon: RouterDaemon, storage: Storage, tmp_path: Path
) -> None:
    """The error is the reader's; what came before it is kept by the daemon."""
    path = tmp_path / "t"
    path.write_bytes(encoded(BATCHES)[:-5])

    with pytest.raises(BatchError, match=r"batch 10, byte .*: the trace ends in the middle"):
        Replay(Plan(daemon.address, 30)).run(str(path))

    assert BATCHES[:9] == storage.batches()


def test_no_daemon_is_told(trace: str) -> None:
    """The exit code of a daemon that is not there is 3."""
    with pytest.raises(LostConnectionError) as caught:
        Replay(Plan("tcp://127.0.0.1:9", 0.2)).run(trace)

    assert caught.value.exit_code == 3
