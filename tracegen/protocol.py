"""The wire protocol: messages between a sender (DEALER) and the daemon (ROUTER).

Every message is one frame. A message that begins with a msgpack map is a batch
(DATA), byte for byte as it would stand in a trace file. Every other message is a
msgpack array that begins with its kind in capitals::

    sender                                   daemon
    ["HELLO", version, source, epoch,
     session, fingerprint, agent,
     (answers)]                       ---->
                                      <----  ["WELCOME", version, epoch, last_seq, credit,
                                              max_batch_bytes, max_batch_events,
                                              heartbeat_ms, agent]
    batch, batch, batch ...           ---->
                                      <----  ["ANSWER", epoch, seq, outcomes, free_pages,
                                              min_pages, low_pages, high_pages, boosted]
                                      <----  ["ACK", epoch, last_seq, credit]
                                      <----  ["RESEND", epoch, last_seq, credit]
                                      <----  ["REJECT", epoch, seq, code, text]
    ["PING"]                          ---->  (answered by ACK)
                                      <----  ["HELLO_FIRST"]
    ["BYE", epoch, last_seq]          ---->
                                      <----  ["BYE", epoch, last_seq]

One connection carries one source. The whole contract, with states and time
limits, is docs/PROTOCOL.md; what follows here is only what both sides share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import msgpack

from tracegen.errors import StoppedError
from tracegen.limits import (
    MAP_BYTES,
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    SOURCE_EXPECTED,
    U64_MAX,
    is_source_name,
)

PROTOCOL_VERSION: Final = 1
"""The only version there is. It stands at the same place of HELLO in all versions."""

DEFAULT_PORT: Final = 5571
DEFAULT_CREDIT: Final = 32
"""Batches beyond the last acknowledged one that a daemon lets travel."""
DEFAULT_HEARTBEAT_MS: Final = 2000
"""A sender with nothing to say pings this often."""
LEASE_HEARTBEATS: Final = 3
"""After so many silent heartbeats a source may be taken over by another session."""

MAX_CONTROL_BYTES: Final = 4096
"""Bytes of a message that is not a batch."""
MAX_TEXT_LENGTH: Final = 1024
"""Characters of the text of a REJECT; longer ones are cut by :func:`encode`."""
MAX_AGENT_LENGTH: Final = 128
FINGERPRINT_BYTES: Final = 32
MAX_ANSWERED_EVENTS: Final = 2048
"""Events of a batch that is answered: the answer is a control message."""
MAX_VARIANT_LENGTH: Final = 32
_MAX_ELEMENTS: Final = 16

REJECT_VERSION: Final = "version"
"""The daemon does not speak the HELLO's protocol version."""
REJECT_MALFORMED: Final = "malformed"
"""A message that is neither a batch nor a known control message, or a batch of a
source or an epoch other than the one greeted with."""
REJECT_FENCED: Final = "fenced"
"""The daemon knows a later epoch of this source: this life of it is over."""
REJECT_FINGERPRINT: Final = "fingerprint"
"""This source and epoch began with a different header batch."""
REJECT_BUSY: Final = "busy"
"""Another session holds the source. The sender may try again later."""
REJECT_SOURCES: Final = "too_many_sources"
"""The daemon follows as many sources as it may."""
REJECT_BATCH: Final = "bad_batch"
"""The batch was refused whole; the text says why. It will be refused again."""
REJECT_FORBIDDEN: Final = "forbidden"
"""The key of this connection may not speak for the source."""
REJECT_ANSWERS: Final = "no_answers"
"""The daemon has no model of the variant whose answers the sender wants."""
REJECT_STOPPING: Final = "stopping"
"""The daemon takes no new senders because it is going down. Try again later."""

REJECT_CODES: Final = (
    REJECT_VERSION,
    REJECT_MALFORMED,
    REJECT_FENCED,
    REJECT_FINGERPRINT,
    REJECT_BUSY,
    REJECT_SOURCES,
    REJECT_BATCH,
    REJECT_FORBIDDEN,
    REJECT_ANSWERS,
    REJECT_STOPPING,
)
"""The closed set, for a metric label."""
RETRYABLE_CODES: Final = frozenset({REJECT_BUSY, REJECT_STOPPING})
"""Rejections that time may cure; every other one ends the stream."""


