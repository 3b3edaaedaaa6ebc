"""A trace goes in at one end, and a real Prometheus says at the other what was in it."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgpack
import pytest

DASHBOARDS = Path(__file__).parents[2] / "dashboards" / "grafana" / "dashboards"

# What a trace looks like is written out here once more, from the format's description and not
# from the project's own reader: that one is among the things that are tested.
RECORD = struct.Struct("<QQIIHhBBH")
PAGE_ALLOC, PAGE_FREE, OBJ_ALLOC, OBJ_FREE, KMALLOC = 1, 2, 3, 4, 5
PF_MEMALLOC = 1
GFP_ATOMIC, GFP_KERNEL = 0x20, 0xD0
ROUNDS, ROUND_NS = 120, 250_000_000

VARIANTS = ("slab-seed", "slub-seed")
WATERMARKS = {"min": {"DMA": 28, "DMA32": 483}, "low": {"DMA": 35, "DMA32": 603}}
FLAGS = [word for variant in VARIANTS for word in ("--variant", variant)]

Start: TypeAlias = Callable[..., Any]
"""What the fixtures of conftest.py give."""
Event: TypeAlias = tuple[int, int, int, int, int, int, int, int]
"""Op, ts_ns, handle, gfp, arg, cpu, node, ctx."""


def batches(trace: Path) -> list[dict[str, Any]]:
    """The batches of a trace file, as msgpack maps."""
    with trace.open("rb") as file:
        return list(msgpack.Unpacker(file, max_buffer_size=1 << 20))


def events(trace: Path) -> Iterator[Event]:
    """The events of a trace file, whichever form they have."""
    for batch in batches(trace):
        for event in batch.get("events", ()):
            yield tuple(event)
        for ts, handle, gfp, arg, cpu, node, op, ctx, _ in RECORD.iter_unpack(
            batch.get("packed", b"")
        ):
            yield op, ts, handle, gfp, arg, cpu, node, ctx


def write(trace: Path, source: str, header: dict[str, Any], rows: list[Event]) -> None:
    """A trace of one source, in readable form, 500 events a batch."""
    common = {"v": 1, "source": source, "epoch": 1}
    with trace.open("wb") as file:
        file.write(msgpack.packb({**common, "seq": 1, "header": header}))
        for seq, at in enumerate(range(0, len(rows), 500), start=2):
            file.write(msgpack.packb({**common, "seq": seq, "events": rows[at : at + 500]}))


PAGES = 4096
MIN_PAGES = 256
CACHE = 0
HEADER = {
    "machine": {
        "cpus": 1,
        "cpu_node": [0],
        "nodes": [[0, PAGES]],
        "zone_end_pfn": [0, PAGES, PAGES],
        "min_free_kbytes": MIN_PAGES * 4,
    },
    "caches": [{"id": CACHE, "name": "skbuff_head_cache", "size": 232}],
    "gfp": "v3.3",
    "clock": "mono",
}
"""A machine of 16 MiB, a sixteenth of it reserve."""


class Script:
    """Writes down, event by event, what a task does."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ts_ns = 0
        self._handle = 0

    def alloc(self, op: int, *, gfp: int = GFP_KERNEL, arg: int = 0, ctx: int = 0) -> int:
        """An allocation; returns the handle of what it may have got."""
        self._handle += 1
        self.events.append((op, self.ts_ns, self._handle, gfp, arg, 0, -1, ctx))
        return self._handle

    def free(self, op: int, handles: list[int]) -> None:
        """The end of what these handles stand for."""
        self.events += [(op, self.ts_ns, handle, 0, 0, 0, -1, 0) for handle in handles]

    def pages(self, count: int) -> list[int]:
        """Pages for a task that has PF_MEMALLOC."""
        return [self.alloc(PAGE_ALLOC, ctx=PF_MEMALLOC) for _ in range(count)]


