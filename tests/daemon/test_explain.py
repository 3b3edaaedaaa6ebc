"""``pfmemd explain TRACE``: why an event came to what it came to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from allocator.events import CTX_PF_MEMALLOC, MIN_FREE, OBJ_ALLOC, OBJ_FREE
from allocator.revision import parse_variant
from daemon.explain import (
    MOST_DRAWS,
    Choice,
    Explanation,
    Tally,
    Where,
    explain,
    find,
    overview,
)
from daemon.explain_cli import explain_command
from daemon.explain_text import explanation_json, explanation_lines
from daemon.trace_pass import NoSuchEventError, TracePasses
from tests.daemon.reserve_trace import (
    DRAWN,
    EVENTS,
    GFP_KERNEL_NORETRY,
    GFP_NOIO,
    HEADER,
    NUMA_HEADER,
    event,
    trace_bytes,
)


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """The reserve drawn, kept and leaked on a UMA machine, four events a batch."""
    path = tmp_path / "trace.pfmt"
    path.write_bytes(trace_bytes())
    return str(path)


def where(variant: str, source: str | None = None, epoch: int | None = None) -> Where:
    """A model and a life by name."""
    return Where(parse_variant(variant), source, epoch)


def explained(path: str, number: int, variant: str = "slab-seed", leading: int = 2) -> Explanation:
    """Explain an event of the trace at ``path``."""
    with TracePasses(path) as passes:
        return explain(passes, where(variant), number, leading)


def invoke(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(explain_command, list(arguments), input=stdin)


def test_denial_is_told_step_by_step(trace: str) -> None:
    """Functions in order, numbers, rules; the numbers before; the events before."""
    told = explained(trace, 6)

    assert ["ac_get_obj", "____cache_alloc", "get_page_from_freelist", "zone_watermark_ok"] == [
        step.function for step in told.story.steps[:4]
    ]
    assert ["A4", "A5", "P1", "A6"] == told.story.rules()
    assert [4, 5] == [seen.number for seen in told.leading]
    assert (16_381, 16_500) == (told.before.zones[0].free_pages, told.before.zones[0].min_pages)
    assert told.request is not None
    assert ("plain", False, "skbuff_head_cache") == (
        told.request.caller,
        told.request.entitled,
        told.request.cache,
    )


def test_denial_names_the_event_that_drew_the_slab_and_who_got_objects(trace: str) -> None:
    """The refused slab: drawn by event 5, given to an entitled caller by 5, not given by 6."""
    told = explained(trace, 6)

    (slab,) = told.slabs
    assert slab.drawn_by is not None
    assert ("skbuff_head_cache", 5) == (slab.cache, slab.drawn_by.number)
    assert [(5, "pf_memalloc", True, None)] == [
        (drawn.number, drawn.request.caller, drawn.request.entitled, drawn.freed_by)
        for drawn in slab.latest
    ]
    assert (1, 0) == (slab.given, slab.given_plain)


@pytest.mark.parametrize(
    ("variant", "way"), [("slub-seed", "same_slab_again"), ("slub-v3.6", "fast_path")]
)
def test_leak_is_named_and_counted_against_the_slab(trace: str, variant: str, way: str) -> None:
    """The object's own slab, its drawer, and the caller who should not have had it."""
    told = explained(trace, 6, variant)

    (slab,) = told.slabs
    assert [way] == told.story.leaks
    assert slab.drawn_by is not None
    assert 5 == slab.drawn_by.number
    assert [(5, True), (6, False)] == [(d.number, d.request.entitled) for d in slab.latest]
    assert (2, 1) == (slab.given, slab.given_plain)


def test_frees_are_followed(tmp_path: Path) -> None:
    """Objects that were given back say by which event; a slab drawn anew forgets its past."""
    draw = event(OBJ_ALLOC, 20, 3, gfp=GFP_NOIO, ctx=CTX_PF_MEMALLOC)
    more = (
        event(OBJ_ALLOC, 21, 3, gfp=GFP_NOIO, ctx=CTX_PF_MEMALLOC),
        event(OBJ_FREE, 21),
        draw,
        event(OBJ_ALLOC, 22, 3, gfp=GFP_KERNEL_NORETRY),
    )
    path = tmp_path / "frees.pfmt"
    path.write_bytes(trace_bytes(events=EVENTS + more))

    told = explained(str(path), len(EVENTS) + len(more), "slub-seed")

    (slab,) = told.slabs
    assert [(5, 8), (6, None), (7, None), (12, 13), (14, None), (15, None)] == [
        (drawn.number, drawn.freed_by) for drawn in slab.latest
    ]


