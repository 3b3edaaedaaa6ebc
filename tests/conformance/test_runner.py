"""The runner sees every way in which a model can fail to be the kernel."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allocator import events
from tracegen.conformance.difference import ABSENT, fingerprint
from tracegen.conformance.runner import Kind, Status, run_file

Line = dict[str, Any]
Write = Callable[[list[Line]], Path]
Make = Callable[..., Any]
FindOp = Callable[[list[Line], int], Line]

STATED = {
    1: ("cache", "size", "objs", "order", "limit", "wk", "pa", "free"),
    2: ("res", "pfn", "nid", "zone", "pfm", "af", "wk", "pa", "free"),
    3: ("res", "slab", "idx", "pfm", "af", "wk", "pa", "free"),
    4: ("res", "cache", "slab", "idx", "pfm", "af", "wk", "pa", "free"),
    5: ("res", "pfn", "order", "pfm", "af", "wk", "pa", "free"),
    6: ("res", "af", "wk", "pa", "free"),
    7: ("res", "af", "wk", "pa", "free"),
    8: ("wk", "pa", "free"),
    9: ("wk", "pa", "free"),
    10: ("wk", "pa", "free"),
    11: ("ret", "wk", "pa", "free"),
    12: ("min_free_kbytes", "zones", "wk", "pa", "free"),
}
"""Every answer of the small vector that a model can get wrong."""


def other(value: object) -> object:
    """Return a value of the same type that is not ``value``."""
    if isinstance(value, int):
        return 1 - value if value in {0, 1} else value + 1
    if isinstance(value, list):
        return [*value[:-1], {**value[-1], "free": 1} if isinstance(value[-1], dict) else 1]
    return {"ok": "null", "null": "stall", "stall": "null"}.get(str(value), f"{value}x")


def test_a_model_that_agrees_passes(lines: list[Line], write: Write, make: Make) -> None:
    """Every op and every digest is counted when all agree."""
    result = run_file(write(lines), make(lines))

    assert (Status.PASSED, 12, 3, "") == (
        result.status,
        result.ops,
        result.digests,
        result.reason,
    )


def test_the_machine_is_asked_what_the_ops_say(lines: list[Line], write: Write, make: Make) -> None:
    """Ids, numbers of caches, masks, cpus, nodes and context bits reach the machine."""
    asked: list[tuple[Any, ...]] = []

    run_file(write(lines), make(lines, asked))

    soft_rt = events.CTX_SOFTIRQ | events.CTX_RT
    assert [
        ("cache_create", "skb", 256, 0, 0x2000),
        ("page_alloc", 1, 2, 0x10, 1, -1, events.CTX_PF_MEMALLOC),
        ("obj_alloc", 2, 7, 0x10, 1, -1, soft_rt),
        ("kmalloc", 3, 30, 0x10, 1, 0, 0),
        ("kmalloc", 4, 9000, 0x10, 1, -1, 0),
        ("page_alloc", 5, 0, 0x10, 1, -1, events.CTX_MEMDIE),
        ("obj_alloc", 6, 0, 0x10, 1, -1, events.CTX_HARDIRQ),
        ("page_free", 1, 0, True),
        ("obj_free", 2, 1),
        ("reap", 1),
        ("cache_shrink", 7, 0),
        ("set_min_free_kbytes", 36),
    ] == asked


@pytest.mark.parametrize(
    ("name", "fields", "call"),
    [("drain", {"cpu": 1}, ("drain_all_pages", 1)), ("tick", {"jiffies": 250}, ("tick", 250))],
)
def test_the_page_allocators_own_ops(
    name: str,
    fields: dict[str, int],
    call: tuple[str, int],
    lines: list[Line],
    write: Write,
    make: Make,
) -> None:
    """``drain`` and ``tick`` reach the machine with their field."""
    answer = {"res": "ok", "wk": 0, "free": [100]}
    lines[0]["ops"] = 1
    short = [lines[0], {"n": 1, "op": name, **fields, "out": answer}]
    asked: list[tuple[Any, ...]] = []

    result = run_file(write(short), make(short, asked))

    assert (Status.PASSED, [call]) == (result.status, asked)


@pytest.mark.parametrize(("n", "key"), [(n, key) for n, keys in STATED.items() for key in keys])
def test_every_stated_answer_is_compared(
    n: int, key: str, lines: list[Line], write: Write, make: Make, find_op: FindOp
) -> None:
    """One wrong value, whichever it is, fails the file at that op and names the key."""
    script = copy.deepcopy(lines)
    find_op(script, n)["out"][key] = other(find_op(lines, n)["out"][key])

    result = run_file(write(lines), make(script))

    assert result.mismatch is not None
    assert (Status.FAILED, Kind.ANSWER, n) == (
        result.status,
        result.mismatch.kind,
        result.mismatch.n,
    )
    assert key in result.mismatch.keys
    assert n - 1 == result.ops


def test_every_answer_of_the_small_vector_is_in_the_table(
    lines: list[Line], find_op: FindOp
) -> None:
    """The table above leaves out only what cannot be wrong: a name and an unconditional ok."""
    for n, keys in STATED.items():
        left = find_op(lines, n)["out"].keys() - set(keys)
        assert left <= {"res", "name"}, n


def test_an_answer_that_the_model_does_not_have_is_a_mismatch(
    lines: list[Line], write: Write, make: Make, find_op: FindOp
) -> None:
    """A geometry key that the model does not compute is not skipped."""
    script = copy.deepcopy(lines)
    find_op(lines, 1)["out"]["colours"] = 4

    result = run_file(write(lines), make(script))

    assert result.mismatch is not None
    assert ["colours"] == result.mismatch.keys
    assert [("colours", 4, ABSENT)] == [
        (found.path, found.expected, found.got) for found in result.mismatch.differences
    ]


def test_a_wrong_boot_is_a_mismatch(lines: list[Line], write: Write, make: Make) -> None:
    """A watermark that the model computes differently fails the file before the first op."""
    script = copy.deepcopy(lines)
    script[0]["boot"]["zones"][0]["wmark"]["low"] = 11

    result = run_file(write(lines), make(script))

    assert result.mismatch is not None
    assert (Kind.BOOT, ["zones"], 0) == (
        result.mismatch.kind,
        result.mismatch.keys,
        result.ops,
    )
    assert [("zones[node 0 DMA32].wmark.low", 10, 11)] == [
        (found.path, found.expected, found.got) for found in result.mismatch.differences
    ]


def test_a_boot_key_that_the_model_does_not_have_is_a_mismatch(
    lines: list[Line], write: Write, make: Make
) -> None:
    """What the kernel's header states and the model does not is not skipped."""
    script = copy.deepcopy(lines)
    del script[0]["boot"]["general_caches"]

    result = run_file(write(lines), make(script))

    assert result.mismatch is not None
    assert (Kind.BOOT, ["general_caches"]) == (result.mismatch.kind, result.mismatch.keys)