@pytest.fixture
def drained(tmp_path: Path) -> Path:
    """A trace in which a PF_MEMALLOC task takes pages until none is left, and more."""
    script = Script()
    script.pages(PAGES + 99)
    write(tmp_path / "drained.pfmt", "drained", HEADER, script.events)
    return tmp_path / "drained.pfmt"


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A trace of 30 s in which, all the time, everything happens that a dashboard shows.

    Below a quarter of min, an entitled task takes pages and objects of the reserve and gives most
    of them back, while others ask in vain, wait, or are handed what they should not have.
    """
    script = Script()
    script.pages(PAGES - MIN_PAGES // 4)
    for _ in range(ROUNDS):
        script.ts_ns += ROUND_NS
        pages = script.pages(2)
        objects = [script.alloc(OBJ_ALLOC, arg=CACHE, ctx=PF_MEMALLOC) for _ in range(40)]
        script.free(OBJ_FREE, objects[:30])
        objects = objects[30:] + [script.alloc(OBJ_ALLOC, arg=CACHE) for _ in range(10)]
        pages += [script.alloc(PAGE_ALLOC, gfp=gfp) for gfp in (GFP_KERNEL, GFP_ATOMIC)]
        script.free(OBJ_FREE, objects)
        script.free(PAGE_FREE, pages)
    write(tmp_path / "drawn.pfmt", "drawn", HEADER, script.events)
    return tmp_path / "drawn.pfmt"


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
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield f"{dashboard['title']}: {panel['title']}", interpolated(target["expr"])


def interpolated(text: str) -> str:
    """An expression with all of each variable, as Grafana writes it at an interval of 1 s."""
    for name in ("source", "variant", "node", "zone"):
        text = text.replace(f"${name}", ".+")
    return text.replace("$__rate_interval", "4s").replace("$__range", "15m")


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
    drawn: Path, serve: Start, prometheus: Start, pfmemd: Start, eventually: Start
) -> None:
    """Every query of every dashboard, its variables' too, finds series of the daemon."""
    daemon = serve(*FLAGS)
    prom = prometheus(daemon.http)
    eventually("Prometheus scrapes", lambda: prom.value("up") or None)
    unanswered = list(queries(DASHBOARDS))
    pfmemd("send", drawn, "--connect", daemon.receiving, "--speed", "1", wait=False)

    def all_answered() -> bool | None:
        unanswered[:] = [(panel, promql) for panel, promql in unanswered if not prom.query(promql)]
        return None if unanswered else True

    eventually(lambda: f"series for {unanswered}", all_answered)


def test_alert_fires_and_reaches_alertmanager(
    drained: Path,
    serve: Start,
    prometheus: Start,
    alertmanager: Start,
    pfmemd: Start,
    eventually: Start,
) -> None:
    """When the reserve runs dry, Alertmanager is told which zone of which model, and how dry."""
    daemon = serve(*FLAGS)
    alerting = alertmanager()
    prom = prometheus(daemon.http, alerting.address)
    (group,) = [g for g in prom.api("rules")["groups"] if g["file"].endswith("alerts.yml")]
    assert ["PfmemallocReserveExhausted"] == [rule["name"] for rule in group["rules"]]
    pfmemd("send", drained, "--connect", daemon.receiving)

    alerts = eventually(
        "Alertmanager has an alert of each variant",
        lambda: found if len(found := alerting.alerts()) == len(VARIANTS) else None,
    )

    assert {("PfmemallocReserveExhausted", variant, "DMA32") for variant in VARIANTS} == {
        (alert["labels"]["alertname"], alert["labels"]["variant"], alert["labels"]["zone"])
        for alert in alerts
    }
    (text,) = {
        alert["annotations"]["description"].replace(alert["labels"]["variant"], "VARIANT")
        for alert in alerts
    }
    assert text == (
        "Zone DMA32 of node 0 went down to 0% of its min watermark (source drained, variant"
        f" VARIANT). The reserve is {MIN_PAGES} pages; the fewest free pages so far were 0."
    )
