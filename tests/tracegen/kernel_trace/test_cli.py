"""``pfmemd import ftrace`` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgpack
import pytest
from click.testing import CliRunner, Result

from tests.tracegen.kernel_trace.fakes import DATA, cache_alloc, cache_free, line, write_lines
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


@pytest.mark.parametrize(
    ("command", "name", "form"),
    [
        ("ftrace", "trace-cmd-report-l", "841 events (ftrace, latency format)"),
        ("ftrace", "trace-cmd-report", "841 events (ftrace, without a flags column)"),
        ("perf", "perf-script-F-ns", "300 events (perf script, without a flags column)"),
    ],
)
def test_what_the_lines_look_like_is_told(
    tmp_path: Path, command: str, name: str, form: str
) -> None:
    """Without a flags column interrupts cannot be seen."""
    out = tmp_path / "out"

    result = run(command, str(DATA / f"{name}.txt.xz"), "-o", str(out))

    assert 0 == result.exit_code
    assert form in result.stderr.splitlines()[0]
    with TraceReader(str(out)) as reader:
        header = next(iter(reader)).batch
    assert isinstance(header, HeaderBatch)
    assert f"pfmemd import {command}" == header.header.made.tool


def test_every_bad_line_may_be_listed(tmp_path: Path) -> None:
    """The report has only the first few."""
    lines = [f"noise {number}" for number in range(9)] + [line(cache_alloc("0a"))]
    path = write_lines(tmp_path / "trace.txt", lines)
    listing = tmp_path / "bad"

    result = run("ftrace", str(path), "-o", str(tmp_path / "out"), "--bad-lines", str(listing))

    assert 0 == result.exit_code
    told = listing.read_text().splitlines()
    assert [f"{n + 1}: 'noise {n}', expected COMM-PID" for n in range(9)] == [
        text.partition(" [CPU]")[0] for text in told
    ]


def test_a_live_pipe_comes_out_as_it_goes_in_until_it_is_interrupted() -> None:
    """Standard output is the default; what is written when SIGINT comes is whole."""
    with subprocess.Popen(
        [sys.executable, "-m", "tracegen", "import", "ftrace", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{line(cache_alloc('0a'))}\n".encode())
        process.stdin.flush()
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        batches = 0
        while batches < 3:
            unpacker.feed(os.read(process.stdout.fileno(), 1 << 16))
            batches += sum(1 for _ in unpacker)
        process.send_signal(signal.SIGINT)
        rest, report = process.communicate()

    assert (0, b"") == (process.returncode, rest)
    assert b"1 lines, 1 events (ftrace)" in report


def test_an_interrupted_file_leaves_nothing(tmp_path: Path) -> None:
    """The exit code is the signal's, as shells have it."""
    path = tmp_path / "long.txt"
    path.write_text(f"{line(cache_alloc('0a'))}\n" * 300_000)
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "tracegen", "import", "ftrace", str(path)),
            *("-o", str(tmp_path / "out"), "--bad-lines", str(tmp_path / "begun")),
        ],
        stderr=subprocess.PIPE,
    ) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        process.communicate()

    assert 128 + signal.SIGTERM == process.returncode
    assert {"long.txt", "begun"} == {file.name for file in tmp_path.iterdir()}


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
        (("--kernel", "new"), "'new', expected a version such as 3.10"),
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
