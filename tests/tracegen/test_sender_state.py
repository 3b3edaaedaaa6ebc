"""The sender's half of the protocol, in a simulation where everything may go wrong."""

from __future__ import annotations

import random
from collections import deque
from itertools import pairwise

import pytest

from tests.tracegen.fakes import Storage
from tracegen import protocol
from tracegen.batch import EventBatch, encode
from tracegen.protocol import (
    Ack,
    Answer,
    Bye,
    Hello,
    HelloFirst,
    Ping,
    ProtocolError,
    Reject,
    Resend,
    Welcome,
)
from tracegen.sender_state import (
    HELLO_INTERVAL,
    MAX_HELD_BATCHES,
    LostAnswerError,
    LostDataError,
    Phase,
    RejectedError,
    SenderState,
    UnacceptableBatchError,
)

EPOCH = 7
BATCHES = [encode(EventBatch("a", EPOCH, seq, b"")) for seq in range(1, 61)]
"""Batch n is BATCHES[n - 1]; to the protocol, what is in them makes no difference."""
WIRE = b"the only connection"


class Simulation:
    """A sender, a daemon, and a connection that keeps order while it lasts."""

    def __init__(self, seed: int, daemon: Storage) -> None:
        self.random = random.Random(seed)  # a seed that can be run again
        self.daemon = daemon
        self.state = SenderState("a", session=1, agent="test")
        self.now = 100.0
        self.to_daemon: deque[bytes] = deque()
        self.to_sender: deque[bytes] = deque()
        self.acks: list[int] = []
        self.state.begin(EPOCH, BATCHES[0], self.now)

    def crash(self) -> None:
        """Kill the daemon: it forgets its connections, the disk stays."""
        self.daemon.greeted.clear()

    def disconnect(self) -> None:
        """Lose the connection and all that is on it."""
        self.to_daemon.clear()
        self.to_sender.clear()
        if self.state.connected:
            self.state.on_disconnect()

    def step_sender(self) -> None:
        """Let the sender do one thing."""
        if not self.state.connected:
            self.state.on_connect(self.now)
        self.state.on_tick(self.now)
        if self.state.wants_reconnect:
            self.disconnect()
            return
        following = self.state.acked + self.state.held + 1
        if following <= len(BATCHES) and self.state.may_offer(following, 10):
            self.state.offer(following, BATCHES[following - 1], 1)
        message = self.state.next_message()
        if message is not None:
            self.to_daemon.append(message)
            self.state.on_sent(self.now)

    def step_daemon(self) -> None:
        """Let the daemon take one message."""
        if self.to_daemon:
            for answer in self.daemon.answer(WIRE, self.to_daemon.popleft()):
                self.to_sender.append(protocol.encode(answer))

    def step_answer(self) -> None:
        """Let the sender take one answer."""
        if self.to_sender:
            self.state.on_message(self.to_sender.popleft(), self.now)
            self.acks.append(self.state.acked)

    def chaos(self) -> None:
        """One thing happens; trouble of every kind is as likely as the ordinary."""
        event = self.random.randrange(100)
        if event < 30:
            self.step_sender()
        elif event < 60:
            self.step_daemon()
        elif event < 85:
            self.step_answer()
        elif event < 88:
            self.disconnect()
        elif event < 90:
            self.crash()
            self.disconnect()
        elif event < 91:
            self.crash()  # restarted so fast that the connection seems to stand
        elif event < 93 and self.to_daemon and protocol.is_batch(self.to_daemon[0]):
            self.to_daemon.popleft()  # the daemon had no room for it
        elif event < 95 and self.to_sender:
            self.to_sender.popleft()
        elif event < 97 and self.to_sender:
            self.to_sender.append(self.to_sender[-1])
        else:
            self.now += self.random.choice((0.01, 0.5, 2.0, 7.0))

    def calm(self) -> None:
        """Everything works; returns when all is acknowledged."""
        for _ in range(10_000):
            self.step_sender()
            self.step_daemon()
            self.step_answer()
            self.now += 0.01
            if self.state.acked == len(BATCHES) and self.state.held == 0:
                return
        raise AssertionError(f"stuck at {self.state.acked} in {self.state.phase}")


