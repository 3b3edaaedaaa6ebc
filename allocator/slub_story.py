"""What SLUB's steps are called in a story (:mod:`allocator.story`), in every kernel modelled."""

from __future__ import annotations

from mypy_extensions import i64

from allocator.story import Story


def no_cpu_slab(story: Story, cache: str, cpu: i64) -> None:
    """``__slab_alloc`` begins with nothing."""
    story.add("__slab_alloc", f"cpu {int(cpu)} has no slab of {cache}")


def fast_path_looked(story: Story, pfn: i64) -> None:
    """U5: the fast path tests the flag and leaves the decision to the slow path."""
    text = f"cpu slab {int(pfn)} is flagged, the caller not entitled: not the fast path"
    story.add("slab_alloc", text, "U5")


def fast_path_blind(story: Story, pfn: i64) -> None:
    """The fast path hands out what is on the cpu's list."""
    text = f"cpu slab {int(pfn)} is flagged, which is not looked at here"
    story.add("slab_alloc", text)


def node_mismatch(story: Story, pfn: i64, node: i64) -> None:
    """``node_match`` failed."""
    story.add("__slab_alloc", f"cpu slab {int(pfn)} is not of node {int(node)}")


def mismatch(story: Story, cache: str, pfn: i64, where: str) -> None:
    """U3: ``pfmemalloc_match`` failed."""
    text = f"slab {int(pfn)}, {where}, is flagged and the caller not entitled: refused"
    story.add("pfmemalloc_match", text, "U3")
    story.concerns(cache, pfn)


def put_back(story: Story, pfn: i64) -> None:
    """U4: the refused cpu slab goes to its node, and another is looked for."""
    text = f"cpu slab {int(pfn)} goes back to its node; another is looked for"
    story.add("__slab_alloc", text, "U4")


def deactivated(story: Story, pfn: i64, objects: i64, place: str) -> None:
    """``deactivate_slab``."""
    free = f"with {int(objects)} free objects" if objects else "without a free object"
    story.add("deactivate_slab", f"slab {int(pfn)} {free} goes {place}")


def emptied(story: Story, pfn: i64) -> None:
    """``get_freelist`` found nothing that others freed."""
    text = f"cpu slab {int(pfn)} has no free object left and is let go"
    story.add("get_freelist", text)


def freed_by_others(story: Story, pfn: i64) -> None:
    """``get_freelist`` took over what others freed."""
    text = f"takes what others freed into cpu slab {int(pfn)}"
    story.add("get_freelist", text)


def from_cpu_partial(story: Story, pfn: i64, flagged: bool) -> None:
    """The next of the cpu's own partial slabs becomes the cpu slab."""
    text = f"slab {int(pfn)} of the cpu's partial list becomes the cpu slab"
    story.add("__slab_alloc", text + (", flagged" if flagged else ""))


def from_node_partial(story: Story, pfn: i64, node: i64, flagged: bool) -> None:
    """The first that will do of a node's partial slabs becomes the cpu slab."""
    text = f"slab {int(pfn)} of node {int(node)}'s partial list becomes the cpu slab"
    story.add("get_partial_node", text + (", flagged" if flagged else ""))


def no_partial(story: Story) -> None:
    """No node has a partial slab for this caller."""
    story.add("get_partial", "no node has a partial slab to give")


def smaller_order(story: Story, order: i64, min_order: i64) -> None:
    """``allocate_slab`` falls back to the smallest slab."""
    text = f"no pages of order {int(order)}: tries order {int(min_order)}"
    story.add("allocate_slab", text)


def no_pages(story: Story, cache: str) -> None:
    """A slab could not be had."""
    story.add("new_slab", f"no pages for a slab of {cache}")


def grown(story: Story, cache: str, pfn: i64, objects: i64, node: i64, flagged: bool) -> None:
    """A new slab; U1 flags it if its pages are the reserve's."""
    text = f"{cache} gets slab {int(pfn)} of {int(objects)} objects on node {int(node)}"
    if flagged:
        text += ", flagged: its pages are the reserve's"
    story.add("new_slab", text, "U1" if flagged else "")


def discarded(story: Story, pfn: i64, flagged: bool) -> None:
    """A slab goes back to the page allocator; U2 takes the flag."""
    text = f"slab {int(pfn)} goes back to the page allocator"
    if flagged:
        text += ", its flag with it"
    story.add("discard_slab", text, "U2" if flagged else "")