class ProtocolError(StoppedError, ValueError):
    """A message that the protocol does not have."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A sender asks to speak for ``source`` in its life ``epoch``.

    ``session`` is a random u64 drawn once per sender process: the same one may
    greet again after a reconnect at once, another one finds the source busy.
    ``fingerprint`` is the SHA-256 of the epoch's header batch as it is sent, see
    :func:`fingerprint_of`. ``agent`` names the program, for logs. ``answers`` is the variant
    whose answers are wanted with each batch; without one the field does not travel.
    """

    source: str
    epoch: int
    session: int
    fingerprint: bytes
    agent: str
    version: int = PROTOCOL_VERSION
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The daemon takes the source; the sender goes on with ``last_seq`` + 1.

    ``last_seq`` 0 means that nothing of this epoch is there. The sender may have
    batches up to ``last_seq + credit`` on the way.
    """

    epoch: int
    last_seq: int
    credit: int
    agent: str
    max_batch_bytes: int = MAX_BATCH_BYTES
    max_batch_events: int = MAX_BATCH_EVENTS
    heartbeat_ms: int = DEFAULT_HEARTBEAT_MS
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class Ack:
    """All batches up to ``last_seq`` are kept; ``credit`` more may be on the way.

    Cumulative: it never names a lower ``last_seq`` than one before it.
    """

    epoch: int
    last_seq: int
    credit: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to batch ``seq``, and how its memory stands after it.

    Said once, before the :class:`Ack` of the batch. ``outcomes`` has a byte for each event
    (:meth:`allocator.machine.Machine.answered`); the pages are sums over all zones.
    """

    epoch: int
    seq: int
    outcomes: bytes
    free_pages: int
    min_pages: int
    low_pages: int
    high_pages: int
    boosted: bool


@dataclass(frozen=True, slots=True)
class Resend:
    """An :class:`Ack` that also says: a batch was missing, go back to ``last_seq`` + 1."""

    epoch: int
    last_seq: int
    credit: int


@dataclass(frozen=True, slots=True)
class Reject:
    """The daemon refuses batch ``seq``, or the greeting when ``seq`` is 0.

    ``code`` is one of :data:`REJECT_CODES`. ``epoch`` is the refused one; a fenced
    sender finds the later epoch in the text.
    """

    epoch: int
    seq: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class HelloFirst:
    """The daemon does not know this connection: it wants a HELLO before anything else."""


@dataclass(frozen=True, slots=True)
class Ping:
    """A sender asks where the daemon is; the answer is an :class:`Ack`."""


@dataclass(frozen=True, slots=True)
class Bye:
    """A sender is done and frees the source; the daemon says it back.

    Said by the daemon unasked, it announces that it is going down: the sender keeps
    what is not acknowledged and greets again when the daemon is back.
    """

    epoch: int
    last_seq: int


Message: TypeAlias = Hello | Welcome | Answer | Ack | Resend | Reject | HelloFirst | Ping | Bye


def is_batch(data: bytes) -> bool:
    """Tell a batch from a control message by its first byte: a batch is a msgpack map."""
    return bool(data) and data[0] in MAP_BYTES


def fingerprint_of(header_batch: bytes) -> bytes:
    """SHA-256 of an encoded header batch, which HELLO carries."""
    return hashlib.sha256(header_batch).digest()


def _number(value: object) -> bool:
    return type(value) is int and 0 <= value <= U64_MAX


def _source(value: object) -> bool:
    return type(value) is str and is_source_name(value)


