"""A disk that forgets: what was not synced may be gone, in part or out of order.

It is as mean as the interfaces allow. Of a file's unsynced sectors any may have reached
the medium and any may not, whatever the order they were written in; its length may be
any between; names made, renamed and removed since the last sync of the folder survive
up to some point of their order. A file that was never synced may be empty under a name
that was.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

SECTOR: Final = 64
"""Smaller than a real one, so that small files can be torn."""


class Crash(BaseException):
    """The process, or the machine with it, ends here."""


@dataclass
class Inode:
    """A file: what programs see, and what is on the medium."""

    cached: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    dirty_from: int = 0
    """Everything before this byte is on the medium as it is in the cache."""

    def sync(self) -> None:
        """Put it all on the medium."""
        self.durable = bytes(self.cached)
        self.dirty_from = len(self.cached)

    def lose(self, random: Random) -> None:
        """Keep of what was not synced what chance will have."""
        low, high = sorted((len(self.durable), len(self.cached)))
        size = random.choice((low, high, random.randint(low, high)))
        kept_share = random.choice((0.0, 0.5, 1.0))
        medium = bytearray(self.durable[:size].ljust(size, b"\0"))
        for start in range(self.dirty_from - self.dirty_from % SECTOR, size, SECTOR):
            if random.random() < kept_share:
                end = min(start + SECTOR, size)
                medium[start:end] = bytes(self.cached[start:end]).ljust(end - start, b"\0")
        self.cached = medium
        self.sync()


class Disk:
    """Every file of one folder, what reached the medium, and what goes wrong when."""

    def __init__(self, random: Random, capacity: int = 1 << 40) -> None:
        self.random = random
        self.capacity = capacity
        self.operations = 0
        self.crash_at: int | None = None
        """The number of the operation at which the process ends."""
        self.crash_in_sync = False
        """The process ends in the next sync of a file, before anything of it is done."""
        self.names: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        self._changes: list[Callable[[dict[str, Inode]], object]] = []

    def crash_after(self, operations: int) -> None:
        """End the process in one of the next operations."""
        self.crash_at = self.operations + operations

    def crash_is_due(self) -> bool:
        """Count an operation; whether the process ends with it."""
        self.operations += 1
        if self.crash_at is None or self.operations < self.crash_at:
            return False
        self.crash_at = None
        return True

    def operate(self) -> None:
        """An operation that either happens or does not."""
        if self.crash_is_due():
            raise Crash

    def lose_power(self) -> None:
        """Forget what was not synced."""
        survivors = self._changes[: self.random.randint(0, len(self._changes))]
        for change in survivors:
            change(self._durable)
        for inode in {id(inode): inode for inode in self._durable.values()}.values():
            inode.lose(self.random)
        self._changes.clear()
        self.names = dict(self._durable)

    def change(self, change: Callable[[dict[str, Inode]], object]) -> None:
        """Change the names, for programs at once."""
        change(self.names)
        self._changes.append(change)

    def sync_names(self) -> None:
        """Put the names on the medium."""
        self._durable = dict(self.names)
        self._changes.clear()

    def flip_bit(self, name: str) -> None:
        """Spoil one bit of a file, on the medium too."""
        inode = self.names[name]
        at = self.random.randrange(len(inode.cached))
        inode.cached[at] ^= 1 << self.random.randrange(8)
        if at < len(inode.durable):
            inode.durable = inode.durable[:at] + inode.cached[at : at + 1] + inode.durable[at + 1 :]

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(len(inode.cached) for inode in self.names.values())


class SimulatedFolder:
    """``daemon.files.Folder`` on a :class:`Disk`."""

    name = "the simulated disk"

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def names(self) -> list[str]:
        """Every name."""
        return sorted(self._disk.names)

    def size(self, name: str) -> int:
        """Length of a file."""
        return len(self._inode(name).cached)

    def create(self, name: str) -> SimulatedFile:
        """A new, empty file."""
        self._disk.operate()
        inode = Inode()
        self._disk.change(lambda names: names.__setitem__(name, inode))
        return SimulatedFile(self._disk, inode)

    def extend(self, name: str) -> SimulatedFile:
        """A file to append to."""
        return SimulatedFile(self._disk, self._inode(name))

    def open(self, name: str) -> SimulatedFile:
        """A file to read."""
        return SimulatedFile(self._disk, self._inode(name))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        self._disk.operate()
        inode = self._inode(old)

        def change(names: dict[str, Inode]) -> None:
            names.pop(old, None)
            names[new] = inode

        self._disk.change(change)

    def remove(self, name: str) -> None:
        """Take a name away."""
        self._disk.operate()
        self._inode(name)
        self._disk.change(lambda names: names.pop(name, None))

    def sync(self) -> None:
        """Make the names durable."""
        self._disk.operate()
        self._disk.sync_names()

    def _inode(self, name: str) -> Inode:
        try:
            return self._disk.names[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name) from None


class SimulatedFile:
    """``AppendFile`` and ``ReadFile`` on a :class:`Disk`."""

    def __init__(self, disk: Disk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def append(self, data: bytes) -> None:
        """Write at the end: all, or up to where the disk is full or the process ends."""
        inode = self._inode
        room = max(0, self._disk.capacity - self._disk.used)
        if self._disk.crash_is_due():
            inode.cached += data[: self._disk.random.randint(0, min(len(data), room))]
            raise Crash
        inode.cached += data[:room]
        if room < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def sync(self) -> None:
        """Make it durable."""
        self._disk.operate()
        if self._disk.crash_in_sync:
            raise Crash
        self._inode.sync()

    def truncate(self, size: int) -> None:
        """Cut it."""
        self._disk.operate()
        del self._inode.cached[size:]
        self._inode.dirty_from = min(self._inode.dirty_from, size)

    def reserve(self, size: int) -> None:
        """Raise unless there is room."""
        if self._disk.used + size > self._disk.capacity:
            raise OSError(errno.ENOSPC, "No space left on device")

    @property
    def linked(self) -> bool:
        """Whether it has a name."""
        return any(inode is self._inode for inode in self._disk.names.values())

    @property
    def size(self) -> int:
        """Its length."""
        return len(self._inode.cached)

    def read(self, offset: int, size: int) -> bytes:
        """A part of it."""
        return bytes(self._inode.cached[offset : offset + size])

    def close(self) -> None:
        """Nothing to give up."""