def test_only_so_many_owners_are_listed_but_all_are_counted(tmp_path: Path) -> None:
    """A busy slab shows its latest objects and says how many there were."""
    pairs = tuple(
        one
        for handle in range(30, 50)
        for one in (
            event(OBJ_ALLOC, handle, 3, gfp=GFP_NOIO, ctx=CTX_PF_MEMALLOC),
            event(OBJ_FREE, handle),
        )
    )
    path = tmp_path / "busy.pfmt"
    path.write_bytes(trace_bytes(events=EVENTS[:5] + pairs))

    told = explained(str(path), 5 + len(pairs) - 1, "slub-seed")

    (slab,) = told.slabs
    assert (21, MOST_DRAWS) == (slab.given, len(slab.latest))
    assert any(f"the last {MOST_DRAWS}:" in line for line in explanation_lines(told))


def test_flip_names_the_slabs_that_are_left(tmp_path: Path) -> None:
    """pfmemalloc_active cleared by the wrong cache: the flagged slabs left, and who drew them."""
    events = (
        *DRAWN[:2],  # 2: skbuff_head_cache has a flagged slab
        event(OBJ_ALLOC, 11, 9, gfp=GFP_NOIO, ctx=CTX_PF_MEMALLOC),  # 3: dentry has one, too
        event(MIN_FREE, arg=512),  # 4: pages to be had again
        event(OBJ_ALLOC, 12, 9, gfp=GFP_KERNEL_NORETRY),  # 5: dentry gives up its last
    )
    path = tmp_path / "flip.pfmt"
    path.write_bytes(trace_bytes(events=events))

    told = explained(str(path), 5)

    assert ["forced_refill"] == told.story.leaks
    assert "A9" in told.story.rules()
    assert {("dentry", 3), ("skbuff_head_cache", 2)} == {
        (slab.cache, slab.drawn_by.number) for slab in told.slabs if slab.drawn_by is not None
    }
    assert any(
        "pfmemalloc_active to 0, with flagged slabs left" in line
        for line in explanation_lines(told)
    )


def test_event_without_a_story_says_what_it_came_to(trace: str) -> None:
    """A fast path has no steps; a free has no outcome; both are told all the same."""
    hit = list(explanation_lines(explained(trace, 7)))
    free = list(explanation_lines(explained(trace, 8)))

    assert any("array_hit" in line for line in hit)
    assert "  done" in free


def test_how_the_trace_is_cut_does_not_matter(tmp_path: Path) -> None:
    """Batches of one event or of all: the same explanation."""
    told = []
    for cut in (1, 3, 100):
        path = tmp_path / f"{cut}.pfmt"
        path.write_bytes(trace_bytes(cut=cut))
        told.append(explanation_json(explained(str(path), 6, leading=4)))

    assert told[0] == told[1] == told[2]
    assert [2, 3, 4, 5] == [seen["event"] for seen in told[0]["leading"]]


def test_overview_counts_by_kind_and_names_events(trace: str) -> None:
    """What there is to explain, under each model its own."""
    with TracePasses(trace) as passes:
        slab = overview(passes, where("slab-seed"))
        slub = overview(passes, where("slub-seed"))

    assert {
        ("drawn", "marked"): Tally(1, [5], 5),
        ("flip", "to_1"): Tally(1, [5], 5),
        ("denied", "preserved"): Tally(1, [6], 6),
        ("denied", "watermark"): Tally(1, [10], 10),
    } == slab
    assert {
        ("drawn", "marked"): Tally(1, [5], 5),
        ("leak", "same_slab_again"): Tally(1, [6], 6),
        ("denied", "watermark"): Tally(1, [10], 10),
    } == slub


def test_events_are_found_by_kind_reason_and_cache(trace: str) -> None:
    """The n-th of a kind, of a reason, in a cache; too many is said with the count."""
    with TracePasses(trace) as passes:
        found = [
            find(passes, where("slab-seed"), choice, nth)
            for choice, nth in (
                (Choice("denied"), 1),
                (Choice("denied"), 2),
                (Choice("denied", "watermark"), 1),
                (Choice("denied", cache="skbuff_head_cache"), 1),
                (Choice("flip", "to_1"), 1),
                (Choice("drawn"), 1),
            )
        ]
        with pytest.raises(NoSuchEventError, match="has 1 events that are denied preserved"):
            find(passes, where("slab-seed"), Choice("denied", "preserved"), 2)

    assert [6, 10, 10, 6, 5, 5] == found