def _agent(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_AGENT_LENGTH


def _text(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_TEXT_LENGTH


def _code(value: object) -> bool:
    return value in REJECT_CODES


def _fingerprint(value: object) -> bool:
    return type(value) is bytes and len(value) == FINGERPRINT_BYTES


def _variant(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= MAX_VARIANT_LENGTH


def _outcomes(value: object) -> bool:
    return type(value) is bytes and len(value) <= MAX_ANSWERED_EVENTS


def _yes_or_no(value: object) -> bool:
    return type(value) is bool


_EXPECTED: Final[dict[Callable[[object], bool], str]] = {
    _number: "an integer from 0 to 2^64 - 1",
    _source: SOURCE_EXPECTED,
    _agent: f"a string of at most {MAX_AGENT_LENGTH} characters",
    _text: f"a string of at most {MAX_TEXT_LENGTH} characters",
    _code: f"one of {', '.join(REJECT_CODES)}",
    _fingerprint: f"binary of {FINGERPRINT_BYTES} bytes",
    _variant: f"a string of 1 to {MAX_VARIANT_LENGTH} characters",
    _outcomes: f"binary of at most {MAX_ANSWERED_EVENTS} bytes",
    _yes_or_no: "true or false",
}

_LAYOUT: Final[dict[type[Message], tuple[str, dict[str, Callable[[object], bool]]]]] = {
    Hello: (
        "HELLO",
        {
            "version": _number,
            "source": _source,
            "epoch": _number,
            "session": _number,
            "fingerprint": _fingerprint,
            "agent": _agent,
            "answers": _variant,
        },
    ),
    Welcome: (
        "WELCOME",
        {
            "version": _number,
            "epoch": _number,
            "last_seq": _number,
            "credit": _number,
            "max_batch_bytes": _number,
            "max_batch_events": _number,
            "heartbeat_ms": _number,
            "agent": _agent,
        },
    ),
    Answer: (
        "ANSWER",
        {
            "epoch": _number,
            "seq": _number,
            "outcomes": _outcomes,
            "free_pages": _number,
            "min_pages": _number,
            "low_pages": _number,
            "high_pages": _number,
            "boosted": _yes_or_no,
        },
    ),
    Ack: ("ACK", {"epoch": _number, "last_seq": _number, "credit": _number}),
    Resend: ("RESEND", {"epoch": _number, "last_seq": _number, "credit": _number}),
    Reject: ("REJECT", {"epoch": _number, "seq": _number, "code": _code, "text": _text}),
    HelloFirst: ("HELLO_FIRST", {}),
    Ping: ("PING", {}),
    Bye: ("BYE", {"epoch": _number, "last_seq": _number}),
}
"""Each message's kind and the elements that follow it, in their order on the wire."""

_BY_KIND: Final = {kind: (cls, checks) for cls, (kind, checks) in _LAYOUT.items()}


def encode(message: Message) -> bytes:
    """Return the one frame of a control message.

    A text longer than :data:`MAX_TEXT_LENGTH` is cut, so that a long reason never
    turns a refusal into a protocol error.
    """
    if type(message) is Reject and len(message.text) > MAX_TEXT_LENGTH:
        message = replace(message, text=message.text[: MAX_TEXT_LENGTH - 3] + "...")
    kind, checks = _LAYOUT[type(message)]
    values = [getattr(message, name) for name in checks]
    if type(message) is Hello and not message.answers:
        values.pop()
    packed: bytes = msgpack.packb([kind, *values])
    return packed


def decode(data: bytes) -> Message:
    """Return the control message in one frame.

    Raises :class:`ProtocolError`, which says what was expected, for anything else.
    Lengths are bounded before msgpack builds anything. A HELLO of another version is
    decoded only as far as its version, so that it can be answered: its other fields
    are then empty.
    """
    if len(data) > MAX_CONTROL_BYTES:
        raise ProtocolError(
            f"a control message has {len(data)} bytes, expected at most {MAX_CONTROL_BYTES}"
        )
    try:
        fields = msgpack.unpackb(
            data,
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_CONTROL_BYTES,
            max_bin_len=MAX_CONTROL_BYTES,
            max_array_len=_MAX_ELEMENTS,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a message of {len(data)} bytes is not msgpack: {error}") from error
    if type(fields) is not tuple or not fields or type(fields[0]) is not str:
        raise ProtocolError("a control message is an array that begins with its kind")
    kind, *values = fields
    if kind not in _BY_KIND:
        raise ProtocolError(f"no message is called {kind[:32]!r}, expected {', '.join(_BY_KIND)}")
    cls, checks = _BY_KIND[kind]
    if cls is Hello and values and _number(values[0]) and values[0] != PROTOCOL_VERSION:
        return Hello(source="", epoch=0, session=0, fingerprint=b"", agent="", version=values[0])
    fewest = len(checks) - (cls is Hello)  # answers need not be wanted
    if not fewest <= len(values) <= len(checks):
        expected = f"{fewest} or {len(checks)}" if cls is Hello else f"{len(checks)}"
        raise ProtocolError(f"{kind} has {len(values)} fields, expected {expected}")
    for (name, is_sound), value in zip(checks.items(), values, strict=False):
        if not is_sound(value):
            raise ProtocolError(f"{kind}: {name} is not {_EXPECTED[is_sound]}")
    return cls(**dict(zip(checks, values, strict=False)))
