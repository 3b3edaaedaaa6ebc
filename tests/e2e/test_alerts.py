"""From an event to a message on somebody's phone: daemon, Prometheus, Alertmanager, webhook."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.traces import MIN_PAGES
from tests.e2e.watched import VARIANTS, Watched, watching


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """All of it, running, and nothing wrong yet."""
    with watching(tmp_path_factory.mktemp("watched")) as all_of_it:
        yield all_of_it


def test_webhook_comes_when_the_reserve_runs_dry(watched: Watched) -> None:
    """Whoever is on call is told, in seconds, which zone of which model, and how dry it ran.

    How long that takes: ``python -m tests.e2e.alert_latency``.
    """
    watched.run_dry("drained")
    _, alert = watched.webhook.first("PfmemallocReserveExhausted")
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


def test_webhook_comes_when_a_real_hosts_reserve_runs_dry(watched: Watched) -> None:
    """node_exporter on a host whose zone falls below an eighth of min: the same message."""
    watched.run_host_dry("DMA32", 60)

    _, alert = watched.webhook.first("HostReserveExhausted")

    assert ("critical", watched.host, "DMA32") == tuple(
        alert["labels"][label] for label in ("severity", "instance", "zone")
    )
    assert alert["annotations"]["description"] == (
        f"Zone DMA32 of node 0 of {watched.host} had 12.42% of its min watermark free within the"
        " last minute."
    )