def test_a_wrong_state_is_told_by_place(
    lines: list[Line], write: Write, make: Make, find_digest: FindOp
) -> None:
    """A digest that differs fails the file; the places come from the state beside it."""
    script = copy.deepcopy(lines)
    find_digest(script, 8)["state"]["caches"][0]["cpus"][0]["touched"] = 0

    result = run_file(write(lines), make(script))

    assert result.mismatch is not None
    assert (Kind.DIGEST, 8, 3, 1) == (
        result.mismatch.kind,
        result.mismatch.n,
        result.mismatch.agreed_at,
        result.digests,
    )
    assert [("caches[skb].cpus[0].touched", 1, 0)] == [
        (found.path, found.expected, found.got) for found in result.mismatch.differences
    ]


def test_without_a_state_the_next_one_in_the_file_is_compared(
    lines: list[Line], write: Write, make: Make, find_digest: FindOp
) -> None:
    """A digest without a state fails by its fingerprint; the places are those of the next."""
    script = copy.deepcopy(lines)
    for n in (8, 12):
        find_digest(script, n)["state"]["zones"][0]["block_types"] = "3220"
    del find_digest(lines, 8)["state"]

    result = run_file(write(lines), make(script))

    assert result.mismatch is not None
    assert (Kind.DIGEST, 8, 12) == (
        result.mismatch.kind,
        result.mismatch.n,
        result.mismatch.differences_at,
    )
    assert ["zones[node 0 DMA32].block_types"] == [
        found.path for found in result.mismatch.differences
    ]


