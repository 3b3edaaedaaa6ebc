"""Lines of text, whoever printed them, and the events that they are."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from allocator.gfp import encode
from tests.tracegen.kernel_trace.fakes import (
    Reading,
    cache_alloc,
    data_lines,
    kfree,
    line,
    page_alloc,
    sample_lines,
)
from tracegen.kernel_trace import lines
from tracegen.kernel_trace.kernel_event import OUTSIDE
from tracegen.kernel_trace.shapes import MAX_NAMES, OTHER_NAMES

TEXTS = {
    "tracefs-trace": ("ftrace", 841),
    "trace-cmd-show": ("ftrace", 142),
    "trace-cmd-report": ("ftrace", 841),
    "trace-cmd-report-t": ("ftrace", 841),
    "trace-cmd-report-R": ("ftrace", 841),
    "trace-cmd-report-l": ("ftrace, latency format", 841),
    "perf-script": ("perf script", 300),
    "perf-script-F-ns": ("perf script", 300),
    "linux-6.18/trace": ("ftrace", 1199),
    "linux-6.18/trace-no-irq-info": ("ftrace", 600),
    "linux-6.18/trace-record-tgid": ("ftrace", 600),
    "linux-6.18/trace-latency-format": ("ftrace, latency format", 603),
    "linux-6.18/trace-cmd-report": ("ftrace", 600),
    "linux-6.18/trace-cmd-report-t": ("ftrace", 600),
    "linux-6.18/trace-cmd-report-R": ("ftrace", 600),
    "linux-6.18/trace-cmd-report-l": ("ftrace, latency format", 600),
    "linux-6.18/perf-script": ("perf script", 800),
}
"""Recorded texts: how their lines are made up, and how many are events."""
WITHOUT_FLAGS = re.compile(r"perf|report(?!-l)|no-irq")


def test_every_event_of_the_sample_is_found_under_its_name() -> None:
    """The counts by name equal those of a search for the name in each line."""
    texts = sample_lines()
    expected = Counter(
        match[1] for text in texts if (match := re.search(r" \d+\.\d{6}: (\w+): ", text))
    )
    reading = Reading(*texts)

    found = Counter(event.name for event in reading.brief())

    assert [] == reading.bad
    assert expected == found
    assert 44_000 == len(reading.events)
    assert len(texts) == reading.text.lines


@pytest.mark.parametrize("name", TEXTS)
def test_recorded_texts_are_understood_whole(name: str) -> None:
    """Every line of every tool is an event or a comment; what tool it was is seen."""
    form, events = TEXTS[name]
    reading = Reading(*data_lines(name))

    assert [] == reading.bad
    assert events == len(reading.events)
    assert form == reading.text.form
    assert (WITHOUT_FLAGS.search(name) is None) == reading.text.has_flags
    assert {} == reading.text.shapes.gfp.unknown
    assert 0 == sum(event.name in {"", OTHER_NAMES} for event in reading.brief())


def test_the_tools_agree_on_what_happened() -> None:
    """The same 30 ms, as five ways of printing show them.

    trace-cmd report leaves out the flags and half of the call site, -l cuts the comm, -t
    has nanoseconds; pointers are raw there and hashed in tracefs, and the kernel names a mask's
    bits that -R shows as a number.
    """
    expected = Reading(*data_lines("tracefs-trace")).brief()

    for name in ("trace-cmd-report", "trace-cmd-report-t", "trace-cmd-report-R"):
        found = Reading(*data_lines(name)).brief()
        assert [(e.name, e.cpu, e.task[0], e.ts_ns) for e in expected] == [
            (e.name, e.cpu, e.task[0], round(e.ts_ns, -3)) for e in found
        ]
        assert [e.fields[1:5] for e in expected] == [e.fields[1:5] for e in found]
    latency = Reading(*data_lines("trace-cmd-report-l")).brief()
    assert [(e.name, e.task[1], e.ts_ns, e.interrupt) for e in expected] == [
        (e.name, e.task[1], e.ts_ns, e.interrupt) for e in latency
    ]


@pytest.mark.parametrize(
    "name", ["tracefs-trace", "linux-6.18/trace-cmd-report", "linux-6.18/perf-script"]
)
def test_the_quick_way_and_the_close_look_agree(name: str) -> None:
    """A line is read the same when its parts are new and when they are known."""
    texts = [text for text in data_lines(name) if not text.startswith(("#", "cpus="))]

    together = Reading(*texts, kernel=(6, 18)).brief()
    one_by_one = [Reading(text, kernel=(6, 18)).brief()[0] for text in texts]

    assert one_by_one == together


def test_the_number_of_cpus_is_taken_from_the_head() -> None:
    """Of tracefs, of trace-cmd, of perf script --header."""
    assert 2 == Reading("# entries-in-buffer/entries-written: 5/5   #P:2").text.cpus
    assert 3 == Reading("cpus=3").text.cpus
    assert 4 == Reading("# nrcpus online : 4").text.cpus


def test_the_kernel_is_taken_from_the_head() -> None:
    """Then numbers are read as that kernel's: 0x10 was __GFP_WAIT in 3.x."""
    reading = Reading(
        "# nop latency trace v1.1.5 on 3.3.8",
        line("mm_page_alloc: page=ffffea0000001dc0 pfn=119 order=0 migratetype=0 gfp_flags=0x10"),
    )

    assert [encode("GFP_NOIO", "v6.1")] == [event.fields[1] for event in reading.brief()]


