"""What is in a trace: counted in one pass, in memory that does not grow with it."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from allocator.config import PAGE_SIZE, ZONE_NAMES, MachineConfig
from allocator.events import (
    CTX_NAMES,
    KMALLOC,
    MARK,
    OBJ_ALLOC,
    OP_NAMES,
    PAGE_ALLOC,
)
from allocator.gfp import decode
from tracegen.batch import HeaderBatch
from tracegen.header import Header
from tracegen.trace_file import Entry

_COUNTED: Final = struct.Struct("<16xII4xBB2x")
"""gfp, arg, op and ctx of a record. Counting whole tuples and taking them apart once a
batch costs 0.15 us an event, a loop over the events five times that."""
_TIME: Final = struct.Struct("<Q24x")

MAX_GFP_MASKS: Final = 1024
"""Distinct masks that are told apart; the rest count under "other"."""
OTHER: Final = "other"

_ALLOCATIONS: Final = (PAGE_ALLOC, OBJ_ALLOC, KMALLOC)


@dataclass(slots=True)
class SourceInfo:
    """One source: its lives, and the header of the last one."""

    header: Header
    first_epoch: int
    last_epoch: int
    epochs: int = 0
    batches: int = 0
    events: int = 0
    first_ts_ns: int | None = None
    last_ts_ns: int | None = None

    @property
    def span_ns(self) -> int:
        """From the earliest to the latest event."""
        if self.first_ts_ns is None or self.last_ts_ns is None:
            return 0
        return self.last_ts_ns - self.first_ts_ns


@dataclass(slots=True)
class TraceInfo:
    """The counts over a whole trace. Add every entry in turn."""

    batches: int = 0
    events: int = 0
    size_bytes: int = 0
    """Bytes of the batches, decompressed."""
    sources: dict[str, SourceInfo] = field(default_factory=dict)
    by_op: Counter[str] = field(default_factory=Counter)
    by_context: Counter[str] = field(default_factory=Counter)
    """Every event, by the names of its context bits."""
    by_gfp: Counter[str] = field(default_factory=Counter)
    """Allocations, by the mask's name in the header's flavour."""
    by_cache: Counter[str] = field(default_factory=Counter)
    """OBJ_ALLOC events."""
    by_order: Counter[int] = field(default_factory=Counter)
    """PAGE_ALLOC events."""
    by_size: Counter[int] = field(default_factory=Counter)
    """KMALLOC events, by the power of two that their bytes fit in."""
    by_label: Counter[str] = field(default_factory=Counter)
    """MARK events."""

    def add(self, entry: Entry) -> None:
        """Count one batch."""
        batch = entry.batch
        self.batches += 1
        self.size_bytes += len(entry.data)
        if isinstance(batch, HeaderBatch):
            source = self.sources.get(batch.source)
            if source is None:
                source = SourceInfo(batch.header, batch.epoch, batch.epoch)
                self.sources[batch.source] = source
            source.header = batch.header
            source.last_epoch = batch.epoch
            source.epochs += 1
            source.batches += 1
            return
        source = self.sources[batch.source]
        source.batches += 1
        if not batch.records:
            return
        self.events += batch.events
        source.events += batch.events
        (first,) = min(_TIME.iter_unpack(batch.records))
        (last,) = max(_TIME.iter_unpack(batch.records))
        source.first_ts_ns = first if source.first_ts_ns is None else min(source.first_ts_ns, first)
        source.last_ts_ns = last if source.last_ts_ns is None else max(source.last_ts_ns, last)
        self._count(batch.records, entry.header)

    def _count(self, records: bytes, header: Header) -> None:
        caches = {cache.id: cache.name for cache in header.caches}
        by_mask: Counter[int] = Counter()
        for (gfp, arg, op, ctx), count in Counter(_COUNTED.iter_unpack(records)).items():
            self.by_op[OP_NAMES[op]] += count
            self.by_context[context_name(ctx)] += count
            if op in _ALLOCATIONS:
                by_mask[gfp] += count
            if op == PAGE_ALLOC:
                self.by_order[arg] += count
            elif op == OBJ_ALLOC:
                self.by_cache[caches[arg]] += count
            elif op == KMALLOC:
                self.by_size[1 << max(arg - 1, 0).bit_length()] += count
            elif op == MARK:
                self.by_label[header.labels[arg]] += count
        for gfp, count in by_mask.items():
            name = decode(gfp, header.gfp)
            if name not in self.by_gfp and len(self.by_gfp) >= MAX_GFP_MASKS:
                name = OTHER
            self.by_gfp[name] += count

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON has it; the most frequent come first."""
        return {
            "batches": self.batches,
            "events": self.events,
            "size_bytes": self.size_bytes,
            "sources": {name: _source_json(source) for name, source in self.sources.items()},
            "by_op": dict(self.by_op.most_common()),
            "by_context": dict(self.by_context.most_common()),
            "by_gfp": dict(self.by_gfp.most_common()),
            "by_cache": dict(self.by_cache.most_common()),
            "by_order": dict(sorted(self.by_order.items())),
            "by_size": dict(sorted(self.by_size.items())),
            "by_label": dict(self.by_label.most_common()),
        }


