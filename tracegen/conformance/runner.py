"""Drive a machine through a vector file and hold every answer against the kernel's.

Op by op: every key that the vector states is compared, and every fingerprint of
the state. The first mismatch ends the file, because everything after it may only
follow from it. What is needed to understand it is gathered on the spot: the ops
before it, the state that the op met (by driving a second machine up to there),
and, when a fingerprint comes without the kernel's state, the differences at the
next digest that has one.
"""

from __future__ import annotations

import json
import traceback
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from allocator import outcome
from allocator.machine import Machine
from allocator.revision import REVISIONS, Variant
from tracegen.conformance import vector_file
from tracegen.conformance.difference import (
    ABSENT,
    Difference,
    canonical,
    differences,
    fingerprint,
)
from tracegen.conformance.interface import MachineFactory
from tracegen.conformance.vector_file import DigestLine, Header, Op, VectorError, VectorFile

RECENT: Final = 64
"""How many ops before a mismatch are kept."""

_RESULTS: Final[dict[str, str]] = {
    outcome.RESULT_OK: "ok",
    outcome.RESULT_DENIED: "null",
    outcome.RESULT_STALLED: "stall",
}
_OK: Final = "ok"


class Status(StrEnum):
    """What became of a file."""

    PASSED = "passed"
    FAILED = "failed"
    UNREADABLE = "unreadable"


class Kind(StrEnum):
    """What did not match."""

    BOOT = "boot"
    ANSWER = "answer"
    DIGEST = "digest"
    CRASH = "crash"
    """The model raised an exception."""


@dataclass(slots=True)
class Step:
    """An op and the model's answer, which was the kernel's unless it is the last."""

    op: Op
    got: dict[str, object]
    freed: Op | None = None
    """The allocation whose page or object the op freed."""


@dataclass(slots=True)
class Scene:
    """The model's state at one moment, with what is needed to read it."""

    when: str
    state: dict[str, object]
    boot: dict[str, object]
    """Zones with their watermarks at that moment."""
    geometry: dict[str, dict[str, object]]
    """What the kernel answered about each cache when it was created."""


@dataclass(slots=True)
class Mismatch:
    """The first place in a file where the model is not the kernel."""

    kind: Kind
    line: int
    n: int
    """Number of the op; 0 before the first."""
    expected: dict[str, object] = field(default_factory=dict)
    got: dict[str, object] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Top-level keys of the answer that differ."""
    differences: list[Difference] = field(default_factory=list)
    differences_at: int = 0
    """Number of the op after which the differences were seen; 0 if there are none."""
    recent: list[Step] = field(default_factory=list)
    """The ops before it; the last is the op itself unless the model crashed in it."""
    op: Op | None = None
    freed: Op | None = None
    """The allocation whose page or object the op frees."""
    scene: Scene | None = None
    agreed_at: int = -1
    """Number of the op after which the state was last known to agree; -1: never."""
    trace: str = ""
    """The exception's traceback, for a crash."""


@dataclass(slots=True)
class FileResult:
    """What became of one vector file."""

    path: Path
    status: Status
    header: Header | None = None
    ops: int = 0
    """Ops that agreed."""
    digests: int = 0
    """Digests that agreed."""
    reason: str = ""
    """One line: why it did not pass."""
    mismatch: Mismatch | None = None


class StreamError(ValueError):
    """An op that cannot be performed because of the ops before it; the file is at fault."""


