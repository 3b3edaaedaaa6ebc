"""The daemon's half of the protocol where a socket would only be in the way."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from daemon.sessions import Posted, Sessions
from daemon.settings import load_settings
from tests.daemon.fakes import allocations, events_batch, header_batch
from tests.daemon.storages import Life
from tests.simulation.disk import Disk
from tracegen import protocol
from tracegen.batch import Batch, encode
from tracegen.protocol import (
    Ack,
    Answer,
    Bye,
    Hello,
    Message,
    Ping,
    Reject,
    Resend,
    Welcome,
    fingerprint_of,
)


class Daemon:
    """Sessions on a disk that can become full, and what they said."""

    def __init__(self) -> None:
        self.disk = Disk(Random(1))
        self.life = Life(self.disk)
        self.gone: set[bytes] = set()
        self.said: list[Message] = []
        settings = load_settings({"credit": 8})
        self.sessions = Sessions(settings, self.life.intake, "test", self._post)

    def hear(self, *messages: Message | Batch, connection: bytes = b"1") -> list[Message]:
        """Take messages, have a turn, and give the answers."""
        self.said = []
        for message in messages:
            data = protocol.encode(message) if isinstance(message, Message) else encode(message)
            self.sessions.take(connection, [data])
        self.sessions.turn()
        return self.said

    def _post(self, connection: bytes, frame: bytes) -> Posted:
        if connection in self.gone:
            return Posted.GONE
        self.said.append(protocol.decode(frame))
        return Posted.SENT


def hello(epoch: int = 5, session: int = 1) -> Hello:
    """The greeting of source a."""
    return Hello("a", epoch, session, fingerprint_of(encode(header_batch(epoch=epoch))), "test")


@pytest.fixture
def daemon() -> Daemon:
    """A daemon that has a header and a batch of source a."""
    daemon = Daemon()
    daemon.hear(hello(), header_batch(), events_batch(2, allocations(3)))
    return daemon


def test_full_disk_pauses_the_sender(daemon: Daemon) -> None:
    """Credit 0 with what is kept; further batches and pings are answered so, greetings too."""
    daemon.disk.capacity = daemon.disk.used

    assert [Ack(5, 2, 0)] == daemon.hear(events_batch(3, allocations(1, 9)))
    assert [Ack(5, 2, 0)] == daemon.hear(events_batch(4, allocations(1, 10)), Ping())
    (welcome,) = daemon.hear(hello())
    assert isinstance(welcome, Welcome)
    assert (2, 0) == (welcome.last_seq, welcome.credit)


def test_room_again_has_the_sender_go_back(daemon: Daemon) -> None:
    """What came meanwhile was dropped: it is asked for, with credit."""
    daemon.disk.capacity = daemon.disk.used
    daemon.hear(events_batch(3, allocations(1, 9)), events_batch(4, allocations(1, 10)))
    daemon.disk.capacity = 1 << 30
    daemon.life.now = 10.0

    assert [Resend(5, 2, 8)] == daemon.hear()
    # What was still on its way behind does not ask again.
    assert [] == daemon.hear(events_batch(5, allocations(1, 11)))
    answers = daemon.hear(events_batch(3, allocations(1, 9)), events_batch(4, allocations(1, 10)))
    assert [Ack(5, 4, 8)] == answers


def test_daemon_that_goes_down_takes_no_new_sender(daemon: Daemon) -> None:
    """A greeting is told to come again later; those that are there are told goodbye."""
    daemon.sessions.stopping = True

    (refused,) = daemon.hear(hello(session=2), connection=b"2")
    assert isinstance(refused, Reject)
    assert "stopping" == refused.code
    assert refused.code in protocol.RETRYABLE_CODES
    daemon.said = []
    daemon.sessions.say_goodbye()
    assert [Bye(5, 2)] == daemon.said


def test_one_answer_stands_for_many_batches(daemon: Daemon) -> None:
    """Acknowledgements are cumulative: one for each turn and source."""
    batches = [events_batch(seq, allocations(1, seq)) for seq in range(3, 9)]

    assert [Ack(5, 8, 8)] == daemon.hear(*batches)


def test_connection_that_is_gone_holds_nothing(daemon: Daemon) -> None:
    """Another session gets the source as soon as nothing can be sent to the first."""
    (refused,) = daemon.hear(hello(session=2), connection=b"2")[-1:]
    assert isinstance(refused, Reject)
    daemon.gone.add(b"1")

    (welcome,) = daemon.hear(hello(session=2), connection=b"2")

    assert isinstance(welcome, Welcome)


def asking(epoch: int = 6) -> Hello:
    """A greeting that wants answers."""
    return replace(hello(epoch), answers="slub-seed")


def test_answers_come_before_the_acknowledgement(daemon: Daemon) -> None:
    """One for each batch, once: a repetition is acknowledged and not answered."""
    daemon.hear(asking())

    said = daemon.hear(header_batch(epoch=6), events_batch(2, allocations(3), epoch=6))

    after_boot = Answer(6, 1, b"", 40, 10, 20, 30, False)
    after_events = Answer(6, 2, b"\x01\x01\x01", 40, 10, 20, 30, False)
    assert [after_boot, after_events, Ack(6, 2, 8)] == said
    assert [Ack(6, 2, 8)] == daemon.hear(events_batch(2, allocations(3), epoch=6))


def test_nothing_is_answered_that_is_not_kept(daemon: Daemon) -> None:
    """On a full disk there is no answer; when there is room the batch comes again and has one."""
    daemon.hear(asking(), header_batch(epoch=6))
    capacity, daemon.disk.capacity = daemon.disk.capacity, daemon.disk.used
    batch = events_batch(2, allocations(1), epoch=6)

    assert [Ack(6, 1, 0)] == daemon.hear(batch)
    daemon.disk.capacity = capacity
    daemon.life.now = 10.0
    assert [Resend(6, 1, 8)] == daemon.hear()
    answer, ack = daemon.hear(batch)
    assert isinstance(answer, Answer)
    assert (2, Ack(6, 2, 8)) == (answer.seq, ack)


def test_an_answered_batch_is_small(daemon: Daemon) -> None:
    """An answer is one message: WELCOME says how much goes into it, more is refused."""
    (welcome,) = daemon.hear(asking())
    assert isinstance(welcome, Welcome)
    assert protocol.MAX_ANSWERED_EVENTS == welcome.max_batch_events

    events = allocations(protocol.MAX_ANSWERED_EVENTS + 1)
    *_, refused = daemon.hear(header_batch(epoch=6), events_batch(2, events, epoch=6))

    assert isinstance(refused, Reject)
    assert "bad_batch" == refused.code


def test_a_variant_that_is_not_run_does_not_answer(daemon: Daemon) -> None:
    """The refusal names those that are."""
    (refused,) = daemon.hear(replace(asking(), answers="slub-v6.1"))

    text = "no model of slub-v6.1 answers here, expected slab-seed, slub-seed"
    assert Reject(6, 0, "no_answers", text) == refused
