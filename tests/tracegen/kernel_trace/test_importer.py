"""Whole imports: the sample, pipes, and inputs that are not what they should be."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import threading
from bisect import bisect_left
from collections import Counter
from pathlib import Path

import pytest

from allocator.machine import Machine
from allocator.revision import parse_variant
from tests.tracegen.kernel_trace.fakes import (
    DATA,
    SAMPLE_FREE,
    Imported,
    cache_alloc,
    cache_free,
    free_readings,
    import_lines,
    imported,
    kfree,
    kmalloc,
    line,
    options,
    page_alloc,
    sample,
    sample_lines,
    unpacked,
    write_lines,
)
from tests.tracegen.kernel_trace.test_lines import TEXTS
from tracegen.batch import Batch, EventBatch, HeaderBatch, check
from tracegen.kernel_trace.importer import (
    GuessedError,
    Importer,
    ImportFailedError,
    InterruptedImportError,
)
from tracegen.kernel_trace.report import CATEGORIES
from tracegen.samples import FREE_PAGES, PROC, TRACE

FREES = {"OBJ_FREE", "PAGE_FREE"}
DIP_OVER_NS = 74_970_000_000
"""Then udpsink wakes up and frees what it had let pile up."""


@pytest.fixture(scope="module")
def whole() -> Imported:
    """The sample, imported as the demo does it."""
    return sample()


def test_each_event_of_the_sample_is_in_one_category(whole: Imported) -> None:
    """For each name the categories add up to the events that a search finds."""
    expected = Counter(
        match[1] for text in sample_lines() if (match := re.search(r" [\d.]+: (\w+): ", text))
    )

    found = {name: sum(counts.values()) for name, counts in whole.report.by_event().items()}

    assert expected == {name: count for name, count in found.items() if count}
    assert 44_000 == whole.report.events == sum(whole.report.by_category().values())


def test_the_samples_categories_are_these(whole: Imported) -> None:
    """What an independent count of the sample's addresses says, and what follows from it."""
    by_event = whole.report.by_event()
    failed = Counter(
        match[1]
        for text in sample_lines()
        if (match := re.search(r": (\w+): .*(?:ptr=|page=)0{16} .*gfp_flags=", text))
    )

    assert 56 == failed["kmem_cache_alloc"] == by_event["kmem_cache_alloc"]["failed"]
    assert 678 == failed["mm_page_alloc"]
    # Of 678 attempts at a page that failed, 112 were SLUB's for an object of its own.
    assert 566 == by_event["mm_page_alloc"]["failed"]
    assert 1370 == by_event["kfree"]["null_free"]
    assert {"printed_twice": 1027} == by_event["mm_page_free_batched"]
    assert by_event["kmem_cache_alloc"]["paired"] == by_event["kmem_cache_free"]["paired"]
    assert by_event["kmalloc"]["paired"] == by_event["kfree"]["paired"]
    assert (0, 14) == (whole.category("unmatched"), whole.left_out)


def test_no_handle_is_freed_or_given_twice(whole: Imported) -> None:
    """Each is allocated once, freed at most once, and not before."""
    given: set[int] = set()
    live: set[int] = set()
    for row in whole.prelude + whole.events:
        if row.op in FREES:
            live.remove(row.handle)
        elif row.handle:
            assert row.handle not in given
            given.add(row.handle)
            live.add(row.handle)

    set_up = sum(1 for row in whole.prelude if row.handle and row.op not in FREES)
    set_up -= sum(1 for row in whole.prelude if row.op in FREES)
    freed = whole.category("older_than_trace") - whole.left_out
    assert whole.category("never_freed") + set_up - freed == len(live)


def test_every_event_suits_the_header() -> None:
    """The batches are such as a daemon takes."""
    batches: list[Batch] = []
    Importer(str(TRACE), options(proc=PROC, free_pages=SAMPLE_FREE), batches.append).run()

    first, *rest = batches
    assert isinstance(first, HeaderBatch)
    for batch in rest:
        assert isinstance(batch, EventBatch)
        check(batch, first.header)
    assert list(range(1, len(batches) + 1)) == [batch.seq for batch in batches]
    assert ("v6.1", ("the trace begins",)) == (first.header.gfp, first.header.labels)


def test_the_same_input_makes_the_same_trace(whole: Imported) -> None:
    """Nothing depends on the time or on the order of a hash."""
    assert whole.records == sample().records


