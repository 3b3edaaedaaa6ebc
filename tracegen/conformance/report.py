"""Tell what became of vector files: text for people, JSON for programs.

A mismatch is told in the order in which one asks: which op, what the kernel
answered and what the model did, what led there, and what the zones and caches
it touches looked like when it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from allocator.events import CTX_NAMES
from allocator.gfp import decode
from allocator.revision import REVISIONS
from tracegen.conformance import state_text, vector_file
from tracegen.conformance.difference import ABSENT, Absent, Difference, first_difference, zone_label
from tracegen.conformance.runner import FileResult, Kind, Mismatch, Status, Step
from tracegen.conformance.vector_file import Header, Op

RECENT_SHOWN: Final = 8
"""Ops before a mismatch that are shown."""
WINDOW: Final = 4
"""Members shown on either side of the place where two lists part."""
MAX_VALUE: Final = 96
"""Longest value shown in a table, in characters."""

_CACHE_FLAGS: Final[dict[int, str]] = {
    0x2000: "HWCACHE_ALIGN",
    0x4000: "CACHE_DMA",
    0x20000: "RECLAIM_ACCOUNT",
    0x40000: "PANIC",
    0x100000: "MEM_SPREAD",
    0x800000: "NOLEAKTRACE",
}
_WATERMARKS: Final = ("MIN", "LOW", "HIGH", "?")
_WATERMARK_MASK: Final = 3
_NO_WATERMARKS: Final = 4
_ALLOC_FLAGS_3: Final[dict[int, str]] = {
    _NO_WATERMARKS: "NO_WATERMARKS",
    0x10: "HARDER",
    0x20: "HIGH",
    0x40: "CPUSET",
    0x80: "PFMEMALLOC",
}
_ALLOC_FLAGS_6: Final[dict[int, str]] = {
    _NO_WATERMARKS: "NO_WATERMARKS",
    0x08: "OOM",
    0x10: "NON_BLOCK",
    0x20: "MIN_RESERVE",
    0x40: "CPUSET",
    0x100: "NOFRAGMENT",
    0x200: "HIGHATOMIC",
    0x800: "KSWAPD",
}
_ANSWER_ORDER: Final[tuple[str, ...]] = (
    "res",
    "cache",
    "slab",
    "idx",
    "pfn",
    "nid",
    "zone",
    "order",
    "pfm",
)
"""Keys that an answer's table begins with; the others follow as the kernel's answer has them."""


def summary(passed: int, failed: int) -> str:
    """The line that ends a run."""
    return f"{passed} passed, {failed} failed"


def file_line(result: FileResult) -> str:
    """One line about one file."""
    match result.status:
        case Status.PASSED:
            return f"ok          {result.path}  {result.ops} ops, {result.digests} digests"
        case Status.FAILED:
            return f"MISMATCH    {result.path}  {result.reason}"
        case Status.UNREADABLE:
            return f"UNREADABLE  {result.reason}"


def mismatch_lines(result: FileResult, max_diff: int) -> Iterator[str]:
    """Everything about a file's mismatch; no line for a file that has none."""
    mismatch, header = result.mismatch, result.header
    if mismatch is None or header is None:
        return
    yield f"  kernel {header.kernel}, level {header.level}, model {header.variant_name}"
    if header.why:
        yield f"  why this file: {header.why}"
    if mismatch.op is not None:
        op = mismatch.op
        yield f"  op {op.n} (line {op.line}): {op_text(op, header)}"
        if op.note:
            yield f"    note: {op.note}"
        if mismatch.freed is not None:
            yield f"    frees what op {mismatch.freed.n} got: {_place(mismatch.freed)}"
    if mismatch.kind is Kind.ANSWER:
        yield from _table(mismatch, header)
    elif mismatch.kind is Kind.DIGEST:
        yield from _digest_lines(mismatch)
    elif mismatch.kind is Kind.CRASH:
        yield from (f"    {line}" for line in mismatch.trace.splitlines())
    yield from _difference_lines(mismatch, max_diff)
    yield from _recent_lines(mismatch, header)
    yield from _scene_lines(mismatch, header)


