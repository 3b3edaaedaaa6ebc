"""What SLAB's steps are called in a story (:mod:`allocator.story`)."""

from __future__ import annotations

from mypy_extensions import i64

from allocator.story import Story


def array_empty(story: Story, cache: str, cpu: i64) -> None:
    """``____cache_alloc`` found nothing in the cpu's array."""
    story.add("____cache_alloc", f"cpu {int(cpu)}'s array of {cache} is empty")


def force_refill(story: Story) -> None:
    """A5: the array gave nothing to this caller."""
    story.add("____cache_alloc", "nothing usable for this caller: force_refill", "A5")


def untagged(story: Story) -> None:
    """A4, first case."""
    story.add("ac_get_obj", "tagged, and the caller is entitled: handed out untagged", "A4")


def swapped(story: Story, index: i64) -> None:
    """A4, second case."""
    text = f"the top entry is tagged: swapped with the plain one at index {int(index)}"
    story.add("ac_get_obj", text, "A4")


def unflagged(story: Story, pfn: i64) -> None:
    """A4, third case."""
    text = (
        f"forced refill and a slab is free: slab {int(pfn)} is un-flagged (the page of s_mem"
        " only) and its object handed out"
    )
    story.add("ac_get_obj", text, "A4")


def refused(story: Story, searched: i64, cache: str, pfn: i64) -> None:
    """A4, last case."""
    text = (
        f"the {int(searched)} entries searched are tagged, the top one of slab {int(pfn)}; the"
        " caller is not entitled: refused"
    )
    story.add("ac_get_obj", text, "A4")
    story.concerns(cache, pfn)


def cleared(story: Story, cache: str, node: i64, remaining: i64) -> None:
    """A9: the global becomes false."""
    text = (
        f"no flagged slab of {cache} on node {int(node)}: pfmemalloc_active becomes false;"
        f" {int(remaining)} flagged slabs of others remain"
    )
    story.add("check_ac_pfmemalloc", text, "A9")


def forced_growth_failed(story: Story, avail: i64) -> None:
    """A6: none, even with objects in the array."""
    text = f"forced growth failed: none, though the array holds {int(avail)}"
    story.add("cache_alloc_refill", text, "A6")


def from_shared(story: Story, count: i64) -> None:
    """The array was filled from the node's shared array."""
    story.add("transfer_objects", f"{int(count)} objects from the node's shared array")


def from_slabs(story: Story, count: i64, tagged: i64) -> None:
    """The array was filled from slabs; A3 tags the reserve's objects."""
    text = f"{int(count)} objects from partial and free slabs, {int(tagged)} of them tagged"
    story.add("cache_alloc_refill", text, "A3" if tagged else "")


def from_node(story: Story, pfn: i64, index: i64, node: i64, flagged: bool) -> None:
    """The node path took an object; it does not look at the flag."""
    text = f"object {int(index)} of slab {int(pfn)} on node {int(node)}"
    if flagged:
        text += "; the slab is flagged, which is not looked at here"
    story.add("____cache_alloc_node", text)


def fallback(story: Story) -> None:
    """The node has nothing: any node may serve."""
    story.add("fallback_alloc", "objects of any node, then pages from anywhere")


def activated(story: Story) -> None:
    """A1: the first reserve pages make the global true."""
    text = "the pages are the reserve's: pfmemalloc_active becomes true"
    story.add("kmem_getpages", text, "A1")


def no_pages(story: Story, cache: str) -> None:
    """A slab could not be grown."""
    story.add("cache_grow", f"no pages for a slab of {cache}")


def grown(story: Story, cache: str, pfn: i64, num: i64, node: i64, flagged: bool) -> None:
    """A slab was grown; A1 flags it if its pages are the reserve's."""
    text = f"{cache} grows slab {int(pfn)} of {int(num)} objects on node {int(node)}"
    if flagged:
        text += ", flagged"
    story.add("cache_grow", text, "A1" if flagged else "")