@pytest.mark.parametrize("seed", range(200))
def test_nothing_is_lost_and_nothing_is_twice(seed: int) -> None:
    """Whatever happens to connection and daemon, each batch arrives once and in order."""
    simulation = Simulation(seed, Storage(credit=random.Random(seed).choice((1, 3, 8))))

    for _ in range(1500):
        simulation.chaos()
    simulation.calm()

    assert BATCHES == simulation.daemon.stored["a", EPOCH]
    assert all(before <= after for before, after in pairwise(simulation.acks))


class HastySimulation(Simulation):
    """With a mutant of a daemon: it acknowledges before it stores, so a crash loses batches."""

    def crash(self) -> None:
        """Lose the last three batches as well."""
        super().crash()
        del self.daemon.stored["a", EPOCH][-3:]


def test_a_daemon_that_forgets_what_it_acknowledged_is_caught() -> None:
    """An acknowledgement that goes backwards ends the stream with a loud error."""
    caught = 0
    for seed in range(50):
        simulation = HastySimulation(seed, Storage())
        try:
            for _ in range(3000):
                simulation.chaos()
        except LostDataError as error:
            assert "the daemon has lost data: it had acknowledged batch" in str(error)  # noqa: PT017  # most seeds, not all
            caught += 1

    assert caught > 40


def _streaming(credit: int = 4, last_seq: int = 0, answers: str = "") -> SenderState:
    """A sender that has been welcomed."""
    state = SenderState("a", session=1, agent="test", answers=answers)
    state.begin(EPOCH, BATCHES[0], 0.0)
    state.on_connect(0.0)
    state.on_tick(0.0)
    _sent(state, 0.0)
    state.on_message(protocol.encode(Welcome(EPOCH, last_seq, credit, "test")), 0.0)
    return state


def _sent(state: SenderState, now: float = 0.0) -> list[bytes]:
    messages = []
    while (message := state.next_message()) is not None:
        messages.append(message)
        state.on_sent(now)
    return messages


