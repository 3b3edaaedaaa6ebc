"""Who connects to the port for senders, as the socket itself sees it: counted, never trusted.

ZeroMQ drops a peer that fails its handshake without a word to the program. Its monitor
tells of it.
"""

from __future__ import annotations

from typing import Final

import structlog
import zmq
from zmq.utils.monitor import parse_monitor_message

log = structlog.get_logger()

REFUSED_KEY: Final = "key"
"""The key is not one that may connect."""
REFUSED_HANDSHAKE: Final = "handshake"
"""Not ZeroMQ, silence, or not the encryption that is wanted. These cannot be told apart: who
notices first that the other end wants something else hangs up."""
REFUSED_NO_FILE: Final = "no_file"
"""The process has as many files open as it may."""
REFUSED_REASONS: Final = (REFUSED_KEY, REFUSED_HANDSHAKE, REFUSED_NO_FILE)

_REASONS: Final[dict[int, str]] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: REFUSED_KEY,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: REFUSED_HANDSHAKE,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: REFUSED_HANDSHAKE,
    zmq.EVENT_ACCEPT_FAILED: REFUSED_NO_FILE,
}
_WATCHED: Final = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_ACCEPT_FAILED
)
_WAITING_EVENTS: Final = 1 << 16
"""So many may wait while a group is applied; more would hold up the network."""


class ConnectionCounts:
    """Written by the thread that receives, read by scrapes."""

    def __init__(self) -> None:
        self.open = 0
        self.refused = dict.fromkeys(REFUSED_REASONS, 0)


class ConnectionWatch:
    """The monitor of one socket, in the loop of the thread that owns it."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        socket: zmq.Socket[bytes],
        counts: ConnectionCounts,
    ) -> None:
        """Watch ``socket`` from here on; before it is bound, or some are missed."""
        self._counts = counts
        self._watched = socket
        address = f"inproc://connections-{id(self)}"
        socket.monitor(address, _WATCHED)
        self.socket = context.socket(zmq.PAIR)
        """Readable when something has happened."""
        self.socket.setsockopt(zmq.RCVHWM, _WAITING_EVENTS)
        self.socket.connect(address)

    def turn(self) -> None:
        """Count what has happened."""
        counts = self._counts
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event = parse_monitor_message(frames)["event"]
            if event == zmq.EVENT_ACCEPTED:
                counts.open += 1
            elif event == zmq.EVENT_DISCONNECTED:
                counts.open -= 1
            elif event in _REASONS:
                counts.refused[_REASONS[event]] += 1
                log.debug("connection refused", why=_REASONS[event])

    def close(self) -> None:
        """Stop watching."""
        self._watched.disable_monitor()
        self.socket.close(linger=0)
