"""Measures the way from a dry reserve to a webhook: ``python -m tests.e2e.alert_latency``.

The real programs, configured as docker-compose.yml has them, on this machine. One source
after another runs its reserve dry. The clock starts when the daemon says that no page is free
and stops when the webhook has the message. Of a host there is one measurement: node_exporter
is scraped every 5 s, and that is most of it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from tests.e2e.watched import watching

TIMES = 20


def main(times: int) -> None:
    """Print each time, then their median and the longest."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder, watching(Path(folder)) as watched:
        for number in range(times):
            source = f"host-{number}"
            dry_at = watched.run_dry(source)
            came_at, _ = watched.webhook.first("PfmemallocReserveExhausted", source=source)
            seconds.append(came_at - dry_at)
            print(f"{source}: webhook {seconds[-1]:.2f} s after its reserve ran dry")  # noqa: T201
        dry_at = watched.run_host_dry("DMA32", 60)
        came_at, _ = watched.webhook.first("HostReserveExhausted", zone="DMA32")
    print(  # noqa: T201 - a program that measures
        f"{times} sources: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s;"
        f" a real host: {came_at - dry_at:.2f} s"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TIMES)
