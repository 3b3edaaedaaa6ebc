"""The trace format, version 1: one msgpack map is one batch.

Three kinds of batch share an envelope ``{"v", "source", "epoch", "seq"}``: a header
(``"header"``), events in readable form (``"events"``) and events in packed form
(``"packed"``). Both forms of events decode to the same :class:`EventBatch`, whose
``records`` are what the model consumes, so nothing behind this module knows that
there are two. The schema is docs/TRACE_FORMAT.md.

A batch from outside is looked at before it is built: its size, its envelope
(scalars only, no repeated or unknown key), the length of its payload. Then the
payload is decoded under limits of its own. Msgpack cannot nest, extend or inflate
its way past that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgpack

from allocator.events import (
    BAD_ARG,
    BAD_CACHE,
    BAD_CPU,
    BAD_CTX,
    BAD_GFP,
    BAD_HANDLE,
    BAD_LABEL,
    BAD_LENGTH,
    BAD_NODE,
    BAD_OP,
    BAD_PAD,
    BAD_REASONS,
    CTX_MASK,
    MARK,
    OP_NAMES,
    PAGE_ALLOC,
    RECORD_SIZE,
    Limits,
    check_records,
)
from allocator.gfp import known_bits
from tracegen import row_packing
from tracegen.errors import (
    HEADER,
    NOT_MSGPACK,
    ROW,
    SEQUENCE,
    SHAPE,
    SOURCE,
    TOO_LARGE,
    VERSION,
    BatchError,
    shown,
)
from tracegen.header import MAX_HEADER_BYTES, MAX_MADE_LENGTH, Header, parse_header
from tracegen.limits import (
    FIRST_SEQ,
    MAP_BYTES,
    MAX_CACHES,
    SOURCE_EXPECTED,
    U64_MAX,
    BatchLimits,
    is_source_name,
)

FORMAT_VERSION: Final = 1

RECORD: Final = struct.Struct("<QQIIHhBBH")
"""One event: ts_ns, handle, gfp, arg, cpu, node, op, ctx and two bytes of zero."""

ROW_FIELDS: Final = ("op", "ts_ns", "handle", "gfp", "arg", "cpu", "node", "ctx")
"""One event of the readable form, in its order there."""

_ROW_RANGES: Final = {
    "op": (0, 0xFF),
    "ts_ns": (0, U64_MAX),
    "handle": (0, U64_MAX),
    "gfp": (0, 0xFFFFFFFF),
    "arg": (0, 0xFFFFFFFF),
    "cpu": (0, 0xFFFF),
    "node": (-0x8000, 0x7FFF),
    "ctx": (0, 0xFF),
}

_ENVELOPE: Final = ("v", "source", "epoch", "seq")
_PAYLOADS: Final = ("header", "events", "packed")
_KEYS: Final = len(_ENVELOPE) + 1
_MAX_KEYS: Final = 16
"""A batch of another version may have other keys; so many are looked through for its v."""
_MAX_STRAY_LENGTH: Final = 64
"""Strings and binaries where integers belong are let through so far, to be named."""

DEFAULT_LIMITS: Final = BatchLimits()

_PACKS_ROWS: Final = not row_packing.__file__.endswith(".py")
"""Whether the quick way from rows to records is compiled; else msgpack's is the quicker one."""


