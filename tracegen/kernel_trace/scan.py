"""Lines into events at the speed of C: when compiled, the way that most lines go.

A line is walked over once. What repeats (the origin, the event's name, the text around its
address) is hashed on the way, and the hash looked up; times and addresses are computed. A
line whose parts are not in the tables is given to :meth:`TraceText.look_closely`. What that
finds goes into the tables if the walk found the same time and the same address.

Hashes of 62 bits are compared, not texts: two that collide would have to be made for it.
Plain Python, for which walking is slow, has :meth:`TraceText.events` instead.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_le
from mypy_extensions import i64

from tracegen.kernel_trace.kernel_event import Event, Origin, Shape
from tracegen.kernel_trace.lines import (
    BARE,
    MAX_NS,
    MAX_REMEMBERED,
    PAGE,
    POINTER,
    WAYS,
    TraceText,
)
from tracegen.kernel_trace.shapes import MAX_PFN

_NEWLINE: Final = 10
_SPACE: Final = 32
_DOT: Final = 46
_ZERO: Final = 48
_NINE: Final = 57
_COLON: Final = 58
_LOWER_A: Final = 97
_LOWER_F: Final = 102
_LOWER_P: Final = 112
_LOWER_X: Final = 120
_PTR: Final = 0x3D727470
"""``ptr=``"""
_PFN: Final = 0x3D6E6670
"""``pfn=``"""
_KEY: Final = 4
_POINTER_DIGITS: Final = 16
_PFN_DIGITS: Final = 10

_PRIME: Final = 1099511628211
_HASH: Final = (1 << 61) - 1
"""What is kept of a hash: small enough to be no more than a word to Python."""

_MICROSECONDS: Final = 6
_NANOSECONDS: Final = 9
_LONGEST_STAMP: Final = 20
_OTHER_FORM: Final = -1
"""In place of a line's end: the line is made up in another way."""
_NEW_NAME: Final = -1
"""In place of a way: the event's name is not in the table."""
_U64: Final = 1 << 64


