"""The trace format: batches encode, decode, and are refused whole with a reason."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.config import CacheSpec
from allocator.events import RECORD_SIZE
from tests.tracegen.fakes import HEADER
from tracegen.batch import (
    RECORD,
    Batch,
    BatchMaker,
    EventBatch,
    HeaderBatch,
    check,
    decode,
    encode,
    rows,
)
from tracegen.errors import BATCH_ERROR_REASONS, BatchError
from tracegen.header import MAX_HEADER_BYTES, Header
from tracegen.limits import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, U64_MAX, BatchLimits

WIRE_HEADER = HEADER.to_wire()

sources = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", fullmatch=True)
u64 = st.integers(0, U64_MAX)
records = st.builds(
    RECORD.pack,
    u64,
    u64,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.integers(0, 255),
    st.integers(0, 255),
    st.just(0),
)
event_batches = st.builds(
    EventBatch,
    sources,
    u64,
    st.integers(1, U64_MAX),
    st.lists(records, max_size=20).map(b"".join),
)


def _refusal(data: bytes) -> BatchError | None:
    """The error that ``data`` is refused with, or None when it is a batch."""
    try:
        decode(data)
    except BatchError as error:
        return error
    return None


@given(event_batches, st.booleans())
def test_events_come_back_in_both_forms(batch: EventBatch, readable: bool) -> None:
    """Packed and readable events decode to the same records, every field at full range."""
    assert batch == decode(encode(batch, readable=readable))


def test_a_header_comes_back() -> None:
    """decode() undoes encode() for a header."""
    batch = HeaderBatch("host-a", U64_MAX, HEADER)

    assert batch == decode(encode(batch))


@given(st.permutations(["v", "source", "epoch", "seq", "packed"]))
def test_the_order_of_keys_does_not_matter(order: list[str]) -> None:
    """Languages whose maps have no order can write the format."""
    wire = {"v": 1, "source": "a", "epoch": 3, "seq": 2, "packed": b"\0" * RECORD_SIZE}

    batch = decode(msgpack.packb({key: wire[key] for key in order}))

    assert EventBatch("a", 3, 2, b"\0" * RECORD_SIZE) == batch


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_with_a_reason(data: bytes) -> None:
    """Whatever comes in, the answer is a batch or a BatchError of the closed set."""
    refusal = _refusal(data)

    assert refusal is None or refusal.reason in BATCH_ERROR_REASONS


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), U64_MAX)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=30,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "v": st.just(1) | json_like,
            "source": st.just("a") | json_like,
            "epoch": st.just(1) | json_like,
            "seq": st.just(1) | json_like,
            "header": st.just(WIRE_HEADER) | json_like,
            "events": st.lists(st.lists(st.integers(-2, 70000), min_size=8, max_size=8))
            | json_like,
            "packed": st.binary() | json_like,
            "more": json_like,
        },
    )
)
def test_a_map_of_anything_is_refused_with_a_reason(wire: dict[str, Any]) -> None:
    """Well-formed msgpack of the wrong shape never raises anything but BatchError."""
    refusal = _refusal(msgpack.packb(wire))

    assert refusal is None or refusal.reason in BATCH_ERROR_REASONS
    assert "\n" not in str(refusal)


def _batch(**changes: object) -> bytes:
    wire = {"v": 1, "source": "a", "epoch": 1, "seq": 2, **changes}
    packed: bytes = msgpack.packb({k: v for k, v in wire.items() if v is not ...})
    return packed


def _header(**changes: object) -> bytes:
    wire = {k: v for k, v in {**WIRE_HEADER, **changes}.items() if v is not ...}
    return _batch(seq=1, header=wire)


def _machine(**changes: object) -> bytes:
    machine = WIRE_HEADER["machine"]
    assert isinstance(machine, dict)
    return _header(machine={**machine, **changes})


ROW = [1, 0, 1, 0xCC0, 0, 0, -1, 0]

HOSTILE: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "not_msgpack", "found nothing, expected a msgpack map"),
    "text": (b"# tracer: nop", "not_msgpack", "found byte 0x23, expected a msgpack map"),
    "an array": (msgpack.packb([1]), "not_msgpack", "found byte 0x91, expected a msgpack map"),
    "cut": (_batch(packed=b"")[:-3], "not_msgpack", "ends in its middle"),
    "followed by more": (_batch(packed=b"") + b"\xc0", "not_msgpack", "1 bytes follow the batch"),
    "reserved byte": (b"\x81\xc1", "not_msgpack", "undecodable msgpack"),
    "2^32 keys": (b"\xdf\xff\xff\xff\xff", "shape", "4294967295 keys, expected 5"),
    "number as key": (b"\x81\x01\x01", "shape", "a key of the map is no string"),
    "array as key": (b"\x81\x90\x01", "shape", "a key of the map is no string"),
    "key twice": (b"\x82\xa1v\x01\xa1v\x01", "shape", "the map has 'v' twice"),
    "key not UTF-8": (b"\x81\xa2\xff\xfe\x01", "not_msgpack", "undecodable msgpack"),
    "unknown key": (_batch(packed=b"", note=[1]), "shape", "a key 'note', expected v, source"),
    "no payload": (_batch(), "shape", "none of header, events, packed"),
    "two payloads": (_batch(packed=b"", events=[]), "shape", "both packed and events"),
    "no v": (_batch(v=..., packed=b""), "shape", "the map has no v"),
    "no source": (_batch(source=..., packed=b""), "shape", "the map has no source"),
    "no epoch": (_batch(epoch=..., packed=b""), "shape", "the map has no epoch"),
    "no seq": (_batch(seq=..., packed=b""), "shape", "the map has no seq"),
    "version 2": (_batch(v=2, packed=b"", more={}), "version", "of version 2, expected 1"),
    "v is a bool": (_batch(v=True, packed=b""), "shape", "v is True, expected 1"),
    "v is a float": (_batch(v=1.0, packed=b""), "shape", "v is 1.0, expected 1"),
    "source with a slash": (_batch(source="../a", packed=b""), "source", "source is '../a'"),
    "source empty": (_batch(source="", packed=b""), "source", "source is '', expected 1 to 64"),
    "source too long": (_batch(source="x" * 65, packed=b""), "source", "of length 65"),
    "source with newline": (_batch(source="a\n", packed=b""), "source", r"source is 'a\n'"),
    "source is binary": (_batch(source=b"a", packed=b""), "source", "source is b'a'"),
    "epoch negative": (_batch(epoch=-1, packed=b""), "shape", "epoch is -1"),
    "epoch is a bool": (_batch(epoch=False, packed=b""), "shape", "epoch is False"),
    "epoch is an array": (_batch(epoch=[1], packed=b""), "not_msgpack", "max_array_len"),
    "epoch is an extension": (
        _batch(epoch=msgpack.ExtType(1, b"x"), packed=b""),
        "not_msgpack",
        "max_ext_len",
    ),
    "seq 0": (_batch(seq=0, packed=b""), "shape", "seq is 0, expected an integer from 1"),
    "seq is a float": (_batch(seq=2.0, packed=b""), "shape", "seq is 2.0"),
    "packed is text": (_batch(packed="x" * 32), "shape", "packed is 'xxx"),
    "packed is cut": (_batch(packed=b"x" * 33), "length", "event 1: packed has 33 bytes"),
    "packed has too many": (
        _batch(packed=bytes(RECORD_SIZE * (MAX_BATCH_EVENTS + 1))),
        "too_large",
        "16385 events, expected at most 16384",
    ),
    "events has too many": (
        _batch(events=[[]] * (MAX_BATCH_EVENTS + 1)),
        "too_large",
        "16385 events, expected at most 16384",
    ),
    "events of length 2^32": (
        b"\x85\xa1v\x01\xa6source\xa1a\xa5epoch\x01\xa3seq\x02\xa6events\xdd\xff\xff\xff\xff",
        "not_msgpack",
        "ends in its middle",
    ),
    "events is a map": (_batch(events={}), "shape", "events is no array of events"),
    "events is a number": (_batch(events=3), "shape", "events is no array of events"),
    "event is a number": (_batch(events=[ROW, 3]), "row", "event 1: the event is 3"),
    "event is a map": (_batch(events=[ROW, {}]), "row", "event 1: the event is a map"),
    "event is short": (_batch(events=[ROW[:7]]), "row", "event 0: the event has 7 fields"),
    "event is long": (_batch(events=[[*ROW, 0]]), "row", "event 0: the event has 9 fields"),
    "bool in an event": (_batch(events=[ROW, [True, *ROW[1:]]]), "row", "event 1: op is True"),
    "float in an event": (_batch(events=[[1, 1.5, *ROW[2:]]]), "row", "ts_ns is 1.5"),
    "text in an event": (_batch(events=[[*ROW[:3], "GFP_KERNEL", *ROW[4:]]]), "row", "gfp is 'GFP"),
    "nil in an event": (_batch(events=[[*ROW[:7], None]]), "row", "ctx is None"),
    "negative handle": (_batch(events=[[1, 0, -1, *ROW[3:]]]), "row", "handle is -1, expected"),
    "33-bit arg": (_batch(events=[[*ROW[:4], 2**32, *ROW[5:]]]), "row", f"arg is {2**32}"),
    "17-bit cpu": (_batch(events=[[*ROW[:5], 65536, -1, 0]]), "row", "integer from 0 to 65535"),
    "node -32769": (_batch(events=[[*ROW[:6], -32769, 0]]), "row", "node is -32769"),
    "9-bit op": (_batch(events=[[256, *ROW[1:]]]), "row", "op is 256, expected"),
    "map in an event": (_batch(events=[[{1: 2}, *ROW[1:]]]), "not_msgpack", "max_map_len"),
    "events nested 900 deep": (
        b"\x85\xa1v\x01\xa6source\xa1a\xa5epoch\x01\xa3seq\x02\xa6events" + b"\x91" * 900 + b"\x90",
        "row",
        "event 0: the event has 1 fields",
    ),
    "events nested 2000 deep": (
        b"\x85\xa1v\x01\xa6source\xa1a\xa5epoch\x01\xa3seq\x02\xa6events"
        + b"\x91" * 2000
        + b"\x90",
        "not_msgpack",
        "nested too deeply",
    ),
    "more than 1 MiB": (
        _batch(packed=bytes(MAX_BATCH_BYTES)),
        "too_large",
        "expected at most 1048576",
    ),
    "header with seq 2": (
        _batch(seq=2, header=WIRE_HEADER),
        "sequence",
        "the header's seq is 2, expected 1",
    ),
    "header is a number": (_batch(seq=1, header=1), "header", "header is 1, expected a map"),
    "header is empty": (_batch(seq=1, header={}), "header", "header.machine is missing"),
    "header with a key twice": (
        _batch(seq=1, header=0)[:-1] + b"\x82\xa3gfp\xa4v6.1\xa3gfp\xa4v6.1",
        "header",
        "a map in the header has a key twice",
    ),
    "header too large": (
        _header(made={"text": "x" * MAX_HEADER_BYTES}),
        "too_large",
        f"expected at most {MAX_HEADER_BYTES}",
    ),
    "header with an unknown key": (_header(more=1), "header", "header.more is no key"),
    "header with a key of two lines": (
        _header(**{"more\nof it": 1}),
        "header",
        "header.'more\\nof it' is no key",
    ),
    "header with an endless key": (
        _header(**{"x" * 120: 1}),
        "header",
        "xxx'... of length 120 is no key",
    ),
    "machine is an array": (_header(machine=[]), "header", "header.machine is an array"),
    "cpus is a bool": (_machine(cpus=True), "header", "header.machine.cpus is True"),
    "no cpus": (_machine(cpus=0), "header", "header.machine.cpus is 0"),
    "cpu_node of text": (_machine(cpu_node=[0, "a"]), "header", "cpu_node[1] is 'a'"),
    "cpu_node too short": (_machine(cpu_node=[0]), "header", "header.machine: cpu_node names 1"),
    "zones not ascending": (_machine(zone_end_pfn=[9, 8, 1000]), "header", "is not ascending"),
    "caches is a map": (_header(caches={}), "header", "header.caches is a map"),
    "cache id twice": (
        _header(caches=[{"id": 1, "name": n, "size": 8} for n in "ab"]),
        "header",
        "header.caches[1].id is 1, as that of header.caches[0]",
    ),
    "cache name twice": (
        _header(caches=[{"id": i, "name": "a", "size": 8} for i in (1, 2)]),
        "header",
        "header.caches[1].name is 'a', as that of header.caches[0]",
    ),
    "cache name with a newline": (
        _header(caches=[{"id": 1, "name": "a\n", "size": 8}]),
        "header",
        r"header.caches[0].name is 'a\n'",
    ),
    "cache of 4 bytes": (
        _header(caches=[{"id": 1, "name": "a", "size": 4}]),
        "header",
        "header.caches: cache 'a' has size 4",
    ),
    "unknown gfp flavour": (_header(gfp="v2.4"), "header", "header.gfp is 'v2.4', expected one of"),
    "unknown clock": (_header(clock="sundial"), "header", "header.clock is 'sundial'"),
    "1025 labels": (_header(labels=["x"] * 1025), "not_msgpack", "max_array_len"),
}


@pytest.mark.parametrize(
    ("data", "reason", "expected"),
    HOSTILE.values(),
    ids=[name.replace(" ", "-") for name in HOSTILE],
)
def test_a_hostile_batch_is_refused(data: bytes, reason: str, expected: str) -> None:
    """Each way of being wrong has its reason and says in one line what was expected."""
    with pytest.raises(BatchError) as caught:
        decode(data)

    assert reason == caught.value.reason
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x91" * (MAX_BATCH_BYTES - 40),
        b"\x90" * 15000 + b"\xdc\xff\xff" + b"\x90" * 65535,
        b"\x80" * (MAX_BATCH_BYTES - 40),
    ],
    ids=["nested-arrays", "empty-arrays", "empty-maps"],
)
def test_a_megabyte_of_nothing_is_refused_before_it_is_built(payload: bytes) -> None:
    """Inflating msgpack costs a bounded multiple of its bytes."""
    data = b"\x85\xa1v\x01\xa6source\xa1a\xa5epoch\x01\xa3seq\x02\xa6events" + payload
    tracemalloc.start()
    try:
        with pytest.raises(BatchError):
            decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 * MAX_BATCH_BYTES


def test_every_cut_of_a_batch_is_refused() -> None:
    """A batch that ends anywhere but at its end is no batch."""
    whole = encode(HeaderBatch("a", 1, HEADER))

    for size in range(len(whole)):
        with pytest.raises(BatchError):
            decode(whole[:size])


def test_limits_can_be_lowered() -> None:
    """A reader may accept less than the format allows."""
    batch = EventBatch("a", 1, 2, RECORD.pack(0, 1, 0, 0, 0, -1, 1, 0, 0) * 3)

    for readable in (False, True):
        data = encode(batch, readable=readable)
        with pytest.raises(BatchError, match="3 events, expected at most 2"):
            decode(data, BatchLimits(max_events=2))
        with pytest.raises(BatchError, match="expected at most 50"):
            decode(data, BatchLimits(max_bytes=50))


def test_rows_are_the_readable_form() -> None:
    """A row is op, ts_ns, handle, gfp, arg, cpu, node, ctx."""
    record = RECORD.pack(2, 3, 4, 5, 6, -1, 1, 8, 0)

    assert [(1, 2, 3, 4, 5, 6, -1, 8)] == list(rows(record))


def test_an_oversized_header_is_not_written() -> None:
    """encode() refuses what decode() would refuse."""
    caches = tuple(CacheSpec(i, f"{i:064}", 64, flags=2**32 - 1) for i in range(4000))
    header = Header(HEADER.machine, caches, "v6.1", "mono")

    with pytest.raises(BatchError, match="expected at most 262144"):
        encode(HeaderBatch("a", 1, header))


def test_a_maker_numbers_batches_from_the_header() -> None:
    """The header is 1, events follow without a gap."""
    maker = BatchMaker("a", 9)

    batches: list[Batch] = [maker.header(HEADER), maker.events(b""), maker.events(b"")]

    assert [("a", 9, 1), ("a", 9, 2), ("a", 9, 3)] == [(b.source, b.epoch, b.seq) for b in batches]


def test_a_maker_refuses_a_bad_source() -> None:
    """A source name is checked where it is given, not at the far end."""
    with pytest.raises(BatchError, match=r"source is 'a b', expected 1 to 64"):
        BatchMaker("a b", 1)


GOOD = {
    "ts": 1,
    "handle": 2,
    "gfp": 0xCC0,
    "arg": 0,
    "cpu": 1,
    "node": -1,
    "op": 1,
    "ctx": 0,
    "z": 0,
}

BAD_EVENTS: dict[str, tuple[dict[str, int], str, str]] = {
    "op 0": ({"op": 0}, "op", "op is 0, expected 1 to 9"),
    "op 77": ({"op": 77}, "op", "op is 77, expected 1 to 9"),
    "ctx bit 7": ({"ctx": 128}, "ctx", "PAGE_ALLOC: ctx is 0x80, expected bits of 0x3f"),
    "cpu 2": ({"cpu": 2}, "cpu", "PAGE_ALLOC: cpu is 2, expected 0 to 1"),
    "node 1": ({"node": 1}, "node", "PAGE_ALLOC: node is 1, expected -1 to 0"),
    "node -2": ({"node": -2}, "node", "PAGE_ALLOC: node is -2, expected -1 to 0"),
    "cache 3": ({"op": 3, "arg": 3}, "cache", "OBJ_ALLOC: arg is 3, expected the id of one"),
    "shrink of 8": ({"op": 7, "arg": 8}, "cache", "SHRINK: arg is 8, expected the id of one"),
    "label 2": ({"op": 9, "arg": 2}, "label", "MARK: arg is 2, expected a label id from 0 to 1"),
    "handle 0": ({"handle": 0}, "handle", "PAGE_ALLOC: handle is 0, expected 1 or more"),
    "order 64": ({"arg": 64}, "arg", "PAGE_ALLOC: arg is 64, expected an order from 0 to 63"),
    "padding": ({"z": 1}, "padding", "PAGE_ALLOC: the last two bytes are 0x0001, expected 0"),
    "mobility": ({"gfp": 0xCD8}, "gfp", "PAGE_ALLOC: gfp is 0xcd8, expected __GFP_MOVABLE or"),
    "gfp": (
        {"gfp": 0x80000CC0},
        "gfp",
        "PAGE_ALLOC: gfp is 0x80000cc0, whose bits 0x80000000 are unknown",
    ),
}


@pytest.mark.parametrize(
    ("changes", "reason", "expected"), BAD_EVENTS.values(), ids=BAD_EVENTS.keys()
)
def test_an_event_that_does_not_suit_the_header_is_named(
    changes: dict[str, int], reason: str, expected: str
) -> None:
    """check() names batch, event, field, value and allowed range."""
    records = RECORD.pack(*GOOD.values()) + RECORD.pack(*{**GOOD, **changes}.values())

    with pytest.raises(BatchError) as caught:
        check(EventBatch("a", 1, 5, records), HEADER)

    assert (reason, 1, 5) == (caught.value.reason, caught.value.event, caught.value.batch)
    assert str(caught.value).startswith(f"batch 5, event 1: {expected}")


def test_sound_events_pass_the_check() -> None:
    """Every op with arguments that the header knows is let through."""
    ops = {1: 10, 2: 0, 3: 7, 4: 0, 5: 2**32 - 1, 6: 0, 7: 7, 8: 4096, 9: 1}
    records = b"".join(
        RECORD.pack(*{**GOOD, "op": op, "arg": arg}.values()) for op, arg in ops.items()
    )

    check(EventBatch("a", 1, 2, records), HEADER)
    check(EventBatch("a", 1, 2, records), HEADER, HEADER.limits())


def test_an_error_says_where_it_is() -> None:
    """Batch, byte and event are named as far as they are known."""
    error = BatchError("it is bad", reason="shape", event=3, offset=7)

    assert str(error) == "byte 7 of the batch, event 3: it is bad"
    assert str(error.at(batch=2, start=100)) == "batch 2, byte 107, event 3: it is bad"
