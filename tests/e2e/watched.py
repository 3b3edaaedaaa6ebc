"""A daemon and a host watched by a real Prometheus, whose Alertmanager tells a webhook."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
from tests.e2e.traces import drained, write
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
        self._came: list[tuple[float, dict[str, Any]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where Alertmanager sends its messages."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def first(self, name: str, **labels: str) -> tuple[float, dict[str, Any]]:
        """When the first alert of that name and those labels came, and the alert."""
        wanted = {"alertname": name, **labels}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            for at, alert in self._came:
                if wanted.items() <= alert["labels"].items():
                    return at, alert
            try:
                self._came.append(self._alerts.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                came = ", ".join(sorted({alert["labels"]["alertname"] for _, alert in self._came}))
                pytest.fail(f"no webhook of {wanted} within {PATIENCE_SECONDS:.0f} s; came: {came}")

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

    def run_dry(self, source: str) -> float:
        """Send a trace in which the reserve runs dry; return when the daemon says that it is."""
        trace = write(self.processes.folder / f"{source}.pfmt", source, drained())
        self.processes.pfmemd("send", trace, "--connect", self.daemon.receiving, wait=False)
        eventually("the reserve is dry", lambda: dry(self.daemon.http, source))
        return time.monotonic()

    def run_host_dry(self, zone: str, free: int) -> float:
        """Let the host have so few free pages in a zone; return when."""
        parts = re.split(r"(?m)(?=^Node 0, zone )", PLENTY)
        low = [
            re.sub(r"nr_free_pages +\d+", f"nr_free_pages {free}", part)
            if re.match(rf"Node 0, zone +{zone}\n", part)
            else part
            for part in parts
        ]
        fresh = self.zoneinfo.with_suffix(".new")
        fresh.write_text("".join(low), "utf-8")
        fresh.replace(self.zoneinfo)
        return time.monotonic()


@contextmanager
def watching(folder: Path) -> Iterator[Watched]:
    """All of it, running, and nothing wrong yet.

    The host is node_exporter over a folder of files in the kernel's own format, those of the
    machine that the packaged trace comes from; nobody's memory is taken.
    """
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


def dry(address: str, source: str) -> bool | None:
    """Whether some zone of the source has had no free page; None as long as it has not."""
    sources = get(f"http://{address}/state?digest=0")["sources"]
    variants = sources.get(source, {"variants": {}})["variants"].values()
    return any(zone["lowest_free"] == 0 for model in variants for zone in model["zones"]) or None
