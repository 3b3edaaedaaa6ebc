"""A trace goes in at one end, and a real Prometheus says at the other what was in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgpack
import zmq

from tests.e2e.traces import (
    HEADER,
    KMALLOC,
    OBJ_ALLOC,
    OBJ_FREE,
    PAGE_ALLOC,
    PAGE_FREE,
    batches,
    drawn,
    events,
    write,
)

DASHBOARDS = Path(__file__).parents[2] / "dashboards" / "grafana" / "dashboards"

VARIANTS = ("slab-seed", "slub-seed")
WATERMARKS = {"min": {"DMA": 28, "DMA32": 483}, "low": {"DMA": 35, "DMA32": 603}}
FLAGS = [word for variant in VARIANTS for word in ("--variant", variant)]

Start: TypeAlias = Callable[..., Any]
"""What the fixtures of conftest.py give."""


def queries(dashboards: Path) -> Iterator[tuple[str, str]]:
    """Every expression of panels and variables, as Grafana sends it with all values chosen."""
    for file in sorted(dashboards.glob("*.json")):
        dashboard = json.loads(file.read_text("utf-8"))
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                values = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert values is not None
                promql = f"group by ({values[2]}) ({values[1]})"
                yield f"{dashboard['title']}: ${variable['name']}", interpolated(promql)
        for annotation in dashboard["annotations"]["list"]:
            expression = annotation["target"]["expr"]
            yield f"{dashboard['title']}: {annotation['name']}", interpolated(expression)
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                promql = interpolated(target["expr"], target["interval"] or "1s")
                yield f"{dashboard['title']}: {panel['title']}", promql


def interpolated(text: str, step: str = "1s") -> str:
    """An expression with all of each variable, as Grafana writes it for points a step apart."""
    for name in ("source", "variant", "node", "zone", "cache", "host"):
        text = text.replace(f"${name}", ".+")
    rate_interval = f"{4 * int(step.removesuffix('s'))}s"
    text = text.replace("$__rate_interval", rate_interval).replace("$__range", "15m")
    assert "$" not in text
    return text


def send_what_is_refused(address: str) -> None:
    """A message that is none, and a batch whose event is of no known kind."""
    header = msgpack.packb({"v": 1, "source": "spoilt", "epoch": 1, "seq": 1, "header": HEADER})
    event = [77, 0, 1, 0, 0, 0, -1, 0]
    batch = msgpack.packb({"v": 1, "source": "spoilt", "epoch": 1, "seq": 2, "events": [event]})
    hello = ["HELLO", 1, "spoilt", 1, 1, hashlib.sha256(header).digest(), "test"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(address)
        socket.send(b"\x93junk")
        socket.send(msgpack.packb(hello))
        while msgpack.unpackb(socket.recv())[0] != "WELCOME":
            pass
        socket.send(header)
        socket.send(batch)
        while msgpack.unpackb(socket.recv())[0] != "REJECT":
            pass


def test_prometheus_says_what_the_trace_contains(
    sample: Path, serve: Start, prometheus: Start, pfmemd: Start, eventually: Start
) -> None:
    """Each event of a real kernel's trace is accounted for, once, and its machine is that one."""
    count = Counter(op for op, *_ in events(sample))
    (source,) = {batch["source"] for batch in batches(sample)}
    daemon = serve(*FLAGS)
    prom = prometheus(daemon.http)
    pfmemd("send", sample, "--connect", daemon.receiving)

    eventually(
        "Prometheus has seen every event",
        lambda: (
            prom.value(f'pfmemd_events_applied_total{{source="{source}"}}') == count.total() or None
        ),
    )

    assert 1 == prom.value("up")
    assert 1 == prom.value("pfmemd_sources")
    assert prom.value(f'pfmemd_source_sequence{{source="{source}"}}') == len(batches(sample))
    asked = prom.by(
        'sum by (variant, kind) ({__name__=~"pfmemd_allocations_(ok|denied|stalled)_total"})',
        "variant",
        "kind",
    )
    assert {
        (variant, kind): count[op]
        for variant in VARIANTS
        for kind, op in (("page", PAGE_ALLOC), ("object", OBJ_ALLOC), ("kmalloc", KMALLOC))
    } == asked
    freed = prom.by(
        'sum by (variant) ({__name__=~"pfmemd_(page|object|denied|unknown)_frees_total"})',
        "variant",
    )
    assert {(variant,): count[PAGE_FREE] + count[OBJ_FREE] for variant in VARIANTS} == freed
    # What that machine's /proc/zoneinfo said of its zones.
    for name, expected in WATERMARKS.items():
        found = prom.by(f"pfmemd_zone_{name}_pages", "variant", "zone")
        assert {(v, zone): pages for v in VARIANTS for zone, pages in expected.items()} == found


def test_every_panel_has_an_answer(
    tmp_path: Path,
    serve: Start,
    prometheus: Start,
    node_exporter: Start,
    pfmemd: Start,
    eventually: Start,
) -> None:
    """Every query of every dashboard, its variables' and annotations' too, finds series."""
    # A small bound, so that something is folded.
    data = ("--data-dir", str(tmp_path / "data"), "--snapshot-interval-seconds", "1")
    daemon = serve(*FLAGS, "--max-label-values", "2", *data)
    prom = prometheus(daemon.http, node_exporter=node_exporter())
    eventually("Prometheus scrapes", lambda: prom.query('up{job="pfmemd"} == 1') or None)
    send_what_is_refused(daemon.receiving)
    unanswered = list(queries(DASHBOARDS))
    trace = write(tmp_path / "drawn.pfmt", "drawn", drawn())
    pfmemd("send", trace, "--connect", daemon.receiving, "--speed", "1", wait=False)

    def all_answered() -> bool | None:
        unanswered[:] = [(panel, promql) for panel, promql in unanswered if not prom.query(promql)]
        return None if unanswered else True

    eventually(lambda: f"series for {unanswered}", all_answered)