@dataclass(frozen=True, slots=True)
class HeaderBatch:
    """The first batch of an epoch of a source; ``seq`` is always 1."""

    source: str
    epoch: int
    header: Header
    seq: int = FIRST_SEQ


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of a source in their order, as 32-byte records."""

    source: str
    epoch: int
    seq: int
    records: bytes

    @property
    def events(self) -> int:
        """How many events there are."""
        return len(self.records) // RECORD_SIZE


Batch: TypeAlias = HeaderBatch | EventBatch


class BatchMaker:
    """Numbers the batches of one life of a source: the header is 1, the rest follow."""

    def __init__(self, source: str, epoch: int) -> None:
        if not is_source_name(source):
            raise BatchError(
                f"source is {shown(source)}, expected {SOURCE_EXPECTED}", reason=SOURCE
            )
        self.source = source
        self.epoch = epoch
        self.seq = 0

    def header(self, header: Header) -> HeaderBatch:
        """Open the epoch. It is an error in the caller to do so twice."""
        if self.seq != 0:
            raise ValueError(f"epoch {self.epoch} of {self.source} has its header already")
        self.seq = FIRST_SEQ
        return HeaderBatch(self.source, self.epoch, header)

    def events(self, records: bytes) -> EventBatch:
        """Return the next batch. It is an error in the caller to do so before the header."""
        if self.seq < FIRST_SEQ:
            raise ValueError(f"epoch {self.epoch} of {self.source} has no header yet")
        self.seq += 1
        return EventBatch(self.source, self.epoch, self.seq, records)


def rows(records: bytes) -> Iterator[tuple[int, ...]]:
    """Each record as the row of the readable form, see :data:`ROW_FIELDS`."""
    for ts_ns, handle, gfp, arg, cpu, node, op, ctx, _ in RECORD.iter_unpack(records):
        yield op, ts_ns, handle, gfp, arg, cpu, node, ctx


def encode(batch: Batch, *, readable: bool = False) -> bytes:
    """Return the batch as one msgpack map, its events packed or ``readable``.

    Raises :class:`BatchError` (reason ``too_large``) for a header beyond its limit;
    the caller keeps to ``MAX_BATCH_EVENTS``.
    """
    wire: dict[str, object] = {
        "v": FORMAT_VERSION,
        "source": batch.source,
        "epoch": batch.epoch,
        "seq": batch.seq,
    }
    if isinstance(batch, HeaderBatch):
        wire["header"] = batch.header.to_wire()
    elif readable:
        wire["events"] = list(rows(batch.records))
    else:
        wire["packed"] = batch.records
    data: bytes = msgpack.packb(wire)
    if isinstance(batch, HeaderBatch) and len(data) > MAX_HEADER_BYTES:
        raise BatchError(
            f"the header has {len(data)} bytes, expected at most {MAX_HEADER_BYTES}",
            reason=TOO_LARGE,
        )
    return data


def decode(data: bytes, limits: BatchLimits = DEFAULT_LIMITS) -> Batch:
    """Return the batch in ``data``, which holds exactly one.

    Raises :class:`BatchError` for anything that version 1 of the format does not
    have. Whether the events suit the header is :func:`check`'s to say.
    """
    if len(data) > limits.max_bytes:
        raise BatchError(
            f"the batch has {len(data)} bytes, expected at most {limits.max_bytes}",
            reason=TOO_LARGE,
        )
    if not data or data[0] not in MAP_BYTES:
        found = f"byte {data[0]:#04x}" if data else "nothing"
        raise BatchError(f"found {found}, expected a msgpack map", reason=NOT_MSGPACK, offset=0)
    envelope = _Envelope(data, limits)
    source = envelope.source()
    epoch = envelope.number("epoch", 0)
    seq = envelope.number("seq", FIRST_SEQ)
    try:
        if envelope.payload == "header":
            _expect_first(seq)
            header = _parse_header(data[envelope.start : envelope.end])
            return HeaderBatch(source, epoch, header)
        if envelope.payload == "packed":
            records = _check_packed(envelope.packed, limits)
        elif envelope.records is not None:
            records = envelope.records
        else:
            records = _pack_rows(data[envelope.start : envelope.end], limits)
    except BatchError as error:
        error.offset = envelope.start
        raise error.at(batch=seq) from None
    return EventBatch(source, epoch, seq, records)


def check(batch: EventBatch, header: Header, limits: Limits | None = None) -> None:
    """Look whether every event of ``batch`` may follow ``header``.

    ``limits`` are ``header.limits()``, for a caller that has many batches to check.
    Raises :class:`BatchError` naming the first event that may not, its field, the
    value found and what was expected.
    """
    index, reason = check_records(batch.records, limits or header.limits())
    if index >= 0:
        raise _refused_event(batch.records, index, reason, header).at(batch=batch.seq)


class _Envelope:
    """The outermost map: its scalars, and where its payload starts and ends.

    A header or readable events are skipped, so nothing of them is built; the binary
    of packed events comes out as it is. Rows that :func:`tracegen.row_packing.pack_rows` reads come
    out as records at once: nearly all do, and are then gone through once instead of twice.
    """

    __slots__ = (
        "_data",
        "_max_events",
        "end",
        "packed",
        "payload",
        "records",
        "scalars",
        "start",
        "unknown",
    )

    def __init__(self, data: bytes, limits: BatchLimits) -> None:
        self._data = data
        self._max_events = limits.max_events
        self.records: bytes | None = None
        self.scalars: dict[str, object] = {}
        self.payload = ""
        self.packed: object = None
        self.start = 0
        self.end = 0
        self.unknown: tuple[str, int] | None = None
        unpacker = msgpack.Unpacker(
            max_buffer_size=len(data),
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_str_len=len(data),
            max_bin_len=len(data),
            max_array_len=0,
            max_map_len=0,
            max_ext_len=0,
        )
        unpacker.feed(data)
        try:
            self._read(unpacker)
        except BatchError:
            raise
        except msgpack.OutOfData:
            raise BatchError(
                f"the batch ends in its middle, after {len(data)} bytes",
                reason=NOT_MSGPACK,
                offset=len(data),
            ) from None
        except (ValueError, msgpack.UnpackException) as error:
            raise undecodable(error, unpacker.tell()) from None
        if unpacker.tell() != len(data):
            raise BatchError(
                f"{len(data) - unpacker.tell()} bytes follow the batch, expected none",
                reason=NOT_MSGPACK,
                offset=unpacker.tell(),
            )
        self._check()

    def _read(self, unpacker: msgpack.Unpacker) -> None:
        count = unpacker.read_map_header()
        if count > _MAX_KEYS:
            raise BatchError(f"the map has {count} keys, expected {_KEYS}", reason=SHAPE, offset=0)
        seen: set[str] = set()
        for _ in range(count):
            at = unpacker.tell()
            key = unpacker.unpack()
            if type(key) is not str:
                raise BatchError("a key of the map is no string", reason=SHAPE, offset=at)
            if key in seen:
                raise BatchError(f"the map has {shown(key)} twice", reason=SHAPE, offset=at)
            seen.add(key)
            if key in _PAYLOADS:
                self._read_payload(unpacker, key, at)
            elif key in _ENVELOPE:
                self.scalars[key] = unpacker.unpack()
            else:
                unpacker.skip()
                self.unknown = self.unknown or (key, at)

    def _read_payload(self, unpacker: msgpack.Unpacker, key: str, at: int) -> None:
        if self.payload:
            raise BatchError(
                f"the map has both {self.payload} and {key}, expected one of them",
                reason=SHAPE,
                offset=at,
            )
        self.payload = key
        self.start = unpacker.tell()
        if key == "packed":
            self.packed = unpacker.unpack()
        elif not (_PACKS_ROWS and key == "events" and self._pack_rows(unpacker)):
            unpacker.skip()
        self.end = unpacker.tell()

    def _pack_rows(self, unpacker: msgpack.Unpacker) -> bool:
        """Whether the rows could be packed; ``unpacker`` then stands behind them."""
        packed = row_packing.pack_rows(self._data, self.start, self._max_events)
        if packed is None:
            return False
        self.records, end = packed
        unpacker.read_bytes(end - self.start)
        return True

    def _check(self) -> None:
        # The version comes first: another one may well have other keys.
        version = self.scalars.get("v")
        if type(version) is int and version != FORMAT_VERSION:
            raise BatchError(
                f"the batch is of version {version}, expected {FORMAT_VERSION}", reason=VERSION
            )
        if self.unknown is not None:
            key, at = self.unknown
            raise BatchError(
                f"the map has a key {shown(key)}, expected {', '.join(_ENVELOPE)} and one of"
                f" {', '.join(_PAYLOADS)}",
                reason=SHAPE,
                offset=at,
            )
        for key in _ENVELOPE:
            if key not in self.scalars:
                raise BatchError(f"the map has no {key}", reason=SHAPE)
        if not self.payload:
            raise BatchError(f"the map has none of {', '.join(_PAYLOADS)}", reason=SHAPE)
        if type(version) is not int:
            raise BatchError(f"v is {shown(version)}, expected {FORMAT_VERSION}", reason=SHAPE)

    def source(self) -> str:
        value = self.scalars["source"]
        if type(value) is not str or not is_source_name(value):
            raise BatchError(f"source is {shown(value)}, expected {SOURCE_EXPECTED}", reason=SOURCE)
        return value

    def number(self, key: str, lowest: int) -> int:
        value = self.scalars[key]
        if type(value) is not int or not lowest <= value <= U64_MAX:
            raise BatchError(
                f"{key} is {shown(value)}, expected an integer from {lowest} to 2^64 - 1",
                reason=SHAPE,
            )
        return value


def undecodable(error: Exception, at: int | None = None) -> BatchError:
    """What msgpack says of bytes that break a limit or are no msgpack, in one line."""
    said = " ".join(str(error).split()) or "a byte that begins nothing"
    if isinstance(error, msgpack.StackError):
        said = "nested too deeply"
    return BatchError(f"undecodable msgpack: {said:.120}", reason=NOT_MSGPACK, offset=at)


def _expect_first(seq: int) -> None:
    if seq != FIRST_SEQ:
        raise BatchError(
            f"the header's seq is {seq}, expected {FIRST_SEQ}: a header opens its epoch",
            reason=SEQUENCE,
        )


def _check_count(count: int, limits: BatchLimits) -> None:
    if count > limits.max_events:
        raise BatchError(
            f"the batch has {count} events, expected at most {limits.max_events}",
            reason=TOO_LARGE,
        )


def _check_packed(value: object, limits: BatchLimits) -> bytes:
    if type(value) is not bytes:
        raise BatchError(f"packed is {shown(value)}, expected binary", reason=SHAPE)
    if len(value) % RECORD_SIZE != 0:
        raise BatchError(
            f"packed has {len(value)} bytes, expected a multiple of {RECORD_SIZE}",
            reason=BAD_REASONS[BAD_LENGTH],
            event=len(value) // RECORD_SIZE,
        )
    _check_count(len(value) // RECORD_SIZE, limits)
    return value


def _decode_rows(payload: bytes, limits: BatchLimits) -> tuple[Any, ...]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(payload))
    unpacker.feed(payload)
    try:
        count = unpacker.read_array_header()
    except (ValueError, msgpack.UnpackException):
        raise BatchError("events is no array of events", reason=SHAPE) from None
    _check_count(count, limits)
    try:
        events: tuple[Any, ...] = msgpack.unpackb(
            payload,
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_str_len=_MAX_STRAY_LENGTH,
            max_bin_len=_MAX_STRAY_LENGTH,
            max_array_len=max(limits.max_events, len(ROW_FIELDS)),
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise undecodable(error) from None
    return events


def _pack_rows(payload: bytes, limits: BatchLimits) -> bytes:
    """Readable events as records; the type and range of every field is checked."""
    events = _decode_rows(payload, limits)
    packed: list[bytes] = []
    append = packed.append
    pack = RECORD.pack
    try:
        for op, ts_ns, handle, gfp, arg, cpu, node, ctx in events:
            # struct takes a bool for an int. This chain of identities costs 0.13 us an
            # event (Python 3.11); a loop over the fields costs twice that.
            if not (
                type(op)
                is type(ts_ns)
                is type(handle)
                is type(gfp)
                is type(arg)
                is type(cpu)
                is type(node)
                is type(ctx)
                is int
            ):
                break
            append(pack(ts_ns, handle, gfp, arg, cpu, node, op, ctx, 0))
    except (TypeError, ValueError, struct.error):
        pass  # the row that could not be packed is looked at below
    if len(packed) != len(events):
        raise _refused_row(events[len(packed)], len(packed))
    return b"".join(packed)


def _refused_row(row: object, index: int) -> BatchError:
    """Find out what is wrong with the row that could not be packed."""
    what = f"the event is {shown(row)}, expected an array of {', '.join(ROW_FIELDS)}"
    if type(row) is tuple and len(row) == len(ROW_FIELDS):
        for name, value in zip(ROW_FIELDS, row, strict=True):
            low, high = _ROW_RANGES[name]
            if type(value) is not int or not low <= value <= high:
                what = f"{name} is {shown(value)}, expected an integer from {low} to {high}"
                break
    elif type(row) is tuple:
        what = f"the event has {len(row)} fields, expected {len(ROW_FIELDS)}"
    return BatchError(what, reason=ROW, event=index)


def _parse_header(payload: bytes) -> Header:
    if len(payload) > MAX_HEADER_BYTES:
        raise BatchError(
            f"the header has {len(payload)} bytes, expected at most {MAX_HEADER_BYTES}",
            reason=TOO_LARGE,
        )
    try:
        wire = msgpack.unpackb(
            payload,
            use_list=False,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_unrepeated,
            max_str_len=4 * MAX_MADE_LENGTH,
            max_bin_len=_MAX_STRAY_LENGTH,
            max_array_len=MAX_CACHES,
            max_map_len=_MAX_KEYS,
            max_ext_len=0,
        )
    except BatchError:
        raise
    except (ValueError, msgpack.UnpackException) as error:
        raise undecodable(error) from None
    return parse_header(wire)


def _unrepeated(pairs: Sequence[tuple[object, object]]) -> dict[object, object]:
    """A map of the header, refused when a key is there twice: the last would win unseen."""
    unrepeated = dict(pairs)
    if len(unrepeated) != len(pairs):
        raise BatchError("a map in the header has a key twice", reason=HEADER)
    return unrepeated


def _gfp_fault(gfp: int, flavour: str) -> str:
    unknown = gfp & ~known_bits(flavour)
    if unknown:
        return f"whose bits {unknown:#x} are unknown to {flavour}"
    return "expected __GFP_MOVABLE or __GFP_RECLAIMABLE, not both"


def _refused_event(records: bytes, index: int, reason: int, header: Header) -> BatchError:
    record = records[index * RECORD_SIZE : (index + 1) * RECORD_SIZE]
    _, handle, gfp, arg, cpu, node, op, ctx, zero = RECORD.unpack(record)
    nodes = len(header.machine.nodes)
    labels = len(header.labels)
    label_ids = f"a label id from 0 to {labels - 1}" if labels else "no MARK, there are no labels"
    found = {
        BAD_OP: f"op is {op}, expected {PAGE_ALLOC} to {MARK}",
        BAD_CTX: f"ctx is {ctx:#x}, expected bits of {CTX_MASK:#x}",
        BAD_CPU: f"cpu is {cpu}, expected 0 to {header.machine.cpus - 1}",
        BAD_NODE: f"node is {node}, expected -1 to {nodes - 1}",
        BAD_CACHE: f"arg is {arg}, expected the id of one of the header's {len(header.caches)}"
        " caches",
        BAD_LABEL: f"arg is {arg}, expected {label_ids}",
        BAD_HANDLE: f"handle is {handle}, expected 1 or more",
        BAD_PAD: f"the last two bytes are {zero:#06x}, expected 0",
        BAD_ARG: f"arg is {arg}, expected an order from 0 to 63",
        BAD_GFP: f"gfp is {gfp:#x}, {_gfp_fault(gfp, header.gfp)}",
    }[reason]
    name = OP_NAMES.get(op)
    return BatchError(
        f"{name}: {found}" if name else found, reason=BAD_REASONS[reason], event=index
    )
