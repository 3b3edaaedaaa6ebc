"""The text of rule traces: what is understood, and what is refused where."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.config import MachineConfig
from allocator.events import CTX_PF_MEMALLOC, CTX_SOFTIRQ
from tracegen.rule_trace.answer import Answer
from tracegen.rule_trace.parser import MAX_BYTES, parse_rule_trace, read_rule_trace
from tracegen.rule_trace.trace import Beyond, Prose, RuleTrace, RuleTraceError, Step

PATH = Path("x.rule")
HEADER = "machine 40M:DMA32 cpus=2\nvariants slab-seed\n"
FIRST = HEADER.count("\n") + 1
"""Line number of what follows the header."""


def parsed(body: str) -> RuleTrace:
    """Read a trace with a small header."""
    return parse_rule_trace(HEADER + body, PATH)


def step_of(body: str) -> Step:
    """Return the only step of a trace."""
    (step,) = parsed(body).steps
    return step


def test_the_header_is_read() -> None:
    """Machine, variants, rules, leaks, recordings, sightings and the summary above them."""
    trace = parse_rule_trace(
        "# What it shows.\n#\n# And why.\n\n"
        "rule A4 A9\nleak wrong_cache\n"
        "machine 16M:DMA+24M:DMA32 40M:Normal cpus=2 cpu_node=0,1 numa=on min_free_kbytes=512\n"
        "variants slab-seed slab-v3.6\n"
        "recorded seed:l2/one v3.6:l2/two\nseen l2/three:957\n"
        "reap\n",
        PATH,
    )

    assert ["What it shows.", "", "And why."] == trace.summary
    assert (("A4", "A9"), ("wrong_cache",)) == (trace.rules, trace.leaks)
    assert ("slab-seed", "slab-v3.6") == trace.variants
    assert "l2/one" == trace.recording_of("slab-seed")
    assert trace.recording_of("slub-seed") is None
    assert (("l2/three", 957),) == trace.seen
    assert (
        MachineConfig(
            cpus=2,
            cpu_node=(0, 1),
            nodes=((0, 10240), (10240, 20480)),
            zone_end_pfn=(4096, 10240, 20480),
            min_free_kbytes=512,
        )
        == trace.machine
    )


def test_a_zone_that_is_not_named_is_empty() -> None:
    """40M:DMA32 is a machine whose memory is all in one zone."""
    assert (0, 10240, 10240) == parsed("reap\n").machine.zone_end_pfn


def test_build_options_are_switches() -> None:
    """numa, memalloc_socks, slub_merge and kmalloc are on or off."""
    machine = parse_rule_trace(
        "machine 40M:DMA32 numa=off memalloc_socks=off slub_merge=on kmalloc=off\n"
        "variants slub-seed\nreap\n",
        PATH,
    ).machine

    assert (False, False, True, False) == (
        machine.numa,
        machine.memalloc_socks,
        machine.slub_merge,
        machine.kmalloc,
    )


def test_an_allocation_is_read() -> None:
    """Handle, cache, gfp, context words in any order, cpu and node."""
    operation = step_of("alloc a skb GFP_NOIO softirq PF_MEMALLOC cpu=1 node=0\n").operation

    assert ("alloc", ("a",), "skb", "GFP_NOIO") == (
        operation.verb,
        operation.handles,
        operation.cache,
        operation.gfp,
    )
    assert (CTX_PF_MEMALLOC | CTX_SOFTIRQ, 1, 0) == (operation.ctx, operation.cpu, operation.node)


def test_a_run_of_handles_is_many_operations() -> None:
    """Each handle of a run has its own part of what is stated, and shares the rest."""
    step = step_of("alloc a1..a3 skb GFP_KERNEL -> ok slab=9216 idx=2..0\n")

    assert 3 == step.times
    assert Answer(("ok",), {"slab": ("9216",), "idx": ("1",)}) == step.expected_of("slab-seed", 1)


def test_frees_take_handles_one_after_another() -> None:
    """A line may free several things, runs among them, cold or not."""
    trace = parsed("page a1..a3 GFP_KERNEL\npage b GFP_KERNEL\nfree a1..a2 b a3 cpu=1 cold\n")
    operation = trace.steps[-1].operation

    assert ("a1", "a2", "b", "a3") == operation.handles
    assert (1, True) == (operation.cpu, operation.cold)
    assert 8 == trace.operations


def test_others_may_answer_otherwise() -> None:
    """The nearest name counts: variant, then revision, then allocator; else the line's own."""
    step = step_of(
        "reap -> ok active=0 | v3.6,slub: ok active=1 | slub-v3.6: ok\n"
        "   | slab-unpatched: denied\n"
    )

    assert Answer(("ok",), {"active": ("0",)}) == step.expected_of("slab-seed", 0)
    assert Answer(("ok",), {"active": ("1",)}) == step.expected_of("slab-v3.6", 0)
    assert Answer(("ok",), {"active": ("1",)}) == step.expected_of("slub-seed", 0)
    assert Answer(("ok",)) == step.expected_of("slub-v3.6", 0)
    assert Answer(("denied",)) == step.expected_of("slab-unpatched", 0)