@pytest.mark.parametrize(
    ("head", "task", "cpu", "interrupt", "ts_ns"),
    [
        ("kworker/0:1H-43      [000] .....    73.802362", ("kworker/0:1H", 43), 0, ".", 73802362),
        ("<idle>-0       [001] ..s1.    73.812541", ("<idle>", 0), 1, "s", 73812541),
        ("my app (x)-12  [011] d.h2.     1.000000", ("my app (x)", 0), 11, "h", 1000000),
        ("a-1-b-77       [000] .NH1.     0.000001", ("a-1-b", 0), 0, "H", 1),
        ("odd [7] one-9  [002] dNZ3.     2.500000", ("odd [7] one", 0), 2, "Z", 2500000),
        ("a: b-5         [000] ...1      2.500000", ("a: b", 5), 0, ".", 2500000),
        ("tgid-5   (   5) [000] .....    2.500000", ("tgid", 5), 0, ".", 2500000),
        ("notgid-5 (-----) [000] .....   2.500000", ("notgid", 5), 0, ".", 2500000),
        ("plain-5        [003]     2.500000", ("plain", 5), 3, "", 2500000),
        ("lazy-5         [003] .Ls1..     2.500000", ("lazy", 0), 3, "s", 2500000),
        ("cut-to-8-5     3d.s1.     2.500000", ("cut-to-8", 0), 3, "s", 2500000),
        ("late-5        12d.s1.  2500000us+", ("late", 0), 12, "s", 2500000),
        ("late-5        12d...1  2500000us ", ("late", 5), 12, ".", 2500000),
        ("perf   205 [001]     2.500000", ("perf", 205), 1, "", 2500000),
        ("a b 3  204/205  [001]     2.500000000", ("a b 3", 205), 1, "", 2500000),
        ("ticks-5        [003] .....  2500000000", ("ticks", 5), 3, ".", 2500000),
    ],
)
def test_odd_heads_are_read(
    head: str, task: tuple[str, int], cpu: int, interrupt: str, ts_ns: int
) -> None:
    """A comm may hold anything; flags may have four to six columns, or none; so the rest.

    An interrupt has the comm of the task that it interrupts, but is no part of it.
    """
    text = f"  {head}: {kfree('00000000b14e0915')}"
    reading = Reading(text, text)

    assert [] == reading.bad
    first, second = reading.brief()
    assert first == second
    assert ("kfree", ts_ns * 1000, task, cpu, interrupt, 0xB14E0915) == (
        *(first.name, first.ts_ns, first.task),
        *(first.cpu, first.interrupt, first.address),
    )


