"""Which kernel a model is: named behaviours, each cited to where it comes from.

A :class:`Revision` is a set of switches, not a version number: code asks for
the behaviour it needs (``if revision.ac_search_from_zero``), never for the year.
A :class:`Variant` is an allocator at a revision, written ``slab-seed``.

Sources: the seed is the revised patch 02/15 of 10 February 2012 on Linux 3.3;
``v3.6`` is Linux 3.6.0; ``v6.1`` is Linux 6.1.192 with Debian's backports. Hashes are
Linux commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LINUX_3: Final = 3
""":mod:`allocator.linux3`."""
LINUX_6: Final = 6
""":mod:`allocator.linux6`."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The behaviours in which the kernels differ. All False is Linux 3.3.

    The switches are between kernels that share their code; see ``linux``.
    """

    name: str
    gfp_flavour: str
    linux: int = LINUX_3
    """Which folder holds the code."""
    pfmemalloc: bool = False
    """The patch is in: pages are marked, SLAB and SLUB look (072bb0aa5e06)."""
    mark_slow_path: bool = False
    """P3 of the seed: every slow-path page of an ALLOC_PFMEMALLOC caller is marked,
    whatever watermark let it through. Without it, b37f1dd0f543's successor rule: only a
    page for which ALLOC_NO_WATERMARKS was used ("mm: only set page->pfmemalloc when
    ALLOC_NO_WATERMARKS was used", V10 of the series)."""
    gfp_memalloc: bool = False
    """``__GFP_MEMALLOC`` and PF_MEMALLOC in softirq grant the reserve
    (b37f1dd0f543, 907aed48f65e; in v3.6)."""
    no_watermarks_local_zonelist: bool = False
    """ALLOC_NO_WATERMARKS ignores memory policies (183f6371aac2; in v3.6)."""
    higher_buddy_from_higher_page: bool = False
    """The next-higher-order buddy is computed from the higher page; 3.3 computed it
    from the page itself (0ba8f2d59304; in v3.6)."""
    expand_in_start_type: bool = False
    """After stealing, the rest goes to the thief's list even when the block did not
    change hands (47118af076f6, CMA; in v3.6)."""
    memalloc_socks_gate: bool = False
    """SLAB tests ``sk_memalloc_socks()`` first (5091b74a95d4 and its SLAB sibling; in v3.6)."""
    ac_search_from_zero: bool = False
    """``ac_get_obj`` searches the array from index 0 ("slab: fix starting index for
    finding another object"; in v3.6)."""
    head_page_flag: bool = False
    """SLAB reads and clears the flag of the slab's head page ("slab: do
    ClearSlabPfmemalloc() for all pages of slab"; in v3.6)."""
    slub_match_in_partial: bool = False
    """``get_partial_node`` skips reserve slabs (8ba00bb68a06; in v3.6)."""
    slub_check_in_fast_path: bool = False
    """U5 of the seed: the SLUB fast path tests the flag; moved out by 5091b74a95d4 (in v3.6)."""
    slub_unfreeze_own_node: bool = False
    """``unfreeze_partials`` asks an empty slab's own node whether it has partial slabs enough;
    3.3 asked the node of the last slab it kept, and freed what came before that one unasked
    ("slub: refactoring unfreeze_partials()", June 2012; in v3.6)."""
    slub_partial_stats: bool = False
    """CPU_PARTIAL_NODE and CPU_PARTIAL_DRAIN are counted apart from CPU_PARTIAL_FREE
    ("slub: per cpu partial statistics change", February 2012; in v3.6)."""


UNPATCHED: Final = Revision(name="unpatched", gfp_flavour="v3.3")
SEED: Final = Revision(
    name="seed",
    gfp_flavour="v3.3",
    pfmemalloc=True,
    mark_slow_path=True,
    slub_check_in_fast_path=True,
)
V3_6: Final = Revision(
    name="v3.6",
    gfp_flavour="v3.6",
    pfmemalloc=True,
    gfp_memalloc=True,
    no_watermarks_local_zonelist=True,
    higher_buddy_from_higher_page=True,
    expand_in_start_type=True,
    memalloc_socks_gate=True,
    ac_search_from_zero=True,
    head_page_flag=True,
    slub_match_in_partial=True,
    slub_unfreeze_own_node=True,
    slub_partial_stats=True,
)

V6_1: Final = Revision(name="v6.1", gfp_flavour="v6.1", linux=LINUX_6)
"""Linux 6.1 (the long-term branch). Its code is :mod:`allocator.linux6`, written from that
kernel alone, so the switches between older kernels are none of its business."""

REVISIONS: Final[dict[str, Revision]] = {r.name: r for r in (UNPATCHED, SEED, V3_6, V6_1)}
ALLOCATORS: Final = ("slab", "slub")


class VariantError(ValueError):
    """A variant name that does not exist."""


@dataclass(frozen=True, slots=True)
class Variant:
    """An allocator at a revision."""

    allocator: str
    revision: Revision

    @property
    def name(self) -> str:
        """The name used on the command line and in the ``variant`` label."""
        return f"{self.allocator}-{self.revision.name}"


def variant_names() -> list[str]:
    """Every variant there is, SLAB first."""
    return [f"{a}-{r}" for a in ALLOCATORS for r in REVISIONS]


def parse_variant(name: str) -> Variant:
    """The variant called ``name``, for example ``slub-v3.6``.

    Raises :class:`VariantError` naming the ones that exist.
    """
    allocator, _, revision = name.partition("-")
    if allocator not in ALLOCATORS or revision not in REVISIONS:
        raise VariantError(f"no variant {name!r}; there are {', '.join(variant_names())}")
    return Variant(allocator, REVISIONS[revision])
