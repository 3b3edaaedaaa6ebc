"""The machine's own free pages, as ``pfmemd truth`` reads them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tracegen.capture.samples import Sampler, reading
from tracegen.samples import PROC
from tracegen.truth.ground_truth import read_ground_truth

LINE = (
    "zones: node=0 zone=DMA free=3808 boost=0 min=28 low=35 high=42"
    " | node=0 zone=DMA32 free=4408 boost=0 min=483 low=603 high=723"
)


def test_a_reading_has_every_zone_with_pages() -> None:
    """Nothing but those."""
    assert LINE == reading((PROC / "proc_zoneinfo").read_text())


def test_a_boost_is_taken_off() -> None:
    """``/proc/zoneinfo`` prints watermarks with it."""
    text = (PROC / "proc_zoneinfo").read_text()
    boosted = re.sub(r"boost +0\n( +min +)28\n", r"boost    2\n\g<1>30\n", text, count=1)

    assert "zone=DMA free=3808 boost=2 min=28 low=33" in reading(boosted)


def test_readings_are_written_until_the_end(tmp_path: Path) -> None:
    """Into the instance's marker, from where they come out as the trace's own lines."""
    os.mkfifo(tmp_path / "trace_marker")
    pipe = os.open(tmp_path / "trace_marker", os.O_RDWR)
    with Sampler(tmp_path, 0.001, PROC / "proc_zoneinfo"):
        got = os.read(pipe, len(LINE)).decode()
    os.close(pipe)
    head = "  sampler-9     [001] ..... 12.000345: tracing_mark_write: "
    (tmp_path / "truth").write_text(f"{head}{got}\n")

    assert LINE == got
    assert 1 == len(read_ground_truth(str(tmp_path / "truth")).readings)
