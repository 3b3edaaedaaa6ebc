"""What is fuzzed: a function of bytes each, which fails if anything but a refusal comes out.

No fuzzer is needed to call them: ``test_fuzz`` runs the whole corpus through each, and
``python -m tests.fuzz TARGET`` lets atheris look for more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Final

from daemon.journal.errors import CorruptJournalError, JournalError, NoRoomError
from daemon.journal.layout import segment_name
from daemon.journal.reader import JournalReader
from daemon.sessions import Posted, Sessions
from daemon.snapshots import Snapshot, SnapshotFileError, read_snapshot, write_snapshot
from tests.daemon.fakes import HEADER
from tests.daemon.journal.journals import open_journal
from tests.daemon.storages import Life
from tests.simulation.disk import Disk, Inode, SimulatedFolder
from tests.simulation.world import BATCHES, SETTINGS, batches_of, digests_of
from tracegen import batch as trace_batch
from tracegen import protocol
from tracegen.batch import Batch, EventBatch, check, decode, encode
from tracegen.errors import BatchError, PfmemdError
from tracegen.kernel_trace.importer import Importer, Options
from tracegen.protocol import Ack, Bye, Hello, Ping, Reject, Resend, Welcome, fingerprint_of
from tracegen.sender_state import Phase, SenderState

SOURCES: Final = ("a", "b")
EPOCHS: Final = (3, 8)
LONGEST: Final = 4096


@contextmanager
def refused_in_one_line(kind: type[Exception]) -> Iterator[None]:
    """What is inside may be refused by an error of that kind, whose text is one line."""
    try:
        yield
    except kind as error:
        if "\n" in str(error):
            raise AssertionError("an error of several lines") from error


def _decode_with(data: bytes, *, packing_rows: bool) -> Batch | str:
    """The batch as one of two ways reads it, or why it is refused."""
    trace_batch._PACKS_ROWS = packing_rows  # type: ignore[misc] # as where it is compiled
    try:
        return decode(data)
    except BatchError as error:
        return f"{error} ({error.reason})"


def fuzz_batch(data: bytes) -> None:
    """A batch is refused, or means the same after another encoding.

    The pass over the bytes of rows, and msgpack where that is not taken, agree on every word.
    """
    one, other = (_decode_with(data, packing_rows=way) for way in (True, False))
    assert one == other
    with refused_in_one_line(BatchError):
        batch = decode(data)
        if isinstance(batch, EventBatch):
            check(batch, HEADER)
        for readable in (False, True):
            assert batch == decode(encode(batch, readable=readable))


def fuzz_message(data: bytes) -> None:
    """A control message is refused, or comes back as it was."""
    with refused_in_one_line(protocol.ProtocolError):
        message = protocol.decode(data)
        if isinstance(message, Hello) and message.version != protocol.PROTOCOL_VERSION:
            return  # only its version is known
        assert message == protocol.decode(protocol.encode(message))


class Script:
    """Bytes read as choices; after their end every choice is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        """Whether all is read."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """The next byte."""
        taken = self.bytes(1)
        return taken[0] if taken else 0

    def bytes(self, size: int) -> bytes:
        """The next so many bytes, or what is left."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken


