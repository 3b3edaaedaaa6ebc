"""The receiver speaks the protocol: welcome, acknowledgements, refusals, one sender a source."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pytest
import zmq

from daemon.connections import ConnectionCounts
from daemon.engine import Engine
from daemon.health import Health
from daemon.intake import Intake
from daemon.receiver import Receiver, ReceiverBindError
from daemon.sessions import LEASE_SECONDS
from daemon.settings import Settings, load_settings
from daemon.stop_signal import StopSignal
from tests.daemon.fakes import (
    OTHER_HEADER,
    allocations,
    events_batch,
    header_batch,
    new_engine,
    record,
)
from tracegen import protocol
from tracegen.batch import Batch, encode
from tracegen.protocol import (
    Ack,
    Bye,
    Hello,
    HelloFirst,
    Message,
    Ping,
    Reject,
    Resend,
    Welcome,
    fingerprint_of,
)

RECEIVE_MS = 5000


def settings_for(**changes: object) -> Settings:
    """Settings on a free port."""
    return load_settings({"bind": "tcp://127.0.0.1:0", "credit": 8, **changes})


class Clock:
    """A monotonic clock that goes forward by ``step`` each time it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0.0

    def __call__(self) -> float:
        """The time."""
        self.now += self.step
        return self.now


class Running:
    """A receiver in a thread of its own."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.engine = engine
        self.stop = StopSignal()
        self.clock = Clock()
        self.connections = ConnectionCounts()
        health = Health()
        self.receiver = Receiver(
            settings,
            Intake(engine, None, health),
            health,
            self.stop,
            "pfmemd test",
            self.connections,
            self.clock,
        )
        self.endpoint = self.receiver.endpoint
        self._thread = threading.Thread(target=self.receiver.run, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Stop it, as a signal would."""
        self.stop.request()
        self._thread.join()
        self.receiver.close()


