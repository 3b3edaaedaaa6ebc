"""Profiles: what a real machine asked for, reduced to rates and lifetimes.

A profile is a table of classes of requests, each with how many there were in a second, how
long they lived and in which context they were freed. ``pfmemd trace profile`` makes
one from a part of a trace; a scenario's load of kind ``profile`` draws from it. What the
scenario's own mechanisms make already is left out with ``--minus``.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from allocator.config import CacheSpec
from allocator.events import CTX_PF_MEMALLOC, KMALLOC, OBJ_ALLOC, OP_NAMES, PAGE_ALLOC
from allocator.gfp import FLAVOURS, decode, encode
from tracegen.errors import PfmemdError
from tracegen.header import Header
from tracegen.likeness.portrait import kmalloc_size
from tracegen.likeness.sample import Reservoir
from tracegen.likeness.walk import ALLOCATIONS, Event, Life, Part, walk
from tracegen.quantiles import mean_of

QUANTILES: Final = 16
GAP_QUANTILES: Final = 64
_SAMPLE_OF_A_CLASS: Final = 4000
_LEAST: Final = 3
"""Events of a class below which it is left out."""
_SECOND: Final = 1_000_000_000


@dataclass(slots=True)
class Kind:
    """One class of requests as it is counted."""

    count: int = 0
    bytes: Counter[int] = field(default_factory=Counter)
    lives: Reservoir = field(default_factory=lambda: Reservoir(_SAMPLE_OF_A_CLASS))
    freed_in: Counter[int] = field(default_factory=Counter)


Key = tuple[int, str, int, int]
"""op, cache or order or kmalloc bucket, gfp mask, ctx."""


@dataclass(slots=True)
class Counts:
    """What was counted of a part of a trace."""

    header: Header | None = None
    span_ns: int = 0
    kinds: dict[Key, Kind] = field(default_factory=dict)
    gaps: Reservoir = field(default_factory=lambda: Reservoir(100_000))


def count(path: str, part: Part) -> Counts:
    """Read a part of a trace; frees of what was allocated in it are followed to the trace's end."""
    counter = _Counter()
    for found in walk(path, part):
        if isinstance(found, Life):
            counter.begin(found.header)
        else:
            counter.add(found)
    return counter.counts


