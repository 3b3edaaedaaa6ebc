"""The lossless client: a DEALER socket that carries one source to one daemon.

The decisions are :mod:`tracegen.sender_state`'s; here are the socket, the clock and
the waiting. One connection is one socket: after a lost connection the socket is thrown
away with whatever was in its queues, so that no word of an old connection can be
mistaken for one of the new. Starting before the daemon, and outliving it, are ordinary.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Callable
from typing import Final, Self

import zmq
from zmq.utils.monitor import parse_monitor_message

from tracegen.errors import PfmemdError, StoppedError
from tracegen.keys import SenderKeys
from tracegen.protocol import MAX_CONTROL_BYTES, Answer, ProtocolError
from tracegen.sender_state import Phase, SenderState

URL_PATTERN: Final = re.compile(r"(tcp://(\[[^\]]+\]|[^:/\[\]]+):[0-9]{1,5}|ipc://.+)\Z")
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds without a word from the daemon after which a sender gives up."""

_CONNECT_INTERVAL_MS: Final = 100
_CONNECT_INTERVAL_MAX_MS: Final = 2000
TURN: Final = 0.25
"""Seconds that one wait lasts at most: a signal is noticed after each, because ZeroMQ
starts a wait anew when a signal interrupts it."""
_FAREWELL: Final = 2.0
"""Seconds that a goodbye may take; everything is acknowledged by then anyway."""

_NOTHING_LISTENS: Final = "nothing listens there"
_NO_HANDSHAKE: Final = "something listens there, but does not answer the ZeroMQ handshake"
_NO_ZEROMQ: Final = (
    "what listens there does not speak ZeroMQ"
    " (is it the address that pfmemd serve was given with --bind?)"
)
_HANDSHAKE_FAILURES: Final[dict[int, str]] = {
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: _NO_ZEROMQ,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: (
        "one side wants keys and the other does not, or what was given with --daemon-key is not"
        " the daemon's key"
    ),
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: (
        "the daemon does not know this key (pfmemd keys allow, at the daemon)"
    ),
}


class LostConnectionError(StoppedError):
    """No daemon was reached, or it has fallen silent, for the whole time allowed."""


class InterruptedSendError(StoppedError):
    """The caller's ``interrupted`` said so; what is acknowledged stays."""


