"""The lossless client over real sockets: daemons that come, go, lose and repeat things."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.tracegen.fakes import RouterDaemon, Storage, make_batches
from tracegen import protocol
from tracegen.batch import Batch, EventBatch, encode
from tracegen.errors import PfmemdError
from tracegen.protocol import Ack, Message, Reject
from tracegen.sender import InterruptedSendError, LostConnectionError, Sender
from tracegen.sender_state import LostDataError, RejectedError

BATCHES = make_batches(batches=60)


@pytest.fixture
def storage() -> Storage:
    """What the daemon keeps."""
    return Storage()


@pytest.fixture
def daemon(storage: Storage) -> Iterator[RouterDaemon]:
    """A daemon that is not listening yet."""
    router = RouterDaemon(storage)
    yield router
    router.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _send_all(sender: Sender, batches: list[Batch] = BATCHES) -> None:
    sender.open(batches[0].epoch, encode(batches[0]))
    for batch in batches:
        events = batch.events if isinstance(batch, EventBatch) else 0
        sender.send(batch.seq, encode(batch), events)
    sender.flush()


def test_everything_arrives_and_goodbye_is_said(daemon: RouterDaemon, storage: Storage) -> None:
    """All batches are kept, and the source is free afterwards."""
    daemon.start()
    with Sender(daemon.address, "a") as sender:
        _send_all(sender)

    assert BATCHES == storage.batches()
    assert protocol.Bye(1, len(BATCHES)) == storage.heard[-1]


def test_a_sender_may_start_before_its_daemon(storage: Storage) -> None:
    """The first attempts find nobody; the stream begins as soon as somebody listens."""
    daemon = RouterDaemon(storage)
    daemon.address = f"tcp://127.0.0.1:{_free_port()}"
    with Sender(daemon.address, "a") as sender:
        sender.turn(0.2)
        daemon.start()
        _send_all(sender)
    daemon.close()

    assert BATCHES == storage.batches()


def test_a_daemon_may_die_and_come_back(daemon: RouterDaemon, storage: Storage) -> None:
    """After each death the stream goes on from what the daemon has kept."""

    def live_and_die() -> None:
        for _ in range(5):
            daemon.join()
            daemon.start(stop_after=9)
        daemon.join()
        daemon.start()

    daemon.start(stop_after=9)
    lives = threading.Thread(target=live_and_die)
    lives.start()
    with Sender(daemon.address, "a") as sender:
        _send_all(sender)
    lives.join()

    assert BATCHES == storage.batches()
    assert sender.state.connections > 5


@pytest.mark.parametrize("seed", range(3))
def test_lost_and_doubled_answers_change_nothing(seed: int) -> None:
    """Acknowledgements are cumulative: half of them may vanish, others come twice."""
    chance = random.Random(seed)  # a seed that can be run again

    def mangle(_data: bytes, answers: list[Message]) -> list[Message]:
        if not isinstance(answers[0], Ack):
            return answers
        return answers * chance.choice((0, 1, 2))

    storage = Storage(credit=16)
    # The last acknowledgement may be lost as well; the heartbeat asks for it.
    daemon = RouterDaemon(storage, mangle).start()
    with Sender(daemon.address, "a") as sender:
        _send_all(sender)
    daemon.close()

    assert BATCHES == storage.batches()


def test_a_second_run_sends_only_what_is_missing(daemon: RouterDaemon, storage: Storage) -> None:
    """A sender that starts again with the same trace is told where to go on."""
    daemon.start()
    with Sender(daemon.address, "a") as sender:
        _send_all(sender, BATCHES[:20])
    with Sender(daemon.address, "a") as sender:
        resumed_at = sender.open(1, encode(BATCHES[0]))
        _send_all(sender)

    assert resumed_at == 20
    assert BATCHES == storage.batches()
    assert len(BATCHES) == daemon.received


def test_a_daemon_that_lost_data_stops_the_sender(daemon: RouterDaemon, storage: Storage) -> None:
    """What was acknowledged and is gone is an error, not something to send again in silence."""
    daemon.start()
    with Sender(daemon.address, "a") as sender:
        sender.open(1, encode(BATCHES[0]))
        for batch in BATCHES[:20]:
            sender.send(batch.seq, encode(batch))
        sender.flush()
        daemon.stop()
        del storage.stored["a", 1][3:]
        daemon.start()

        with pytest.raises(LostDataError, match=r"had acknowledged batch 20 of .* and now has 3"):
            sender.wait_until(float("inf"))


def test_nobody_listening_is_told_after_the_timeout() -> None:
    """The complaint names the address, the time, and that nothing listens."""
    address = f"tcp://127.0.0.1:{_free_port()}"
    with (
        pytest.raises(LostConnectionError) as caught,
        Sender(address, "a", timeout=0.3) as sender,
    ):
        sender.open(1, encode(BATCHES[0]))

    assert str(caught.value) == f"no connection to {address} in 0.3 s: nothing listens there"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(64), "does not speak ZeroMQ"),
        (b"", "does not answer the ZeroMQ handshake"),
    ],
    ids=["speaks-http", "is-silent"],
)
def test_something_else_listening_is_told(words: bytes, expected: str) -> None:
    """A port that is another program's is recognised by its handshake."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            with contextlib.suppress(OSError):  # accept fails when the server is closed
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    connection.recv(64)
                    connection.sendall(words)
                    if words:
                        connection.shutdown(socket.SHUT_WR)

        connections: list[socket.socket] = []
        stranger = threading.Thread(target=serve)
        stranger.start()
        with (
            pytest.raises(LostConnectionError, match=expected),
            Sender(address, "a", timeout=1.0) as sender,
        ):
            sender.open(1, encode(BATCHES[0]))
        server.shutdown(socket.SHUT_RDWR)
        stranger.join()
        for connection in connections:
            connection.close()


