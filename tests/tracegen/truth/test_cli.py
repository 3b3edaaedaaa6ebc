"""``pfmemd truth`` as a user runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tracegen.cli import main
from tracegen.samples import GROUND_TRUTH, PROC, TRACE
from tracegen.truth.comparison import CAUSES

TRUTH = str(GROUND_TRUTH)


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
    causes = found["causes"]
    assert set(CAUSES) == set(causes)
    assert 0.99 < sum(cause["share"] for cause in causes.values()) < 1.01
    ignored = found["ignored_watermarks"]
    assert (32, 22, 18) == (ignored["machine"], ignored["model"], ignored["both"])
    for who in ("machine", "model"):
        only = sum(ignored[f"{who}_only"].values())
        assert ignored[who] == ignored["both"] + only
        assert found["failed"][who] == found["failed"]["both"] + sum(
            found["failed"][f"{who}_only"].values()
        )
    assert 622 == found["failed"]["machine"]
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


def test_a_report_is_kept_by_its_ending(tmp_path: Path) -> None:
    """Markdown has its picture beside it, a page of HTML in it."""
    sample = (str(TRACE), "--proc", str(PROC), "--ground-truth", TRUTH)

    assert 0 == run("truth", *sample, "-o", str(tmp_path / "truth.md")).exit_code
    assert 0 == run("truth", *sample, "-o", str(tmp_path / "page.html")).exit_code
    wrong = run("truth", *sample, "-o", str(tmp_path / "truth.pdf"))

    assert {"truth.md", "truth.svg", "page.html"} == {path.name for path in tmp_path.iterdir()}
    text = (tmp_path / "truth.md").read_text()
    assert "![free pages over time](truth.svg)" in text
    assert "| per-cpu lists |" in text
    assert 4 == (tmp_path / "truth.svg").read_text().count("<polyline ")
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert (2, 1) == (wrong.exit_code, len(wrong.stderr.splitlines()))
    assert "truth.pdf ends in .pdf, expected .html, .md or .svg" in wrong.stderr
