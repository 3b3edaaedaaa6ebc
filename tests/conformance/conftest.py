"""A vector small enough to read, and a machine that answers what a script says.

The runner is tested against these, so that its tests hold whatever the model does.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from allocator import outcome
from allocator.config import CacheSpec, MachineConfig
from allocator.revision import Variant
from tracegen.conformance.difference import fingerprint

Line = dict[str, Any]
"""One object of a vector file."""


def zone(free: int) -> Line:
    """Return the state of a zone with one page on each of two lists."""
    return {
        "nid": 0,
        "zone": "DMA32",
        "free": free,
        "nr_free": [1, 0],
        "free_lists": {"0/0": [17]},
        "pcp": [{"count": 1, "lists": [[16], [], []]}],
        "slab_pages": [0, 1],
        "block_types": "3222",
    }


def cache(entries: list[list[int]]) -> Line:
    """Return the state of a SLAB cache whose cpu array holds ``entries``."""
    return {
        "name": "skb",
        "cpus": [{"avail": len(entries), "tagged": 0, "touched": 1, "entries": entries}],
        "nodes": [
            {
                "full": [],
                "partial": [[32, 2, 1, [2, 3]]],
                "free": [],
                "free_objects": 2,
                "free_touched": 1,
                "shared_touched": 0,
                "shared": [[32, 1, 1]],
            }
        ],
        "stats": {"allochit": 1, "grown": 0},
    }


def digest(n: int, state: Line) -> Line:
    """Return a digest line after op ``n``, with the state."""
    return {"n": n, "op": "digest", "sha256": fingerprint(state), "state": state}


def booted(min_pages: int) -> Line:
    """Return boot keys with a min watermark."""
    return {
        "min_free_kbytes": min_pages * 4,
        "zones": [
            {
                "nid": 0,
                "zone": "DMA32",
                "wmark": {"min": min_pages, "low": min_pages + 2, "high": min_pages + 4},
                "lowmem_reserve": [0, 0, 0, 0],
                "pcp_high": 6,
                "pcp_batch": 1,
                "free": 100,
            }
        ],
    }


def small_header() -> Line:
    """Return the header of the small vector."""
    return {
        "kind": "header",
        "format": 1,
        "level": "L2",
        "allocator": "slab",
        "variant": "seed",
        "kernel": "3.3.8+seed",
        "why": "every op once",
        "config": {
            "name": "small",
            "cpus": 2,
            "cpu_node": [0, 0],
            "nodes": [[0, 10240]],
            "zone_end_pfn": [0, 10240, 10240],
            "numa": True,
            "min_free_kbytes": 32,
            "p_km": 0.5,
        },
        "boot": {**booted(8), "general_caches": [{"cache": 0, "name": "size-32", "size": 32}]},
        "ops": 12,
    }


def small_ops() -> list[Line]:
    """Return the ops of the small vector, without their numbers."""
    after = {"wk": 0, "pa": 0, "free": [100]}
    taken = {"pfm": 0, "af": 65, "wk": 1, "pa": 1, "free": [99]}
    alloc = {"gfp": 0x10, "gfp_s": "GFP_NOIO", "cpu": 1, "node": -1}
    geometry = {"cache": 7, "name": "skb", "size": 256, "objs": 15, "order": 0, "limit": 120}
    return [
        {
            "op": "cache_create",
            "cache": "skb",
            "size": 256,
            "align": 0,
            "flags": 0x2000,
            "out": {"res": "ok", **geometry, **after},
        },
        {
            "op": "page_alloc",
            "id": 1,
            "order": 2,
            **alloc,
            "ctx": {"pf_memalloc": 1},
            "note": "the first",
            "out": {"res": "ok", "pfn": 9216, "nid": 0, "zone": "DMA32", **taken},
        },
        {
            "op": "obj_alloc",
            "id": 2,
            "cache": "skb",
            **alloc,
            "ctx": {"irq": "soft", "rt": 1},
            "out": {"res": "ok", "slab": 32, "idx": 3, **taken},
        },
        {
            "op": "kmalloc",
            "id": 3,
            "size": 30,
            **alloc,
            "node": 0,
            "out": {"res": "ok", "cache": "size-32", "slab": 48, "idx": 0, **taken},
        },
        {
            "op": "kmalloc",
            "id": 4,
            "size": 9000,
            **alloc,
            "out": {"res": "ok", "pfn": 64, "order": 2, **taken},
        },
        {
            "op": "page_alloc",
            "id": 5,
            "order": 0,
            **alloc,
            "ctx": {"memdie": 1},
            "out": {"res": "null", "af": -1, **after},
        },
        {
            "op": "obj_alloc",
            "id": 6,
            "cache": "size-32",
            **alloc,
            "ctx": {"irq": "hard"},
            "out": {"res": "stall", "af": 64, **after},
        },
        {"op": "page_free", "id": 1, "cpu": 0, "cold": 1, "out": {"res": "ok", **after}},
        {"op": "obj_free", "id": 2, "cpu": 1, "out": {"res": "ok", **after}},
        {"op": "reap", "cpu": 1, "out": {"res": "ok", **after}},
        {
            "op": "cache_shrink",
            "cache": "skb",
            "cpu": 0,
            "out": {"res": "ok", "ret": 1, **after},
        },
        {"op": "min_free", "kbytes": 36, "out": {"res": "ok", **booted(9), **after}},
    ]


def small_vector() -> list[Line]:
    """Return a vector with the ops of all objects; digests are at ops 3, 8 and 12."""
    lines: list[Line] = [small_header()]
    entries: dict[int, list[list[int]]] = {3: [[32, 0, 1]], 8: [], 12: [[32, 0, 0]]}
    for n, fields in enumerate(small_ops(), start=1):
        lines.append({"n": n, **fields})
        if n in entries:
            state = {"zones": [zone(100)], "pfmemalloc_active": 0, "caches": [cache(entries[n])]}
            lines.append(digest(n, state))
    return lines


def op(lines: list[Line], n: int) -> Line:
    """Return the line of op ``n``."""
    return next(line for line in lines[1:] if line["n"] == n and line["op"] != "digest")


def digest_after(lines: list[Line], n: int) -> Line:
    """Return the digest line of op ``n``."""
    return next(line for line in lines[1:] if line["n"] == n and line["op"] == "digest")


class ScriptedMachine:
    """A machine that answers as the lines of a vector say, and writes down what it is asked."""

    def __init__(self, script: list[Line], asked: list[tuple[Any, ...]]) -> None:
        """Answer after ``script``; every call is appended to ``asked``."""
        self.script = script
        self.asked = asked
        self.out: Line = {}
        self.n = 0
        self.answer: Any = SimpleNamespace(wk=0)
        self.booted: Line = script[0]["boot"]

    def _next(self, *asked: object) -> Line:
        self.asked.append(asked)
        self.n += 1
        self.out = op(self.script, self.n)["out"]
        large = "pfn" in self.out
        self.answer = SimpleNamespace(**{**self.out, "large": large})
        if "raise" in self.out:
            raise RuntimeError(self.out["raise"])
        return self.out

    def _alloc(self, *asked: object) -> int:
        codes = {"ok": outcome.PAGE_PCP, "null": outcome.DENIED_WATERMARK}
        return codes.get(self._next(*asked)["res"], outcome.STALLED_OOM)

    @property
    def pfmemalloc_active(self) -> bool:
        """The scripted ``pa``."""
        return bool(self.out["pa"])

    def page_alloc(self, *args: int) -> int:
        """Answer an op."""
        return self._alloc("page_alloc", *args)

    def obj_alloc(self, *args: int) -> int:
        """Answer an op."""
        return self._alloc("obj_alloc", *args)

    def kmalloc(self, *args: int) -> int:
        """Answer an op."""
        return self._alloc("kmalloc", *args)

    def page_free(self, *args: int) -> None:
        """Answer an op."""
        self._next("page_free", *args)

    def obj_free(self, *args: int) -> None:
        """Answer an op."""
        self._next("obj_free", *args)

    def reap(self, *args: int) -> None:
        """Answer an op."""
        self._next("reap", *args)

    def drain_all_pages(self, *args: int) -> None:
        """Answer an op."""
        self._next("drain_all_pages", *args)

    def tick(self, *args: int) -> None:
        """Answer an op."""
        self._next("tick", *args)

    def cache_shrink(self, *args: int) -> int:
        """Answer an op."""
        return int(self._next("cache_shrink", *args).get("ret", -1))

    def set_min_free_kbytes(self, *args: int) -> None:
        """Answer an op; the boot keys follow."""
        self.booted = self._next("set_min_free_kbytes", *args)

    def cache_create(self, *args: object) -> int:
        """Answer an op."""
        return int(self._next("cache_create", *args).get("cache", -1))

    def cache_number(self, name: str) -> int:
        """General caches only: those created by an op have their number from there."""
        return 0 if name == "size-32" else -1

    def geometry(self, _number: int) -> Line:
        """Return what the script says of the cache just created."""
        return {key: value for key, value in self.out.items() if key not in {"res", "wk", "pa"}}

    def boot(self) -> Line:
        """Return the boot keys, and one that no vector asks for."""
        return {**self.booted, "never asked for": 1}

    def free_by_zone(self) -> list[int]:
        """Return the scripted ``free``."""
        return list(self.out.get("free", []))

    def state(self, _level: str) -> Line:
        """Return the state of the digest that comes next, or the last there is."""
        later = [line for line in self.script[1:] if line["op"] == "digest" and line["n"] >= self.n]
        state: Line = copy.deepcopy(later[0]["state"])
        return state


Factory = Callable[[MachineConfig, Variant, Sequence[CacheSpec]], ScriptedMachine]


@pytest.fixture
def lines() -> list[Line]:
    """Return a fresh small vector."""
    return small_vector()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[list[Line]], Path]:
    """Return a function that writes lines as a vector file and gives its path."""

    def write_lines(lines: list[Line]) -> Path:
        path = tmp_path / "small.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write_lines


@pytest.fixture
def find_op() -> Callable[[list[Line], int], Line]:
    """Return :func:`op`."""
    return op


@pytest.fixture
def find_digest() -> Callable[[list[Line], int], Line]:
    """Return :func:`digest_after`."""
    return digest_after


@pytest.fixture
def make() -> Callable[..., Factory]:
    """Return a function that makes a factory of scripted machines."""

    def factory(script: list[Line], asked: list[tuple[Any, ...]] | None = None) -> Factory:
        calls = [] if asked is None else asked
        kept = copy.deepcopy(script)
        return lambda _config, _variant, _caches: ScriptedMachine(kept, calls)

    return factory