def test_the_buffer_of_an_instance_is_no_part_of_the_comm() -> None:
    """``trace-cmd report`` names the buffer before each line of an instance."""
    text = f"own:          kswapd0-44   [000] {line(kfree('0a')).partition('] ')[2]}"

    reading = Reading(text, text)

    assert [("kswapd0", 44)] * 2 == [event.task for event in reading.brief()]


@pytest.mark.parametrize(
    "text",
    [
        line("<stack trace>"),
        line("kfree <-consume_skb"),
        line("sys_openat(dfd: ffffff9c, filename: 7ffd)"),
        line("sys_openat -> 0x3"),
        line("tracing_mark_write: zones: node=0"),
        line("mm_vmscan_wakeup_kswapd: nid=0"),
        "   app   7 [000]    12.000345:          1      sched:sched_switch: prev_comm=a",
    ],
)
def test_events_that_say_nothing_to_the_model_are_events(text: str) -> None:
    """Other tracers and events may be on at the same time."""
    reading = Reading(text, text)

    assert [] == reading.bad
    assert [OUTSIDE, OUTSIDE] == [event[0].role for event in reading.events]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "# tracer: nop",
        "##### CPU 1 buffer started ####",
        " => kmem_cache_alloc",
        "\tffffffff8132f3e5 kmem_cache_alloc+0x2c5 ([kernel.kallsyms])",
        "version = 6",
        "CPU 1 is empty",
        "cpus=2",
    ],
)
def test_what_stands_between_events_is_passed_over(text: str) -> None:
    """Blank lines, comments, stack traces, what tools say first: neither events nor bad."""
    reading = Reading(line(kfree("01")), text, line(kfree("02")))

    assert ([], [1, 2]) == (reading.bad, [event.address for event in reading.brief()])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nonsense", "COMM-PID [CPU] FLAGS"),
        ("[  12.345] console output", "COMM-PID [CPU] FLAGS"),
        ("\x00\x01\x02", "COMM-PID [CPU] FLAGS"),
        (line("mm_page_free: page=00001 pfn=0x7"), "order= among the event's fields"),
        (line("mm_page_free: page=001 pfn=0x7 order=huge"), "a number as order=, not 'huge'"),
        (line("mm_page_free: page=001 pfn=0x7 order=64"), "a number from 0 to 63 as order="),
        (line("mm_page_free: order=0"), "pfn= or page= among the event's fields"),
        (line("mm_page_free: page=0000000012345678 order=0"), "pfn=, or the address of a page"),
        (line("kfree: call_site=f ptr"), "ptr= among the event's fields"),
        (line("kfree: call_site=f ptr=(____ptrval____)"), "an address as ptr="),
        (line(cache_alloc("0a").replace("bytes_alloc=64", "bytes_alloc=-1")), "bytes_alloc="),
        (line(cache_alloc("0a").replace("node=-1", "node=x")), "a number as node=, not 'x'"),
        (line("kfree")[:-4], "COMM-PID [CPU] FLAGS"),
        (line("kfree: call_site=f ptr=00000")[:40], "COMM-PID [CPU] FLAGS"),
        (line(kfree("1")).replace("12.000345", "9999999999.999999"), "a time below 2^63"),
        (line(kfree("1")).replace("12.000345", "9" * 5000), "COMM-PID [CPU] FLAGS"),
        (line(kfree("1")).replace("12.000345", "99999999999.000345"), "COMM-PID [CPU] FLAGS"),
        (line(kfree("1"), task="app-" + "7" * 5000), "COMM-PID [CPU] FLAGS"),
        (line(kfree("1")).replace("[000]", f"[{'0' * 5000}]"), "COMM-PID [CPU] FLAGS"),
        (line(kfree("1")).replace(".....", "..S1."), "COMM-PID [CPU] FLAGS"),
    ],
)
def test_a_line_that_is_no_event_is_told_with_what_was_expected(text: str, expected: str) -> None:
    """The number, the line and the expectation; what stands around it is read."""
    reading = Reading(line(kfree("01")), text, line(kfree("02")))

    ((number, told, why),) = reading.bad
    assert (2, text) == (number, told)
    assert expected in why
    assert [1, 2] == [event.address for event in reading.brief()]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("CPU:0 [LOST 1234 EVENTS]", 1234),
        ("CPU:1 [LOST EVENTS]", 0),
        ("CPU:0 [12 EVENTS DROPPED]", 12),
        ("CPU:3 [EVENTS DROPPED]", 0),
        ("  perf 205 [000] 67.84: PERF_RECORD_LOST lost 33", 33),
    ],
)
def test_lost_events_are_counted(text: str, count: int) -> None:
    """Kernel and tools mark where a buffer overran, with or without a number."""
    reading = Reading(text)

    assert [] == reading.bad
    assert (1, count) == (reading.text.lost_markers, reading.text.lost_events)


