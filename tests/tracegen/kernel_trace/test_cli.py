"""``pfmemd import ftrace`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.tracegen.kernel_trace.fakes import cache_alloc, cache_free, line, write_lines
from tracegen.batch import HeaderBatch
from tracegen.cli import main
from tracegen.samples import import_arguments
from tracegen.trace_file import TraceReader


def run(*arguments: str) -> Result:
    """Run ``import`` with these arguments."""
    return CliRunner().invoke(main, ["import", *arguments])


@pytest.fixture
def text(tmp_path: Path) -> str:
    """The path of a small trace."""
    lines = [line(cache_alloc("0a")), line(cache_free("0a")), "noise"]
    return str(write_lines(tmp_path / "trace.txt", lines))


@pytest.mark.parametrize("form", ["packed", "readable"])
def test_a_trace_is_written_and_a_report_told(tmp_path: Path, text: str, form: str) -> None:
    """The trace opens with a header of the source; the report is text and JSON."""
    out, report = tmp_path / "out.pfmt.zst", tmp_path / "report.json"

    result = run(
        *("ftrace", text, "-o", str(out), "--form", form, "--source", "host-a"),
        *("--clock", "mono", "--epoch", "7", "--report", str(report)),
    )

    assert (0, "") == (result.exit_code, result.stdout)
    assert "3 lines, 2 events" in result.stderr
    assert 2 == json.loads(report.read_text())["categories"]["paired"]
    with TraceReader(str(out)) as reader:
        batches = [entry.batch for entry in reader]
    assert isinstance(batches[0], HeaderBatch)
    assert ("host-a", 7, "mono") == (
        *(batches[0].source, batches[0].epoch),
        batches[0].header.clock,
    )


def test_the_sample_is_imported_as_the_package_says(tmp_path: Path) -> None:
    """The arguments that come with it fit the command."""
    out = tmp_path / "out"

    result = run(*import_arguments(), "-o", str(out))

    assert 0 == result.exit_code
    assert "44,012 lines, 44,000 events" in result.stderr
    assert out.exists()


def test_strict_leaves_nothing_behind_but_the_reason(tmp_path: Path, text: str) -> None:
    """The exit code and one line; no half a trace under the wanted name."""
    out = tmp_path / "out"

    result = run("ftrace", text, "-o", str(out), "--strict")

    assert 2 == result.exit_code
    assert "line 3: 'noise', expected COMM-PID" in result.stderr
    assert [Path(text)] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--free-pages", "DMA"), "'DMA', expected [NODE/]ZONE=PAGES"),
        (("--free-pages", "HighMem=3"), "expected [NODE/]ZONE=PAGES"),
        (("--mem", "320"), "'320', expected a size such as 320M or 4G"),
        (("--mem", "0M"), "expected a size"),
        (("--source", "no good"), "expected 1 to 64"),
        (("--proc", ".", "--mem", "4G"), "--mem and --cpus are for a machine without --proc"),
    ],
)
def test_wrong_use_is_told_in_one_line(
    text: str, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Exit code 2, what was found and what was expected."""
    result = run("ftrace", text, "-o", str(tmp_path / "out"), *arguments)

    assert 2 == result.exit_code
    assert message in result.stderr
    assert 1 == len(result.stderr.splitlines())


def test_a_report_that_cannot_be_written_is_told(text: str, tmp_path: Path) -> None:
    """The trace is there, the report is not: exit code 3."""
    result = run(
        *("ftrace", text, "-o", str(tmp_path / "out")),
        *("--report", str(tmp_path / "nowhere" / "report.json")),
    )

    assert 3 == result.exit_code
    assert "No such file or directory" in result.stderr
