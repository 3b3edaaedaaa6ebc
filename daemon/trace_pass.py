"""A trace read as often as a question needs: source by source, epoch by epoch, event by event.

Events of an epoch are numbered from 1, so that after event N a machine has applied N
events, which is what ``/state`` and ``pfmemd run`` call ``events``.

Memory stays constant: one batch at a time, and standard input, where a question needs
several passes, goes through a temporary file.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from allocator.config import ConfigError
from allocator.events import RECORD_SIZE
from allocator.gfp import GfpError
from allocator.machine import Machine
from allocator.revision import Variant
from tracegen.batch import EventBatch
from tracegen.errors import PfmemdError, StoppedError
from tracegen.header import Header
from tracegen.trace_file import STANDARD_STREAM, TraceReader

_PROGRESS_SECONDS: Final = 0.1


class NoSuchEventError(PfmemdError):
    """The trace does not have what was asked for."""


@dataclass(frozen=True, slots=True)
class Life:
    """One epoch of one source: what numbers of events refer to."""

    source: str
    epoch: int
    header: Header

    def boot(self, variant: Variant) -> Machine:
        """A fresh machine for its events; raises PfmemdError if the header describes none."""
        try:
            return Machine(self.header.machine, variant, self.header.caches, self.header.gfp)
        except (ConfigError, GfpError, ValueError) as error:
            raise PfmemdError(
                f"{self.source}, epoch {self.epoch}: no {variant.name} machine can be made of the"
                f" header: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some consecutive events of a life, those of one batch; none where the life begins."""

    life: Life
    first: int
    """Number of the first of them."""
    records: bytes

    @property
    def end(self) -> int:
        """Number of the event after the last of them."""
        return self.first + len(self.records) // RECORD_SIZE

    def record(self, number: int) -> bytes:
        """The packed event of that number, which is one of these."""
        at = (number - self.first) * RECORD_SIZE
        return self.records[at : at + RECORD_SIZE]

    def before(self, number: int) -> bytes:
        """Those of the events that come before ``number``."""
        return self.records[: (number - self.first) * RECORD_SIZE]

    def after(self, number: int) -> bytes:
        """Those of the events that come after ``number``."""
        return self.records[(number + 1 - self.first) * RECORD_SIZE :]


class TracePasses:
    """A trace that is gone through several times. Use as a context manager."""

    def __init__(self, path: str, *, several: bool = True) -> None:
        """``several`` False promises to read it once only, so that a pipe needs no file."""
        self.name = "standard input" if path == STANDARD_STREAM else path
        self._path = path
        self._spool = (
            tempfile.NamedTemporaryFile(prefix="pfmemd-trace-")  # noqa: SIM115 - closed by __exit__
            if several and path == STANDARD_STREAM
            else None
        )
        self._spooled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()

    def _readable(self) -> str:
        if self._spool is None:
            return self._path
        if not self._spooled:
            TraceReader(self._path).close()  # says no to a terminal
            try:
                shutil.copyfileobj(sys.stdin.buffer, self._spool)
                self._spool.flush()
            except OSError as error:
                raise StoppedError(
                    f"cannot keep standard input in {self._spool.name} for a second pass:"
                    f" {error.strerror}"
                ) from error
            self._spooled = True
        return self._spool.name

    def stretches(self, what: str) -> Iterator[Stretch]:
        """Go through the whole trace; ``what`` is shown beside the progress on a terminal.

        Raises BatchError or FileError as :class:`TraceReader` does.
        """
        path = self._readable()
        lives: dict[str, tuple[Life, int]] = {}
        with TraceReader(path) as reader, _progress(what) as show:
            reader.name = self.name
            events = 0
            for entry in reader:
                batch = entry.batch
                if isinstance(batch, EventBatch):
                    life, following = lives[batch.source]
                    stretch = Stretch(life, following, batch.records)
                    events += batch.events
                else:
                    life = Life(batch.source, batch.epoch, batch.header)
                    stretch = Stretch(life, 1, b"")
                lives[batch.source] = (life, stretch.end)
                show(entry.offset + len(entry.data), reader.size, events)
                yield stretch

    def life_stretches(
        self, what: str, source: str | None = None, epoch: int | None = None
    ) -> Iterator[Stretch]:
        """Go through one life: of ``source`` and ``epoch``, or the first that suits.

        Raises :class:`NoSuchEventError` if there is none.
        """
        chosen: tuple[str, int] | None = None
        seen: list[str] = []
        for stretch in self.stretches(what):
            life = stretch.life
            if not stretch.records and stretch.first == 1:
                seen.append(f"{life.source} epoch {life.epoch}")
            suits = source in {None, life.source} and epoch in {None, life.epoch}
            if chosen is None and suits:
                chosen = (life.source, life.epoch)
            if chosen == (life.source, life.epoch):
                yield stretch
            elif chosen is not None and life.source == chosen[0]:
                return  # the life is over
        if chosen is None:
            wanted = "" if source is None else f" source {source}"
            wanted += "" if epoch is None else f" epoch {epoch}"
            there = ", ".join(dict.fromkeys(seen))
            raise NoSuchEventError(f"{self.name}: no{wanted}; there is {there}")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int | None, int], None]]:
    """A line on the terminal: how far, how many events; nothing when it is not a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(what, total=None, events="")
        due = 0.0

        def show(done: int, size: int | None, events: int) -> None:
            nonlocal due
            now = time.monotonic()
            if now >= due:
                due = now + _PROGRESS_SECONDS
                progress.update(task, completed=done, total=size, events=f"{events:,} events")

        yield show