class Replay:
    """A machine that is led through the ops of one file."""

    def __init__(self, header: Header, variant: Variant, make: MachineFactory) -> None:
        """Boot a machine as the header describes it."""
        self.machine = make(header.config, variant, ())
        self.level = header.level
        self.live: dict[int, Op] = {}
        """Allocations that the kernel granted and that were not freed, by id."""
        self.freed: Op | None = None
        """The allocation that the last op freed."""
        self.geometry: dict[str, dict[str, object]] = {}
        self._caches: dict[str, int] = {}
        general = header.boot.get("general_caches")
        if isinstance(general, list):
            self.geometry.update({cache["name"]: cache for cache in general})

    def apply(self, op: Op) -> dict[str, object]:
        """Perform ``op`` and answer with the vectors' keys."""
        machine = self.machine
        self._follow(op)
        name = op.name
        got: dict[str, object]
        if name == vector_file.OBJ_ALLOC:
            number = self._cache(op.cache)
            code = machine.obj_alloc(op.id, number, op.gfp, op.cpu, op.node, op.ctx)
            got = self._object(code)
        elif name == vector_file.PAGE_ALLOC:
            got = self._page(machine.page_alloc(op.id, op.order, op.gfp, op.cpu, op.node, op.ctx))
        elif name == vector_file.KMALLOC:
            got = self._kmalloc(machine.kmalloc(op.id, op.size, op.gfp, op.cpu, op.node, op.ctx))
        elif name == vector_file.CACHE_CREATE:
            number = machine.cache_create(op.cache, op.size, op.align, op.flags)
            self._caches[op.cache] = number
            self.geometry[op.cache] = op.out
            got = {"res": _OK, **plain(machine.geometry(number))}
        else:
            got = {"res": _OK}
            self._do(op, got)
        got["wk"] = machine.answer.wk
        got["free"] = machine.free_by_zone()
        if "wz" in op.out:
            got["wz"] = getattr(machine.answer, "wz", ABSENT)  # counted from 6.1 on
        if "pa" in op.out:
            got["pa"] = int(machine.pfmemalloc_active)
        return got

    def state(self) -> dict[str, object]:
        """The model's state as JSON has it: no tuples, no numbers of another type."""
        return plain(self.machine.state(self.level))

    def scene(self, when: str) -> Scene:
        """Take the state with the watermarks and geometries that explain it."""
        return Scene(when, self.state(), plain(self.machine.boot()), dict(self.geometry))

    def _do(self, op: Op, got: dict[str, object]) -> None:
        """Perform an op that hands nothing out."""
        machine = self.machine
        match op.name:
            case vector_file.OBJ_FREE:
                machine.obj_free(op.id, op.cpu)
            case vector_file.PAGE_FREE:
                machine.page_free(op.id, op.cpu, op.cold)
            case vector_file.REAP:
                machine.reap(op.cpu)
            case vector_file.CACHE_SHRINK:
                got["ret"] = machine.cache_shrink(self._cache(op.cache), op.cpu)
            case vector_file.DRAIN:
                machine.drain_all_pages(op.cpu)
            case vector_file.TICK:
                machine.tick(op.jiffies)
            case vector_file.MIN_FREE:
                machine.set_min_free_kbytes(op.kbytes)
                got.update(plain(machine.boot()))

    def _follow(self, op: Op) -> None:
        """Keep book of what the kernel has handed out."""
        self.freed = None
        if op.name in vector_file.ALLOCATIONS:
            if op.id in self.live:
                raise StreamError(f"op {op.n} allocates id {op.id}, which is still live")
            if op.out["res"] == _OK:
                self.live[op.id] = op
        elif op.name in vector_file.FREES:
            self.freed = self.live.pop(op.id, None)
            if self.freed is None:
                raise StreamError(f"op {op.n} frees id {op.id}, which is not live")

    def _cache(self, name: str) -> int:
        number = self._caches.get(name)
        if number is None:
            number = self.machine.cache_number(name)
            if number < 0:
                raise StreamError(f"cache {name!r} was never created")
            self._caches[name] = number
        return number

    def _page(self, code: int) -> dict[str, object]:
        answer = self.machine.answer
        result = _result(code)
        if result != _OK:
            return {"res": result, "af": answer.af}
        return {
            "res": result,
            "pfn": answer.pfn,
            "nid": answer.nid,
            "zone": answer.zone,
            "pfm": answer.pfm,
            "af": answer.af,
        }

    def _object(self, code: int) -> dict[str, object]:
        answer = self.machine.answer
        result = _result(code)
        if result != _OK:
            return {"res": result, "af": answer.af}
        return {
            "res": result,
            "slab": answer.slab,
            "idx": answer.idx,
            "pfm": answer.pfm,
            "af": answer.af,
        }

    def _kmalloc(self, code: int) -> dict[str, object]:
        answer = self.machine.answer
        if _result(code) == _OK:
            if answer.large:
                return {
                    "res": _OK,
                    "pfn": answer.pfn,
                    "order": answer.order,
                    "pfm": answer.pfm,
                    "af": answer.af,
                }
            return {"cache": answer.cache, **self._object(code)}
        return self._object(code)


