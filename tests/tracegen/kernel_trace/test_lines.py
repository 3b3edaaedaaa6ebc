"""Lines of ftrace text, and the events that they are."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.tracegen.kernel_trace.fakes import kfree, line, sample_lines
from tracegen.kernel_trace.lines import (
    KFREE,
    KMALLOC,
    MARK_VICTIM,
    MAX_NAMES,
    OBJ_ALLOC,
    OBJ_FREE,
    OTHER_NAMES,
    OUTSIDE,
    PAGE_ALLOC,
    PAGE_FREE,
    Event,
    TraceText,
)


class Reading:
    """Events and bad lines of some lines."""

    def __init__(self, *lines: str) -> None:
        self.bad: list[tuple[int, str, str]] = []
        self.text = TraceText(lambda *bad: self.bad.append(bad))
        self.events: list[Event] = list(self.text.events([list(lines)]))


def test_every_event_of_the_sample_is_found_under_its_name() -> None:
    """The counts by name equal those of a search for the name in each line."""
    lines = sample_lines()
    expected = Counter(
        match[1] for text in lines if (match := re.search(r" \d+\.\d{6}: (\w+): ", text))
    )
    reading = Reading(*lines)

    found = Counter(reading.text.names[event[0]] for event in reading.events)

    assert [] == reading.bad
    assert expected == found
    assert 44_000 == len(reading.events)
    assert len(lines) == reading.text.lines


def test_the_number_of_cpus_is_taken_from_the_header() -> None:
    """``#P:2`` in the comment lines says how many cpus there are."""
    assert 2 == Reading("# entries-in-buffer/entries-written: 5/5   #P:2").text.cpus


def test_the_quick_way_and_the_slow_way_agree() -> None:
    """A line is read the same when its task, flags and cpu are new and when they are known."""
    lines = sample_lines()[12:1500]

    together = Reading(*lines).events
    one_by_one = [Reading(text).events[0] for text in lines]

    # Kinds outside the model are numbered in the order in which a reading meets them.
    assert [(min(event[0], OUTSIDE), *event[1:5]) for event in one_by_one] == [
        (min(event[0], OUTSIDE), *event[1:5]) for event in together
    ]
    inside = [event for event in together if event[0] in {OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC}]
    assert [e for e in one_by_one if e[0] in {OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC}] == inside


@pytest.mark.parametrize(
    ("head", "task", "cpu", "interrupt", "ts_ns"),
    [
        ("kworker/0:1H-43      [000] .....    73.802362", (43, "kworker/0:1H"), 0, ".", 73802362),
        ("<idle>-0       [001] ..s1.    73.812541", (0, "<idle>"), 1, "s", 73812541),
        ("my app (x)-12  [011] d.h2.     1.000000", (12, "my app (x)"), 11, "h", 1000000),
        ("a-1-b-77       [000] .NH1.     0.000001", (77, "a-1-b"), 0, "H", 1),
        ("odd [7] one-9  [002] dNZ3.     2.500000", (9, "odd [7] one"), 2, "Z", 2500000),
        ("a: b-5         [000] ...1      2.500000", (5, "a: b"), 0, ".", 2500000),
        ("tgid-5   (   5) [000] .....    2.500000", (5, "tgid"), 0, ".", 2500000),
        ("notgid-5 (-----) [000] .....   2.500000", (5, "notgid"), 0, ".", 2500000),
        ("plain-5        [003]     2.500000", (5, "plain"), 3, "", 2500000),
    ],
)
def test_odd_heads_are_read(
    head: str, task: tuple[int, str], cpu: int, interrupt: str, ts_ns: int
) -> None:
    """A comm may hold anything; flags may have four or five columns, or none; so the TGID."""
    text = f"  {head}: {kfree('00000000b14e0915')}"
    reading = Reading(text, text)

    expected = (KFREE, ts_ns * 1000, cpu, task, interrupt, ("k+0x1/0x2", "00000000b14e0915"))
    assert [] == reading.bad
    assert [expected, expected] == reading.events


