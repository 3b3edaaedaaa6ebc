"""What the page allocator's steps of Linux 6.1 are called in a story (:mod:`allocator.story`)."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from allocator.gfp import decode
from allocator.linux6.alloc_flags import (
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
)
from allocator.linux6.gfp import _GFP_HIGH, _GFP_MEMALLOC, _GFP_NOMEMALLOC
from allocator.outcome import OUTCOME_NAMES
from allocator.story import Story, alloc_flags_text
from allocator.task import Task
from allocator.zone import Zone

ALLOC_FLAG_NAMES_6: Final[dict[int, str]] = {
    0x04: "NO_WATERMARKS",
    0x08: "OOM",
    0x10: "NON_BLOCK",
    0x20: "MIN_RESERVE",
    0x40: "CPUSET",
    0x100: "NOFRAGMENT",
    0x200: "HIGHATOMIC",
    0x800: "KSWAPD",
}
_SLOW_PATH: Final = "__alloc_pages_slowpath"


def walk(story: Story, alloc_flags: i64) -> None:
    """A walk over the zonelist begins."""
    flags = alloc_flags_text(int(alloc_flags), ALLOC_FLAG_NAMES_6)
    story.add("get_page_from_freelist", f"walks the zonelist with {flags}")


def watermark(
    story: Story, zone: Zone, order: i64, mark: i64, reserve: i64, alloc_flags: i64, passed: bool
) -> None:
    """``zone_watermark_fast``: the arithmetic with its numbers (pages)."""
    free = int(zone.free_pages) - (1 << order) + 1
    least = int(mark)
    text = f"zone {zone.name}: {free} free"
    if order:
        text += f" beyond this order-{order} block"
    if not alloc_flags & ALLOC_RESERVES and zone.nr_reserved_highatomic > 0:
        free -= int(zone.nr_reserved_highatomic)
        text += f", {free} of them outside the highatomic blocks"
    if alloc_flags & ALLOC_MIN_RESERVE:
        least -= least // 2
        if alloc_flags & ALLOC_NON_BLOCK:
            least -= least // 4
    if alloc_flags & ALLOC_OOM:
        least -= least // 2
    text += f" {'>' if free > least + reserve else '<='} {least}"
    if least != mark:
        text += f" ({int(mark)} less the caller's discounts)"
    elif zone.watermark_boost > 0:
        text += f" ({int(zone.watermark_boost)} of it boost)"
    if reserve:
        text += f" + {int(reserve)} lowmem reserve"
    if not passed and free > least + reserve:
        text += ", but no block is large enough"
    if passed and free <= least + reserve:
        text += ", but the boost does not hold for atomic requests"
    text += ": passes" if passed else ": fails"
    if not passed and alloc_flags & ALLOC_NO_WATERMARKS:
        text += ", which is ignored"
    story.add("zone_watermark_fast", text)


def left_fragmentation_to_others(story: Story) -> None:
    """NOFRAGMENT found nothing in its node."""
    text = "nothing without mixing migrate types: once more without NOFRAGMENT"
    story.add("get_page_from_freelist", text)


def boosted(story: Story, zone: Zone) -> None:
    """Blocks of another type had to be taken, so kswapd is woken."""
    text = f"zone {zone.name}'s watermarks were boosted by {int(zone.watermark_boost)} pages"
    story.add("rmqueue", text + ": wakes kswapd")


def marked(story: Story, pfn: i64) -> None:
    """``set_page_pfmemalloc``."""
    text = f"page {int(pfn)} is marked pfmemalloc: ALLOC_NO_WATERMARKS was used"
    story.add("prep_new_page", text, "P3")


def alloc_flags_chosen(
    story: Story, current: Task, gfp_mask: i64, alloc_flags: i64, reserve_flags: i64
) -> None:
    """What the slow path lets this caller do, and why."""
    reasons: list[str] = []
    if alloc_flags & ALLOC_NON_BLOCK:
        reasons.append("cannot sleep")
    if gfp_mask & _GFP_HIGH:
        reasons.append("__GFP_HIGH")
    elif alloc_flags & ALLOC_MIN_RESERVE:
        reasons.append("real-time task")
    if current.pf_memalloc():
        reasons.append("PF_MEMALLOC")
    if current.memdie():
        reasons.append("OOM victim")
    if current.in_interrupt():
        reasons.append("in interrupt")
    if gfp_mask & _GFP_MEMALLOC:
        reasons.append("__GFP_MEMALLOC")
    if gfp_mask & _GFP_NOMEMALLOC:
        reasons.append("__GFP_NOMEMALLOC")
    text = alloc_flags_text(int(alloc_flags), ALLOC_FLAG_NAMES_6)
    text += f" for {decode(int(gfp_mask), 'v6.1')}"
    if reasons:
        text += f" ({', '.join(reasons)})"
    story.add("gfp_to_alloc_flags", text)
    if reserve_flags & ALLOC_NO_WATERMARKS:
        story.add("__gfp_pfmemalloc_flags", "entitled: may go without watermarks", "P1")
    elif reserve_flags & ALLOC_OOM:
        story.add("__gfp_pfmemalloc_flags", "an OOM victim: half of min, no more", "P1")


def refused(story: Story, why: str) -> None:
    """The slow path gives up."""
    story.add(_SLOW_PATH, f"nopage: {why}")


def gave_up_highatomic(story: Story, zone: Zone) -> None:
    """Before the OOM killer, a pageblock kept for atomic requests goes."""
    text = f"a HIGHATOMIC pageblock of zone {zone.name} is given up; tries again"
    story.add("unreserve_highatomic_pageblock", text)


def stalled(story: Story, why: i64) -> None:
    """The kernel would wait or loop."""
    reason = OUTCOME_NAMES[int(why)][1]
    story.add(_SLOW_PATH, f"the kernel would go round again ({reason}); here it ends")


def must_not_fail(story: Story, function: str, how: str) -> None:
    """``__GFP_NOFAIL`` gets more than others."""
    story.add(function, f"__GFP_NOFAIL: {how}")
