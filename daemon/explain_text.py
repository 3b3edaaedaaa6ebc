"""What ``pfmemd explain`` prints of an event: lines for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from allocator.gfp import decode
from allocator.leak import LEAK_WAYS
from allocator.machine import Request
from allocator.revision import SEED
from allocator.stats import CacheStats, MachineStats, ZoneStats
from daemon.came_to import SENTENCES, came_to_json, came_to_text, effect_texts, result_of
from daemon.event_text import event_json, event_text
from daemon.explain import (
    DENIED,
    DRAWN,
    FLIP,
    LEAK,
    STALLED,
    Drawn,
    Explanation,
    Seen,
    SlabHistory,
    Tally,
)
from daemon.summary import Json
from tracegen.header import Header
from tracegen.info import duration_text
from tracegen.rule_trace.trace import RULES

_SLAB: Final = "slab"
_KIND_TITLES: Final = {
    DENIED: "denied",
    STALLED: "stalled",
    LEAK: "reserve objects leaked",
    FLIP: "flips of pfmemalloc_active",
    DRAWN: "reserve drawn",
}

# For people.


def explanation_lines(told: Explanation) -> Iterator[str]:
    """The whole story of one event."""
    life = told.life
    yield (
        f"event {told.number:,} of {life.source}, epoch {life.epoch}, under {told.variant.name},"
        f" at {duration_text(told.event.ts_ns)}"
    )
    yield f"  {event_text(told.event, life.header)}"
    if told.request is not None:
        yield from _request_lines(told, told.request)
    yield ""
    yield "before it"
    yield from _context_lines(told)
    yield ""
    yield "what happened"
    yield from _step_lines(told)
    yield ""
    yield "came to"
    yield from _result_lines(told)
    rules = told.story.rules()
    if rules:
        yield ""
        seed = told.variant.revision is SEED
        yield "rules" if seed else "rules, as the mail of 2012 has them"
        yield from (f"  {rule}  {RULES[rule]}" for rule in rules)
    if told.slabs:
        yield ""
        yield "where the reserve objects come from"
        for slab in told.slabs:
            yield from _history_lines(slab, told.number, life.header)
        if told.more_slabs:
            yield f"  and {told.more_slabs} more flagged slabs"


def _request_lines(told: Explanation, request: Request) -> Iterator[str]:
    seen = decode(request.gfp, told.variant.revision.gfp_flavour)
    if seen != decode(told.event.gfp, told.life.header.gfp) or request.memalloc_lent:
        text = f"  {told.variant.revision.name} sees {seen}"
        if request.memalloc_lent:
            text += ", and PF_MEMALLOC for a __GFP_MEMALLOC that it does not know"
        yield text
    entitled = "entitled to the reserve" if request.entitled else "not entitled to the reserve"
    served = f", served by {request.cache}" if request.cache else ""
    yield f"  caller: {request.caller}, {entitled} (P2){served}"


def _context_lines(told: Explanation) -> Iterator[str]:
    width = max(len(zone.zone) for zone in told.before.zones)
    for zone in told.before.zones:
        yield (
            f"  node {zone.node} {zone.zone:<{width}}  {zone.free_pages:,} free; min"
            f" {zone.min_pages:,}, low {zone.low_pages:,}, high {zone.high_pages:,};"
            f" {zone.pcp_pages:,} on cpus' lists, {zone.pfmemalloc_pages:,} of the reserve out"
        )
    if told.variant.allocator == _SLAB and told.variant.revision.pfmemalloc:
        yield f"  pfmemalloc_active is {int(told.before.pfmemalloc_active)}"
    cache = _cache(told)
    if cache is not None:
        yield (
            f"  {cache.name}: {cache.slabs:,} slabs, {cache.pfmemalloc_slabs:,} of them flagged;"
            f" of those {cache.pfmemalloc_objects:,} objects are in use,"
            f" {cache.preserved_objects:,} free"
        )
    flagged = [c for c in told.before.caches if c.pfmemalloc_slabs and c is not cache]
    if flagged:
        names = ", ".join(f"{c.name} {c.pfmemalloc_slabs}" for c in flagged)
        yield f"  flagged slabs elsewhere: {names}"
    for seen in told.leading:
        yield f"  event {seen.number:,}  {_seen_text(seen, told.life.header)}"


def _cache(told: Explanation) -> CacheStats | None:
    if told.request is None or not told.request.cache:
        return None
    return next(c for c in told.before.caches if c.name == told.request.cache)


def _seen_text(seen: Seen, header: Header) -> str:
    result, path = result_of(seen.outcome)
    parts = [event_text(seen.event, header)]
    if result is not None:
        parts.append(f"-> {result}, {path}")
    return " ".join([*parts, *(f"({text})" for text in effect_texts(seen.effects))])


def _step_lines(told: Explanation) -> Iterator[str]:
    if not told.story.steps:
        yield "  nothing but the fast path, of which the outcome says all"
        return
    width = max(len(step.function) for step in told.story.steps)
    for step in told.story.steps:
        yield f"  {step.rule:<2}  {step.function:<{width}}  {step.text}"


def _result_lines(told: Explanation) -> Iterator[str]:
    story = told.story
    yield f"  {came_to_text(story)}"
    if story.outcome:
        yield f"  {SENTENCES[story.outcome]}"
    elif told.event.allocates:
        yield "  ignored: its handle is in use"
    for way in dict.fromkeys(story.leaks):
        yield f"  {way}: {LEAK_WAYS[way]}"
    for before, after in zip(told.before.zones, told.after.zones, strict=True):
        if before.free_pages != after.free_pages:
            yield (
                f"  node {after.node} {after.zone} goes from {before.free_pages:,} to"
                f" {after.free_pages:,} free pages"
            )


def _history_lines(slab: SlabHistory, number: int, header: Header) -> Iterator[str]:
    yield f"  slab {slab.pfn} of {slab.cache}"
    drawn = slab.drawn_by
    if drawn is None:
        yield "    the event that drew its page is not in this trace"
    elif drawn.number == number:
        yield "    this event drew its page"
    else:
        yield f"    event {drawn.number:,} drew its page: {_drawn_text(drawn, header)}"
    if not slab.given:
        yield "    no object of it was given to anybody"
        return
    objects = "object of it was" if slab.given == 1 else "objects of it were"
    text = f"    {slab.given:,} {objects} given since, {slab.given_plain:,} of them to callers"
    text += " who are not entitled"
    if slab.given > len(slab.latest):
        text += f"; the last {len(slab.latest)}"
    yield text + ":"
    for given in slab.latest:
        here = "  <- this event" if given.number == number else ""
        yield f"      event {given.number:,}  {_drawn_text(given, header)}, {_fate(given)}{here}"


def _drawn_text(drawn: Drawn, header: Header) -> str:
    entitled = "entitled" if drawn.request.entitled else "not entitled"
    return f"{event_text(drawn.event, header)}; {drawn.request.caller}, {entitled}"


def _fate(given: Drawn) -> str:
    return "still held" if given.freed_by is None else f"freed by event {given.freed_by:,}"


def overview_lines(
    trace: str, variant: str, tallies: dict[tuple[str, str], Tally]
) -> Iterator[str]:
    """What there is to explain, with numbers of events to ask for."""
    yield f"{trace} under {variant}"
    if not tallies:
        yield "  nothing was denied, stalled or leaked, and the reserve was not drawn"
        return
    for kind, title in _KIND_TITLES.items():
        own = {by: tally for (k, by), tally in tallies.items() if k == kind}
        if not own:
            continue
        yield f"  {title}: {sum(tally.count for tally in own.values()):,}"
        width = max(len(by) for by in own)
        for by, tally in own.items():
            numbers = ", ".join(f"{number:,}" for number in tally.first)
            if tally.count > len(tally.first):
                numbers += f", ... {tally.last:,}"
            yield f"    {by:<{width}}  {tally.count:>7,}  events {numbers}"
    yield "ask for one by its number (--event N), or for the n-th of its kind (--denied N, ...)"


# For programs.


def explanation_json(told: Explanation) -> Json:
    """Everything, as JSON has it."""
    header = told.life.header
    return {
        "source": told.life.source,
        "epoch": told.life.epoch,
        "variant": told.variant.name,
        "event": told.number,
        "what": event_json(told.event, header),
        "request": None
        if told.request is None
        else _request_json(told.request, told.variant.revision.gfp_flavour),
        "before": _stats_json(told.before, told.request),
        "leading": [
            {"event": seen.number, "what": event_json(seen.event, header), **_seen_json(seen)}
            for seen in told.leading
        ],
        "steps": [
            {"function": step.function, "text": step.text, "rule": step.rule or None}
            for step in told.story.steps
        ],
        "came_to": came_to_json(told.story),
        "after": _stats_json(told.after, told.request),
        "rules": {rule: RULES[rule] for rule in told.story.rules()},
        "slabs": [_history_json(slab, header) for slab in told.slabs],
        "more_slabs": told.more_slabs,
    }


def _request_json(request: Request, flavour: str) -> Json:
    return {
        "caller": request.caller,
        "entitled": request.entitled,
        "cache": request.cache or None,
        "gfp": request.gfp,
        "gfp_flags": decode(request.gfp, flavour),
        "gfp_flavour": flavour,
        "memalloc_lent": request.memalloc_lent,
    }


def _seen_json(seen: Seen) -> Json:
    result, path = result_of(seen.outcome)
    return {"result": result, "path": path, "effects": effect_texts(seen.effects)}


def _stats_json(stats: MachineStats, request: Request | None) -> Json:
    cache = None if request is None else request.cache
    return {
        "zones": [_zone_json(zone) for zone in stats.zones],
        "pfmemalloc_active": stats.pfmemalloc_active,
        "caches": [asdict(c) for c in stats.caches if c.name == cache or c.pfmemalloc_slabs],
    }


def _zone_json(zone: ZoneStats) -> Json:
    return {
        "node": zone.node,
        "zone": zone.zone,
        "free": zone.free_pages,
        "min": zone.min_pages,
        "low": zone.low_pages,
        "high": zone.high_pages,
        "pcp": zone.pcp_pages,
        "pfmemalloc_pages": zone.pfmemalloc_pages,
    }


def _history_json(slab: SlabHistory, header: Header) -> Json:
    return {
        "cache": slab.cache,
        "pfn": slab.pfn,
        "drawn_by": None if slab.drawn_by is None else _drawn_json(slab.drawn_by, header),
        "given": slab.given,
        "given_not_entitled": slab.given_plain,
        "latest": [
            {**_drawn_json(given, header), "freed_by": given.freed_by} for given in slab.latest
        ],
    }


def _drawn_json(drawn: Drawn, header: Header) -> Json:
    return {
        "event": drawn.number,
        "caller": drawn.request.caller,
        "entitled": drawn.request.entitled,
        "what": event_json(drawn.event, header),
    }


def overview_json(tallies: dict[tuple[str, str], Tally]) -> Json:
    """Per kind and reason, how often and where."""
    told: Json = {}
    for (kind, by), tally in tallies.items():
        told.setdefault(kind, {})[by] = {
            "count": tally.count,
            "first_events": tally.first,
            "last_event": tally.last,
        }
    return told
