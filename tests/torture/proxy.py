"""A network between senders and a daemon that can be cut, in mid-byte, and can stand still."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from tests.torture.world import PATIENCE


class Proxy:
    """Passes TCP connections on. Use as a context manager."""

    def __init__(self, url: str) -> None:
        """``url`` is the daemon's, tcp://HOST:PORT."""
        host, _, port = url.removeprefix("tcp://").rpartition(":")
        self._daemon = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        """Taken so far."""
        self._moves = threading.Event()
        self._moves.set()
        self._mutex = threading.Lock()
        self._open: list[socket.socket] = []
        self._left: int | None = None
        """Bytes until the next cut; None without one."""
        self._threads = [threading.Thread(target=self._accept)]

    def cut_after(self, size: int) -> None:
        """Cut every connection when so many bytes more have passed, in either direction."""
        with self._mutex:
            self._left = size

    def stand_still(self) -> None:
        """Pass nothing on, and close nothing."""
        self._moves.clear()

    def go_on(self) -> None:
        """Pass on what has come since, late as it is."""
        self._moves.set()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything and see the threads end."""
        self._moves.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(PATIENCE)
        with self._mutex:
            self._cut()
        for thread in self._threads[1:]:
            thread.join(PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._daemon)
            except OSError:
                return
            with self._mutex:
                self._open += [near, far]
            self.connections += 1
            for source, target in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pass_on, args=(source, target))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(4096):
                self._moves.wait()
                target.sendall(data[: self._allowed(len(data))])

    def _allowed(self, size: int) -> int:
        """How much of it passes before a cut; the cut itself is then made."""
        with self._mutex:
            if self._left is None or size < self._left:
                self._left = None if self._left is None else self._left - size
                return size
            allowed, self._left = self._left, None
            self._cut()
            return allowed

    def _cut(self) -> None:
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()
