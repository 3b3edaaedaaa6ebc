"""Where two states part, and the fingerprint under which the kernel's is recorded.

A digest of a vector is the sha256 of the state as JSON text with sorted keys
and no spaces. When the fingerprints differ and the vector states the kernel's
state in full, :func:`differences` walks both and names each place.

A list is one place: its members' order is the kernel's list order, and one
missing member would otherwise show as a difference at every later index. Only
lists of named things (zones, caches) and lists indexed by number (cpus, nodes,
per-type and per-node lists) are entered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

INDEXED: Final = frozenset({"lists", "alien", "cpus", "nodes", "pcp"})
"""Keys whose list is an array: the index is a cpu, a node or a type."""


class Absent:
    """Stands for a value that one side does not have."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show it as the reports do."""
        return "(none)"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the states part; either side may be :data:`ABSENT`."""

    path: str
    expected: object
    got: object


def canonical(value: object) -> bytes:
    """JSON text of ``value`` as the vectors' fingerprints take it.

    Raises :class:`TypeError` for what JSON cannot hold.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def fingerprint(value: object) -> str:
    """The sha256 of :func:`canonical`, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def first_difference(expected: object, got: object) -> int:
    """Index at which two lists or two strings part; -1 when they do not."""
    if isinstance(expected, list) and isinstance(got, list):
        left, right = [canonical(item) for item in expected], [canonical(item) for item in got]
        return _first(left, right)
    if isinstance(expected, str) and isinstance(got, str):
        return _first(list(expected), list(got))
    return -1


def _first(expected: list[bytes] | list[str], got: list[bytes] | list[str]) -> int:
    for index, (left, right) in enumerate(zip(expected, got, strict=False)):
        if left != right:
            return index
    return -1 if len(expected) == len(got) else min(len(expected), len(got))


def differences(
    expected: object, got: object, path: str = "", *, stated_only: bool = False
) -> Iterator[Difference]:
    """Every place where ``got`` is not ``expected``, in the order of ``expected``.

    With ``stated_only`` a key that only ``got`` has is no difference. Booleans
    are not numbers: their JSON differs, so they do.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        yield from _of_objects(expected, got, path, stated_only=stated_only)
    elif isinstance(expected, list) and isinstance(got, list):
        yield from _of_lists(expected, got, path, stated_only=stated_only)
    elif type(expected) is not type(got) or expected != got:
        yield Difference(path, expected, got)


def _of_objects(
    expected: dict[str, object], got: dict[str, object], path: str, *, stated_only: bool
) -> Iterator[Difference]:
    for key, value in expected.items():
        here = f"{path}.{key}" if path else key
        if "/" in key:
            here = f"{path}[{key}]"
        if key not in got:
            yield Difference(here, value, ABSENT)
        else:
            yield from differences(value, got[key], here, stated_only=stated_only)
    if not stated_only:
        for key, value in got.items():
            if key not in expected:
                here = f"{path}[{key}]" if "/" in key else f"{path}.{key}".lstrip(".")
                yield Difference(here, ABSENT, value)


def _of_lists(
    expected: list[object], got: list[object], path: str, *, stated_only: bool
) -> Iterator[Difference]:
    left, right = _labels(expected), _labels(got)
    if left is not None and right is not None and (left or right):
        if left != right and sorted(left) == sorted(right):
            yield Difference(f"order of {path}", left, right)
        theirs = dict(zip(right, got, strict=True))
        for label, value in zip(left, expected, strict=True):
            here = f"{path}[{label}]"
            if label in theirs:
                yield from differences(value, theirs[label], here, stated_only=stated_only)
            else:
                yield Difference(here, value, ABSENT)
        ours = set(left)
        for label, value in theirs.items():
            if label not in ours:
                yield Difference(f"{path}[{label}]", ABSENT, value)
    elif path.rpartition(".")[2] in INDEXED and len(expected) == len(got):
        for index, (value, other) in enumerate(zip(expected, got, strict=True)):
            yield from differences(value, other, f"{path}[{index}]", stated_only=stated_only)
    elif canonical(expected) != canonical(got):
        yield Difference(path, expected, got)


def _labels(items: list[object]) -> list[str] | None:
    """Names of the members when they all have one and no two share it."""
    labels: list[str] = []
    for item in items:
        if not isinstance(item, dict):
            return None
        if "name" in item:
            labels.append(str(item["name"]))
        elif "zone" in item and "nid" in item:
            labels.append(zone_label(item["nid"], item["zone"]))
        elif "thisnode" in item and "nid" in item:
            labels.append(f"node {item['nid']}{' thisnode' if item['thisnode'] else ''}")
        else:
            return None
    return labels if len(set(labels)) == len(labels) else None


def zone_label(nid: object, zone: object) -> str:
    """How a zone is called in paths and reports: ``node 1 Normal``."""
    return f"node {nid} {zone}"
