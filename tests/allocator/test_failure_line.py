"""Failure lines of every era are read, and judged as the model's own page allocators judge."""

from __future__ import annotations

import pytest

from allocator.config import MachineConfig
from allocator.failure_line import (
    KERNELS,
    FailureLine,
    mask_text,
    parse_line,
    parse_zones,
    read_cache,
    verdict,
    zone_tests,
)
from allocator.gfp import FLAVOURS, decode, encode
from allocator.linux3.page_alloc import Linux3PageAllocator
from allocator.linux3.watermark import discounted
from allocator.linux6.page_alloc import Linux6PageAllocator
from allocator.linux6.watermark import zone_watermark_fast
from allocator.machine import Machine
from allocator.revision import parse_variant
from tests.allocator.machines import CACHES

CONFIG = MachineConfig(cpus=1, cpu_node=(0,), nodes=((0, 8192),), zone_end_pfn=(0, 8192, 8192))

MASKS = (
    "GFP_KERNEL",
    "GFP_ATOMIC",
    "GFP_NOWAIT",
    "GFP_NOIO|__GFP_HIGH",
    "GFP_ATOMIC|__GFP_NOMEMALLOC",
    "GFP_NOWAIT|__GFP_NOMEMALLOC",
    "GFP_USER|__GFP_NORETRY",
)


def line_of(text: str, kernel: str | None = None) -> FailureLine:
    """A line that is one."""
    line = parse_line(text, kernel)
    assert line is not None
    return line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "swapper: page allocation failure. order:1, mode:0x20",
            ("page", "swapper", 1, 0x20, "v3.3", "GFP_ATOMIC"),
        ),
        (
            "[12345.678901] swapper: page allocation failure: order:0, mode:0x20",
            ("page", "swapper", 0, 0x20, "v3.3", "GFP_ATOMIC"),
        ),
        (
            "kworker/u:2: page allocation failure: order:0, mode:0x2020",
            ("page", "kworker/u:2", 0, 0x2020, "v3.6", "GFP_ATOMIC|__GFP_MEMALLOC"),
        ),
        (
            "irq/19-eth0: page allocation failure: order:0, mode:0x2080020",
            (
                *("page", "irq/19-eth0", 0, 0x2080020, "v4.4"),
                "__GFP_HIGH|__GFP_ATOMIC|__GFP_KSWAPD_RECLAIM",
            ),
        ),
        (
            (
                "java: page allocation failure: order:4, mode:0x26040d0(GFP_TEMPORARY|__GFP_COMP|"
                "__GFP_NOTRACK)"
            ),
            ("page", "java", 4, 0x26040D0, "v6.1", "GFP_TEMPORARY|__GFP_COMP|__GFP_NOTRACK"),
        ),
        (
            (
                "<4>[  96.361323][    C0] ksoftirqd/0: page allocation failure: order:0,"
                " mode:0xa20(GFP_ATOMIC), nodemask=(null),cpuset=/,mems_allowed=0"
            ),
            ("page", "ksoftirqd/0", 0, 0xA20, "v6.1", "GFP_ATOMIC"),
        ),
        (
            (
                "Nov 24 10:00:00 blade7 kernel: [   77.1] java: page allocation stalls for 10004ms,"
                " order:0, mode:0x14200ca(GFP_HIGHUSER_MOVABLE), nodemask=(null)"
            ),
            ("stall", "java", 0, 0x14200CA, "v6.1", "GFP_HIGHUSER_MOVABLE"),
        ),
        (
            "SLUB: Unable to allocate memory on node -1 (gfp=0x20)",
            ("slub", "", 0, 0x20, "v3.3", "GFP_ATOMIC"),
        ),
        (
            "SLAB: Unable to allocate memory on node 1, gfp=0x2088020(GFP_ATOMIC|__GFP_ZERO)",
            ("slab", "", 0, 0x2088020, "v6.1", "GFP_ATOMIC|__GFP_ZERO"),
        ),
        (
            "Web Content invoked oom-killer: gfp_mask=0x201da, order=0, oom_score_adj=0",
            ("oom", "Web Content", 0, 0x201DA, "v3.3", "GFP_HIGHUSER_MOVABLE|__GFP_COLD"),
        ),
        (
            (
                "tcpsend invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), nodemask=(null), order=0,"
                " oom_score_adj=0"
            ),
            ("oom", "tcpsend", 0, 0xCC0, "v6.1", "GFP_KERNEL"),
        ),
    ],
)
def test_lines_of_every_era_are_read(text: str, told: tuple[object, ...]) -> None:
    """Form, task, order, mask, whose numbers, and the mask spelled."""
    line = line_of(text)

    assert told == (
        line.form,
        line.comm,
        line.order,
        line.mode,
        line.kernel,
        mask_text(line),
    )
    assert [] == line.unknown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "page allocation failure",
        "swapper: page allocation failure: order:0",
        "EXT4-fs (vda1): mounted filesystem",
        "SLUB: Unable to allocate memory",
    ],
)
def test_other_lines_are_none(text: str) -> None:
    """A line about something else is not one, nor is a cut one."""
    assert parse_line(text) is None


