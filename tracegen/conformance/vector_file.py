"""Read conformance vectors: a header, ops with the kernel's answers, digests.

The format is described in ``tests/conformance/vectors/README.md``: JSON lines,
usually gzip'd, one object a line. A file is read as a stream; only one line is
held at a time. Whatever the reader does not understand is an error with the
line and what was expected there, because a key that is skipped is a question
that is not asked.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import BinaryIO, Final

from allocator import events
from allocator.config import ConfigError, MachineConfig
from allocator.revision import ALLOCATORS
from tracegen.errors import PfmemdError

FORMAT: Final = 1
MAX_LINE: Final = 16 << 20
"""Longest line in bytes. The largest state of the kernel's vectors takes 48 KB."""
MAX_NUMBER: Final = (1 << 32) - 1
"""Largest value of a field, as in a trace's packed records."""
GZIP_MAGIC: Final = b"\x1f\x8b"

LEVELS: Final = ("L1", "L2", "L3")
"""Page allocator alone, SLAB over it, SLUB over it."""

PAGE_ALLOC: Final = "page_alloc"
PAGE_FREE: Final = "page_free"
CACHE_CREATE: Final = "cache_create"
OBJ_ALLOC: Final = "obj_alloc"
KMALLOC: Final = "kmalloc"
OBJ_FREE: Final = "obj_free"
REAP: Final = "reap"
CACHE_SHRINK: Final = "cache_shrink"
DRAIN: Final = "drain"
TICK: Final = "tick"
MIN_FREE: Final = "min_free"
DIGEST: Final = "digest"

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    PAGE_ALLOC: ("id", "order", "gfp", "cpu", "node"),
    PAGE_FREE: ("id", "cpu"),
    CACHE_CREATE: ("cache", "size", "align", "flags"),
    OBJ_ALLOC: ("id", "cache", "gfp", "cpu", "node"),
    KMALLOC: ("id", "size", "gfp", "cpu", "node"),
    OBJ_FREE: ("id", "cpu"),
    REAP: ("cpu",),
    CACHE_SHRINK: ("cache", "cpu"),
    DRAIN: ("cpu",),
    TICK: ("jiffies",),
    MIN_FREE: ("kbytes",),
}
"""The fields each op must have."""

ALLOCATIONS: Final = frozenset({PAGE_ALLOC, OBJ_ALLOC, KMALLOC})
FREES: Final = frozenset({PAGE_FREE, OBJ_FREE})

_EVERY_OP: Final = frozenset({"n", "op", "out", "note"})
_OPTIONAL: Final[dict[str, frozenset[str]]] = {
    PAGE_ALLOC: frozenset({"gfp_s", "ctx"}),
    PAGE_FREE: frozenset({"cold"}),
    OBJ_ALLOC: frozenset({"gfp_s", "ctx"}),
    KMALLOC: frozenset({"gfp_s", "ctx"}),
}
_ALLOWED: Final = {
    name: _EVERY_OP | frozenset(names) | _OPTIONAL.get(name, frozenset())
    for name, names in FIELDS.items()
}
_REQUIRED: Final = {name: frozenset({"n", "op", "out", *names}) for name, names in FIELDS.items()}

_AFTER_EVERY_OP: Final = frozenset({"res", "wk", "wz", "pa", "free"})
ANSWERS: Final[dict[str, frozenset[str]]] = {
    PAGE_ALLOC: _AFTER_EVERY_OP | {"pfn", "nid", "zone", "pfm", "af"},
    PAGE_FREE: _AFTER_EVERY_OP,
    OBJ_ALLOC: _AFTER_EVERY_OP | {"slab", "idx", "pfm", "af"},
    KMALLOC: _AFTER_EVERY_OP | {"cache", "slab", "idx", "pfn", "order", "pfm", "af"},
    OBJ_FREE: _AFTER_EVERY_OP,
    REAP: _AFTER_EVERY_OP,
    CACHE_SHRINK: _AFTER_EVERY_OP | {"ret"},
    DRAIN: _AFTER_EVERY_OP,
    TICK: _AFTER_EVERY_OP,
}
"""The answers that are understood. ``cache_create`` (geometry) and ``min_free`` (boot keys)
answer with whatever the kernel computed; the runner asks the model for every key."""

RESULTS: Final = frozenset({"ok", "null", "stall"})

