"""One fault after another, each with real processes: the daemon says so, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import pytest
import zmq

from tests.torture.stream import batch_of
from tests.torture.world import PATIENCE, ROOT, Child, Nursery, Source, World
from tracegen import protocol
from tracegen.protocol import Ack, Hello, Welcome, fingerprint_of

T = TypeVar("T")
PFMEMD: Final = (sys.executable, "-P", "-m", "daemon")
IDLE: Final = 1000
OPEN_FILES: Final = 80
ZMTP_GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
ZMTP_READY: Final = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"


def eventually(what: str, probe: Callable[[], T | None]) -> T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + PATIENCE
    while (answer := probe()) is None:
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)
    return answer


class Peaceful(World):
    """A world whose daemon lives; the faults are the test's."""

    def begin(self, **arguments: object) -> str:
        """Start the daemon; where it serves HTTP."""
        lives = len(self.ready())
        self.daemon = self.spawn("daemon", "daemon", settings=self.settings, **arguments)
        ready = eventually("the daemon is ready", lambda: self.ready()[lives:] or None)
        return str(ready[0]["http"])

    def progress(self, batches: int = 5) -> None:
        """Wait until each source has so many more batches acknowledged."""
        for source in self.sources:
            wanted = source.acknowledged[source.epoch] + batches

            def arrived() -> bool | None:
                source.read_acks()  # noqa: B023 - asked within this turn of the loop
                return source.acknowledged[source.epoch] >= wanted or None  # noqa: B023

            eventually(f"{source.name} has {wanted} batches acknowledged", arrived)

    def end_daemon(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End the daemon; its exit code."""
        assert self.daemon is not None
        self.daemon.signal(number)
        return self.forget_daemon()

    def forget_daemon(self) -> int:
        """See the daemon's end; its exit code."""
        assert self.daemon is not None
        code, self.daemon = self.daemon.wait(), None
        return code

    def check(self) -> None:
        """Go on in peace, and hold every promise."""
        self._finish()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Starts daemons and senders, for all tests here."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def world(tmp_path: Path, nursery: Nursery) -> Iterator[Peaceful]:
    """Two sources that send."""
    with Peaceful(tmp_path, nursery, 1) as world:
        yield world


def status(url: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - our own daemon
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def resident_bytes(child: Child) -> int:
    """The memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text("utf-8"))
    assert found is not None
    return int(found[1]) * 1024


def test_full_disk_pauses_everything_until_there_is_room(world: Peaceful) -> None:
    """Senders wait with credit 0, /readyz says why, and all goes on when there is room."""
    world.settings["segment_bytes"] = 1 << 20
    http = world.begin(file_bytes=60_000)
    assert "File too large" in eventually("the disk is full", lambda: not_ready(http))
    assert (200, "ok\n") == status(f"{http}/healthz")
    for source in world.sources:
        source.read_acks()
    before = [source.acknowledged[1] for source in world.sources]

    assert world.daemon is not None
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(world.daemon.pid, resource.RLIMIT_FSIZE, unlimited)

    world.progress()
    assert all(s.acknowledged[1] > b for s, b in zip(world.sources, before, strict=True))
    assert (200, "ready\n") == status(f"{http}/readyz")
    world.end_daemon()
    world.check()


def not_ready(http: str) -> str | None:
    """Why batches are not taken, once the daemon is up."""
    code, why = status(f"{http}/readyz")
    return why if code == 503 and "starting" not in why else None


def test_full_disk_of_its_own(tmp_path: Path) -> None:
    """ENOSPC from a small file system: the same pause, and no torn group after a kill."""
    unshare = shutil.which("unshare")
    mount = ["unshare", "--mount", "--map-root-user", "true"]
    if unshare is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no unshare --mount here: it needs the right to mount, or user namespaces")
    (tmp_path / "data").mkdir()
    script = (
        f"mount -t tmpfs -o size=200k none {tmp_path}/data && exec {sys.executable} -P -m"
        f" tests.torture.full_disk {tmp_path}"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert (0, "paused, and went on\n") == (done.returncode, done.stdout), done.stderr


def test_worker_that_is_killed_ends_the_daemon(world: Peaceful) -> None:
    """It says which, with exit code 3 and no other worker left; the next one has everything."""
    world.settings["workers"] = 2
    world.begin()
    world.progress()
    assert world.daemon is not None
    first, second = workers_of(world.daemon)

    os.kill(first, signal.SIGKILL)

    assert 3 == world.forget_daemon()
    assert f"(pid {first}) has ended with -9" in world.tail("daemon").splitlines()[-1]
    assert not Path(f"/proc/{second}").exists()
    world.check()


def workers_of(child: Child) -> list[int]:
    """The processes that a daemon has started."""
    listed = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text("ascii")
    return [int(pid) for pid in listed.split()]


def test_folder_that_vanishes_ends_the_daemon(world: Peaceful) -> None:
    """It does not go on writing into files that nobody can find again."""
    world.begin()
    world.progress()

    while world.data.exists():  # the daemon writes, renames and removes meanwhile
        shutil.rmtree(world.data, ignore_errors=True)

    assert 3 == world.forget_daemon()
    assert re.search("was removed from|No such file", world.tail("daemon").splitlines()[-1])


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Exit code 3 and the reason, before anything listens."""
    readonly = tmp_path / "readonly"
    readonly.mkdir()
    readonly.chmod(0o500)
    data = readonly / "data"
    if os.access(readonly, os.W_OK):  # root may write anywhere but here
        data = Path("/proc/pfmemd")

    done = subprocess.run(
        [*PFMEMD, "serve", "--data-dir", str(data), "--bind", f"ipc://{tmp_path}/s"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 3 == done.returncode
    (line,) = done.stderr.splitlines()
    assert f"cannot use the folder {data}" in line


def test_second_daemon_is_refused(world: Peaceful, tmp_path: Path) -> None:
    """One journal has one writer."""
    world.begin()

    done = subprocess.run(
        [*PFMEMD, "serve", "--data-dir", str(world.data), "--bind", f"ipc://{tmp_path}/other"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PFMEMD_HTTP": "127.0.0.1:0"},
    )

    assert 3 == done.returncode
    assert "another process has it" in done.stderr
    world.progress()


def test_clock_jumps_change_nothing(world: Peaceful) -> None:
    """An hour forth or back at every look: state, order and acknowledgements stay right."""
    world.settings["journal_retention_bytes"] = 0
    for _ in range(3):
        world.begin(clock_jumps=True)
        world.progress()
        world.end_daemon()
    world.check()


def test_stop_under_load_is_clean(world: Peaceful) -> None:
    """SIGTERM in mid-stream: exit code 0, and the next life goes on without a gap."""
    for _ in range(3):
        world.begin()
        world.progress()
        assert 0 == world.end_daemon(signal.SIGTERM), world.tail("daemon")
    world.check()


def test_slow_scraper_holds_nobody_up(world: Peaceful) -> None:
    """Connections that read a byte now and then keep neither scrapes nor batches waiting."""
    http = world.begin()
    address = http.removeprefix("http://").split(":")
    slow = [socket.create_connection((address[0], int(address[1]))) for _ in range(4)]
    for connection in slow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert connection.recv(1)

    for _ in range(3):
        world.progress()
        code, body = status(f"{http}/metrics")
        assert (200, True) == (code, "pfmemd_events_applied_total" in body)
        assert all(connection.recv(1) for connection in slow)

    for connection in slow:
        connection.close()
    world.end_daemon()
    world.check()


def test_idle_connections_hold_nobody_up(tmp_path: Path) -> None:
    """A thousand of them, on both ports: batches and scrapes go on, memory stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3 * IDLE:
        pytest.skip(f"only {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3 * IDLE), hard))
    try:
        with Nursery() as nursery, Peaceful(tmp_path, nursery, 1) as world:
            _with_idle_connections(world)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _with_idle_connections(world: Peaceful) -> None:
    http = world.begin()
    assert world.daemon is not None
    before = resident_bytes(world.daemon)
    host, _, port = http.removeprefix("http://").rpartition(":")
    idle = []
    for number in range(IDLE):
        if number % 10 == 0:
            idle.append(socket.create_connection((host, int(port))))
        else:
            unix = socket.socket(socket.AF_UNIX)
            unix.connect(str(world.folder / "socket"))
            idle.append(unix)

    world.progress()
    assert 200 == status(f"{http}/metrics")[0]
    assert resident_bytes(world.daemon) - before < 100 << 20

    for connection in idle:
        connection.close()
    world.end_daemon()
    world.check()


def test_strangers_that_take_every_file_do_not_end_the_daemon(
    tmp_path: Path, nursery: Nursery
) -> None:
    """It can open none for the journal: it pauses until they are gone, and stops when asked to."""
    bind = "tcp://127.0.0.1:0"  # over ipc ZeroMQ itself ends the process
    with Peaceful(tmp_path, nursery, 1, sources=0, bind=bind) as world:
        http = world.begin(open_files=OPEN_FILES)
        world.url = world.ready()[-1]["receiving"]
        world.sources.append(Source(world, "host-0"))
        world.progress()

        idle = strangers(world.url)
        why = eventually("it is blocked", lambda: blocked_in(world))
        assert "Too many open files" in why
        for connection in idle:
            connection.close()
        world.progress(40)
        eventually("it is ready", lambda: status(f"{http}/readyz")[0] == 200 or None)

        idle = strangers(world.url)
        assert 0 == world.end_daemon(signal.SIGTERM), world.tail("daemon")
        for connection in idle:
            connection.close()
        world.settings["bind"] = world.url
        world.check()


def strangers(url: str) -> list[socket.socket]:
    """More connections than the daemon may have files."""
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    idle = []
    for _ in range(2 * OPEN_FILES):
        idle.append(socket.socket())
        idle[-1].setblocking(False)
        with suppress(BlockingIOError):
            idle[-1].connect(address)
    return idle


def blocked_in(world: Peaceful) -> str | None:
    """Why nothing is taken, by the daemon's log."""
    whys = [e["why"] for e in world.entries() if e["event"].startswith("nothing is taken")]
    return whys[-1] if whys else None


def test_sender_that_never_reads_costs_itself_only(world: Peaceful) -> None:
    """It floods and ignores every answer: the others go on, and memory is bounded."""
    http = world.begin()
    assert world.daemon is not None
    context = zmq.Context()
    deaf = context.socket(zmq.DEALER)
    deaf.setsockopt(zmq.LINGER, 0)
    deaf.setsockopt(zmq.RCVHWM, 1)
    deaf.setsockopt(zmq.SNDTIMEO, 1000)
    deaf.connect(world.url)
    header = batch_of("deaf", 1, 1)
    deaf.send(protocol.encode(Hello("deaf", 1, 1, fingerprint_of(header), "deaf")))
    before = resident_bytes(world.daemon)
    for seq in range(1, 400):
        try:
            deaf.send(batch_of("deaf", 1, seq))
        except zmq.Again:
            break
        deaf.send(protocol.encode(protocol.Ping()))

    world.progress()
    assert 200 == status(f"{http}/readyz")[0]
    assert resident_bytes(world.daemon) - before < 100 << 20

    context.destroy(linger=0)
    world.end_daemon()
    world.check()


def test_message_without_end_stops_the_daemon_before_it_takes_all_memory(
    world: Peaceful,
) -> None:
    """ZeroMQ gathers such a message unseen; the daemon ends, and the next one goes on."""
    world.begin()
    assert world.daemon is not None
    limit = resident_bytes(world.daemon) + (48 << 20)
    world.end_daemon()
    world.settings["max_memory_bytes"] = limit
    world.begin()
    world.progress()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(world.folder / "socket"))
        raw.sendall(ZMTP_GREETING + ZMTP_READY)
        endless = b"\x03" + (1 << 20).to_bytes(8, "big") + bytes(1 << 20)
        with suppress(OSError):  # it may end before it has all of it
            for _ in range(100):
                raw.sendall(endless)
        assert 3 == world.forget_daemon()
    assert "--max-memory-bytes" in world.tail("daemon").splitlines()[-1]
    del world.settings["max_memory_bytes"]
    world.check()


def test_whatever_comes_twice_or_out_of_turn_is_applied_once(world: Peaceful) -> None:
    """Repeated, swapped, left out and replayed, over lives of the daemon: all is there, once."""
    context = zmq.Context()
    for life in range(3):
        http = world.begin()
        peer = context.socket(zmq.DEALER)
        peer.setsockopt(zmq.RCVTIMEO, int(PATIENCE * 1000))
        peer.connect(world.url)
        fingerprint = fingerprint_of(batch_of("odd", 1, 1))
        peer.send(protocol.encode(Hello("odd", 1, life, fingerprint, "odd")))
        welcome = _hear(peer)
        assert isinstance(welcome, Welcome)
        assert 20 * life == welcome.last_seq
        due = welcome.last_seq + 1
        for seq in (due, due, due + 2, due + 1, 1, due, due + 3):
            peer.send(batch_of("odd", 1, seq))
        for seq in range(due, due + 20):
            peer.send(batch_of("odd", 1, seq))
            peer.send(batch_of("odd", 1, max(1, seq - 7)))
        last = welcome.last_seq
        while last < due + 19:
            answer = _hear(peer)
            assert isinstance(answer, Ack | protocol.Resend)
            assert answer.last_seq >= last
            last = answer.last_seq
        source = json.loads(status(f"{http}/state")[1])["sources"]["odd"]
        assert (due + 19, {}) == (source["seq"], source["batches_refused"])
        peer.close(linger=0)
        world.end_daemon()
    context.term()
    world.check()


def _hear(peer: zmq.Socket[bytes]) -> protocol.Message:
    data = peer.recv()
    assert isinstance(data, bytes)
    return protocol.decode(data)


def test_damage_in_the_middle_keeps_the_daemon_from_starting(world: Peaceful) -> None:
    """It says where, ends with 3, and leaves the file as it is."""
    world.settings["snapshot_journal_bytes"] = 1 << 30
    world.begin()
    world.progress(30)
    world.end_daemon()
    segment = min(world.data.glob("journal-*"))
    data = bytearray(segment.read_bytes())
    data[200] ^= 1
    segment.write_bytes(data)

    world.daemon = world.spawn("daemon", "daemon", settings=world.settings)

    assert 3 == world.forget_daemon()
    assert "is damaged: journal-0000000001, byte " in world.tail("daemon")
    assert data == segment.read_bytes()