@pytest.mark.parametrize("revision", ["seed", "v3.6"])
@pytest.mark.parametrize("mask", MASKS)
def test_discounts_are_those_of_the_3x_model(revision: str, mask: str) -> None:
    """What is left of min is what gfp_to_alloc_flags and zone_watermark_ok leave of it."""
    machine = Machine(CONFIG, parse_variant(f"slab-{revision}"), CACHES)
    pages = machine.pages
    assert isinstance(pages, Linux3PageAllocator)
    flavour = f"v3.{3 if revision == 'seed' else 6}"
    mode = encode(mask, flavour)

    line = line_of(f"x: page allocation failure: order:0, mode:{mode:#x}", flavour)

    for mark in (1000, 483, 29):
        wanted = discounted(mark, pages.gfp_to_alloc_flags(mode))
        assert wanted == line.needed_of(mark)


@pytest.mark.parametrize("mask", MASKS)
def test_discounts_are_those_of_the_6_1_model(mask: str) -> None:
    """One page more than what is left of min passes, exactly that many do not."""
    machine = Machine(CONFIG, parse_variant("slub-v6.1"), CACHES)
    pages = machine.pages
    assert isinstance(pages, Linux6PageAllocator)
    mode = encode(mask, "v6.1")
    zone = pages.zones[0]
    flags = pages.gfp_to_alloc_flags(mode, 0)

    line = line_of(f"x: page allocation failure: order:0, mode:{mode:#x}({mask})")

    passed = []
    for more in (0, 1):
        zone.free_pages = line.needed_of(int(zone.wmark_min)) + more
        passed.append(zone_watermark_fast(pages.mem, zone, 0, 2, flags, mode))
    assert [False, True] == passed


@pytest.mark.parametrize("flavour", ["v3.3", "v3.6", "v6.1"])
def test_a_spelled_mask_reads_as_its_numbers_do(flavour: str) -> None:
    """Composites are taken apart to the flags that the number has."""
    for mask in (*MASKS, "GFP_HIGHUSER_MOVABLE|__GFP_COMP", "GFP_KERNEL|__GFP_DMA32"):
        mode = encode(mask, flavour)
        by_number = line_of(f"x: page allocation failure: order:0, mode:{mode:#x}", flavour)
        assert decode(mode, flavour) == mask_text(by_number)
        if flavour == "v6.1":
            by_name = line_of(f"x: page allocation failure: order:0, mode:{mode:#x}({mask})")
            assert sorted(set(by_name.flags)) == sorted(by_number.flags)


def test_unknown_bits_and_names_are_told() -> None:
    """What nobody knows is kept, not dropped."""
    number = line_of("x: page allocation failure: order:0, mode:0x40000020", "v3.3")
    name = line_of("x: page allocation failure: order:0, mode:0x1(GFP_KERNEL|__GFP_NEWEST)")

    assert ["0x40000000"] == number.unknown
    assert ["__GFP_NEWEST"] == name.unknown


