"""The control messages of the wire protocol: there, back, and refused."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracegen import protocol
from tracegen.limits import U64_MAX

u64 = st.integers(0, U64_MAX)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", fullmatch=True)
agents = st.text(max_size=protocol.MAX_AGENT_LENGTH, alphabet=st.characters(codec="utf-8"))
texts = st.text(max_size=protocol.MAX_TEXT_LENGTH, alphabet=st.characters(codec="ascii"))
messages = st.one_of(
    st.builds(
        protocol.Hello,
        source=names,
        epoch=u64,
        session=u64,
        fingerprint=st.binary(min_size=32, max_size=32),
        agent=agents,
        answers=st.text(max_size=protocol.MAX_VARIANT_LENGTH, alphabet="slub-v3.6"),
    ),
    st.builds(
        protocol.Answer,
        epoch=u64,
        seq=u64,
        outcomes=st.binary(max_size=64) | st.just(bytes(protocol.MAX_ANSWERED_EVENTS)),
        free_pages=u64,
        min_pages=u64,
        low_pages=u64,
        high_pages=u64,
        boosted=st.booleans(),
    ),
    st.builds(
        protocol.Welcome,
        epoch=u64,
        last_seq=u64,
        credit=u64,
        agent=agents,
        max_batch_bytes=u64,
        max_batch_events=u64,
        heartbeat_ms=u64,
    ),
    st.builds(protocol.Ack, u64, u64, u64),
    st.builds(protocol.Resend, u64, u64, u64),
    st.builds(protocol.Reject, u64, u64, st.sampled_from(protocol.REJECT_CODES), texts),
    st.just(protocol.HelloFirst()),
    st.just(protocol.Ping()),
    st.builds(protocol.Bye, u64, u64),
)


@given(messages)
def test_a_message_comes_back_as_it_was_sent(message: protocol.Message) -> None:
    """decode() undoes encode() for every message and every value in range."""
    data = protocol.encode(message)

    assert message == protocol.decode(data)
    assert len(data) <= protocol.MAX_CONTROL_BYTES
    assert not protocol.is_batch(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    """decode() answers any bytes with a message that encodes, or with ProtocolError."""
    try:
        message = protocol.decode(data)
    except protocol.ProtocolError:
        return

    assert message == protocol.decode(protocol.encode(message))


HOSTILE = {
    "empty": (b"", "not msgpack"),
    "not msgpack": (b"\xc1", "not msgpack"),
    "trailing bytes": (msgpack.packb(["PING"]) + b"\x00", "not msgpack"),
    "cut": (msgpack.packb(["ACK", 1, 2, 3])[:-1], "not msgpack"),
    "too long": (b"\x00" * 4097, "4097 bytes, expected at most 4096"),
    "huge length": (b"\xdd\xff\xff\xff\xff", "not msgpack"),
    "deep nesting": (b"\x91" * 4000, "not msgpack"),
    "extension type": (msgpack.packb(["ACK", msgpack.ExtType(5, b"x"), 2, 3]), "not msgpack"),
    "no array": (msgpack.packb(7), "begins with its kind"),
    "empty array": (msgpack.packb([]), "begins with its kind"),
    "kind is no string": (msgpack.packb([1, 2]), "begins with its kind"),
    "kind is not UTF-8": (b"\x91\xa2\xff\xfe", "not msgpack"),
    "unknown kind": (msgpack.packb(["NACK"]), "no message is called 'NACK'"),
    "one field short": (msgpack.packb(["ACK", 1, 2]), "ACK has 2 fields, expected 3"),
    "one field long": (msgpack.packb(["PING", 1]), "PING has 1 fields, expected 0"),
    "bool for int": (msgpack.packb(["ACK", 1, True, 3]), "ACK: last_seq is not an integer"),
    "negative": (msgpack.packb(["ACK", -1, 2, 3]), "ACK: epoch is not an integer"),
    "float": (msgpack.packb(["ACK", 1, 2, 3.0]), "ACK: credit is not an integer"),
    "source with a slash": (
        msgpack.packb(["HELLO", 1, "../etc", 1, 1, b"x" * 32, ""]),
        "HELLO: source is not 1 to 64 of the characters",
    ),
    "short fingerprint": (
        msgpack.packb(["HELLO", 1, "a", 1, 1, b"x" * 31, ""]),
        "HELLO: fingerprint is not binary of 32 bytes",
    ),
    "hello of nothing": (msgpack.packb(["HELLO"]), "HELLO has 0 fields, expected 6 or 7"),
    "answers of nothing": (
        msgpack.packb(["HELLO", 1, "a", 1, 1, b"x" * 32, "", ""]),
        "HELLO: answers is not a string of 1 to 32 characters",
    ),
    "too many outcomes": (
        msgpack.packb(["ANSWER", 1, 2, bytes(2049), 1, 1, 1, 1, False]),
        "ANSWER: outcomes is not binary of at most 2048 bytes",
    ),
    "number for bool": (
        msgpack.packb(["ANSWER", 1, 2, b"", 1, 1, 1, 1, 0]),
        "ANSWER: boosted is not true or false",
    ),
    "unknown code": (
        msgpack.packb(["REJECT", 1, 2, "because", ""]),
        "REJECT: code is not one of version, malformed",
    ),
}


@pytest.mark.parametrize(("data", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_message_is_refused_with_what_was_expected(data: bytes, expected: str) -> None:
    """Each way of being wrong is told apart in one line."""
    with pytest.raises(protocol.ProtocolError) as caught:
        protocol.decode(data)

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hello_of_another_version_is_decoded_as_far_as_its_version() -> None:
    """So that a daemon can answer a future sender with REJECT version."""
    hello = protocol.decode(msgpack.packb(["HELLO", 9, "later", "fields"]))

    assert isinstance(hello, protocol.Hello)
    assert hello.version == 9


def test_a_long_reason_is_cut_instead_of_refused() -> None:
    """A REJECT always travels, however long its text."""
    sent = protocol.Reject(1, 2, protocol.REJECT_BATCH, "x" * 5000)

    got = protocol.decode(protocol.encode(sent))

    assert isinstance(got, protocol.Reject)
    assert got.text == "x" * 1021 + "..."


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", False),
        (b"\x85", True),
        (b"\xde\x00\x05", True),
        (b"\xdf\x00\x00\x00\x05", True),
        (b"\x94", False),
        (b"\x7f", False),
    ],
)
def test_a_batch_is_known_by_its_first_byte(data: bytes, expected: bool) -> None:
    """A frame that begins with a msgpack map is data, every other one is control."""
    assert expected == protocol.is_batch(data)


def test_a_fingerprint_is_sha256() -> None:
    """A third party can compute it with any SHA-256."""
    assert (
        protocol.fingerprint_of(b"").hex()
        == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
