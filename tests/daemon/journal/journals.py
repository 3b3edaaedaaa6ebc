"""What the tests of the journal are built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, ParamSpec, TypeVar

from daemon.files import Folder, OsFolder
from daemon.journal.reader import JournalReader
from daemon.journal.writer import Journal, JournalRules

P = ParamSpec("P")
T = TypeVar("T")


class InlineExecutor(Executor):
    """Does everything at once, in the caller's thread."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result is told
            future.set_exception(error)
        return future


class Clock:
    """Unix time in ns, a second later each time it is looked at."""

    def __init__(self) -> None:
        self._seconds = count(1_800_000_000)

    def __call__(self) -> int:
        """The time."""
        return next(self._seconds) * 10**9


def read_through(folder: Folder) -> JournalReader:
    """A reader that has come to the end of the journal."""
    reader = JournalReader(folder)
    for _ in reader.groups():
        pass
    return reader


def open_journal(folder: Folder, **rules: Any) -> Journal:  # noqa: ANN401 - as JournalRules has them
    """Go on at the end of what is there; salts and ids follow from a seed."""
    return Journal(
        folder,
        read_through(folder),
        JournalRules(**rules),
        InlineExecutor(),
        wall_clock_ns=Clock(),
        draw=Random(7).randbytes,
    )


def write_journal(path: Path, *groups: Sequence[bytes], **rules: Any) -> None:  # noqa: ANN401 - the same
    """A journal of these groups."""
    with OsFolder(path, make=True) as folder:
        journal = open_journal(folder, **rules)
        for group in groups:
            journal.append(group)
            journal.wait_until_safe()
        journal.close()


def groups_in(path: Path) -> list[tuple[bytes, ...]]:
    """What can be read back."""
    with OsFolder(path) as folder:
        return [group.batches for group in JournalReader(folder).groups()]