def test_without_any_state_the_fingerprint_decides_alone(
    lines: list[Line], write: Write, make: Make, find_digest: FindOp
) -> None:
    """The last digest of a file may differ without a place to show."""
    script = copy.deepcopy(lines)
    find_digest(script, 12)["state"]["pfmemalloc_active"] = 1
    del find_digest(lines, 12)["state"]

    result = run_file(write(lines), make(script))

    assert result.mismatch is not None
    assert (Kind.DIGEST, 12, []) == (
        result.mismatch.kind,
        result.mismatch.n,
        result.mismatch.differences,
    )
    assert find_digest(lines, 12)["sha256"] == result.mismatch.expected["sha256"]
    assert fingerprint(find_digest(script, 12)["state"]) == result.mismatch.got["sha256"]


def test_a_model_that_raises_fails_the_file(
    lines: list[Line], write: Write, make: Make, find_op: FindOp
) -> None:
    """An exception of the model is a finding about that op, with its traceback."""
    script = copy.deepcopy(lines)
    find_op(script, 5)["out"] = {"raise": "lost a page"}

    result = run_file(write(lines), make(script))

    assert result.mismatch is not None
    assert (Kind.CRASH, 5) == (result.mismatch.kind, result.mismatch.n)
    assert "RuntimeError: lost a page" in result.mismatch.trace


def test_a_mismatch_comes_with_what_led_to_it(
    lines: list[Line], write: Write, make: Make, find_op: FindOp, find_digest: FindOp
) -> None:
    """The ops before, the allocation that is freed and the state as the op met it."""
    script = copy.deepcopy(lines)
    find_op(script, 9)["out"]["wk"] = 1

    result = run_file(write(lines), make(script))

    assert result.mismatch is not None
    assert list(range(1, 10)) == [step.op.n for step in result.mismatch.recent]
    assert result.mismatch.freed is not None
    assert 3 == result.mismatch.freed.n
    assert result.mismatch.scene is not None
    assert "as op 9 met it" == result.mismatch.scene.when
    assert find_digest(lines, 8)["state"] == result.mismatch.scene.state  # of op 8
    assert {"skb", "size-32"} == result.mismatch.scene.geometry.keys()


def test_an_unknown_revision_fails_without_a_crash(
    lines: list[Line], write: Write, make: Make
) -> None:
    """A kernel that the model does not have is named, with those it has."""
    lines[0]["variant"] = "v9.9"

    result = run_file(write(lines), make(lines))

    assert (
        Status.FAILED,
        "revision v9.9 is not modelled",
    ) == (result.status, result.reason.partition(";")[0])


@pytest.mark.parametrize(
    ("n", "change", "reason"),
    [
        (8, {"id": 5}, "line 10: op 8 frees id 5, which is not live"),
        (9, {"id": 1}, "line 12: op 9 frees id 1, which is not live"),
        (4, {"id": 1}, "line 6: op 4 allocates id 1, which is still live"),
        (11, {"cache": "nobody"}, "line 14: cache 'nobody' was never created"),
    ],
)
def test_a_stream_that_cannot_be_is_unreadable(
    n: int,
    change: dict[str, object],
    reason: str,
    lines: list[Line],
    write: Write,
    make: Make,
    find_op: FindOp,
) -> None:
    """An op that the ops before it rule out is the file's fault, not the model's."""
    find_op(lines, n).update(change)
    path = write(lines)

    result = run_file(path, make(lines))

    assert (Status.UNREADABLE, f"{path}: {reason}") == (result.status, result.reason)


def test_a_file_that_breaks_off_is_unreadable(lines: list[Line], write: Write, make: Make) -> None:
    """What agreed before the end does not make a broken file pass."""
    path = write(lines[:-3])

    result = run_file(path, make(lines))

    assert Status.UNREADABLE == result.status
    assert f"{path}: ends after op 10, the header says 12 ops" == result.reason
