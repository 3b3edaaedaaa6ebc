"""The HTTP side: /metrics, /state, /healthz, /readyz on a bounded, impatient server.

A scrape must come through whatever else is connected: so many workers and no
more, each connection with one deadline from accept to last byte. A connection
that finds every worker busy takes the place of the one that has kept silent
longest; if all of them are being answered, it is closed and counted. One request
a connection.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import structlog

from daemon.files import NO_FILES
from daemon.http_security import Password
from tracegen.errors import PfmemdError

log = structlog.get_logger()

POLL_SECONDS: Final = 0.25
"""How often deadlines and a shutdown are looked at."""
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""What whoever watches over processes may ask without a password."""
EVICTION_SECONDS: Final = 1.0
"""How long a new connection waits for the worker of one that was cut off for it."""


class HttpBindError(PfmemdError):
    """The HTTP address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Request:
    """What a route is told: the query's fields (the last of each) and the Accept header."""

    query: Mapping[str, str]
    accept: str
    rest: str = ""
    """What follows a route that ends in a slash and stands for everything below it."""


Route: TypeAlias = Callable[[Request], Response]


def json_response(value: object) -> Response:
    """``value`` as JSON."""
    return Response(json.dumps(value).encode() + b"\n", "application/json")


class HttpServer(ThreadingHTTPServer):
    """Serves ``routes`` with bounded workers and a deadline for each connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        routes: Mapping[str, Route],
        workers: int,
        timeout_seconds: float,
        tls: ssl.SSLContext | None = None,
        password: Password | None = None,
    ) -> None:
        """Listen on ``address``; raises :class:`HttpBindError`.

        With a ``password`` only :data:`OPEN_PATHS` are answered without it.
        """
        self.password = password
        self.unauthorized = 0
        """Requests without the password."""
        self._tls = tls
        self.routes = routes
        self.timeout_seconds = timeout_seconds
        self.refused = 0
        """Connections closed because every worker was busy."""
        self._free = threading.BoundedSemaphore(workers)
        self._open: dict[socket.socket, _Connection] = {}  # the oldest first
        self._mutex = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            super().__init__(address, _Handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise HttpBindError(
                f"cannot serve HTTP on {address[0]}:{address[1]}: {reason}; another address is"
                " given with --http"
            ) from None

    @property
    def url(self) -> str:
        """Where it listens, with the port it was given."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{name}]:{port}" if ":" in name else f"{scheme}://{name}:{port}"

    def route(self, path: str) -> tuple[Route | None, str]:
        """Return the route of a path, and what follows one that stands for all below it."""
        if path in self.routes:
            return self.routes[path], ""
        for start, route in self.routes.items():
            if start.endswith("/") and path.startswith(start):
                return route, unquote(path.removeprefix(start))
        return None, ""

    def start(self) -> None:
        """Serve in a thread of its own until :meth:`stop`."""
        threading.Thread(
            target=self.serve_forever, args=(POLL_SECONDS,), name="http", daemon=True
        ).start()

    def stop(self) -> None:
        """Accept no more and close."""
        self.shutdown()
        self.server_close()

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name that the base class does."""
        # What was answered a moment ago lingers; a restart must not wait a minute for it.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name = str(self.server_address[0])
        self.server_port = int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its TLS handshake is left to the worker, who may be kept waiting."""
        try:
            connection, address = super().get_request()
        except OSError as error:
            if error.errno in NO_FILES:  # it stays in the queue, and would be tried again at once
                time.sleep(POLL_SECONDS)
            raise
        if self._tls is None:
            return connection, address
        wrapped = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Give the connection to a worker; see the module's head for when there is none."""
        if not self._free.acquire(blocking=False) and not self._evict_a_silent_one():
            self.refused += 1
            self.shutdown_request(request)
            return
        with self._mutex:
            self._open[request] = _Connection(time.monotonic() + self.timeout_seconds)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Serve one connection and free its worker."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._mutex:
                self._open.pop(request, None)
            self._free.release()

    def request_arrived(self, connection: socket.socket) -> None:
        """The connection is not silent: from here on it keeps its worker until the deadline."""
        with self._mutex:
            known = self._open.get(connection)
            if known is not None:
                known.silent = False

    def service_actions(self) -> None:
        """Cut off every connection whose time is over: its worker then fails and is free."""
        now = time.monotonic()
        with self._mutex:
            for sock, connection in self._open.items():
                if connection.deadline < now:
                    _cut_off(sock)

    def _evict_a_silent_one(self) -> bool:
        """Cut off the longest silent connection and take over its worker, if there is one."""
        with self._mutex:
            silent = [sock for sock, connection in self._open.items() if connection.silent]
            if not silent:
                return False
            _cut_off(silent[0])
        return self._free.acquire(timeout=EVICTION_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """A client that went away, or was cut off, is no news."""
        del request
        log.debug("http connection failed", client=str(client_address[0]))


class _Connection:
    """One open connection: when it is cut off, and whether it has said what it wants."""

    __slots__ = ("deadline", "silent")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.silent = True


def _cut_off(sock: socket.socket) -> None:
    """Wake the worker that reads from or writes to ``sock``; it closes the socket."""
    with suppress(OSError):  # the client may have gone by itself
        # Not SSLSocket's own, which would have the worker go on in plain text.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: HttpServer
    server_version = "pfmemd"
    sys_version = ""

    def setup(self) -> None:
        # Bounds each read and the write; the server's deadline bounds them together.
        self.request.settimeout(self.server.timeout_seconds)
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.request_arrived(self.connection)
        parts = urlsplit(self.path)
        if not self._is_admitted(parts.path):
            self._answer(Response(b"a password is needed\n", status=HTTPStatus.UNAUTHORIZED))
            return
        route, rest = self.server.route(parts.path)
        if route is None:
            paths = " ".join(self.server.routes)
            self._answer(
                Response(
                    f"nothing at this path; there is: {paths}\n".encode(),
                    status=HTTPStatus.NOT_FOUND,
                )
            )
            return
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        request = Request(query, self.headers.get("Accept", ""), rest)
        try:
            response = route(request)
        except Exception:  # the client is told, the log has the traceback, the daemon goes on
            log.exception("http route failed", path=parts.path)
            response = Response(b"internal error\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)
        self._answer(response)

    def _is_admitted(self, path: str) -> bool:
        password = self.server.password
        if password is None or path in OPEN_PATHS:
            return True
        if password.admits(self.headers.get("Authorization", "")):
            return True
        self.server.unauthorized += 1
        return False

    def _answer(self, response: Response) -> None:
        self.send_response(response.status)
        if response.status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="pfmemd", charset="UTF-8"')
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server has it
        log.debug("http", client=self.client_address[0], line=format % args)
