"""One machine: page allocator and one object allocator, fed with events.

:meth:`Machine.apply` takes packed records (:mod:`allocator.events`); the direct
methods (``page_alloc``, ``obj_alloc``, …) do one operation each and leave what a
kernel engineer would ask about in ``answer``. Both go the same way through the
model.

A handle of the trace maps to what the model gave for it. Where the model denied,
the handle is remembered as denied, so that its free is known for what it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from librt.strings import read_i64_le
from librt.vecs import append, vec
from mypy_extensions import i64

from allocator.config import PAGE_SIZE, CacheSpec, MachineConfig
from allocator.effect import ACTIVATED, DEACTIVATED, MARKED, WRONGLY
from allocator.events import (
    CPU_AT,
    CTX_COLD,
    CTX_HARDIRQ,
    CTX_MEMDIE,
    CTX_PF_MEMALLOC,
    CTX_SOFTIRQ,
    GFP_AT,
    HANDLE_AT,
    KMALLOC,
    MARK,
    MIN_FREE,
    OBJ_ALLOC,
    OBJ_FREE,
    PAGE_ALLOC,
    PAGE_FREE,
    REAP,
    RECORD_SIZE,
    SHRINK,
    TS_NS_AT,
)
from allocator.gfp import FLAVOURS, translate
from allocator.handles import ABSENT, HandleTable
from allocator.kernel import boot_kernel
from allocator.mem_map import PAGEBLOCK_MASK, PAGEBLOCK_ORDER
from allocator.object_allocator import (
    INDEX_MASK,
    INDEX_SHIFT,
    NO_CACHE,
    NO_OBJECT,
    ObjectAllocator,
)
from allocator.outcome import (
    CALLER_ATOMIC,
    CALLER_GFP_MEMALLOC,
    CALLER_INTERRUPT,
    CALLER_MEMDIE,
    CALLER_NAMES,
    CALLER_PF_MEMALLOC,
    CALLER_PLAIN,
    DENIED_NO_CACHE,
    FIRST_DENIED,
    FIRST_STALLED,
    KIND_KMALLOC,
    KIND_NAMES,
    KIND_OBJECT,
    KIND_PAGE,
    NR_CALLERS,
    NR_KINDS,
    NR_OUTCOMES,
    OBJ_LARGE,
    OBJ_ZERO_SIZE,
    OUTCOME_NAMES,
    WOKE_KSWAPD,
)
from allocator.page_allocator import NO_ALLOC_FLAGS, NO_PAGE, PageAllocator
from allocator.revision import Variant
from allocator.stats import MachineStats, OutcomeCount, ZoneStats
from allocator.story import Story
from allocator.task import Task
from allocator.zone import Zone

# A handle's value: payload << VALUE_SHIFT | cache << 2 | kind.
_KIND_MASK: Final = 3
_PAGE: Final = 0
"""Payload pfn << 4 | order."""
_OBJECT: Final = 1
"""Payload objp."""
_DENIED: Final = 2
_LARGE: Final = 3
"""A large kmalloc. Payload as of a page; its order is never 0."""
_ZERO_SIZE: Final = _LARGE
"""The whole value of what kmalloc(0) gives: a pointer that kfree takes and ignores."""
_CACHE_SHIFT: Final = 2
_CACHE_MASK: Final = 0x3FFF
_VALUE_SHIFT: Final = 16
_ORDER_BITS: Final = 4

# Counters of a cache, in this order.
_CACHE_OK: Final = 0
_CACHE_DENIED: Final = 1
_CACHE_STALLED: Final = 2
_CACHE_FREES: Final = 3
_CACHE_COUNTS: Final = 4


def _result(outcome: i64) -> i64:
    """Which counter of a cache an outcome belongs to."""
    if outcome < FIRST_DENIED:
        return _CACHE_OK
    return _CACHE_DENIED if outcome < FIRST_STALLED else _CACHE_STALLED


def _zone_stats(zone: Zone, cpus: int) -> ZoneStats:
    return ZoneStats(
        node=int(zone.nid),
        zone=zone.name,
        free_pages=int(zone.free_pages),
        min_pages=int(zone.wmark_min),
        low_pages=int(zone.wmark_low),
        high_pages=int(zone.wmark_high),
        present_pages=int(zone.present_pages),
        spanned_pages=int(zone.spanned_pages),
        managed_pages=int(zone.managed_pages),
        lowest_free_pages=int(zone.lowest_free),
        pcp_pages=sum(int(zone.pcp_count[cpu]) for cpu in range(cpus)),
        pfmemalloc_pages=int(zone.pfmemalloc_pages),
        free_blocks=[int(blocks) for blocks in zone.nr_free],
        lowmem_reserve=[int(pages) for pages in zone.lowmem_reserve],
        below_min_events=int(zone.below_min_events),
        reserve_left=[int(events) for events in zone.reserve_left],
        reserve_drawn_permille=int(zone.reserve_drawn_permille),
    )


def _page_value(pfn: i64, order: i64, kind: i64) -> i64:
    """The handle value of pages, or of a denial when ``pfn`` is NO_PAGE."""
    if pfn == NO_PAGE:
        return _DENIED
    return (pfn << _ORDER_BITS | order) << _VALUE_SHIFT | kind


class Answer:
    """What the last direct operation came to; the keys of the conformance vectors."""

    __slots__ = (
        "af",
        "cache",
        "idx",
        "large",
        "nid",
        "order",
        "pfm",
        "pfn",
        "slab",
        "wk",
        "wz",
        "zone",
    )

    def __init__(self) -> None:
        """Begin with nothing."""
        self.pfn: int = -1
        self.nid: int = -1
        self.zone: str = ""
        self.order: int = 0
        self.slab: int = -1
        self.idx: int = -1
        self.cache: str = ""
        self.pfm: int = 0
        self.af: int = NO_ALLOC_FLAGS
        self.wk: int = 0
        self.wz: int = 0
        self.large: bool = False


class Request:
    """Who asks for what in an allocation's record, in the terms of the machine's revision."""

    __slots__ = ("cache", "caller", "entitled", "gfp", "memalloc_lent")

    def __init__(
        self, caller: str, entitled: bool, cache: str, gfp: int, memalloc_lent: bool
    ) -> None:
        """``memalloc_lent``: PF_MEMALLOC stands in for a ``__GFP_MEMALLOC`` not known here."""
        self.caller: str = caller
        """One of CALLER_NAMES (:mod:`allocator.outcome`)."""
        self.entitled: bool = entitled
        """``gfp_pfmemalloc_allowed`` (P2)."""
        self.cache: str = cache
        """The cache that serves it; empty for pages."""
        self.gfp: int = gfp
        self.memalloc_lent: bool = memalloc_lent


class Machine:
    """A machine of one configuration, run by one allocator at one revision."""

    __slots__ = (
        "_cache_counts",
        "_cache_ids",
        "_cpu_node",
        "_flavour",
        "_gfp_cache",
        "_gfp_flavour",
        "_last_gfp",
        "_last_value",
        "_memalloc_bits",
        "_outcome",
        "_outcomes",
        "_sleep_bits",
        "_wakeup_calls_before",
        "_wakeups_before",
        "answer",
        "config",
        "current",
        "denied_frees",
        "events",
        "handles",
        "last_ts_ns",
        "mark",
        "object_frees",
        "objects",
        "page_frees",
        "pages",
        "reused_handles",
        "unknown_frees",
        "variant",
    )

    def __init__(
        self,
        config: MachineConfig,
        variant: Variant,
        caches: Sequence[CacheSpec] = (),
        gfp_flavour: str | None = None,
    ) -> None:
        """Boot the machine and create the caches, in the order given.

        ``gfp_flavour`` is the flavour of the masks in the events; None is the
        revision's own.
        """
        self.config: MachineConfig = config
        self.variant: Variant = variant
        self.current: Task = Task()
        pages, objects = boot_kernel(config, variant, self.current)
        self.pages: PageAllocator = pages
        self.objects: ObjectAllocator = objects
        self._cpu_node: vec[i64] = vec[i64](config.cpu_node)
        self.handles: HandleTable = HandleTable()
        self.answer: Answer = Answer()
        self.events: i64 = 0
        self.last_ts_ns: i64 = 0
        self.mark: i64 = -1
        """Label id of the last MARK, or -1."""
        self.page_frees: i64 = 0
        self.object_frees: i64 = 0
        self.denied_frees: i64 = 0
        self.unknown_frees: i64 = 0
        self.reused_handles: i64 = 0
        self._outcome: i64 = 0
        """What the last allocation came to."""
        self._outcomes: vec[i64] = vec[i64]([0] * (NR_CALLERS * NR_KINDS * NR_OUTCOMES))
        general = len(objects.cache_stats())
        self._cache_counts: vec[i64] = vec[i64]([0] * (general * _CACHE_COUNTS))
        """Per cache number: ok, denied, stalled, frees."""
        self._wakeups_before: i64 = 0
        self._wakeup_calls_before: i64 = 0
        self._flavour: str = variant.revision.gfp_flavour
        self._gfp_flavour: str = self._flavour if gfp_flavour is None else gfp_flavour
        self._gfp_cache: dict[int, int] = {}
        self._last_gfp: i64 = -1
        self._last_value: i64 = 0
        bits = FLAVOURS[self._flavour]
        self._memalloc_bits: i64 = bits.get("__GFP_MEMALLOC", 0)
        self._sleep_bits: i64 = bits.get("__GFP_WAIT", bits.get("__GFP_DIRECT_RECLAIM", 0))
        self._cache_ids: vec[i64] = vec[i64](
            [NO_CACHE] * (max((c.id for c in caches), default=-1) + 1)
        )
        for spec in caches:
            self._cache_ids[spec.id] = self._create(spec.name, spec.size, spec.align, spec.flags)

    # The stream.

    def apply(self, records: bytes) -> None:
        """Apply packed records, which :func:`allocator.events.check_records` has passed."""
        size: i64 = len(records)
        at: i64 = 0
        while at < size:
            # Whole words: the last holds cpu, node, op and ctx, the one before gfp and arg.
            word = read_i64_le(records, at + CPU_AT)
            op = word >> 32 & 0xFF
            ctx = word >> 40 & 0xFF
            cpu = word & 0xFFFF
            handle = read_i64_le(records, at + HANDLE_AT)
            if op == OBJ_FREE or op == PAGE_FREE:
                self._free(handle, cpu, ctx)
            elif op <= KMALLOC:
                demand = read_i64_le(records, at + GFP_AT)
                arg = demand >> 32 & 0xFFFFFFFF
                node = ((word >> 16 & 0xFFFF) ^ 0x8000) - 0x8000
                value = self._translated(demand & 0xFFFFFFFF)
                if value & 1:
                    ctx |= CTX_PF_MEMALLOC
                self._enter(cpu, ctx)
                if op == PAGE_ALLOC:
                    self._page_alloc(handle, arg, value >> 1, node)
                elif op == OBJ_ALLOC:
                    self._obj_alloc(handle, self._cache_ids[arg], value >> 1, node, KIND_OBJECT)
                else:
                    self._kmalloc(handle, arg, value >> 1, node)
            else:
                arg = read_i64_le(records, at + GFP_AT) >> 32 & 0xFFFFFFFF
                if op == MIN_FREE and ctx & CTX_PF_MEMALLOC:
                    node = ((word >> 16 & 0xFFFF) ^ 0x8000) - 0x8000
                    if arg > 0:
                        self.pages.kswapd_begins(node)
                    else:
                        self.pages.kswapd_ends(node)
                else:
                    self._other(op, arg, cpu)
            at += RECORD_SIZE
        if size > 0:
            self.events += size // RECORD_SIZE
            self.last_ts_ns = read_i64_le(records, size - RECORD_SIZE + TS_NS_AT)

    def _other(self, op: i64, arg: i64, cpu: i64) -> None:
        self._enter(cpu, 0)
        if op == REAP:
            self.objects.reap()
        elif op == SHRINK:
            self.objects.shrink(self._cache_ids[arg])
        elif op == MIN_FREE:
            self.pages.set_min_free_kbytes(int(arg))
        elif op == MARK:
            self.mark = arg

    def _translated(self, gfp: i64) -> i64:
        """The event's mask in the revision's numbers, shifted left; bit 0 adds PF_MEMALLOC."""
        if gfp == self._last_gfp:
            return self._last_value
        found = self._gfp_cache.get(gfp)
        if found is None:
            mask, memalloc = translate(gfp, self._gfp_flavour, self._flavour)
            found = mask << 1 | (1 if memalloc else 0)
            self._gfp_cache[gfp] = found
        self._last_gfp = gfp
        self._last_value = found
        return self._last_value

    def _create(self, name: str, size: int, align: int, flags: int) -> int:
        number = self.objects.cache_create(name, size, align, flags)
        while len(self._cache_counts) < (number + 1) * _CACHE_COUNTS:
            self._cache_counts = append(self._cache_counts, 0)
        return number

    def _enter(self, cpu: i64, ctx: i64) -> None:
        current = self.current
        current.cpu = cpu
        current.node = self._cpu_node[cpu]
        current.ctx = ctx
        self.pages.stalled = 0

    def _begin(self, cpu: i64, ctx: i64) -> None:
        """Enter a direct operation, whose answer tells of itself alone."""
        self._enter(cpu, ctx)
        self.pages.alloc_flags_seen = NO_ALLOC_FLAGS
        self._wakeups_before = self.pages.kswapd_wakeups
        self._wakeup_calls_before = self.pages.wakeup_kswapd_calls

    def _caller(self, gfp: i64) -> i64:
        """Which kind of caller asks, most entitled first."""
        ctx = self.current.ctx
        if gfp & self._memalloc_bits:
            return CALLER_GFP_MEMALLOC
        if ctx & CTX_PF_MEMALLOC:
            return CALLER_PF_MEMALLOC
        if ctx & CTX_MEMDIE:
            return CALLER_MEMDIE
        if ctx & (CTX_SOFTIRQ | CTX_HARDIRQ):
            return CALLER_INTERRUPT
        return CALLER_PLAIN if gfp & self._sleep_bits else CALLER_ATOMIC

    def _count(self, kind: i64, gfp: i64, outcome: i64) -> None:
        self._outcome = outcome
        self._outcomes[(self._caller(gfp) * NR_KINDS + kind) * NR_OUTCOMES + outcome] += 1

    def _page_alloc(self, handle: i64, order: i64, gfp: i64, node: i64) -> i64:
        cell = self.handles.reserve(handle)
        if cell == ABSENT:
            self.reused_handles += 1
            return 0
        pfn = self.pages.alloc_pages(gfp, order, node)
        outcome = self.pages.outcome
        self._count(KIND_PAGE, gfp, outcome)
        self.handles.fill(cell, _page_value(pfn, order, _PAGE))
        return outcome

    def _obj_alloc(self, handle: i64, number: i64, gfp: i64, node: i64, kind: i64) -> i64:
        cell = self.handles.reserve(handle)
        if cell == ABSENT:
            self.reused_handles += 1
            return 0
        objp = self.objects.alloc(number, gfp, node)
        outcome = self.objects.outcome
        if objp != NO_OBJECT:
            value = objp << _VALUE_SHIFT | number << _CACHE_SHIFT | _OBJECT
            self.handles.fill(cell, value)
        else:
            if self.pages.stalled != 0:
                outcome = self.pages.stalled
            self.handles.fill(cell, _DENIED)
        self._count(kind, gfp, outcome)
        self._cache_counts[number * _CACHE_COUNTS + _result(outcome)] += 1
        return outcome

    def _kmalloc(self, handle: i64, size: i64, gfp: i64, node: i64) -> i64:
        if size == 0:
            return self._kmalloc_nothing(handle, gfp)
        number = self.objects.kmalloc_cache(size, gfp)
        if number >= 0:
            return self._obj_alloc(handle, number, gfp, node, KIND_KMALLOC)
        cell = self.handles.reserve(handle)
        if cell == ABSENT:
            self.reused_handles += 1
            return 0
        pfn: i64 = NO_PAGE
        order: i64 = 0
        outcome: i64 = DENIED_NO_CACHE
        if number != NO_CACHE:
            while PAGE_SIZE << order < size:
                order += 1
            pfn = self.objects.kmalloc_large(order, gfp, node)
            outcome = self.pages.outcome if pfn == NO_PAGE else i64(OBJ_LARGE)
        self.handles.fill(cell, _page_value(pfn, order, _LARGE))
        self._count(KIND_KMALLOC, gfp, outcome)
        return outcome

    def _kmalloc_nothing(self, handle: i64, gfp: i64) -> i64:
        """``kmalloc(0)``: ZERO_SIZE_PTR."""
        cell = self.handles.reserve(handle)
        if cell == ABSENT:
            self.reused_handles += 1
            return 0
        self.handles.fill(cell, _ZERO_SIZE)
        self._count(KIND_KMALLOC, gfp, OBJ_ZERO_SIZE)
        return OBJ_ZERO_SIZE

    def _free(self, handle: i64, cpu: i64, ctx: i64) -> None:
        value = self.handles.pop(handle)
        if value == ABSENT:
            self.unknown_frees += 1
            return
        kind = value & _KIND_MASK
        payload = value >> _VALUE_SHIFT
        if kind == _DENIED:
            self.denied_frees += 1
            return
        if value == _ZERO_SIZE:
            self.object_frees += 1
            return
        self._enter(cpu, 0)
        if kind == _OBJECT:
            self.object_frees += 1
            number = value >> _CACHE_SHIFT & _CACHE_MASK
            self._cache_counts[number * _CACHE_COUNTS + _CACHE_FREES] += 1
            self.objects.free(number, payload)
        else:
            self.page_frees += 1
            pfn = payload >> _ORDER_BITS
            order = payload & ((1 << _ORDER_BITS) - 1)
            if kind == _LARGE:
                self.objects.kfree_large(pfn, order)
            else:
                self.pages.free_pages(pfn, order, ctx & CTX_COLD != 0)

    def observe(self, records: bytes) -> bytes:
        """Apply checked records; two bytes for each of them say what came of it.

        The first is the outcome of an allocation (:mod:`allocator.outcome`), 0 for anything
        else; the second are its effects (:mod:`allocator.effect`).
        """
        objects = self.objects
        told = bytearray(len(records) // RECORD_SIZE * 2)
        for index in range(len(records) // RECORD_SIZE):
            marks = self.pages.pfmemalloc_marks
            activations = objects.activations
            deactivations = objects.deactivations
            wrong = objects.wrong_deactivations
            objects.leaked = 0
            self._outcome = 0
            self.apply(records[index * RECORD_SIZE : (index + 1) * RECORD_SIZE])
            effects = objects.leaked
            if self.pages.pfmemalloc_marks != marks:
                effects |= MARKED
            if objects.activations != activations:
                effects |= ACTIVATED
            if objects.deactivations != deactivations:
                effects |= DEACTIVATED
            if objects.wrong_deactivations != wrong:
                effects |= WRONGLY
            told[index * 2] = int(self._outcome)
            told[index * 2 + 1] = int(effects)
        return bytes(told)

    def answered(self, records: bytes) -> bytes:
        """Apply checked records; a byte for each of them is what its caller would be told.

        The outcome of an allocation (:mod:`allocator.outcome`), 0 for anything else, with
        WOKE_KSWAPD if it woke kswapd.
        """
        told = bytearray(len(records) // RECORD_SIZE)
        for index in range(len(told)):
            wakeups = self.pages.kswapd_wakeups
            self._outcome = 0
            self.apply(records[index * RECORD_SIZE : (index + 1) * RECORD_SIZE])
            woke = WOKE_KSWAPD if self.pages.kswapd_wakeups > wakeups else 0
            told[index] = int(self._outcome) | woke
        return bytes(told)

    def standing(self) -> tuple[int, int, int, int, bool]:
        """Free pages, then min, low and high, of all zones together; whether one is boosted."""
        zones = self.pages.zones
        return (
            sum([int(zone.free_pages) for zone in zones]),
            sum([int(zone.wmark_min) for zone in zones]),
            sum([int(zone.wmark_low) for zone in zones]),
            sum([int(zone.wmark_high) for zone in zones]),
            any(zone.watermark_boost > 0 for zone in zones),
        )

    def tell(self, record: bytes) -> Story:
        """Apply one packed record and tell the story of it."""
        story = Story()
        self.pages.story = story
        told = self.observe(record)
        self.pages.story = None
        story.outcome = told[0]
        story.effects = told[1]
        return story

    def request(self, record: bytes) -> Request:
        """Read an allocation's record as :meth:`apply` would; nothing is applied."""
        word = read_i64_le(record, CPU_AT)
        op = word >> 32 & 0xFF
        demand = read_i64_le(record, GFP_AT)
        arg = demand >> 32 & 0xFFFFFFFF
        value = self._translated(demand & 0xFFFFFFFF)
        gfp = value >> 1
        self._enter(word & 0xFFFF, word >> 40 & 0xFF | (CTX_PF_MEMALLOC if value & 1 else 0))
        number: i64 = NO_CACHE
        if op == OBJ_ALLOC:
            number = self._cache_ids[arg]
        elif op == KMALLOC and arg > 0:
            number = self.objects.kmalloc_cache(arg, gfp)
        return Request(
            CALLER_NAMES[int(self._caller(gfp))],
            self.pages.gfp_pfmemalloc_allowed(gfp),
            self.objects.cache_name(int(number)) if number >= 0 else "",
            int(gfp),
            value & 1 != 0,
        )

    def slab_of(self, handle: int) -> tuple[int, int]:
        """(cache number, first pfn of its slab) of a live object; (-1, -1) for anything else."""
        value = self.handles.get(handle)
        if value == ABSENT or value & _KIND_MASK != _OBJECT:
            return -1, -1
        number = value >> _CACHE_SHIFT & _CACHE_MASK
        return int(number), int(self.objects.slab_pfn(number, value >> _VALUE_SHIFT))

    def page_pfmemalloc(self, pfn: int) -> bool:
        """``page->pfmemalloc`` of a page frame, whoever has it."""
        mem = self.pages.mem
        block = pfn >> PAGEBLOCK_ORDER
        if not mem.populated(block) and pfn & PAGEBLOCK_MASK:
            return False
        return self.pages.page_pfmemalloc(pfn)

    # One operation at a time.

    def page_alloc(self, handle: int, order: int, gfp: int, cpu: int, node: int, ctx: int) -> int:
        """``alloc_pages`` (node -1) or ``alloc_pages_node``: the outcome code."""
        self._begin(cpu, ctx)
        outcome = self._page_alloc(handle, order, gfp, node)
        self._tell(handle)
        return int(outcome)

    def page_free(self, handle: int, cpu: int, cold: bool) -> None:
        """``__free_pages``; cold is the cold form of ``free_hot_cold_page``."""
        self._begin(cpu, 0)
        self._free(handle, cpu, CTX_COLD if cold else 0)
        self._tell(handle)

    def obj_alloc(self, handle: int, cache: int, gfp: int, cpu: int, node: int, ctx: int) -> int:
        """``kmem_cache_alloc`` from the cache with that number: the outcome code."""
        self._begin(cpu, ctx)
        outcome = self._obj_alloc(handle, cache, gfp, node, KIND_OBJECT)
        self._tell(handle)
        return int(outcome)

    def kmalloc(self, handle: int, size: int, gfp: int, cpu: int, node: int, ctx: int) -> int:
        """``__kmalloc``: the outcome code."""
        self._begin(cpu, ctx)
        outcome = self._kmalloc(handle, size, gfp, node)
        self._tell(handle)
        return int(outcome)

    def obj_free(self, handle: int, cpu: int) -> None:
        """``kmem_cache_free`` or ``kfree``."""
        self._begin(cpu, 0)
        self._free(handle, cpu, 0)
        self._tell(handle)

    def reap(self, cpu: int) -> None:
        """``cache_reap`` on a cpu."""
        self._begin(cpu, 0)
        self.objects.reap()
        self._tell(0)

    def cache_shrink(self, cache: int, cpu: int) -> int:
        """``kmem_cache_shrink``: its return value."""
        self._begin(cpu, 0)
        result = self.objects.shrink(cache)
        self._tell(0)
        return result

    def drain_all_pages(self, cpu: int) -> None:
        """``drain_all_pages``."""
        self._begin(cpu, 0)
        self.pages.drain_all_pages()
        self._tell(0)

    def tick(self, jiffies: int) -> None:
        """Let ``jiffies`` timer ticks of 4 ms pass."""
        self._begin(0, 0)
        self.pages.jiffies += jiffies
        self._tell(0)

    def set_min_free_kbytes(self, kbytes: int) -> None:
        """Set ``min_free_kbytes`` as the sysctl does."""
        self._begin(0, 0)
        self.pages.set_min_free_kbytes(kbytes)
        self._tell(0)

    def cache_create(self, name: str, size: int, align: int, flags: int) -> int:
        """``kmem_cache_create`` on cpu 0: the cache's number."""
        self._begin(0, 0)
        number = self._create(name, size, align, flags)
        self._tell(0)
        return number

    def cache_number(self, name: str) -> int:
        """Number of the cache with that name, or -1."""
        return self.objects.cache_number(name)

    def geometry(self, cache: int) -> dict[str, object]:
        """What ``kmem_cache_create`` computed for a cache."""
        return self.objects.geometry(cache)

    @property
    def pfmemalloc_active(self) -> bool:
        """SLAB's global flag."""
        return self.objects.pfmemalloc_active

    def free_by_zone(self) -> list[int]:
        """NR_FREE_PAGES of each zone, in node, then zone order."""
        return [int(zone.free_pages) for zone in self.pages.zones]

    def boot(self) -> dict[str, object]:
        """What the kernel computed from the configuration."""
        return {**self.pages.boot(), **self.objects.boot()}

    def _tell(self, handle: int) -> None:
        answer = self.answer
        pages = self.pages
        answer.af = int(pages.alloc_flags_seen)
        answer.wk = int(pages.kswapd_wakeups - self._wakeups_before)
        answer.wz = int(pages.wakeup_kswapd_calls - self._wakeup_calls_before)
        value = self.handles.get(handle) if handle else i64(ABSENT)
        if value == ABSENT or value == _ZERO_SIZE or value & _KIND_MASK == _DENIED:
            return
        payload = value >> _VALUE_SHIFT
        if value & _KIND_MASK == _OBJECT:
            number = value >> _CACHE_SHIFT & _CACHE_MASK
            answer.slab = int(self.objects.slab_pfn(number, payload))
            answer.idx = int(payload >> INDEX_SHIFT & INDEX_MASK)
            answer.cache = self.objects.cache_name(int(number))
            answer.pfm = int(self.objects.obj_pfmemalloc(number, payload))
            answer.large = False
            return
        pfn = payload >> _ORDER_BITS
        zone = pages.page_zone(pfn)
        answer.pfn = int(pfn)
        answer.order = int(payload & ((1 << _ORDER_BITS) - 1))
        answer.nid = int(zone.nid)
        answer.zone = zone.name
        answer.pfm = int(pages.page_pfmemalloc(pfn))
        answer.large = True

    def live_handles(self) -> int:
        """How many things are allocated and not yet freed."""
        return int(self.handles.live)

    def stats(self) -> MachineStats:
        """A consistent reading between events; its cost grows with zones, cpus and caches."""
        pages = self.pages
        objects = self.objects
        zones = [_zone_stats(zone, len(self._cpu_node)) for zone in pages.zones]
        slab_pages: list[tuple[int, int]] = []
        for nid in range(len(self.config.nodes)):
            own = [zone for zone in pages.zones if zone.nid == nid]
            slab_pages.append(
                (
                    sum(int(zone.slab_reclaimable) for zone in own),
                    sum(int(zone.slab_unreclaimable) for zone in own),
                )
            )
        caches = objects.cache_stats()
        for number, cache in enumerate(caches):
            at = number * _CACHE_COUNTS
            if at < len(self._cache_counts):
                cache.allocations = int(self._cache_counts[at + _CACHE_OK])
                cache.denied = int(self._cache_counts[at + _CACHE_DENIED])
                cache.stalled = int(self._cache_counts[at + _CACHE_STALLED])
                cache.frees = int(self._cache_counts[at + _CACHE_FREES])
                cache.active_objects = cache.allocations - cache.frees
        return MachineStats(
            events=int(self.events),
            last_ts_ns=int(self.last_ts_ns),
            live_handles=int(self.handles.live),
            page_frees=int(self.page_frees),
            object_frees=int(self.object_frees),
            denied_frees=int(self.denied_frees),
            unknown_frees=int(self.unknown_frees),
            reused_handles=int(self.reused_handles),
            kswapd_wakeups=int(pages.kswapd_wakeups),
            pfmemalloc_active=objects.pfmemalloc_active,
            pfmemalloc_activations=int(objects.activations),
            pfmemalloc_deactivations=int(objects.deactivations),
            pfmemalloc_wrong_deactivations=int(objects.wrong_deactivations),
            pfmemalloc_marks=int(pages.pfmemalloc_marks),
            attempts_no_watermarks=int(pages.attempts_no_watermarks),
            attempts_below_min=int(pages.attempts_below_min),
            outcomes=self._outcome_counts(),
            zones=zones,
            caches=caches,
            slab_pages=slab_pages,
        )

    def _outcome_counts(self) -> list[OutcomeCount]:
        counts: list[OutcomeCount] = []
        for index in range(len(self._outcomes)):
            count = int(self._outcomes[index])
            if count:
                rest, outcome = divmod(index, NR_OUTCOMES)
                caller, kind = divmod(rest, NR_KINDS)
                result, path = OUTCOME_NAMES[outcome]
                counts.append(
                    OutcomeCount(CALLER_NAMES[caller], KIND_NAMES[kind], result, path, count)
                )
        return counts

    def verify(self) -> None:
        """Check every invariant; raises :class:`allocator.verify.InvariantError`."""
        pages: list[tuple[int, int]] = self.objects.slab_pages()
        held: list[list[int]] = [[] for _ in self.objects.cache_stats()]
        for number, objp in self.objects.inner_objects():
            held[number].append(objp)
        for _handle, value in self.handles.pairs():
            payload = value >> _VALUE_SHIFT
            if value & _KIND_MASK == _OBJECT:
                held[value >> _CACHE_SHIFT & _CACHE_MASK].append(payload)
            elif value & _KIND_MASK != _DENIED and value != _ZERO_SIZE:
                pages.append((payload >> _ORDER_BITS, payload & ((1 << _ORDER_BITS) - 1)))
        self.pages.verify(pages)
        self.objects.verify(held)

    def digest(self) -> str:
        """SHA-256 over everything that decides later answers or is counted.

        Equal for equal state, whatever the build mode or Python version.
        """
        level = "L3" if self.variant.allocator == "slub" else "L2"
        whole = {
            "variant": self.variant.name,
            "state": self.state(level),
            "pages": self.pages.hidden_state(),
            "objects": self.objects.hidden_state(),
            "events": int(self.events),
            "last_ts_ns": int(self.last_ts_ns),
            "mark": int(self.mark),
            "frees": [
                int(self.page_frees),
                int(self.object_frees),
                int(self.denied_frees),
                int(self.unknown_frees),
                int(self.reused_handles),
                int(self.pages.kswapd_wakeups),
            ],
            "outcomes": [int(count) for count in self._outcomes],
            "caches": [int(count) for count in self._cache_counts],
        }
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode())
        for handle, value in self.handles.pairs():
            digest.update(b"%d=%s;" % (handle, self._meaning(value).encode()))
        return digest.hexdigest()

    def _meaning(self, value: int) -> str:
        """What a handle's value stands for, by pfn rather than by place in a table."""
        payload = value >> _VALUE_SHIFT
        if value & _KIND_MASK == _OBJECT:
            number = value >> _CACHE_SHIFT & _CACHE_MASK
            pfn = int(self.objects.slab_pfn(number, payload))
            return f"{number}/{pfn}/{payload >> INDEX_SHIFT & INDEX_MASK}"
        return str(value)

    def state(self, level: str) -> dict[str, object]:
        """The state as the vectors' digests write it; level L1, L2 or L3."""
        state: dict[str, object] = {"zones": self.pages.state()}
        if level != "L1":
            state.update(self.objects.machine_state())
            state["caches"] = self.objects.state()
        return state
