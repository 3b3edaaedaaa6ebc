"""What the events mean: pairs, failures, pages of the slab allocator, older things, moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.events import CTX_PF_MEMALLOC, CTX_SOFTIRQ
from allocator.gfp import encode
from tests.tracegen.kernel_trace.fakes import (
    NULL,
    Imported,
    cache_alloc,
    cache_free,
    import_lines,
    kfree,
    kmalloc,
    line,
    page_alloc,
    page_free,
)

SLAB_GFP = "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY"
"""How SLUB asks for a page for an object that was asked for with GFP_KERNEL."""


def test_an_address_that_comes_back_gets_a_new_handle(tmp_path: Path) -> None:
    """Handles are never reused; the cache is named by what the objects were freed under."""
    made = import_lines(
        tmp_path,
        [
            line(cache_alloc("0a"), cpu=1),
            line(cache_free("0a")),
            line(cache_alloc("0a")),
            line(kmalloc("0b")),
            line(kfree("0b")),
            line(cache_free("0a")),
        ],
        cpus=2,
    )

    assert [
        ("OBJ_ALLOC", 1),
        ("OBJ_FREE", 1),
        ("OBJ_ALLOC", 2),
        ("KMALLOC", 3),
        ("OBJ_FREE", 3),
        ("OBJ_FREE", 2),
    ] == made.brief()
    assert ["things"] == [cache.name for cache in made.header.caches]
    assert (1, 12_000_345_000) == (made.events[0].cpu, made.events[0].ts_ns)
    assert 100 == made.events[3].arg
    assert 6 == made.category("paired")


@pytest.mark.parametrize(
    ("event", "op", "free"),
    [
        (cache_alloc(NULL), "OBJ_ALLOC", "OBJ_FREE"),
        (cache_alloc("(nil)"), "OBJ_ALLOC", "OBJ_FREE"),
        (kmalloc(NULL), "KMALLOC", "OBJ_FREE"),
        (page_alloc(0), "PAGE_ALLOC", "PAGE_FREE"),
        (page_alloc(0, 3, "GFP_ATOMIC|__GFP_NOWARN|__GFP_NORETRY"), "PAGE_ALLOC", "PAGE_FREE"),
    ],
)
def test_a_failed_allocation_is_freed_at_once(
    tmp_path: Path, event: str, op: str, free: str
) -> None:
    """The model may succeed where the kernel failed, and must not keep what it got."""
    made = import_lines(tmp_path, [line(event), line(cache_alloc("0a"))])

    assert [(op, 1), (free, 1), ("OBJ_ALLOC", 2)] == made.brief()
    assert 1 == made.category("failed")


def test_frees_of_nothing_are_no_events(tmp_path: Path) -> None:
    """``kfree(NULL)`` does nothing."""
    made = import_lines(tmp_path, [line(kfree(NULL)), line(kfree("(nil)"))])

    assert [] == made.events
    assert 2 == made.category("null_free")


def test_a_free_of_what_came_before_frees_what_the_prelude_allocated(tmp_path: Path) -> None:
    """Objects and pages; a kmalloc's size is known from what its call site freed before."""
    made = import_lines(
        tmp_path,
        [
            line(cache_alloc("0a")),
            line(cache_free("0b")),
            line(kmalloc("0c", 60, 64)),
            line(kfree("0c")),
            line(kfree("0d")),
            line(page_free(0x77)),
            line(page_free(0x5000, 2)),
            line(cache_free("0a")),
        ],
    )

    allocated = {row.handle: (row.op, row.arg) for row in made.prelude if row.handle}
    older = [row.handle for row in made.events if row.handle in allocated]
    assert [
        ("OBJ_ALLOC", made.header.caches[0].id),
        ("KMALLOC", 64),
        ("PAGE_ALLOC", 0),
        ("PAGE_ALLOC", 2),
    ] == [allocated[handle] for handle in older]
    assert set(allocated) == set(older)
    assert 4 == made.category("older_than_trace")


