"""An event of a kernel trace, understood: what the readers of text hand to the pairing.

An event is a plain tuple of what changes from line to line (time, address) and of what
repeats, which is an object made once: its :class:`Shape` (name and fields) and its
:class:`Origin` (task, cpu, interrupt).
"""

from __future__ import annotations

from typing import Final, TypeAlias

from allocator.events import CTX_HARDIRQ, CTX_SOFTIRQ

# In this order: objects allocated, pages allocated, objects freed, pages freed, the rest.
OBJ_ALLOC: Final = 0
KMALLOC: Final = 1
PAGE_ALLOC: Final = 2
OBJ_FREE: Final = 3
KFREE: Final = 4
PAGE_FREE: Final = 5
PAGE_FREE_BATCHED: Final = 6
RECLAIM_BEGIN: Final = 7
RECLAIM_END: Final = 8
COMPACT_BEGIN: Final = 9
COMPACT_END: Final = 10
MARK_VICTIM: Final = 11
KSWAPD_WAKE: Final = 12
"""kswapd begins ``balance_pgdat``, perhaps anew."""
KSWAPD_SLEEP: Final = 13
"""It has been through, some time ago, and goes to sleep for good."""
PCP_REFILL: Final = 14
PCP_DRAIN: Final = 15
OUTSIDE: Final = 16
"""Says nothing to the model."""

ROLES: Final[dict[str, int]] = {
    "kmem_cache_alloc": OBJ_ALLOC,
    "kmem_cache_alloc_node": OBJ_ALLOC,
    "kmalloc": KMALLOC,
    "kmalloc_node": KMALLOC,
    "mm_page_alloc": PAGE_ALLOC,
    "kmem_cache_free": OBJ_FREE,
    "kfree": KFREE,
    "mm_page_free": PAGE_FREE,
    "mm_page_free_batched": PAGE_FREE_BATCHED,
    # Their names before Linux 3.3 (commit b413d48aa706).
    "mm_page_free_direct": PAGE_FREE,
    "mm_pagevec_free": PAGE_FREE_BATCHED,
    "mm_vmscan_direct_reclaim_begin": RECLAIM_BEGIN,
    "mm_vmscan_direct_reclaim_end": RECLAIM_END,
    "mm_vmscan_memcg_reclaim_begin": RECLAIM_BEGIN,
    "mm_vmscan_memcg_reclaim_end": RECLAIM_END,
    "mm_vmscan_node_reclaim_begin": RECLAIM_BEGIN,
    "mm_vmscan_node_reclaim_end": RECLAIM_END,
    "mm_compaction_begin": COMPACT_BEGIN,
    "mm_compaction_end": COMPACT_END,
    "mark_victim": MARK_VICTIM,
    "mm_page_alloc_zone_locked": PCP_REFILL,
    "mm_page_pcpu_drain": PCP_DRAIN,
    "mm_vmscan_kswapd_wake": KSWAPD_WAKE,
    "mm_vmscan_kswapd_sleep": KSWAPD_SLEEP,
}
"""Event name to what it does; every other name is outside the model."""

NO_POINTER: Final = 0
"""An address of an event that has none, and of one that failed or freed nothing."""


class Page:
    """One attempt to get a page, successful or not, that waits to be understood."""

    __slots__ = ("allocs", "gfp", "handle", "kind", "order", "pfn", "place", "ts_ns")

    def __init__(
        self, place: int, pfn: int, order: int, gfp: int, handle: int, ts_ns: int, kind: int
    ) -> None:
        self.place = place
        """Of its record in the outbox."""
        self.pfn = pfn
        """0 if the kernel gave none."""
        self.order = order
        self.gfp = gfp
        self.handle = handle
        self.ts_ns = ts_ns
        self.kind = kind
        """Its event's, in the report."""
        self.allocs = 0
        """Objects that the thread allocated since."""


