"""From the words of the vectors to those of rule traces.

The vectors' keys are short for a machine's sake (``pfm``, ``af``, ``wk``); a rule
trace is read by people. Both the model's answers and the kernel's recorded ones
come through here, so they are told in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from allocator.revision import REVISIONS
from allocator.story import ALLOC_FLAG_NAMES_3, alloc_flags_text
from tracegen.rule_trace.answer import Answer

_RESULTS: Final[dict[str, str]] = {"ok": "ok", "null": "denied", "stall": "stalled"}
_KEYS: Final[dict[str, str]] = {
    "cache": "cache",
    "slab": "slab",
    "idx": "idx",
    "pfn": "pfn",
    "order": "order",
    "nid": "node",
    "zone": "zone",
    "ret": "ret",
    "pfm": "reserve",
    "pa": "active",
    "af": "flags",
    "wk": "kswapd",
    "free": "free",
}
"""Key in a vector to key in a rule trace, in the order in which they are told."""
_LINUX_3: Final = 3
_NOT_GEOMETRY: Final = frozenset({"name", "res", "flags", "gfpflags", *_KEYS})


def answer_of(out: Mapping[str, object], revision: str, path: str = "") -> Answer:
    """Tell what an operation came to. ``path`` is the model's name for the way it went."""
    words = [_RESULTS[str(out["res"])]]
    if path:
        words.append(path)
    fields = {}
    for key, name in _KEYS.items():
        if key in out:
            fields[name] = _flags(out[key], revision) if key == "af" else values(out[key])
    return Answer(tuple(words), fields)


def cache_answer(geometry: Mapping[str, object]) -> Answer:
    """Tell what ``kmem_cache_create`` computed."""
    told = {key: values(value) for key, value in geometry.items() if key not in _NOT_GEOMETRY}
    if "order" in geometry:
        told["order"] = values(geometry["order"])
    return Answer((), told)


def watermarks_answer(boot: Mapping[str, object]) -> Answer:
    """Tell the watermarks of each zone, as ``min_free`` set them."""
    zones = cast("list[dict[str, dict[str, int]]]", boot["zones"])
    marks = {
        mark: tuple(str(zone["wmark"][mark]) for zone in zones) for mark in ("min", "low", "high")
    }
    return Answer((), marks)


def values(value: object) -> tuple[str, ...]:
    """Return a field's members as they are written."""
    if isinstance(value, list | tuple):
        return tuple(str(member) for member in value) or ("none",)
    if isinstance(value, bool):
        return (str(int(value)),)
    return ("none",) if value is None else (str(value),)


def _flags(value: object, revision: str) -> tuple[str, ...]:
    """The kernel's ``alloc_flags`` by name, less ALLOC_; none if no zonelist was walked."""
    bits = cast("int", value)
    if bits < 0:
        return ("none",)
    if REVISIONS[revision].linux != _LINUX_3:
        return (hex(bits),)
    return tuple(alloc_flags_text(bits, ALLOC_FLAG_NAMES_3).split("|"))
