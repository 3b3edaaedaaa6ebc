"""The receiving end: a ROUTER socket and one loop around ``daemon.sessions``.

Each turn takes what has arrived, up to a group, has it carried out, and then answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import zmq

from daemon.connections import ConnectionCounts, ConnectionWatch
from daemon.guard import Guard, key_of
from daemon.health import Health
from daemon.intake import GROUP_BATCHES, GROUP_BYTES, Intake
from daemon.sessions import Posted, Sessions
from daemon.settings import Settings
from daemon.stop_signal import StopSignal
from tracegen.errors import PfmemdError
from tracegen.keys import KeyFileError
from tracegen.protocol import DEFAULT_HEARTBEAT_MS, LEASE_HEARTBEATS, MAX_CONTROL_BYTES

POLL_MS: Final = 1000
"""How often the loop turns when nothing arrives."""
LINGER_MS: Final = 200
"""How long goodbyes may take to leave when the daemon stops."""
HANDSHAKE_MS: Final = 2000


class ReceiverBindError(PfmemdError):
    """The address for senders cannot be bound."""


class Receiver:
    """Takes what senders say, and sends what they are told."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        health: Health,
        stop: StopSignal,
        agent: str,
        connections: ConnectionCounts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bind; raises :class:`ReceiverBindError`, or KeyFileError for the keys.

        ``connections`` is kept up to date.
        """
        self._settings = settings
        self._health = health
        self._stop = stop
        self._clock = clock
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._guard: Guard | None = None
        if settings.keys_dir is not None:
            try:
                self._guard = Guard(self._context, self._socket, settings.keys_dir)
            except KeyFileError:
                self._context.destroy(linger=0)
                raise
        self._sessions = Sessions(settings, intake, agent, self._post, self._may_speak_for)
        self._connections = ConnectionWatch(
            self._context, self._socket, connections or ConnectionCounts()
        )
        try:
            self._bind()
        except zmq.ZMQError as error:
            self.close()
            raise ReceiverBindError(
                f"cannot receive on {settings.bind}: {zmq.strerror(error.errno or 0)}; another"
                " address is given with --bind"
            ) from None

    def _bind(self) -> None:
        options = {
            zmq.ROUTER_MANDATORY: 1,  # an answer to nobody raises instead of vanishing
            zmq.MAXMSGSIZE: max(self._settings.max_batch_bytes, MAX_CONTROL_BYTES),
            zmq.RCVHWM: 2 * self._settings.credit,
            zmq.SNDHWM: GROUP_BATCHES,
            zmq.LINGER: LINGER_MS,
            zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
            zmq.HEARTBEAT_IVL: DEFAULT_HEARTBEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: LEASE_HEARTBEATS * DEFAULT_HEARTBEAT_MS,
            zmq.HEARTBEAT_TTL: LEASE_HEARTBEATS * DEFAULT_HEARTBEAT_MS,
            zmq.IPV6: int("[" in self._settings.bind),
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        address = self._settings.bind
        if address.startswith("tcp://"):  # ZeroMQ has its own ways to say these two
            address = address.replace("//localhost:", "//127.0.0.1:")
            if address.endswith(":0"):
                address = address.removesuffix("0") + "*"
        self._socket.bind(address)

    @property
    def endpoint(self) -> str:
        """Where it listens, with the port it was given."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def run(self) -> None:
        """Receive until a stop is asked for; what is committed by then is acknowledged."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._connections.socket, zmq.POLLIN)
        poller.register(self._stop.fd, zmq.POLLIN)
        while not self._stop.requested:
            self._health.turn()
            waiting_since = self._clock()
            poller.poll(POLL_MS)
            self._sessions.listened += self._clock() - waiting_since
            self._connections.turn()
            self._take_arrived()
            self._sessions.turn()
        self._sessions.stopping = True
        self._sessions.say_goodbye()

    def close(self) -> None:
        """Close the socket; goodbyes get a moment to leave."""
        self._connections.close()
        self._socket.close()
        if self._guard is not None:
            self._guard.close()
        self._context.term()

    def _take_arrived(self) -> None:
        """Take what has arrived, up to a group."""
        messages = size = 0
        while messages < GROUP_BATCHES and size < GROUP_BYTES and not self._stop.requested:
            try:
                size += self._take_one()
            except zmq.Again:
                return
            messages += 1

    def _take_one(self) -> int:
        """Take one message; its size in bytes. Raises zmq.Again when there is none."""
        if self._guard is None:
            connection, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
            self._sessions.take(connection, frames)
        else:
            # Only a frame that is not copied knows whose it is.
            whole = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            connection, *frames = (frame.bytes for frame in whole)
            self._sessions.take(connection, frames, key_of(whole[-1]))
        return sum(map(len, frames))

    def _may_speak_for(self, key: str | None, source: str) -> bool:
        return self._guard is None or self._guard.clients.may_speak_for(key, source)

    def _post(self, connection: bytes, frame: bytes) -> Posted:
        """Send one frame, see :data:`daemon.sessions.Post`."""
        try:
            self._socket.send_multipart((connection, frame), zmq.NOBLOCK)
        except zmq.Again:
            return Posted.CLOGGED
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return Posted.GONE
        return Posted.SENT
