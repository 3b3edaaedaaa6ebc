"""The whole of /metrics after a fixed trace is what was committed.

``python -m tests.daemon.test_golden_metrics > tests/golden/metrics.prom`` writes it anew; the
difference is what changes for those who scrape.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from allocator.revision import parse_variant
from daemon.collector import MetricsPage
from daemon.collectors.samples import LabelBounds
from daemon.engine import Engine
from daemon.service import new_machine
from tests.daemon.fakes import offer
from tests.daemon.reserve_trace import EVENTS, HEADER
from tests.daemon.storages import collectors
from tracegen.batch import BatchMaker

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics.prom"
VARIANTS = ("slab-seed", "slub-seed")
MEASURED = re.compile(
    r"^(pfmemd_(?:collector_duration|batch_(?:apply|age))_seconds(?:_sum|_bucket)?\{.*\}) .*$",
    re.MULTILINE,
)
"""What depends on the machine that runs it."""
BUILD = re.compile(r"^pfmemd_build_info\{.*$", re.MULTILINE)


def exposition() -> str:
    """What a scrape gives after the trace, with what differs from machine to machine left out."""
    engine = Engine([parse_variant(name) for name in VARIANTS], 4, new_machine, lambda: 1_000.0)
    maker = BatchMaker("host-a", 7)
    offer(engine, maker.header(HEADER))
    offer(engine, maker.events(b"".join(EVENTS)))
    page = MetricsPage(engine.read, collectors(VARIANTS), LabelBounds(100), lambda: 0, lambda: 0)
    body, _ = page.render("text/plain")
    text, _, _ = body.decode().partition("# HELP process_")
    return BUILD.sub("pfmemd_build_info{...} 1", MEASURED.sub(r"\1 ...", text))


def test_metrics_after_a_fixed_trace() -> None:
    """Names, types, texts, labels and values are those that were committed."""
    assert GOLDEN.read_text("utf-8") == exposition()


if __name__ == "__main__":
    sys.stdout.write(exposition())