def test_a_free_of_which_nothing_is_known_is_dropped_and_counted(tmp_path: Path) -> None:
    """A kfree from a place that never freed anything of known size."""
    made = import_lines(tmp_path, [line(kfree("0d", site="unknown+0x1/0x2"))])

    assert [] == made.events
    assert (1, 1) == (made.category("older_than_trace"), made.left_out)


def test_a_free_that_cannot_be_is_told_by_its_line(tmp_path: Path) -> None:
    """A second kfree of an address that was not allocated in between, as far as is known."""
    free = kfree("0d", site="unknown+0x1/0x2")
    made = import_lines(tmp_path, ["# head", line(free), "", line(cache_alloc("0a")), line(free)])

    assert 1 == made.category("unmatched")
    assert [(5, "12.000345 kfree of 0xd from unknown+0x1/0x2")] == made.report.first_strays


def test_after_events_were_lost_a_free_that_cannot_be_is_laid_to_that(tmp_path: Path) -> None:
    """Its allocation was among them; nothing is learnt about bulk allocation either."""
    frees = [line(kfree("0d", site="unknown+0x1/0x2")), line(cache_free("0b"))]
    lines = [line(cache_alloc("0a")), *frees, "CPU:0 [LOST 17 EVENTS]", *frees]
    made = import_lines(tmp_path, lines)

    assert [("OBJ_ALLOC", 1)] == [(op, handle) for op, handle in made.brief() if handle > 0]
    assert (2, 0, 0) == tuple(made.category(name) for name in ("lost", "bulk", "unmatched"))


def test_objects_of_bulk_allocation_are_dropped(tmp_path: Path) -> None:
    """An address freed twice without an allocation: it has no tracepoint."""
    made = import_lines(
        tmp_path, [line(cache_alloc("0a")), *[line(cache_free("0b")) for _ in range(3)]]
    )

    assert [("OBJ_ALLOC", 1)] == made.brief()
    assert 3 == made.category("bulk")


def test_an_address_that_comes_back_without_a_free_is_freed_first(tmp_path: Path) -> None:
    """The free was not traced, but must have been."""
    made = import_lines(
        tmp_path,
        [
            line(cache_alloc("0a")),
            line(cache_alloc("0a")),
            line(page_alloc(0x77)),
            line(page_alloc(0x77)),
        ],
    )

    assert [
        ("OBJ_ALLOC", 1),
        ("OBJ_FREE", 1),
        ("OBJ_ALLOC", 2),
        ("PAGE_ALLOC", 3),
        ("PAGE_FREE", 3),
        ("PAGE_ALLOC", 4),
    ] == [(op, handle) for op, handle in made.brief() if handle > 0]
    assert (2, 2) == (made.category("free_unseen"), made.category("never_freed"))


def test_a_slabs_page_does_not_count_twice(tmp_path: Path) -> None:
    """The page SLUB took for an object, and gave back behind it, is the model's own affair."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x77, 0, SLAB_GFP)),
            line(cache_alloc("0a")),
            line(cache_free("0a")),
            line(kfree(NULL, site="__free_slab+0x82/0x1a0")),
            line(page_free(0x77)),
        ],
    )

    assert [("OBJ_ALLOC", 2), ("OBJ_FREE", 2)] == made.brief()
    assert 2 == made.category("slab_internal")


def test_the_vector_of_memory_cgroups_may_stand_between_page_and_object(tmp_path: Path) -> None:
    """SLUB allocates it for the new slab, and a slab for the vector if need be."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x77, 0, SLAB_GFP)),
            line(page_alloc(0x78, 0, SLAB_GFP)),
            line(kmalloc("0b", 500, 512, "GFP_KERNEL|__GFP_ZERO")),
            line(cache_alloc("0a")),
        ],
    )

    assert ["KMALLOC", "OBJ_ALLOC"] == [op for op, _ in made.brief()]
    assert 2 == made.category("slab_internal")