def _offer(state: SenderState, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        assert state.may_offer(seq, 10)
        state.offer(seq, BATCHES[seq - 1], 1)


def test_the_greeting_says_who_and_what() -> None:
    """HELLO carries source, epoch, session and the header's fingerprint."""
    state = SenderState("a", session=9, agent="test")
    state.begin(EPOCH, BATCHES[0], 0.0)
    state.on_connect(0.0)
    state.on_tick(0.0)

    (hello,) = _sent(state)

    assert protocol.decode(hello) == Hello(
        "a", EPOCH, 9, protocol.fingerprint_of(BATCHES[0]), "test"
    )


def test_credit_bounds_what_is_on_the_way() -> None:
    """A sender sends up to the last acknowledged batch plus credit, and holds no more."""
    state = _streaming(credit=3)
    _offer(state, 1, 3)

    assert not state.may_offer(4, 10)
    assert BATCHES[:3] == _sent(state)

    state.on_message(protocol.encode(Ack(EPOCH, 2, 3)), 0.0)

    assert state.held == 1
    assert state.may_offer(4, 10)


def test_no_credit_is_a_pause() -> None:
    """A daemon may grant nothing for a while; the sender only asks how things are."""
    state = _streaming(credit=0)

    assert not state.may_offer(1, 10)
    for now in (2.0, 4.0, 6.0, 8.0):
        state.on_tick(now)
        assert [protocol.encode(Ping())] == _sent(state, now)
        state.on_message(protocol.encode(Ack(EPOCH, 0, 0)), now)
    assert not state.wants_reconnect
    assert state.phase is Phase.STREAMING


def test_a_sender_resumes_where_the_daemon_is() -> None:
    """Batches that the daemon has are taken and dropped, the next one is sent."""
    state = _streaming(last_seq=5)
    _offer(state, 1, 7)

    assert BATCHES[5:7] == _sent(state)


def test_resend_goes_back() -> None:
    """On RESEND everything after the last kept batch goes out again, in order."""
    state = _streaming(credit=5)
    _offer(state, 1, 5)
    _sent(state)

    state.on_message(protocol.encode(Resend(EPOCH, 2, 5)), 0.0)

    assert BATCHES[2:5] == _sent(state)
    assert state.resent == 3


def test_a_silent_daemon_is_given_up_after_three_heartbeats() -> None:
    """A connection without an answer is replaced, and what was on it is sent again."""
    state = _streaming()
    _offer(state, 1, 2)
    _sent(state)

    wanted = []
    for now in (5.9, 6.0):
        state.on_tick(now)
        wanted.append(state.wants_reconnect)
    assert [False, True] == wanted

    state.on_disconnect()
    state.on_connect(6.1)
    state.on_tick(6.1)
    _sent(state, 6.1)
    state.on_message(protocol.encode(Welcome(EPOCH, 1, 4, "test")), 6.2)
    assert BATCHES[1:2] == _sent(state, 6.2)


def test_a_daemon_that_answers_without_progress_is_given_up() -> None:
    """Acknowledgements that never move mean that batches were lost on the way."""
    state = _streaming()
    _offer(state, 1, 1)
    _sent(state)
    for now in (2.0, 4.0):
        state.on_tick(now)
        _sent(state, now)
        state.on_message(protocol.encode(Ack(EPOCH, 0, 4)), now)
        assert not state.wants_reconnect

    state.on_tick(6.0)

    assert state.wants_reconnect


def test_a_daemon_that_does_not_know_the_connection_is_greeted() -> None:
    """HELLO_FIRST, however often it comes, leads to one HELLO and on from there."""
    state = _streaming()
    _offer(state, 1, 3)
    _sent(state)
    for _ in range(3):
        state.on_message(protocol.encode(HelloFirst()), 1.0)

    state.on_tick(1.0)
    (hello,) = _sent(state, 1.0)
    assert isinstance(protocol.decode(hello), Hello)
    state.on_message(protocol.encode(Welcome(EPOCH, 0, 4, "test")), 1.0)
    assert BATCHES[:3] == _sent(state, 1.0)


def test_a_busy_source_is_asked_for_again() -> None:
    """REJECT busy is no end: the sender greets again, and knows why it waits."""
    state = SenderState("a", session=1, agent="test")
    state.begin(EPOCH, BATCHES[0], 0.0)
    state.on_connect(0.0)
    state.on_tick(0.0)
    _sent(state)
    state.on_message(protocol.encode(Reject(EPOCH, 0, protocol.REJECT_BUSY, "held by b")), 0.0)

    state.on_tick(HELLO_INTERVAL / 2)
    assert [] == _sent(state)
    assert state.trouble == "held by b"
    state.on_tick(HELLO_INTERVAL)
    assert len(_sent(state)) == 1


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (protocol.REJECT_BATCH, 2),
        (protocol.REJECT_FENCED, 2),
        (protocol.REJECT_FINGERPRINT, 2),
        (protocol.REJECT_VERSION, 3),
        (protocol.REJECT_MALFORMED, 3),
        (protocol.REJECT_SOURCES, 3),
    ],
)
def test_a_final_refusal_ends_the_stream(code: str, exit_code: int) -> None:
    """The daemon's words reach the user, with the exit code of whose fault it is."""
    state = _streaming()

    with pytest.raises(
        RejectedError, match=r"the daemon refuses batch 3 of a: event 2 is bad"
    ) as e:
        state.on_message(protocol.encode(Reject(EPOCH, 3, code, "event 2 is bad")), 0.0)

    assert exit_code == e.value.exit_code


def test_the_past_is_not_listened_to() -> None:
    """Words about another epoch change nothing."""
    state = _streaming()
    for message in (
        Ack(EPOCH - 1, 99, 9),
        Resend(EPOCH - 1, 99, 9),
        Welcome(EPOCH - 1, 99, 9, ""),
        Reject(EPOCH - 1, 4, protocol.REJECT_BATCH, ""),
    ):
        state.on_message(protocol.encode(message), 0.0)

    assert (0, 4, Phase.STREAMING) == (state.acked, state.credit, state.phase)


@pytest.mark.parametrize(
    "message",
    [
        protocol.encode(Ack(EPOCH, 3, 4)),
        protocol.encode(Ping()),
        b"\x85\xa1v",
        b"HTTP/1.1 400 Bad Request",
        protocol.encode(Welcome(EPOCH, 0, 4, "", version=2)),
    ],
    ids=["acknowledges-what-was-not-sent", "pings", "sends-a-batch", "speaks-http", "version-2"],
)
def test_a_daemon_that_breaks_the_protocol_is_left(message: bytes) -> None:
    """What no daemon says is an error, never ignored."""
    state = _streaming()

    with pytest.raises(ProtocolError):
        state.on_message(message, 0.0)


