"""The daemon's half of the protocol, without socket and clock.

What comes in on a connection is given to :meth:`Sessions.take`; what goes out is given to
``post``. A source belongs to one session at a time; it is free again when its sender says
goodbye, is gone, or has not been heard for :data:`LEASE_HEARTBEATS` heartbeats. Nothing is
acknowledged that the intake has not committed. So the same code runs over ZeroMQ and in a
simulation; ``tracegen.sender_state`` is the other half, docs/PROTOCOL.md the contract.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

import structlog

from daemon.engine import TOO_MANY_SOURCES
from daemon.intake import Intake
from daemon.settings import Settings
from daemon.sources import Admitted, Source, Verdict
from tracegen import batch as trace_batch
from tracegen import protocol
from tracegen.batch import Batch, HeaderBatch
from tracegen.errors import BatchError
from tracegen.limits import BatchLimits
from tracegen.protocol import (
    DEFAULT_HEARTBEAT_MS,
    LEASE_HEARTBEATS,
    MAX_ANSWERED_EVENTS,
    PROTOCOL_VERSION,
    REJECT_ANSWERS,
    REJECT_BATCH,
    REJECT_BUSY,
    REJECT_FENCED,
    REJECT_FINGERPRINT,
    REJECT_FORBIDDEN,
    REJECT_MALFORMED,
    REJECT_SOURCES,
    REJECT_STOPPING,
    REJECT_VERSION,
    Ack,
    Bye,
    Hello,
    HelloFirst,
    Message,
    Ping,
    ProtocolError,
    Reject,
    Resend,
    Welcome,
)

log = structlog.get_logger()

LEASE_SECONDS: Final = LEASE_HEARTBEATS * DEFAULT_HEARTBEAT_MS / 1000


class Posted(Enum):
    """What became of a message to a connection."""

    SENT = "sent"
    CLOGGED = "clogged"
    """It does not read its answers. Acknowledgements are cumulative, so that is its loss."""
    GONE = "gone"
    """There is no such connection any more."""


Post: TypeAlias = Callable[[bytes, bytes], Posted]
"""Sends one frame to a connection, without waiting."""


@dataclass(slots=True)
class _Session:
    """A sender that was welcomed: one connection, one source."""

    connection: bytes
    hello: Hello
    heard_at: float
    """By the listening clock, see :class:`Sessions`."""
    asked_for: int = 0
    """The batch that was asked for again last; asking once is enough, they come in order."""
    admitted: int = 0
    """Batches of it that wait for the next commit."""
    unsaid: list[Admitted] = field(default_factory=list)
    """Those of them whose answers it wants."""
    rejected: bool = False
    """Its stream has ended; what it had on the way is passed over."""


class Sessions:
    """Who speaks for which source, and what each is told."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        agent: str,
        post: Post,
        may_speak_for: Callable[[str | None, str], bool] = lambda _key, _source: True,
    ) -> None:
        """``may_speak_for`` tells whether the holder of a key may send as a source."""
        self.listened = 0.0
        """Time spent waiting for messages. Leases run on it: a sender is not silent while
        the daemon does not listen."""
        self.stopping = False
        """No further sender is welcomed."""
        self._settings = settings
        self._intake = intake
        self._engine = intake.engine
        self._agent = agent
        self._post = post
        self._may_speak_for = may_speak_for
        self._limits = BatchLimits(settings.max_batch_bytes, settings.max_batch_events)
        self._by_connection: dict[bytes, _Session] = {}
        self._by_source: dict[str, _Session] = {}
        self._unanswered: dict[bytes, _Session] = {}

    def take(self, connection: bytes, frames: list[bytes], key: str | None = None) -> None:
        """One message of one connection, which was made with ``key``."""
        session = self._by_connection.get(connection)
        if session is not None:
            session.heard_at = self.listened
        if len(frames) != 1:
            self._malformed(connection, session, f"a message has {len(frames)} frames, expected 1")
            return
        data = frames[0]
        if protocol.is_batch(data):
            self._take_batch(connection, session, data)
            return
        try:
            message = protocol.decode(data)
        except ProtocolError as error:
            self._malformed(connection, session, str(error))
            return
        match message:
            case Hello():
                self.commit()  # the answer tells where the source stands
                self._greet(connection, message, key)
            case Ping() if session is not None:
                self._unanswered[connection] = session
            case Bye() if session is not None:
                self.commit()
                self._send(connection, self._bye(session))
                self._release(session, "sender said goodbye")
            case Ping() | Bye():
                self._send(connection, HelloFirst())
            case _:
                self._malformed(
                    connection, session, f"a sender does not say {type(message).__name__}"
                )

    def commit(self) -> None:
        """Have the group carried out, and acknowledge what is kept."""
        self._intake.commit()
        for session in list(self._by_connection.values()):
            session.admitted = 0
            self._tell_answers(session)
        self._engine.connected = frozenset(
            name
            for name, session in self._by_source.items()
            if self.listened - session.heard_at <= LEASE_SECONDS
        )
        while self._unanswered:
            _, session = self._unanswered.popitem()
            if not session.rejected:
                self._send(session.connection, self._ack(session))

    def turn(self) -> None:
        """Do what is due between two groups."""
        self.commit()
        if self._intake.turn():
            # What came while nothing could be taken was dropped.
            for session in list(self._by_connection.values()):
                self._ask_again(session)

    def say_goodbye(self) -> None:
        """Tell every sender that the daemon goes down, and what it has."""
        for session in list(self._by_connection.values()):
            self._send(session.connection, self._bye(session))

    # Sessions.

    def _greet(self, connection: bytes, hello: Hello, key: str | None) -> None:
        refusal = self._refusal(connection, hello, key)
        if refusal is not None:
            code, text = refusal
            self._engine.refuse_message(code)
            log.warning("sender refused", source=hello.source, code=code, text=text)
            self._send(connection, Reject(hello.epoch, 0, code, text))
            return
        for known in (self._by_connection.get(connection), self._by_source.get(hello.source)):
            if known is not None:
                self._forget(known)
        session = _Session(connection, hello, self.listened)
        self._by_connection[connection] = self._by_source[hello.source] = session
        position = self._position(hello)
        log.info(
            "sender welcome",
            source=hello.source,
            epoch=hello.epoch,
            last_seq=position,
            agent=hello.agent,
        )
        self._send(
            connection,
            Welcome(
                epoch=hello.epoch,
                last_seq=position,
                credit=self._credit,
                agent=self._agent,
                max_batch_bytes=self._settings.max_batch_bytes,
                max_batch_events=self._limits_of(hello).max_events,
            ),
        )

    def _refusal(self, connection: bytes, hello: Hello, key: str | None) -> tuple[str, str] | None:
        """Why ``hello`` is not welcome: code and text; None if it is."""
        if hello.version != PROTOCOL_VERSION:
            return REJECT_VERSION, (
                f"protocol version {hello.version} is not spoken here, expected {PROTOCOL_VERSION}"
            )
        if not self._may_speak_for(key, hello.source):
            return REJECT_FORBIDDEN, f"this key may not send as {hello.source}"
        if self.stopping:
            return REJECT_STOPPING, "the daemon is going down"
        variants = [variant.name for variant in self._engine.variants]
        if hello.answers and hello.answers not in variants:
            return REJECT_ANSWERS, (
                f"no model of {hello.answers} answers here, expected {', '.join(variants)}"
            )
        return self._source_refusal(connection, hello)

    def _source_refusal(self, connection: bytes, hello: Hello) -> tuple[str, str] | None:
        """Why the source cannot be had: code and text; None if it can."""
        holder = self._by_source.get(hello.source)
        if holder is not None and self._holds(holder, connection, hello):
            return REJECT_BUSY, f"source {hello.source} has a sender: {holder.hello.agent}"
        source = self._engine.source(hello.source)
        if source is not None:
            return _epoch_refusal(source, hello)
        wanted = frozenset(self._by_source.keys() | {hello.source})
        if not self._engine.has_room_for(wanted):
            return REJECT_SOURCES, f"{self._engine.max_sources} sources are followed already"
        return None

    def _holds(self, holder: _Session, connection: bytes, hello: Hello) -> bool:
        """Whether ``holder`` still has a right to its source against ``hello``."""
        if holder.rejected or connection == holder.connection:
            return False
        if hello.session == holder.hello.session:
            return False  # the same process, after a reconnect
        if self.listened - holder.heard_at > LEASE_SECONDS:
            return False
        # A connection that is gone cannot be sent to, so asking shows at once.
        return self._send(holder.connection, self._ack(holder))

    def _release(self, session: _Session, why: str) -> None:
        self._forget(session)
        log.info("sender gone", source=session.hello.source, why=why)

    def _forget(self, session: _Session) -> None:
        """Take the source away from ``session``."""
        self._by_connection.pop(session.connection, None)
        self._unanswered.pop(session.connection, None)
        if self._by_source.get(session.hello.source) is session:
            del self._by_source[session.hello.source]

    # Batches.

    def _take_batch(self, connection: bytes, session: _Session | None, data: bytes) -> None:
        if session is None:
            self._send(connection, HelloFirst())
            return
        if session.rejected:
            return
        if self._intake.blocked is not None:
            self._unanswered[connection] = session  # the credit of 0 tells why
            return
        try:
            batch = trace_batch.decode(data, self._limits_of(session.hello))
        except BatchError as error:
            self._engine.refuse_batch(session.hello.source, error.reason, len(data))
            self._reject(session, self._due(session), REJECT_BATCH, str(error))
            return
        hello = session.hello
        if (batch.source, batch.epoch) != (hello.source, hello.epoch):
            text = (
                f"a batch is of source {batch.source} epoch {batch.epoch},"
                f" expected {hello.source} epoch {hello.epoch} as greeted with"
            )
            self._engine.refuse_batch(hello.source, REJECT_MALFORMED, len(data))
            self._reject(session, batch.seq, REJECT_MALFORMED, text)
            return
        if isinstance(batch, HeaderBatch) and protocol.fingerprint_of(data) != hello.fingerprint:
            text = "the header batch is not the one whose fingerprint was greeted with"
            self._engine.refuse_batch(hello.source, REJECT_FINGERPRINT, len(data))
            self._reject(session, batch.seq, REJECT_FINGERPRINT, text)
            return
        self._admit(session, batch, data)

    def _admit(self, session: _Session, batch: Batch, data: bytes) -> None:
        try:
            verdict = self._intake.admit(batch, data)
        except BatchError as error:
            code = REJECT_SOURCES if error.reason == TOO_MANY_SOURCES else REJECT_BATCH
            self._reject(session, batch.seq, code, str(error))
            return
        if verdict is Verdict.GAP:
            self._miss(session, batch.seq)
            return
        self._unanswered[session.connection] = session
        if isinstance(verdict, Admitted):
            session.admitted += 1
            if session.hello.answers:
                verdict.wanted = session.hello.answers
                session.unsaid.append(verdict)

    def _tell_answers(self, session: _Session) -> None:
        """Say what came of the batches; without room for them they have no answer yet."""
        admitted, session.unsaid = session.unsaid, []
        for one in admitted:
            if one.answer is not None:
                self._send(session.connection, one.answer)

    def _miss(self, session: _Session, seq: int) -> None:
        """A batch came too early: ask for the one that is due, once."""
        self.commit()
        due = self._position(session.hello) + 1
        if session.asked_for != due:
            log.warning("batch missing", source=session.hello.source, expected=due, received=seq)
            self._ask_again(session)

    def _ask_again(self, session: _Session) -> None:
        """Have the sender go back to the batch that is due."""
        position = self._position(session.hello)
        if self._send(session.connection, Resend(session.hello.epoch, position, self._credit)):
            session.asked_for = position + 1

    def _due(self, session: _Session) -> int:
        """The number of the batch that is due, for one that could not be read."""
        return self._position(session.hello) + session.admitted + 1

    def _reject(self, session: _Session, seq: int, code: str, text: str) -> None:
        """Refuse a batch: what came before it is applied and acknowledged first."""
        self.commit()
        log.warning("batch refused", source=session.hello.source, seq=seq, code=code, text=text)
        session.rejected = True
        self._send(session.connection, Reject(session.hello.epoch, seq, code, text))

    def _malformed(self, connection: bytes, session: _Session | None, text: str) -> None:
        """Refuse a message that the protocol does not have."""
        self._engine.refuse_message(REJECT_MALFORMED)
        if session is not None:
            if not session.rejected:
                self._reject(session, self._due(session), REJECT_MALFORMED, text)
            return
        log.warning("message refused", code=REJECT_MALFORMED, text=text)
        self._send(connection, Reject(0, 0, REJECT_MALFORMED, text))

    # Answers.

    def _position(self, hello: Hello) -> int:
        source = self._engine.source(hello.source)
        return 0 if source is None else source.position(hello.epoch)

    @property
    def _credit(self) -> int:
        return 0 if self._intake.blocked is not None else self._settings.credit

    def _ack(self, session: _Session) -> Ack:
        return Ack(session.hello.epoch, self._position(session.hello), self._credit)

    def _limits_of(self, hello: Hello) -> BatchLimits:
        """What a batch may have; one that is answered is small, for an answer is one message."""
        most = self._limits.max_events
        if hello.answers:
            most = min(most, MAX_ANSWERED_EVENTS)
        return BatchLimits(self._limits.max_bytes, most)

    def _bye(self, session: _Session) -> Bye:
        return Bye(session.hello.epoch, self._position(session.hello))

    def _send(self, connection: bytes, message: Message) -> bool:
        """Whether the connection is still there."""
        if self._post(connection, protocol.encode(message)) is not Posted.GONE:
            return True
        session = self._by_connection.get(connection)
        if session is not None:
            self._release(session, "connection lost")
        return False


def _epoch_refusal(source: Source, hello: Hello) -> tuple[str, str] | None:
    """Why the epoch of ``hello`` cannot go on or begin: code and text; None if it can."""
    if source.epoch is None or hello.epoch > source.epoch:
        return None
    if hello.epoch < source.epoch:
        return REJECT_FENCED, f"epoch {source.epoch} of {hello.source} has begun"
    if hello.fingerprint != source.fingerprint:
        return REJECT_FINGERPRINT, (
            f"epoch {hello.epoch} of {hello.source} began with another header"
        )
    return None
