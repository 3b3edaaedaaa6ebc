"""``pfmemd compare``: several models on one trace, and the events at which they part."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from allocator.config import CacheSpec
from allocator.revision import parse_variant
from allocator.story import Story
from daemon.compare import Comparer, Comparison, Detail, deciding_step
from daemon.compare_cli import compare_command
from daemon.trace_pass import TracePasses
from tests.daemon.reserve_trace import EVENTS, HEADER, LEFT_ALONE, NUMA_HEADER, trace_bytes
from tracegen.errors import PfmemdError

SIX = (
    "slab-unpatched",
    "slab-seed",
    "slab-v3.6",
    "slub-unpatched",
    "slub-seed",
    "slub-v3.6",
)


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """The reserve drawn, kept and leaked on a UMA machine, a few events a batch."""
    path = tmp_path / "trace.pfmt"
    path.write_bytes(trace_bytes())
    return str(path)


def compared(
    path: str, variants: tuple[str, ...] = SIX, shown: int = 0, detail: Detail = Detail.RESULT
) -> Comparison:
    """Compare the trace at ``path``."""
    with TracePasses(path) as passes:
        return Comparer(passes, [parse_variant(v) for v in variants], shown, detail).run()


def invoke(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(compare_command, list(arguments), input=stdin)


def test_numbers_of_every_variant_stand_side_by_side(trace: str) -> None:
    """SLAB keeps the reserve object, SLUB leaks it, each its own way; unpatched has no reserve."""
    (source,) = compared(trace).sources

    numbers = source.numbers

    assert len(EVENTS) == source.events
    assert [5, 4, 4, 5, 5, 5] == [numbers[v]["ok"] for v in SIX]
    assert [0, 1, 1, 0, 0, 0] == [numbers[v].get("denied.preserved", 0) for v in SIX]
    assert [0, 1, 1, 0, 1, 1] == [numbers[v]["pfmemalloc_marks"] for v in SIX]
    assert 1 == numbers["slub-seed"]["leaks.same_slab_again"]
    assert 1 == numbers["slub-v3.6"]["leaks.fast_path"]
    assert "leaks.fast_path" not in numbers["slab-seed"]
    assert 16_378 == numbers["slab-seed"]["lowest_free.node0.DMA32"]


def test_parting_event_names_the_rules_that_parted(trace: str) -> None:
    """The one event at which they differ, and the rules that decided here and not there."""
    comparison = compared(trace, shown=5)

    (parting,) = comparison.partings

    assert 1 == comparison.parted
    assert 6 == parting.number
    assert EVENTS[5] == parting.record
    assert {
        "slab-unpatched": [],
        "slab-seed": ["A4", "A5", "A6"],
        "slab-v3.6": ["A4", "A5", "A6"],
        "slub-unpatched": [],
        "slub-seed": ["U5", "U3", "U4"],
        "slub-v3.6": [],
    } == {variant: parting.parted_by(variant) for variant in SIX}
    assert ["same_slab_again"] == parting.stories["slub-seed"].leaks


def test_looking_closer_finds_more_that_parts(trace: str) -> None:
    """By reserve the drawing event parts too; by path almost every event does."""
    pair = ("slab-unpatched", "slab-seed")

    numbers = {
        detail: [parting.number for parting in compared(trace, pair, 20, detail).partings]
        for detail in Detail
    }

    assert [6] == numbers[Detail.RESULT]
    assert [5, 6] == numbers[Detail.RESERVE]
    assert [5, 6] == numbers[Detail.PATH]
    path_of_slub = compared(trace, ("slab-unpatched", "slub-unpatched"), 20, Detail.PATH)
    assert [2, 5, 6, 7, 9] == [parting.number for parting in path_of_slub.partings]


def test_only_so_many_events_are_shown_but_all_are_counted(trace: str) -> None:
    """The number of parting events does not depend on how many are shown."""
    pair = ("slab-unpatched", "slub-unpatched")
    whole = compared(trace, pair, 20, Detail.PATH)

    one = compared(trace, pair, 1, Detail.PATH)

    assert whole.parted == one.parted
    assert [2] == [parting.number for parting in one.partings]


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_how_the_trace_is_cut_into_batches_does_not_matter(tmp_path: Path, cut: int) -> None:
    """Stories and numbers are the same whatever batches the events came in."""
    path = tmp_path / "cut.pfmt"
    path.write_bytes(trace_bytes(cut=cut))
    comparison = compared(str(path), shown=9, detail=Detail.PATH)
    path.write_bytes(trace_bytes(cut=2))
    other = compared(str(path), shown=9, detail=Detail.PATH)

    assert other.sources == comparison.sources
    told = [
        [step.text for v in SIX for step in parting.stories[v].steps]
        for parting in comparison.partings
    ]
    assert told == [
        [step.text for v in SIX for step in parting.stories[v].steps] for parting in other.partings
    ]
    assert any(told)


def test_nothing_parts_variants_on_a_quiet_trace(tmp_path: Path) -> None:
    """Where the patch has nothing to do, there is no difference."""
    path = tmp_path / "quiet.pfmt"
    path.write_bytes(trace_bytes(events=LEFT_ALONE))

    comparison = compared(str(path), ("slab-unpatched", "slab-seed"), 3, Detail.PATH)

    assert (0, []) == (comparison.parted, comparison.partings)


def test_last_epoch_of_each_source_is_shown(tmp_path: Path) -> None:
    """A later life replaces the machines; events part them in both lives."""
    path = tmp_path / "epochs.pfmt"
    path.write_bytes(trace_bytes() + trace_bytes(NUMA_HEADER, EVENTS[:7], epoch=8))

    comparison = compared(str(path), ("slab-unpatched", "slab-seed"), 5)
    (source,) = comparison.sources

    assert (8, 2, 7) == (source.life.epoch, source.epochs, source.events)
    assert [(7, 6), (8, 6)] == [(p.life.epoch, p.number) for p in comparison.partings]
    assert ["A3", "A4"] == comparison.partings[1].parted_by("slab-seed")


def test_table_relates_every_variant_to_the_first(trace: str) -> None:
    """Percents, (new) for what the first never had, a dash for ways an allocator does not have."""
    result = invoke(trace, "--variant", "slab-seed", "--variant", "slub-seed", "--events", "1")

    rows = [" ".join(line.split()) for line in result.output.splitlines()]

    assert 0 == result.exit_code
    assert "ok 4 5 (+25 %)" in rows
    assert "denied 2 1 (-50 %)" in rows
    assert "preserved 1 0 (-100 %)" in rows
    assert "objects in use 1 2 (+100 %)" in rows
    assert "by same_slab_again - 1 (new)" in rows
    assert "node 0 DMA32 16,378 of 16,500 16,379 of 16,500 (+0.0 %)" in rows
    assert "1 event parts them; the first 1:" in rows
    assert "event 6 OBJ_ALLOC skbuff_head_cache, GFP_KERNEL|__GFP_NORETRY, cpu 0 at 0.003 s" in rows
    assert any(row.startswith("slab-seed denied, preserved cache_alloc_refill") for row in rows)
    assert any(row.startswith("same_slab_again: SLUB seed") for row in rows)


def test_json_has_numbers_changes_and_stories(trace: str) -> None:
    """Programs get everything the table shows, and the whole stories."""
    result = invoke(
        trace, "--json", "--events", "2", "--variant", "slab-seed", *("--variant", "slub-seed")
    )

    answer: dict[str, Any] = json.loads(result.output)

    source = answer["sources"]["host-a"]
    assert (25.0, None) == (
        source["change_percent"]["slub-seed"]["ok"],
        source["change_percent"]["slub-seed"]["leaks.same_slab_again"],
    )
    assert 1 == answer["parting_events"]
    (parting,) = answer["partings"]
    assert ("skbuff_head_cache", "GFP_KERNEL|__GFP_NORETRY") == (
        parting["what"]["cache"],
        parting["what"]["gfp_flags"],
    )
    told = parting["variants"]["slub-seed"]
    assert ("ok", "node_partial", ["same_slab_again"]) == (
        told["result"],
        told["path"],
        told["leaked_by"],
    )
    assert ["U5", "U3", "U4"] == [step["rule"] for step in told["steps"][:3]]


def test_csv_has_a_line_for_each_number(trace: str) -> None:
    """Long form: source, number, variant, value, change."""
    result = invoke(trace, "--csv", "--variant", "slab-seed", "--variant", "slub-seed")

    rows = list(csv.reader(io.StringIO(result.output)))

    assert ["source", "number", "variant", "value", "change_percent"] == rows[0]
    assert ["host-a", "ok", "slab-seed", "4", "0.0"] in rows
    assert ["host-a", "ok", "slub-seed", "5", "25.0"] in rows
    assert ["host-a", "leaks.same_slab_again", "slub-seed", "1", ""] in rows


def test_standard_input_is_read_twice_when_stories_are_wanted() -> None:
    """A pipe is kept in a temporary file for the second pass."""
    result = invoke("-", "--events", "1", stdin=trace_bytes())

    assert 0 == result.exit_code, result.output
    assert "1 event parts them; the first 1:" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--variant", "slab-seed"), "one model compares with nothing"),
        (("--variant", "slab-x", "--variant", "slab-seed"), "no variant 'slab-x'; there are"),
        (("--csv", "--json"), "exclude each other"),
        (("--csv", "--events", "3"), "no place for events"),
    ],
)
def test_wrong_use_is_told_in_one_line(
    trace: str, arguments: tuple[str, ...], complaint: str
) -> None:
    """Exit code 2, and what was expected."""
    result = invoke(trace, *arguments)

    assert 2 == result.exit_code
    assert complaint in result.output


def test_p1_is_no_step_that_decides() -> None:
    """Everybody on the slow path meets P1: it says nothing of why."""
    story = Story()
    story.add("gfp_to_alloc_flags", "WMARK_MIN", "P1")

    assert deciding_step(story) is None

    story.add("zone_watermark_ok", "fails")
    step = deciding_step(story)
    assert step is not None
    assert "zone_watermark_ok" == step.function


def test_header_that_describes_no_machine_is_refused(tmp_path: Path) -> None:
    """A cache that no slab can hold is an error of the trace, told in one line."""
    poisoned = replace(HEADER, caches=(CacheSpec(3, "huge", 1 << 22, 0, 0x800),))
    path = tmp_path / "huge.pfmt"
    path.write_bytes(trace_bytes(poisoned, ()))

    with pytest.raises(PfmemdError, match="host-a, epoch 7: no slub-seed machine can be made"):
        compared(str(path), ("slub-seed", "slab-seed"))
