"""An Alertmanager's alerts become lines, and its absence one."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner

from daemon.top.alerts import firing
from daemon.top.cli import top_command

LABELS = [
    {"alertname": "PfmemdIngestStalled", "severity": "warning", "source": "a"},
    {
        "alertname": "PfmemallocReserveExhausted",
        "severity": "critical",
        "source": "a",
        "variant": "slab-seed",
        "zone": "DMA32",
    },
    {"alertname": "PfmemdIngestStalled", "severity": "warning", "source": "a"},
]


class Handler(BaseHTTPRequestHandler):
    """Answers as Alertmanager does."""

    body = json.dumps([{"labels": labels} for labels in LABELS])

    def do_GET(self) -> None:
        """The alerts, at their path."""
        assert self.path.startswith("/api/v2/alerts?active=true")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@pytest.fixture
def alertmanager() -> Iterator[str]:
    """Where it answers."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def nobody() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def test_critical_ones_come_first_and_each_once(alertmanager: str) -> None:
    """A line has the alert's name and what it is about."""
    assert [
        "PfmemallocReserveExhausted a slab-seed DMA32",
        "PfmemdIngestStalled a",
    ] == firing(alertmanager)


def test_absence_is_a_line() -> None:
    """The screen goes on without an Alertmanager, and says so."""
    address = nobody()

    assert [f"no Alertmanager answers at {address}"] == firing(address)


def test_something_else_is_no_alertmanager(
    alertmanager: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What answers with other words is not taken for one."""
    monkeypatch.setattr(Handler, "body", '{"status": "not found"}')

    assert [f"no Alertmanager answers at {alertmanager}"] == firing(alertmanager)


def test_top_opens_no_screen_without_a_daemon() -> None:
    """The reason is told instead."""
    result = CliRunner().invoke(top_command, ["--http", nobody()])

    assert "nothing answers at" in str(result.exception)


@pytest.mark.parametrize("option", ["--http", "--alertmanager"])
def test_wrong_address_is_refused(option: str) -> None:
    """An address is HOST:PORT."""
    result = CliRunner().invoke(top_command, [option, "9571"])

    assert 2 == result.exit_code
    assert "expected HOST:PORT" in result.output
