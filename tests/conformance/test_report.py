"""A mismatch is told so that one can begin to look for its cause."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracegen.conformance import report
from tracegen.conformance.runner import FileResult, run_file

Line = dict[str, Any]
Write = Callable[[list[Line]], Path]
Make = Callable[..., Any]
FindOp = Callable[[list[Line], int], Line]


def told(result: FileResult, max_diff: int = 20) -> list[str]:
    """Return the report of a file as lines."""
    return list(report.mismatch_lines(result, max_diff))


def test_an_answer_is_told_with_its_surroundings(
    lines: list[Line], write: Write, make: Make, find_op: FindOp
) -> None:
    """The op in the kernel's words, both answers, the ops before, zone and cache as met."""
    script = copy.deepcopy(lines)
    find_op(script, 3)["out"].update(idx=4, af=-1, free=[98])
    path = write(lines)

    result = run_file(path, make(script))

    assert f"MISMATCH    {path}  op 3 (obj_alloc) differs in idx, af, free" == report.file_line(
        result
    )
    assert [
        "  kernel 3.3.8+seed, level L2, model slab-seed",
        "  why this file: every op once",
        "  op 3 (line 4): obj_alloc #2 skb GFP_NOIO (0x10) node any softirq rt_task on cpu 1",
        "                         kernel           model",
        "      res                ok               ok",
        "      slab               32               32",
        "    ! idx                3                4",
        "      pfm                0                0",
        "    ! af                 0x41 LOW|CPUSET  no pass",
        "      wk                 1                1",
        "      pa                 1                1",
        "    ! free node 0 DMA32  99               98",
        "  ops before it",
        "         1 cache_create skb 256 bytes align 0 flags HWCACHE_ALIGN -> ok, cache 7, order 0",
        (
            "         2 page_alloc #1 order 2 GFP_NOIO (0x10) node any PF_MEMALLOC on cpu 1"
            " -> ok, pfn 9216, nid 0, zone DMA32, pfm 0"
        ),
        "  the model's state, as op 3 met it",
        "    node 0 DMA32: free 100, min 8 low 10 high 12, lowmem_reserve [0, 0, 0, 0]",
        "      nr_free by order  0:1",
        "      free order  0 unmovable   17",
        "      pcp cpu 0: count 1 (high 6, batch 1)",
        "        unmovable            16",
        "      slab pages reclaimable, unreclaimable: [0, 1]",
        "      block types 3222",
        "    cache skb (size 256, objs 15, order 0, limit 120)",
        "      cpu 0: avail 1, tagged 0, touched 1  32:0*",
        "      node 0: free_objects 2, free_touched 1, shared_touched 0",
        "        partial  32  inuse 2  pfmemalloc 0b1  free 2 3",
        "        shared   32:1*",
        "      stats: allochit 1",
    ] == told(result)


def test_another_result_shows_what_only_one_side_has(
    lines: list[Line], write: Write, make: Make, find_op: FindOp
) -> None:
    """Where the kernel denied and the model did not, the model's page is shown, and its note."""
    script = copy.deepcopy(lines)
    find_op(lines, 2)["out"] = {"res": "null", "af": 65, "wk": 1, "pa": 1, "free": [99]}

    text = told(run_file(write(lines), make(script)))

    assert "    note: the first" in text
    assert [
        "    ! res                null             ok",
        "    ! pfn                (none)           9216",
        "    ! nid                (none)           0",
        "    ! zone               (none)           DMA32",
    ] == [line for line in text if line.startswith("    !")][:4]


def test_a_free_says_what_it_frees(
    lines: list[Line], write: Write, make: Make, find_op: FindOp
) -> None:
    """The object behind an id, in the op itself and in the ops before it."""
    script = copy.deepcopy(lines)
    find_op(script, 9)["out"]["pa"] = 1

    text = told(run_file(write(lines), make(script)))

    assert "    frees what op 3 got: skb 32:3" in text
    assert "         8 page_free #1 cold on cpu 0 -> ok (pfn 9216)" in text


