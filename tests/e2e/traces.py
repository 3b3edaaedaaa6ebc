"""Traces for the tests here, written from the format's description.

What a trace looks like is written out once more, and not taken from the project's own
reader and writer: those are among the things that are tested.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgpack

RECORD = struct.Struct("<QQIIHhBBH")
PAGE_ALLOC, PAGE_FREE, OBJ_ALLOC, OBJ_FREE, KMALLOC, REAP, MIN_FREE, MARK = 1, 2, 3, 4, 5, 6, 8, 9
PF_MEMALLOC = 1
GFP_ATOMIC, GFP_KERNEL = 0x20, 0xD0
BATCH_EVENTS = 500

Event: TypeAlias = tuple[int, int, int, int, int, int, int, int]
"""Op, ts_ns, handle, gfp, arg, cpu, node, ctx."""


def batches(trace: Path) -> list[dict[str, Any]]:
    """The batches of a trace file, as msgpack maps."""
    with trace.open("rb") as file:
        return list(msgpack.Unpacker(file, max_buffer_size=1 << 20))


def events(trace: Path) -> Iterator[Event]:
    """The events of a trace file, whichever form they have."""
    for batch in batches(trace):
        for event in batch.get("events", ()):
            yield tuple(event)
        for ts, handle, gfp, arg, cpu, node, op, ctx, _ in RECORD.iter_unpack(
            batch.get("packed", b"")
        ):
            yield op, ts, handle, gfp, arg, cpu, node, ctx


def write(trace: Path, source: str, rows: list[Event]) -> Path:
    """A trace of one source on the small machine, in readable form; the path again."""
    common = {"v": 1, "source": source, "epoch": 1}
    with trace.open("wb") as file:
        file.write(msgpack.packb({**common, "seq": 1, "header": HEADER}))
        for seq, at in enumerate(range(0, len(rows), BATCH_EVENTS), start=2):
            part = rows[at : at + BATCH_EVENTS]
            file.write(msgpack.packb({**common, "seq": seq, "events": part}))
    return trace


PAGES = 4096
MIN_PAGES = 256
SKBUFF, DENTRY, LARGE, PAGEFUL = 0, 1, 2, 3
PHASES = ("filling", "drawing", "pausing")
HEADER = {
    "machine": {
        "cpus": 1,
        "cpu_node": [0],
        "nodes": [[0, PAGES]],
        "zone_end_pfn": [0, PAGES, PAGES],
        "min_free_kbytes": MIN_PAGES * 4,
    },
    "caches": [
        {"id": SKBUFF, "name": "skbuff_head_cache", "size": 232},
        {"id": DENTRY, "name": "dentry", "size": 192},
        {"id": LARGE, "name": "request_queue", "size": 2048},
        {"id": PAGEFUL, "name": "names_cache", "size": 4096, "flags": 0x2000},
    ],
    "gfp": "v3.3",
    "clock": "mono",
    "labels": list(PHASES),
}
"""A machine of 16 MiB, a sixteenth of it reserve."""


class Script:
    """Writes down, event by event, what a task does."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ts_ns = 0
        self._handle = 0

    def alloc(self, op: int, *, gfp: int = GFP_KERNEL, arg: int = 0, ctx: int = 0) -> int:
        """An allocation; returns the handle of what it may have got."""
        self._handle += 1
        self.events.append((op, self.ts_ns, self._handle, gfp, arg, 0, -1, ctx))
        return self._handle

    def free(self, op: int, handles: list[int]) -> None:
        """The end of what these handles stand for."""
        self.events += [(op, self.ts_ns, handle, 0, 0, 0, -1, 0) for handle in handles]

    def pages(self, count: int) -> list[int]:
        """Pages for a task that has PF_MEMALLOC."""
        return [self.alloc(PAGE_ALLOC, ctx=PF_MEMALLOC) for _ in range(count)]

    def mark(self, phase: int) -> None:
        """The beginning of a phase."""
        self.events.append((MARK, self.ts_ns, 0, 0, phase, 0, -1, 0))

    def reap(self) -> None:
        """The caches give back what they do not need."""
        self.events += [(REAP, self.ts_ns, 0, 0, 0, 0, -1, 0)] * 4

    def min_free_pages(self, pages: int) -> None:
        """The administrator sets the reserve."""
        self.events.append((MIN_FREE, self.ts_ns, 0, 0, pages * 4, 0, -1, 0))

    def flip(self) -> None:
        """Two flips of pfmemalloc_active, the second one wrong (rule A9).

        A cache of one object a slab gets a reserve slab; when there are pages again, a plain
        caller has it un-flagged, and the cache finds no other: the global flag falls, whatever
        the other caches hold.
        """
        self.free(OBJ_FREE, [self.alloc(OBJ_ALLOC, arg=PAGEFUL, ctx=PF_MEMALLOC)])
        self.min_free_pages(MIN_PAGES // 16)
        self.free(OBJ_FREE, [self.alloc(OBJ_ALLOC, arg=PAGEFUL)])
        self.reap()
        self.min_free_pages(MIN_PAGES)


def drained() -> list[Event]:
    """A task with PF_MEMALLOC takes pages until none is left, and more."""
    script = Script()
    script.pages(PAGES + 99)
    return script.events


def drawn(rounds: int = 150, round_ns: int = 200_000_000) -> list[Event]:
    """All the time, everything happens that a dashboard shows, for half a minute.

    Below a quarter of min, an entitled task takes pages and objects of the reserve and gives most
    of them back, while others ask in vain, wait, or are handed what they should not have.
    """
    script = Script()
    script.mark(0)
    script.pages(PAGES - MIN_PAGES // 4)
    for number in range(rounds):
        script.ts_ns += round_ns
        script.mark(1 + number % 2)
        # The last pages go faster than they come back, so that a line through them meets zero.
        pages = script.pages(2 + number % 8 * 4)
        objects = [script.alloc(OBJ_ALLOC, arg=SKBUFF, ctx=PF_MEMALLOC) for _ in range(40)]
        script.free(OBJ_FREE, objects[:30])
        objects = objects[30:] + [script.alloc(OBJ_ALLOC, arg=SKBUFF) for _ in range(10)]
        objects += [script.alloc(OBJ_ALLOC, gfp=gfp, arg=LARGE) for gfp in (GFP_KERNEL, GFP_ATOMIC)]
        objects += [script.alloc(OBJ_ALLOC, gfp=GFP_ATOMIC, arg=DENTRY) for _ in range(3)]
        pages += [script.alloc(PAGE_ALLOC, gfp=gfp) for gfp in (GFP_KERNEL, GFP_ATOMIC)]
        # A block that there is not, even for those who may have every page.
        pages.append(script.alloc(PAGE_ALLOC, arg=9, ctx=PF_MEMALLOC))
        script.free(OBJ_FREE, objects)
        script.free(PAGE_FREE, pages)
        script.flip()
    return script.events
