"""The file layer: the few things that the journal and the snapshots ask of a file system.

Everything goes through an open directory, so a folder that is renamed while the daemon
runs stays the same folder. What is written is safe from the end of the process at once,
and from the end of the machine after :meth:`AppendFile.sync`; a name (made, renamed,
removed) after :meth:`Folder.sync`. Tests put a layer here that forgets what was not
synced, and one that kills the process.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final, Protocol, Self

from tracegen.errors import StoppedError

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
LOCK_NAME: Final = "lock"

NO_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""As many files are open as may be: strangers' connections count, and they go."""
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, *NO_FILES})
"""What a full disk, a used-up quota and limits on files say: to wait may help."""


class FolderError(StoppedError):
    """A folder that cannot be used: says which and why."""


class AppendFile(Protocol):
    """A file that grows at its end."""

    def append(self, data: bytes) -> None:
        """Write all of ``data`` at the end. An OSError may leave a part of it there."""

    def sync(self) -> None:
        """Return when what was appended would survive the end of the machine."""

    def truncate(self, size: int) -> None:
        """Cut the file to its first ``size`` bytes, where the next append goes."""

    def reserve(self, size: int) -> None:
        """Raise OSError if the file could not grow by ``size`` bytes; its size stays."""

    @property
    def linked(self) -> bool:
        """Whether the file still has a name: without one it is lost with the process."""

    def close(self) -> None:
        """Give it up."""


class ReadFile(Protocol):
    """A file that is only read."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on; less only at the end."""

    def close(self) -> None:
        """Give it up."""


class Folder(Protocol):
    """A folder of plain files."""

    @property
    def name(self) -> str:
        """What to call it in a message."""

    def names(self) -> list[str]:
        """Every name in it."""

    def size(self, name: str) -> int:
        """The length of a file in bytes."""

    def create(self, name: str) -> AppendFile:
        """A new, empty file; one of that name is replaced."""

    def extend(self, name: str) -> AppendFile:
        """The file of that name, to append to."""

    def open(self, name: str) -> ReadFile:
        """The file of that name, to read."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of whatever had that."""

    def remove(self, name: str) -> None:
        """Take a name away."""

    def sync(self) -> None:
        """Return when the names would survive the end of the machine."""


class OsFolder:
    """A folder of the operating system."""

    def __init__(self, path: Path, *, make: bool = False) -> None:
        """Open it; with ``make``, make it where it is not. Raises :class:`FolderError`."""
        self.name = str(path)
        try:
            if make:
                path.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise FolderError(f"cannot use the folder {path}: {error.strerror}") from None
        self._lock_fd: int | None = None

    def lock(self) -> None:
        """Make sure that no other process writes here; raises :class:`FolderError`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            fd = os.open(LOCK_NAME, flags, FILE_MODE, dir_fd=self._fd)
        except OSError as error:
            raise FolderError(f"cannot write in {self.name}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            why = error.strerror
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                why = "another process has it, and two would spoil each other's journal"
            raise FolderError(f"cannot lock {self.name}: {why}") from None
        self._lock_fd = fd

    def close(self) -> None:
        """Give it up, and the lock with it."""
        os.close(self._fd)
        if self._lock_fd is not None:
            os.close(self._lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self) -> list[str]:
        """Every name in it."""
        return sorted(os.listdir(self._fd))  # noqa: PTH208 - through the open folder

    def size(self, name: str) -> int:
        """The length of a file in bytes."""
        return os.stat(name, dir_fd=self._fd).st_size

    def create(self, name: str) -> AppendFile:
        """A new, empty file; one of that name is replaced."""
        return OsAppendFile(self._open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))

    def extend(self, name: str) -> AppendFile:
        """The file of that name, to append to."""
        return OsAppendFile(self._open(name, os.O_WRONLY))

    def open(self, name: str) -> ReadFile:
        """The file of that name, to read."""
        return OsReadFile(self._open(name, os.O_RDONLY))

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of whatever had that."""
        os.rename(old, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def remove(self, name: str) -> None:
        """Take a name away."""
        os.unlink(name, dir_fd=self._fd)

    def sync(self) -> None:
        """Return when the names would survive the end of the machine."""
        os.fsync(self._fd)

    def _open(self, name: str, flags: int) -> int:
        return os.open(name, flags | os.O_CLOEXEC, FILE_MODE, dir_fd=self._fd)


class OsAppendFile:
    """A file of the operating system that grows at its end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size

    def append(self, data: bytes) -> None:
        """Write all of ``data`` at the end. An OSError may leave a part of it there."""
        left = memoryview(data)
        while left:
            written = os.pwrite(self._fd, left, self._size)
            self._size += written
            left = left[written:]

    def sync(self) -> None:
        """Return when what was appended would survive the end of the machine."""
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        """Cut the file to its first ``size`` bytes, where the next append goes."""
        os.ftruncate(self._fd, size)
        self._size = size

    def reserve(self, size: int) -> None:
        """Raise OSError if the file could not grow by ``size`` bytes; its size stays."""
        try:
            os.posix_fallocate(self._fd, self._size, size)
        finally:
            os.ftruncate(self._fd, self._size)

    @property
    def linked(self) -> bool:
        """Whether the file still has a name: without one it is lost with the process."""
        return os.fstat(self._fd).st_nlink > 0

    def close(self) -> None:
        """Give it up."""
        os.close(self._fd)


class OsReadFile:
    """A file of the operating system that is only read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on; less only at the end."""
        parts = []
        while size > 0:
            part = os.pread(self._fd, size, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Give it up."""
        os.close(self._fd)