def test_a_daemon_that_never_welcomes_is_told() -> None:
    """A ZeroMQ socket of another kind of program does not answer the greeting."""
    daemon = RouterDaemon(Storage(), lambda _data, _answers: []).start()
    with (
        pytest.raises(LostConnectionError, match=r"but no answer to the greeting in 0\.3 s"),
        Sender(daemon.address, "a", timeout=0.3) as sender,
    ):
        sender.open(1, encode(BATCHES[0]))
    daemon.close()


def test_a_busy_source_is_told_after_the_timeout() -> None:
    """The daemon's own words say who holds the source."""
    busy = Reject(1, 0, protocol.REJECT_BUSY, "source a has a sender: other")
    daemon = RouterDaemon(Storage(), lambda _data, _answers: [busy]).start()
    with (
        pytest.raises(
            LostConnectionError, match=r"not welcome at .*: source a has a sender: other"
        ),
        Sender(daemon.address, "a", timeout=0.5) as sender,
    ):
        sender.open(1, encode(BATCHES[0]))
    daemon.close()


def test_a_lost_daemon_is_told_with_what_it_has(daemon: RouterDaemon) -> None:
    """When nobody comes back, the last acknowledged batch is named."""
    daemon.start(stop_after=10)
    with (
        pytest.raises(LostConnectionError, match=r"batches up to \d+ are acknowledged"),
        Sender(daemon.address, "a", timeout=0.5) as sender,
    ):
        _send_all(sender)


def test_a_refused_batch_stops_the_sender() -> None:
    """The daemon's reason reaches the user."""

    def mangle(data: bytes, answers: list[Message]) -> list[Message]:
        if protocol.is_batch(data):
            return [Reject(1, 1, protocol.REJECT_BATCH, "event 0: op is 77")]
        return answers

    daemon = RouterDaemon(Storage(), mangle).start()
    with (
        pytest.raises(
            RejectedError, match=r"refuses batch 1 of a: event 0: op is 77 \(bad_batch\)"
        ),
        Sender(daemon.address, "a") as sender,
    ):
        _send_all(sender)
    daemon.close()


def test_an_interrupted_sender_keeps_its_word(daemon: RouterDaemon, storage: Storage) -> None:
    """A wait ends when the caller is interrupted; closing still takes the last answers."""
    daemon.start()
    stop = threading.Event()
    sender = Sender(daemon.address, "a", interrupted=stop.is_set)
    sender.open(1, encode(BATCHES[0]))
    for batch in BATCHES[:5]:
        sender.send(batch.seq, encode(batch))
    stop.set()

    with pytest.raises(InterruptedSendError):
        sender.wait_until(float("inf"))
    sender.close(grace=30)

    assert BATCHES[:5] == storage.batches()
    assert (5, 0) == (sender.state.acked, sender.state.held)


def test_live_input_is_waited_for_with_the_connection_tended(daemon: RouterDaemon) -> None:
    """While a pipe has nothing to read, acknowledgements are still taken in."""
    daemon.start()
    reader, writer = os.pipe()
    with Sender(daemon.address, "a") as sender:
        sender.open(1, encode(BATCHES[0]))
        sender.send(1, encode(BATCHES[0]))
        while sender.state.held:
            assert not sender.wait_readable(reader)
        os.write(writer, b"x")
        while not sender.wait_readable(reader):
            pass
    os.close(reader)
    os.close(writer)

    assert sender.state.acked == 1


@pytest.mark.parametrize(
    "url", ["", "foo", "tcp://", "tcp://host", "udp://host:1", "tcp://host:port", "tcp://a:b:1"]
)
def test_a_bad_address_is_told_at_once(url: str) -> None:
    """What cannot be connected to is wrong use, not a lost connection."""
    with pytest.raises(PfmemdError, match=r"cannot connect to '.*', expected tcp://HOST:PORT") as e:
        Sender(url, "a")

    assert e.value.exit_code == 2
