"""From an event to a message on somebody's phone: daemon, Prometheus, Alertmanager, webhook."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import pytest

from tests.e2e.programs import (
    Daemon,
    Processes,
    eventually,
    get,
    start_alertmanager,
    start_daemon,
    start_node_exporter,
    start_prometheus,
)
from tests.e2e.traces import MIN_PAGES, drained, write
from tracegen import samples

VARIANTS = ("slab-seed", "slub-seed")
FLAGS = [word for variant in VARIANTS for word in ("--variant", variant)]
PATIENCE_SECONDS = 30.0
"""More than a scrape, an evaluation of the rules and Alertmanager's group_wait take."""

PLENTY = (samples.PROC / "proc_zoneinfo").read_text("utf-8")
"""What /proc/zoneinfo says of a host that has plenty."""


class Webhook:
    """An HTTP server of the test's own that Alertmanager tells of alerts."""

    def __init__(self) -> None:
        self._alerts: SimpleQueue[tuple[float, dict[str, Any]]] = SimpleQueue()
        self._first: dict[str, tuple[float, dict[str, Any]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where Alertmanager sends its messages."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def first(self, name: str) -> tuple[float, dict[str, Any]]:
        """When the first alert of that name came, and the alert."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while name not in self._first:
            try:
                at, alert = self._alerts.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                came = ", ".join(self._first)
                pytest.fail(f"no webhook of {name} within {PATIENCE_SECONDS:.0f} s; came: {came}")
            self._first.setdefault(alert["labels"]["alertname"], (at, alert))
        return self._first[name]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        alerts = self._alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    alerts.put((time.monotonic(), alert))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                del format, args

        return Handler


@dataclass
class Watched:
    """A daemon and a host, both watched by one Prometheus that tells a webhook of its alerts."""

    processes: Processes
    daemon: Daemon
    host: str
    zoneinfo: Path
    webhook: Webhook


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """All of it, running, and nothing wrong yet.

    The host is node_exporter over a folder of files in the kernel's own format, those of the
    machine that the packaged trace comes from; nobody's memory is taken.
    """
    folder = tmp_path_factory.mktemp("watched")
    zoneinfo = folder / "proc" / "zoneinfo"
    zoneinfo.parent.mkdir()
    zoneinfo.write_text(PLENTY, "utf-8")
    webhook = Webhook()
    with closing(webhook), Processes(folder) as processes:
        alertmanager = start_alertmanager(processes, webhook.url)
        host = start_node_exporter(
            processes, f"--path.procfs={zoneinfo.parent}", "--collector.disable-defaults"
        )
        daemon = start_daemon(processes, *FLAGS)
        prometheus = start_prometheus(processes, daemon.http, alertmanager.address, host)
        eventually(
            "both are scraped",
            lambda: len(prometheus.query('up{job=~"pfmemd|node"} == 1')) == 2 or None,
        )
        yield Watched(processes, daemon, host, zoneinfo, webhook)


def test_webhook_comes_when_the_reserve_runs_dry(watched: Watched) -> None:
    """Whoever is on call is told, in seconds, which zone of which model, and how dry it ran.

    `pytest -rP -k webhook tests/e2e` prints how long it took from the event to the message.
    """
    trace = write(watched.processes.folder / "drained.pfmt", "drained", drained())

    watched.processes.pfmemd("send", trace, "--connect", watched.daemon.receiving, wait=False)
    eventually("the reserve is dry", lambda: dry(watched.daemon.http))
    dry_at = time.monotonic()
    came_at, alert = watched.webhook.first("PfmemallocReserveExhausted")

    print(f"webhook {came_at - dry_at:.2f} s after the reserve ran dry")  # noqa: T201 - for -rP
    labels = alert["labels"]
    assert "firing" == alert["status"]
    assert ("critical", "drained", "DMA32", "0") == tuple(
        labels[label] for label in ("severity", "source", "zone", "node")
    )
    assert labels["variant"] in VARIANTS
    assert alert["annotations"]["description"] == (
        "Zone DMA32 of node 0 had less than an eighth of its min watermark free within the last"
        f" minute (source drained, variant {labels['variant']})."
        f" The reserve is {MIN_PAGES} pages; the fewest free pages so far were 0."
    )
    # Those that the reserve is for went without too, which is another alert.
    _, denied = watched.webhook.first("PfmemallocEntitledDenied")
    assert "critical" == denied["labels"]["severity"]


def dry(address: str) -> bool | None:
    """Whether the daemon says that some zone has no free page; None as long as it does not."""
    sources = get(f"http://{address}/state?digest=0")["sources"].values()
    zones = [zone for s in sources for v in s["variants"].values() for zone in v["zones"]]
    return any(zone["lowest_free"] == 0 for zone in zones) or None


def test_webhook_comes_when_a_real_hosts_reserve_runs_dry(watched: Watched) -> None:
    """node_exporter on a host whose zone falls below an eighth of min: the same message."""
    dma, dma32, rest = re.split(r"(?m)(?=^Node 0, zone +(?:DMA32|Normal)$)", PLENTY)
    fresh = watched.zoneinfo.with_suffix(".new")
    fresh.write_text(dma + re.sub(r"nr_free_pages +\d+", "nr_free_pages 60", dma32) + rest)

    fresh.replace(watched.zoneinfo)
    _, alert = watched.webhook.first("HostReserveExhausted")

    assert ("critical", watched.host, "DMA32") == tuple(
        alert["labels"][label] for label in ("severity", "instance", "zone")
    )
    assert alert["annotations"]["description"] == (
        f"Zone DMA32 of node 0 of {watched.host} had 12.42% of its min watermark free within the"
        " last minute."
    )