_HEADER_REQUIRED: Final = frozenset(
    {"kind", "format", "level", "allocator", "variant", "kernel", "config", "boot"}
)
_HEADER_ALLOWED: Final = _HEADER_REQUIRED | {
    "pages",
    "scenario",
    "why",
    "seed",
    "ops",
    "tally",
    "digest_every",
    "state_every",
}
_DIGEST_REQUIRED: Final = frozenset({"n", "op", "sha256"})
_DIGEST_ALLOWED: Final = _DIGEST_REQUIRED | {"state", "note"}
_CONFIG_REQUIRED: Final = ("cpus", "cpu_node", "nodes", "zone_end_pfn", "numa", "min_free_kbytes")
_CONFIG_FLAGS: Final = ("memalloc_socks", "slub_merge", "kmalloc")
_CTX_FLAGS: Final[dict[str, int]] = {
    "pf_memalloc": events.CTX_PF_MEMALLOC,
    "memdie": events.CTX_MEMDIE,
    "rt": events.CTX_RT,
}
_CTX_IRQ: Final[dict[str, int]] = {
    "soft": events.CTX_SOFTIRQ,
    "hard": events.CTX_HARDIRQ,
}
_SHA256_DIGITS: Final = 64


class VectorError(PfmemdError, ValueError):
    """A vector file that cannot be read; the message names file, line and expectation."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: which kernel answered, on which machine."""

    level: str
    allocator: str
    """``slab`` or ``slub``: for L1 the one the answering kernel was built with."""
    revision: str
    kernel: str
    config: MachineConfig
    boot: dict[str, object]
    """What the kernel computed before the first op."""
    why: str = ""
    scenario: str = ""
    ops: int | None = None
    """Number of ops in the file, if the header says it."""
    tally: dict[str, int] = field(default_factory=dict)
    """Number of ops by ``op:result``, if the header says it."""

    @property
    def variant_name(self) -> str:
        """The model's name for it: ``slab-seed``."""
        return f"{self.allocator}-{self.revision}"


@dataclass(slots=True)
class Op:
    """One op with the kernel's answer. Fields that the op does not have keep their default."""

    line: int
    n: int
    name: str
    out: dict[str, object]
    id: int = 0
    cpu: int = 0
    node: int = -1
    order: int = 0
    gfp: int = 0
    ctx: int = 0
    """Bits of ``allocator.events`` CTX_*."""
    cold: bool = False
    cache: str = ""
    size: int = 0
    align: int = 0
    flags: int = 0
    jiffies: int = 0
    kbytes: int = 0
    note: str = ""


@dataclass(slots=True)
class DigestLine:
    """The fingerprint of the kernel's state after op ``n``, at times with the state."""

    line: int
    n: int
    sha256: str
    state: dict[str, object] | None = None
    note: str = ""


class VectorFile:
    """One vector file. The header is read at once, the lines while iterating.

    Iterating again reads the file again. Raises :class:`VectorError` for
    anything that is not as the format says, also while iterating.
    """

    __slots__ = ("header", "path")

    def __init__(self, path: Path) -> None:
        """Open ``path``, check its header and close it."""
        self.path = path
        for number, entry in self._entries():
            self.header: Header = _parse_header(entry, self._failer(number))
            return
        raise VectorError(f"{path}: empty, expected a header line")

    def __iter__(self) -> Iterator[Op | DigestLine]:
        """Yield ops and digests in file order."""
        machine = self.header.config
        last = 0
        for number, entry in self._entries():
            if number == 1:
                continue
            fail = self._failer(number)
            if entry.get("op") == DIGEST:
                digest = _parse_digest(entry, number, fail)
                if digest.n != last:
                    raise fail(f"digest of op {digest.n}, expected of op {last}")
                yield digest
                continue
            op = _parse_op(entry, number, fail)
            last += 1
            if op.n != last:
                raise fail(f"op number {op.n}, expected {last}")
            if op.cpu >= machine.cpus:
                raise fail(f"cpu {op.cpu}, the machine has {machine.cpus}")
            if op.node >= len(machine.nodes):
                raise fail(f"node {op.node}, the machine has {len(machine.nodes)}")
            yield op
        if self.header.ops is not None and last != self.header.ops:
            raise VectorError(
                f"{self.path}: ends after op {last}, the header says {self.header.ops} ops"
            )

    def _failer(self, number: int) -> _Fail:
        return lambda what: VectorError(f"{self.path}: line {number}: {what}")

    def _entries(self) -> Iterator[tuple[int, dict[str, object]]]:
        try:
            with _open(self.path) as stream:
                number = 0
                while line := stream.readline(MAX_LINE + 1):
                    number += 1
                    yield number, _parse_line(line, self._failer(number))
        except OSError as error:
            # gzip's own errors are OSErrors too; they carry no errno.
            raise VectorError(f"{self.path}: {error.strerror or error}") from error
        except (EOFError, zlib.error) as error:
            raise VectorError(f"{self.path}: compressed data is damaged: {error}") from error


