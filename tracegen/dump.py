"""A batch byte by byte, each run of bytes with what it means.

For people who write the format in another language and want to see where their bytes
differ. Works on broken batches as far as their msgpack goes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Final

import msgpack

from allocator.events import OP_NAMES, RECORD_SIZE
from tracegen.batch import RECORD, ROW_FIELDS
from tracegen.errors import NOT_MSGPACK, BatchError, shown
from tracegen.info import context_name

_BYTES_A_LINE: Final = 8
_MAX_DEPTH: Final = 8
"""A header's deepest value is header, caches, one cache, one field of it."""

_ARRAY_BYTES: Final = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})
_MAP_BYTES: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})

_RECORD_FIELDS: Final = ("ts_ns", "handle", "gfp", "arg", "cpu", "node", "op", "ctx", "zero")
_RECORD_SIZES: Final = tuple(struct.calcsize(code) for code in "QQIIHhBBH")


def dump(data: bytes, max_events: int) -> Iterator[str]:
    """Lines of offset, bytes and meaning; at most ``max_events`` events are shown.

    Raises :class:`BatchError` where the bytes end to be msgpack.
    """
    yield from _Dump(data, max_events).lines()


class _Dump:
    def __init__(self, data: bytes, max_events: int) -> None:
        self._data = data
        self._max_events = max_events
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=max(len(data), 1), use_list=False, raw=False, strict_map_key=False
        )
        self._unpacker.feed(data)

    def lines(self) -> Iterator[str]:
        try:
            yield from self._value(0, "", None)
        except (ValueError, msgpack.UnpackException) as error:
            said = str(error) or type(error).__name__
            raise BatchError(
                f"no msgpack from here on: {said:.120}",
                reason=NOT_MSGPACK,
                offset=self._unpacker.tell(),
            ) from None

    def _value(self, depth: int, label: str, key: str | None) -> Iterator[str]:
        at = self._unpacker.tell()
        first = self._data[at] if at < len(self._data) else -1
        if first in _MAP_BYTES and depth < _MAX_DEPTH:
            count = self._unpacker.read_map_header()
            yield from self._bytes(at, depth, f"{label}map of {count}")
            for _ in range(count):
                yield from self._pair(depth + 1)
        elif first in _ARRAY_BYTES and depth < _MAX_DEPTH:
            yield from self._array(at, depth, label, key)
        else:
            value = self._unpacker.unpack()
            if key == "packed" and isinstance(value, bytes):
                yield from self._records(at, value, depth, label)
            else:
                yield from self._bytes(at, depth, f"{label}{_value_text(value)}")

    def _pair(self, depth: int) -> Iterator[str]:
        at = self._unpacker.tell()
        key = self._unpacker.unpack()
        yield from self._bytes(at, depth, f"key {_value_text(key)}")
        yield from self._value(depth + 1, "", key if isinstance(key, str) else None)

    def _array(self, at: int, depth: int, label: str, key: str | None) -> Iterator[str]:
        count = self._unpacker.read_array_header()
        what = f"array of {count}"
        if label.startswith("event") and count == len(ROW_FIELDS):
            what = "an array of its fields"
        yield from self._bytes(at, depth, f"{label}{what}")
        for index in range(count):
            if key == "events":
                if index == self._max_events:
                    yield from self._rest(depth + 1, count - index)
                    return
                yield from self._value(depth + 1, f"event {index}: ", None)
            elif label.startswith("event") and count == len(ROW_FIELDS):
                yield from self._field(depth + 1, ROW_FIELDS[index])
            else:
                yield from self._value(depth + 1, "", None)

    def _rest(self, depth: int, count: int) -> Iterator[str]:
        at = self._unpacker.tell()
        for _ in range(count):
            self._unpacker.skip()
        size = self._unpacker.tell() - at
        yield _line(at, "...", depth, f"{count} more events in {size} bytes")

    def _field(self, depth: int, name: str) -> Iterator[str]:
        at = self._unpacker.tell()
        value = self._unpacker.unpack()
        yield from self._bytes(at, depth, f"{name} {_field_text(name, value)}")

    def _records(self, at: int, records: bytes, depth: int, label: str) -> Iterator[str]:
        end = self._unpacker.tell()
        start = end - len(records)
        count = len(records) // RECORD_SIZE
        yield _line(
            at,
            self._data[at:start].hex(" "),
            depth,
            f"{label}binary of {len(records)}: {count} events",
        )
        whole = records[: count * RECORD_SIZE]
        for index, values in enumerate(RECORD.iter_unpack(whole)):
            if index == self._max_events:
                left = count - index
                yield _line(start, "...", depth + 1, f"{left} more events in {end - start} bytes")
                return
            yield _line(start, "", depth + 1, f"event {index}")
            for name, size, value in zip(_RECORD_FIELDS, _RECORD_SIZES, values, strict=True):
                text = f"{name} {_field_text(name, value)}"
                yield _line(start, self._data[start : start + size].hex(" "), depth + 2, text)
                start += size

    def _bytes(self, at: int, depth: int, text: str) -> Iterator[str]:
        """One line for the bytes just read, and more without a text if they are many."""
        raw = self._data[at : self._unpacker.tell()]
        for offset in range(0, len(raw), _BYTES_A_LINE):
            piece = raw[offset : offset + _BYTES_A_LINE].hex(" ")
            yield _line(at + offset, piece, depth, text if offset == 0 else "")


def _line(at: int, piece: str, depth: int, text: str) -> str:
    return f"{at:06x}  {piece:<{3 * _BYTES_A_LINE}} {'  ' * depth}{text}".rstrip()


def _value_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else shown(value)


def _field_text(name: str, value: object) -> str:
    if not isinstance(value, int):
        return _value_text(value)
    if name == "op":
        return f"{value} {OP_NAMES.get(value, '(none)')}"
    if name == "gfp":
        return f"{value:#x}"
    if name == "ctx":
        return f"{value} {context_name(value)}"
    return str(value)