def test_a_state_is_told_by_place(
    lines: list[Line], write: Write, make: Make, find_digest: FindOp
) -> None:
    """Fingerprints, places, the ops on that cache since they agreed, the cache itself."""
    script = copy.deepcopy(lines)
    state = find_digest(script, 12)["state"]
    state["caches"][0]["cpus"][0]["entries"] = [[32, 0, 0], [32, 1, 1]]
    state["zones"][0]["block_types"] = "3202"

    result = run_file(write(lines), make(script))
    text = told(result)

    assert result.reason == "the state after op 12 differs"
    assert [
        "  digest of the state after op 12 (line 16)",
        f"    kernel  {find_digest(lines, 12)['sha256']}",
    ] == text[2:4]
    assert [
        "    the state last agreed after op 8",
        "  2 differences after op 12",
        "    zones[node 0 DMA32].block_types from 2",
        "      kernel  3222",
        "      model   3202",
        "    caches[skb].cpus[0].entries from 1",
        "      kernel  [32, 0, 0]",
        "      model   [32, 0, 0] [32, 1, 1]",
        "  ops before it",
        "         9 obj_free #2 on cpu 1 -> ok (skb 32:3)",
        "        11 cache_shrink skb on cpu 0 -> ok",
        "  the model's state, after op 12",
        "    node 0 DMA32: free 100, min 9 low 11 high 13, lowmem_reserve [0, 0, 0, 0]",
    ] == text[5:18]
    assert "    … and 1 difference more" in told(result, max_diff=1)


def test_differences_of_a_later_state_are_said_to_be_later(
    lines: list[Line], write: Write, make: Make, find_digest: FindOp
) -> None:
    """Where the digest has no state, the next one's differences are shown as such."""
    script = copy.deepcopy(lines)
    for n in (8, 12):
        find_digest(script, n)["state"]["pfmemalloc_active"] = 1
    del find_digest(lines, 8)["state"]

    text = told(run_file(write(lines), make(script)))

    assert "  1 difference after op 12, 4 ops later: the next state in the file" in text


def test_boot_keys_are_told_by_place(lines: list[Line], write: Write, make: Make) -> None:
    """Which watermark, and what both computed."""
    script = copy.deepcopy(lines)
    script[0]["boot"]["zones"][0]["wmark"]["min"] = 9

    result = run_file(write(lines), make(script))

    assert "boot differs in zones" == result.reason
    assert [
        "  1 difference after boot",
        "    zones[node 0 DMA32].wmark.min",
        "      kernel  8",
        "      model   9",
    ] == told(result)[2:]


def test_a_nested_answer_is_told_by_place(
    lines: list[Line], write: Write, make: Make, find_op: FindOp
) -> None:
    """What ``min_free`` changed is a table of zones; only the wrong number is shown."""
    script = copy.deepcopy(lines)
    find_op(script, 12)["out"]["zones"][0]["wmark"]["high"] = 99

    text = told(run_file(write(lines), make(script)))

    assert "    ! zones              (see below)" in text
    start = text.index("  1 difference after op 12")
    assert [
        "    zones[node 0 DMA32].wmark.high",
        "      kernel  13",
        "      model   99",
    ] == text[start + 1 : start + 4]


def test_a_crash_is_told_with_the_traceback(
    lines: list[Line], write: Write, make: Make, find_op: FindOp
) -> None:
    """Which op, and where in the model."""
    script = copy.deepcopy(lines)
    find_op(script, 10)["out"] = {"raise": "lost a slab"}

    result = run_file(write(lines), make(script))

    assert "op 10 (reap): the model raised RuntimeError" == result.reason
    assert "    RuntimeError: lost a slab" in told(result)
    assert "  op 10 (line 13): reap on cpu 1" in told(result)


