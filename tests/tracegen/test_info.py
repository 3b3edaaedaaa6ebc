"""What is in a trace: counts, names, spans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from allocator.config import MachineConfig
from tests.tracegen.fakes import HEADER, encoded, make_batches, record
from tracegen.batch import Batch, BatchMaker
from tracegen.info import (
    MAX_GFP_MASKS,
    OTHER,
    TraceInfo,
    context_name,
    duration_text,
    machine_summary,
    render,
)
from tracegen.trace_file import TraceReader


def _info(tmp_path: Path, batches: list[Batch]) -> TraceInfo:
    path = tmp_path / "t.pfmt"
    path.write_bytes(encoded(batches))
    info = TraceInfo()
    with TraceReader(str(path)) as reader:
        for entry in reader:
            info.add(entry)
    return info


def _one_batch(*records: bytes) -> list[Batch]:
    maker = BatchMaker("a", 1)
    return [maker.header(HEADER), maker.events(b"".join(records))]


def test_everything_is_counted(tmp_path: Path) -> None:
    """Ops, contexts, masks, caches, orders, sizes and labels, each under its name."""
    records = (
        record(1, op=1, arg=3),
        record(1, op=2),
        record(2, op=3, arg=7),
        record(3, op=3, arg=7),
        record(4, op=3, arg=0),
        record(2, op=4),
        record(5, op=5, arg=100),
        record(6, op=5, arg=128),
        record(7, op=5, arg=129),
        record(0, op=9, arg=1, ts_ns=90),
    )

    info = _info(tmp_path, _one_batch(*records))

    assert (2, 10) == (info.batches, info.events)
    assert {
        "PAGE_ALLOC": 1,
        "PAGE_FREE": 1,
        "OBJ_ALLOC": 3,
        "OBJ_FREE": 1,
        "KMALLOC": 3,
        "MARK": 1,
    } == info.by_op
    assert {"task": 10} == info.by_context
    assert {"GFP_KERNEL": 7} == info.by_gfp
    assert {"dentry": 2, "skbuff_head_cache": 1} == info.by_cache
    assert {3: 1} == info.by_order
    assert {128: 2, 256: 1} == info.by_size
    assert {"return": 1} == info.by_label
    assert (0, 90, 90) == (
        info.sources["a"].first_ts_ns,
        info.sources["a"].last_ts_ns,
        info.sources["a"].span_ns,
    )


def test_sources_and_lives_are_told_apart(tmp_path: Path) -> None:
    """Each source has its epochs, batches and events."""
    info = _info(
        tmp_path, [*make_batches("a"), *make_batches("b"), *make_batches("a", epoch=5, batches=2)]
    )

    a, b = info.sources["a"], info.sources["b"]
    assert (2, 1, 5, 6, 8) == (a.epochs, a.first_epoch, a.last_epoch, a.batches, a.events)
    assert (1, 1, 1, 4, 6) == (b.epochs, b.first_epoch, b.last_epoch, b.batches, b.events)


def test_a_trace_without_events_has_no_span(tmp_path: Path) -> None:
    """A header alone is a trace."""
    info = _info(tmp_path, [*make_batches(batches=1), *make_batches("b", batches=2, events=0)])

    assert (0, 0) == (info.sources["a"].span_ns, info.sources["b"].span_ns)
    assert "0 events in 3 batches" in "\n".join(render(info, "t", 5))


def test_the_number_of_masks_is_bounded(tmp_path: Path) -> None:
    """However many masks a trace has, memory does not grow with it."""
    many = [
        record(1)[:16] + mask.to_bytes(4, "little") + record(1)[20:]
        for mask in range(0, 2048 << 5, 1 << 5)
    ]

    info = _info(tmp_path, _one_batch(*many))

    assert MAX_GFP_MASKS + 1 == len(info.by_gfp)
    assert info.by_gfp[OTHER] > 0
    assert len(many) == info.by_gfp.total()


def test_json_holds_the_same(tmp_path: Path) -> None:
    """The JSON form is JSON, with the most frequent first and the header as in the format."""
    info = _info(tmp_path, make_batches())

    loaded = json.loads(json.dumps(info.to_json()))

    assert (4, 6) == (loaded["batches"], loaded["events"])
    assert {"PAGE_ALLOC": 6} == loaded["by_op"]
    assert {"0": 6} == loaded["by_order"]
    assert loaded["sources"]["a"]["header"]["caches"][1] == {
        "id": 7,
        "name": "dentry",
        "size": 192,
        "align": 0,
        "flags": 0,
    }


def test_long_tables_are_cut_with_the_rest_counted(tmp_path: Path) -> None:
    """What is below the last row is one line."""
    records = [record(1, op=3, arg=7), record(2, op=3, arg=7), record(3, op=3, arg=0)]

    lines = list(render(_info(tmp_path, _one_batch(*records)), "t", 1))

    at = lines.index("cache of OBJ_ALLOC        events    share")
    assert [
        "dentry                         2   66.67%",
        "1 more                         1   33.33%",
    ] == lines[at + 1 : at + 3]


@pytest.mark.parametrize(
    ("ctx", "expected"),
    [(0, "task"), (1, "PF_MEMALLOC"), (5, "PF_MEMALLOC|softirq"), (34, "TIF_MEMDIE|cold")],
)
def test_contexts_have_names(ctx: int, expected: str) -> None:
    """The bits are told by the kernel's names."""
    assert expected == context_name(ctx)


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [
        (0, "0.000 s"),
        (1_500_000_000, "1.500 s"),
        (61_000_000_000, "1 min 1.000 s"),
        (3_600_000_000_000, "1 h 0 min 0.000 s"),
    ],
)
def test_durations_are_for_people(nanoseconds: int, expected: str) -> None:
    """Hours and minutes appear when there are any."""
    assert expected == duration_text(nanoseconds)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (
            HEADER.machine,
            "2 cpus, 1 node, 16 MiB in DMA, DMA32, min_free_kbytes the kernel's own, NUMA",
        ),
        (
            MachineConfig(
                cpus=1,
                cpu_node=(0,),
                nodes=((0, 262144),),
                zone_end_pfn=(4096, 1048576, 1048576),
                numa=False,
                min_free_kbytes=2048,
                reserved=((0, 256),),
            ),
            "1 cpu, 1 node, 1,023 MiB in DMA, DMA32, min_free_kbytes 2048 kB, UMA",
        ),
    ],
)
def test_a_machine_is_one_line(machine: MachineConfig, expected: str) -> None:
    """Cpus, nodes, memory without what is reserved, zones that have some, the reserve."""
    assert expected == machine_summary(machine)