class _Counter:
    """Counts allocations, how long each lived and where it was freed."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._born: dict[tuple[str, int], tuple[int, Kind]] = {}
        self._names: dict[int, str] = {}
        self._memalloc_bit = 0
        self._last: int | None = None

    def begin(self, header: Header) -> None:
        """Another machine, or another life of one."""
        self.counts.header = header
        self._names = {cache.id: cache.name for cache in header.caches}
        self._memalloc_bit = FLAVOURS[header.gfp].get("__GFP_MEMALLOC", 0)

    def add(self, event: Event) -> None:
        """Count one event."""
        handle = (event.source, event.handle)
        if event.inside:
            self._pass_time(event.ts_ns)
        if event.op not in ALLOCATIONS:
            origin = self._born.pop(handle, None)
            if origin is not None:
                origin[1].lives.add(max(0, event.ts_ns - origin[0]))
                origin[1].freed_in[event.ctx] += 1
        elif event.inside:
            kind = self.counts.kinds.setdefault(self._key(event), Kind())
            kind.count += 1
            kind.bytes[event.arg] += event.op == KMALLOC
            self._born[handle] = (event.ts_ns, kind)

    def _pass_time(self, now: int) -> None:
        if self._last is not None:
            gap = max(0, now - self._last)
            self.counts.span_ns += gap
            self.counts.gaps.add(gap)
        self._last = now

    def _key(self, event: Event) -> Key:
        ctx = event.ctx
        if event.gfp & self._memalloc_bit:
            ctx &= ~CTX_PF_MEMALLOC  # the same right twice; a tracer shows only this one
        return event.op, _what(event.op, event.arg, self._names), event.gfp, ctx


def _what(op: int, arg: int, names: dict[int, str]) -> str:
    if op == OBJ_ALLOC:
        return names[arg]
    if op == PAGE_ALLOC:
        return str(arg)
    return str(kmalloc_size(arg))


def write_profile(
    real: Counts, minus: Counts | None, plus: dict[Key, float] | None, origin: str
) -> str:
    """The profile as TOML: rates of ``real`` less those of ``minus``, plus those of ``plus``.

    ``minus`` is a trace made by the scenario that the profile is for, so that what its own
    mechanisms make is left out; ``plus`` the profile that this trace was made with, if any.
    """
    if real.header is None or not real.span_ns:
        raise PfmemdError("the part of the trace that was asked for has no events")
    if minus is not None and minus.header is not None and minus.header.gfp != real.header.gfp:
        raise PfmemdError(
            f"the traces have masks of different kernels: {real.header.gfp} and {minus.header.gfp}"
        )
    seconds = real.span_ns / _SECOND
    rows = []
    used: set[str] = set()
    for key in sorted(real.kinds):
        kind = real.kinds[key]
        if kind.count < _LEAST:
            continue
        rate = kind.count / seconds - _rate(minus, key) + (plus or {}).get(key, 0.0)
        if rate <= 0:
            continue
        rows.append(_row(key, kind, rate, real.header.gfp))
        if key[0] == OBJ_ALLOC:
            used.add(key[1])
    caches = [cache for cache in real.header.caches if cache.name in used]
    return "\n".join([*_head(real, origin), *map(_cache_row, caches), "", *rows, ""])


def read_rates(path: str) -> dict[Key, float]:
    """The rates of a profile that was written before; raises :class:`PfmemdError` if it is none."""
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
        ops = {name: op for op, name in OP_NAMES.items()}
        return {
            (
                ops[row["op"]],
                _what(ops[row["op"]], int(row["what"]), {})
                if row["op"] != "OBJ_ALLOC"
                else row["what"],
                encode(row["gfp"], table["gfp"]),
                row["ctx"],
            ): row["per_second"]
            for row in table["class"]
        }
    except (OSError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise PfmemdError(f"{path} is no profile: {error}") from error


def _rate(counts: Counts | None, key: Key) -> float:
    if counts is None or key not in counts.kinds:
        return 0.0
    return counts.kinds[key].count / (counts.span_ns / _SECOND)


def _head(real: Counts, origin: str) -> list[str]:
    assert real.header is not None  # noqa: S101 - checked by the caller
    quantiles = keep_mean(real.gaps.quantiles(GAP_QUANTILES), real.span_ns / real.gaps.count)
    gaps = ", ".join(map(str, quantiles))
    return [
        "# Made by pfmemd trace profile. Rates and lifetimes of the requests of",
        f"# {origin}.",
        f'gfp = "{real.header.gfp}"',
        f"# quantiles of the time between events, ns: 0, 1/{GAP_QUANTILES}, ... 1; the last one is",
        "# such that their mean is that of the trace",
        f"gaps_ns = [{gaps}]",
        "",
        "[caches]",
    ]


def _cache_row(cache: CacheSpec) -> str:
    return f'"{cache.name}" = {{size = {cache.size}, align = {cache.align}, flags = {cache.flags}}}'


def _row(key: Key, kind: Kind, rate: float, flavour: str) -> str:
    op, what, gfp, ctx = key
    if op == KMALLOC:
        what = str(kind.bytes.most_common(1)[0][0])
    lives = ", ".join(str(life) for life in kind.lives.quantiles(QUANTILES))
    frees = ", ".join(f"[{context}, {number}]" for context, number in sorted(kind.freed_in.items()))
    return (
        f'[[class]]\nop = "{OP_NAMES[op]}"\nwhat = "{what}"\ngfp = "{decode(gfp, flavour)}"\n'
        f"ctx = {ctx}\nper_second = {rate:.4f}\n"
        f"freed = {kind.lives.count / kind.count:.4f}\nlives_ns = [{lives}]\nfrees = [{frees}]\n"
    )


def keep_mean(quantiles: list[int], mean: float) -> list[int]:
    """The quantiles with another greatest value, so that their mean is ``mean``.

    Of the few longest gaps one may be thousands of times as long as the rest, and drawn in
    proportion it would make all others too short.
    """
    low, high = quantiles[-2], quantiles[-1]
    while high - low > 1:
        middle = (low + high) // 2
        if mean_of([*quantiles[:-1], middle]) < mean:
            low = middle
        else:
            high = middle
    return [*quantiles[:-1], high]