def _digest_lines(mismatch: Mismatch) -> Iterator[str]:
    yield f"  digest of the state after op {mismatch.n} (line {mismatch.line})"
    yield f"    kernel  {mismatch.expected['sha256']}"
    yield f"    model   {mismatch.got['sha256']}"
    if mismatch.agreed_at > 0:
        yield f"    the state last agreed after op {mismatch.agreed_at}"


def op_text(op: Op, header: Header) -> str:
    """An op in the kernel's words: names for gfp and flag bits, ``any`` for node -1."""
    parts = [op.name, _SUBJECTS[op.name](op)]
    if op.name in vector_file.ALLOCATIONS:
        flavour = REVISIONS[header.revision].gfp_flavour
        node = "any" if op.node < 0 else str(op.node)
        parts.append(f"{decode(op.gfp, flavour)} ({op.gfp:#x}) node {node}")
        parts += [text for bit, text in CTX_NAMES.items() if op.ctx & bit]
    if "cpu" in vector_file.FIELDS[op.name]:
        parts.append(f"on cpu {op.cpu}")
    return " ".join(filter(None, parts))


_SUBJECTS: Final[dict[str, Callable[[Op], str]]] = {
    vector_file.PAGE_ALLOC: lambda op: f"#{op.id} order {op.order}",
    vector_file.PAGE_FREE: lambda op: f"#{op.id}{' cold' if op.cold else ''}",
    vector_file.CACHE_CREATE: lambda op: (
        f"{op.cache} {op.size} bytes align {op.align} flags {_bits(op.flags, _CACHE_FLAGS) or 0}"
    ),
    vector_file.OBJ_ALLOC: lambda op: f"#{op.id} {op.cache}",
    vector_file.KMALLOC: lambda op: f"#{op.id} {op.size} bytes",
    vector_file.OBJ_FREE: lambda op: f"#{op.id}",
    vector_file.REAP: lambda _: "",
    vector_file.CACHE_SHRINK: lambda op: op.cache,
    vector_file.DRAIN: lambda _: "",
    vector_file.TICK: lambda op: f"{op.jiffies} jiffies",
    vector_file.MIN_FREE: lambda op: f"{op.kbytes} kB",
}
"""What an op is about, by its name."""


def answer_text(out: dict[str, object]) -> str:
    """An answer in short: the result and where it came from."""
    where = [f"{key} {out[key]}" for key in _ANSWER_ORDER[1:] if key in out]
    return ", ".join([str(out.get("res", "?")), *where])


def _bits(value: int, names: dict[int, str]) -> str:
    known = [name for bit, name in names.items() if value & bit]
    rest = value & ~sum(names)
    return "|".join([*known, *([hex(rest)] if rest else [])])


def alloc_flags_text(value: object, revision: str) -> str:
    """``alloc_flags`` by name, ``LOW|CPUSET``; ``no pass`` for -1."""
    if type(value) is not int:
        return str(value)
    if value < 0:
        return "no pass"
    names = _ALLOC_FLAGS_6 if revision == "v6.1" else _ALLOC_FLAGS_3
    parts = [_bits(value & ~_WATERMARK_MASK, names)]
    if not value & _NO_WATERMARKS:
        parts.insert(0, _WATERMARKS[value & _WATERMARK_MASK])
    return f"{value:#x} {'|'.join(filter(None, parts))}"


def _table(mismatch: Mismatch, header: Header) -> Iterator[str]:
    """Both answers side by side, ``!`` before the keys that differ."""
    rows = list(_rows(mismatch, header))
    width = max(len(key) for _, key, _, _ in rows)
    left = max(len("kernel"), *(len(kernel) for _, _, kernel, _ in rows))
    yield f"      {'':<{width}}  {'kernel':<{left}}  model"
    for differs, key, kernel, model in rows:
        mark = "!" if differs else " "
        yield f"    {mark} {key:<{width}}  {kernel:<{left}}  {model}".rstrip()


