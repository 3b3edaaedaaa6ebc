"""Draws docs/img/dashboard-*.png: ``python -m tests.docs.make_pictures``; takes two minutes.

Everything runs as a user would start it: the packaged trace of a machine that swaps over
NBD is replayed to a daemon with four models, Prometheus scrapes it and the node_exporter of
this machine, and the dashboards' own queries are drawn.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from dashboards.build import DASHBOARDS
from dashboards.draw import Board, draw
from dashboards.panels import to_json
from dashboards.prometheus_api import Prometheus
from tests.e2e.programs import (
    Processes,
    start_alertmanager,
    start_daemon,
    start_node_exporter,
    start_prometheus,
)
from tracegen import samples

IMAGES = Path(__file__).parents[2] / "docs" / "img"
VARIANTS = ("slab-seed", "slub-seed", "slab-unpatched", "slub-v6.1")
SPEED = 0.035
REPLAY_SECONDS = 70
BEFORE_SECONDS = 8


def main(names: list[str]) -> None:
    """Run it all and draw the dashboards of these names, or every one."""
    with tempfile.TemporaryDirectory() as name, Processes(Path(name)) as processes:
        trace = processes.folder / "nbd-swap.pfmt"
        processes.pfmemd("import", *samples.import_arguments(), "-o", trace)
        flags = [word for variant in VARIANTS for word in ("--variant", variant)]
        data = ("--data-dir", str(processes.folder / "data"), "--snapshot-interval-seconds", "15")
        daemon = start_daemon(processes, *flags, *data)
        alertmanager = start_alertmanager(processes)
        host = start_node_exporter(processes)
        prometheus = start_prometheus(processes, daemon.http, alertmanager.address, host)
        time.sleep(BEFORE_SECONDS)
        speed = ("--speed", f"{SPEED}x", "--batch-events", "100")
        processes.pfmemd("send", trace, "--connect", daemon.receiving, *speed, wait=False)
        time.sleep(REPLAY_SECONDS)
        now = time.time()
        for file, make in DASHBOARDS.items():
            stem = file.removesuffix(".json")
            if stem == "runbooks" or (names and stem not in names):
                continue
            chosen = {"zone": "DMA32"} if stem == "real-host" else {}
            board = Board(
                json.loads(to_json(make())),
                Prometheus(f"http://{prometheus.address}"),
                chosen,
                (now - REPLAY_SECONDS - BEFORE_SECONDS / 2, now),
            )
            draw(board, IMAGES / f"dashboard-{stem}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
