"""What kind of caller a gfp mask speaks of, in words that fit every kernel."""

from __future__ import annotations

from typing import Final

from allocator.gfp import FLAVOURS

_WAITS: Final = ("__GFP_WAIT", "__GFP_DIRECT_RECLAIM")
_SUFFIXES: Final = (
    ("__GFP_MOVABLE", "movable"),
    ("__GFP_RECLAIMABLE", "reclaimable"),
    ("__GFP_MEMALLOC", "memalloc"),
    ("__GFP_NOMEMALLOC", "nomemalloc"),
    ("__GFP_NOFAIL", "nofail"),
    ("__GFP_NORETRY", "noretry"),
)


def gfp_class(mask: int, flavour: str) -> str:
    """``user``, ``kernel``, ``nofs``, ``noio``, ``atomic`` or ``nowait``, and what sets it apart.

    Two masks of one class have the same rights and the same patience. Left out are flags that
    change neither: __GFP_ZERO, __GFP_COMP, __GFP_NOWARN, __GFP_ACCOUNT and the zone's.
    """
    bits = FLAVOURS[flavour]

    def has(name: str) -> bool:
        return mask & bits.get(name, 0) != 0

    if any(has(name) for name in _WAITS):
        if not has("__GFP_IO"):
            base = "noio"
        elif not has("__GFP_FS"):
            base = "nofs"
        else:
            base = "user" if has("__GFP_HARDWALL") else "kernel"
    else:
        base = "atomic" if has("__GFP_HIGH") else "nowait"
    return "+".join([base, *(word for name, word in _SUFFIXES if has(name))])
