"""What an allocation can come to, and who asked: the closed sets of the counters."""

from __future__ import annotations

from typing import Final

# How a page was had.
PAGE_PCP: Final = 1
PAGE_ABOVE_LOW: Final = 2
PAGE_ABOVE_MIN: Final = 3
PAGE_BELOW_MIN: Final = 4
PAGE_OOM: Final = 5
PAGE_RESERVE: Final = 6
# How an object was had, SLAB.
OBJ_ARRAY_HIT: Final = 8
OBJ_ARRAY_SWAP: Final = 9
OBJ_REFILL: Final = 10
OBJ_FORCED_REFILL: Final = 11
OBJ_GROW: Final = 12
OBJ_NODE: Final = 13
OBJ_FALLBACK: Final = 14
OBJ_RESERVE_SLAB: Final = 15
# How an object was had, SLUB.
OBJ_CPU_FREELIST: Final = 16
OBJ_CPU_SLAB: Final = 17
OBJ_CPU_PARTIAL: Final = 18
OBJ_NODE_PARTIAL: Final = 19
OBJ_NEW_SLAB: Final = 20
# kmalloc straight from the page allocator.
OBJ_LARGE: Final = 21
# kmalloc(0): ZERO_SIZE_PTR, which is no object.
OBJ_ZERO_SIZE: Final = 22
# Denied, from here on.
FIRST_DENIED: Final = 24
DENIED_WATERMARK: Final = 24
DENIED_PRESERVED: Final = 25
DENIED_GROWTH: Final = 26
DENIED_ORDER: Final = 27
DENIED_NO_ZONE: Final = 28
DENIED_NO_CACHE: Final = 29
# Stalled, from here on.
FIRST_STALLED: Final = 32
STALLED_RECLAIM: Final = 32
STALLED_OOM: Final = 33
STALLED_NOFAIL: Final = 34

NR_OUTCOMES: Final = 40
WOKE_KSWAPD: Final = 0x80
"""Bit beside an outcome in what :meth:`allocator.machine.Machine.answered` tells."""

RESULT_OK: Final = "ok"
RESULT_DENIED: Final = "denied"
RESULT_STALLED: Final = "stalled"

OUTCOME_NAMES: Final[dict[int, tuple[str, str]]] = {
    PAGE_PCP: (RESULT_OK, "pcp"),
    PAGE_ABOVE_LOW: (RESULT_OK, "above_low"),
    PAGE_ABOVE_MIN: (RESULT_OK, "above_min"),
    PAGE_BELOW_MIN: (RESULT_OK, "below_min"),
    PAGE_OOM: (RESULT_OK, "oom_reserve"),
    PAGE_RESERVE: (RESULT_OK, "reserve"),
    OBJ_ARRAY_HIT: (RESULT_OK, "array_hit"),
    OBJ_ARRAY_SWAP: (RESULT_OK, "array_swap"),
    OBJ_REFILL: (RESULT_OK, "refill"),
    OBJ_FORCED_REFILL: (RESULT_OK, "forced_refill"),
    OBJ_GROW: (RESULT_OK, "grow"),
    OBJ_NODE: (RESULT_OK, "node"),
    OBJ_FALLBACK: (RESULT_OK, "fallback"),
    OBJ_RESERVE_SLAB: (RESULT_OK, "reserve_slab"),
    OBJ_CPU_FREELIST: (RESULT_OK, "cpu_freelist"),
    OBJ_CPU_SLAB: (RESULT_OK, "cpu_slab"),
    OBJ_CPU_PARTIAL: (RESULT_OK, "cpu_partial"),
    OBJ_NODE_PARTIAL: (RESULT_OK, "node_partial"),
    OBJ_NEW_SLAB: (RESULT_OK, "new_slab"),
    OBJ_LARGE: (RESULT_OK, "large"),
    OBJ_ZERO_SIZE: (RESULT_OK, "zero_size"),
    DENIED_WATERMARK: (RESULT_DENIED, "watermark"),
    DENIED_PRESERVED: (RESULT_DENIED, "preserved"),
    DENIED_GROWTH: (RESULT_DENIED, "growth_failed"),
    DENIED_ORDER: (RESULT_DENIED, "order_too_large"),
    DENIED_NO_ZONE: (RESULT_DENIED, "no_zone"),
    DENIED_NO_CACHE: (RESULT_DENIED, "no_cache"),
    STALLED_RECLAIM: (RESULT_STALLED, "reclaim"),
    STALLED_OOM: (RESULT_STALLED, "oom"),
    STALLED_NOFAIL: (RESULT_STALLED, "nofail"),
}
"""Outcome code to (result, path or reason), as the metrics label them."""

# Who asked.
CALLER_PLAIN: Final = 0
CALLER_ATOMIC: Final = 1
CALLER_INTERRUPT: Final = 2
CALLER_MEMDIE: Final = 3
CALLER_PF_MEMALLOC: Final = 4
CALLER_GFP_MEMALLOC: Final = 5
NR_CALLERS: Final = 6

CALLER_NAMES: Final = (
    "plain",
    "atomic",
    "interrupt",
    "memdie",
    "pf_memalloc",
    "gfp_memalloc",
)

# What was asked for.
KIND_PAGE: Final = 0
KIND_OBJECT: Final = 1
KIND_KMALLOC: Final = 2
NR_KINDS: Final = 3
KIND_NAMES: Final = ("page", "object", "kmalloc")
