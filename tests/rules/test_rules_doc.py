"""docs/RULES.md tells what there is: every rule, trace, word and leak, and true examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from allocator.linux3 import kmem_cache, slub_cache
from allocator.linux6 import slab_cache as slab_cache_of_6
from allocator.linux6 import slub_cache as slub_cache_of_6
from tracegen.rule_trace.cli import rule
from tracegen.rule_trace.grammar import CACHE_FLAGS, CONTEXT, VERBS
from tracegen.rule_trace.parser import HEADERS, parse_rule_trace, read_rule_trace
from tracegen.rule_trace.runner import run_rule_trace
from tracegen.rule_trace.trace import RULES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TEXT = (ROOT / "docs" / "RULES.md").read_text("utf-8")
TRACES = sorted(path.name for path in HERE.glob("*.rule"))
LEAK_ROW = re.compile(
    r"^\| `(\w+)` \| \[(\S+\.rule)\]\S+ \| .* \| (\w+) \| (\w+) \|$", re.MULTILINE
)
LEAK_ROWS = LEAK_ROW.findall(TEXT)
LEAK_ROWS_OF_6 = re.findall(
    r"^\| `(\w+)` \| \[(v6\.1\S+\.rule)\]\S+ \| [^|]*\|$", TEXT, re.MULTILINE
)
WAYS = {*kmem_cache.LEAK_NAMES, *slub_cache.LEAK_NAMES}


def section_of(rule_name: str) -> str:
    """Return what the page says of one rule."""
    return TEXT.partition(f"**{rule_name}**: ")[2].partition("\n**")[0].partition("\n## ")[0]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_told_with_its_traces(name: str) -> None:
    """The rule's sentence stands above the traces that are named after it."""
    section = section_of(name)

    assert section.startswith(f"{RULES[name]}.\n")
    named = [file for file in TRACES if file.startswith((f"{name}.", f"{name}-"))]
    assert named == sorted(re.findall(r"\[(\S+\.rule)\]", section))


def test_every_trace_is_told_of() -> None:
    """No trace is left out, and none is told of that is not there."""
    assert set(TRACES) == set(re.findall(r"\[(\S+\.rule)\]\(\.\./tests/rules/\1\)", TEXT))


def test_the_output_shown_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example is what the command prints."""
    monkeypatch.chdir(ROOT)
    file = "tests/rules/A4-index-0.rule"
    shown = TEXT.partition(f"$ pfmemd rule {file}\n")[2].partition("```")[0]

    result = CliRunner().invoke(rule, [file])

    assert shown == result.output


def test_the_trace_shown_is_one() -> None:
    """The example of the format is understood and holds."""
    text = TEXT.partition("```\n# A plain caller")[2].partition("```")[0]
    trace = parse_rule_trace(f"# A plain caller{text}", Path("example.rule"))

    for variant in trace.variants:
        assert [] == run_rule_trace(trace, variant).differing


def test_every_word_of_the_format_is_told_of() -> None:
    """Headers, verbs, their options and words, and the flags of caches."""
    told = set(re.findall(r"[A-Za-z_]\w*", TEXT.partition("## The format")[2]))
    words = {*HEADERS, *VERBS, "mark", "beyond", *CONTEXT, *CACHE_FLAGS}
    words |= {option for shape in VERBS.values() for option in (*shape.options, *shape.words)}

    assert set() == words - told


def test_every_way_of_leaking_is_told_of() -> None:
    """The tables have a row for each way that the models count."""
    assert WAYS == {way for way, _, _, _ in LEAK_ROWS}
    ways_of_6 = {*slab_cache_of_6.LEAK_NAMES, *slub_cache_of_6.LEAK_NAMES}
    assert ways_of_6 == {way for way, _ in LEAK_ROWS_OF_6}


@pytest.mark.parametrize(("way", "file"), LEAK_ROWS_OF_6)
def test_linux_6_leaks_as_it_is_told(way: str, file: str) -> None:
    """The trace of the row names that way, and is of Linux 6.1 alone."""
    trace = read_rule_trace(HERE / file)

    assert way in trace.leaks
    assert {"v6.1"} == {variant.partition("-")[2] for variant in trace.variants}


@pytest.mark.parametrize(("way", "file", "seed", "later"), LEAK_ROWS)
def test_which_kernel_leaks_is_true(way: str, file: str, seed: str, later: str) -> None:
    """A way is open at a revision if the trace, run there, ends with a count of it."""
    trace = read_rule_trace(HERE / file)
    allocator = trace.variants[0].partition("-")[0]
    counted = {}
    for revision in ("seed", "v3.6"):
        done = list(run_rule_trace(trace, f"{allocator}-{revision}").done)[-1]
        assert "leaks" == done.step.operation.verb
        counted[revision] = "open" if way in done.got.fields else "closed"

    assert {"seed": seed, "v3.6": later} == counted
