"""Watching a daemon: what is read, how fast it moves, and what is said when it is not there."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner
from rich.console import Console

from daemon.live_state import NoDaemonError, NoStateError, read_state
from daemon.watch import Feed, watch, watch_command


class Answer(BaseHTTPRequestHandler):
    """Answers every request with the server's next body."""

    server: AnsweringServer

    def do_GET(self) -> None:
        """Send the next body, the last one again and again."""
        bodies = self.server.bodies
        body = bodies.pop(0) if len(bodies) > 1 else bodies[0]
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


class AnsweringServer(HTTPServer):
    """A daemon's HTTP side with answers laid down beforehand."""

    bodies: list[bytes]
    status = 200

    @property
    def address(self) -> str:
        """Where it listens, as --http takes it."""
        return f"127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    """Serve on a free loopback port."""
    with AnsweringServer(("127.0.0.1", 0), Answer) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def state(events: int, source: str = "nbd-swap") -> bytes:
    """Return a /state with one source that has applied so many events."""
    model = {
        "ok": events,
        "denied": 0,
        "stalled": 0,
        "pfmemalloc_active": False,
        "pfmemalloc_activations": 0,
        "pfmemalloc_deactivations": 0,
        "by_caller": {},
        "denied_by_reason": {},
        "stalled_by_reason": {},
        "leaks": {},
        "zones": [],
        "caches": [],
    }
    life = {"epoch": 1, "seq": 2, "events": events, "variants": {"slub-seed": model}}
    return json.dumps({"sources": {source: life}}).encode()


def unused_address() -> str:
    """Return a loopback address at which nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_nothing_listening_is_said_in_one_line() -> None:
    """No daemon: the address, the reason and what to do."""
    address = unused_address()

    with pytest.raises(NoDaemonError) as caught:
        read_state(address)

    assert f"nothing answers at http://{address}/state: Connection refused" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (404, b"", "answers 404 Not Found, expected 200"),
        (200, b"<html>", "the whole answer: Invalid JSON"),
        (200, b'{"sources": {"a": {"seq": "x"}}}', "sources.a.seq: Input should be a valid int"),
    ],
)
def test_something_else_listening_is_said_in_one_line(
    server: AnsweringServer, status: int, body: bytes, complaint: str
) -> None:
    """Another server at the address: what it answered and what was expected."""
    server.status, server.bodies = status, [body]

    with pytest.raises(NoStateError, match=complaint) as caught:
        read_state(server.address)

    assert "\n" not in str(caught.value)


def test_a_reading_is_what_the_daemon_says(server: AnsweringServer) -> None:
    """Fields that the view does not show are passed over."""
    server.bodies = [state(123)]

    assert 123 == read_state(server.address).sources["nbd-swap"].events


def test_watching_into_a_pipe_prints_a_line_a_reading(server: AnsweringServer) -> None:
    """Without a terminal there are plain lines, the last of them the last reading."""
    server.bodies = [state(100), state(200)]
    out = io.StringIO()
    pauses = iter([True, False])

    last = watch(Feed(server.address), Console(file=out, width=40), lambda _: next(pauses))

    assert ["nbd-swap 100 events", "nbd-swap 200 events"] == [
        line[:19] for line in out.getvalue().splitlines()
    ]
    assert 200 == last.sources["nbd-swap"].events


def test_watching_a_terminal_shows_the_panels(server: AnsweringServer) -> None:
    """On a terminal the models are drawn, on a screen of their own."""
    server.bodies = [state(100)]
    out = io.StringIO()
    console = Console(file=out, width=100, height=30, force_terminal=True)

    watch(Feed(server.address), console, lambda _: False)

    assert "slub-seed" in out.getvalue()
    assert out.getvalue().startswith("\x1b[?1049h")


def test_rates_are_of_the_events_between_readings(server: AnsweringServer) -> None:
    """There is no rate before the second reading, and one above 0 when events came."""
    server.bodies = [state(100), state(200)]
    feed = Feed(server.address)

    feed.read()
    first = feed.rates().of("nbd-swap")
    feed.read()

    assert 0.0 == first
    assert feed.rates().of("nbd-swap") > 0


def test_one_source_can_be_picked(server: AnsweringServer) -> None:
    """--source leaves out the others."""
    server.bodies = [state(100, source="host-a")]

    assert {} == Feed(server.address, "host-b").read().sources
    assert ["host-a"] == list(Feed(server.address, "host-a").read().sources)


def test_a_wrong_address_is_refused_before_anything_is_tried() -> None:
    """--http without a port is wrong use: exit code 2 and the form that is expected."""
    result = CliRunner().invoke(watch_command, ["--http", "localhost"])

    assert 2 == result.exit_code
    assert "expected HOST:PORT" in result.output