class Peer:
    """A DEALER that sends what it is told to."""

    def __init__(self, endpoint: str, identity: bytes | None = None) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, RECEIVE_MS)
        if identity is not None:
            self._socket.setsockopt(zmq.IDENTITY, identity)
        self._socket.connect(endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Vanish without a goodbye."""
        self._context.destroy(linger=0)

    def send(self, *messages: Message | Batch | bytes) -> None:
        """Send each as one frame."""
        for message in messages:
            self._socket.send(wire_form(message))

    def send_frames(self, *frames: bytes) -> None:
        """Send one message of several frames."""
        self._socket.send_multipart(frames)

    def receive(self) -> Message:
        """The next answer."""
        data = self._socket.recv()
        assert isinstance(data, bytes)
        return protocol.decode(data)

    def until(self, kind: type[Message]) -> Message:
        """The next answer of ``kind``; acknowledgements before it are passed over."""
        while True:
            answer = self.receive()
            if isinstance(answer, kind):
                return answer
            assert isinstance(answer, Ack)

    def acknowledged(self, seq: int) -> None:
        """Wait until ``seq`` is acknowledged; acknowledgements never go backwards."""
        last = 0
        while last < seq:
            answer = self.receive()
            assert isinstance(answer, Ack)
            assert answer.last_seq >= last
            last = answer.last_seq
        assert last == seq

    def greet(self, source: str = "a", epoch: int = 5, session: int = 1) -> Message:
        """Say HELLO; the answer."""
        self.send(hello(source, epoch, session))
        return self.receive()


def wire_form(message: Message | Batch | bytes) -> bytes:
    """The frame that stands for ``message``."""
    if isinstance(message, bytes):
        return message
    if isinstance(message, Message):
        return protocol.encode(message)
    return encode(message)


def hello(source: str = "a", epoch: int = 5, session: int = 1) -> Hello:
    """The greeting of a sender whose trace begins with ``header_batch``."""
    fingerprint = fingerprint_of(encode(header_batch(source, epoch)))
    return Hello(source, epoch, session, fingerprint, "test sender")


@pytest.fixture
def running() -> Iterator[Running]:
    """A receiver with room for two sources and credit 8."""
    running = Running(settings_for(), new_engine(max_sources=2))
    yield running
    running.finish()


def test_welcome_tells_position_and_limits(running: Running) -> None:
    """A new source starts at 0 and learns credit and limits."""
    with Peer(running.endpoint) as peer:
        answer = peer.greet()

    assert isinstance(answer, Welcome)
    assert (5, 0, 8) == (answer.epoch, answer.last_seq, answer.credit)
    assert (1 << 20, 16384) == (answer.max_batch_bytes, answer.max_batch_events)


def test_batches_are_applied_and_acknowledged(running: Running) -> None:
    """What is acknowledged has been applied."""
    with Peer(running.endpoint) as peer:
        peer.greet()
        peer.send(header_batch(), events_batch(2, allocations(3)), events_batch(3, allocations(2)))
        peer.acknowledged(3)

    (source,) = running.engine.read().sources
    assert (3, 5) == (source.life.seq, source.life.events)


def test_reconnected_sender_goes_on_where_it_stood(running: Running) -> None:
    """The same session greets again on another connection and is told what is there."""
    with Peer(running.endpoint) as first:
        first.greet()
        first.send(header_batch(), events_batch(2, allocations(3)))
        first.acknowledged(2)
        with Peer(running.endpoint) as second:
            answer = second.greet()

            assert isinstance(answer, Welcome)
            assert answer.last_seq == 2


def test_duplicate_is_acknowledged_again(running: Running) -> None:
    """A batch that came twice is skipped and its acknowledgement repeated."""
    with Peer(running.endpoint) as peer:
        peer.greet()
        peer.send(header_batch(), events_batch(2, allocations(3)))
        peer.acknowledged(2)
        peer.send(events_batch(2, allocations(3)))

        assert peer.receive() == Ack(5, 2, 8)
    assert running.engine.read().sources[0].life.events == 3


def test_gap_is_asked_for_once(running: Running) -> None:
    """The missing batch is asked for; those on the way behind it do not ask again."""
    with Peer(running.endpoint) as peer:
        peer.greet()
        peer.send(header_batch())
        peer.acknowledged(1)
        peer.send(*(events_batch(seq, allocations(1, seq)) for seq in (3, 4, 5)))
        assert peer.receive() == Resend(5, 1, 8)
        peer.send(*(events_batch(seq, allocations(1, seq)) for seq in (2, 3, 4, 5)))
        peer.acknowledged(5)

    (source,) = running.engine.read().sources
    assert (3, 4) == (source.batches_gapped, source.life.events)


def test_ping_is_answered_with_the_position(running: Running) -> None:
    """A sender with nothing to say learns where the daemon is."""
    with Peer(running.endpoint) as peer:
        peer.greet()
        peer.send(header_batch())
        peer.acknowledged(1)
        peer.send(Ping())

        assert peer.receive() == Ack(5, 1, 8)


@pytest.mark.parametrize("message", [Ping(), Bye(5, 0), header_batch()])
def test_stranger_has_to_greet_first(running: Running, message: Message | Batch) -> None:
    """A connection that did not greet is told to, whatever it sends."""
    with Peer(running.endpoint) as peer:
        peer.send(message)

        assert peer.receive() == HelloFirst()
    assert running.engine.read().sources == ()


def test_second_sender_of_a_source_is_refused(running: Running) -> None:
    """A source has one sender; another session is busy until the first says goodbye."""
    with Peer(running.endpoint) as first, Peer(running.endpoint) as second:
        first.greet(session=1)
        refused = second.greet(session=2)
        assert isinstance(refused, Reject)
        assert (0, "busy") == (refused.seq, refused.code)
        assert "test sender" in refused.text

        first.send(Bye(5, 0))
        assert first.until(Bye) == Bye(5, 0)
        assert isinstance(second.greet(session=2), Welcome)
    assert running.engine.read().messages_refused == {"busy": 1}


def test_source_of_a_sender_that_is_gone_is_free(running: Running) -> None:
    """A closed connection gives its source up at once, without waiting for the lease."""
    first = Peer(running.endpoint)
    first.greet(session=1)
    first.leave()
    with Peer(running.endpoint) as second:
        answer = second.greet(session=2)
        while isinstance(answer, Reject):  # the daemon may not have seen the end of it yet
            answer = second.greet(session=2)

        assert isinstance(answer, Welcome)


def test_silent_sender_loses_its_source_with_its_lease(running: Running) -> None:
    """A sender that was not heard for three heartbeats cannot keep a source from another."""
    with Peer(running.endpoint) as first, Peer(running.endpoint) as second:
        first.greet(session=1)
        assert isinstance(second.greet(session=2), Reject)
        running.clock.step = LEASE_SECONDS + 1  # every wait for a message is now that long
        while isinstance(second.greet(session=2), Reject):
            pass

        first.send(header_batch())
        assert first.until(HelloFirst) == HelloFirst()


def test_sources_are_bounded(running: Running) -> None:
    """A source too many is refused when it greets, before it sends anything."""
    with Peer(running.endpoint) as a, Peer(running.endpoint) as b, Peer(running.endpoint) as c:
        a.greet("a")
        b.greet("b")
        refused = c.greet("c")

        assert isinstance(refused, Reject)
        assert refused.code == "too_many_sources"


def test_other_protocol_version_is_refused(running: Running) -> None:
    """The answer names the version that is spoken."""
    with Peer(running.endpoint) as peer:
        peer.send(Hello("a", 5, 1, bytes(32), "test", version=9))
        refused = peer.receive()

    assert isinstance(refused, Reject)
    assert refused.code == "version"
    assert "expected 1" in refused.text


def test_earlier_epoch_is_fenced(running: Running) -> None:
    """A sender of a life that is over is told which epoch has begun."""
    with Peer(running.endpoint) as peer:
        peer.greet(epoch=6)
        peer.send(header_batch(epoch=6))
        peer.acknowledged(1)
        refused = peer.greet(epoch=5)

    assert isinstance(refused, Reject)
    assert refused.code == "fenced"
    assert "epoch 6" in refused.text


def test_same_epoch_of_another_trace_is_refused(running: Running) -> None:
    """A greeting whose header differs from the epoch's is another trace under that name."""
    with Peer(running.endpoint) as peer:
        peer.greet()
        peer.send(header_batch())
        peer.acknowledged(1)
        other = fingerprint_of(encode(header_batch(header=OTHER_HEADER)))
        peer.send(Hello("a", 5, 1, other, "test"))
        refused = peer.receive()

    assert isinstance(refused, Reject)
    assert refused.code == "fingerprint"


def test_header_must_be_the_one_greeted_with(running: Running) -> None:
    """The fingerprint of the greeting binds the header batch."""
    with Peer(running.endpoint) as peer:
        peer.greet()
        peer.send(header_batch(header=OTHER_HEADER))
        refused = peer.receive()

    assert isinstance(refused, Reject)
    assert refused.code == "fingerprint"
    assert running.engine.read().sources == ()


@pytest.mark.parametrize(
    ("bad", "code", "text"),
    [
        (events_batch(3, record(op=77)), "bad_batch", "event 0: op is 77"),
        (b"\x81\xa1v\x02", "bad_batch", "version 2"),
        (b"\x85\xa1v", "bad_batch", ""),
        (events_batch(3, b"", source="b"), "malformed", "is of source b epoch 5"),
        (events_batch(3, b"", epoch=6), "malformed", "is of source a epoch 6"),
        (b"\x93\x01\x02\x03", "malformed", ""),
        (b"", "malformed", ""),
        (Ack(5, 3, 1), "malformed", "a sender does not say Ack"),
    ],
)
def test_bad_message_ends_the_stream(
    running: Running, bad: Message | Batch | bytes, code: str, text: str
) -> None:
    """What came before is kept, what was on the way behind is not; the source can go on."""
    with Peer(running.endpoint) as peer:
        peer.greet()
        peer.send(header_batch(), events_batch(2, allocations(3)))
        peer.send(bad, events_batch(3, allocations(1, 9)))
        refused = peer.until(Reject)

        assert isinstance(refused, Reject)
        assert (3, code) == (refused.seq, refused.code)
        assert text in refused.text
        answer = peer.greet(session=2)
        assert isinstance(answer, Welcome)
        assert answer.last_seq == 2
    assert running.engine.read().sources[0].life.events == 3


def test_message_of_several_frames_is_refused(running: Running) -> None:
    """Every message of the protocol is one frame."""
    with Peer(running.endpoint) as peer:
        peer.send_frames(b"a", b"b")
        refused = peer.receive()

    assert isinstance(refused, Reject)
    assert refused.code == "malformed"


def test_stop_says_goodbye_with_the_position() -> None:
    """Senders are told that the daemon goes down, and what it has."""
    running = Running(settings_for(), new_engine())
    with Peer(running.endpoint) as peer:
        peer.greet()
        peer.send(header_batch(), events_batch(2, allocations(3)))
        peer.acknowledged(2)
        running.finish()

        assert peer.receive() == Bye(5, 2)


def test_connected_follows_the_sender(running: Running) -> None:
    """The reading tells which sources have a sender."""
    with Peer(running.endpoint) as peer:
        peer.greet()
        peer.send(header_batch())
        peer.acknowledged(1)
        peer.send(Ping())
        peer.receive()
        assert running.engine.read().sources[0].connected
        peer.send(Bye(5, 1))
        peer.until(Bye)
        peer.greet("b")
        peer.send(Ping())
        peer.receive()

        assert not running.engine.read().sources[0].connected


def test_oversized_message_does_not_reach_the_daemon() -> None:
    """A message beyond the limit costs its sender the connection, and nobody else anything."""
    running = Running(settings_for(max_batch_bytes=4096), new_engine())
    with Peer(running.endpoint) as big, Peer(running.endpoint) as other:
        big.greet()
        big.send(bytes(5000))
        assert isinstance(other.greet("b"), Welcome)
        big.send(Ping())  # on a new connection, which nobody knows

        assert big.until(HelloFirst) == HelloFirst()
    running.finish()


def test_connections_are_counted(running: Running) -> None:
    """Those that are open, and those that were turned away, by reason."""
    with Peer(running.endpoint) as peer, Peer(running.endpoint) as other:
        peer.greet()
        other.greet("b")
        assert 2 == running.connections.open

        with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
            public, secret = zmq.curve_keypair()
            stranger.curve_publickey, stranger.curve_secretkey = public, secret
            stranger.curve_serverkey = public
            stranger.linger = 0
            stranger.connect(running.endpoint)
            while not running.connections.refused["handshake"]:
                peer.send(Ping())
                peer.receive()
    assert 0 == running.connections.refused["key"]


def test_address_in_use_is_one_clear_line() -> None:
    """A second receiver on the same address says which address and how to choose another."""
    running = Running(settings_for(), new_engine())
    with pytest.raises(ReceiverBindError) as caught:
        Receiver(
            load_settings({"bind": running.endpoint}),
            Intake(new_engine(), None, Health()),
            Health(),
            StopSignal(),
            "",
        )
    running.finish()

    assert (
        f"cannot receive on {running.endpoint}: Address already in use; another address is given"
        " with --bind"
    ) == str(caught.value)
