"""``pfmemd truth`` as a user runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.tracegen.kernel_trace.fakes import DATA
from tracegen.cli import main
from tracegen.samples import PROC, TRACE

TRUTH = str(DATA / "nbd-swap-excerpt.groundtruth.xz")


def run(*arguments: str) -> Result:
    """Run the tracegen command."""
    return CliRunner().invoke(main, list(arguments))


def test_the_model_of_the_kernel_that_was_traced_comes_near(tmp_path: Path) -> None:
    """The sample from its text: free pages, watermarks, dips, and why they part."""
    out = tmp_path / "free.csv"

    result = run(
        *("truth", str(TRACE), "--proc", str(PROC), "--ground-truth", TRUTH),
        *("--variant", "slub-v6.1", "--json", "--csv", str(out)),
    )

    assert 0 == result.exit_code
    (found,) = json.loads(result.stdout)["comparisons"]
    assert ("slub-v6.1", 78) == (found["variant"], found["readings"])
    assert 130 > found["free_pages"]["as_is"]["median"]
    dma, dma32 = found["zones"]
    for zone in (dma, dma32):
        assert zone["watermarks"]["machine"] == zone["watermarks"]["model"]
    assert {"machine": 18, "model": 18, "both": 18} == dma32["below_min"]
    assert 47 == dma32["lowest_free"]["machine"]
    assert {"slabs", "per-cpu lists", "denied by the model", "unseen"} == set(found["causes"])
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert 78 == len(rows)
    assert "47" in {row["node0_DMA32_machine"] for row in rows}


def test_a_trace_of_ours_is_compared_without_causes(tmp_path: Path) -> None:
    """The kernel's own events are not in it any more."""
    trace = str(tmp_path / "sample.pfmt.zst")
    imported = run(
        *("import", "ftrace", str(TRACE), "--proc", str(PROC)),
        *("--ground-truth", TRUTH, "-o", trace),
    )
    result = run("truth", trace, "--ground-truth", TRUTH, "--variant", "slab-seed")

    assert (0, 0) == (imported.exit_code, result.exit_code)
    assert "78 of 86 readings lie in the trace" in result.stdout
    assert "as the trace has it" in result.stdout
    assert "of it slabs" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((str(TRACE),), "has no reading of free pages"),
        (("-", "--ground-truth", TRUTH), "standard input cannot be read twice"),
        ((TRUTH, "--variant", "slob"), "--variant"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    """Exit code 2."""
    result = run("truth", *arguments)

    assert 2 == result.exit_code
    assert message in result.stderr
    assert 1 == len(result.stderr.splitlines())
