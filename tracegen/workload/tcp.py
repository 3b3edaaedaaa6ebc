"""The swap device's TCP connection: what it holds until the server has acknowledged it.

A piece of data takes an skb, its head and perhaps a page, and gives them back when
the acknowledgement has been *received*, for which memory is needed too. Lost pieces are sent
again after a retransmission timeout that doubles; so are answers of the server that
the card had to drop. What is sent again because the *wire* lost it is an event like any other; what
is sent again because this machine had no memory to take it is a retry, and no sign of life.
Not simulated: congestion control, selective acknowledgement, data waiting behind a hole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator

from tracegen.workload.engine import MILLISECOND, Engine, Tries, Wait, WaitQueue
from tracegen.workload.footprint import Footprint
from tracegen.workload.memory import Memory
from tracegen.workload.network import (
    FRAME_HEADERS,
    SEGMENT,
    Nic,
    Skb,
    Wire,
    accepts,
    backoff,
)
from tracegen.workload.series import SKB_PROCESSING, SOCK_MEMALLOC, SWAP_MEMALLOC

_DELAYED_ACK = 40 * MILLISECOND
"""TCP_DELACK_MIN, of the server"""
_RECEIVER_WAKEUP = 20_000
"""Nanoseconds until the thread that reads the socket runs."""


class Piece:
    """Data on its way to the server, and what it holds here meanwhile."""

    __slots__ = ("arrived", "bytes", "held", "message", "tries")

    def __init__(self, size: int, held: list[int], message: Message) -> None:
        self.bytes = size
        self.held = held
        self.message = message
        self.arrived = False
        self.tries = 0


class Message:
    """A request to the server: its pieces, and the answer that it wants."""

    __slots__ = ("answer_bytes", "on_answer", "tries", "unarrived", "whole")

    def __init__(self, answer_bytes: int, on_answer: Callable[[], None]) -> None:
        self.answer_bytes = answer_bytes
        self.on_answer = on_answer
        self.unarrived = 0
        self.whole = False
        """All its pieces have been sent."""
        self.tries = 0


class TcpConnection:
    """A connection that swap depends on."""

    __slots__ = (
        "_ack_step",
        "_acks_due",
        "_cpu",
        "_engine",
        "_flight",
        "_memory",
        "_nic",
        "_pieces_per_ack",
        "_received",
        "_send_buffer",
        "_series",
        "_softirq_memalloc",
        "_timer_running",
        "_timer_tries",
        "_tries",
        "_wire",
        "acks_not_sent",
        "privileged",
        "resent",
        "space",
        "unacked_bytes",
    )

    def __init__(
        self,
        engine: Engine,
        memory: Memory,
        footprint: Footprint,
        nic: Nic,
        wire: Wire,
        *,
        send_buffer: int,
        pieces_per_ack: int,
        cpu: int,
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._nic = nic
        self._wire = wire
        self._send_buffer = send_buffer
        self._cpu = cpu
        self._series = footprint.rights.series
        self._softirq_memalloc = footprint.rights.softirq_memalloc_ctx
        self._ack_step = footprint.step("send_ack")
        self._flight: deque[Piece] = deque()
        self._received: list[list[int]] = []
        self._acks_due = 0
        self._timer_running = False
        self._timer_tries = 0
        self._tries = Tries()
        engine.retriers.append(self._tries)
        self._pieces_per_ack = pieces_per_ack
        self.privileged = {SOCK_MEMALLOC, SWAP_MEMALLOC} <= self._series
        """SOCK_MEMALLOC is set."""
        self.space = WaitQueue("room in the send buffer")
        self.unacked_bytes = 0
        self.resent = 0
        self.acks_not_sent = 0

    @property
    def in_flight(self) -> int:
        """Pieces that are not acknowledged."""
        return len(self._flight)

    def waits(self) -> str:
        """What the connection waits for, as a sentence."""
        return (
            f"its socket has {self.in_flight} pieces unacknowledged"
            f" ({self.unacked_bytes >> 10} KiB)"
        )

    def reserve(self, size: int) -> Generator[int | Wait, None, None]:
        """Wait until the send buffer has room for ``size`` bytes (sk_stream_wait_memory())."""
        while self.unacked_bytes + size > self._send_buffer and self._flight:
            yield Wait(self.space, f"{self.space.name} ({self.in_flight} pieces unacknowledged)")

    def send(self, piece: Piece) -> None:
        """Put a piece, with what it holds, on the wire."""
        piece.message.unarrived += 1
        self._flight.append(piece)
        self.unacked_bytes += piece.bytes
        self._transmit(piece)
        self._start_timer()

    def sent_whole(self, message: Message) -> None:
        """Say that the message has no more pieces."""
        message.whole = True
        if message.unarrived == 0:
            self._engine.after(self._handling(), self._answer_later, message)

    # The way to the server.

    def _transmit(self, piece: Piece) -> None:
        arrival = self._wire.travel(piece.bytes + FRAME_HEADERS, 0)
        if arrival is None:
            self._engine.after(self._wire.round_trip_ns + backoff(piece.tries), self._again, piece)
            piece.tries += 1
        else:
            self._engine.at(arrival, self._arrive, piece)

    def _again(self, piece: Piece) -> None:
        if not piece.arrived:
            self.resent += 1
            self._transmit(piece)

    def _arrive(self, piece: Piece) -> None:
        if not piece.arrived:
            piece.arrived = True
            message = piece.message
            message.unarrived -= 1
            if message.whole and message.unarrived == 0:
                self._engine.after(self._handling(), self._answer_later, message)
        self._acks_due += 1
        if self._acks_due >= self._pieces_per_ack:
            self._send_back_ack()
        elif self._acks_due == 1:
            self._engine.after(_DELAYED_ACK, self._delayed_ack)

    def _delayed_ack(self, _: object) -> None:
        if self._acks_due:
            self._send_back_ack()

    def _send_back_ack(self) -> None:
        """The server acknowledges what it has."""
        self._acks_due = 0
        arrival = self._wire.travel(FRAME_HEADERS, 1)
        if arrival is not None:
            self._engine.at(arrival, self._ack_arrives)

    def _ack_arrives(self, _: object) -> None:
        skb = self._take_in(FRAME_HEADERS)
        if skb is None:
            return
        self._acknowledge()
        self._memory.free_all(skb.held, self._cpu, self._nic.softirq)

    def _acknowledge(self) -> None:
        """Everything that has arrived in order is acknowledged: give back what it held."""
        flight = self._flight
        freed = False
        while flight and flight[0].arrived:
            piece = flight.popleft()
            self.unacked_bytes -= piece.bytes
            self._memory.free_all(piece.held, self._cpu, self._nic.softirq)
            freed = True
        if freed:
            self._timer_tries = 0
            self._engine.wake(self.space)

    def _start_timer(self) -> None:
        if not self._timer_running:
            self._timer_running = True
            delay = self._wire.round_trip_ns + backoff(self._timer_tries)
            self._engine.retry(delay, self._timer, self._flight[0], self._tries)

    def _timer(self, oldest: Piece) -> None:
        """The retransmission timer: the oldest piece is sent again if it is still there."""
        self._timer_running = False
        if not self._flight:
            return
        if self._flight[0] is oldest and oldest.arrived:
            # It arrived, so it was the acknowledgement that got lost: ask for another.
            self.resent += 1
            self._timer_tries += 1
            if self._wire.travel(oldest.bytes + FRAME_HEADERS, 0) is not None:
                self._engine.after(self._wire.conditions.one_way_ns, self._repeat_ack)
        self._start_timer()

    def _repeat_ack(self, _: object) -> None:
        self._send_back_ack()

    # The way back.

    def _handling(self) -> int:
        return self._wire.conditions.handling_ns(self._engine.now)

    def _answer_later(self, message: Message) -> None:
        self._answer(message)

    def _answer(self, message: Message) -> None:
        self._acks_due = 0  # the answer acknowledges too
        size = message.answer_bytes + FRAME_HEADERS * -(-message.answer_bytes // SEGMENT)
        arrival = self._wire.travel(size, 1)
        if arrival is None:
            self._engine.after(self._patience(message), self._answer, message)
        else:
            self._engine.at(arrival, self._answer_arrives, message)

    def _patience(self, message: Message) -> int:
        """How long the server waits before it sends an answer again; longer each time."""
        message.tries += 1
        return self._wire.round_trip_ns + backoff(message.tries - 1)

    def _answer_arrives(self, message: Message) -> None:
        """Frames of an answer: those that are taken are kept, the rest has to come again."""
        left = message.answer_bytes
        size = 0
        from_reserve = False
        while left > 0:
            size = min(left, SEGMENT)
            skb = self._take_in(size + FRAME_HEADERS)
            if skb is None:
                message.answer_bytes = left
                patience = self._patience(message)
                self._engine.retry(patience, self._answer, message, self._tries)
                return
            left -= size
            from_reserve = from_reserve or skb.pfmemalloc
            self._received.append(skb.held)
        if not self._send_ack(from_reserve=from_reserve):
            # The server does not learn that it arrived and sends the last frame once more.
            self._engine.after(self._patience(message), self._duplicate, size)
        self._acknowledge()
        self._engine.after(_RECEIVER_WAKEUP, self._read, message)

    def _take_in(self, size: int) -> Skb | None:
        """A frame for this socket: None when the card or the socket drops it."""
        skb = self._nic.receive(size)
        if skb is None:
            return None
        if not accepts(skb, privileged=self.privileged, series=self._series):
            self._nic.dropped += 1
            self._memory.free_all(skb.held, self._cpu, self._nic.softirq)
            return None
        return skb

    def _send_ack(self, *, from_reserve: bool) -> bool:
        """``tcp_send_ack``, one for an answer; gone from memory as soon as it is on the wire."""
        ctx = self._nic.softirq
        if from_reserve and SKB_PROCESSING in self._series:
            ctx = self._softirq_memalloc
        held: list[int] = []
        if not self._memory.take_step(self._ack_step, self._cpu, ctx, held):
            self.acks_not_sent += 1
            return False
        self._memory.free_all(held, self._cpu, self._nic.softirq)
        return True

    def _duplicate(self, size: int) -> None:
        skb = self._take_in(size + FRAME_HEADERS)
        if skb is not None:
            self._send_ack(from_reserve=skb.pfmemalloc)
            self._memory.free_all(skb.held, self._cpu, self._nic.softirq)

    def _read(self, message: Message) -> None:
        """The thread that reads the socket: gives the packets back and looks at the answer."""
        received, self._received = self._received, []
        for held in received:
            self._memory.free_all(held, self._cpu, 0)
        message.on_answer()
