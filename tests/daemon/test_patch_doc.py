"""docs/PATCH.md claims nothing that its commands do not show."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from allocator.leak import LEAK_WAYS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "PATCH.md").read_text("utf-8")
TRACE = "nbd.pfmt"
"""What the page calls the trace that its first command makes."""
LEFT_OUT = "..."
SOMETHING = "…"
"""Within a line: whatever is there at this run."""
SECONDS = 120


@dataclass(slots=True)
class Example:
    """A command of the page, and the lines that the page says it prints."""

    command: str
    lines: list[str] = field(default_factory=list)


def examples() -> list[Example]:
    """Every command of the page, in order."""
    found: list[Example] = []
    for block in re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Example(line.removeprefix("$ ")))
            else:
                found[-1].lines.append(line)
    return found


EXAMPLES = examples()


def run(command: str, trace: Path) -> str:
    """Run a ``pfmemd`` command of the page in the checkout; its trace lies elsewhere."""
    program, *words = shlex.split(command)
    assert "pfmemd" == program
    done = subprocess.run(
        [sys.executable, "-m", "daemon", *(str(trace) if w == TRACE else w for w in words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout.replace(str(trace), TRACE)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace that the page's first command makes."""
    path = tmp_path_factory.mktemp("patch-doc") / TRACE
    run(EXAMPLES[0].command, path)
    return path


def matches(expected: str, line: str) -> bool:
    """Whether a printed line is the page's; how wide a table's columns are does not matter."""
    words = " ".join(expected.split())
    pattern = ".*".join(re.escape(part) for part in words.split(SOMETHING))
    return re.fullmatch(pattern, " ".join(line.split())) is not None


def first_not_found(expected: list[str], printed: list[str]) -> str | None:
    """The first line of the page that is not printed where it should be; None if all are.

    Lines follow one another as on the page; ``...`` stands for any number of others.
    """
    at = 0
    free = False
    for line in expected:
        if line == LEFT_OUT:
            free = True
            continue
        while at < len(printed) and free and not matches(line, printed[at]):
            at += 1
        if at == len(printed) or not matches(line, printed[at]):
            return line
        at += 1
        free = False
    return None if free or at == len(printed) else "(the end)"


@pytest.mark.parametrize("example", EXAMPLES[1:], ids=lambda example: example.command)
def test_command_prints_what_the_page_says(example: Example, trace: Path) -> None:
    """Every shown line, in order; left out is only what the page says is."""
    printed = run(example.command, trace).splitlines()

    missing = first_not_found(example.lines, printed)

    assert missing is None, "\n".join(printed)
    assert any(line != LEFT_OUT for line in example.lines)


def test_page_has_a_command_below_every_claim() -> None:
    """No section of the page that quotes the mail is without one."""
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)

    quoting = [section for section in sections if section.startswith('"')]

    assert 6 == len(quoting)
    for section in quoting:
        assert "$ pfmemd " in section


def test_page_names_every_way_with_its_trace() -> None:
    """The table has each way of the model, and the rule trace that shows it."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| (.*) \|$", TEXT, re.MULTILINE)

    assert set(LEAK_WAYS) == {way for way, _ in rows}
    for way, shown in rows:
        found = re.fullmatch(r"\[(\S+\.rule)\]\(\.\./tests/rules/\1\)", shown)
        if found is None:
            assert "the 6.1 vectors" == shown
            continue
        text = (ROOT / "tests" / "rules" / found[1]).read_text("utf-8")
        assert re.search(rf"^leak +.*\b{way}\b", text, re.MULTILINE)


def test_a_line_that_is_not_printed_is_noticed() -> None:
    """The check itself can fail: a wrong line, a wrong order, something left out in silence."""
    printed = ["one 1", "two", "three"]

    assert first_not_found(["one …", "two", "three"], printed) is None
    assert first_not_found(["...", "two", "..."], printed) is None
    assert "four" == first_not_found(["...", "four", "..."], printed)
    assert "one 1" == first_not_found(["...", "two", "...", "one 1"], printed)
    assert "three" == first_not_found(["one 1", "three"], printed)
    assert "(the end)" == first_not_found(["one 1", "two"], printed)