def test_what_another_task_does_decides_nothing(tmp_path: Path) -> None:
    """The object must be the same task's; what came between keeps its place behind the page."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x77, 0, SLAB_GFP)),
            line(cache_alloc("0a"), task="other-8"),
            line(cache_alloc("0b"), flags="..s1."),
            line(page_free(0x99), task="other-8"),
            line(page_free(0x77)),
        ],
    )

    first = made.events[0].handle
    assert [("PAGE_ALLOC", 0), ("OBJ_ALLOC", 1), ("OBJ_ALLOC", 2)] == [
        (row.op, row.handle - first) for row in made.events[:3]
    ]
    assert ("PAGE_FREE", first) == (made.events[4].op, made.events[4].handle)
    assert 0 == made.category("slab_internal")


def test_a_page_that_looks_like_a_slabs_is_a_users_if_no_object_follows(tmp_path: Path) -> None:
    """The task frees something instead, or the trace ends."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x77, 0, SLAB_GFP)),
            line(kfree(NULL)),
            line(page_alloc(0x78, 0, SLAB_GFP)),
        ],
    )

    assert [("PAGE_ALLOC", 1), ("PAGE_ALLOC", 2)] == made.brief()


def test_failed_attempts_to_grow_a_slab_are_the_slabs(tmp_path: Path) -> None:
    """The best order failed, then the least one: the model will make its own attempts."""
    best = "__GFP_IO|__GFP_FS|__GFP_NOWARN|__GFP_NORETRY|__GFP_COMP|__GFP_NOMEMALLOC"
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0, 1, best)),
            line(page_alloc(0x77, 0, "GFP_KERNEL")),
            line(cache_alloc("0a", size=512)),
        ],
        cpus=2,
    )

    assert [("OBJ_ALLOC", 3)] == made.brief()
    assert 2 == made.category("slab_internal")


def test_a_plain_page_before_an_object_is_no_slabs_without_a_failure_before(
    tmp_path: Path,
) -> None:
    """GFP_KERNEL is what everybody asks with."""
    made = import_lines(
        tmp_path, [line(page_alloc(0x77, 0, "GFP_KERNEL")), line(cache_alloc("0a", size=512))]
    )

    assert ["PAGE_ALLOC", "OBJ_ALLOC"] == [op for op, _ in made.brief()]


def test_a_large_kmalloc_is_one_allocation(tmp_path: Path) -> None:
    """The kernel prints it as a page and as a kmalloc, and its free as a kfree and as a page."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x5000, 3, "GFP_KERNEL|__GFP_COMP")),
            line(kmalloc("0a", 20000, 32768)),
            line(kfree("0a")),
            line(page_free(0x5000, 3)),
        ],
    )

    assert [("KMALLOC", 2), ("OBJ_FREE", 2)] == made.brief()
    assert 20000 == made.events[0].arg


def test_batched_frees_are_the_same_frees_again(tmp_path: Path) -> None:
    """``mm_page_free`` has been printed for each of them."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x77)),
            line(page_free(0x77)),
            line("mm_page_free_batched: page=00000000197ea6a0 pfn=0x77 order=0"),
        ],
    )

    assert [("PAGE_ALLOC", 1), ("PAGE_FREE", 1)] == made.brief()
    assert 1 == made.category("printed_twice")


