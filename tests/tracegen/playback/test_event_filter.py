"""The language of --filter."""

from __future__ import annotations

import pytest

from allocator.config import CacheSpec, MachineConfig
from allocator.events import CTX_SOFTIRQ, KMALLOC, OBJ_ALLOC, PAGE_ALLOC
from allocator.gfp import encode
from tracegen.header import Header
from tracegen.playback.event_filter import EventFilter, FilterError, Row

MACHINE = MachineConfig(
    cpus=2, cpu_node=(0, 0), nodes=((0, 4096),), zone_end_pfn=(1024, 4096, 4096)
)
HEADER = Header(MACHINE, (CacheSpec(3, "dentry", 192),), "v6.1", "mono")
ATOMIC = encode("GFP_ATOMIC", "v6.1")


def row(op: int, arg: int, gfp: int = 0, cpu: int = 0, ctx: int = 0) -> Row:
    """An allocation."""
    return (0, 1, gfp, arg, cpu, -1, op, ctx, 0)


PAGE = row(PAGE_ALLOC, 2, gfp=ATOMIC, ctx=CTX_SOFTIRQ)
DENTRY = row(OBJ_ALLOC, 3, cpu=1)
SMALL = row(KMALLOC, 60)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("op == kmalloc", [SMALL]),
        ("op != kmalloc and not order >= 2", [DENTRY]),
        ("order == 2", [PAGE]),
        ("bytes > 64", [DENTRY]),
        ("bytes == 60 or cache == dentry", [DENTRY, SMALL]),
        ("cache == 'dentry'", [DENTRY]),
        ("dentry == cache", [DENTRY]),
        ("cpu == 1", [DENTRY]),
        ("gfp & __GFP_HIGH", [PAGE]),
        ("gfp == GFP_ATOMIC", [PAGE]),
        ("ctx & softirq", [PAGE]),
    ],
)
def test_it_decides_about_allocations(text: str, kept: list[Row]) -> None:
    """Fields, comparisons, and, or, not, bits."""
    keeps = EventFilter(text).bound(HEADER)

    assert kept == [each for each in (PAGE, DENTRY, SMALL) if keeps(each)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("op ==", "expected comparisons such as"),
        ("__import__('os').system('true')", "expected a comparison of one of op, order"),
        ("op == kmalloc == 1", "expected a comparison of one of"),
        ("order ** 9 > 1", "expected a comparison of one of"),
        ("ctx & (softirq | hardirq)", "expected a comparison of one of"),
        ("size > 3", "unknown name size, expected one of op, order, bytes"),
        ("gfp & __GFP_WAIT", "unknown name __GFP_WAIT"),
        ("x" * 1001, "1001 characters, expected 1000"),
        ("(" * 400 + "1" + ")" * 400, "expected comparisons such as"),
    ],
)
def test_what_is_no_filter_is_told(text: str, expected: str) -> None:
    """Nothing but the language is understood, and nothing is run."""
    with pytest.raises(FilterError, match=expected):
        EventFilter(text).bound(HEADER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("cache < 3", "cannot be compared so"), ("cache & 3", "& is for gfp and ctx")],
)
def test_what_does_not_suit_is_told_at_the_first_event(text: str, expected: str) -> None:
    """A name is no number."""
    with pytest.raises(FilterError, match=expected):
        EventFilter(text).bound(HEADER)(PAGE)