_Fail = Callable[[str], VectorError]
"""Makes the error for a line; the caller raises it."""


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    stream = path.open("rb")
    magic = stream.read(len(GZIP_MAGIC))
    stream.seek(0)
    if magic == GZIP_MAGIC:
        stream.close()
        return gzip.open(path, "rb")
    return stream


def _parse_line(line: bytes, fail: _Fail) -> dict[str, object]:
    if len(line) > MAX_LINE:
        raise fail(f"longer than {MAX_LINE} bytes")
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise fail(f"not JSON at column {error.colno}: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise fail(f"not JSON: {error}") from error
    if not isinstance(entry, dict):
        raise fail("expected a JSON object")
    return entry


def _check_keys(
    entry: dict[str, object],
    required: frozenset[str],
    allowed: frozenset[str],
    what: str,
    fail: _Fail,
) -> None:
    if not required <= entry.keys():
        missing = ", ".join(sorted(required - entry.keys()))
        raise fail(f"{what} lacks {missing}")
    if not entry.keys() <= allowed:
        unknown = ", ".join(sorted(entry.keys() - allowed))
        raise fail(f"{what} has {unknown}, which is not understood")


def _int(value: object, what: str, fail: _Fail) -> int:
    if type(value) is not int:
        raise fail(f"{what} is {value!r}, expected an integer")
    return value


def _flag(value: object, what: str, fail: _Fail) -> bool:
    if value not in (0, 1):
        raise fail(f"{what} is {value!r}, expected 0 or 1")
    return bool(value)


def _str(value: object, what: str, fail: _Fail) -> str:
    if type(value) is not str:
        raise fail(f"{what} is {value!r}, expected a string")
    return value


def _object(value: object, what: str, fail: _Fail) -> dict[str, object]:
    if type(value) is not dict:
        raise fail(f"{what} is {value!r}, expected an object")
    return value


def _ints(value: object, what: str, fail: _Fail) -> tuple[int, ...]:
    if type(value) is not list:
        raise fail(f"{what} is {value!r}, expected a list")
    return tuple(_int(item, f"a member of {what}", fail) for item in value)


def _pair(value: object, what: str, fail: _Fail) -> tuple[int, int]:
    numbers = _ints(value, what, fail)
    if len(numbers) != len(("first pfn", "end pfn")):
        raise fail(f"{what} is {value!r}, expected [first pfn, end pfn]")
    return numbers[0], numbers[1]


def _parse_header(entry: dict[str, object], fail: _Fail) -> Header:
    if entry.get("kind") != "header":
        raise fail('expected a header, {"kind": "header", ...}')
    if entry.get("format") != FORMAT:
        raise fail(f"format {entry.get('format')!r}, expected {FORMAT}")
    _check_keys(entry, _HEADER_REQUIRED, _HEADER_ALLOWED, "header", fail)
    level = _str(entry["level"], "level", fail)
    if level not in LEVELS:
        raise fail(f"level {level!r}, expected one of {', '.join(LEVELS)}")
    boot = _object(entry["boot"], "boot", fail)
    allocator = _allocator(entry["allocator"], boot, fail)
    ops = entry.get("ops")
    revision = _str(entry["variant"], "variant", fail)
    pages = entry.get("pages", revision)
    if pages != revision:
        raise fail(f"pages {pages!r} under {revision!r}: mixed kernels are not understood")
    tally = _object(entry.get("tally", {}), "tally", fail)
    return Header(
        level=level,
        allocator=allocator,
        revision=revision,
        kernel=_str(entry["kernel"], "kernel", fail),
        config=_parse_config(entry["config"], allocator, fail),
        boot=boot,
        why=_str(entry.get("why") or "", "why", fail),
        scenario=_str(entry.get("scenario") or "", "scenario", fail),
        ops=None if ops is None else _int(ops, "ops", fail),
        tally={key: _int(value, f"tally {key}", fail) for key, value in tally.items()},
    )


def _allocator(stated: object, boot: dict[str, object], fail: _Fail) -> str:
    """Which allocator the answering kernel had; L1 files tell it by their boot keys only."""
    if stated is None:
        return "slub" if "slub_max_order" in boot else "slab"
    allocator = _str(stated, "allocator", fail)
    if allocator not in ALLOCATORS:
        raise fail(f"allocator {allocator!r}, expected null, slab or slub")
    return allocator


def _parse_config(value: object, allocator: str, fail: _Fail) -> MachineConfig:
    """The machine asked for. Keys that are no part of a machine say how a stream was drawn."""
    config = _object(value, "config", fail)
    for key in _CONFIG_REQUIRED:
        if key not in config:
            raise fail(f"config lacks {key}")
    unsupported = {item.name for item in fields(MachineConfig)} & config.keys()
    unsupported -= {*_CONFIG_REQUIRED, *_CONFIG_FLAGS}
    if unsupported:
        raise fail(f"config has {', '.join(sorted(unsupported))}, which is not understood")
    flags: dict[str, bool] = {}
    for key in ("numa", *_CONFIG_FLAGS):
        if key in config:
            flags[key] = _flag(config[key], f"config {key}", fail)
    if allocator == "slub":
        flags.setdefault("kmalloc", False)  # SLAB always has its general caches.
    else:
        flags["kmalloc"] = True
    nodes = config["nodes"]
    if type(nodes) is not list:
        raise fail(f"config nodes is {nodes!r}, expected a list")
    ends = _ints(config["zone_end_pfn"], "config zone_end_pfn", fail)
    if len(ends) != len(("DMA", "DMA32", "Normal")):
        raise fail(f"config zone_end_pfn is {list(ends)}, expected ends of DMA, DMA32, Normal")
    try:
        return MachineConfig(
            cpus=_int(config["cpus"], "config cpus", fail),
            cpu_node=_ints(config["cpu_node"], "config cpu_node", fail),
            nodes=tuple(_pair(node, "a node of config nodes", fail) for node in nodes),
            zone_end_pfn=(ends[0], ends[1], ends[2]),
            min_free_kbytes=_int(config["min_free_kbytes"], "config min_free_kbytes", fail),
            numa=flags["numa"],
            memalloc_socks=flags.get("memalloc_socks", True),
            slub_merge=flags.get("slub_merge", False),
            kmalloc=flags["kmalloc"],
        )
    except ConfigError as error:
        raise fail(f"config: {error}") from error


def _parse_op(entry: dict[str, object], line: int, fail: _Fail) -> Op:
    name = entry.get("op")
    if type(name) is not str or name not in FIELDS:
        raise fail(f"op {name!r}, expected one of {', '.join(FIELDS)} or {DIGEST}")
    _check_keys(entry, _REQUIRED[name], _ALLOWED[name], name, fail)
    out = _object(entry["out"], "out", fail)
    if _str(out.get("res"), "res", fail) not in RESULTS:
        raise fail(f"res is {out['res']!r}, expected one of {', '.join(sorted(RESULTS))}")
    answers = ANSWERS.get(name)
    if answers is not None and not out.keys() <= answers:
        unknown = ", ".join(sorted(out.keys() - answers))
        raise fail(f"out of {name} has {unknown}, which is not understood")
    op = Op(line, _int(entry["n"], "n", fail), name, out)
    for key in FIELDS[name]:
        value = entry[key]
        if key == "cache":
            op.cache = _str(value, key, fail)
        else:
            number = _int(value, key, fail)
            if not (-1 if key == "node" else 0) <= number <= MAX_NUMBER:
                raise fail(f"{key} is {number}, expected 0 to {MAX_NUMBER}")
            setattr(op, key, number)
    if "ctx" in entry:
        op.ctx = _parse_ctx(_object(entry["ctx"], "ctx", fail), fail)
    if "cold" in entry:
        op.cold = _flag(entry["cold"], "cold", fail)
    if "note" in entry:
        op.note = _str(entry["note"], "note", fail)
    return op


def _parse_ctx(ctx: dict[str, object], fail: _Fail) -> int:
    bits = 0
    for key, value in ctx.items():
        if key in _CTX_FLAGS:
            bits |= _CTX_FLAGS[key] if _flag(value, f"ctx {key}", fail) else 0
        elif key == "irq":
            irq = _str(value, "ctx irq", fail)
            if irq not in _CTX_IRQ:
                raise fail(f"ctx irq is {irq!r}, expected one of {', '.join(_CTX_IRQ)}")
            bits |= _CTX_IRQ[irq]
        else:
            raise fail(f"ctx has {key}, which is not understood")
    return bits


def _parse_digest(entry: dict[str, object], line: int, fail: _Fail) -> DigestLine:
    _check_keys(entry, _DIGEST_REQUIRED, _DIGEST_ALLOWED, DIGEST, fail)
    sha256 = _str(entry["sha256"], "sha256", fail)
    if len(sha256) != _SHA256_DIGITS:
        raise fail(f"sha256 has {len(sha256)} digits, expected {_SHA256_DIGITS}")
    state = entry.get("state")
    return DigestLine(
        line=line,
        n=_int(entry["n"], "n", fail),
        sha256=sha256,
        state=None if state is None else _object(state, "state", fail),
        note=_str(entry.get("note") or "", "note", fail),
    )