def context_name(ctx: int) -> str:
    """The names of the context bits, ``task`` for none of them."""
    return "|".join(name for bit, name in CTX_NAMES.items() if ctx & bit) or "task"


def _source_json(source: SourceInfo) -> dict[str, object]:
    return {
        "epochs": source.epochs,
        "first_epoch": source.first_epoch,
        "last_epoch": source.last_epoch,
        "batches": source.batches,
        "events": source.events,
        "first_ts_ns": source.first_ts_ns,
        "last_ts_ns": source.last_ts_ns,
        "span_ns": source.span_ns,
        "header": source.header.to_wire(),
    }


def machine_summary(machine: MachineConfig) -> str:
    """One line on the machine, zones as far as its memory reaches into them."""
    pages = sum(end - first for first, end in machine.nodes)
    pages -= sum(end - first for first, end in machine.reserved)
    zones = []
    start = 0
    for name, end in zip(ZONE_NAMES, machine.zone_end_pfn, strict=True):
        if any(max(first, start) < min(last, end) for first, last in machine.nodes):
            zones.append(name)
        start = end
    reserve = f"{machine.min_free_kbytes} kB" if machine.min_free_kbytes else "the kernel's own"
    return ", ".join(
        (
            _plural(machine.cpus, "cpu"),
            _plural(len(machine.nodes), "node"),
            f"{pages * PAGE_SIZE / (1 << 20):,.0f} MiB in {', '.join(zones)}",
            f"min_free_kbytes {reserve}",
            "NUMA" if machine.numa else "UMA",
        )
    )


def duration_text(nanoseconds: int) -> str:
    """A duration for people: ``1 h 2 min 3.4 s``."""
    seconds = nanoseconds / 1e9
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours} h"] if hours else []
    parts += [f"{minutes} min"] if hours or minutes else []
    return " ".join([*parts, f"{seconds:.3f} s"])


def render(info: TraceInfo, name: str, top: int) -> Iterator[str]:
    """Lines for people; at most ``top`` rows in each table."""
    yield f"{'trace':<10}{name}"
    yield (
        f"{'':<10}{info.events:,} events in {_plural(info.batches, 'batch', 'batches')},"
        f" {info.size_bytes:,} bytes"
    )
    for source_name, source in info.sources.items():
        yield from _render_source(source_name, source)
    tables: tuple[tuple[str, Counter[str] | dict[str, int]], ...] = (
        ("op", info.by_op),
        ("context", info.by_context),
        ("gfp of allocations", info.by_gfp),
        ("cache of OBJ_ALLOC", info.by_cache),
        ("order of PAGE_ALLOC", {str(k): v for k, v in info.by_order.items()}),
        ("KMALLOC up to", {f"{k} bytes": v for k, v in info.by_size.items()}),
        ("MARK", info.by_label),
    )
    for title, counts in tables:
        if counts:
            yield ""
            yield from _render_table(title, Counter(counts), top)


def _render_source(name: str, source: SourceInfo) -> Iterator[str]:
    header = source.header
    epochs = f"epoch {source.last_epoch}"
    if source.epochs > 1:
        epochs = f"{source.epochs} epochs, {source.first_epoch} to {source.last_epoch}"
    yield ""
    yield (
        f"{'source':<10}{name}: {epochs}; {_plural(source.batches, 'batch', 'batches')},"
        f" {source.events:,} events"
    )
    span = f"{duration_text(source.span_ns)} ({source.span_ns:,} ns, clock {header.clock})"
    yield f"{'span':<10}{span}"
    yield f"{'machine':<10}{machine_summary(header.machine)}"
    yield (
        f"{'caches':<10}{len(header.caches)}; labels {len(header.labels)}; gfp masks as in"
        f" {header.gfp}"
    )
    made = " ".join(part for part in (header.made.tool, header.made.version) if part)
    for text in (made, header.made.command, header.made.text):
        if text:
            yield f"{'made':<10}{text}"


def _render_table(title: str, counts: Counter[str], top: int) -> Iterator[str]:
    rows = counts.most_common(top)
    total = counts.total()
    width = max(len(title), *(len(name) for name, _ in rows))
    yield f"{title:<{width}}  {'events':>12}  {'share':>7}"
    for name, count in rows:
        yield f"{name:<{width}}  {count:>12,}  {count / total:>7.2%}"
    rest = len(counts) - len(rows)
    if rest > 0:
        count = total - sum(count for _, count in rows)
        yield f"{f'{rest} more':<{width}}  {count:>12,}  {count / total:>7.2%}"


def _plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
