"""Who connects to the port for senders, as the socket itself sees it: counted, never trusted.

ZeroMQ drops a peer that fails its handshake without a word to the program. Its monitor
tells of it. Of one thing the monitor is not asked: when the process has no file left for a
connection, ZeroMQ tries again as fast as it can, and telling of each try it would hold a lock
that the daemon could not get any more, not even to stop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

import structlog
import zmq
from zmq.utils.monitor import parse_monitor_message

from daemon.files import NO_FILES

log = structlog.get_logger()

REFUSED_KEY: Final = "key"
"""The key is not one that may connect."""
REFUSED_HANDSHAKE: Final = "handshake"
"""Not ZeroMQ, silence, or not the encryption that is wanted. These cannot be told apart: who
notices first that the other end wants something else hangs up."""
REFUSED_NO_FILE: Final = "no_file"
"""The process has as many files open as it may: counted by the second, not by connection."""
REFUSED_REASONS: Final = (REFUSED_KEY, REFUSED_HANDSHAKE, REFUSED_NO_FILE)

_REASONS: Final[dict[int, str]] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: REFUSED_KEY,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: REFUSED_HANDSHAKE,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: REFUSED_HANDSHAKE,
}
_WATCHED: Final = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_WAITING_EVENTS: Final = 1 << 16
"""So many may wait while a group is applied; more would hold up the network."""
_EVENTS_AT_ONCE: Final = 1024
"""However fast strangers come, batches are taken in between."""
_FILE_SECONDS: Final = 1.0
"""How often it is tried whether there is a file to be had."""


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch ``socket`` from here on; before it is bound, or some are missed."""
        self._counts = counts
        self._watched = socket
        self._clock = clock
        self._try_at = 0.0
        address = f"inproc://connections-{id(self)}"
        socket.monitor(address, _WATCHED)
        self.socket = context.socket(zmq.PAIR)
        """Readable when something has happened."""
        self.socket.setsockopt(zmq.RCVHWM, _WAITING_EVENTS)
        self.socket.connect(address)

    def turn(self) -> None:
        """Count what has happened, or some of it."""
        counts = self._counts
        if self._clock() >= self._try_at:
            self._try_at = self._clock() + _FILE_SECONDS
            self._try_a_file()
        for _ in range(_EVENTS_AT_ONCE):
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

    def _try_a_file(self) -> None:
        try:
            os.close(os.dup(self._watched.fileno()))
        except OSError as error:
            if error.errno not in NO_FILES:
                raise
            self._counts.refused[REFUSED_NO_FILE] += 1
            log.warning("connections are refused", why=error.strerror)

    def close(self) -> None:
        """Stop watching."""
        self._watched.disable_monitor()
        self.socket.close(linger=0)
