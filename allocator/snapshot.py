"""A machine's state as bytes, and back.

A snapshot is laid over a machine freshly booted from the same configuration and
caches: both have the same objects in the same places, so only the numbers need to
travel. The walk visits objects in a fixed order, each once, and takes integers,
booleans and packed arrays; what a configuration determines (names, objects) it passes.

The layout is part of the code: a fingerprint of every class, attribute and type met
on the way stands at the front, and a snapshot made by other code is refused, never
guessed at.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Final

from librt.vecs import vec
from mypy_extensions import i64, u8

from allocator.machine import Machine

_MAGIC: Final = b"pfmemd-machine-1"
_INT: Final = struct.Struct("<q")
_LENGTH: Final = struct.Struct("<Q")
_FINGERPRINT_SIZE: Final = 32

_PASSED: Final = frozenset(
    {
        "Linux6PageAllocator._ac",  # of the request before; the next one sets all of it
        "Machine.answer",
        "Machine.config",
        "Machine.pfmemalloc_active",  # a view of the object allocator's
        "Machine.variant",
    }
)
"""What holds no state of its own."""


class SnapshotError(ValueError):
    """A snapshot that does not fit this machine or this code."""


def save(machine: Machine) -> bytes:
    """The state of a machine between two events."""
    walk = _Walk()
    parts: list[bytes] = []
    for owner, name, value in walk.fields(machine):
        if isinstance(value, int):
            parts.append(_INT.pack(value))
        else:
            raw = bytes(memoryview(value))
            parts += [_LENGTH.pack(len(raw)), raw]
        del owner, name
    return b"".join([_MAGIC, walk.fingerprint(), *parts])


def restore(machine: Machine, data: bytes) -> None:
    """Lay a snapshot over a freshly booted machine of the same configuration.

    Raises :class:`SnapshotError` when it was made by other code or for another
    machine, or is damaged; the machine must then be thrown away.
    """
    at = len(_MAGIC) + _FINGERPRINT_SIZE
    if len(data) < at or not data.startswith(_MAGIC):
        raise SnapshotError("not a machine snapshot")
    walk = _Walk()
    try:
        for owner, name, value in walk.fields(machine):
            if isinstance(value, int):
                found = _INT.unpack_from(data, at)[0]
                setattr(owner, name, bool(found) if isinstance(value, bool) else found)
                at += _INT.size
                continue
            length = _LENGTH.unpack_from(data, at)[0]
            at += _LENGTH.size
            raw = memoryview(data)[at : at + length]
            if len(raw) != length:
                raise SnapshotError("the snapshot ends in the middle of an array")
            at += length
            setattr(owner, name, _array_like(value, raw))
    except struct.error as error:
        raise SnapshotError(f"the snapshot ends too early: {error}") from None
    if walk.fingerprint() != data[len(_MAGIC) : len(_MAGIC) + _FINGERPRINT_SIZE]:
        raise SnapshotError("the snapshot was made by another version of the model")
    if at != len(data):
        raise SnapshotError(f"{len(data) - at} bytes too many at the end of the snapshot")


def _array_like(old: Any, raw: memoryview) -> Any:  # noqa: ANN401 - vec[i64] or vec[u8]
    code = memoryview(old).format
    if code == "q":
        if len(raw) % _INT.size:
            raise SnapshotError("an array of the snapshot ends in the middle of a number")
        return vec[i64](raw.cast("q"))
    return vec[u8](raw)


class _Walk:
    """The fixed order in which a machine's numbers are visited."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._layout = hashlib.sha256()

    def fingerprint(self) -> bytes:
        """Digest of the classes, attributes and types met so far."""
        return self._layout.digest()

    def fields(self, root: object) -> list[tuple[Any, str, Any]]:
        """Every (owner, attribute, int or array) below an object, in order."""
        found: list[tuple[Any, str, Any]] = []
        self._visit(root, found)
        return found

    def _visit(self, owner: Any, found: list[tuple[Any, str, Any]]) -> None:  # noqa: ANN401
        if id(owner) in self._seen:
            return
        self._seen.add(id(owner))
        kind = type(owner).__name__
        for name in dir(owner):
            if name.startswith("__") or f"{kind}.{name}" in _PASSED:
                continue
            value = getattr(owner, name)
            if callable(value) or value is None or isinstance(value, (str, bytes, tuple, dict)):
                continue
            self._layout.update(f"{kind}.{name}:{type(value).__name__};".encode())
            if isinstance(value, int) or type(value).__name__.startswith("vec"):
                found.append((owner, name, value))
            elif isinstance(value, list):
                for item in value:
                    if not isinstance(item, (int, str)) and item is not None:
                        self._visit(item, found)
            else:
                self._visit(value, found)