class Thread:
    """What runs by itself: a task, or the interrupts of one level on one cpu.

    The state that the pairing keeps of it: who reclaims, whose pages wait to be
    understood, what was freed last.
    """

    __slots__ = (
        "after_slab_free",
        "compacting",
        "compactor",
        "kswapd",
        "last_cache",
        "pages",
        "pid",
        "reclaim_seen",
        "reclaiming",
        "slot",
        "victim",
    )

    def __init__(self, pid: int) -> None:
        self.pid = pid
        """0 for interrupts and idle cpus."""
        self.reclaiming = False
        self.reclaim_seen = False
        """It was seen to begin or to end reclaim."""
        self.compacting = False
        self.compactor = False
        """It is kcompactd."""
        self.kswapd = False
        self.victim = False
        """The OOM killer chose it."""
        self.slot = 0
        """Number under which :mod:`.settle` may still learn that it was reclaiming, or 0."""
        self.pages: list[Page] = []
        """Pages that wait for what it does next, see :mod:`.undecided`."""
        self.after_slab_free = False
        """It has just freed what belongs to a slab, so that slab's page comes next."""
        self.last_cache = ""
        """Name of the cache that it last freed an object of."""

    @property
    def matters(self) -> bool:
        """Whether something is known of it that later events depend on."""
        known = self.kswapd or self.compactor
        return known or self.reclaiming or self.compacting or self.victim or bool(self.pages)


INTERRUPT_BITS: Final[dict[str, int]] = {
    "": 0,
    ".": 0,
    "s": CTX_SOFTIRQ,
    "h": CTX_HARDIRQ,
    "H": CTX_HARDIRQ | CTX_SOFTIRQ,
    "z": CTX_HARDIRQ,
    "Z": CTX_HARDIRQ,
}
"""The third flag: nothing where the text has no flags, ``.`` a task, ``s`` softirq, ``h``
hardirq, ``H`` hardirq inside softirq, ``z`` and ``Z`` NMI, which is modelled as a hardirq."""


class Origin:
    """Who and where: a task, its cpu, and what interrupts it, as one text has them.

    Several may share a thread.
    """

    __slots__ = (
        *("bits", "blind", "comm", "cpu", "in_task", "interrupt"),
        "thread",
    )

    def __init__(self, comm: str, cpu: int, interrupt: str, thread: Thread) -> None:
        self.comm = comm
        self.cpu = cpu
        self.interrupt = interrupt
        self.thread = thread
        self.bits = INTERRUPT_BITS[interrupt]
        """The CTX_* bits of the interrupt."""
        self.in_task = self.bits == 0
        self.blind = interrupt == ""
        """The text does not say what is interrupted."""
        # Where the kernel has forgotten a comm it prints <...>, so the thread keeps it in mind.
        if self.in_task and comm.startswith("kswapd"):
            thread.kswapd = True
        # trace-cmd report -l cuts a comm to 8 characters.
        if self.in_task and comm.startswith("kcompact"):
            thread.compactor = True


class Key:
    """Where objects come from: call site, bytes asked for, bytes given.

    One place in the kernel allocates from one cache, so the cache of a key is the one that
    its objects are freed to. The rest is the state of :mod:`.cache_names`.
    """

    __slots__ = ("allocs", "arg", "asked", "how", "index", "name", "op", "site", "size", "votes")

    def __init__(self, index: int, site: str, asked: int, size: int, name: str) -> None:
        self.index = index
        self.site = site
        self.asked = asked
        self.size = size
        self.name = name
        """The cache, where the event itself names it."""
        self.op = 0
        """What its allocations become: an op of a trace, 0 while that is open."""
        self.arg = 0
        """The op's arg: cache id or bytes."""
        self.how = 0
        """How it got its name."""
        self.allocs = 0
        self.votes: dict[str, int] = {}
        """How many of its objects were freed to which cache."""


class Shape:
    """What repeats of an event: its name and its fields, without address and time."""

    __slots__ = (
        *("general", "gfp", "key", "kind", "name", "node", "of_slab", "order", "role", "site"),
        "size",
    )

    def __init__(self, kind: int, role: int) -> None:
        self.kind = kind
        """Number of the event's name, under which it is counted."""
        self.role = role
        self.site = ""
        self.size = 0
        """Bytes given."""
        self.gfp = 0
        """Mask in the numbers of :data:`.gfp_text.FLAVOUR`."""
        self.node = -1
        self.order = 0
        self.name = ""
        """Cache that an object is freed to, empty if this kernel does not say."""
        self.key: Key | None = None
        """Of an allocated object."""
        self.general = False
        """An object of the general caches."""
        self.of_slab = False
        """A kfree of what belongs to a slab; the slab's page comes next."""


Event: TypeAlias = tuple[Shape, int, Origin, int]
"""(shape, ts_ns, origin, address).

The address is a pointer, a pfn, or the pid of an OOM victim; 0 is none.
"""
