"""The rules of the patch, one test each: its traces answer as they state.

A trace is run under every variant of which it says something. The docstring is the rule.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.linux3 import kmem_cache, slub_cache
from allocator.linux6 import slab_cache as slab_cache_of_6
from allocator.linux6 import slub_cache as slub_cache_of_6
from tracegen.rule_trace.parser import read_rule_trace
from tracegen.rule_trace.runner import run_rule_trace
from tracegen.rule_trace.trace import RULES, Beyond, RuleTrace

HERE = Path(__file__).resolve().parent
TRACES = [read_rule_trace(path) for path in sorted(HERE.glob("*.rule"))]
BY_NAME = {trace.path.stem: trace for trace in TRACES}
WAYS = sorted(
    {
        *(*kmem_cache.LEAK_NAMES, *slub_cache.LEAK_NAMES),
        *(*slab_cache_of_6.LEAK_NAMES, *slub_cache_of_6.LEAK_NAMES),
    }
)


def not_as_stated(traces: list[RuleTrace]) -> list[str]:
    """Run traces under all of their variants; return what came otherwise."""
    return [
        f"{trace.path.name} under {variant}, line {done.step.line}:"
        f" expected {done.expected}, got {done.got}"
        for trace in traces
        for variant in trace.variants
        for done in run_rule_trace(trace, variant).differing
    ]


def of_rule(rule: str) -> list[RuleTrace]:
    """Return the traces that show a rule; there must be one."""
    found = [trace for trace in TRACES if rule in trace.rules]
    assert found
    return found


def test_p1() -> None:
    """PF_MEMALLOC and TIF_MEMDIE always give ALLOC_PFMEMALLOC, and may draw the reserve.

    ALLOC_NO_WATERMARKS comes with it only without __GFP_NOMEMALLOC and outside interrupts.
    """
    assert [] == not_as_stated(of_rule("P1"))


def test_p2() -> None:
    """Whoever has ALLOC_PFMEMALLOC may have objects of the reserve, and nobody else."""
    assert [] == not_as_stated(of_rule("P2"))


def test_p3() -> None:
    """A page of the slow path is marked if its caller had ALLOC_PFMEMALLOC; others never are."""
    assert [] == not_as_stated(of_rule("P3"))


def test_p4() -> None:
    """Freeing a page takes its mark away."""
    assert [] == not_as_stated(of_rule("P4"))


def test_a1() -> None:
    """A marked page flags every page of its slab and sets the global pfmemalloc_active."""
    assert [] == not_as_stated(of_rule("A1"))


def test_a2() -> None:
    """Giving a slab's pages back takes the flag off every one of them."""
    assert [] == not_as_stated(of_rule("A2"))


def test_a3() -> None:
    """While the global is set, an object of a flagged slab enters an array tagged."""
    assert [] == not_as_stated(of_rule("A3"))


def test_a4() -> None:
    """An array gives a tagged object only to whoever may have it.

    Others get an untagged one from index 1 up, or un-flag a slab if another was grown for
    them, or get none.
    """
    assert [] == not_as_stated(of_rule("A4"))


def test_a5() -> None:
    """An array that held objects but gave none is a miss, and forces a refill."""
    assert [] == not_as_stated(of_rule("A5"))


def test_a6() -> None:
    """A forced refill grows the cache at once, and gives none if it cannot."""
    assert [] == not_as_stated(of_rule("A6"))


def test_a7() -> None:
    """Objects of another node enter the alien array tagged as well."""
    assert [] == not_as_stated(of_rule("A7"))


def test_a8() -> None:
    """An object that goes back to its slab loses its tag."""
    assert [] == not_as_stated(of_rule("A8"))


def test_a9() -> None:
    """Whether reserve slabs are left is asked of one cache on one node, and holds for all."""
    assert [] == not_as_stated(of_rule("A9"))


def test_u1() -> None:
    """A marked page flags the SLUB slab built from it."""
    assert [] == not_as_stated(of_rule("U1"))


def test_u2() -> None:
    """Giving a SLUB slab's pages back takes the flag away."""
    assert [] == not_as_stated(of_rule("U2"))


def test_u3() -> None:
    """A flagged cpu slab serves only whoever may have objects of the reserve."""
    assert [] == not_as_stated(of_rule("U3"))


def test_u4() -> None:
    """For others the cpu slab is put back and another one taken."""
    assert [] == not_as_stated(of_rule("U4"))


def test_u5() -> None:
    """The fast path looks at the flag as well, and leaves to the slow path what it may not give."""
    assert [] == not_as_stated(of_rule("U5"))


@pytest.mark.parametrize("way", WAYS)
def test_each_way_the_reserve_leaks_is_shown(way: str) -> None:
    """For every way the model counts there is a trace at whose end the model has counted it."""
    shown = [trace for trace in TRACES if way in trace.leaks]
    counted = [
        done
        for trace in shown
        for done in run_rule_trace(trace, trace.variants[0]).done
        if done.step.operation.verb == "leaks" and way in done.got.fields
    ]

    assert [] == not_as_stated(shown)
    assert shown
    assert len(shown) == len(counted)


def test_no_trace_shows_a_leak_that_is_not_counted() -> None:
    """A trace names the ways in which the reserve leaks as the model does."""
    assert set(WAYS) == {way for trace in TRACES for way in trace.leaks}


def test_every_rule_has_a_test() -> None:
    """No rule is forgotten above."""
    assert set(RULES) == {
        name.removeprefix("test_").upper()
        for name in globals()
        if name.removeprefix("test_").upper() in RULES
    }


@pytest.mark.parametrize("name", BY_NAME)
def test_a_trace_can_be_read_by_a_person(name: str) -> None:
    """It begins with what it shows, states an answer in most lines, and is 5 to 35 lines long."""
    trace = BY_NAME[name]
    done = [step for step in trace.steps if not step.operation.is_look]
    stated = [step for step in trace.steps if step.expected is not None]

    assert trace.summary
    assert 5 <= len(done) <= 35
    assert len(stated) > len(trace.steps) / 2
    assert trace.rules


@pytest.mark.parametrize("name", BY_NAME)
def test_a_trace_says_where_recordings_end(name: str) -> None:
    """A trace without a recording of its kernel says so before its first operation."""
    trace = BY_NAME[name]

    assert trace.recording_of(trace.variants[0]) or isinstance(trace.body[0], Beyond)
