"""The network card, the wire, and the server at its other end.

The card has a ring of receive buffers, filled beforehand. A small frame is copied into a
small skb and leaves its buffer in the ring; for a large one the buffer itself goes up and
the hole is filled by an atomic allocation, or stays (drivers/net/ethernet/intel/e1000). With an
empty ring the card drops what arrives. So a machine without free memory goes on receiving for a
while, and then not at all: that is one of the two ways in which it hangs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from tracegen.workload.engine import MILLISECOND, SECOND, Engine, Tries
from tracegen.workload.footprint import Footprint
from tracegen.workload.memory import Memory
from tracegen.workload.series import SKB_PFMEMALLOC

COPYBREAK: Final = 256
"""Bytes up to which e1000 copies a frame."""
FRAME_HEADERS: Final = 66
"""Ethernet, IP and TCP with timestamps."""
SEGMENT: Final = 1448
"""Data bytes of a full TCP segment on Ethernet."""
FIRST_RTO: Final = 200 * MILLISECOND
"""TCP_RTO_MIN"""
MAX_RTO: Final = 120 * SECOND
"""TCP_RTO_MAX"""
_WATCHDOG: Final = 2 * SECOND
"""e1000_watchdog() has the ring looked at."""
_BITS: Final = 8


class Skb:
    """A received packet: what it holds, and whether it came from the reserve."""

    __slots__ = ("bytes", "held", "pfmemalloc")

    def __init__(self, held: list[int], size: int, *, pfmemalloc: bool) -> None:
        self.held = held
        self.bytes = size
        self.pfmemalloc = pfmemalloc


class Nic:
    """The card: a ring of buffers, and the softirq that empties it."""

    __slots__ = (
        "_cpu",
        "_engine",
        "_large",
        "_memory",
        "_ring",
        "_small",
        "_tries",
        "dropped",
        "missed",
        "received",
        "refills_failed",
        "ring_size",
        "softirq",
    )

    def __init__(
        self, engine: Engine, memory: Memory, footprint: Footprint, ring_size: int, cpu: int
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._small = footprint.step("receive_small")
        self._large = footprint.step("receive_buffer")
        self._cpu = cpu
        self._ring: list[Skb] = []
        self.softirq = footprint.rights.softirq_ctx
        self.ring_size = ring_size
        self.received = 0
        self.missed = 0
        """Frames that found no buffer in the ring."""
        self.refills_failed = 0
        self.dropped = 0
        """Received, and dropped by a socket that may not have a packet of the reserve."""
        self.refill()
        self._tries = Tries()
        engine.retriers.append(self._tries)
        engine.retry(_WATCHDOG, self._watch, None, self._tries)

    @property
    def filled(self) -> int:
        """Buffers in the ring."""
        return len(self._ring)

    def receive(self, size: int) -> Skb | None:
        """Take a frame of ``size`` bytes off the wire; None when there is no room for it."""
        if not self._ring:
            self.missed += 1
            return None
        self.received += 1
        if size <= COPYBREAK:
            held: list[int] = []
            if self._memory.take_step(self._small, self._cpu, self.softirq, held):
                return Skb(held, size, pfmemalloc=self._memory.marked)
        skb = self._ring.pop()
        skb.bytes = size
        self.refill()
        return skb

    def refill(self) -> None:
        """Fill the holes of the ring, as far as memory goes."""
        while len(self._ring) < self.ring_size:
            held: list[int] = []
            if not self._memory.take_step(self._large, self._cpu, self.softirq, held):
                self.refills_failed += 1
                return
            self._ring.append(Skb(held, 0, pfmemalloc=self._memory.marked))

    def _watch(self, _: object) -> None:
        self.refill()
        self._engine.retry(_WATCHDOG, self._watch, None, self._tries)


@dataclass(slots=True)
class Conditions:
    """How the server and the way to it are at the moment."""

    one_way_ns: int
    service_ns: int
    """How long the server takes for a request."""
    bits_per_second: int
    loss: float
    """Share of frames that get lost."""
    up: bool = True
    stall_every_ns: int = 0
    """Every so often, if not 0, the server does nothing for ``stall_ns``."""
    stall_ns: int = 0

    def handling_ns(self, now: int) -> int:
        """How long a request that arrives now takes, a stall included."""
        if self.stall_every_ns:
            into = now % self.stall_every_ns
            if into < self.stall_ns:
                return self.stall_ns - into + self.service_ns
        return self.service_ns


class Wire:
    """The way to the server and back: a rate, a delay, losses."""

    __slots__ = ("_engine", "_free_at", "_random", "conditions")

    def __init__(self, engine: Engine, conditions: Conditions, rng: random.Random) -> None:
        self._engine = engine
        self._random = rng
        self._free_at = [0, 0]
        self.conditions = conditions

    def travel(self, size: int, direction: int) -> int | None:
        """When ``size`` bytes sent now arrive (direction 0 out, 1 back); None if they are lost."""
        conditions = self.conditions
        start = max(self._engine.now, self._free_at[direction])
        sent = start + size * _BITS * SECOND // conditions.bits_per_second
        self._free_at[direction] = sent
        if not conditions.up:
            return None
        if conditions.loss:
            frames = -(-size // SEGMENT)
            for _ in range(frames):
                if self._random.random() < conditions.loss:
                    return None
        return sent + conditions.one_way_ns

    @property
    def round_trip_ns(self) -> int:
        """There and back, without queueing."""
        return 2 * self.conditions.one_way_ns


def backoff(tries: int) -> int:
    """TCP's time to wait before it sends again for the ``tries``-th time (from 0)."""
    return min(FIRST_RTO << min(tries, 20), MAX_RTO)


def accepts(skb: Skb, *, privileged: bool, series: frozenset[str]) -> bool:
    """``sk_filter``: a packet of the reserve is for sockets that help to free memory."""
    return not (skb.pfmemalloc and not privileged and SKB_PFMEMALLOC in series)
