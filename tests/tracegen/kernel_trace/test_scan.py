"""The compiled way from bytes to events, which must find what the portable one finds."""

from __future__ import annotations

import pytest

from tests.tracegen.kernel_trace.fakes import (
    Brief,
    Reading,
    brief,
    cache_alloc,
    data_lines,
    kfree,
    line,
    page_alloc,
    page_free,
    sample_lines,
)
from tests.tracegen.kernel_trace.test_lines import TEXTS
from tracegen.kernel_trace.lines import TraceText
from tracegen.kernel_trace.scan import Scanner

RAW = "ff1100001f6b3400"


def scanned(*lines: str, end: str = "\n") -> tuple[TraceText, list[Brief], list[str]]:
    """Events and bad lines."""
    bad: list[str] = []
    text = TraceText(lambda _number, told, _expected: bad.append(told))
    data = ("\n".join(lines) + end).encode("utf-8", "surrogateescape")
    events = Scanner(text).events(data)
    return text, [brief(text, event) for event in events], bad


@pytest.mark.parametrize("name", TEXTS)
def test_recorded_texts_are_read_as_the_portable_way_reads_them(name: str) -> None:
    """Every event of every tool, and what is counted on the way."""
    lines = data_lines(name)
    expected = Reading(*lines)

    text, events, bad = scanned(*lines)

    assert expected.brief() == events
    assert [] == bad
    assert (expected.text.lines, expected.text.cpus, expected.text.form) == (
        *(text.lines, text.cpus, text.form),
    )


def test_part_of_the_sample_is_read_as_the_portable_way_reads_it() -> None:
    """All kinds of events, contexts, failures and modules."""
    lines = sample_lines()[:6000]

    assert Reading(*lines).brief() == scanned(*lines)[1]


@pytest.mark.parametrize(
    "text",
    [
        line(cache_alloc(RAW)),
        line(kfree("0" * 16)),
        line(kfree("(nil)")),
        line("kfree: call_site=ffffffff8132f3e5 ptr=          (null)"),
        line(kfree(RAW + "0")),
        line(kfree("xyz")),
        line(kfree("0x12ab")),
        line(page_alloc(0)),
        line(page_free(0x77)),
        line("mm_page_free: page=ffffea0000001dc0 pfn=119 order=0"),
        line("mm_page_free: page=ffffea0000001dc0 pfn=24189255811072 order=0"),
        line("mm_page_free: page=ffffea0000001dc0 pfn=0x7fffffffff order=0"),
        line("mm_page_free: page=ffffea0000001dc0 order=0"),
        line("mark_victim: pid=7 comm=hog"),
        line("mark_victim: pid=8 comm=hog"),
        line("kfree: call_site=f ptr"),
        line("kfree: call_site=f ptr="),
        line("kfree: "),
        line("kfree:"),
        line("kfree"),
        line(kfree("1")).replace("12.000345", "12.000345678"),
        line(kfree("1")).replace("12.000345", "12.0003"),
        line(kfree("1")).replace("12.000345", "12"),
        line(kfree("1")).replace("12.000345", "9" * 17 + ".000345"),
        line(kfree("1")).replace("app-7", "1.000000: x-7"),
        line("kmalloc: call_site=f+0x1/0x2 [ext4] ptr=0a bytes_req=1 bytes_alloc=8 gfp_flags="),
        "CPU:0 [LOST 3 EVENTS]",
        "junk",
        "",
        "\udcff\udcfe",
        ": ",
        " 1.000000: ",
        " 1.000000: x: ",
        "#",
    ],
)
def test_any_line_is_read_as_the_portable_way_reads_it(text: str) -> None:
    """When it is new, when it is known, and between others."""
    lines = [line(kfree("1")), text, line(cache_alloc("2")), text, text, line(kfree("3"))]
    expected = Reading(*lines)

    _, events, bad = scanned(*lines)

    assert expected.brief() == events
    assert len(expected.bad) == len(bad)


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("length", range(60, 110))
def test_a_text_may_end_anywhere(length: int, end: str) -> None:
    """No byte beyond the end is looked at."""
    known = line(kfree("0123456789abcdef"))
    page = line("mm_page_free: page=ffffea0000001dc0 pfn=0x1190 order=0")
    for text in (known, page):
        lines = [known, page, text[:length]]

        assert Reading(*lines).brief() == scanned(*lines, end=end)[1]