def test_a_batch_beyond_the_daemons_limits_is_not_sent() -> None:
    """The limits of the WELCOME are kept, with a hint what to do."""
    state = _streaming()
    state.on_message(protocol.encode(Welcome(EPOCH, 0, 4, "", 100, 10)), 0.0)

    with pytest.raises(UnacceptableBatchError, match="this daemon takes 100 bytes and 10 events"):
        state.offer(1, bytes(101), 1)
    with pytest.raises(UnacceptableBatchError, match="--batch-events makes them smaller"):
        state.offer(1, b"", 11)


def test_memory_is_bounded_whatever_the_credit() -> None:
    """A generous daemon does not make a sender hold more than its own bounds."""
    many = _streaming(credit=2**40)
    for seq in range(1, MAX_HELD_BATCHES + 1):
        many.offer(seq, b"", 1)
    large = _streaming(credit=2**40)
    large.offer(1, bytes(1 << 20), 1)

    assert not many.may_offer(MAX_HELD_BATCHES + 1, 10)
    assert large.may_offer(2, 63 << 20)
    assert not large.may_offer(2, 64 << 20)


def test_a_stream_ends_with_a_goodbye() -> None:
    """BYE is said once everything is acknowledged, and answered by BYE."""
    state = _streaming()
    _offer(state, 1, 1)
    _sent(state)
    state.leave()
    phases = [state.phase]

    state.on_message(protocol.encode(Ack(EPOCH, 1, 4)), 0.0)
    state.leave()
    assert [protocol.encode(Bye(EPOCH, 1))] == _sent(state)
    state.on_message(protocol.encode(Bye(EPOCH, 1)), 0.0)
    phases.append(state.phase)

    assert [Phase.STREAMING, Phase.GONE] == phases


def test_a_daemon_going_down_is_waited_for() -> None:
    """BYE from the daemon keeps what is held and greets again later."""
    state = _streaming()
    _offer(state, 1, 2)
    _sent(state)
    state.on_message(protocol.encode(Bye(EPOCH, 0)), 0.0)

    assert state.phase is Phase.GREETING
    assert state.held == 2
    state.on_tick(HELLO_INTERVAL)
    assert len(_sent(state)) == 1


def test_a_new_epoch_starts_from_nothing() -> None:
    """The next life of a source is greeted anew on the same connection."""
    state = _streaming()
    _offer(state, 1, 1)
    _sent(state)
    with pytest.raises(ValueError, match="epoch 7 has unacknowledged batches"):
        state.begin(EPOCH + 1, BATCHES[1], 0.0)
    state.on_message(protocol.encode(Ack(EPOCH, 1, 4)), 0.0)

    state.begin(EPOCH + 1, BATCHES[1], 0.0)
    state.on_tick(0.0)
    (hello,) = _sent(state)

    decoded = protocol.decode(hello)
    assert isinstance(decoded, Hello)
    assert (EPOCH + 1, protocol.fingerprint_of(BATCHES[1])) == (decoded.epoch, decoded.fingerprint)
    assert state.acked == 0


def test_a_lost_answer_ends_the_stream() -> None:
    """A batch that is kept and was not answered: it is kept, and nothing more can be asked."""
    state = _streaming(answers="slub-seed")
    _offer(state, 1, 1)
    _sent(state)
    state.on_message(protocol.encode(Answer(EPOCH, 1, b"", 9, 1, 2, 3, boosted=False)), 0.0)
    state.on_message(protocol.encode(Ack(EPOCH, 1, 4)), 0.0)
    _offer(state, 2, 2)
    _sent(state)

    with pytest.raises(LostAnswerError, match=r"keeps batch 2 of a, epoch 7, but"):
        state.on_message(protocol.encode(Welcome(EPOCH, 2, 4, "test")), 0.0)
    assert (2, 0) == (state.acked, state.held)


def test_an_answer_that_nobody_wanted_is_refused() -> None:
    """It is no message of this stream."""
    state = _streaming()

    with pytest.raises(ProtocolError, match="an ANSWER that nobody has asked for"):
        state.on_message(protocol.encode(Answer(EPOCH, 1, b"", 9, 1, 2, 3, boosted=False)), 0.0)
