"""The HTTP server answers, bounds its workers, and is not held up by silent connections."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from daemon.http import HttpBindError, HttpServer, Request, Response, Route, json_response

SECONDS = 10


def echo(request: Request) -> Response:
    """Answers with what the route was told."""
    return json_response({"query": dict(request.query), "accept": request.accept})


def broken(request: Request) -> Response:
    """Fails."""
    raise RuntimeError(request.accept)


class Gate:
    """A route that answers when it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, request: Request) -> Response:
        """Wait for the gate."""
        del request
        self.entered.release()
        self.opened.wait(SECONDS)
        return Response(b"late\n")


@pytest.fixture
def gate() -> Gate:
    """A gate that is closed."""
    return Gate()


@pytest.fixture
def server(gate: Gate) -> Iterator[HttpServer]:
    """A server with two workers."""
    routes: dict[str, Route] = {"/echo": echo, "/broken": broken, "/gate": gate}
    server = HttpServer(("127.0.0.1", 0), routes, workers=2, timeout_seconds=SECONDS)
    server.start()
    yield server
    gate.opened.set()
    server.stop()


def get(
    server: HttpServer, path: str, method: str = "GET", accept: str = ""
) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=SECONDS)
    try:
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        return response.status, response.headers.get("Content-Type", ""), response.read()
    finally:
        connection.close()


def connect(server: HttpServer) -> socket.socket:
    """A connection that has said nothing yet."""
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=SECONDS)


def test_route_is_told_query_and_accept(server: HttpServer) -> None:
    """The last of each query field and the Accept header reach the route."""
    status, kind, body = get(server, "/echo?digest=1&digest=0", accept="text/plain")

    assert (200, "application/json") == (status, kind)
    assert json.loads(body) == {"query": {"digest": "0"}, "accept": "text/plain"}


def test_head_has_no_body(server: HttpServer) -> None:
    """HEAD answers like GET, without the body."""
    status, _, body = get(server, "/echo", method="HEAD")

    assert (200, b"") == (status, body)


def test_unknown_path_names_the_ones_there_are(server: HttpServer) -> None:
    """A 404 helps whoever typed the address."""
    status, _, body = get(server, "/metrisc")

    assert status == 404
    assert b"/echo /broken /gate" in body


def test_other_methods_are_refused(server: HttpServer) -> None:
    """Nothing can be changed over HTTP."""
    assert get(server, "/echo", method="POST")[0] == 501


def test_failing_route_is_a_500(server: HttpServer) -> None:
    """A failure in a route is told and does not stop the server."""
    assert get(server, "/broken")[0] == 500
    assert get(server, "/echo")[0] == 200


def test_silent_connections_do_not_keep_a_scrape_out(server: HttpServer) -> None:
    """Connections that say nothing give their worker up to one that does."""
    silent = [connect(server) for _ in range(6)]
    for sock in silent:
        sock.sendall(b"GET /echo HT")  # a request that never ends

    assert get(server, "/echo")[0] == 200

    for sock in silent:
        sock.close()


def test_connection_is_refused_when_every_worker_answers(server: HttpServer, gate: Gate) -> None:
    """Workers that are answering are not taken away: one connection more is closed, and counted."""
    busy = [connect(server) for _ in range(2)]
    for sock in busy:
        sock.sendall(b"GET /gate HTTP/1.0\r\n\r\n")
        assert gate.entered.acquire(timeout=SECONDS)

    with connect(server) as refused:
        assert refused.recv(1) == b""
    assert server.refused == 1

    gate.opened.set()
    for sock in busy:
        with sock, sock.makefile("rb") as answer:
            assert answer.read().endswith(b"late\n")
    assert get(server, "/echo")[0] == 200


def test_connection_has_a_deadline() -> None:
    """A connection that trickles is cut off, however lively it is."""
    server = HttpServer(("127.0.0.1", 0), {"/echo": echo}, workers=1, timeout_seconds=0.1)
    server.start()
    with connect(server) as slow:
        slow.sendall(b"G")

        assert slow.recv(1) == b""
    server.stop()


def test_port_in_use_is_one_clear_line(server: HttpServer) -> None:
    """A taken port says which address and how to choose another."""
    with pytest.raises(HttpBindError) as caught:
        HttpServer(("127.0.0.1", server.server_port), {}, 1, 1)

    assert (
        f"cannot serve HTTP on 127.0.0.1:{server.server_port}: Address already in use; another"
        " address is given with --http"
    ) == str(caught.value)


def test_server_begins_again_on_the_port_it_has_just_answered_on() -> None:
    """A daemon that is restarted finds its port free, though connections linger in TIME_WAIT."""
    first = HttpServer(("127.0.0.1", 0), {"/echo": echo}, workers=2, timeout_seconds=SECONDS)
    port = first.server_port
    first.start()
    get(first, "/echo")
    first.stop()

    second = HttpServer(("127.0.0.1", port), {"/echo": echo}, workers=2, timeout_seconds=SECONDS)

    second.server_close()
    assert port == second.server_port


def test_url_has_the_port_that_was_given(server: HttpServer) -> None:
    """With port 0 the URL tells where the server is."""
    assert server.url == f"http://127.0.0.1:{server.server_port}"


def test_ipv6_loopback() -> None:
    """An IPv6 address works and is written with brackets."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = HttpServer(("::1", 0), {"/echo": echo}, 1, SECONDS)
    except HttpBindError:
        pytest.skip("no IPv6 loopback here")
    assert server.url == f"http://[::1]:{server.server_port}"
    server.server_close()
