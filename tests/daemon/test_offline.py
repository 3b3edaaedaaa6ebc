"""``pfmemd run`` puts the variants side by side; what never happened takes no row."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from daemon.offline import print_results, results_of, run_trace
from tests.daemon.fakes import VARIANTS, Machines, allocations, encoded_trace, record
from tracegen.errors import BatchError


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two epochs of one source, of 3 and of 5 events."""
    path = tmp_path / "trace.pfmt"
    path.write_bytes(encoded_trace(allocations(3)) + encoded_trace(allocations(5), epoch=6))
    return path


def table_of(path: Path) -> list[list[str]]:
    """The words of each line that ``pfmemd run`` prints."""
    output = io.StringIO()
    print_results(results_of(run_trace(str(path), VARIANTS, Machines())), Console(file=output))
    return [line.split() for line in output.getvalue().splitlines()]


def test_last_epoch_is_shown_and_named(trace: Path) -> None:
    """A later life of a source replaces its machines; the title says so."""
    assert ["a:", "5", "events", "of", "epoch", "6,", "the", "last", "of", "2"] in table_of(trace)


def test_counted_names_take_rows(trace: Path) -> None:
    """Reasons and causes that were counted have a row with a number for each variant."""
    rows = table_of(trace)

    assert ["preserved", "7", "7"] in rows
    assert ["reserve", "objects", "leaked", "8", "8"] in rows
    assert ["by", "node_path", "8", "8"] in rows
    assert not any("watermark" in row for row in rows)


def test_bad_event_names_its_place_in_the_file(tmp_path: Path) -> None:
    """The refusal says file, batch, byte and event."""
    path = tmp_path / "bad.pfmt"
    start = len(encoded_trace(allocations(3)))
    path.write_bytes(encoded_trace(allocations(3), record(op=0)))

    with pytest.raises(BatchError) as caught:
        run_trace(str(path), VARIANTS, Machines())

    assert f"{path}: batch 3, byte {start}, event 0: op is 0, expected 1 to 9" == str(caught.value)