class Scanner:
    """Reads for a :class:`TraceText`, which counts what it meets as if it had read itself."""

    def __init__(self, text: TraceText) -> None:
        self._text = text
        self._origins: dict[int, Origin] = {}
        self._ways: dict[int, int] = {}
        self._shapes: dict[int, Shape] = {}
        # What the walk over a line has found:
        self._origin: i64 = 0
        self._name: i64 = 0
        self._shape: i64 = 0
        self._ts_ns: i64 = 0
        self._address: i64 = 0
        self._way: i64 = 0

    def events(self, data: bytes) -> list[Event]:
        """The events of whole lines, each with its end, in their order."""
        found: list[Event] = []
        text = self._text
        text.begin_piece()
        at: i64 = 0
        size: i64 = len(data)
        while at < size:
            text.lines += 1
            begin = at
            if text.buffer:
                buffer = text.buffer.encode()
                if data.startswith(buffer, at):
                    at += len(buffer)
            end = self._walk(data, at, size)
            origin: Origin | None = None
            shape: Shape | None = None
            if end != _OTHER_FORM:
                origin = self._origins.get(int(self._origin))
                shape = self._shapes.get(int(self._shape))
            if origin is not None and shape is not None:
                address = int(self._address)
                found.append(
                    (shape, self._ts_ns, origin, address if address >= 0 else address + _U64)
                )
            else:
                end = data.find(b"\n", at)
                if end < 0:
                    end = size
                event = text.look_closely(data[begin:end].decode("utf-8", "backslashreplace"))
                if event is not None:
                    self._learn(data, at, size, event)
                    found.append(event)
                else:
                    text.gaps.append(len(found))
            at = end + 1
        return found

    def _learn(self, data: bytes, at: i64, size: i64, event: Event) -> None:
        """Put into the tables what the walk would look for, if it finds the same."""
        shape, ts_ns, origin, address = event
        if self._name == 0:
            return
        if len(self._shapes) + len(self._origins) + len(self._ways) >= MAX_REMEMBERED:
            self._shapes.clear()
            self._origins.clear()
            self._ways.clear()
        self._ways[int(self._name)] = WAYS.get(shape.role, BARE)
        if self._walk(data, at, size) == _OTHER_FORM or self._ts_ns != ts_ns:
            return
        if (
            self._way == BARE
            or int(self._address) == address
            or int(self._address) + _U64 == address
        ):
            self._origins[int(self._origin)] = origin
            self._shapes[int(self._shape)] = shape

    def _walk(self, data: bytes, at: i64, size: i64) -> i64:
        """Walk over a line; return where it ends, or ``_OTHER_FORM``."""
        self._name = 0
        at = self._walk_origin(data, at, size)
        if at != _OTHER_FORM:
            at = self._walk_name(data, at, size)
        if at == _OTHER_FORM:
            return at
        self._way = self._ways.get(int(self._name), _NEW_NAME)
        if self._way == POINTER:
            return self._walk_pointer(data, at, size)
        if self._way == PAGE:
            return self._walk_page(data, at, size)
        if self._way != BARE:
            return _OTHER_FORM
        self._shape = self._name
        self._address = 0
        return data.find(b"\n", at)

    def _walk_origin(self, data: bytes, at: i64, size: i64) -> i64:
        """Walk over who, where and when, up to the first colon; return what comes next."""
        found: i64 = 0
        before: i64 = 0
        space: i64 = -1
        c: i64 = 0
        while at + 1 < size:
            c = data[at]
            if c == _SPACE:
                space = at
                before = found
            elif c == _COLON and data[at + 1] == _SPACE:
                break
            elif c == _NEWLINE:
                return _OTHER_FORM
            found = (found ^ c) * _PRIME
            at += 1
        if space < 0 or at + 1 >= size or not self._read_time(data, space + 1, at):
            return _OTHER_FORM
        self._origin = before & _HASH
        return at + 2

    def _walk_name(self, data: bytes, at: i64, size: i64) -> i64:
        """Walk over the event's name, up to the next colon; return what comes next."""
        found: i64 = 0
        c: i64 = 0
        while at + 1 < size:
            c = data[at]
            if c == _COLON and data[at + 1] == _SPACE:
                self._name = found & _HASH
                return at + 2
            if c == _NEWLINE:
                break
            found = (found ^ c) * _PRIME
            at += 1
        return _OTHER_FORM

    def _read_time(self, data: bytes, at: i64, end: i64) -> bool:
        """Read SECONDS.FRACTION; tell whether that is what stands there."""
        if end - at > _LONGEST_STAMP:
            return False
        time: i64 = 0
        dot: i64 = end
        while at < end:
            c: i64 = data[at]
            if _ZERO <= c <= _NINE:
                time = time * 10 + (c - _ZERO)
            elif c == _DOT and dot == end:
                dot = at
            else:
                return False
            at += 1
        digits = end - dot - 1
        longest: i64 = MAX_NS
        if digits == _MICROSECONDS:
            longest = MAX_NS // 1000
        elif digits != _NANOSECONDS:
            return False
        self._ts_ns = time * 1000 if digits == _MICROSECONDS else time
        # Beyond the largest number it has become negative.
        return 0 <= time <= longest

    def _walk_pointer(self, data: bytes, at: i64, size: i64) -> i64:
        """Walk over fields with ``ptr=``, which is hexadecimal."""
        found = self._name
        c: i64 = 0
        while at + _KEY < size:
            c = data[at]
            if c == _NEWLINE:
                return _OTHER_FORM
            if c == _SPACE and read_i32_le(data, at + 1) == _PTR:
                break
            found = (found ^ c) * _PRIME
            at += 1
        at += 1 + _KEY
        if at + 1 < size and data[at] == _ZERO and data[at + 1] == _LOWER_X:
            at += 2
        return self._walk_hexadecimal(data, at, size, found, _POINTER_DIGITS)

    def _walk_page(self, data: bytes, at: i64, size: i64) -> i64:
        """Walk over fields with ``pfn=``, which is hexadecimal or decimal."""
        found = self._name
        c: i64 = 0
        while at + _KEY < size:
            c = data[at]
            if c == _NEWLINE:
                return _OTHER_FORM
            if c == _LOWER_P and read_i32_le(data, at) == _PFN:
                break
            at += 1
        at += _KEY
        if at + 1 < size and data[at] == _ZERO and data[at + 1] == _LOWER_X:
            end = self._walk_hexadecimal(data, at + 2, size, found, _PFN_DIGITS)
        else:
            address: i64 = 0
            first = at
            while at < size and at - first < _PFN_DIGITS:
                c = data[at]
                if not _ZERO <= c <= _NINE:
                    break
                address = address * 10 + (c - _ZERO)
                at += 1
            self._address = address
            end = self._walk_tail(data, at, size, found)
        if not 0 < self._address < MAX_PFN:
            return _OTHER_FORM
        return end

    def _walk_hexadecimal(self, data: bytes, at: i64, size: i64, found: i64, digits: i64) -> i64:
        """Walk over an address of at most so many digits, and over what stands behind it."""
        address: i64 = 0
        last = at + digits
        while at < size and at < last:
            c: i64 = data[at]
            if _ZERO <= c <= _NINE:
                address = address << 4 | (c - _ZERO)
            elif _LOWER_A <= c <= _LOWER_F:
                address = address << 4 | (c - _LOWER_A + 10)
            else:
                break
            at += 1
        if at + digits == last:
            return _OTHER_FORM
        self._address = address
        return self._walk_tail(data, at, size, found)

    def _walk_tail(self, data: bytes, at: i64, size: i64, found: i64) -> i64:
        """Walk over what stands behind an address, to the line's end."""
        # What stood before the address must not run on into what stands behind it.
        found = (found ^ _NEWLINE) * _PRIME
        c: i64 = data[at] if at < size else _NEWLINE
        if c not in {_SPACE, _NEWLINE}:
            return _OTHER_FORM
        while at < size:
            c = data[at]
            if c == _NEWLINE:
                break
            found = (found ^ c) * _PRIME
            at += 1
        self._shape = found & _HASH
        return at