def test_a_state_of_another_shape_does_not_stop_the_report(
    lines: list[Line], write: Write, make: Make, find_op: FindOp, find_digest: FindOp
) -> None:
    """A model whose state lacks a key is told as that."""
    script = copy.deepcopy(lines)
    find_op(script, 3)["out"]["free"] = [98]
    del find_digest(script, 3)["state"]["zones"][0]["pcp"]

    text = told(run_file(write(lines), make(script)))

    assert "    the model's state is not laid out as a digest's: KeyError('pcp')" == text[-1]


@pytest.mark.parametrize(
    ("value", "revision", "text"),
    [
        (-1, "seed", "no pass"),
        (0x41, "seed", "0x41 LOW|CPUSET"),
        (0xC0, "seed", "0xc0 MIN|CPUSET|PFMEMALLOC"),
        (0x04, "seed", "0x4 NO_WATERMARKS"),
        (0x41F, "v3.6", "0x41f NO_WATERMARKS|HARDER|0x408"),
        (0x831, "v6.1", "0x831 LOW|NON_BLOCK|MIN_RESERVE|KSWAPD"),
        ("x", "seed", "x"),
    ],
)
def test_alloc_flags_are_named(value: object, revision: str, text: str) -> None:
    """The watermark by name unless none is looked at, then the other bits of that kernel."""
    assert text == report.alloc_flags_text(value, revision)


def test_long_values_are_cut_around_the_difference(
    lines: list[Line], write: Write, make: Make, find_digest: FindOp
) -> None:
    """Four members on either side of the first that differs."""
    pages = list(range(100, 160))
    find_digest(lines, 3)["state"]["zones"][0]["free_lists"]["0/0"] = pages
    wrong = copy.deepcopy(lines)
    find_digest(wrong, 3)["state"]["zones"][0]["free_lists"]["0/0"] = [*pages[:30], *pages[31:]]
    find_digest(lines, 3)["sha256"] = "0" * 64

    text = told(run_file(write(lines), make(wrong)))

    start = text.index("    zones[node 0 DMA32].free_lists[0/0] from 30")
    assert [
        "      kernel  … 126 127 128 129 130 131 132 133 134 … 25 more",
        "      model   … 126 127 128 129 131 132 133 134 135 … 24 more",
    ] == text[start + 1 : start + 3]


def test_json_has_what_the_text_has(
    lines: list[Line], write: Write, make: Make, find_op: FindOp
) -> None:
    """The op, both answers, the places and the state; null for what one side does not have."""
    script = copy.deepcopy(lines)
    del find_op(script, 1)["out"]["objs"]
    path = write(lines)

    entry = json.loads(json.dumps(report.file_json(run_file(path, make(script)))))

    mismatch = entry["mismatch"]
    assert ("failed", "op 1 (cache_create) differs in objs") == (entry["status"], entry["reason"])
    assert ("answer", 1, ["objs"]) == (mismatch["kind"], mismatch["n"], mismatch["keys"])
    assert "cache_create skb 256 bytes align 0 flags HWCACHE_ALIGN" == mismatch["op"]
    assert [{"path": "objs", "expected": 15, "got": None}] == mismatch["differences"]
    assert 15 == mismatch["expected"]["objs"]
    assert "as op 1 met it" == mismatch["scene"]["when"]


def test_json_of_a_passed_file_is_short(lines: list[Line], write: Write, make: Make) -> None:
    """What it is and how much of it agreed."""
    path = write(lines)

    assert {
        "file": str(path),
        "status": "passed",
        "ops": 12,
        "digests": 3,
        "level": "L2",
        "variant": "slab-seed",
        "kernel": "3.3.8+seed",
    } == report.file_json(run_file(path, make(lines)))


def test_a_passed_file_is_one_line(lines: list[Line], write: Write, make: Make) -> None:
    """Ops and digests are counted, and nothing more is said."""
    path = write(lines)

    result = run_file(path, make(lines))

    assert f"ok          {path}  12 ops, 3 digests" == report.file_line(result)
    assert [] == told(result)
