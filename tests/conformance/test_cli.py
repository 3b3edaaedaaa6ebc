"""``pfmemd conformance``: files and folders, one line each, and an exit code."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tracegen.conformance.cli import conformance

GOOD = Path(__file__).resolve().parent / "vectors" / "l1" / "tiny-p3-p4-marking-seed.jsonl.gz"
OPS = 17


def run(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(conformance, [str(argument) for argument in arguments])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Return a vector file that the model passes."""
    return Path(shutil.copy(GOOD, tmp_path / "good.jsonl.gz"))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Return a vector file that no model passes: page 9217 has become 9219."""
    text = gzip.decompress(GOOD.read_bytes()).replace(b'"pfn":9217', b'"pfn":9219', 1)
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text)
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Return a file that is no vector file."""
    path = tmp_path / "broken.jsonl"
    path.write_text("hello\n")
    return path


def test_a_good_file_passes(good: Path) -> None:
    """One line for the file, one for the run, exit code 0."""
    result = run(good)

    assert 0 == result.exit_code
    assert f"ok          {good}  {OPS} ops, 1 digests\n1 passed, 0 failed\n" == result.output


def test_a_mismatch_is_shown_and_fails(good: Path, bad: Path) -> None:
    """A folder is searched in order; the mismatch is told; exit code 1."""
    result = run(good.parent)

    lines = result.stdout.splitlines()
    assert 1 == result.exit_code
    assert f"MISMATCH    {bad}  op 3 (page_alloc) differs in pfn" == lines[0]
    assert "    ! pfn                9219                        9217" in lines
    assert f"ok          {good}  {OPS} ops, 1 digests" == lines[-2]
    assert "1 passed, 1 failed" == lines[-1]


def test_an_unreadable_file_is_exit_code_2(good: Path, bad: Path, broken: Path) -> None:
    """It counts as failed and outweighs a mismatch, because it was not looked at."""
    result = run(good, bad, broken)

    lines = result.stdout.splitlines()
    assert 2 == result.exit_code
    assert f"UNREADABLE  {broken}: line 1: not JSON at column 1: Expecting value" == lines[-2]
    assert "1 passed, 2 failed" == lines[-1]


def test_an_unknown_revision_fails_the_file_alone(good: Path, tmp_path: Path) -> None:
    """A kernel that is not modelled is a failure of that file, told in one line."""
    text = gzip.decompress(GOOD.read_bytes()).replace(b'"variant":"seed"', b'"variant":"v2.4"', 1)
    future = tmp_path / "future.jsonl"
    future.write_bytes(text)

    result = run(future, good)

    assert 1 == result.exit_code
    assert result.stdout.startswith(f"MISMATCH    {future}  revision v2.4 is not modelled; ")
    assert result.stdout.endswith("1 passed, 1 failed\n")


def test_json_is_one_document(good: Path, bad: Path) -> None:
    """Nothing but JSON on standard output; the exit code is the same."""
    result = run("--json", good, bad)

    document = json.loads(result.stdout)
    assert 1 == result.exit_code
    assert (1, 1) == (document["passed"], document["failed"])
    assert ["passed", "failed"] == [entry["status"] for entry in document["files"]]
    assert 9219 == document["files"][1]["mismatch"]["expected"]["pfn"]


def test_several_jobs_tell_the_same(good: Path, bad: Path, broken: Path) -> None:
    """Results come in the order of the files, whoever is done first."""
    files = (bad, good, broken)

    alone, together = run(*files), run("--jobs", 2, *files)

    assert (alone.exit_code, alone.stdout) == (together.exit_code, together.stdout)


def test_a_file_that_is_named_twice_is_run_once(good: Path) -> None:
    """A folder and a file in it overlap."""
    assert "1 passed, 0 failed" == run(good.parent, good).stdout.splitlines()[-1]


def test_differences_are_limited(tmp_path: Path, good: Path) -> None:
    """``--max-diff`` bounds what is shown of two states."""
    lines = gzip.decompress(good.read_bytes()).splitlines()
    digest = json.loads(lines[-1])
    digest["state"]["zones"][0].update(free=1, nr_free=[0])
    digest["sha256"] = "0" * 64
    path = tmp_path / "state.jsonl"
    path.write_bytes(b"\n".join([*lines[:-1], json.dumps(digest).encode()]))

    result = run("--max-diff", 1, path)

    assert "  2 differences after op 17" in result.stdout.splitlines()
    assert "    … and 1 difference more" in result.stdout.splitlines()


Make = Callable[[Path], tuple[object, ...]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda _: (), "Missing argument 'PATH...'"),
        (lambda folder: (folder / "none.jsonl",), "does not exist"),
        (lambda folder: (folder,), "no vector files (*.jsonl or *.jsonl.gz) in this folder"),
        (lambda folder: ("--jobs", 0, folder), "Invalid value for '--jobs'"),
    ],
)
def test_wrong_use_is_told(arguments: Make, message: str, tmp_path: Path) -> None:
    """Exit code 2 and one sentence about what is wrong."""
    result = run(*arguments(tmp_path))

    assert 2 == result.exit_code
    assert message in result.stderr


def test_help_teaches() -> None:
    """What a path is, what is compared, which exit codes there are, examples."""
    text = run("--help").stdout

    for part in ("PATH...", "--json", "--jobs", "--max-diff", "exit code", "Examples:"):
        assert part in text