def _rows(mismatch: Mismatch, header: Header) -> Iterator[tuple[bool, str, str, str]]:
    expected, got = mismatch.expected, mismatch.got
    # What the model answers beyond the vector's keys matters only when the result differs.
    others = got if "res" in mismatch.keys else {}
    first = [key for key in _ANSWER_ORDER if key in expected or key in others]
    for key in dict.fromkeys([*first, *expected]):
        kernel, model = expected.get(key, ABSENT), got.get(key, ABSENT)
        differs = key in mismatch.keys or (key not in expected and key in others)
        if key == "free" and isinstance(kernel, list) and isinstance(model, list):
            for label, one, other in zip(_zone_labels(header), kernel, model, strict=False):
                yield one != other, f"free {label}", str(one), str(other)
        elif key == "af":
            texts = [alloc_flags_text(value, header.revision) for value in (kernel, model)]
            yield differs, key, texts[0], texts[1]
        elif isinstance(kernel, list | dict):
            yield differs, key, "(see below)" if differs else "…", "" if differs else "…"
        else:
            yield differs, key, str(kernel), str(model)


def _zone_labels(header: Header) -> list[str]:
    zones = header.boot.get("zones")
    if not isinstance(zones, list):
        return []
    return [zone_label(zone["nid"], zone["zone"]) for zone in zones]


def _difference_lines(mismatch: Mismatch, max_diff: int) -> Iterator[str]:
    shown = mismatch.differences
    if mismatch.kind is Kind.ANSWER:
        # Plain values stand in the table already.
        shown = [d for d in shown if isinstance(mismatch.expected[_top(d.path)], list | dict)]
        shown = [d for d in shown if _top(d.path) != "free"]
    if not shown:
        if mismatch.kind is Kind.DIGEST:
            yield "    no later line of the file states the kernel's state"
        return
    when = f"after op {mismatch.differences_at}" if mismatch.differences_at else "after boot"
    if mismatch.differences_at > mismatch.n:
        when += f", {mismatch.differences_at - mismatch.n} ops later: the next state in the file"
    yield f"  {_count(len(shown), 'difference')} {when}"
    for difference in shown[:max_diff]:
        yield from _difference(difference)
    if len(shown) > max_diff:
        yield f"    … and {_count(len(shown) - max_diff, 'difference')} more"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _difference(difference: Difference) -> Iterator[str]:
    expected, got = difference.expected, difference.got
    index = first_difference(expected, got)
    where = f" from {index}" if index >= 0 else ""
    yield f"    {difference.path}{where}"
    yield f"      kernel  {_excerpt(expected, index)}"
    yield f"      model   {_excerpt(got, index)}"


def _excerpt(value: object, index: int) -> str:
    """A value, of long lists and strings only what surrounds the given index."""
    if index < 0 or not isinstance(value, list | str):
        text = str(value)
        return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"
    first, last = max(0, index - WINDOW), index + WINDOW + 1
    before = "… " if first else ""
    rest = len(value) - last
    after = f" … {rest} more" if rest > 0 else ""
    members = value[first:last]
    text = members if isinstance(members, str) else " ".join(str(member) for member in members)
    return f"{before}{text or '(end)'}{after}"


def _recent_lines(mismatch: Mismatch, header: Header) -> Iterator[str]:
    steps = [step for step in mismatch.recent if step.op is not mismatch.op]
    if mismatch.kind is Kind.DIGEST:
        steps = [step for step in steps if step.op.n > mismatch.agreed_at]
        touched = _caches(mismatch)
        steps = [step for step in steps if _cache_of(step.freed or step.op) in touched] or steps
    if not steps:
        return
    yield "  ops before it"
    yield from (f"    {_step_text(step, header)}" for step in steps[-RECENT_SHOWN:])


def _step_text(step: Step, header: Header) -> str:
    text = f"{step.op.n:>6} {op_text(step.op, header)} -> {answer_text(step.got)}"
    return f"{text} ({_place(step.freed)})" if step.freed is not None else text


def _place(allocation: Op) -> str:
    """What an allocation handed out: cache, slab and index, or page."""
    out = allocation.out
    cache = _cache_of(allocation)
    return f"{cache} {out['slab']}:{out['idx']}" if "slab" in out else f"pfn {out['pfn']}"


