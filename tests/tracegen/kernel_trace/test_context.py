"""Who asked, by what a trace lets one see."""

from __future__ import annotations

import pytest

from allocator.events import CTX_HARDIRQ, CTX_MEMDIE, CTX_PF_MEMALLOC, CTX_SOFTIRQ
from tracegen.kernel_trace.context import SLOT_SHIFT, Contexts
from tracegen.kernel_trace.kernel_event import Origin, Thread


class Tasks:
    """Threads by pid, and a Contexts over them."""

    def __init__(self, *, slots: bool = False) -> None:
        self.threads: dict[int, Thread] = {}
        self.contexts = Contexts(self.thread, slots=slots)

    def thread(self, pid: int) -> Thread:
        """The thread of a pid."""
        return self.threads.setdefault(pid, Thread(pid))

    def of(self, comm: str = "app", interrupt: str = ".", pid: int = 7) -> int:
        """The context of an allocation."""
        thread = self.thread(pid) if interrupt in {"", "."} else Thread(0)
        return self.contexts.of(Origin(comm, 0, interrupt, thread))


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
    assert bits == Tasks().of(interrupt=interrupt)


def test_without_a_flags_column_every_context_is_a_guess() -> None:
    """What happened in an interrupt looks like the task's own."""
    tasks = Tasks()
    for interrupt in ("", "", ".", "s"):
        tasks.of(interrupt=interrupt)

    assert 2 == tasks.contexts.blind


def test_kswapd_has_pf_memalloc_but_what_interrupts_it_has_not() -> None:
    """The flag belongs to the task; a softirq that borrows it is not kswapd."""
    tasks = Tasks()

    assert CTX_PF_MEMALLOC == tasks.of("kswapd0")
    assert CTX_SOFTIRQ == tasks.of("kswapd0", "s")
    assert 1 == tasks.contexts.by_kswapd


def test_a_task_has_pf_memalloc_while_it_reclaims() -> None:
    """Between its own begin and end; other tasks are not touched by it."""
    tasks = Tasks()
    before = tasks.of()
    tasks.contexts.reclaim_begins(tasks.thread(7))
    inside = (tasks.of(), tasks.of(interrupt="h"), tasks.of(pid=8))
    tasks.contexts.reclaim_ends(tasks.thread(7))

    assert (0, 0) == (before, tasks.of())
    assert (CTX_PF_MEMALLOC, CTX_HARDIRQ, 0) == inside
    assert 1 == tasks.contexts.by_reclaim


def test_a_task_has_pf_memalloc_while_it_compacts_but_kcompactd_has_not() -> None:
    """``__alloc_pages_direct_compact`` sets it; kcompactd runs without."""
    tasks = Tasks()
    tasks.thread(7).compacting = True
    tasks.thread(33).compacting = True

    assert CTX_PF_MEMALLOC == tasks.of()
    assert 0 == tasks.of("kcompactd0", pid=33)
    assert 1 == tasks.contexts.by_compaction


def test_an_end_without_a_begin_shows_who_reclaimed_from_the_start() -> None:
    """Such a task's allocations carry its slot until something of its reclaim is seen."""
    tasks = Tasks(slots=True)
    early = [tasks.of(pid=7), tasks.of(pid=8), tasks.of(pid=7), tasks.of(interrupt="s")]
    tasks.contexts.reclaim_ends(tasks.thread(7))
    tasks.contexts.reclaim_begins(tasks.thread(8))
    tasks.contexts.reclaim_ends(tasks.thread(8))

    assert [1 << SLOT_SHIFT, 2 << SLOT_SHIFT, 1 << SLOT_SHIFT, CTX_SOFTIRQ] == early
    assert [1] == tasks.contexts.was_reclaiming
    assert [0, 0] == [tasks.of(pid=7), tasks.of(pid=8)]


def test_a_live_trace_has_no_slots() -> None:
    """What has been passed on cannot be settled later."""
    assert 0 == Tasks().of(pid=7)


def test_the_oom_killers_choice_keeps_its_mark() -> None:
    """A victim may also be reclaiming."""
    tasks = Tasks()
    tasks.contexts.oom_kills(7)
    alone = tasks.of()
    tasks.contexts.reclaim_begins(tasks.thread(7))

    assert CTX_MEMDIE == alone
    assert CTX_MEMDIE | CTX_PF_MEMALLOC == tasks.of()
    assert 2 == tasks.contexts.by_oom