def plain(value: dict[str, object]) -> dict[str, object]:
    """``value`` as JSON would give it back: no tuples, no numbers of another type."""
    result: dict[str, object] = json.loads(canonical(value))
    return result


def _result(code: int) -> str:
    names = outcome.OUTCOME_NAMES.get(code)
    return f"outcome {code}" if names is None else _RESULTS[names[0]]


def run_file(path: Path, make: MachineFactory = Machine) -> FileResult:
    """Run one vector file to its end or to its first mismatch; never raises for its content."""
    try:
        vectors = VectorFile(path)
    except VectorError as error:
        return FileResult(path, Status.UNREADABLE, reason=str(error))
    header = vectors.header
    if header.revision not in REVISIONS:
        known = ", ".join(REVISIONS)
        reason = f"revision {header.revision} is not modelled; {known} are"
        return FileResult(path, Status.FAILED, header, reason=reason)
    return _Run(vectors, Variant(header.allocator, REVISIONS[header.revision]), make).run()


class _Run:
    """One pass over one file."""

    def __init__(self, vectors: VectorFile, variant: Variant, make: MachineFactory) -> None:
        self.vectors = vectors
        self.variant = variant
        self.make = make
        self.result = FileResult(vectors.path, Status.PASSED, vectors.header)
        self.recent: deque[Step] = deque(maxlen=RECENT)
        self.agreed_at = -1
        self.line = 1
        self.n = 0
        self.op: Op | None = None

    def run(self) -> FileResult:
        result = self.result
        try:
            mismatch = self._run()
        except VectorError as error:
            result.status, result.reason = Status.UNREADABLE, str(error)
            return result
        except StreamError as error:
            result.status = Status.UNREADABLE
            result.reason = f"{self.vectors.path}: line {self.line}: {error}"
            return result
        except Exception as error:  # noqa: BLE001  # whatever the model raises is the finding
            mismatch = Mismatch(Kind.CRASH, self.line, self.n, op=self.op)
            mismatch.trace = "".join(traceback.format_exception(error))
            mismatch.keys = [type(error).__name__]
        if mismatch is not None:
            result.status, result.mismatch = Status.FAILED, mismatch
            self._explain(mismatch)
            result.reason = _headline(mismatch)
        return result

    def _run(self) -> Mismatch | None:
        replay = Replay(self.vectors.header, self.variant, self.make)
        stated = self.vectors.header.boot
        boot = plain(replay.machine.boot())
        found = list(differences(stated, boot, stated_only=True))
        if found:
            keys = [key for key in stated if _differs(stated[key], boot.get(key, ABSENT))]
            return Mismatch(
                Kind.BOOT, 1, 0, stated, boot, keys, found, scene=_try_scene(replay, "after boot")
            )
        for entry in self.vectors:
            self.line, self.n = entry.line, entry.n
            if isinstance(entry, DigestLine):
                self.op = None
                mismatch = self._digest(replay, entry)
            else:
                self.op = entry
                mismatch = self._answer(replay, entry)
            if mismatch is not None:
                return mismatch
        return None

    def _answer(self, replay: Replay, op: Op) -> Mismatch | None:
        got = replay.apply(op)
        self.recent.append(Step(op, got, replay.freed))
        keys = [key for key, value in op.out.items() if got.get(key, ABSENT) != value]
        # A nested answer of the model (a zone, a cache) may hold more than the vector states.
        keys = [key for key in keys if _differs(op.out[key], got.get(key, ABSENT))]
        if not keys:
            self.result.ops += 1
            return None
        return Mismatch(Kind.ANSWER, op.line, op.n, op.out, got, keys, op=op, freed=replay.freed)

    def _digest(self, replay: Replay, digest: DigestLine) -> Mismatch | None:
        state = replay.machine.state(replay.level)
        got = fingerprint(state)
        if got == digest.sha256:
            self.result.digests += 1
            self.agreed_at = digest.n
            return None
        mismatch = Mismatch(
            Kind.DIGEST,
            digest.line,
            digest.n,
            {"sha256": digest.sha256},
            {"sha256": got},
            ["sha256"],
        )
        mismatch.scene = _try_scene(replay, f"after op {digest.n}")
        if digest.state is not None:
            mismatch.differences = list(differences(digest.state, replay.state()))
            mismatch.differences_at = digest.n
        return mismatch

    def _explain(self, mismatch: Mismatch) -> None:
        """Add what helps to understand it and was not at hand."""
        mismatch.recent = list(self.recent)
        mismatch.agreed_at = self.agreed_at
        if mismatch.op is not None:
            mismatch.scene = self._scene_before(mismatch.n)
            mismatch.differences = [
                found
                for key in mismatch.keys
                if key in mismatch.expected
                for found in differences(
                    mismatch.expected[key], mismatch.got.get(key, ABSENT), key, stated_only=True
                )
            ]
            mismatch.differences_at = mismatch.n
        elif mismatch.kind is Kind.DIGEST and not mismatch.differences:
            self._look_ahead(mismatch)

    def _scene_before(self, n: int) -> Scene | None:
        """Lead a second machine up to op ``n`` and take its state."""
        try:
            replay = Replay(self.vectors.header, self.variant, self.make)
            for entry in self.vectors:
                if entry.line >= self.line:
                    break
                if isinstance(entry, Op):
                    replay.apply(entry)
            return replay.scene(f"as op {n} met it")
        except Exception:  # noqa: BLE001  # the mismatch is told without it
            return None

    def _look_ahead(self, mismatch: Mismatch) -> None:
        """Go on to the next digest with a state, whatever the ops until there answer."""
        try:
            replay = Replay(self.vectors.header, self.variant, self.make)
            for entry in self.vectors:
                if isinstance(entry, Op):
                    replay.apply(entry)
                elif entry.line > mismatch.line and entry.state is not None:
                    mismatch.differences = list(differences(entry.state, replay.state()))
                    mismatch.differences_at = entry.n
                    return
        except Exception:  # noqa: BLE001, S110  # a model that went wrong may well break later
            pass


def _differs(stated: object, got: object) -> bool:
    return next(iter(differences(stated, got, stated_only=True)), None) is not None


def _try_scene(replay: Replay, when: str) -> Scene | None:
    try:
        return replay.scene(when)
    except Exception:  # noqa: BLE001  # the mismatch is told without it
        return None


def _headline(mismatch: Mismatch) -> str:
    where = f"op {mismatch.n} ({mismatch.op.name})" if mismatch.op else f"op {mismatch.n}"
    match mismatch.kind:
        case Kind.BOOT:
            return f"boot differs in {', '.join(mismatch.keys)}"
        case Kind.ANSWER:
            return f"{where} differs in {', '.join(mismatch.keys)}"
        case Kind.DIGEST:
            return f"the state after {where} differs"
        case Kind.CRASH:
            return f"{where}: the model raised {mismatch.keys[0]}"
