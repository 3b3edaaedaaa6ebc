"""``pfmemd rule``: what it shows, what it returns."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tracegen.command_line import CommandGroup
from tracegen.rule_trace.cli import rule

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "tests" / "rules"
VECTORS = ROOT / "tests" / "conformance" / "vectors"
TRACE = """\
# Two pages.
rule P3
machine 40M:DMA32 min_free_kbytes=512
variants slab-seed slub-seed

page a GFP_KERNEL -> ok pfn=9216  # the first
  | v3.6: ok pfn=9216 reserve=0
page b1..b2 GFP_KERNEL -> ok
mark and back
# prose
free a b1 b2
beyond anything recorded
page c1..c5 GFP_KERNEL -> ok pfn=9218,9217,9216,9219,9220 reserve=0
drain -> ok
"""


def run(*arguments: object) -> Result:
    """Run the command as the program does."""

    @click.group(cls=CommandGroup)
    def main() -> None:
        """Stand for the program."""

    main.add_command(rule)
    return CliRunner().invoke(main, ["rule", *(str(argument) for argument in arguments)])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Return a trace that the model answers as stated."""
    path = tmp_path / "good.rule"
    path.write_text(TRACE)
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Return a trace that states what is not so."""
    path = tmp_path / "bad.rule"
    path.write_text(TRACE.replace("ok pfn=9216  #", "denied pfn=1  #"))
    return path


def test_a_trace_is_gone_through(good: Path) -> None:
    """Summary, each operation with its note and answer, headings; other variants get a line."""
    result = run(good)

    lines = result.output.splitlines()
    assert 0 == result.exit_code
    assert f"{good}, under slab-seed" == lines[0]
    assert "  Two pages." in lines
    assert (
        "    1  page a GFP_KERNEL                              the first\n"
        "       = ok above_low pfn=9216  (order=0 node=0 zone=DMA32 reserve=0 active=0"
        " flags=WMARK_LOW|CPUSET kswapd=0 free=10239)\n"
        "         v3.6: ok pfn=9216 reserve=0\n"
    ) in result.output
    assert "    3  page b2 GFP_KERNEL\n" in result.output
    assert "  -- and back\n  prose\n  4-6  free a b1 b2\n" in result.output
    assert (
        "  -- beyond anything recorded\n"
        " 7-11  page c1..c5 GFP_KERNEL\n"
        "       = ok pfn=9218..9216,9219,9220 reserve=0\n"
    ) in result.output
    assert [
        f"ok       {good}  slab-seed  12 operations, 20 answers",
        f"ok       {good}  slub-seed  12 operations, 20 answers",
        "2 passed, 0 failed",
    ] == lines[-3:]


def test_a_difference_is_shown_and_fails(bad: Path) -> None:
    """Both answers, the line where they first part, and exit code 1."""
    result = run(bad)

    assert 1 == result.exit_code
    assert "       ! expected  denied pfn=1\n         answered  ok above_low pfn=9216  (" in (
        result.output
    )
    assert (
        f"DIFFERS  {bad}  slab-seed  12 operations, 20 answers, 1 not as stated (first in line 6)"
    ) in result.output
    assert result.output.endswith("0 passed, 2 failed\n")


def test_another_variant_shows_what_differs() -> None:
    """Under a variant that the trace does not name, lines are held against its own answers."""
    result = run(RULES / "A4-index-0.rule", "--variant", "slab-unpatched")

    assert 1 == result.exit_code
    assert "A4-index-0.rule, under slab-unpatched\n" in result.output
    assert (
        "       ! expected  denied preserved flags=WMARK_MIN|CPUSET free=10235\n"
        "         answered  ok array_hit flags=none free=10235  (slab=9220 idx=0 reserve=0 active=0"
        " kswapd=0)\n"
    ) in result.output


def test_a_variant_of_the_trace_is_held_against_its_own_answers() -> None:
    """What others answer is shown beside it."""
    result = run(RULES / "A4-index-0.rule", "--variant", "slab-v3.6")

    assert 0 == result.exit_code
    assert (
        "       = ok array_swap slab=9216 reserve=0 flags=none free=10235"
        "  (idx=0 active=1 kswapd=0)\n"
        "         slab-seed: denied preserved flags=WMARK_MIN|CPUSET free=10235\n"
    ) in result.output


def test_brief_is_a_line_for_each(good: Path, bad: Path) -> None:
    """A folder is searched in order, and only verdicts are printed."""
    result = run(good.parent, "--brief")

    assert [str(bad), str(bad), str(good), str(good)] == [
        line.split()[1] for line in result.output.splitlines()[:-1]
    ]


def test_why_tells_which_functions_decided() -> None:
    """Kernel functions in order under each operation, with the rule that decided."""
    output = run(RULES / "A4-swap.rule", "--why").output

    assert "           ac_get_obj: " in output
    assert "  [A4]\n" in output


def test_recordings_are_held_against_the_trace(tmp_path: Path) -> None:
    """With a folder of vectors the kernel's answers are counted, and a false one fails."""
    text = (RULES / "A4-index-0.rule").read_text("utf-8")
    lie = tmp_path / "lie.rule"
    lie.write_text(text)
    result = run(lie, "--brief", "--vectors", VECTORS)

    assert 0 == result.exit_code
    assert "23 answers are the kernel's own (l2/tiny-a4-index0-not-searched-seed)" in result.output
    lie.write_text(text.replace("free=10235", "free=1"))
    result = run(lie, "--brief", "--vectors", VECTORS)
    assert 1 == result.exit_code
    assert "free is stated as 1, the kernel answered 10235" in result.output


def test_json_holds_everything(bad: Path) -> None:
    """One document: each run with its steps, answers and differences."""
    result = run(bad, "--json", "--why")

    document = json.loads(result.stdout)
    assert 1 == result.exit_code
    assert (0, 2) == (document["passed"], document["failed"])
    first = document["runs"][0]
    assert ("slab-seed", "differs", ["P3"], 12, 20) == (
        first["variant"],
        first["status"],
        first["rules"],
        first["operations"],
        first["answers"],
    )
    step = first["steps"][0]
    assert {"words": ["denied"], "fields": {"pfn": ["1"]}} == step["expected"]
    assert ["9216"] == step["answer"]["fields"]["pfn"]
    assert [
        {"key": "", "expected": "denied", "got": "ok,above_low"},
        {"key": "pfn", "expected": "1", "got": "9216"},
    ] == step["differences"]
    assert "get_page_from_freelist" == step["why"][0]["function"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nowhere.rule",), "does not exist"),
        ((RULES / "P3.rule", "--variant", "slob"), "no variant 'slob'"),
        ((VECTORS,), "no rule traces (*.rule) in this folder"),
        ((VECTORS / "README.md",), "README.md: line "),
        ((RULES / "P3.rule", "--vectors", RULES), "there is no l1/tiny-p3-p4-marking-seed"),
        ((RULES / "A4-swap.rule", "--variant", "nope"), "there are slab-unpatched"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: tuple[object, ...], why: str) -> None:
    """What cannot be read or is not there ends with exit code 2 and one line."""
    result = run(*arguments)

    assert 2 == result.exit_code
    assert 1 == result.stderr.count("\n")
    assert why in result.stderr