def test_a_page_that_compaction_frees_lives_on_elsewhere(tmp_path: Path) -> None:
    """Its content was copied to a page taken unseen, whose free frees the same handle."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x77)),
            line(page_free(0x77), task="kcompactd0-33"),
            line(page_free(0x88), task="kcompactd0-33"),
            line(page_free(0x99)),
        ],
    )

    assert [("PAGE_ALLOC", 1), ("PAGE_FREE", 1)] == made.brief()
    assert 2 == made.category("moved")


def test_a_block_that_was_split_is_freed_with_its_last_part(tmp_path: Path) -> None:
    """The model frees a block whole; its parts come in any order."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x40, 2, "GFP_KERNEL")),
            line(page_free(0x41)),
            line(page_free(0x40)),
            line(page_free(0x43)),
            line(page_alloc(0x90)),
            line(page_free(0x42)),
        ],
    )

    assert [("PAGE_ALLOC", 1), ("PAGE_ALLOC", 2), ("PAGE_FREE", 1)] == made.brief()


def test_contexts_and_masks_reach_the_events(tmp_path: Path) -> None:
    """Reclaim that began before the trace counts too: a file is read twice."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x77, 0, "GFP_ATOMIC|__GFP_MEMALLOC"), flags="..s1."),
            line(page_alloc(0x78), task="kswapd0-44"),
            line(page_alloc(0x79), task="early-9"),
            line("mm_vmscan_direct_reclaim_end: nr_reclaimed=1", task="early-9"),
            line(page_alloc(0x7A), task="early-9"),
            line("mm_vmscan_direct_reclaim_begin: order=0 gfp_flags=GFP_KERNEL"),
            line(page_alloc(0x7B)),
        ],
    )

    assert [CTX_SOFTIRQ, CTX_PF_MEMALLOC, CTX_PF_MEMALLOC, 0, CTX_PF_MEMALLOC] == [
        row.ctx for row in made.events if row.op != "MIN_FREE"
    ]
    assert encode("GFP_ATOMIC|__GFP_MEMALLOC", "v6.1") == made.events[0].gfp
    assert 2 == made.category("context")


def at(seconds: str, event: str, task: str = "kswapd0-44") -> str:
    """A line at another time."""
    return line(event, task=task).replace("12.000345", seconds)


WAKE = "mm_vmscan_kswapd_wake: nid=0 order=0"
SLEEP = "mm_vmscan_kswapd_sleep: nid=0"


def kswapd_in(made: Imported) -> list[tuple[float, int]]:
    """When kswapd begins (1) and ends (0) its work, in seconds."""
    told = [e for e in made.events if e.op == "MIN_FREE"]
    assert {(0, -1, CTX_PF_MEMALLOC)} >= {(e.handle, e.node, e.ctx) for e in told}
    assert sorted(e.ts_ns for e in made.events) == [e.ts_ns for e in made.events]
    assert len(told) == made.report.written["events that tell of kswapd's work"]
    return [(e.ts_ns / 10**9, e.arg) for e in told]


@pytest.mark.parametrize(
    ("whole", "found"),
    [(True, [(13.0, 1), (13.2, 0), (14.0, 0)]), (False, [(13.0, 1), (14.0, 0)])],
)
def test_kswapds_rounds_reach_the_model(
    tmp_path: Path, whole: bool, found: list[tuple[float, int]]
) -> None:
    """The model's kswapd never runs. A round is over when it was last seen in it.

    Only a trace read whole tells when that was; the next wake or sleep comes much later.
    """
    lines = [
        at("12.000000", page_alloc(0x77), "app-7"),
        at("13.000000", WAKE),
        at("13.200000", page_alloc(0x78)),
        at("13.500000", page_alloc(0x79), "app-7"),
        at("14.000000", SLEEP),
    ]

    assert found == kswapd_in(import_lines(tmp_path, lines, whole=whole))


def test_kswapd_was_at_work_already_if_it_is_seen_before_it_wakes(tmp_path: Path) -> None:
    """Then the trace begins in the middle of a round."""
    lines = [
        at("12.000000", page_alloc(0x77)),
        at("12.100000", page_alloc(0x78), "app-7"),
        at("13.000000", SLEEP),
        at("13.500000", page_alloc(0x79)),
    ]

    made = import_lines(tmp_path, lines, whole=True)

    assert [(12.0, 1), (12.0, 0), (13.0, 0)] == kswapd_in(made)


def emptying(*left_on_lists: int) -> list[str]:
    """Direct reclaims that got nothing; before each, so many pages go to the lists for good."""
    lines = []
    pfn = 0x100
    for pages in left_on_lists:
        for _ in range(pages):
            pfn += 1
            zone_locked = f"mm_page_alloc_zone_locked: page=0a pfn=0x{pfn:x} order=0 migratetype=0"
            lines.append(line(f"{zone_locked} percpu_refill=1"))
        lines += [
            line("mm_vmscan_direct_reclaim_begin: order=0 gfp_flags=GFP_KERNEL"),
            line("mm_page_alloc_zone_locked: page=0a pfn=0x90 order=0 migratetype=0", task="b-8"),
            line("mm_vmscan_direct_reclaim_end: nr_reclaimed=1"),
            line("mm_page_pcpu_drain: page=0a pfn=0x90 order=0 migratetype=0"),
            line(page_alloc(0x80)),
            line(page_free(0x80)),
        ]
    return lines


def test_frees_of_what_bulk_allocation_took_free_nothing(tmp_path: Path) -> None:
    """What emptying all lists leaves on them by the events was taken from them unseen.

    The first emptying shows what was there before; what the next two agree on counts.
    """
    strangers = [line(page_free(0x1000 + i)) for i in range(5)]

    made = import_lines(tmp_path, emptying(0, 3, 0) + strangers)
    unsure = import_lines(tmp_path, emptying(7, 3) + strangers)

    assert (3, 2) == (made.category("bulk"), made.category("older_than_trace"))
    assert (0, 5) == (unsure.category("bulk"), unsure.category("older_than_trace"))


def test_kswapd_is_known_by_its_pid_when_its_name_is_forgotten(tmp_path: Path) -> None:
    """The kernel prints ``<...>`` then; kswapd's own events say whose pid it is, too."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x77), task="<...>-44"),
            line("mm_vmscan_kswapd_wake: nid=0 order=0", task="<...>-44"),
            line(page_alloc(0x78), task="<...>-44"),
            line(page_alloc(0x79), task="kswapd1-45"),
            line(page_alloc(0x7A), task="<...>-45"),
        ],
    )

    assert [0, *[CTX_PF_MEMALLOC] * 3] == [row.ctx for row in made.events if row.op != "MIN_FREE"]


