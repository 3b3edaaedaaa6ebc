"""What the screen shows, worked out of two readings: plain values, no drawing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from daemon import findings
from daemon.live_state import Cache, Source, State, Variant


@dataclass(frozen=True, slots=True)
class Moment:
    """A reading, and when it was taken (any clock that only goes forward)."""

    at: float
    state: State


@dataclass(frozen=True, slots=True)
class CacheRow:
    """One cache: what it holds, and how fast."""

    name: str
    object_size: int
    slabs: int
    objects: int
    in_use: int
    use: float
    """In use of all objects, 0 to 1."""
    bytes: int
    """Of all objects."""
    allocations_rate: float
    frees_rate: float
    denied: int
    flagged: int
    preserved: int


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One model of the chosen source."""

    name: str
    left: float
    lowest_left: float
    ok_rate: float
    denied: int
    denied_rate: float
    entitled_denied: int
    stalled: int
    leaked: int
    flagged: int
    active: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong: how bad, and what."""

    critical: bool
    text: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table of caches: its heading, its cell, what it is sorted by."""

    title: str
    cell: Callable[[CacheRow], str]
    key: Callable[[CacheRow], float | str]


CACHE_COLUMNS: Final = (
    Column("cache", lambda row: row.name, lambda row: row.name),
    Column("size", lambda row: f"{row.object_size:,}", lambda row: row.object_size),
    Column("slabs", lambda row: f"{row.slabs:,}", lambda row: row.slabs),
    Column("objects", lambda row: f"{row.objects:,}", lambda row: row.objects),
    Column("in use", lambda row: f"{row.in_use:,}", lambda row: row.in_use),
    Column("use", lambda row: f"{row.use:.0%}", lambda row: row.use),
    Column("memory", lambda row: size_text(row.bytes), lambda row: row.bytes),
    Column("alloc/s", lambda row: f"{row.allocations_rate:,.0f}", lambda row: row.allocations_rate),
    Column("free/s", lambda row: f"{row.frees_rate:,.0f}", lambda row: row.frees_rate),
    Column("denied", lambda row: f"{row.denied:,}", lambda row: row.denied),
    Column("flagged", lambda row: f"{row.flagged:,}", lambda row: row.flagged),
    Column("kept", lambda row: f"{row.preserved:,}", lambda row: row.preserved),
)
BUSY: Final = next(at for at, column in enumerate(CACHE_COLUMNS) if column.title == "alloc/s")
"""The column that the table is sorted by at first, as in top."""


def size_text(count: int) -> str:
    """Bytes, short: ``512``, ``34.5K``, ``1.2M``."""
    for factor, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if count >= factor:
            return f"{count / factor:.1f}{letter}"
    return str(count)


def rate(now: int, before: int | None, seconds: float) -> float:
    """Growth a second; 0 where there is nothing before, or a counter began anew."""
    if before is None or seconds <= 0 or now < before:
        return 0.0
    return (now - before) / seconds


def same_life(source: str, now: Moment, before: Moment | None) -> Source | None:
    """The source as it was, if its machines are still the same."""
    if before is None:
        return None
    then = before.state.sources.get(source)
    if then is None or then.epoch != now.state.sources[source].epoch:
        return None
    return then


def events_rate(source: str, now: Moment, before: Moment | None) -> float:
    """Events a second."""
    then = same_life(source, now, before)
    if then is None or before is None:
        return 0.0
    return rate(now.state.sources[source].events, then.events, now.at - before.at)


