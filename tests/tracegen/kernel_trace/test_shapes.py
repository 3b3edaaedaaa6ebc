"""The fields of events, as kernels of all eras print them.

The lines of 3.x to 5.x are made up from those kernels' TP_printk formats
(``include/trace/events/kmem.h`` of 3.2, 3.3, 4.9, 5.4, 5.15), the rest is as 6.1 and 6.18 print.
"""

from __future__ import annotations

import pytest

from allocator.gfp import encode
from tests.tracegen.kernel_trace.fakes import Brief, Reading, line
from tracegen.kernel_trace import shapes
from tracegen.kernel_trace.gfp_text import FLAVOUR
from tracegen.kernel_trace.shapes import OTHER_SITES

POINTER = 0xFFFF880012345678
PFN = 0x1DC0 // 64


def read(event: str, kernel: tuple[int, int] = (0, 0)) -> Brief:
    """What an event says, by the close look and again by the quick way."""
    text = line(event)
    reading = Reading(text, text, kernel=kernel)
    assert [] == reading.bad
    first, second = reading.brief()
    assert first == second
    return first


@pytest.mark.parametrize(
    ("kernel", "event", "site", "sizes", "gfp", "node", "name"),
    [
        (
            (3, 3),
            (
                "kmalloc: call_site=ffffffff8117e0d5 ptr=ffff880012345678 bytes_req=40"
                " bytes_alloc=64 gfp_flags=GFP_KERNEL|GFP_ZERO"
            ),
            *("ffffffff8117e0d5", (40, 64), "GFP_KERNEL|__GFP_ZERO", -1, ""),
        ),
        (
            (3, 3),
            (
                "kmem_cache_alloc_node: call_site=ffffffff8117e0d5 ptr=ffff880012345678"
                " bytes_req=40 bytes_alloc=64 gfp_flags=GFP_ATOMIC|GFP_NOWARN node=1"
            ),
            *("ffffffff8117e0d5", (40, 64), "GFP_ATOMIC|__GFP_NOWARN", 1, ""),
        ),
        (
            (5, 4),
            (
                "kmalloc_node: call_site=ffffffff8117e0d5 ptr=ffff880012345678 bytes_req=40"
                " bytes_alloc=64 gfp_flags=GFP_KERNEL_ACCOUNT|__GFP_NOWARN node=-1"
            ),
            *("ffffffff8117e0d5", (40, 64), "GFP_KERNEL_ACCOUNT|__GFP_NOWARN", -1, ""),
        ),
        (
            (5, 15),
            (
                "kmem_cache_alloc: call_site=f+0x1/0x2 [ext4] ptr=ffff880012345678 bytes_req=40"
                " bytes_alloc=48 gfp_flags=GFP_NOFS"
            ),
            *("f+0x1/0x2 [ext4]", (40, 48), "GFP_NOFS", -1, ""),
        ),
        (
            (6, 1),
            (
                "kmalloc: call_site=f+0x1/0x2 ptr=ffff880012345678 bytes_req=40 bytes_alloc=64"
                " gfp_flags=GFP_NOWAIT node=0 accounted=true"
            ),
            *("f+0x1/0x2", (40, 64), "GFP_NOWAIT", 0, ""),
        ),
        (
            (6, 18),
            (
                "kmem_cache_alloc: call_site=f+0x1/0x2 ptr=ffff880012345678 name=a cache"
                " bytes_req=40 bytes_alloc=48 gfp_flags=GFP_NOWAIT node=-1 accounted=false"
            ),
            *("f+0x1/0x2", (40, 48), "GFP_NOWAIT|__GFP_NOWARN", -1, "a cache"),
        ),
        (
            (6, 1),
            (
                "kmalloc:          (f+0x1) call_site=f+0x1 ptr=0xffff880012345678 bytes_req=40"
                " bytes_alloc=64 gfp_flags=GFP_KERNEL node=-1 accounted=false"
            ),
            *("f+0x1", (40, 64), "GFP_KERNEL", -1, ""),
        ),
        (
            (6, 1),
            (
                "kmem:kmalloc: call_site=f+0x1 ptr=0xffff880012345678 bytes_req=40 bytes_alloc=64"
                " gfp_flags=GFP_KERNEL node=-1 accounted=false"
            ),
            *("f+0x1", (40, 64), "GFP_KERNEL", -1, ""),
        ),
        (
            (6, 1),
            (
                "kmalloc: gfp_flags=0xdc0 call_site=f+0x1 bytes_alloc=64 bytes_req=40"
                " ptr=0xffff880012345678"
            ),
            *("f+0x1", (40, 64), "GFP_KERNEL|__GFP_ZERO", -1, ""),
        ),
    ],
)
def test_objects_allocated(
    kernel: tuple[int, int],
    event: str,
    site: str,
    sizes: tuple[int, int],
    gfp: str,
    node: int,
    name: str,
) -> None:
    """Call sites were numbers; the node had events of its own; the name came last of all."""
    found = read(event, kernel)

    assert POINTER == found.address
    assert (site, encode(gfp, FLAVOUR), node, 0, "", (site, *sizes, name)) == found.fields


