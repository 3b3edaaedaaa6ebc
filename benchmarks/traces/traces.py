"""Traces for the benchmarks of the path around the model: streams of the model's, as batches.

The streams are those of benchmarks/model: a warm-up that makes so many objects live, then
frees and allocations in equal number.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams import GFP_FLAVOUR, cache_specs, machine_config, pages_needed, write_stream

from allocator.config import CacheSpec
from allocator.events import RECORD_SIZE
from tracegen.batch import BatchMaker, encode
from tracegen.header import Header

BATCH_EVENTS = 4096
"""Events of a batch, as ``pfmemd import`` makes them."""
EPOCH = 1
START_NS = 3600 * 10**9
STEP_NS = 1000
WORDS = RECORD_SIZE // 8
SOURCE = "bench"


@dataclass(frozen=True, slots=True)
class Records:
    """Packed records in two parts; only the second is timed where parts are timed."""

    warmup: bytes
    main: bytes

    @property
    def all(self) -> bytes:
        """Both, in order."""
        return self.warmup + self.main

    @property
    def events(self) -> int:
        """How many events the second part has."""
        return len(self.main) // RECORD_SIZE


def make_records(live: int, operations: int, kind: str = "object") -> Records:
    """Make the stream; kind is "object" or "page"."""
    with tempfile.TemporaryDirectory(prefix="pfmemd-bench-") as name:
        folder = Path(name)
        write_stream(kind, live, operations, folder)
        warmup, main = (folder / "warmup.bin").read_bytes(), (folder / "main.bin").read_bytes()
    split = len(warmup)
    timed = with_times(warmup + main)
    return Records(timed[:split], timed[split:])


def with_times(records: bytes) -> bytes:
    """The records a microsecond apart: in readable form a real time has nine bytes, 0 has one."""
    words = array("Q", records)
    events = len(words) // WORDS
    words[::WORDS] = array("Q", range(START_NS, START_NS + events * STEP_NS, STEP_NS))
    return words.tobytes()


def make_header(
    live: int, caches: Sequence[CacheSpec] | None = None, kind: str = "object"
) -> Header:
    """The header under which the stream fits the machine."""
    return Header(
        machine=machine_config(pages_needed(kind, live)),
        caches=tuple(cache_specs() if caches is None else caches),
        gfp=GFP_FLAVOUR,
        clock="mono",
    )


def encoded(
    header: Header, records: bytes, *, readable: bool = False, batch_events: int = BATCH_EVENTS
) -> Iterator[bytes]:
    """The batches of the trace: the header, then the events."""
    maker = BatchMaker(SOURCE, EPOCH)
    yield encode(maker.header(header))
    size = batch_events * RECORD_SIZE
    for at in range(0, len(records), size):
        yield encode(maker.events(records[at : at + size]), readable=readable)