@pytest.mark.parametrize("variant", ["slab-seed", "slub-seed", "slub-v6.1"])
def test_the_model_begins_where_the_machine_stood_and_draws_the_reserve(
    whole: Imported, variant: str
) -> None:
    """Held against what was recorded beside the trace: free pages every 25 ms.

    The kernel fell to 340 free pages in all, the sum of its zones' min being 511. The
    model stays within 175 pages of it until the dip is over.
    """
    header = whole.header
    machine = Machine(header.machine, parse_variant(variant), header.caches, header.gfp)
    records = whole.records
    at = len(whole.prelude) * 32
    machine.apply(records[:at])
    begin = machine.stats()
    distances = []
    times = [row.ts_ns for row in whole.events]
    for seconds, dma_free, dma32_free in free_readings():
        ts_ns = round(seconds * 1e9)
        until = 32 * (len(whole.prelude) + bisect_left(times, ts_ns))
        machine.apply(records[at:until])
        at = until
        if times[0] < ts_ns < DIP_OVER_NS:
            free = sum(zone.free_pages for zone in machine.stats().zones)
            distances.append(free - dma_free - dma32_free)
    machine.apply(records[at:])
    end = machine.stats()

    dma, dma32 = begin.zones
    assert (28, 483) == (dma.min_pages, dma32.min_pages)
    assert 277 <= dma.free_pages <= 278
    # How many pages its slabs take the model sees for itself.
    assert 566 - 32 <= dma32.free_pages <= 566 + 32
    assert set() == {count.result for count in begin.outcomes} - {"ok"}
    assert 175 > max(abs(distance) for distance in distances)
    assert end.zones[1].lowest_free_pages < 483 // 2
    assert 0 < sum(count.count for count in end.outcomes if count.path == "reserve")
    assert 0 < sum(count.count for count in end.outcomes if count.result == "denied")
    assert (0, 0) == (end.unknown_frees, end.reused_handles)


def test_a_pipe_is_imported_in_one_reading(tmp_path: Path, whole: Imported) -> None:
    """Less is known, but nothing is lost: the same events in the same categories' total."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = unpacked(TRACE).encode()
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    made = imported(path, options(proc=PROC, free_pages=SAMPLE_FREE))
    writer.join()

    assert 44_000 == made.report.events
    assert whole.category("paired") == made.category("paired")
    assert 0 == made.category("unmatched")
    assert made.category("older_than_trace") > made.left_out > whole.left_out
    caches = {cache.name for cache in made.header.caches}
    assert {"skbuff_head_cache", "unnamed-64"} <= caches


def test_a_live_pipe_is_not_kept_waiting(tmp_path: Path) -> None:
    """What has been read is written before the next line comes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    written: queue.Queue[Batch] = queue.Queue()
    reader = threading.Thread(target=Importer(str(path), options(), written.put).run)
    reader.start()
    with path.open("w") as pipe:
        pipe.write(line(cache_alloc("0a")) + "\n")
        pipe.flush()
        batches = [written.get(timeout=30) for _ in range(3)]
        pipe.write(line(cache_free("0a")) + "\n")
    reader.join()

    assert [1, 2, 3] == [batch.seq for batch in batches]
    assert isinstance(batches[2], EventBatch)
    assert 1 == batches[2].events


@pytest.mark.parametrize("name", TEXTS)
def test_what_every_tool_prints_is_imported_whole(name: str) -> None:
    """Each event is in one category; the machine's size is taken from the pages that appear."""
    made = imported(DATA / f"{name}.txt.xz", options())

    assert (TEXTS[name][1], 0) == (made.report.events, made.report.bad_lines)
    assert made.report.events == sum(made.report.by_category().values())
    assert made.report.form.startswith(TEXTS[name][0])
    assert made.header.machine.nodes[0][1] % 0x4000 == 0
    assert made.header.machine.cpus in {1, 2}