@pytest.mark.parametrize(
    ("text", "topic", "words"),
    [
        ("a: page allocation failure: order:2, mode:0x20", "asked", "4 contiguous pages (16 KiB"),
        ("a: page allocation failure: order:0, mode:0x21", "zones", "zone DMA only"),
        ("a: page allocation failure: order:0, mode:0x24", "zones", "DMA32 and DMA"),
        ("a: page allocation failure: order:0, mode:0x200da", "zones", "any zone"),
        ("a: page allocation failure: order:0, mode:0x412d0", "zones", "of one node"),
        ("a: page allocation failure: order:0, mode:0x20", "waiting", "may not sleep"),
        ("a: page allocation failure: order:0, mode:0x10d0", "waiting", "__GFP_NORETRY"),
        ("a: page allocation failure: order:4, mode:0xd0", "waiting", "more than 8 pages"),
        ("a: page allocation failure: order:0, mode:0xd0", "waiting", "PF_MEMALLOC"),
        ("a invoked oom-killer: gfp_mask=0xd0, order=0", "waiting", "until the OOM killer"),
        ("a: page allocation failure: order:0, mode:0x20", "watermark", "3/8 of min"),
        ("a: page allocation failure: order:0, mode:0x4000", "watermark", "3/4 of min"),
        ("a: page allocation failure: order:0, mode:0xf0", "watermark", "half of min"),
        ("a: page allocation failure: order:0, mode:0xd0", "watermark", "in full"),
        ("a: page allocation failure: order:0, mode:0x2020", "reserve", "__GFP_MEMALLOC"),
        ("a: page allocation failure: order:0, mode:0x10020", "reserve", "__GFP_NOMEMALLOC"),
        ("kswapd0: page allocation failure: order:0, mode:0x20", "reserve", "kswapd runs with"),
        ("a: page allocation failure: order:0, mode:0x20", "reserve", "unless its task had"),
        ("a: page allocation failure: order:0, mode:0x2020", "so", "the reserve was dry"),
        ("a: page allocation failure: order:3, mode:0x2020", "so", "no free block"),
        ("a: page allocation failure: order:0, mode:0x20", "so", "at most 3/8 of min"),
        ("a: page allocation failure: order:1, mode:0x20", "so", "no free block large enough"),
        (
            "a: page allocation stalls for 10004ms, order:0, mode:0xcc0(GFP_KERNEL)",
            "so",
            "for 10004 ms already",
        ),
    ],
)
def test_verdict_says_it_to_an_operator(text: str, topic: str, words: str) -> None:
    """What it may use, what it needed, and what follows."""
    assert words in dict(verdict(line_of(text)))[topic]


MEM_INFO_3 = """\
Mem-Info:
Normal free:2644kB min:2896kB low:3620kB high:4344kB active_anon:0kB
lowmem_reserve[]: 0 0
Normal: 21*4kB 10*8kB 155*16kB 0*32kB 0*64kB 0*128kB 0*256kB = 2644kB
"""


def test_zones_of_the_log_are_tested_again() -> None:
    """An old single-zone machine: the pages against what the mask leaves of min, and blocks."""
    atomic = line_of("swapper: page allocation failure: order:3, mode:0x4020")
    (test,) = zone_tests(atomic, parse_zones(MEM_INFO_3.splitlines()))

    assert ("Normal", True, 661 - 7, 272, 0) == (
        test.zone.zone,
        test.allowed,
        test.free_pages,
        test.needed_pages,
        test.reserve_pages,
    )
    assert (True, False) == (test.enough, test.fits)


MEM_INFO_HIGHMEM = """\
DMA free:3532kB min:64kB low:80kB high:96kB
lowmem_reserve[]: 0 865 1000 1000
Normal free:3700kB min:3728kB low:4660kB high:5592kB
lowmem_reserve[]: 0 0 1082 1082
HighMem free:128kB min:128kB low:312kB high:500kB
lowmem_reserve[]: 0 0 0 0
"""


@pytest.mark.parametrize(
    ("mode", "allowed", "reserve"),
    [
        (0x20, [True, True, False], [865, 0, 0]),
        (0x21, [True, False, False], [0, 0, 0]),
        (0x2, [True, True, True], [1000, 1082, 0]),
        (0xA, [True, True, True], [1000, 1082, 0]),
    ],
)
def test_lowmem_reserve_is_that_of_the_request_s_class(
    mode: int, allowed: list[bool], reserve: list[int]
) -> None:
    """Which zones a mask may use on a 32-bit machine, and what they keep from it."""
    line = line_of(f"x: page allocation failure: order:0, mode:{mode:#x}", "v3.3")

    tests = zone_tests(line, parse_zones(MEM_INFO_HIGHMEM.splitlines()))

    assert allowed == [test.allowed for test in tests]
    assert reserve == [test.reserve_pages for test in tests]


def test_slab_line_takes_its_cache_from_the_next() -> None:
    """The cache and the smallest order stand in the line behind."""
    line = line_of("SLUB: Unable to allocate memory on node -1, gfp=0xa20(GFP_ATOMIC)")
    read_cache(
        line,
        "[   96.4]   cache: skbuff_head_cache, object size: 232, buffer size: 256, default order:"
        " 1, min order: 0",
    )

    assert ("skbuff_head_cache", 0) == (line.cache, line.order)
    assert "for skbuff_head_cache" in dict(verdict(line))["asked"]


def test_every_kernel_s_numbers_have_names() -> None:
    """Each bit of each numbering is known by name."""
    for kernel in KERNELS:
        for bit in range(32):
            line = line_of(f"x: page allocation failure: order:0, mode:{1 << bit:#x}", kernel)
            assert line.flags or line.unknown
        if kernel in FLAVOURS:
            for name, value in FLAVOURS[kernel].items():
                line = line_of(f"x: page allocation failure: order:0, mode:{value:#x}", kernel)
                assert [name] == line.flags