@pytest.mark.parametrize(
    ("event", "kind", "fields"),
    [
        (
            (
                "kmem_cache_alloc: call_site=__es_insert_extent+0x192/0x360 [ext4]"
                " ptr=000000007c2363d9 bytes_req=40 bytes_alloc=48 gfp_flags=GFP_ATOMIC node=-1"
                " accounted=false"
            ),
            OBJ_ALLOC,
            (
                "__es_insert_extent+0x192/0x360 [ext4]",
                *("000000007c2363d9", "40", "48", "GFP_ATOMIC", "-1", None),
            ),
        ),
        (
            (
                "kmem_cache_alloc: call_site=f+0x1 name=things ptr=0xff11 bytes_req=40"
                " bytes_alloc=48 gfp_flags=GFP_ATOMIC node=-1 accounted=false"
            ),
            OBJ_ALLOC,
            ("f+0x1", "0xff11", "40", "48", "GFP_ATOMIC", "-1", "things"),
        ),
        (
            (
                "kmalloc_node: call_site=f+0x1 ptr=0xff11 bytes_req=40 bytes_alloc=64"
                " gfp_flags=GFP_KERNEL|GFP_ZERO node=1"
            ),
            KMALLOC,
            ("f+0x1", "0xff11", "40", "64", "GFP_KERNEL|GFP_ZERO", "1", None),
        ),
        (
            (
                "kmalloc:          (f+0x1) call_site=f+0x1 ptr=(nil) bytes_req=40 bytes_alloc=64"
                " gfp_flags=GFP_KERNEL"
            ),
            KMALLOC,
            ("f+0x1", "(nil)", "40", "64", "GFP_KERNEL", None, None),
        ),
        (
            "mm_page_alloc:         pfn=0x7a0 order=0 gfp_flags=0x140dca migratetype=1",
            PAGE_ALLOC,
            ("0x7a0", "0", "0x140dca"),
        ),
        ("mm_page_free: page=000000002f pfn=1951 order=3", PAGE_FREE, ("1951", "3")),
        (
            "mark_victim: pid=2118 comm=hog3 total-vm=1kB anon-rss=2kB file-rss:3kB",
            MARK_VICTIM,
            ("2118",),
        ),
        ("kmem:kfree: call_site=f+0x1 ptr=0xff11", KFREE, ("f+0x1", "0xff11")),
    ],
)
def test_fields_are_found_in_any_order(
    event: str, kind: int, fields: tuple[str | None, ...]
) -> None:
    """Kernels and tools order the fields differently, and some have fewer."""
    (found,) = Reading(line(event)).events

    assert kind == found[0]
    assert fields == found[5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nonsense", "COMM-PID [CPU] FLAGS"),
        ("\x00\x01\x02", "COMM-PID [CPU] FLAGS"),
        (line("mm_page_free: page=00 pfn=0x7"), "order= among the event's fields"),
        (line("mm_page_free: page=00 pfn=0x7 order=huge"), "a number as order=, not 'huge'"),
        (line("kfree: call_site=f ptr"), "ptr= among the event's fields"),
        (line("kfree")[:-4], "COMM-PID [CPU] FLAGS"),
        (line("kfree: call_site=f ptr=00000")[:40], "COMM-PID [CPU] FLAGS"),
    ],
)
def test_a_line_that_is_no_event_is_told_with_what_was_expected(text: str, expected: str) -> None:
    """The number, the line and the expectation; what stands around it is read."""
    reading = Reading(line(kfree("01")), text, line(kfree("02")))

    ((number, told, why),) = reading.bad
    assert (2, text) == (number, told)
    assert expected in why
    assert ["01", "02"] == [event[5][1] for event in reading.events]


def test_blank_lines_and_comments_are_neither_events_nor_bad() -> None:
    """Comments stand in the middle of a trace too (``##### CPU 1 buffer started ####``)."""
    reading = Reading("", "   ", "# tracer: nop", "##### CPU 1 buffer started ####")

    assert ([], []) == (reading.events, reading.bad)


def test_lost_events_are_counted() -> None:
    """The kernel marks where its buffer overran, with or without a number."""
    reading = Reading("CPU:0 [LOST 1234 EVENTS]", "CPU:1 [LOST EVENTS]")

    assert [] == reading.bad
    assert (2, 1234) == (reading.text.lost_markers, reading.text.lost_events)


def test_the_names_of_other_events_are_bounded() -> None:
    """A trace of everything cannot make the table of names grow for ever."""
    reading = Reading(*(line(f"event_{number}: x=1") for number in range(2 * MAX_NAMES)))

    kinds = Counter(event[0] for event in reading.events)
    assert MAX_NAMES + 1 == len(reading.text.names)
    assert OTHER_NAMES == reading.text.names[-1]
    assert 2 * MAX_NAMES == sum(kinds.values())
    assert min(kinds) == OUTSIDE
