"""What was recorded beside a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracegen.samples import GROUND_TRUTH
from tracegen.truth.ground_truth import (
    Attempt,
    GroundTruthError,
    Reading,
    ZoneReading,
    read_ground_truth,
)

READING = (
    "         sampler-2100    [000] .....    41.547666: tracing_mark_write: zones: node=0 zone=DMA"
    " free=3808 boost=0 min=28 low=35 high=42 | node=0 zone=DMA32 free=3726 boost=512 min=483"
    " low=603 high=723"
)
ATTEMPT = (
    "    kworker/1:1H-55      [001] ..s..    48.286568: gpff: (get_page_from_freelist+0x0/0x11b0)"
    ' gfp=0x72800 order=3 aflags=0x804 free=454 wmin=483 zone="DMA32"'
)


def test_the_recording_beside_the_sample_is_read_whole() -> None:
    """Every line but the comments is a reading or an attempt."""
    truth = read_ground_truth(str(GROUND_TRUTH))

    assert (86, 0) == (len(truth.readings), truth.other_lines)
    assert 47 == min(reading.zones[0, "DMA32"].free for reading in truth.readings)
    assert 0 < sum(attempt.ignores_watermarks for attempt in truth.attempts) < len(truth.attempts)


def test_readings_and_attempts_keep_what_they_say(tmp_path: Path) -> None:
    """Everything else is counted; the order is that of time."""
    path = tmp_path / "truth"
    later = READING.replace("41.547666", "42.5").replace("42.5", "42.500000").replace("3808", "3")
    path.write_text(f"# tracer: nop\n{later}\n{READING}\n{ATTEMPT}\nnoise\n")

    truth = read_ground_truth(str(path))

    assert truth.readings[0] == Reading(
        41_547_666_000,
        {
            (0, "DMA"): ZoneReading(3808, 0, 28, 35, 42),
            (0, "DMA32"): ZoneReading(3726, 512, 483, 603, 723),
        },
    )
    assert [3808 + 3726, 3 + 3726] == [reading.free for reading in truth.readings]
    assert [
        Attempt(48_286_568_000, "kworker/1:1H", 55, "s", 0x72800, 3, 0x804, 454, 483, "DMA32")
    ] == truth.attempts
    assert truth.attempts[0].ignores_watermarks
    assert 1 == truth.other_lines


def test_free_pages_at_a_time_are_those_of_the_reading_before(tmp_path: Path) -> None:
    """Of the first one if there is none."""
    path = tmp_path / "truth"
    path.write_text(f"{READING}\n{READING.replace('41.547666', '42.500000').replace('3808', '3')}")
    truth = read_ground_truth(str(path))

    assert [3808, 3808, 3] == [
        truth.free_at(ts_ns)[0, "DMA"] for ts_ns in (0, 42_000_000_000, 43_000_000_000)
    ]


def test_a_file_without_a_reading_is_none(tmp_path: Path) -> None:
    """The line that was expected is shown."""
    path = tmp_path / "truth"
    path.write_text(ATTEMPT)

    with pytest.raises(GroundTruthError, match="no reading of free pages, expected lines such as"):
        read_ground_truth(str(path))
