"""The receiving end: a ROUTER socket, one loop, the protocol of ``tracegen.protocol``.

Each turn takes what has arrived (up to a bound), admits it in order, applies it,
and then acknowledges, once a source. Nothing is acknowledged that is not applied.
A source belongs to one session at a time; it is free again when its sender says
goodbye, is gone, or has not been heard for :data:`LEASE_HEARTBEATS` heartbeats.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import zmq

from daemon.engine import TOO_MANY_SOURCES, Engine
from daemon.health import Health
from daemon.settings import Settings
from daemon.sources import Admitted, Source, Verdict
from daemon.stop_signal import StopSignal
from tracegen import batch as trace_batch
from tracegen import protocol
from tracegen.batch import Batch, HeaderBatch
from tracegen.errors import BatchError, PfmemdError
from tracegen.limits import BatchLimits
from tracegen.protocol import (
    DEFAULT_HEARTBEAT_MS,
    LEASE_HEARTBEATS,
    MAX_CONTROL_BYTES,
    PROTOCOL_VERSION,
    REJECT_BATCH,
    REJECT_BUSY,
    REJECT_FENCED,
    REJECT_FINGERPRINT,
    REJECT_MALFORMED,
    REJECT_SOURCES,
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

POLL_MS: Final = 1000
"""How often the loop turns when nothing arrives."""
GROUP_MESSAGES: Final = 64
GROUP_BYTES: Final = 1 << 20
"""How much one turn takes: more would only make acknowledgements later."""
LINGER_MS: Final = 200
"""How long goodbyes may take to leave when the daemon stops."""
LEASE_SECONDS: Final = LEASE_HEARTBEATS * DEFAULT_HEARTBEAT_MS / 1000
HANDSHAKE_MS: Final = 2000


class ReceiverBindError(PfmemdError):
    """The address for senders cannot be bound."""


@dataclass(slots=True)
class _Session:
    """A sender that was welcomed: one connection, one source."""

    connection: bytes
    hello: Hello
    heard_at: float
    """By the listening clock, see :class:`Receiver`."""
    asked_for: int = 0
    """The batch that was asked for again last; asking once is enough, they come in order."""
    rejected: bool = False
    """Its stream has ended; what it had on the way is passed over."""


class Receiver:
    """Takes batches from senders and has the engine apply them."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        health: Health,
        stop: StopSignal,
        agent: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bind; raises :class:`ReceiverBindError`."""
        self._settings = settings
        self._engine = engine
        self._health = health
        self._stop = stop
        self._agent = agent
        self._clock = clock
        self._limits = BatchLimits(settings.max_batch_bytes, settings.max_batch_events)
        self._by_connection: dict[bytes, _Session] = {}
        self._by_source: dict[str, _Session] = {}
        self._group: list[tuple[_Session, Admitted]] = []
        self._unanswered: dict[bytes, _Session] = {}
        # Time spent waiting for messages. Leases run on it: a sender is not silent
        # while the daemon does not listen.
        self._listened = 0.0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        try:
            self._bind()
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise ReceiverBindError(
                f"cannot receive on {settings.bind}: {zmq.strerror(error.errno or 0)}; another"
                " address is given with --bind"
            ) from None

    def _bind(self) -> None:
        options = {
            zmq.ROUTER_MANDATORY: 1,  # an answer to nobody raises instead of vanishing
            zmq.MAXMSGSIZE: max(self._settings.max_batch_bytes, MAX_CONTROL_BYTES),
            zmq.RCVHWM: 2 * self._settings.credit,
            zmq.SNDHWM: GROUP_MESSAGES,
            zmq.LINGER: LINGER_MS,
            zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
            zmq.HEARTBEAT_IVL: DEFAULT_HEARTBEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: LEASE_HEARTBEATS * DEFAULT_HEARTBEAT_MS,
            zmq.HEARTBEAT_TTL: LEASE_HEARTBEATS * DEFAULT_HEARTBEAT_MS,
            zmq.IPV6: int("[" in self._settings.bind),
        }
        for option, value in options.items():
            self._socket.setsockopt(option, value)
        address = self._settings.bind
        if address.startswith("tcp://"):  # ZeroMQ has its own ways to say these two
            address = address.replace("//localhost:", "//127.0.0.1:")
            if address.endswith(":0"):
                address = address.removesuffix("0") + "*"
        self._socket.bind(address)

    @property
    def endpoint(self) -> str:
        """Where it listens, with the port it was given."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def run(self) -> None:
        """Receive until a stop is asked for; what is applied by then is acknowledged."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stop.fd, zmq.POLLIN)
        while not self._stop.requested:
            self._health.turn()
            waiting_since = self._clock()
            poller.poll(POLL_MS)
            self._listened += self._clock() - waiting_since
            self._turn()
        for session in list(self._by_connection.values()):
            self._send(session.connection, self._bye(session))

    def close(self) -> None:
        """Close the socket; goodbyes get a moment to leave."""
        self._socket.close()
        self._context.term()

    def _turn(self) -> None:
        """Take what has arrived, up to a group."""
        messages = size = 0
        while messages < GROUP_MESSAGES and size < GROUP_BYTES and not self._stop.requested:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            messages += 1
            size += sum(map(len, frames))
            self._take(frames[0], frames[1:])
        self._commit()

    def _commit(self) -> None:
        """Apply what was admitted, then acknowledge it."""
        for session, admitted in self._group:
            if self._stop.requested:
                break  # not applied, not acknowledged: it will be sent again
            self._engine.apply(admitted)
            self._unanswered[session.connection] = session
        self._group.clear()
        self._engine.connected = frozenset(
            name
            for name, session in self._by_source.items()
            if self._listened - session.heard_at <= LEASE_SECONDS
        )
        while self._unanswered:
            _, session = self._unanswered.popitem()
            if not session.rejected:
                hello = session.hello
                self._send(
                    session.connection,
                    Ack(hello.epoch, self._position(hello), self._settings.credit),
                )

    def _take(self, connection: bytes, frames: list[bytes]) -> None:
        """One message of one connection."""
        session = self._by_connection.get(connection)
        if session is not None:
            session.heard_at = self._listened
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
                self._commit()  # the answer tells where the source stands
                self._greet(connection, message)
            case Ping() if session is not None:
                self._unanswered[connection] = session
            case Bye() if session is not None:
                self._commit()
                self._send(connection, self._bye(session))
                self._release(session, "sender said goodbye")
            case Ping() | Bye():
                self._send(connection, HelloFirst())
            case _:
                self._malformed(
                    connection, session, f"a sender does not say {type(message).__name__}"
                )

    # Sessions.

    def _greet(self, connection: bytes, hello: Hello) -> None:
        refusal = self._refusal(connection, hello)
        if refusal is not None:
            code, text = refusal
            self._engine.refuse_message(code)
            log.warning("sender refused", source=hello.source, code=code, text=text)
            self._send(connection, Reject(hello.epoch, 0, code, text))
            return
        for known in (self._by_connection.get(connection), self._by_source.get(hello.source)):
            if known is not None:
                self._forget(known)
        session = _Session(connection, hello, self._listened)
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
                credit=self._settings.credit,
                agent=self._agent,
                max_batch_bytes=self._settings.max_batch_bytes,
                max_batch_events=self._settings.max_batch_events,
            ),
        )

    def _refusal(self, connection: bytes, hello: Hello) -> tuple[str, str] | None:
        """Why ``hello`` is not welcome: code and text; None if it is."""
        if hello.version != PROTOCOL_VERSION:
            return REJECT_VERSION, (
                f"protocol version {hello.version} is not spoken here, expected {PROTOCOL_VERSION}"
            )
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
        if self._listened - holder.heard_at > LEASE_SECONDS:
            return False
        # A connection that is gone cannot be sent to, so asking shows at once.
        position = self._position(holder.hello)
        return self._send(
            holder.connection, Ack(holder.hello.epoch, position, self._settings.credit)
        )

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
        try:
            batch = trace_batch.decode(data, self._limits)
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
            verdict = self._engine.admit(batch, data)
        except BatchError as error:
            code = REJECT_SOURCES if error.reason == TOO_MANY_SOURCES else REJECT_BATCH
            self._reject(session, batch.seq, code, str(error))
            return
        if isinstance(verdict, Admitted):
            self._group.append((session, verdict))
        elif verdict is Verdict.DUPLICATE:
            self._unanswered[session.connection] = session
        else:
            self._ask_again(session, batch.seq)

    def _ask_again(self, session: _Session, seq: int) -> None:
        """A batch came too early: ask for the one that is due, once."""
        self._commit()
        position = self._position(session.hello)
        if session.asked_for == position + 1:
            return
        log.warning(
            "batch missing", source=session.hello.source, expected=position + 1, received=seq
        )
        resend = Resend(session.hello.epoch, position, self._settings.credit)
        if self._send(session.connection, resend):
            session.asked_for = position + 1

    def _due(self, session: _Session) -> int:
        """The number of the batch that is due, for one that could not be read."""
        admitted = sum(one is session for one, _ in self._group)
        return self._position(session.hello) + admitted + 1

    def _reject(self, session: _Session, seq: int, code: str, text: str) -> None:
        """Refuse a batch: what came before it is applied and acknowledged first."""
        self._commit()
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

    def _bye(self, session: _Session) -> Bye:
        return Bye(session.hello.epoch, self._position(session.hello))

    def _send(self, connection: bytes, message: Message) -> bool:
        """Whether the message is on its way; False when the connection is gone or clogged."""
        try:
            self._socket.send_multipart((connection, protocol.encode(message)), zmq.NOBLOCK)
        except zmq.Again:
            return True  # it does not read its answers; acknowledgements are cumulative
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            session = self._by_connection.get(connection)
            if session is not None:
                self._release(session, "connection lost")
            return False
        return True


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
