"""Sends a trace to the daemon with nothing but ZeroMQ and msgpack, as docs/PROTOCOL.md says.

    python send_trace.py TRACE tcp://127.0.0.1:5571

Kill the daemon or this program in the middle and start it again: every batch is kept, once.
TRACE is a file of one source, not compressed. Numbers in brackets are the rules of the
section "The sender".
"""

import hashlib
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import zmq

GREETING_SECONDS = 1.0
FAREWELL_SECONDS = 2.0
LATER = {"busy", "stopping"}
PING = msgpack.packb(["PING"])


def batches_of(trace: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Source, epoch and bytes of each batch; batches follow one another."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(trace))
    unpacker.feed(trace)
    start = 0
    while start < len(trace):
        batch = unpacker.unpack()
        end = unpacker.tell()
        yield batch["source"], batch["epoch"], trace[start:end]
        start = end


class Sender:
    """One source on its way to one daemon."""

    def __init__(self, url: str, source: str) -> None:
        self.url = url
        self.source = source
        self.session = secrets.randbits(64)
        self.context = zmq.Context()
        self.heartbeat = 2.0
        self.connect()

    def connect(self) -> None:
        """A new socket: nothing of an old one can be taken for it (3)."""
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, 4096)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 6000)
        self.socket.connect(self.url)
        self.heard_at = self.moved_at = self.sent_at = time.monotonic()
        self.greet()

    def greet(self, seconds: float = 0.0) -> None:
        """Begin again at the greeting, now or later."""
        self.welcome = False
        self.greet_at = time.monotonic() + seconds

    def post(self, frame: bytes) -> bool:
        """Send one frame, if the connection takes it now."""
        try:
            self.socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        self.sent_at = time.monotonic()
        return True

    def send(self, epoch: int, batches: list[bytes]) -> None:
        """Have every batch of an epoch kept; ``batches`` are all of them, from the header on."""
        self.epoch = epoch
        self.batches = batches
        self.kept = 0
        self.credit = 0
        self.next = 1
        fingerprint = hashlib.sha256(batches[0]).digest()
        self.hello = msgpack.packb(
            ["HELLO", 1, self.source, epoch, self.session, fingerprint, "send_trace.py"]
        )
        self.greet()
        while self.kept < len(batches):
            self.say_what_is_due()
            if self.socket.poll(100):
                self.take(msgpack.unpackb(self.socket.recv()))

    def say_what_is_due(self) -> None:
        """Greet, or send what the credit allows, or ask, or give the connection up."""
        now = time.monotonic()
        if not self.welcome:
            if now >= self.greet_at and self.post(self.hello):
                self.greet_at = now + GREETING_SECONDS
            return
        patience = 3 * self.heartbeat
        waits = self.next > self.kept + 1 and self.credit > 0
        if now - self.heard_at > patience or (waits and now - self.moved_at > patience):
            self.socket.close()
            self.connect()
            return
        while self.next <= min(len(self.batches), self.kept + self.credit):
            if not self.post(self.batches[self.next - 1]):
                return
            self.next += 1
        if now - self.sent_at > self.heartbeat:
            self.post(PING)

    def take(self, message: list[object]) -> None:
        """What the daemon says."""
        self.heard_at = time.monotonic()
        match message:
            case ["WELCOME", 1, self.epoch, int(kept), int(credit), int(size), _, int(beat), _]:
                self.heartbeat = beat / 1000
                if max(map(len, self.batches)) > size:  # (7)
                    raise SystemExit(f"a batch is larger than the {size} bytes that are taken")
                self.note(kept, credit)
                self.next = kept + 1
                self.welcome = True
            case ["ACK", self.epoch, int(kept), int(credit)]:
                self.note(kept, credit)
            case ["RESEND", self.epoch, int(kept), int(credit)]:
                self.note(kept, credit)
                self.next = kept + 1  # (2)
            case ["REJECT", _, _, code, text]:
                if code not in LATER:  # (5)
                    raise SystemExit(f"refused: {text} ({code})")
                self.greet(GREETING_SECONDS)
            case ["HELLO_FIRST"] if self.welcome:
                self.greet()
            case ["BYE", *_]:
                self.greet(GREETING_SECONDS)

    def note(self, kept: int, credit: int) -> None:
        """The daemon has all batches up to ``kept``."""
        if kept < self.kept:  # (4)
            raise SystemExit(f"the daemon had {self.kept} batches, now it has {kept}")
        if kept > self.kept:
            self.moved_at = time.monotonic()
        self.kept, self.credit = kept, credit
        self.next = max(self.next, kept + 1)

    def leave(self) -> None:
        """Say goodbye, and wait for the answer, but not for long."""
        self.post(msgpack.packb(["BYE", self.epoch, self.kept]))
        deadline = time.monotonic() + FAREWELL_SECONDS
        while (left := deadline - time.monotonic()) > 0 and self.socket.poll(int(1000 * left)):
            if msgpack.unpackb(self.socket.recv())[0] == "BYE":
                break
        self.context.destroy(linger=0)


def main() -> None:
    """Send the trace."""
    path, url = sys.argv[1:]
    epochs: dict[tuple[str, int], list[bytes]] = {}
    for source, epoch, data in batches_of(Path(path).read_bytes()):
        epochs.setdefault((source, epoch), []).append(data)
    if len({source for source, _ in epochs}) != 1:
        raise SystemExit(f"{path} is not of one source")  # each would have its own connection
    sender = Sender(url, source)
    for (_, epoch), batches in sorted(epochs.items()):
        sender.send(epoch, batches)
    sender.leave()


if __name__ == "__main__":
    main()