def test_a_free_of_what_kmalloc_gave_for_no_bytes_is_a_free_of_nothing(tmp_path: Path) -> None:
    """kmalloc(0) gives ZERO_SIZE_PTR, unseen."""
    made = import_lines(tmp_path, [line(page_alloc(0x77)), line(kfree("0x10"))])

    assert 1 == made.category("null_free")


def test_direct_compaction_is_the_tasks_own(tmp_path: Path) -> None:
    """It has PF_MEMALLOC meanwhile, and what it frees has moved."""
    made = import_lines(
        tmp_path,
        [
            line(page_alloc(0x77)),
            line("mm_compaction_begin: zone_start=0x1 migrate_pfn=0x1 mode=async"),
            line(page_free(0x77)),
            line(kmalloc("0a")),
            line("mm_compaction_end: zone_start=0x1 mode=async status=success"),
            line(kmalloc("0b")),
        ],
    )

    assert [0, CTX_PF_MEMALLOC, 0] == [row.ctx for row in made.events]
    assert (1, 2) == (made.category("moved"), made.category("context"))


def test_a_cpu_or_node_that_the_machine_does_not_have_is_folded_and_told(tmp_path: Path) -> None:
    """The event must not be lost, and the header's machine cannot be broken."""
    text = kmalloc("0a").replace("node=-1", "node=3")
    made = import_lines(tmp_path, [line(text, cpu=5)], cpus=2)

    assert (1, -1) == (made.events[0].cpu, made.events[0].node)
    assert 2 == made.report.guesses
