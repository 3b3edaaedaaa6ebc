"""What else the patch series changed besides the slab allocators: switches of a simulation.

The seed is patch 2 of 15 of "Swap-over-NBD without deadlocking" (V8, February 2012). The
model has it, or not, by its revision. The rest of the series is about who may ask, and
about what happens to those who may not; that is the simulated machine's business and is
here, one switch a behaviour, so that the patch alone can be told from the series.

Numbers are those of the V8 mails; titles of the netvm patches are those they were merged
under in Linux 3.6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from allocator.revision import Revision
from tracegen.errors import PfmemdError


@dataclass(frozen=True, slots=True)
class Switch:
    """A behaviour of the series: its name here, where it comes from, what it does."""

    name: str
    source: str
    text: str


GFP_MEMALLOC: Final = "gfp-memalloc"
SOFTIRQ_MEMALLOC: Final = "softirq-memalloc"
SOCK_MEMALLOC: Final = "sock-memalloc"
SKB_PFMEMALLOC: Final = "skb-pfmemalloc"
SKB_PROCESSING: Final = "skb-processing"
SWAP_MEMALLOC: Final = "swap-memalloc"
THROTTLE: Final = "throttle"

SWITCHES: Final = (
    Switch(
        GFP_MEMALLOC,
        '03/15 "mm: Introduce __GFP_MEMALLOC to allow access to emergency reserves"'
        " (b37f1dd0f543, v3.6)",
        "a single request may ask for the reserve; the netvm switches ask by it, and without it"
        " they ask in vain",
    ),
    Switch(
        SOFTIRQ_MEMALLOC,
        '04/15 "mm: allow PF_MEMALLOC from softirq context" (907aed48f65e, v3.6)',
        "PF_MEMALLOC, set while a packet of the reserve is processed, counts in a softirq too",
    ),
    Switch(
        SOCK_MEMALLOC,
        '07/15 "netvm: Allow the use of __GFP_MEMALLOC by specific sockets"',
        "what the swap device's socket allocates for itself carries __GFP_MEMALLOC",
    ),
    Switch(
        SKB_PFMEMALLOC,
        '08 to 10/15 "netvm: Allow skb allocation to use PFMEMALLOC reserves", "netvm: Propagate'
        ' page->pfmemalloc to skb"',
        "received packets may use the reserve and are then marked; a socket that does not help"
        " to free memory drops a marked packet",
    ),
    Switch(
        SKB_PROCESSING,
        '11/15 "netvm: Set PF_MEMALLOC as appropriate during SKB processing"',
        "what the network stack allocates while it processes a marked packet may use the reserve",
    ),
    Switch(
        SWAP_MEMALLOC,
        '13/15 "nbd: Set SOCK_MEMALLOC for access to PFMEMALLOC reserves"; for NFS 10/12 "nfs:'
        ' enable swap on NFS" of the sister series',
        "who sends swapped-out pages does so with PF_MEMALLOC, and the socket is one of those"
        " that sock-memalloc is about",
    ),
    Switch(
        THROTTLE,
        '14/15 "mm: Throttle direct reclaimers if PF_MEMALLOC reserves are low and swap is backed'
        ' by network storage" (5515061d22f0, v3.6)',
        "tasks that would reclaim for themselves wait for kswapd while less than half of the"
        " reserve is free",
    ),
)
SWITCH_NAMES: Final = tuple(switch.name for switch in SWITCHES)

WHOLE: Final = "whole"
NONE: Final = "none"


def default_series(revision: Revision) -> frozenset[str]:
    """What a revision had beside the allocators: nothing before the patch, then all of it.

    ``seed`` stands for the series that the mail belongs to.
    """
    return frozenset(SWITCH_NAMES if revision.pfmemalloc or revision.linux > 3 else ())  # noqa: PLR2004 - LINUX_3


def parse_series(text: str) -> frozenset[str]:
    """``whole``, ``none``, or names of switches joined with ``+``."""
    if text == WHOLE:
        return frozenset(SWITCH_NAMES)
    if text == NONE:
        return frozenset()
    return frozenset(check_switches(part.strip() for part in text.split("+")))


def check_switches(names: Iterable[str]) -> list[str]:
    """Return the names; raises :class:`PfmemdError` for one that does not exist."""
    checked = list(names)
    for name in checked:
        if name not in SWITCH_NAMES:
            raise PfmemdError(
                f"no switch {name!r} in the series; there are {', '.join(SWITCH_NAMES)}"
            )
    return checked


def told(series: frozenset[str]) -> str:
    """The switches as a short text: ``whole``, ``none`` or their names."""
    if series == frozenset(SWITCH_NAMES):
        return WHOLE
    return "+".join(name for name in SWITCH_NAMES if name in series) or NONE