class Sender:
    """Sends the batches of one source and keeps each until it is acknowledged.

    ``timeout`` is how many seconds may pass without a WELCOME or an ACK, from the first
    attempt on as well; None waits for ever. ``keys`` None is for a daemon without keys.
    ``answers`` is the variant whose answers are wanted, see :meth:`ask`.
    ``interrupted`` is asked at every turn of a
    wait. All methods that wait raise :class:`LostConnectionError`,
    :class:`InterruptedSendError` or what the protocol's state raises.
    """

    def __init__(
        self,
        url: str,
        source: str,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        keys: SenderKeys | None = None,
        agent: str = "pfmemd send",
        answers: str = "",
        interrupted: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not URL_PATTERN.match(url):
            raise PfmemdError(f"cannot connect to {url!r}, expected tcp://HOST:PORT")
        self.state = SenderState(source, secrets.randbits(64), agent, answers)
        self._url = url
        self._keys = keys
        self._timeout = timeout
        self._interrupted = interrupted
        self._clock = clock
        self._sockets = 0
        self._reason = _NOTHING_LISTENS
        # The time of the protocol passes only while somebody tends the connection: a caller
        # that was busy elsewhere finds no daemon guilty of silence.
        self._absence = 0.0
        self._left_at = clock()
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, epoch: int, header_batch: bytes) -> int:
        """Open ``epoch`` and wait for the daemon's welcome.

        Returns the last batch of it that the daemon has; 0 is none. The header batch
        itself is sent by :meth:`send`, like any other. The epoch before must be flushed.
        """
        self.state.begin(epoch, header_batch, self._now())
        self._wait(lambda: self.state.phase is Phase.STREAMING)
        return self.state.acked

    def send(self, seq: int, data: bytes, events: int = 0) -> None:
        """Hand over batch ``seq``, waiting for credit; one that the daemon has is skipped."""
        self._wait(lambda: self.state.may_offer(seq, len(data)))
        self.state.offer(seq, data, events)
        self.turn(0)

    def ask(self, seq: int, data: bytes, events: int = 0) -> Answer:
        """Hand over batch ``seq`` and wait for what the daemon's model says to it."""
        self.send(seq, data, events)
        self.flush()
        answer = self.state.answer
        if answer is None or answer.seq != seq or len(answer.outcomes) != events:
            raise ProtocolError(f"the daemon has not answered batch {seq} of {self.state.source}")
        return answer

    def flush(self) -> None:
        """Wait until the daemon has acknowledged everything that was sent."""
        self._wait(lambda: self.state.held == 0 and self.state.phase is Phase.STREAMING)

    def wait_readable(self, fd: int) -> bool:
        """Tend the connection for a moment; True as soon as ``fd`` can be read."""
        self._poller.register(fd, zmq.POLLIN)
        try:
            return fd in self._turn_checked(TURN)
        finally:
            self._poller.unregister(fd)

    def wait_until(self, moment: float) -> None:
        """Tend the connection until the clock shows ``moment``."""
        while (left := moment - self._clock()) > 0:
            self._turn_checked(min(left, TURN))

    def close(self, grace: float = 0.0) -> None:
        """Let the connection go, with a goodbye if everything is acknowledged.

        For ``grace`` seconds the daemon may still acknowledge what is on the way.
        """
        self._turn_until(lambda: self.state.held == 0, grace)
        self.state.leave()
        self._turn_until(lambda: self.state.phase is not Phase.LEAVING, _FAREWELL)
        self._disconnect()
        self._context.term()

    def _turn_until(self, done: Callable[[], bool], seconds: float) -> None:
        until = self._clock() + seconds
        while not done() and self._clock() < until:
            self.turn(TURN)

    def turn(self, seconds: float) -> dict[int | zmq.Socket[bytes], int]:
        """Send what may go, wait up to ``seconds`` for something to happen, and see to it."""
        self._absence += max(0.0, self._clock() - self._left_at - TURN)
        now = self._now()
        self.state.on_tick(now)
        if self.state.wants_reconnect:
            self._reason = "the daemon has fallen silent"
            self._reconnect()
        self._send_due()
        seconds = max(0.0, min(seconds, TURN, self.state.deadline() - now))
        events = dict(self._poller.poll(math.ceil(seconds * 1000)))
        if self._socket in events:
            self._receive()
        if self._monitor in events:
            self._watch()
        self._send_due()
        self._left_at = self._clock()
        return events

    def _now(self) -> float:
        return self._clock() - self._absence

    def _wait(self, done: Callable[[], bool]) -> None:
        while not done():
            self._turn_checked(TURN)

    def _turn_checked(self, seconds: float) -> dict[int | zmq.Socket[bytes], int]:
        if self._interrupted():
            raise InterruptedSendError("interrupted")
        events = self.turn(seconds)
        silent = self._now() - self.state.agreed_at
        if self._timeout is not None and silent > self._timeout:
            raise LostConnectionError(self._complaint())
        return events

    def _complaint(self) -> str:
        seconds = f"{self._timeout:g} s"
        state = self.state
        if state.trouble:
            return f"not welcome at {self._url} for {seconds}: {state.trouble}"
        if state.connections == 0:
            return f"no connection to {self._url} in {seconds}: {self._reason}"
        if not state.welcomed:
            return (
                f"connected to {self._url}, but no answer to the greeting in {seconds}:"
                " is it the port for senders of pfmemd serve?"
            )
        reason = "the daemon is silent" if state.connected else self._reason
        return (
            f"lost {self._url} for {seconds}: {reason}; of {state.source}, epoch {state.epoch},"
            f" batches up to {state.acked} are acknowledged"
        )

    # The socket.

    def _connect(self) -> None:
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        options = {
            zmq.IMMEDIATE: 1,  # nothing is queued for a connection that does not stand
            zmq.LINGER: 0,  # what is not acknowledged is sent again, not waited for
            zmq.SNDHWM: 0,  # credit bounds what is on the way
            zmq.MAXMSGSIZE: MAX_CONTROL_BYTES,  # a daemon sends nothing longer
            zmq.RECONNECT_IVL: _CONNECT_INTERVAL_MS,
            zmq.RECONNECT_IVL_MAX: _CONNECT_INTERVAL_MAX_MS,
            zmq.HEARTBEAT_IVL: 2000,  # finds a peer whose machine is gone
            zmq.HEARTBEAT_TIMEOUT: 6000,
            zmq.IPV6: int("[" in self._url),
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        if self._keys is not None:
            self._socket.curve_publickey = self._keys.public
            self._socket.curve_secretkey = self._keys.secret
            self._socket.curve_serverkey = self._keys.daemon
        self._sockets += 1
        self._monitor = self._socket.get_monitor_socket(addr=f"inproc://{id(self)}-{self._sockets}")
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        try:
            self._socket.connect(self._url)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise PfmemdError(f"cannot connect to {self._url!r}: {error.strerror}") from None

    def _disconnect(self) -> None:
        self._poller.unregister(self._socket)
        self._poller.unregister(self._monitor)
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def _reconnect(self) -> None:
        self.state.on_disconnect()
        self._disconnect()
        self._connect()

    def _send_due(self) -> None:
        while (message := self.state.next_message()) is not None:
            try:
                self._socket.send(message, zmq.NOBLOCK)
            except zmq.Again:
                return
            self.state.on_sent(self._now())

    def _receive(self) -> None:
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.state.on_message(b"".join(frames), self._now())

    def _watch(self) -> None:
        """See what the connection itself has been through."""
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.state.on_connect(self._now())
            elif event == zmq.EVENT_DISCONNECTED:
                if self.state.connected:
                    self._reason = "the connection was closed"
                    self._reconnect()
                    return
                if self._reason == _NO_HANDSHAKE:
                    self._reason = _NO_ZEROMQ
            elif event in _HANDSHAKE_FAILURES:
                self._reason = _HANDSHAKE_FAILURES[event]
            elif event == zmq.EVENT_CLOSED:
                self._reason = _NOTHING_LISTENS
            elif event == zmq.EVENT_CONNECTED and self._reason == _NOTHING_LISTENS:
                self._reason = _NO_HANDSHAKE