def test_flags_are_joined_as_in_the_kernel() -> None:
    """A bar within a word joins flags; one that stands alone begins another's answer."""
    step = step_of("reap -> ok flags=WMARK_MIN|CPUSET | v3.6: ok\n")

    assert step.expected == Answer(("ok",), {"flags": ("WMARK_MIN", "CPUSET")})


def test_comments_find_their_place() -> None:
    """At the end of a line or indented below it: a note; else prose of its own; and marks."""
    body = parsed(
        "reap  # one\n      # two\n# prose\nmark a heading\nbeyond the end\nreap cpu=1\n"
    ).body

    assert [
        ("one two", "reap"),
        Prose(FIRST + 2, "prose"),
        Prose(FIRST + 3, "a heading", heading=True),
        Beyond(FIRST + 4, "the end"),
        ("", "reap cpu=1"),
    ] == [(entry.note, entry.text) if isinstance(entry, Step) else entry for entry in body]


@pytest.mark.parametrize(
    ("body", "line", "column", "why"),
    [
        ("alloc a skb GFP_KERNEl\n", 0, 13, "'GFP_KERNEl', expected gfp flags"),
        ("alloc a skb 0xzz\n", 0, 13, "expected gfp flags"),
        ("aloc a skb GFP_KERNEL\n", 0, 1, "'aloc' is not known; there are machine"),
        ("alloc A skb GFP_KERNEL\n", 0, 7, "'A', expected a handle"),
        ("alloc a..c skb GFP_KERNEL\n", 0, 7, "'a..c', expected a handle"),
        ("alloc a1..b3 skb GFP_KERNEL\n", 0, 7, "expected a handle"),
        ("alloc a1..99999 skb GFP_KERNEL\n", 0, 7, "more than 4096 members"),
        ("alloc a skb\n", 0, 9, "'alloc' lacks gfp flags"),
        ("reap\nfree b\n", 1, 1, "'b' was never allocated"),
        ("page a GFP_KERNEL\nfree a\nfree a\n", 2, 1, "'a' was freed already"),
        ("page a GFP_KERNEL\npage a GFP_KERNEL\n", 1, 1, "'a' was used before"),
        ("reap cpu=2\n", 0, 6, "'cpu=2', the machine has 2 cpus"),
        ("page a GFP_KERNEL node=1\n", 0, 19, "the machine has 1 nodes"),
        ("reap cpu=0 cpu=1\n", 0, 12, "'cpu' is said twice"),
        ("reap cpu=x\n", 0, 6, "'x', expected a number from 0"),
        ("tick 99999999999999999999\n", 0, 6, "expected a number from 0"),
        ("reap softirq\n", 0, 6, "'softirq' is not understood after 'reap'; it takes cpu="),
        ("cache skb size=4\n", 0, 1, "expected 8 to 4194304 bytes"),
        ("cache skb align=64\n", 0, 11, "'cache' lacks a size in bytes"),
        ("cache skb size=64 flags=NONE\n", 0, 19, "'NONE', expected flags: HWCACHE_ALIGN"),
        ("alien skb node=0\n", 0, 11, "'alien' lacks whose objects"),
        ("reap ->\n", 0, 6, "nothing is expected after '->'"),
        ("reap -> ok ok=\n", 0, 12, "'ok=', expected key=value"),
        ("reap -> a=1 a=2\n", 0, 13, "'a' is said twice"),
        ("reap -> ok |\n", 0, 12, "expected who answers so after '|'"),
        ("reap -> ok | v9.9: ok\n", 0, 14, "'v9.9', expected a variant"),
        ("reap -> ok | v3.6:\n", 0, 14, "nothing is expected after 'v3.6:'"),
        ("reap -> ok | v3.6: ok | v3.6: ok\n", 0, 25, "is said twice"),
        ("reap\n| v3.6: ok\n", 1, 1, "'|' goes on with a line that has '->'"),
        ("reap\nrule A4\n", 1, 1, "'rule' belongs above the first operation"),
    ],
)
def test_what_cannot_be_meant_is_told_where(body: str, line: int, column: int, why: str) -> None:
    """A line that is not understood is refused with line, column and what was expected."""
    with pytest.raises(RuleTraceError) as raised:
        parsed(body)

    assert str(raised.value).startswith(f"x.rule: line {FIRST + line}, column {column}: ")
    assert why in str(raised.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("variants slab-seed\nreap\n", "line 2, column 1: expected a line 'machine'"),
        ("machine 40M:DMA32\nreap\n", "line 2, column 1: expected a line 'variants'"),
        (HEADER, "line 2: the file ends, expected at least one operation"),
        ("", "line 0: the file ends"),
        ("machine\n", "line 1, column 1: nothing after 'machine'"),
        ("machine 40M:DMA32\nmachine 40M:DMA32\n", "line 2, column 1: 'machine' is said twice"),
        ("machine cpus=2\nvariants slab-seed\nreap\n", "line 1, column 9: no memory"),
        ("machine 40M:HIGH\nvariants slab-seed\nreap\n", "zones are DMA, DMA32, Normal"),
        ("machine 40M:Normal 40M:DMA\nvariants slab-seed\nreap\n", "comes after a higher one"),
        ("machine 65G:Normal\nvariants slab-seed\nreap\n", "expected one page to 64 GiB"),
        ("machine 1K:Normal\nvariants slab-seed\nreap\n", "expected one page to 64 GiB"),
        ("machine 4M:DMA cpus=99999\nvariants slab-seed\nreap\n", "99999 cpus, expected 1 to"),
        ("machine 4M:DMA cpu_node=3\nvariants slab-seed\nreap\n", "cpu 0 is on node 3"),
        ("machine 4M:DMA ram=1\nvariants slab-seed\nreap\n", "'ram', expected one of cpus"),
        ("machine 4M:DMA numa=maybe\nvariants slab-seed\nreap\n", "expected on or off"),
        (HEADER + "rule A10\nreap\n", "line 3, column 6: 'A10', expected a rule: P1"),
        ("machine 4M:DMA\nvariants slob-seed\nreap\n", "line 2, column 10: no variant"),
        (HEADER + "recorded l2/x\nreap\n", "line 3, column 10: 'l2/x', expected a revision"),
        (HEADER + "recorded seed:a seed:b\nreap\n", "what seed was recorded in is said twice"),
        (HEADER + "seen l2/x\nreap\n", "expected a vector file and the number of an op"),
        (HEADER + "seen l2/x:0\nreap\n", "'0', expected a number from 1"),
    ],
)
def test_a_header_that_describes_nothing_is_refused(text: str, why: str) -> None:
    """What is missing, said twice or impossible in the header is named."""
    with pytest.raises(RuleTraceError) as raised:
        parse_rule_trace(text, PATH)

    assert why in str(raised.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """A folder, text that is not UTF-8 and a file that is too large are told in one line."""
    binary = tmp_path / "binary.rule"
    binary.write_bytes(b"# fine\n\xff\n")
    large = tmp_path / "large.rule"
    large.write_bytes(b"#" * (MAX_BYTES + 1))

    for path, why in (
        (tmp_path, "Is a directory"),
        (binary, "line 2: not UTF-8 text"),
        (large, f"larger than {MAX_BYTES} bytes"),
    ):
        with pytest.raises(RuleTraceError) as raised:
            read_rule_trace(path)
        assert why in str(raised.value)
