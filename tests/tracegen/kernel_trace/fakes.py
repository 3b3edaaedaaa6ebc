"""Kernel traces of a few lines, and imports of them."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from allocator.events import MARK, OP_NAMES
from tracegen.batch import Batch, HeaderBatch, rows
from tracegen.header import Header
from tracegen.kernel_trace.importer import Importer, Options
from tracegen.kernel_trace.kernel_event import Event
from tracegen.kernel_trace.lines import TraceText
from tracegen.kernel_trace.report import Report
from tracegen.samples import FREE_PAGES, GROUND_TRUTH, PROC, TRACE

DATA: Final = Path(__file__).parents[2] / "data" / "traces"
SAMPLE_FREE: Final = {
    (0, name): int(pages) for name, _, pages in (p.partition("=") for p in FREE_PAGES.split(","))
}
NULL: Final = "0000000000000000"


@dataclass(frozen=True, slots=True)
class Row:
    """One event of a trace of ours."""

    op: str
    handle: int
    gfp: int
    arg: int
    cpu: int
    node: int
    ctx: int
    ts_ns: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made: the header, the prelude, the events behind it, the report."""

    header: Header
    prelude: list[Row]
    events: list[Row]
    report: Report
    records: bytes

    def brief(self) -> list[tuple[str, int]]:
        """(op, handle) of each event, handles counted from 1 at the trace's beginning."""
        first = max((row.handle for row in self.prelude), default=0)
        return [(row.op, row.handle - first) for row in self.events]

    @property
    def left_out(self) -> int:
        """Number of events that were understood and came to nothing."""
        return sum(self.report.left_out.values())

    def category(self, name: str) -> int:
        """Number of events in a category."""
        return self.report.by_category()[name]


def options(**given: Any) -> Options:  # noqa: ANN401  # whatever Options takes
    """Options of a small machine, changed as given."""
    return Options(**{"source": "test", "epoch": 1, **given})


def imported(path: Path | str, given: Options) -> Imported:
    """Import a file and take apart what came of it."""
    batches: list[Batch] = []
    report = Importer(str(path), given, batches.append).run()
    header = batches[0]
    assert isinstance(header, HeaderBatch)
    records = b"".join(b.records for b in batches if not isinstance(b, HeaderBatch))
    found = [
        Row(OP_NAMES[op], handle, gfp, arg, cpu, node, ctx, ts_ns)
        for op, ts_ns, handle, gfp, arg, cpu, node, ctx in rows(records)
    ]
    begin = [row.op for row in found].index(OP_NAMES[MARK]) + 1
    return Imported(header.header, found[:begin], found[begin:], report, records)


def sample(**given: Any) -> Imported:  # noqa: ANN401
    """Import the sample as the demo does."""
    return imported(TRACE, options(**{"proc": PROC, "free_pages": SAMPLE_FREE, **given}))


def unpacked(path: Path) -> str:
    """The text in an .xz file."""
    return lzma.decompress(path.read_bytes()).decode()


def sample_lines() -> list[str]:
    """The text of the sample."""
    return unpacked(TRACE).splitlines()


def free_readings() -> list[tuple[float, int, int]]:
    """What was recorded beside the sample: (seconds, free pages of DMA, of DMA32)."""
    return [
        (float(seconds), int(dma), int(dma32))
        for seconds, dma, dma32 in re.findall(
            r" ([\d.]+): tracing_mark_write: zones: .*zone=DMA free=(\d+) .*zone=DMA32 free=(\d+)",
            unpacked(GROUND_TRUTH),
        )
    ]


class Reading:
    """Events and bad lines of some lines, read by the portable way."""

    def __init__(self, *lines: str, kernel: tuple[int, int] = (0, 0)) -> None:
        self.bad: list[tuple[int, str, str]] = []
        self.text = TraceText(lambda *bad: self.bad.append(bad), kernel)
        self.events: list[Event] = self.text.events(list(lines))

    def brief(self) -> list[Brief]:
        """What each event says."""
        return [brief(self.text, event) for event in self.events]


@dataclass(frozen=True, slots=True)
class Brief:
    """All that an event says, in plain values."""

    name: str
    ts_ns: int
    task: tuple[str, int]
    cpu: int
    interrupt: str
    address: int
    fields: tuple[object, ...]


def brief(text: TraceText, event: Event) -> Brief:
    """Take an event apart."""
    shape, ts_ns, origin, address = event
    key = shape.key
    return Brief(
        text.shapes.names[shape.kind],
        ts_ns,
        (origin.comm, origin.thread.pid),
        origin.cpu,
        origin.interrupt,
        address,
        (
            *(shape.site, shape.gfp, shape.node, shape.order, shape.name),
            key and (key.site, key.asked, key.size, key.name),
        ),
    )


def data_lines(name: str) -> list[str]:
    """The lines of one of the recorded texts."""
    return unpacked(DATA / f"{name}.txt.xz").splitlines()


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """Write a trace of these lines."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def import_lines(
    folder: Path,
    lines: Sequence[str],
    **given: Any,  # noqa: ANN401
) -> Imported:
    """Import these lines."""
    return imported(write_lines(folder / "trace.txt", lines), options(**given))


def line(event: str, *, task: str = "app-7", cpu: int = 0, flags: str = ".....") -> str:
    """One line; ``event`` is name and fields."""
    return f"{task:>16}    [{cpu:03}] {flags}    12.000345: {event}"


def cache_alloc(
    ptr: str, *, site: str = "f+0x1/0x2", size: int = 64, gfp: str = "GFP_KERNEL"
) -> str:
    """Fields of a kmem_cache_alloc."""
    return (
        f"kmem_cache_alloc: call_site={site} ptr={ptr} bytes_req={size} bytes_alloc={size}"
        f" gfp_flags={gfp} node=-1 accounted=false"
    )


def kmalloc(ptr: str, size: int = 100, given: int = 128, gfp: str = "GFP_KERNEL") -> str:
    """Fields of a kmalloc."""
    return (
        f"kmalloc: call_site=g+0x1/0x2 ptr={ptr} bytes_req={size} bytes_alloc={given}"
        f" gfp_flags={gfp} node=-1 accounted=false"
    )


def cache_free(ptr: str, name: str = "things") -> str:
    """Fields of a kmem_cache_free."""
    return f"kmem_cache_free: call_site=h+0x1/0x2 ptr={ptr} name={name}"


def kfree(ptr: str, site: str = "k+0x1/0x2") -> str:
    """Fields of a kfree."""
    return f"kfree: call_site={site} ptr={ptr}"


def page_alloc(pfn: int, order: int = 0, gfp: str = "GFP_HIGHUSER_MOVABLE") -> str:
    """Fields of an mm_page_alloc; pfn 0 is one that failed."""
    page = NULL if pfn == 0 else "00000000ccbdfc30"
    return f"mm_page_alloc: page={page} pfn={pfn:#x} order={order} migratetype=1 gfp_flags={gfp}"


def page_free(pfn: int, order: int = 0) -> str:
    """Fields of an mm_page_free."""
    return f"mm_page_free: page=00000000ccbdfc30 pfn={pfn:#x} order={order}"