@pytest.mark.parametrize(
    ("event", "site", "name"),
    [
        ("kfree: call_site=ffffffff8117e0d5 ptr=ffff880012345678", "ffffffff8117e0d5", ""),
        (
            "kmem_cache_free: call_site=ffffffff8117e0d5 ptr=ffff880012345678",
            "ffffffff8117e0d5",
            "",
        ),
        (
            "kmem_cache_free: call_site=f+0x1/0x2 ptr=ffff880012345678 name=filp",
            "f+0x1/0x2",
            "filp",
        ),
        ("kmem_cache_free: call_site=f+0x1/0x2 ptr=ffff880012345678 name=", "f+0x1/0x2", ""),
        ("kmem_cache_free: call_site=f ptr=ffff880012345678 name=a cache", "f", "a cache"),
    ],
)
def test_objects_freed(event: str, site: str, name: str) -> None:
    """The cache is named in 5.15, unless pointers are printed plainly."""
    found = read(event)

    assert POINTER == found.address
    assert (site, 0, -1, 0, name, None) == found.fields


@pytest.mark.parametrize(
    ("kernel", "event", "pfn", "order", "gfp"),
    [
        (
            (3, 3),
            (
                "mm_page_alloc: page=ffffea0000001dc0 pfn=119 order=2 migratetype=0"
                " gfp_flags=GFP_KERNEL|GFP_COMP"
            ),
            *(PFN, 2, "GFP_KERNEL|__GFP_COMP"),
        ),
        ((3, 2), "mm_page_free_direct: page=ffffea0000001dc0 pfn=119 order=2", PFN, 2, "none"),
        ((5, 4), "mm_page_free: page=00000000ccbdfc30 pfn=119 order=0", PFN, 0, "none"),
        ((6, 1), "mm_page_free: page=00000000ccbdfc30 pfn=0x77 order=0", PFN, 0, "none"),
        ((6, 1), "kmem:mm_page_free: page=0x77 pfn=0x77 order=0", PFN, 0, "none"),
        (
            (6, 1),
            "mm_page_alloc:         pfn=0x77 order=0 gfp_flags=0x140dca migratetype=1",
            *(PFN, 0, "GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO"),
        ),
        # What a tool prints that cannot compute page_to_pfn, from raw fields.
        (
            (4, 9),
            (
                "mm_page_alloc: [FAILED TO PARSE] page=0xffffea0000001dc0 order=0 "
                "gfp_flags=37748928 migratetype=0"
            ),
            *(PFN, 0, "GFP_KERNEL"),
        ),
    ],
)
def test_pages(kernel: tuple[int, int], event: str, pfn: int, order: int, gfp: str) -> None:
    """``pfn=`` was decimal, and tools may have had to do without it."""
    found = read(event, kernel)

    assert pfn == found.address
    assert (encode(gfp, FLAVOUR), order) == (found.fields[1], found.fields[3])


def test_a_pfn_computed_from_a_pointer_is_counted() -> None:
    """It holds on x86-64 without KASLR."""
    text = line("mm_page_free: page=0xffffea0000001dc0 order=0")
    reading = Reading(text, text)

    assert 2 == reading.text.shapes.pfn_from_pointer


@pytest.mark.parametrize(
    "event",
    [
        "kmalloc: call_site=f ptr=          (null) bytes_req=4 bytes_alloc=8 gfp_flags=GFP_ATOMIC",
        "kmalloc: call_site=f ptr=0000000000000000 bytes_req=4 bytes_alloc=8 gfp_flags=GFP_ATOMIC",
        "kmalloc: call_site=f ptr=(nil) bytes_req=4 bytes_alloc=8 gfp_flags=GFP_ATOMIC",
        "kmalloc: call_site=f ptr=0x0 bytes_req=4 bytes_alloc=8 gfp_flags=GFP_ATOMIC",
        (
            "mm_page_alloc: page=          (null) pfn=24189255811072 order=0 migratetype=0"
            " gfp_flags=GFP_ATOMIC"
        ),
        "mm_page_alloc: page=          (null) pfn=0 order=0 migratetype=0 gfp_flags=GFP_ATOMIC",
        "mm_page_alloc: page=0000000000000000 pfn=0x0 order=0 migratetype=0 gfp_flags=GFP_ATOMIC",
        "mm_page_alloc: page=(nil) pfn=0x0 order=0 migratetype=0 gfp_flags=GFP_ATOMIC",
        "mm_page_alloc:  pfn=0xffffffffffffffff order=0 gfp_flags=0xa20 migratetype=0",
    ],
)
def test_what_failed_has_no_address(event: str) -> None:
    """All the ways in which nothing has been printed; in 3.3 even a pfn for it."""
    found = read(event)

    assert (0, encode("GFP_ATOMIC", FLAVOUR)) == (found.address, found.fields[1])


def test_a_victim_is_named_by_its_pid() -> None:
    """Later kernels say more of it."""
    assert 2118 == read("mark_victim: pid=2118 comm=hog3 total-vm=1kB file-rss:3kB").address
    assert 2118 == read("mark_victim: pid=2118").address


@pytest.mark.incompatible_with_mypyc
def test_call_sites_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after them counts as one place for each size."""
    monkeypatch.setattr(shapes, "MAX_KEYS", 2)
    events = [
        f"kmalloc: call_site=f{n} ptr={n + 1:x} bytes_req=4 bytes_alloc=8 gfp_flags=GFP_ATOMIC"
        for n in range(5)
    ]

    sites = [key and key.site for key in (e[0].key for e in Reading(*map(line, events)).events)]

    assert ["f0", "f1", OTHER_SITES, OTHER_SITES, OTHER_SITES] == sites