def test_a_pipe_may_be_read_to_its_end_first(tmp_path: Path, whole: Imported) -> None:
    """Then as much is known as of a file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(unpacked(TRACE).encode(),))
    writer.start()
    made = imported(path, options(proc=PROC, free_pages=SAMPLE_FREE, whole=True))
    writer.join()

    assert whole.records == made.records


def test_a_file_may_be_imported_as_if_it_were_live(whole: Imported) -> None:
    """For trying out what a pipe would give."""
    made = sample(whole=False)

    assert whole.report.events == made.report.events
    assert made.left_out > whole.left_out


def test_an_interruption_ends_a_pipe_but_spoils_a_file(tmp_path: Path) -> None:
    """What came through a pipe is whole; half a file is not."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    batches: list[Batch] = []
    interrupted = threading.Event()

    def write(batch: Batch) -> None:
        batches.append(batch)
        if isinstance(batch, EventBatch) and len(batches) > 2:
            interrupted.set()

    importer = Importer(str(path), options(), write, interrupted=interrupted.is_set)
    reader = threading.Thread(target=importer.run)
    reader.start()
    with path.open("w") as pipe:
        pipe.write(line(cache_alloc("0a")) + "\n")
        pipe.flush()
        reader.join()

    assert (3, 1) == (len(batches), importer.report.events)
    with pytest.raises(InterruptedImportError, match="interrupted while reading"):
        Importer(str(TRACE), options(), batches.append, interrupted=lambda: True).run()


def test_a_live_trace_waits_only_so_long(tmp_path: Path) -> None:
    """A page that nothing follows in its task goes on when others are a second further."""
    path = write_lines(
        tmp_path / "trace",
        [
            line(page_alloc(0x77, 0, "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY"), task="waits-3"),
            line(kmalloc("0a")).replace("12.0", "13.1"),
        ],
    )
    made = imported(path, options(cpus=1, whole=False))

    assert ["PAGE_ALLOC", "KMALLOC"] == [row.op for row in made.events]
    assert 1 == made.report.guesses


def test_caches_may_be_known_by_the_allocation_itself() -> None:
    """Linux 6.18 names them, so nothing is left to guess but the machine."""
    made = imported(DATA / "linux-6.18" / "trace.txt.xz", options())

    assert 0 == made.report.guesses
    assert 0 < made.report.inferred["cache named by the event"]


def test_slab_of_3_x_is_known_by_its_tunables(tmp_path: Path) -> None:
    """There a slab's page is asked for with the object's own mask (``kmem_getpages``).

    The lines are made up from Linux 3.3's ``include/trace/events/kmem.h``, slabinfo from its
    ``mm/slab.c``.
    """
    proc = tmp_path / "proc"
    shutil.copytree(PROC, proc)
    (proc / "proc_slabinfo").write_text(
        "slabinfo - version: 2.1\n# name ...\n"
        "things  10 15 256 15 1 : tunables 120 60 8 : slabdata 1 1 0\n"
    )
    site = "call_site=ffffffff8117e0d5"
    lines = [
        "mm_page_alloc: page=ffffea0000001dc0 pfn=119 order=0 migratetype=0 gfp_flags=GFP_KERNEL",
        f"kmem_cache_alloc: {site} ptr=a00 bytes_req=256 bytes_alloc=256 gfp_flags=GFP_KERNEL",
        f"kmem_cache_free: {site} ptr=a00",
        "mm_page_free: page=ffffea0000001dc0 pfn=119 order=0",
    ]
    made = import_lines(tmp_path, [line(text) for text in lines], proc=proc)

    assert ["OBJ_ALLOC", "OBJ_FREE"] == [row.op for row in made.events]
    assert 2 == made.category("slab_internal")


def test_lines_that_are_none_are_dropped_and_told(tmp_path: Path) -> None:
    """The first few with number, text and expectation; the rest is imported."""
    made = import_lines(
        tmp_path, [*(f"[  1.0] console {n}" for n in range(9)), line(cache_alloc("0a"))]
    )

    assert ["OBJ_ALLOC"] == [row.op for row in made.events]
    assert 9 == made.report.bad_lines
    assert (1, "[  1.0] console 0") == made.report.first_bad[0][:2]
    assert 5 == len(made.report.first_bad)
    assert "line 5: '[  1.0] console 4', expected COMM-PID" in made.report.text()


def test_strict_stops_at_a_line_that_is_none(tmp_path: Path) -> None:
    """Its number, the line, and what was expected."""
    with pytest.raises(ImportFailedError, match=r"^line 2: 'oops', expected COMM-PID") as caught:
        import_lines(tmp_path, [line(cache_alloc("0a")), "oops"], strict=True)

    assert 2 == caught.value.exit_code


def test_strict_refuses_a_guess(tmp_path: Path) -> None:
    """Here an object that is never freed, so that only its size names its cache."""
    with pytest.raises(GuessedError, match="1 x cache named by size alone") as caught:
        import_lines(tmp_path, [line(cache_alloc("0a"))], strict=True)

    assert 1 == caught.value.exit_code