def variant_rows(source: str, now: Moment, before: Moment | None) -> list[VariantRow]:
    """Every model of a source."""
    then = same_life(source, now, before)
    seconds = now.at - before.at if before is not None else 0.0
    rows = []
    for name, variant in now.state.sources[source].variants.items():
        was = None if then is None else then.variants.get(name)
        rows.append(
            VariantRow(
                name=name,
                left=findings.left_of(variant),
                lowest_left=min(map(findings.lowest_left, variant.zones), default=1.0),
                ok_rate=rate(variant.ok, None if was is None else was.ok, seconds),
                denied=variant.denied,
                denied_rate=rate(variant.denied, None if was is None else was.denied, seconds),
                entitled_denied=findings.entitled_denied(variant),
                stalled=variant.stalled,
                leaked=findings.leaked(variant),
                flagged=sum(cache.pfmemalloc_slabs for cache in variant.caches),
                active=variant.pfmemalloc_active,
            )
        )
    return rows


def cache_rows(
    source: str,
    variant: str,
    now: Moment,
    before: Moment | None,
    *,
    column: int,
    reverse: bool,
    wanted: str,
) -> list[CacheRow]:
    """The caches of a model whose name contains ``wanted``, sorted by a column."""
    then = same_life(source, now, before)
    was = None if then is None else then.variants.get(variant)
    seconds = now.at - before.at if before is not None else 0.0
    known = {} if was is None else {cache.name: cache for cache in was.caches}
    rows = [
        _cache_row(cache, known.get(cache.name), seconds)
        for cache in now.state.sources[source].variants[variant].caches
        if wanted.lower() in cache.name.lower()
    ]
    rows.sort(key=lambda row: row.name)
    rows.sort(key=CACHE_COLUMNS[column].key, reverse=reverse)
    return rows


def _cache_row(cache: Cache, was: Cache | None, seconds: float) -> CacheRow:
    return CacheRow(
        name=cache.name,
        object_size=cache.object_size,
        slabs=cache.slabs,
        objects=cache.objects,
        in_use=cache.active_objects,
        use=cache.active_objects / cache.objects if cache.objects else 0.0,
        bytes=cache.objects * cache.object_size,
        allocations_rate=rate(cache.allocations, None if was is None else was.allocations, seconds),
        frees_rate=rate(cache.frees, None if was is None else was.frees, seconds),
        denied=cache.denied,
        flagged=cache.pfmemalloc_slabs,
        preserved=cache.preserved_objects,
    )


def troubles(source: str, variant: str, now: Moment, before: Moment | None) -> list[Trouble]:
    """What is wrong with a model, the worst first."""
    model = now.state.sources[source].variants[variant]
    then = same_life(source, now, before)
    was = None if then is None else then.variants.get(variant)
    found = [*_zone_troubles(model), *_rule_troubles(model)]
    if was is not None and findings.hangs(was, model):
        found.insert(0, Trouble(True, "hang: entitled callers are refused and nothing is freed"))
    return sorted(found, key=lambda trouble: not trouble.critical)


def _rule_troubles(model: Variant) -> Iterator[Trouble]:
    entitled = findings.entitled_denied(model)
    if entitled:
        yield Trouble(True, f"{entitled:,} denials to callers that the reserve is for")
    wrong = model.pfmemalloc_wrong_deactivations
    if wrong:
        yield Trouble(False, f"pfmemalloc_active cleared too early: {wrong:,}")
    leaked = findings.leaked(model)
    if leaked:
        ways = ", ".join(f"{way} {count:,}" for way, count in model.leaks.items() if count)
        yield Trouble(False, f"{leaked:,} objects of the reserve leaked: {ways}")
    errors = model.unknown_frees + model.reused_handles
    if errors:
        yield Trouble(False, f"{errors:,} events contradict those before them")


def _zone_troubles(model: Variant) -> Iterator[Trouble]:
    for zone in model.zones:
        left = findings.left(zone)
        name = f"zone {zone.zone} of node {zone.node}"
        pages = f"{zone.free:,} of {zone.min:,} pages"
        if left < findings.EXHAUSTED:
            yield Trouble(True, f"{name}: reserve exhausted, {pages}")
        elif left < findings.THROTTLED:
            yield Trouble(False, f"{name}: below half of min, {pages}")
        elif zone.exhausted_allocations:
            yield Trouble(False, f"{name}: {zone.exhausted_allocations:,} allocations exhausted it")
