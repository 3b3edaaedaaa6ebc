"""The events that an import makes use of, as tracefs names them."""

from __future__ import annotations

from typing import Final

NEEDED: Final = (
    "kmem/kmalloc",
    "kmem/kmem_cache_alloc",
    "kmem/kfree",
    "kmem/kmem_cache_free",
    "kmem/mm_page_alloc",
    "kmem/mm_page_free",
)
"""Without these nothing can be imported."""

WANTED: Final = (
    # Until Linux 6.0; later kmalloc and kmem_cache_alloc stand for them (commit 11e9734bcb6a).
    "kmem/kmalloc_node",
    "kmem/kmem_cache_alloc_node",
    "vmscan/mm_vmscan_direct_reclaim_begin",
    "vmscan/mm_vmscan_direct_reclaim_end",
    "vmscan/mm_vmscan_memcg_reclaim_begin",
    "vmscan/mm_vmscan_memcg_reclaim_end",
    "vmscan/mm_vmscan_node_reclaim_begin",
    "vmscan/mm_vmscan_node_reclaim_end",
    "vmscan/mm_vmscan_kswapd_wake",
    "vmscan/mm_vmscan_kswapd_sleep",
    "compaction/mm_compaction_begin",
    "compaction/mm_compaction_end",
    "oom/mark_victim",
)
"""What tells who asks. A kernel that was built without some of it is traced without them."""

PAGE_LISTS: Final = ("kmem/mm_page_alloc_zone_locked", "kmem/mm_page_pcpu_drain")
"""Pages between the per-cpu lists and the free lists: for ``pfmemd truth`` only."""