def test_strict_lets_pass_what_is_certain(tmp_path: Path) -> None:
    """A trace with nothing to guess."""
    made = import_lines(
        tmp_path, [line(cache_alloc("0a")), line(cache_free("0a"))], strict=True, cpus=1
    )

    assert 2 == len(made.events)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no event in its 0 lines, expected a kernel trace$"),
        (b"# tracer: nop\n#\n", "has no event in its 2 lines"),
        (b"hello\n", "line 1 is 'hello', expected COMM-PID"),
        (bytes(range(256)) * 100, "has no event"),
    ],
)
def test_an_input_without_an_event_is_an_error(
    tmp_path: Path, content: bytes, message: str
) -> None:
    """Empty, only comments, another text, junk."""
    path = tmp_path / "trace"
    path.write_bytes(content)

    with pytest.raises(ImportFailedError, match=message):
        imported(path, options())


@pytest.mark.parametrize(
    ("free", "message"),
    [
        ({(0, "Normal"): 1}, "no zone 0/Normal, expected one of 0/DMA, 0/DMA32"),
        ({(0, "DMA"): 3841}, "zone DMA of node 0 has 3840 pages, expected no more"),
    ],
)
def test_free_pages_must_fit_the_machine(
    tmp_path: Path, free: dict[tuple[int, str], int], message: str
) -> None:
    """A zone that is not there, more than there is."""
    with pytest.raises(ImportFailedError, match=message):
        import_lines(tmp_path, [line(cache_alloc("0a"))], proc=PROC, free_pages=free)


def test_flags_make_a_machine(tmp_path: Path) -> None:
    """Size, cpus, reserve, and what was free."""
    made = import_lines(
        tmp_path,
        [line(page_alloc(0x77))],
        mem_pages=320 * 256,
        cpus=2,
        min_free_kbytes=2048,
        free_pages={(0, "DMA"): 100, (0, "DMA32"): 600},
    )

    machine = made.header.machine
    assert (2, 2048, ((0, 81920),)) == (machine.cpus, machine.min_free_kbytes, machine.nodes)
    used = sum(1 << row.arg for row in made.prelude if row.op == "PAGE_ALLOC")
    assert 81920 - 700 == used


def test_the_report_can_be_read_by_programs(whole: Imported) -> None:
    """Categories, by event, inferred, guessed, dropped, written."""
    report = json.loads(whole.report.to_json())

    assert list(CATEGORIES) == list(report["categories"])
    assert (44012, 44000) == (report["lines"], report["events"])
    assert 270 == report["inferred"]["PF_MEMALLOC, because kswapd asked"]
    assert 523 == report["inferred"]["PF_MEMALLOC, because the task was in direct reclaim"]
    assert 0 == report["dropped"]["lines"]
    assert [len(whole.prelude), len(whole.events) - 33, 33] == list(report["written"].values())


def test_lost_events_are_a_guess(tmp_path: Path) -> None:
    """What follows a gap may be paired wrongly."""
    made = import_lines(tmp_path, ["CPU:1 [LOST 7 EVENTS]", line(kmalloc("0a")), line(kfree("0a"))])

    assert (1, 7) == (made.report.lost_markers, made.report.lost_events)
    assert 1 == made.report.guesses


def test_much_behind_an_undecided_page_decides_it(tmp_path: Path) -> None:
    """What waits is bounded: the page is then a user's, and that is told."""
    waits = line(page_alloc(0x77, 0, "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY"), task="waits-3")
    later = page_alloc(0x78, 0, "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY")
    lines = [waits]
    for number in range(20_000):
        lines += [line(kmalloc(f"{number + 1:x}"), task="busy-4")]
    lines += [line(later, task="also-5")]
    path = write_lines(tmp_path / "trace", lines)

    made = imported(path, options(cpus=1, whole=False))

    assert ("PAGE_ALLOC", 20_002) == (made.events[0].op, len(made.events))
    assert 2 == made.report.guesses


def test_sample_constants_are_those_of_the_recording(whole: Imported) -> None:
    """Free pages: the last reading before the sample's first event."""
    first = whole.events[0].ts_ns / 1e9
    before = [reading for reading in free_readings() if reading[0] < first]

    assert f"DMA={before[-1][1]},DMA32={before[-1][2]}" == FREE_PAGES
