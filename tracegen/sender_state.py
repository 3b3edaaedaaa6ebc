"""The sender's half of the protocol, without socket and clock.

Everything that can go wrong between a sender and a daemon is decided here, by
messages that come in and by the time that the caller says it is; what has to be done
comes out as messages to send and as one wish, :attr:`SenderState.wants_reconnect`.
So the same code runs over ZeroMQ and in a simulation.

There is one way back from every trouble: a new connection, HELLO, WELCOME, and on
from the batch after the one that the daemon says it has. Batches stay here until
they are acknowledged. A daemon that has less than it once acknowledged has lost
data, and that is never passed over.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from typing import Final

from tracegen import protocol
from tracegen.errors import EXIT_STOPPED, EXIT_USAGE, PfmemdError, StoppedError
from tracegen.limits import FIRST_SEQ, MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from tracegen.protocol import (
    DEFAULT_HEARTBEAT_MS,
    LEASE_HEARTBEATS,
    PROTOCOL_VERSION,
    Ack,
    Answer,
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

MAX_HELD_BATCHES: Final = 1024
"""Batches held at most, whatever credit a daemon grants."""
MAX_HELD_BYTES: Final = 64 << 20
"""Bytes of batches beyond which no further one is let in."""
HELLO_INTERVAL: Final = 1.0
"""Seconds between greetings that got no answer, or the answer to try again."""


class LostDataError(StoppedError):
    """The daemon has less than it acknowledged."""


class LostAnswerError(StoppedError):
    """A batch is kept, but what the model said to it is not known here."""


class UnacceptableBatchError(PfmemdError):
    """A batch beyond the limits that the daemon named in its WELCOME."""


class RejectedError(PfmemdError):
    """The daemon refused the stream for good; ``code`` is the protocol's."""

    def __init__(self, reject: Reject, source: str) -> None:
        what = f"batch {reject.seq} of {source}" if reject.seq else source
        super().__init__(f"the daemon refuses {what}: {reject.text} ({reject.code})")
        self.code = reject.code
        fault_of_the_input = (
            protocol.REJECT_BATCH,
            protocol.REJECT_FENCED,
            protocol.REJECT_FINGERPRINT,
        )
        self.exit_code = EXIT_USAGE if reject.code in fault_of_the_input else EXIT_STOPPED


class Phase(Enum):
    """Where a sender stands with its daemon."""

    IDLE = "idle"
    """No epoch is open."""
    GREETING = "greeting"
    """HELLO is due or unanswered."""
    STREAMING = "streaming"
    """Welcomed: batches go out as far as the credit reaches."""
    LEAVING = "leaving"
    """Everything is acknowledged and BYE is said."""
    GONE = "gone"
    """The daemon has said BYE back."""