@pytest.mark.parametrize(
    "text",
    [
        f"#   #P:{'1' * 5000}",
        f"cpus={'1' * 5000}",
        f"# kernel on {'3' * 5000}.1",
        f"CPU:0 [LOST {'9' * 5000} EVENTS]",
        f"CPU:0 [{'9' * 5000} EVENTS DROPPED]",
    ],
)
def test_numbers_that_no_kernel_prints_are_not_taken(text: str) -> None:
    """In heads and markers, too: what is around them is read."""
    reading = Reading(text, line(kfree("01")))

    assert (0, 0) == (reading.text.cpus, reading.text.lost_events)
    assert [1] == [event.address for event in reading.brief()]


def test_the_names_of_other_events_are_bounded() -> None:
    """A trace of everything cannot make the table of names grow for ever."""
    reading = Reading(*(line(f"event_{number}: x=1") for number in range(2 * MAX_NAMES)))

    assert MAX_NAMES + 1 == len(reading.text.shapes.names)
    assert MAX_NAMES == sum(event.name == OTHER_NAMES for event in reading.brief())


@pytest.mark.incompatible_with_mypyc
def test_a_trace_of_endlessly_many_tasks_and_places_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tables begin anew; what a task was in the middle of is kept."""
    monkeypatch.setattr(lines, "MAX_REMEMBERED", 64)
    begin = line("mm_vmscan_direct_reclaim_begin: order=0 gfp_flags=GFP_KERNEL", task="stuck-1")
    reading = Reading(begin)
    reading.events[0][2].thread.reclaiming = True
    reading.text.events([line(kfree("1", site=f"s{n}"), task=f"t-{n + 2}") for n in range(500)])

    (event,) = reading.text.events([line(kfree("1"), task="stuck-1")])

    assert [] == reading.bad
    assert event[2].thread.reclaiming


@pytest.mark.parametrize(
    "junk",
    [
        "x" * 16000,
        "a" + " " * 16000 + "b",
        "- " * 8000,
        "1 " * 8000,
        "0....." * 2600,
        "a b-1 [00" * 1700,
        line("kmalloc: " + "ptr= " * 3000),
        line("kmem_cache_free: call_site=x ptr=0a name=" + " x" * 8000),
    ],
)
def test_junk_costs_no_more_than_text(junk: str) -> None:
    """No pattern takes quadratic time: a hundred such lines are read in passing."""
    reading = Reading(*[junk] * 100)

    assert 100 == len(reading.bad) + len(reading.events)


def test_the_same_text_around_an_address_is_read_once() -> None:
    """That is what makes it quick."""
    first, second = Reading(line(page_alloc(0x77)), line(page_alloc(0x78))).events

    assert first[0] is second[0]
    assert first[2] is second[2]
