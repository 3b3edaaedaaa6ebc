"""What the daemon's tests are built from: a header, batches, and a machine that only counts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from allocator.config import CacheSpec, MachineConfig
from allocator.events import MARK, PAGE_ALLOC, RECORD_SIZE
from allocator.revision import Variant, parse_variant
from allocator.stats import CacheStats, MachineStats, OutcomeCount, ZoneStats
from daemon.engine import Engine
from daemon.sources import Admitted, MachineFactory
from tracegen.batch import RECORD, Batch, BatchMaker, EventBatch, HeaderBatch, encode
from tracegen.header import Header

CONFIG = MachineConfig(
    cpus=2, cpu_node=(0, 0), nodes=((0, 16384),), zone_end_pfn=(4096, 16384, 16384)
)
HEADER = Header(
    machine=CONFIG,
    caches=(CacheSpec(0, "skbuff_head_cache", 232), CacheSpec(7, "dentry", 192)),
    gfp="v3.3",
    clock="mono",
    labels=("outage", "return"),
)
OTHER_HEADER = Header(machine=CONFIG, caches=(), gfp="v3.3", clock="boot")
VARIANTS = (parse_variant("slab-seed"), parse_variant("slub-seed"))


def record(
    op: int = PAGE_ALLOC, handle: int = 1, *, arg: int = 0, gfp: int = 0x20, ts_ns: int = 1
) -> bytes:
    """One packed event on cpu 0."""
    return RECORD.pack(ts_ns, handle, gfp, arg, 0, -1, op, 0, 0)


def mark(label: int) -> bytes:
    """A MARK event."""
    return record(MARK, 0, arg=label)


def allocations(count: int, first_handle: int = 1) -> bytes:
    """Page allocations under handles of their own."""
    return b"".join(record(handle=first_handle + i, ts_ns=i) for i in range(count))


class FakeMachine:
    """Counts events; its free pages are the machine's less one for each event."""

    free_at_start = 10_000

    def __init__(
        self,
        config: MachineConfig,
        variant: Variant,
        caches: Sequence[CacheSpec],
        gfp_flavour: str | None = None,
    ) -> None:
        self.config = config
        self.variant = variant
        self.caches = caches
        self.gfp_flavour = gfp_flavour
        self.applied: list[bytes] = []
        self.events = 0

    def apply(self, records: bytes) -> None:
        """Remember the records."""
        self.applied.append(records)
        self.events += len(records) // RECORD_SIZE

    def answered(self, records: bytes) -> bytes:
        """Every event comes to 1."""
        self.apply(records)
        return b"\x01" * (len(records) // RECORD_SIZE)

    def standing(self) -> tuple[int, int, int, int, bool]:
        """Free pages, and watermarks that stay."""
        return self.free_at_start - self.events, 10, 20, 30, False

    def live_handles(self) -> int:
        """Every event is one."""
        return self.events

    def digest(self) -> str:
        """Depends on all records and on nothing else."""
        return hashlib.sha256(b"".join(self.applied)).hexdigest()

    def stats(self) -> MachineStats:
        """Numbers that follow from the count of events."""
        free = self.free_at_start - self.events
        return MachineStats(
            events=self.events,
            last_ts_ns=0,
            live_handles=self.events,
            page_frees=1,
            object_frees=2,
            denied_frees=3,
            unknown_frees=4,
            reused_handles=5,
            kswapd_wakeups=6,
            pfmemalloc_active=True,
            pfmemalloc_activations=2,
            pfmemalloc_deactivations=1,
            pfmemalloc_wrong_deactivations=1,
            pfmemalloc_marks=8,
            outcomes=[
                OutcomeCount("plain", "page", "ok", "pcp", self.events),
                OutcomeCount("plain", "object", "denied", "preserved", 7),
                OutcomeCount("pf_memalloc", "page", "ok", "reserve", 8),
                OutcomeCount("pf_memalloc", "page", "stalled", "reclaim", 9),
            ],
            zones=[
                ZoneStats(
                    node=0,
                    zone="Normal",
                    free_pages=free,
                    min_pages=100,
                    low_pages=125,
                    high_pages=150,
                    present_pages=16000,
                    spanned_pages=16384,
                    managed_pages=15900,
                    lowest_free_pages=free,
                    pcp_pages=12,
                    pfmemalloc_pages=3,
                    free_blocks=[4, 5],
                    lowmem_reserve=[0, 0, 256],
                    below_min_events=3,
                    reserve_left=[1, 0, 0, 0, 0, 0, 2, 0],
                    reserve_drawn_permille=1350,
                )
            ],
            caches=[fake_cache(spec.name, 10 * (i + 1)) for i, spec in enumerate(self.caches)],
            slab_pages=[(20, 30)],
        )


def fake_cache(name: str, allocations: int) -> CacheStats:
    """A cache that was asked ``allocations`` times."""
    return CacheStats(
        name=name,
        object_size=192,
        objects_per_slab=20,
        pages_per_slab=1,
        slabs=2,
        objects=40,
        active_objects=allocations,
        pfmemalloc_slabs=1,
        pfmemalloc_objects=2,
        preserved_objects=18,
        allocations=allocations,
        denied=1,
        stalled=0,
        frees=0,
        counters={"allochit": 5, "alloc_fastpath": 6},
        leaks={"node_path": 4},
    )


class FailingMachine(FakeMachine):
    """Fails in SLUB when it sees handle 13."""

    def apply(self, records: bytes) -> None:
        """Raise for handle 13."""
        super().apply(records)
        if self.variant.allocator == "slub" and (13).to_bytes(8, "little") in records:
            raise AssertionError("free list is not sorted")


class Machines:
    """A machine factory that remembers what it made."""

    def __init__(self, kind: type[FakeMachine] = FakeMachine) -> None:
        self.kind = kind
        self.made: list[FakeMachine] = []

    def __call__(
        self,
        config: MachineConfig,
        variant: Variant,
        caches: Sequence[CacheSpec],
        gfp_flavour: str | None,
    ) -> FakeMachine:
        """Make one."""
        self.made.append(self.kind(config, variant, caches, gfp_flavour))
        return self.made[-1]


def new_engine(machines: MachineFactory | None = None, max_sources: int = 4) -> Engine:
    """An engine over fake machines, whose wall clock stands still."""
    return Engine(VARIANTS, max_sources, machines or Machines(), lambda: 1_000.0)


def offer(engine: Engine, batch: Batch) -> str:
    """Admit and apply ``batch``; what became of it. Refusals raise."""
    verdict = engine.admit(batch, encode(batch))
    if isinstance(verdict, Admitted):
        engine.apply(verdict)
        return "applied"
    return verdict.value


def header_batch(source: str = "a", epoch: int = 5, header: Header = HEADER) -> HeaderBatch:
    """The batch that opens ``epoch``."""
    return HeaderBatch(source, epoch, header)


def events_batch(seq: int, records: bytes, source: str = "a", epoch: int = 5) -> EventBatch:
    """Batch ``seq`` of ``epoch``."""
    return EventBatch(source, epoch, seq, records)


def encoded_trace(*batches: bytes, source: str = "a", epoch: int = 5) -> bytes:
    """A trace: the header and each of ``batches`` (records)."""
    maker = BatchMaker(source, epoch)
    parts = [encode(maker.header(HEADER))]
    parts.extend(encode(maker.events(records)) for records in batches)
    return b"".join(parts)