class SenderState:
    """One source's stream to one daemon. ``now`` is in seconds of a monotonic clock.

    ``session`` is a random u64 that tells this process from another one of the same
    source; ``agent`` names the program in the daemon's log. ``answers`` is the variant whose
    answers are wanted; then one batch at a time is to be offered.
    """

    def __init__(self, source: str, session: int, agent: str, answers: str = "") -> None:
        self.answers = answers
        self.answer: Answer | None = None
        """What was said to the last batch, if answers are wanted."""
        self.source = source
        self.session = session
        self.agent = agent
        self.phase = Phase.IDLE
        self.epoch = 0
        self.acked = 0
        """The last batch of this epoch that the daemon has acknowledged."""
        self.credit = 0
        self.resent = 0
        """Batches sent more than once."""
        self.connections = 0
        self.connected = False
        self.welcomed = False
        """A daemon has welcomed this sender at least once."""
        self.max_batch_bytes = MAX_BATCH_BYTES
        self.max_batch_events = MAX_BATCH_EVENTS
        self.wants_reconnect = False
        """The connection is of no more use: close it and make another one."""
        self.trouble = ""
        """Why the daemon does not welcome this sender for the time being, in its words."""
        self._heartbeat = DEFAULT_HEARTBEAT_MS / 1000
        self._fingerprint = b""
        self._held: deque[tuple[int, bytes]] = deque()
        self._held_bytes = 0
        self._next = FIRST_SEQ
        self._sent_up_to = 0
        self._control: deque[Message] = deque()
        self._hello_due = 0.0
        self._sent_at = 0.0
        self._heard_at = 0.0
        self._progress_at = 0.0
        self.agreed_at = 0.0
        """When the daemon last welcomed or acknowledged: how long ago it was fine."""

    # What the owner of the stream does.

    def begin(self, epoch: int, header_batch: bytes, now: float) -> None:
        """Open ``epoch``, whose first batch is ``header_batch``; the last one must be done."""
        if self._held:
            raise ValueError(f"epoch {self.epoch} has unacknowledged batches")
        self.epoch = epoch
        self.acked = 0
        self.answer = None
        self._next = FIRST_SEQ
        self._sent_up_to = 0
        self._fingerprint = protocol.fingerprint_of(header_batch)
        self.agreed_at = now
        self._greet(now)

    def may_offer(self, seq: int, size: int) -> bool:
        """Tell whether batch ``seq`` may be handed over now, or must wait for credit."""
        if self.phase is not Phase.STREAMING:
            return False
        if seq <= self.acked:
            return True
        if seq > self.acked + min(self.credit, MAX_HELD_BATCHES):
            return False
        return not self._held or self._held_bytes + size <= MAX_HELD_BYTES

    def offer(self, seq: int, data: bytes, events: int) -> None:
        """Hand over batch ``seq``, which follows the one before; one already there is dropped.

        Raises :class:`UnacceptableBatchError` for a batch the daemon would not take.
        """
        if seq <= self.acked:
            return
        if len(data) > self.max_batch_bytes or events > self.max_batch_events:
            raise UnacceptableBatchError(
                f"batch {seq} of {self.source} has {len(data)} bytes and {events} events; this"
                f" daemon takes {self.max_batch_bytes} bytes and {self.max_batch_events} events"
                " (--batch-events makes them smaller)"
            )
        expected = self._held[-1][0] + 1 if self._held else self.acked + 1
        if seq != expected:
            raise ValueError(f"batch {seq} offered, expected {expected}")
        self._held.append((seq, data))
        self._held_bytes += len(data)

    @property
    def held(self) -> int:
        """Batches handed over and not acknowledged."""
        return len(self._held)

    def leave(self) -> None:
        """Say goodbye. Only for a stream whose batches are all acknowledged."""
        if self.phase is Phase.STREAMING and not self._held:
            self.phase = Phase.LEAVING
            self._control.append(Bye(self.epoch, self.acked))

    # What the connection does.

    def on_connect(self, now: float) -> None:
        """A connection to the daemon stands: greet."""
        self.connected = True
        self.connections += 1
        if self.phase not in (Phase.IDLE, Phase.GONE):
            self._greet(now)

    def on_disconnect(self) -> None:
        """The connection is gone, and whatever was on it."""
        self.connected = False
        self.wants_reconnect = False
        self._control.clear()
        if self.phase is Phase.STREAMING:
            self.phase = Phase.GREETING
        elif self.phase is Phase.LEAVING:
            self.phase = Phase.GONE  # everything was acknowledged before

    def on_message(self, data: bytes, now: float) -> None:
        """Take a message of the daemon.

        Raises :class:`LostDataError`, :class:`LostAnswerError`, :class:`RejectedError` or
        :class:`~tracegen.protocol.ProtocolError` when the stream has ended for good.
        """
        message = protocol.decode(data)
        self._heard_at = now
        match message:
            case Welcome():
                self._on_welcome(message, now)
            case Answer():
                self._on_answer(message)
            case Ack() | Resend():
                self._on_ack(message, now)
            case Reject():
                self._on_reject(message, now)
            case HelloFirst():
                self._on_hello_first(now)
            case Bye():
                if self.phase is Phase.LEAVING:
                    self.phase = Phase.GONE
                else:
                    self.trouble = "the daemon has said goodbye: it is going down"
                    self._greet(now, now + HELLO_INTERVAL)
            case Hello() | Ping():
                raise ProtocolError(f"a daemon does not say {type(message).__name__}")

    def on_tick(self, now: float) -> None:
        """Do what is due by the time alone: greet again, ask, or give the connection up."""
        if not self.connected or self.phase in (Phase.IDLE, Phase.GONE):
            return
        if self.phase is Phase.GREETING:
            if now >= self._hello_due:
                self._control.clear()
                self._control.append(self._hello())
                self._hello_due = now + HELLO_INTERVAL
            return
        patience = LEASE_HEARTBEATS * self._heartbeat
        stuck = self._sent_up_to > self.acked and self.credit > 0
        if now - self._heard_at >= patience or (stuck and now - self._progress_at >= patience):
            self.phase = Phase.GREETING if self.phase is Phase.STREAMING else Phase.GONE
            self._control.clear()
            self.wants_reconnect = True
        elif now - self._sent_at >= self._heartbeat and not self._control:
            self._control.append(Ping())

    def deadline(self) -> float:
        """When :meth:`on_tick` may next have something to do."""
        if not self.connected or self.phase in (Phase.IDLE, Phase.GONE):
            return math.inf
        if self.phase is Phase.GREETING:
            return self._hello_due
        patience = LEASE_HEARTBEATS * self._heartbeat
        due = [self._sent_at + self._heartbeat, self._heard_at + patience]
        if self._sent_up_to > self.acked and self.credit > 0:
            due.append(self._progress_at + patience)
        return min(due)

    def next_message(self) -> bytes | None:
        """The message to send now, or None; it stays next until :meth:`on_sent`."""
        if not self.connected:
            return None
        if self._control:
            return protocol.encode(self._control[0])
        if self.phase is not Phase.STREAMING or not self._held:
            return None
        if self._next > min(self._held[-1][0], self.acked + self.credit):
            return None
        return self._held[self._next - self._held[0][0]][1]

    def on_sent(self, now: float) -> None:
        """Note that the message that :meth:`next_message` told has gone out."""
        self._sent_at = now
        if self._control:
            self._control.popleft()
            return
        if self._sent_up_to <= self.acked:
            self._progress_at = now  # the daemon's time to answer begins
        self.resent += self._next <= self._sent_up_to
        self._sent_up_to = max(self._sent_up_to, self._next)
        self._next += 1

    # Inside.

    def _hello(self) -> Hello:
        return Hello(
            self.source,
            self.epoch,
            self.session,
            self._fingerprint,
            self.agent,
            answers=self.answers,
        )

    def _greet(self, now: float, due: float | None = None) -> None:
        self.phase = Phase.GREETING
        self._control.clear()
        self._hello_due = now if due is None else due

    def _on_welcome(self, welcome: Welcome, now: float) -> None:
        if welcome.epoch != self.epoch or self.phase in (Phase.IDLE, Phase.GONE):
            return
        if welcome.version != PROTOCOL_VERSION:
            raise ProtocolError(
                f"the daemon welcomes in protocol version {welcome.version},"
                f" expected {PROTOCOL_VERSION}"
            )
        self.welcomed = True
        self._heartbeat = max(welcome.heartbeat_ms, 1) / 1000
        self.max_batch_bytes = welcome.max_batch_bytes
        self.max_batch_events = welcome.max_batch_events
        self._advance(welcome.last_seq, welcome.credit, now)
        if self.phase is Phase.GREETING:
            # Whatever was on the way before is not any more: on from what the daemon has.
            self.phase = Phase.STREAMING
            self.trouble = ""
            self._control.clear()
            self._next = self.acked + 1
            self._progress_at = now

    def _on_hello_first(self, now: float) -> None:
        if self.phase is Phase.LEAVING:
            self.phase = Phase.GONE  # it has forgotten us already, which is a goodbye
        elif self.phase is Phase.STREAMING:
            self._greet(now)

    def _on_answer(self, answer: Answer) -> None:
        if not self.answers:
            raise ProtocolError("the daemon sends an ANSWER that nobody has asked for")
        if answer.epoch == self.epoch and self.phase is Phase.STREAMING:
            self.answer = answer

    def _on_ack(self, ack: Ack | Resend, now: float) -> None:
        if ack.epoch != self.epoch or self.phase in (Phase.IDLE, Phase.GONE):
            return
        self._advance(ack.last_seq, ack.credit, now)
        if isinstance(ack, Resend):
            self._next = min(self._next, ack.last_seq + 1)

    def _advance(self, last_seq: int, credit: int, now: float) -> None:
        if last_seq < self.acked:
            raise LostDataError(
                f"the daemon has lost data: it had acknowledged batch {self.acked} of"
                f" {self.source}, epoch {self.epoch}, and now has {last_seq}"
                " (--new-epoch sends everything again, as a new life of the source)"
            )
        highest = self._held[-1][0] if self._held else self.acked
        if self.phase is Phase.STREAMING and last_seq > highest:
            raise ProtocolError(
                f"the daemon acknowledges batch {last_seq} of {self.source},"
                f" which was never sent; the last one was {highest}"
            )
        self.agreed_at = now
        self.credit = credit
        if last_seq == self.acked:
            return
        while self._held and self._held[0][0] <= last_seq:
            self._held_bytes -= len(self._held.popleft()[1])
        if self._held and self._held[0][0] != last_seq + 1:
            raise ValueError("held batches have a gap")
        self.acked = last_seq
        self._next = max(self._next, last_seq + 1)
        self._progress_at = now
        if self.answers and (self.answer is None or self.answer.seq != last_seq):
            raise LostAnswerError(
                f"the daemon keeps batch {last_seq} of {self.source}, epoch {self.epoch}, but what"
                f" its {self.answers} said to it is lost: a closed loop cannot go on from here"
            )

    def _on_reject(self, reject: Reject, now: float) -> None:
        if reject.seq and reject.epoch != self.epoch:
            return
        if reject.code in protocol.RETRYABLE_CODES:
            self.trouble = reject.text
            self._greet(now, now + HELLO_INTERVAL)
            return
        raise RejectedError(reject, self.source)
