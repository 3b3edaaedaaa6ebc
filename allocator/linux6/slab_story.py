"""What the steps of SLAB of Linux 6.1 are called in a story (:mod:`allocator.story`)."""

from __future__ import annotations

from mypy_extensions import i64

from allocator.story import Story


def array_empty(story: Story, cache: str, cpu: i64) -> None:
    """``____cache_alloc`` finds nothing."""
    story.add("____cache_alloc", f"cpu {int(cpu)}'s array of {cache} is empty")


def from_shared(story: Story, count: i64) -> None:
    """The array was filled from the node's shared array."""
    text = f"{int(count)} objects from the node's shared array, whose flags nobody looks at"
    story.add("transfer_objects", text)


def from_slabs(story: Story, count: i64) -> None:
    """The array was filled from slabs."""
    story.add("cache_alloc_refill", f"{int(count)} objects from partial and free slabs")


def skipped(story: Story, cache: str, pfn: i64) -> None:
    """A flagged slab was met by a search that is not for it."""
    text = f"slab {int(pfn)} is flagged: to the end of its list, and another is looked for"
    story.add("get_valid_first_slab", text)
    story.concerns(cache, pfn)


def unflagged(story: Story, cache: str, pfn: i64, free: i64, limit: i64) -> None:
    """The node has objects enough without the reserve."""
    text = f"slab {int(pfn)} loses its flag: {int(free)} free objects, the limit is {int(limit)}"
    story.add("get_valid_first_slab", text)
    story.concerns(cache, pfn)


def from_reserve(story: Story, pfn: i64, flagged: bool) -> None:
    """An entitled caller takes an object past the array."""
    text = f"the caller is entitled: an object of slab {int(pfn)}"
    story.add("cache_alloc_pfmemalloc", text + (", flagged" if flagged else ""))


def not_entitled(story: Story) -> None:
    """What flagged slabs have is kept from this caller."""
    story.add("cache_alloc_pfmemalloc", "the caller is not entitled to flagged slabs")


def from_node(story: Story, pfn: i64, index: i64, node: i64) -> None:
    """The node path took an object."""
    text = f"object {int(index)} of slab {int(pfn)} on node {int(node)}"
    story.add("____cache_alloc_node", text)


def fallback(story: Story) -> None:
    """The node has nothing: any node may serve."""
    story.add("fallback_alloc", "objects of any node, then pages from anywhere")


def no_pages(story: Story, cache: str) -> None:
    """A slab could not be grown."""
    story.add("cache_grow_begin", f"no pages for a slab of {cache}")


def grown(story: Story, cache: str, pfn: i64, num: i64, node: i64, flagged: bool) -> None:
    """A slab was grown, flagged if its page is the reserve's."""
    text = f"{cache} grows slab {int(pfn)} of {int(num)} objects on node {int(node)}"
    if flagged:
        text += ", flagged: its pages are the reserve's"
    story.add("cache_grow_begin", text)


def into_array(story: Story, count: i64, flagged: bool) -> None:
    """The new slab's objects fill the array."""
    text = f"{int(count)} of its objects go into the array"
    if flagged:
        text += ", where nobody looks at the flag"
    story.add("alloc_block", text)


def back_to_slab(story: Story, cache: str, pfn: i64) -> None:
    """A flagged slab's object was freed on its own node."""
    story.add("cache_free_pfmemalloc", f"the object goes straight back to flagged slab {int(pfn)}")
    story.concerns(cache, pfn)
