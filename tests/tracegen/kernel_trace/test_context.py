"""Who asked, by what a trace lets one see."""

from __future__ import annotations

import pytest

from allocator.events import CTX_HARDIRQ, CTX_MEMDIE, CTX_PF_MEMALLOC, CTX_SOFTIRQ
from tracegen.kernel_trace.context import Contexts

KSWAPD = (44, "kswapd0")
APP = (7, "app")


@pytest.mark.parametrize(
    ("interrupt", "bits"),
    [
        (".", 0),
        ("", 0),
        ("s", CTX_SOFTIRQ),
        ("h", CTX_HARDIRQ),
        ("H", CTX_HARDIRQ | CTX_SOFTIRQ),
        ("z", CTX_HARDIRQ),
        ("Z", CTX_HARDIRQ),
    ],
)
def test_the_third_flag_says_what_interrupted(interrupt: str, bits: int) -> None:
    """An NMI counts as a hard interrupt."""
    assert bits == Contexts().of(APP, interrupt)
    assert bits == Contexts.interrupt_bits(interrupt)


def test_kswapd_has_pf_memalloc_but_what_interrupts_it_has_not() -> None:
    """The flag belongs to the task; a softirq that borrows it is not kswapd."""
    contexts = Contexts()

    assert CTX_PF_MEMALLOC == contexts.of(KSWAPD, ".")
    assert CTX_SOFTIRQ == contexts.of(KSWAPD, "s")
    assert 1 == contexts.by_kswapd


def test_a_task_has_pf_memalloc_while_it_reclaims() -> None:
    """Between its own begin and end; other tasks are not touched by it."""
    contexts = Contexts()
    before = contexts.of(APP, ".")
    contexts.reclaim_begins(7)
    inside = (contexts.of(APP, "."), contexts.of(APP, "h"), contexts.of((8, "app"), "."))
    contexts.reclaim_ends(7)

    assert (0, 0) == (before, contexts.of(APP, "."))
    assert (CTX_PF_MEMALLOC, CTX_HARDIRQ, 0) == inside
    assert 1 == contexts.by_reclaim
    assert set() == contexts.found_reclaiming


def test_an_end_without_a_begin_shows_who_reclaimed_from_the_start() -> None:
    """Only the first end of a task can be one; given to a second reading, it counts."""
    first = Contexts()
    first.reclaim_ends(7)
    first.reclaim_begins(7)
    first.reclaim_ends(7)
    first.reclaim_begins(8)
    first.reclaim_ends(8)
    second = Contexts(first.found_reclaiming)

    assert {7} == first.found_reclaiming
    assert CTX_PF_MEMALLOC == second.of(APP, ".")


def test_the_oom_killers_choice_keeps_its_mark() -> None:
    """A victim may also be reclaiming."""
    contexts = Contexts()
    contexts.oom_kills(7)
    alone = contexts.of(APP, ".")
    contexts.reclaim_begins(7)

    assert CTX_MEMDIE == alone
    assert CTX_MEMDIE | CTX_PF_MEMALLOC == contexts.of(APP, ".")
    assert 2 == contexts.by_oom