class ScriptedDaemon:
    """The daemon's half of the protocol on a disk that forgets, told what to hear."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._disk = Disk(Random(1))
        self._promised: dict[tuple[str, int], int] = {}
        self._greeting: Hello | None = None
        self._welcomed: dict[bytes, Hello] = {}
        self._start()

    def _start(self) -> None:
        self._life = Life(self._disk, segment_bytes=1500, journal_bytes=2500, retention_bytes=0)
        self._sessions = Sessions(SETTINGS, self._life.intake, "fuzz", self._post)
        self._welcomed.clear()
        self._check()

    def _post(self, connection: bytes, frame: bytes) -> Posted:
        message = protocol.decode(frame)
        if isinstance(message, Welcome) and self._greeting is not None:
            self._welcomed[connection] = self._greeting
        hello = self._welcomed.get(connection)
        if hello is not None and isinstance(message, Welcome | Ack | Resend | Bye):
            key = (hello.source, message.epoch)
            before = self._promised.get(key, 0)
            assert message.last_seq >= before, f"{key}: {before}, then {message.last_seq}"
            self._promised[key] = message.last_seq
        return (Posted.SENT, Posted.SENT, Posted.CLOGGED)[frame[-1] % 3]

    def step(self) -> None:
        """Do the next thing of the script."""
        choice = self._script.byte()
        if choice & 0x0F < 10:
            self._speak(choice)
        else:
            self._happen(choice)
        self._sessions.turn()
        self._check()

    def _speak(self, choice: int) -> None:
        """A sender says something."""
        script = self._script
        connection = bytes([choice >> 6])
        source = SOURCES[choice >> 5 & 1]
        epoch = EPOCHS[choice >> 4 & 1]
        match choice & 0x0F:
            case 0 | 1:
                self._hello(connection, source, epoch)
            case 2 | 3:
                seq = script.byte() % BATCHES
                self._take(connection, batches_of(source, epoch)[seq])
            case 4 | 5:
                known = self._life.engine.source(source)
                position = known.position(epoch) if known is not None else 0
                for batch in batches_of(source, epoch)[position : position + 5]:
                    self._take(connection, batch)
            case 6:
                self._take(connection, protocol.encode(Ping()))
            case 7:
                self._take(connection, protocol.encode(Bye(epoch, script.byte())))
            case _:
                self._rubbish(connection)

    def _rubbish(self, connection: bytes) -> None:
        """Anything but a sound batch, which would be another trace under the same name."""
        data = self._script.bytes(self._script.byte())
        with suppress(BatchError):
            decode(data)
            return
        self._take(connection, data)

    def _happen(self, choice: int) -> None:
        """Something happens to the daemon."""
        script = self._script
        match choice & 0x0F:
            case 10:
                frames = [script.bytes(3) for _ in range(script.byte() % 3)]
                self._sessions.take(bytes([choice >> 6]), frames)
            case 11:
                full = self._disk.capacity < 1 << 40
                self._disk.capacity = 1 << 40 if full else self._disk.used + script.byte()
            case 12:
                with suppress(NoRoomError):  # no segment could be begun
                    self._start()
            case _:
                self._life.now += script.byte()
                self._sessions.listened += script.byte()

    def _hello(self, connection: bytes, source: str, epoch: int) -> None:
        detail = self._script.byte()
        fingerprint = fingerprint_of(batches_of(source, epoch)[0]) if detail & 7 else bytes(32)
        hello = Hello(source, epoch, detail >> 3 & 1, fingerprint, "fuzz")
        self._greeting = hello
        self._take(connection, protocol.encode(hello))

    def _take(self, connection: bytes, frame: bytes) -> None:
        self._sessions.take(connection, [frame])

    def _check(self) -> None:
        """Each source stands where an uninterrupted run would, or sent what no run would."""
        for name in SOURCES:
            source = self._life.engine.source(name)
            if source is None or source.life is None or source.life.epoch not in EPOCHS:
                continue
            life = source.life
            if life.header_data != batches_of(name, life.epoch)[0]:
                continue
            machine = next(iter(life.machines.values()))
            assert digests_of(name, life.epoch)[life.applied_seq] == machine.digest()


def fuzz_sessions(data: bytes) -> None:
    """Whatever is said in whatever order: promises are kept, and nothing is applied twice."""
    script = Script(data)
    daemon = ScriptedDaemon(script)
    while not script.over:
        daemon.step()


def fuzz_sender(data: bytes) -> None:
    """Whatever a daemon says: the stream goes on or ends with one line, and keeps its batches."""
    script = Script(data)
    batches = batches_of("a", 3)
    state = SenderState("a", 1, "fuzz")
    now = 0.0
    state.begin(3, batches[0], now)
    offered = 0
    with refused_in_one_line(PfmemdError):
        while not script.over:
            now += script.byte() / 16
            _daemon_says(script, state, now)
            state.on_tick(now)
            offered = _offer(state, max(offered, state.acked), batches)
            for _ in range(script.byte() & 7):
                message = state.next_message()
                if message is None:
                    break
                assert len(message) <= LONGEST
                state.on_sent(now)
            assert state.held == max(0, offered - state.acked)
            assert state.deadline() >= 0


def _offer(state: SenderState, offered: int, batches: tuple[bytes, ...]) -> int:
    """Hand over what there is room for; the last batch handed over."""
    while offered < BATCHES and state.phase is Phase.STREAMING:
        if not state.may_offer(offered + 1, 100):
            break
        offered += 1
        state.offer(offered, batches[offered - 1], 3)
    return offered


def _daemon_says(script: Script, state: SenderState, now: float) -> None:
    choice = script.byte()
    epoch = 3 if choice & 0x80 else 8
    number = script.byte()
    match choice & 7:
        case 0:
            state.on_connect(now)
        case 1:
            state.on_disconnect()
        case 2:
            state.on_message(protocol.encode(Welcome(epoch, number, script.byte(), "fuzz")), now)
        case 3 | 4:
            state.on_message(protocol.encode(Ack(epoch, number, script.byte())), now)
        case 5:
            state.on_message(protocol.encode(Resend(epoch, number, script.byte())), now)
        case 6:
            code = protocol.REJECT_CODES[number % len(protocol.REJECT_CODES)]
            state.on_message(protocol.encode(Reject(epoch, script.byte(), code, "no")), now)
        case _:
            state.on_message(script.bytes(number), now)


def _folder(files: dict[str, bytes]) -> SimulatedFolder:
    disk = Disk(Random(1))
    for name, content in files.items():
        disk.names[name] = Inode(bytearray(content), content, len(content))
    return SimulatedFolder(disk)


def fuzz_journal(data: bytes) -> None:
    """Any bytes as a segment, alone or spoiling a good one: damage is told, nothing is made up."""
    with suppress(CorruptJournalError):
        list(JournalReader(_folder({segment_name(1): data})).groups())
    script = Script(data)
    written = [(script.bytes(script.byte()),) for _ in range(1 + script.byte() % 6)]
    disk = Disk(Random(1))
    folder = SimulatedFolder(disk)
    journal = open_journal(folder, segment_bytes=300)
    for group in written:
        journal.append(group)
        journal.wait_until_safe()
    names = sorted(disk.names)
    while not script.over:
        _spoil(disk.names[names[script.byte() % len(names)]].cached, script)
    with refused_in_one_line(JournalError):
        reader = JournalReader(folder)
        read = [group.batches for group in reader.groups()]
        assert read == written[: len(read)]
        journal = open_journal(folder)
        journal.append((b"after",))
        again = [group.batches for group in JournalReader(folder).groups()]
        assert again == [*read, (b"after",)]


def _spoil(content: bytearray, script: Script) -> None:
    """Change, cut, repeat or insert some bytes."""
    at = (script.byte() << 8 | script.byte()) % (len(content) + 1)
    match script.byte() & 3:
        case 0 if at < len(content):
            content[at] ^= script.byte() or 1
        case 1:
            del content[at:]
        case 2:
            content += content[at : at + script.byte()]
        case _:
            content[at:at] = script.bytes(script.byte())


def fuzz_snapshot(data: bytes) -> None:
    """Any bytes as a snapshot: refused, or exactly what can be written again."""
    with suppress(SnapshotFileError):
        read_snapshot(_folder({"snapshot": data}), "snapshot")
    disk = Disk(Random(1))
    folder = SimulatedFolder(disk)
    life = Life(disk)
    life.offer(*_some_batches())
    taken = Snapshot(
        life.storage.journal.id,
        life.storage.journal.end,
        1,
        "fuzz",
        tuple(life.engine.images(life.storage.images)),
    )
    write_snapshot(folder, 1, taken)
    content = disk.names["snapshot-0000000001"].cached
    before = bytes(content)
    script = Script(data)
    while not script.over:
        _spoil(content, script)
    with refused_in_one_line(SnapshotFileError):
        assert taken == read_snapshot(folder, "snapshot-0000000001")
        assert before == content


def _some_batches() -> Iterator[Batch]:
    for data in batches_of("a", 3)[:4]:
        yield decode(data)


def fuzz_ftrace(data: bytes) -> None:
    """Any text as a kernel trace: refused, or a trace that a daemon takes."""
    fd = os.memfd_create("fuzz")
    try:
        os.write(fd, data)
        batches: list[Batch] = []
        importer = Importer(
            f"/proc/self/fd/{fd}", Options("fuzz", 1, mem_pages=16384), batches.append
        )
        with refused_in_one_line(PfmemdError):
            importer.run()
        header = None
        for batch in batches:
            batch_again = decode(encode(batch))
            assert batch_again == batch
            if isinstance(batch, EventBatch):
                assert header is not None
                check(batch, header)
            else:
                header = batch.header
    finally:
        os.close(fd)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "batch": fuzz_batch,
    "message": fuzz_message,
    "sessions": fuzz_sessions,
    "sender": fuzz_sender,
    "journal": fuzz_journal,
    "snapshot": fuzz_snapshot,
    "ftrace": fuzz_ftrace,
}
"""By name, which is that of the folder of its corpus."""
