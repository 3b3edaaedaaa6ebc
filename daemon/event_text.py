"""One event of a trace in words and in JSON: what was asked for, by whom, on which cpu."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from allocator.events import (
    CTX_NAMES,
    KMALLOC,
    MARK,
    MIN_FREE,
    OBJ_ALLOC,
    OP_NAMES,
    PAGE_ALLOC,
    REAP,
    SHRINK,
)
from allocator.gfp import decode
from daemon.summary import Json
from tracegen.header import Header

_RECORD: Final = struct.Struct("<QqIIHhBBH")
"""As in :mod:`allocator.events`, the handle signed as the model keeps it."""
ALLOCATIONS: Final = frozenset({PAGE_ALLOC, OBJ_ALLOC, KMALLOC})
ANY_NODE: Final = -1


@dataclass(frozen=True, slots=True)
class Event:
    """The fields of one packed record."""

    ts_ns: int
    handle: int
    gfp: int
    arg: int
    cpu: int
    node: int
    op: int
    ctx: int

    @property
    def allocates(self) -> bool:
        """Whether something is asked for."""
        return self.op in ALLOCATIONS


def event_of(record: bytes) -> Event:
    """Unpack a record."""
    return Event(*_RECORD.unpack(record)[:8])


def context_names(event: Event) -> list[str]:
    """The context bits by name; none is an ordinary task."""
    return [name for bit, name in CTX_NAMES.items() if event.ctx & bit]


def event_json(event: Event, header: Header) -> Json:
    """The event as JSON has it; only the fields that its op gives a meaning."""
    told: Json = {"op": OP_NAMES[event.op], "ts_ns": event.ts_ns, "cpu": event.cpu}
    if event.op not in {REAP, SHRINK, MIN_FREE, MARK}:
        told["handle"] = event.handle & 0xFFFFFFFFFFFFFFFF
    if event.allocates:
        told |= {
            "gfp": event.gfp,
            "gfp_flags": decode(event.gfp, header.gfp),
            "gfp_flavour": header.gfp,
            "node": event.node,
            "context": context_names(event),
        }
    what = _what(event, header)
    if what is not None:
        told[what[0]] = what[1]
    return told


def event_text(event: Event, header: Header) -> str:
    """One line: ``OBJ_ALLOC skbuff_head_cache, GFP_ATOMIC, cpu 1, softirq``."""
    words = OP_NAMES[event.op]
    what = _what(event, header)
    if what is not None:
        name, value = what
        words += f" {value}" if isinstance(value, str) else f" {_UNITS[name].format(value)}"
    parts = [words]
    if event.allocates:
        parts.append(decode(event.gfp, header.gfp))
    parts.append(f"cpu {event.cpu}")
    if event.allocates and event.node != ANY_NODE:
        parts.append(f"node {event.node}")
    return ", ".join([*parts, *context_names(event)])


_UNITS: Final = {"order": "order {}", "bytes": "{} bytes", "kbytes": "{} kB"}


def _what(event: Event, header: Header) -> tuple[str, str | int] | None:
    """What the event's ``arg`` means: a name and a value."""
    if event.op == PAGE_ALLOC:
        return "order", event.arg
    if event.op == KMALLOC:
        return "bytes", event.arg
    if event.op == MIN_FREE:
        return "kbytes", event.arg
    if event.op == MARK:
        return "label", header.labels[event.arg]
    if event.op in {OBJ_ALLOC, SHRINK}:
        return "cache", next(cache.name for cache in header.caches if cache.id == event.arg)
    return None