def _cache_of(op: Op) -> str:
    return op.cache or str(op.out.get("cache", ""))


def _scene_lines(mismatch: Mismatch, header: Header) -> Iterator[str]:
    scene = mismatch.scene
    if scene is None or mismatch.kind is Kind.BOOT:
        return
    try:
        lines = [
            *state_text.zones(scene.state, scene.boot, _zones(mismatch, header)),
            *state_text.caches(scene.state, scene.geometry, _caches(mismatch)),
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        lines = [f"the model's state is not laid out as a digest's: {error!r}"]
    if lines:
        yield f"  the model's state, {scene.when}"
        yield from (f"    {line}" for line in lines)


def _zones(mismatch: Mismatch, header: Header) -> list[str]:
    """Zones that the mismatch is about: where the answers differ, or where they point."""
    labels = _zone_labels(header)
    if mismatch.op is None or mismatch.kind is Kind.CRASH:
        paths = [difference.path for difference in mismatch.differences]
        wanted = [label for label in labels if any(f"zones[{label}]" in path for path in paths)]
        return wanted if paths and mismatch.kind is Kind.DIGEST else labels
    wanted = []
    for answer in (mismatch.expected, mismatch.got):
        if "zone" in answer:
            wanted.append(zone_label(answer.get("nid"), answer["zone"]))
    kernel, model = mismatch.expected.get("free"), mismatch.got.get("free")
    if isinstance(kernel, list) and isinstance(model, list):
        pairs = zip(labels, kernel, model, strict=False)
        wanted += [label for label, one, other in pairs if one != other]
    if wanted or not {"res", "af", "wk", "wz"} & {*mismatch.keys}:
        return [label for label in labels if label in wanted]
    return labels


def _caches(mismatch: Mismatch) -> list[str]:
    """Caches that the mismatch is about."""
    names: dict[str, None] = {}
    for op in (mismatch.op, mismatch.freed):
        if op is not None and op.name != vector_file.CACHE_CREATE:
            names[_cache_of(op)] = None
    names[str(mismatch.got.get("cache", ""))] = None
    if mismatch.kind is Kind.DIGEST:
        for difference in mismatch.differences:
            _, found, rest = difference.path.partition("caches[")
            if found:
                names[rest.partition("]")[0]] = None
    return [name for name in names if name]


def file_json(result: FileResult) -> dict[str, object]:
    """Everything that the text tells of a file, for programs."""
    entry: dict[str, object] = {
        "file": str(result.path),
        "status": str(result.status),
        "ops": result.ops,
        "digests": result.digests,
    }
    if result.header is not None:
        entry["level"] = result.header.level
        entry["variant"] = result.header.variant_name
        entry["kernel"] = result.header.kernel
    if result.reason:
        entry["reason"] = result.reason
    if result.mismatch is not None and result.header is not None:
        entry["mismatch"] = _mismatch_json(result.mismatch, result.header)
    return entry


def _mismatch_json(mismatch: Mismatch, header: Header) -> dict[str, object]:
    entry: dict[str, object] = {
        "kind": str(mismatch.kind),
        "n": mismatch.n,
        "line": mismatch.line,
        "keys": mismatch.keys,
        "expected": _plain(mismatch.expected),
        "got": _plain(mismatch.got),
        "agreed_at": mismatch.agreed_at,
        "differences_at": mismatch.differences_at,
        "differences": [
            {"path": d.path, "expected": _plain(d.expected), "got": _plain(d.got)}
            for d in mismatch.differences
        ],
        "recent": [_step_text(step, header) for step in mismatch.recent[-RECENT_SHOWN:]],
    }
    if mismatch.op is not None:
        entry["op"] = op_text(mismatch.op, header)
    if mismatch.scene is not None:
        entry["scene"] = {"when": mismatch.scene.when, "state": mismatch.scene.state}
    if mismatch.trace:
        entry["trace"] = mismatch.trace
    return entry


def _plain(value: object) -> object:
    """``value`` with null for what one side does not have."""
    if isinstance(value, Absent):
        return None
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    return value
