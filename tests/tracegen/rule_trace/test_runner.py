"""Running a rule trace: what is asked of the machine, and what is held against it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracegen.rule_trace.parser import parse_rule_trace
from tracegen.rule_trace.runner import Done, Run, run_rule_trace
from tracegen.rule_trace.trace import RuleTraceError

MACHINE = "machine 40M:DMA32 cpus=2 min_free_kbytes=512\n"


def run(body: str, variant: str = "slab-seed", header: str = "variants slab-seed\n") -> Run:
    """Run a small trace."""
    return run_rule_trace(parse_rule_trace(MACHINE + header + body, Path("x.rule")), variant)


def answers(
    body: str, variant: str = "slab-seed", header: str = "variants slab-seed\n"
) -> list[str]:
    """Return what each operation of a small trace came to."""
    return [str(done.got) for done in run(body, variant, header).done]


def test_pages_are_allocated_and_freed() -> None:
    """A page tells pfn, order, zone, mark, flags and the free pages of each zone."""
    assert [
        (
            "ok above_low pfn=9216 order=0 node=0 zone=DMA32 reserve=0 active=0"
            " flags=WMARK_LOW|CPUSET kswapd=0 free=10239"
        ),
        "ok active=0 kswapd=0 free=10239",
        "ok active=0 kswapd=0 free=10240",
    ] == answers("page a GFP_KERNEL\nfree a cold\ndrain\n")


def test_objects_and_kmallocs_are_allocated_and_freed() -> None:
    """An object tells its slab; a kmalloc the general cache too, a large one its pages."""
    body = "cache skb size=256\nalloc a skb GFP_KERNEL\nkmalloc b 100 GFP_KERNEL\nfree a b\n"

    assert [
        "ok new_slab slab=9216 idx=0 reserve=0 flags=WMARK_LOW|CPUSET kswapd=0 free=10239",
        (
            "ok new_slab cache=kmalloc-128 slab=9217 idx=0 reserve=0 flags=WMARK_LOW|CPUSET"
            " kswapd=0 free=10238"
        ),
        "ok kswapd=0 free=10238",
        "ok kswapd=0 free=10238",
    ] == answers(body, "slub-seed")[1:]
    (large,) = answers("kmalloc a 20000 GFP_KERNEL\n", "slub-seed")
    assert large.startswith("ok large pfn=9216 order=3 node=0 zone=DMA32 reserve=0 ")


def test_watermarks_follow_min_free() -> None:
    """Setting min_free_kbytes tells the watermarks of each zone."""
    assert ["min=10250 low=12812 high=15375"] == answers("min_free 41000\n")


def test_time_and_trimming_are_operations() -> None:
    """tick, reap, drain and shrink are done; shrink tells what it returned."""
    body = "cache skb size=256\ntick 250\nreap cpu=1\ndrain\nshrink skb\n"

    assert ["ok", "ok", "ok", "ok ret=0"] == [
        text.partition(" active")[0] for text in answers(body)[1:]
    ]


def test_a_denied_allocation_leaves_nothing_to_free() -> None:
    """The free of what was denied is skipped, as the handle names nothing."""
    body = "min_free 120000\npage a GFP_KERNEL|__GFP_NORETRY\nfree a\n"

    assert ["denied watermark active=0 flags=WMARK_MIN|CPUSET kswapd=1 free=10240", "skipped"] == (
        answers(body)[1:]
    )


def test_masks_are_those_of_the_variant_the_trace_is_about() -> None:
    """An entitled call of 3.6 runs as a task with PF_MEMALLOC where the flag does not exist."""
    body = "min_free 120000\npage a GFP_KERNEL|__GFP_MEMALLOC\n"
    header = "variants slab-v3.6\n"

    for variant in ("slab-v3.6", "slab-seed"):
        assert answers(body, variant, header)[-1].startswith("ok reserve ")


def test_operations_are_numbered_and_looks_are_not() -> None:
    """Every handle is an operation of its own."""
    done = run("cache skb size=256\nalloc a1..a2 skb GFP_KERNEL\narray skb\nfree a2 a1\n").done

    assert [1, 2, 3, 0, 4, 5] == [one.n for one in done]


def test_a_difference_does_not_end_a_run() -> None:
    """What is not as stated is told, and the next line is held against its own."""
    result = run("page a GFP_KERNEL -> ok pfn=1\npage b GFP_KERNEL -> denied\nfree a b -> ok\n")

    assert [(3, ["pfn"]), (4, [""])] == [
        (done.step.line, [difference.key for difference in done.differences])
        for done in result.differing
    ]
    assert 5 == result.checks


def test_stories_are_told_when_asked_for() -> None:
    """With tell, an operation comes with the kernel functions that decided it."""
    trace = parse_rule_trace(MACHINE + "variants slab-seed\npage a GFP_KERNEL\n", Path("x.rule"))

    def functions(done: list[Done]) -> list[str]:
        return [told.function for one in done for told in one.story]

    assert [] == functions(list(run_rule_trace(trace, "slab-seed").done))
    told = functions(list(run_rule_trace(trace, "slab-seed", tell=True).done))
    assert ["get_page_from_freelist", "zone_watermark_ok"] == told[:2]


def test_a_cache_that_the_variant_lacks_is_told() -> None:
    """An operation on it cannot be done; a look at it sees nothing."""
    with pytest.raises(RuleTraceError, match="line 3: slub-seed has no cache 'size-64'"):
        run("alloc a size-64 GFP_KERNEL\n", "slub-seed")

    assert ["none"] == answers("array size-64\n", "slub-seed")


def test_leaks_are_counted_by_the_model() -> None:
    """A look at leaks tells the ways in which the cache's reserve objects came out."""
    body = (
        "cache skb size=64\nmin_free 120000\nalloc a skb GFP_NOIO PF_MEMALLOC\nleaks skb\n"
        "alloc b skb GFP_KERNEL|__GFP_NORETRY\nleaks skb\n"
    )

    told = answers(body)

    assert ("none", "node_path=1") == (told[3], told[5])
