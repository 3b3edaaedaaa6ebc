"""Rows are packed from their bytes exactly as msgpack and struct would, or not at all."""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracegen import batch
from tracegen.batch import RECORD
from tracegen.errors import BatchError
from tracegen.limits import U64_MAX, BatchLimits
from tracegen.row_packing import pack_rows

_FORMATS = {
    0xCC: (">B", 0, 0xFF),
    0xCD: (">H", 0, 0xFFFF),
    0xCE: (">I", 0, 0xFFFFFFFF),
    0xCF: (">Q", 0, U64_MAX),
    0xD0: (">b", -0x80, 0x7F),
    0xD1: (">h", -0x8000, 0x7FFF),
    0xD2: (">i", -(2**31), 2**31 - 1),
    0xD3: (">q", -(2**63), 2**63 - 1),
}
MOST = 16384


def _encodings(value: int) -> list[bytes]:
    """Every way in which msgpack can write an integer."""
    ways = [
        bytes((code,)) + struct.pack(f, value)
        for code, (f, a, b) in _FORMATS.items()
        if a <= value <= b
    ]
    if -0x20 <= value <= 0x7F:
        ways.append(bytes((value & 0xFF,)))
    return ways


def _edges(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers of a range, most of them where a format of msgpack begins or ends."""
    near = {2**bits + by for bits in (5, 7, 8, 15, 16, 31, 32, 63, 64) for by in (-1, 0, 1)}
    inside = sorted(v for v in near | {-v for v in near} | {0} if low <= v <= high)
    return st.one_of(st.sampled_from(inside), st.integers(low, high))


def _written(low: int, high: int) -> st.SearchStrategy[tuple[int, bytes]]:
    """An integer of a range, and one of the ways to write it."""
    return _edges(low, high).flatmap(
        lambda value: st.sampled_from(_encodings(value)).map(lambda way: (value, way))
    )


sound_rows = st.tuples(
    _written(0, 0xFF),
    _written(0, U64_MAX),
    _written(0, U64_MAX),
    _written(0, 2**32 - 1),
    _written(0, 2**32 - 1),
    _written(0, 0xFFFF),
    _written(-0x8000, 0x7FFF),
    _written(0, 0xFF),
)
any_rows = st.lists(
    _written(-(2**63), U64_MAX).map(lambda field: field[1]), min_size=7, max_size=9
).map(lambda fields: bytes((0x90 + len(fields),)) + b"".join(fields))


def _packs(
    op: int, ts: int, handle: int, gfp: int, arg: int, cpu: int, node: int, ctx: int
) -> bytes:
    return RECORD.pack(ts, handle, gfp, arg, cpu, node, op, ctx, 0)


@given(st.lists(sound_rows, max_size=5), st.binary(max_size=3), st.sampled_from((0, 2, 4)))
def test_sound_rows_are_packed(
    rows: list[tuple[tuple[int, bytes], ...]], before: bytes, width: int
) -> None:
    """In whichever of msgpack's formats each number and the array are written."""
    count = len(rows)
    head = (
        bytes((0x90 + count,))
        if width == 0
        else (struct.pack(">BH", 0xDC, count) if width == 2 else struct.pack(">BI", 0xDD, count))
    )
    payload = head + b"".join(b"\x98" + b"".join(way for _, way in row) for row in rows)
    records = b"".join(_packs(*(value for value, _ in row)) for row in rows)

    assert (records, len(before) + len(payload)) == pack_rows(
        before + payload + b"behind", len(before), MOST
    )


@given(any_rows, st.integers(0, 3))
def test_what_is_packed_is_packed_as_msgpack_would(row: bytes, cut: int) -> None:
    """Whatever the numbers and however many: the quick way lets nothing more through."""
    payload = b"\x91" + row[: len(row) - cut]
    try:
        slow = batch._pack_rows(payload, BatchLimits())
    except BatchError:
        slow = None
    quick = pack_rows(payload, 0, MOST)

    assert quick is None or quick == (slow, len(payload))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x91",
        b"\x81\x01\x02",
        b"\xdc\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\xdc\xff\xff" + b"\x98" + bytes(8),
        b"\x91\x98" + bytes(7),
        b"\x91\x97" + bytes(7),
        b"\x91\x98" + bytes(7) + b"\xc3",
        b"\x91\x98" + bytes(7) + b"\xcb" + bytes(8),
        b"\x91\xdc\x00\x08" + bytes(8),
        msgpack.packb([[1, -1, 1, 0, 0, 0, 0, 0]]),
        msgpack.packb([[1, 1, 1, 2**32, 0, 0, 0, 0]]),
        msgpack.packb([[1, 1, 1, 0, 0, 2**16, 0, 0]]),
        msgpack.packb([[1, 1, 1, 0, 0, 0, U64_MAX, 0]]),
        msgpack.packb([[U64_MAX, 1, 1, 0, 0, 0, 0, 0]]),
        msgpack.packb([[[[[]]]]]),
    ],
)
def test_anything_else_is_left_alone(payload: bytes) -> None:
    """Nothing is packed of what is cut short, out of range, or no row of integers."""
    assert pack_rows(payload, 0, MOST) is None


def test_more_rows_than_allowed_are_left_alone() -> None:
    """The count is looked at before any row is."""
    payload = msgpack.packb([[1, 1, 1, 0, 0, 0, 0, 0]] * 3)

    assert pack_rows(payload, 0, 2) is None
    assert pack_rows(payload, 0, 3) is not None
