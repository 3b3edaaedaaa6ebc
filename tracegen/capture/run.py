"""Runs a capture: records, imports, writes or sends, and puts everything back."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

import zstandard

from tracegen.batch import Batch
from tracegen.batch_sender import BatchSender
from tracegen.capture.instance import Instance, Recording
from tracegen.capture.live_text import LiveText
from tracegen.capture.machine_files import copy_machine_files
from tracegen.capture.samples import Sampler
from tracegen.errors import PfmemdError, StoppedError
from tracegen.interruption import Interruption, interruptible
from tracegen.kernel_trace.cli import tell
from tracegen.kernel_trace.importer import Importer, Options
from tracegen.keys import SenderKeys
from tracegen.trace_file import STANDARD_STREAM, ZSTD_SUFFIX, TraceWriter

_STDERR: Final = 2
COMMAND_SECONDS: Final = 5.0
"""How long a command may take to end when the capture is over before it is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to capture and where to: either ``output`` or ``connect`` is given."""

    tracefs: Path
    instance: str
    recording: Recording
    source: str
    epoch: int
    output: str | None
    connect: str | None
    keys: SenderKeys | None
    raw: str | None
    machine_files: Path | None
    """Folder for copies of the machine's files; None keeps them only as long as needed."""
    samples: bool
    """Write the machine's own free pages into the trace now and then."""
    seconds: float | None
    command: tuple[str, ...]
    report: Path | None


@dataclass(frozen=True, slots=True)
class _Target:
    """Where batches go. ``idle`` is what it wants done while none come."""

    write: Callable[[Batch], None]
    idle: Callable[[], None]
    whole: bool
    """It takes all at the end, so that more is understood by then."""


def capture(plan: Plan) -> None:
    """Capture until it is over: the time, the command's end, or a signal.

    Raises what :class:`Instance`, the import and the target raise, always after
    everything was put back.
    """
    with (
        interruptible(signal.SIGHUP) as interruption,
        _folder(plan.machine_files) as folder,
        _raw_file(plan.raw) as raw,
        _target(plan) as target,
        Instance(plan.tracefs, plan.instance, plan.recording) as instance,
        Sampler(instance.folder) if plan.samples else contextlib.nullcontext(),
        _End(plan, interruption) as end,
    ):
        copy_machine_files(folder / "before")
        text = LiveText(
            instance, end.come, lambda: copy_machine_files(folder / "after"), target.idle, raw
        )
        _import(plan, target, folder, text)


def _import(plan: Plan, target: _Target, folder: Path, text: LiveText) -> None:
    options = Options(
        source=plan.source,
        epoch=plan.epoch,
        proc=folder / "before",
        clock=plan.recording.clock,
        whole=target.whole,
        spool=Path(plan.output).absolute().parent if plan.output and target.whole else None,
        tool="pfmemd capture",
    )
    importer = Importer(text, options, target.write)
    try:
        importer.run()
    except PfmemdError:
        if importer.report.events:
            tell(importer.report, plan.report)
        raise
    importer.report.notes.append(_account(text))
    tell(importer.report, plan.report)


def _account(text: LiveText) -> str:
    """What was recorded, and what was not."""
    lost = ", ".join(f"{count:,} on cpu {cpu}" for cpu, count in text.lost.items() if count)
    what = f"recorded for {text.seconds:.1f} s on {len(text.lost)} cpus"
    if not lost:
        return f"{what}; no event was lost"
    return f"{what}; LOST for want of room: {lost} (a larger --buffer loses less)"


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="pfmemd-") as name:
        yield Path(name)


@contextlib.contextmanager
def _raw_file(path: str | None) -> Iterator[BinaryIO | None]:
    if path is None:
        yield None
        return
    try:
        with Path(path).open("wb") as file:
            if path.endswith(ZSTD_SUFFIX):
                with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as stream:
                    yield stream
            else:
                yield file
    except OSError as error:
        raise StoppedError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def _target(plan: Plan) -> Iterator[_Target]:
    if plan.connect is not None:
        with BatchSender(
            plan.connect, plan.source, agent="pfmemd capture", keys=plan.keys
        ) as sender:
            yield _Target(sender.write, sender.tend, whole=False)
        return
    output = plan.output or STANDARD_STREAM
    with TraceWriter(output) as writer:
        yield _Target(writer.write, lambda: None, whole=output != STANDARD_STREAM)


class _End:
    """When it is over; runs the command, which begins when it is first asked."""

    def __init__(self, plan: Plan, interruption: Interruption) -> None:
        self._seconds = plan.seconds
        self._command = plan.command
        # Standard output may be the trace's.
        self._stdout = _STDERR if plan.output == STANDARD_STREAM else None
        self._interruption = interruption
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0

    def come(self) -> bool:
        """Tell whether it is over."""
        if not self._began:
            self._began = time.monotonic()
            self._start()
        return (
            self._interruption.requested()
            or (self._seconds is not None and time.monotonic() - self._began >= self._seconds)
            or (self._process is not None and self._process.poll() is not None)
        )

    def _start(self) -> None:
        if not self._command:
            return
        try:
            self._process = subprocess.Popen(  # noqa: S603  # the user's own
                self._command, stdin=subprocess.DEVNULL, stdout=self._stdout
            )
        except OSError as error:
            raise StoppedError(f"cannot run {self._command[0]}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let nothing of the command's be left running."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
