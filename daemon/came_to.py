"""What an event came to, in words and in JSON."""

from __future__ import annotations

from typing import Final

from allocator import outcome as o
from allocator.effect import ACTIVATED, DEACTIVATED, MARKED, WRONGLY
from allocator.story import Story
from daemon.summary import Json

SENTENCES: Final = {
    o.PAGE_PCP: "a page of the cpu's own list; the zone is above low",
    o.PAGE_ABOVE_LOW: "pages of a zone above low: the fast path",
    o.PAGE_ABOVE_MIN: "pages of a zone above min: the slow path",
    o.PAGE_BELOW_MIN: "pages below min, by the caller's discounts",
    o.PAGE_OOM: "pages below min, by what an OOM victim may have",
    o.PAGE_RESERVE: "pages of the reserve, without regard to watermarks",
    o.OBJ_ARRAY_HIT: "an object of the cpu's array",
    o.OBJ_ARRAY_SWAP: "an object from further down in the cpu's array, for the top one is tagged",
    o.OBJ_REFILL: "an object, after the cpu's array was refilled",
    o.OBJ_FORCED_REFILL: "an object, after a slab was grown because the array gave none",
    o.OBJ_GROW: "an object of a slab grown for it",
    o.OBJ_NODE: "an object straight from the node's slabs",
    o.OBJ_FALLBACK: "an object of another node, or of pages from anywhere",
    o.OBJ_RESERVE_SLAB: "an object of a flagged slab, for an entitled caller",
    o.OBJ_CPU_FREELIST: "an object of the cpu slab: the fast path",
    o.OBJ_CPU_SLAB: "an object of the cpu slab that others had freed",
    o.OBJ_CPU_PARTIAL: "an object of a slab of the cpu's partial list",
    o.OBJ_NODE_PARTIAL: "an object of a slab of a node's partial list",
    o.OBJ_NEW_SLAB: "an object of a new slab",
    o.OBJ_LARGE: "pages straight from the page allocator, the size being large",
    o.OBJ_ZERO_SIZE: "ZERO_SIZE_PTR, which is nothing",
    o.DENIED_WATERMARK: "no zone has free pages enough for what this caller may take",
    o.DENIED_PRESERVED: "reserve objects are free and kept for entitled callers; there is nothing"
    " else",
    o.DENIED_GROWTH: "no free object, and no page for a slab",
    o.DENIED_ORDER: "no block is that large",
    o.DENIED_NO_ZONE: "no zone suits the mask",
    o.DENIED_NO_CACHE: "no cache serves that size",
    o.STALLED_RECLAIM: "the kernel would wait in direct reclaim and try again",
    o.STALLED_OOM: "the kernel would call the OOM killer and try again",
    o.STALLED_NOFAIL: "the kernel would try until it succeeds: __GFP_NOFAIL",
}
"""Each outcome in a sentence."""

_EFFECTS: Final = (
    (MARKED, "reserve_drawn", "reserve drawn"),
    (ACTIVATED, "activated", "pfmemalloc_active to 1"),
    (DEACTIVATED, "deactivated", "pfmemalloc_active to 0"),
    (WRONGLY, "wrongly", "with flagged slabs left"),
)


def result_of(outcome: int) -> tuple[str | None, str | None]:
    """(Result, path or reason); (None, None) for an event that allocates nothing."""
    return o.OUTCOME_NAMES[outcome] if outcome else (None, None)


def came_to_text(story: Story) -> str:
    """``ok, array_hit, leaked by wrong_cache``; what else happened follows."""
    result, path = result_of(story.outcome)
    parts = [] if result is None else [f"{result}, {path}"]
    parts += [f"leaked by {way}" for way in dict.fromkeys(story.leaks)]
    parts += effect_texts(story.effects)
    return ", ".join(parts) or "done"


def effect_texts(effects: int) -> list[str]:
    """What else an event did to the reserve."""
    return [text for bit, _, text in _EFFECTS if effects & bit]


def came_to_json(story: Story) -> Json:
    """Result, path, leaks and effects."""
    result, path = result_of(story.outcome)
    return {
        "result": result,
        "path": path,
        "leaked_by": list(dict.fromkeys(story.leaks)),
        **{name: bool(story.effects & bit) for bit, name, _ in _EFFECTS},
    }