def test_life_is_chosen_by_source_and_epoch(tmp_path: Path) -> None:
    """The first life by default; another by its epoch; none is an error that names them."""
    path = tmp_path / "epochs.pfmt"
    path.write_bytes(trace_bytes() + trace_bytes(NUMA_HEADER, EVENTS[:7], epoch=8))

    with TracePasses(str(path)) as passes:
        first = explain(passes, where("slab-seed"), 6, 0)
        second = explain(passes, where("slab-seed", epoch=8), 6, 0)
        with pytest.raises(NoSuchEventError, match="no epoch 9; there is host-a epoch 7, host-a"):
            explain(passes, where("slab-seed", epoch=9), 6, 0)
        with pytest.raises(NoSuchEventError, match="there is no event 8, the last is 7"):
            explain(passes, where("slab-seed", epoch=8), 8, 0)

    assert (7, "A6" in first.story.rules()) == (first.life.epoch, True)
    assert (8, "A6" in second.story.rules()) == (second.life.epoch, False)


def test_foreign_mask_is_translated(tmp_path: Path) -> None:
    """A 6.1 trace under the seed: what the seed sees, and PF_MEMALLOC lent."""
    newer = replace(HEADER, gfp="v6.1")
    path = tmp_path / "newer.pfmt"
    path.write_bytes(trace_bytes(newer, (event(OBJ_ALLOC, 1, 3, gfp=0x20A20),)))

    lines = list(explanation_lines(explained(str(path), 1)))

    assert "  OBJ_ALLOC skbuff_head_cache, GFP_ATOMIC|__GFP_MEMALLOC, cpu 0" in lines
    assert (
        "  seed sees GFP_ATOMIC, and PF_MEMALLOC for a __GFP_MEMALLOC that it does not know"
        in lines
    )
    assert (
        "  caller: pf_memalloc, entitled to the reserve (P2), served by skbuff_head_cache" in lines
    )


class TestCommand:
    """The command line."""

    def test_tells_an_event_in_text(self, trace: str) -> None:
        """What was asked, the numbers, the steps with rules, the outcome, where it comes from."""
        result = invoke(trace, "--denied", "1")

        lines = [" ".join(line.split()) for line in result.output.splitlines()]

        assert 0 == result.exit_code, result.output
        assert "event 6 of host-a, epoch 7, under slab-seed, at 0.003 s" == lines[0]
        assert (
            "node 0 DMA32 16,381 free; min 16,500, low 20,625, high 24,750; 1 on cpus' lists, 1 of"
            " the reserve out" in lines
        )
        assert "pfmemalloc_active is 1" in lines
        assert "denied, preserved" in lines
        assert any(line.startswith("A6 cache_alloc_refill forced growth failed") for line in lines)
        assert any(line.startswith("A6 a forced refill grows the cache at once") for line in lines)
        assert any(line.startswith("event 5 drew its page: OBJ_ALLOC") for line in lines)

    def test_json_has_it_all(self, trace: str) -> None:
        """The same for programs."""
        result = invoke(trace, "--leak", "1", "--variant", "slub-seed", "--json")

        answer: dict[str, Any] = json.loads(result.output)

        assert (6, ["same_slab_again"]) == (answer["event"], answer["came_to"]["leaked_by"])
        assert ["U5", "U3", "U4", None, None] == [step["rule"] for step in answer["steps"]]
        assert set(answer["rules"]) == {"U3", "U4", "U5"}
        (slab,) = answer["slabs"]
        assert (5, 2, 1) == (slab["drawn_by"]["event"], slab["given"], slab["given_not_entitled"])

    def test_without_an_event_tells_what_there_is(self, trace: str) -> None:
        """Kinds, reasons and numbers to ask for; the same as JSON."""
        text = invoke(trace)
        told = json.loads(invoke(trace, "--json").output)

        lines = [" ".join(line.split()) for line in text.output.splitlines()]
        assert "denied: 2" in lines
        assert "preserved 1 events 6" in lines
        assert {"count": 1, "first_events": [6], "last_event": 6} == told["events"]["denied"][
            "preserved"
        ]

    def test_standard_input_goes_through_a_file(self) -> None:
        """A pipe can be explained, too: three passes over it."""
        result = invoke("-", "--denied", "1", stdin=trace_bytes())

        assert 0 == result.exit_code, result.output
        assert "event 6 of host-a" in result.output

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            ((), "a TRACE or --line is wanted"),
            (("TRACE", "--event", "1", "--leak", "1"), "one event at a time"),
            (("TRACE", "--by", "x"), "choose among"),
            (("TRACE", "--event", "3", "--cache", "x"), "choose among"),
            (("TRACE", "--line", "x"), "without a trace"),
            (("TRACE", "--kernel", "v3.3"), "belongs to --line"),
            (("TRACE", "--variant", "slab"), "no variant 'slab'"),
            (("TRACE", "--event", "0"), "not in the range"),
        ],
    )
    def test_wrong_use_is_told(
        self, trace: str, arguments: tuple[str, ...], complaint: str
    ) -> None:
        """Exit code 2, and what was expected."""
        result = invoke(*(trace if word == "TRACE" else word for word in arguments))

        assert 2 == result.exit_code
        assert complaint in result.output
