"""A source: its epochs, its machines, and what became of its batches.

A batch goes through two doors. :meth:`Source.admit` decides, without changing any
machine, whether it is due and whether all of it can be applied; :meth:`Source.apply`
then does it, and fails only if a model is at fault. Between the two the daemon may write
the batch down: several batches may be admitted before the first of them is applied. If
they cannot be written down, :meth:`Source.abandon` makes it as if they had not come.

What is applied is a function of the batches alone, in their order: no clock, no
chance. So a source that is made again from an image and the batches after it is the
same source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol, TypeAlias

from allocator.config import CacheSpec, ConfigError, MachineConfig
from allocator.events import (
    ARG_AT,
    KMALLOC,
    MARK,
    OBJ_ALLOC,
    OP_AT,
    PAGE_ALLOC,
    RECORD_SIZE,
)
from allocator.gfp import GfpError
from allocator.revision import Variant
from allocator.stats import MachineStats
from daemon.histogram import Histogram
from daemon.metric_table import OTHER
from daemon.reading import LifeReading, SourceReading, VariantReading
from tracegen.batch import Batch, EventBatch, HeaderBatch, check, decode
from tracegen.errors import HEADER, SEQUENCE, BatchError, StoppedError
from tracegen.limits import FIRST_SEQ
from tracegen.protocol import Answer, fingerprint_of

APPLY_SECONDS_BOUNDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
)
"""From a handful of events compiled to a full batch on many interpreted models."""


class ModelFaultError(StoppedError):
    """A model failed while it applied a batch: its state is unknown from there on."""


class ModelledMachine(Protocol):
    """What the daemon needs of a machine; ``allocator.machine.Machine`` is one."""

    def apply(self, records: bytes) -> None:
        """Apply checked records; never raises for what the model answers."""

    def answered(self, records: bytes) -> bytes:
        """Apply checked records; a byte for each is what its caller would be told."""

    def standing(self) -> tuple[int, int, int, int, bool]:
        """Free, min, low and high pages of all zones; whether one is boosted."""

    def stats(self) -> MachineStats:
        """A reading between batches."""

    def digest(self) -> str:
        """SHA-256 over the whole state."""

    def live_handles(self) -> int:
        """How many things are allocated and not yet freed."""


MachineFactory: TypeAlias = Callable[
    [MachineConfig, Variant, Sequence[CacheSpec], str | None], ModelledMachine
]


TOO_MANY_HANDLES: Final = "too_many_handles"
"""Why a batch is refused that is sound, but would make the models grow too large."""

MAX_MARKS: Final = 1024
"""Phases counted by name; those of later epochs beyond that count under :data:`OTHER`."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """All of a source that outlives the process, between two batches."""

    name: str
    header: bytes
    """The header batch of its epoch, as it came."""
    applied_seq: int
    events: int
    last_ts_ns: int
    phase: str | None
    events_applied: int
    batches_applied: int
    bytes_received: int
    epochs: int
    last_batch_at: float
    marks: dict[str, int]
    machines: dict[str, bytes]
    """By variant, the image of its machine."""


class MachineImages(Protocol):
    """Machines as bytes; ``allocator.snapshot`` is what does it."""

    def save(self, machine: ModelledMachine) -> bytes:
        """The machine's state between two batches."""

    def restore(self, machine: ModelledMachine, image: bytes) -> None:
        """Give a machine that was just made that state; ValueError if it does not fit."""


class Verdict(Enum):
    """What is to be done with a batch that is not refused."""

    APPLY = "apply"
    DUPLICATE = "duplicate"
    """It was admitted before: acknowledge and skip it."""
    GAP = "gap"
    """One before it is missing: ask for it again."""


class Life:
    """One epoch of a source: the header, the machines, and how far it has come."""

    def __init__(
        self, batch: HeaderBatch, data: bytes, machines: dict[Variant, ModelledMachine]
    ) -> None:
        self.epoch = batch.epoch
        self.header = batch.header
        self.header_data = data
        """The header batch as it came."""
        self.limits = batch.header.limits()
        self.fingerprint = fingerprint_of(data)
        self.machines = machines
        self.admitted_seq = FIRST_SEQ
        self.applied_seq = FIRST_SEQ
        self.admitted_events = 0
        """Of batches that are not applied yet."""
        self.handles_at_most = 0
        """No machine holds more live handles when all that is admitted is applied. Kept, because
        to ask a machine for the number may mean to wait for it."""
        self.events = 0
        self.last_ts_ns = 0
        self.phase: str | None = None
        self._digests: dict[Variant, tuple[int, str]] = {}

    @property
    def live_handles(self) -> int:
        """The most that any of its machines holds."""
        return max(machine.live_handles() for machine in self.machines.values())

    def digest(self, variant: Variant) -> str:
        """The machine's digest, computed at most once a batch: it reads the whole state."""
        known = self._digests.get(variant)
        if known is None or known[0] != self.applied_seq:
            known = (self.applied_seq, self.machines[variant].digest())
            self._digests[variant] = known
        return known[1]


@dataclass(slots=True)
class Admitted:
    """A batch that is due and sound, on its way to the machines."""

    source: Source
    life: Life
    batch: Batch
    data: bytes
    """The batch as it came."""
    admitted_at: float = field(default_factory=time.perf_counter)
    """For the age of the batch on /metrics; what is applied does not depend on it."""
    wanted: str = ""
    """The variant whose answer the sender wants, if any."""
    answer: Answer | None = None
    """What that variant said, once the batch is applied."""


class Source:
    """One source and its counters, which go on over its epochs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.life: Life | None = None
        """What is shown: the epoch whose header was applied last."""
        self._admitted: Life | None = None
        """The epoch whose header was admitted last."""
        self.events_applied = 0
        self.batches_applied = 0
        self.batches_duplicate = 0
        self.batches_gapped = 0
        self.batches_refused: dict[str, int] = {}
        self.bytes_received = 0
        self.epochs = 0
        self.last_batch_at = 0.0
        self.marks: dict[str, int] = {}
        self.apply_seconds = Histogram(APPLY_SECONDS_BOUNDS)
        self.age_seconds = Histogram(APPLY_SECONDS_BOUNDS)

    def position(self, epoch: int) -> int:
        """The last batch of ``epoch`` that was applied; 0 if none was."""
        life = self.life
        return life.applied_seq if life is not None and life.epoch == epoch else 0

    @property
    def fingerprint(self) -> bytes | None:
        """SHA-256 of the header batch of the latest epoch, as it came."""
        return None if self._admitted is None else self._admitted.fingerprint

    @property
    def epoch(self) -> int | None:
        """The latest epoch there is a header of."""
        return None if self._admitted is None else self._admitted.epoch

    def admit(
        self,
        batch: Batch,
        data: bytes,
        variants: Sequence[Variant],
        machine_factory: MachineFactory,
        max_live_handles: int | None = None,
    ) -> Admitted | Verdict:
        """Decide on ``batch``: ready to be applied, a duplicate, or after a gap.

        Raises :class:`BatchError` for one that is refused: unsound, of an epoch that is
        over, opening an epoch anew with another header, or one that could lead beyond
        ``max_live_handles``. Nothing is changed then.
        """
        life = self._admitted
        if life is not None and batch.epoch < life.epoch:
            raise BatchError(
                f"epoch {batch.epoch} of {self.name} is over, expected {life.epoch} or later",
                reason=SEQUENCE,
            ).at(batch=batch.seq)
        if isinstance(batch, HeaderBatch):
            return self._admit_header(batch, data, variants, machine_factory)
        if life is None or batch.epoch > life.epoch:
            return Verdict.GAP
        if batch.seq <= life.admitted_seq:
            return Verdict.DUPLICATE
        if batch.seq > life.admitted_seq + 1:
            return Verdict.GAP
        if max_live_handles is not None:
            _check_handles(batch, life, max_live_handles)
        check(batch, life.header, life.limits)
        life.admitted_seq = batch.seq
        life.admitted_events += batch.events
        life.handles_at_most += batch.events
        return Admitted(self, life, batch, data)

    def _admit_header(
        self,
        batch: HeaderBatch,
        data: bytes,
        variants: Sequence[Variant],
        machine_factory: MachineFactory,
    ) -> Admitted | Verdict:
        life = self._admitted
        if life is not None and batch.epoch == life.epoch:
            if batch.header == life.header:
                return Verdict.DUPLICATE
            raise BatchError(
                f"epoch {batch.epoch} of {self.name} began with another header,"
                " expected the same or a later epoch",
                reason=SEQUENCE,
            ).at(batch=batch.seq)
        header = batch.header
        try:
            machines = {
                variant: machine_factory(header.machine, variant, header.caches, header.gfp)
                for variant in variants
            }
        except StoppedError:
            raise
        except Exception as error:  # whatever a header asks for, it must not stop the daemon
            known = isinstance(error, (ConfigError, GfpError))
            what = str(error) if known else f"{type(error).__name__}: {error}"
            raise BatchError(f"header: no machine can be made of it: {what}", reason=HEADER).at(
                batch=batch.seq
            ) from error
        self._admitted = Life(batch, data, machines)
        return Admitted(self, self._admitted, batch, data)

    def abandon(self) -> None:
        """Forget what was admitted and not applied."""
        self._admitted = self.life
        if self.life is not None:
            self.life.admitted_seq = self.life.applied_seq
            self.life.admitted_events = 0

    def apply(self, admitted: Admitted) -> None:
        """Carry out what was admitted, on every variant.

        Raises :class:`ModelFaultError`, or WorkerError for a machine in a worker.
        """
        life = admitted.life
        batch = admitted.batch
        outcomes = b""
        if isinstance(batch, EventBatch):
            for variant, machine in life.machines.items():
                try:
                    if variant.name == admitted.wanted:
                        outcomes = machine.answered(batch.records)
                    else:
                        machine.apply(batch.records)
                except StoppedError:  # it was in a worker, which tells of it
                    raise
                except Exception as error:
                    raise ModelFaultError(
                        f"the model {variant.name} failed in batch {batch.seq} of epoch"
                        f" {batch.epoch} of {self.name}: {type(error).__name__}: {error}"
                    ) from error
            self._note_marks(life, batch.records)
            life.admitted_events -= batch.events
            life.events += batch.events
            self.events_applied += batch.events
            if batch.records:
                life.last_ts_ns = int.from_bytes(batch.records[-RECORD_SIZE:][:8], "little")
        else:
            self.life = life
            self.epochs += 1
        for variant, machine in life.machines.items():
            if variant.name == admitted.wanted:
                admitted.answer = Answer(batch.epoch, batch.seq, outcomes, *machine.standing())
        life.applied_seq = batch.seq
        self.batches_applied += 1

    def _note_marks(self, life: Life, records: bytes) -> None:
        """Count the MARK events; the last one is the phase the source is in."""
        ops = records[OP_AT::RECORD_SIZE]
        index = ops.find(MARK)
        while index >= 0:
            at = index * RECORD_SIZE + ARG_AT
            life.phase = life.header.labels[int.from_bytes(records[at : at + 4], "little")]
            known = life.phase in self.marks or len(self.marks) < MAX_MARKS
            name = life.phase if known else OTHER
            self.marks[name] = self.marks.get(name, 0) + 1
            index = ops.find(MARK, index + 1)

    def refuse(self, reason: str) -> None:
        """Count a batch that was refused."""
        self.batches_refused[reason] = self.batches_refused.get(reason, 0) + 1

    def image(self, images: MachineImages) -> SourceImage | None:
        """All of it that outlives the process; None before its first header was applied."""
        life = self.life
        if life is None:
            return None
        return SourceImage(
            name=self.name,
            header=life.header_data,
            applied_seq=life.applied_seq,
            events=life.events,
            last_ts_ns=life.last_ts_ns,
            phase=life.phase,
            events_applied=self.events_applied,
            batches_applied=self.batches_applied,
            bytes_received=self.bytes_received,
            epochs=self.epochs,
            last_batch_at=self.last_batch_at,
            marks=self.marks.copy(),
            machines={
                variant.name: images.save(machine) for variant, machine in life.machines.items()
            },
        )

    @classmethod
    def from_image(
        cls,
        image: SourceImage,
        variants: Sequence[Variant],
        machine_factory: MachineFactory,
        images: MachineImages,
    ) -> Source:
        """The source again.

        Raises ValueError for an image that does not fit this program, KeyError for one
        that has no machine of a variant.
        """
        source = cls(image.name)
        batch = decode(image.header)
        if not isinstance(batch, HeaderBatch):
            raise ValueError("the image's header is no header batch")  # noqa: TRY004 - bad data
        admitted = source.admit(batch, image.header, variants, machine_factory)
        if not isinstance(admitted, Admitted):
            raise ValueError("the image's header cannot open an epoch")  # noqa: TRY004 - bad data
        life = admitted.life
        for variant, machine in life.machines.items():
            images.restore(machine, image.machines[variant.name])
        life.handles_at_most = life.live_handles
        life.admitted_seq = life.applied_seq = image.applied_seq
        life.events = image.events
        life.last_ts_ns = image.last_ts_ns
        life.phase = image.phase
        source.life = life
        source.events_applied = image.events_applied
        source.batches_applied = image.batches_applied
        source.bytes_received = image.bytes_received
        source.epochs = image.epochs
        source.last_batch_at = image.last_batch_at
        source.marks = dict(image.marks)
        return source

    def read(self, life: Life, *, connected: bool, digest: bool) -> SourceReading:
        """Plain numbers that stay as they are; ``digest`` also reads every machine's digest."""
        return SourceReading(
            name=self.name,
            life=_read_life(life, digest=digest),
            connected=connected,
            events_applied=self.events_applied,
            batches_applied=self.batches_applied,
            batches_duplicate=self.batches_duplicate,
            batches_gapped=self.batches_gapped,
            batches_refused=self.batches_refused.copy(),
            bytes_received=self.bytes_received,
            epochs=self.epochs,
            last_batch_at=self.last_batch_at,
            marks=self.marks.copy(),
            apply_seconds=self.apply_seconds.copy(),
            age_seconds=self.age_seconds.copy(),
        )


def _check_handles(batch: EventBatch, life: Life, most: int) -> None:
    """Refuse a batch that could lead beyond ``most`` live handles."""
    if life.handles_at_most + batch.events <= most:
        return
    held = life.handles_at_most = life.live_handles + life.admitted_events
    if held + batch.events <= most:
        return
    ops = batch.records[OP_AT::RECORD_SIZE]
    held += sum(map(ops.count, (PAGE_ALLOC, OBJ_ALLOC, KMALLOC)))
    if held > most:
        raise BatchError(
            f"there could be {held} live handles after it, expected at most {most}"
            " (--max-live-handles of the daemon)",
            reason=TOO_MANY_HANDLES,
        ).at(batch=batch.seq)


def _read_life(life: Life, *, digest: bool) -> LifeReading:
    return LifeReading(
        epoch=life.epoch,
        seq=life.applied_seq,
        events=life.events,
        last_ts_ns=life.last_ts_ns,
        config=life.header.machine,
        gfp_flavour=life.header.gfp,
        phases=tuple(dict.fromkeys(life.header.labels)),
        phase=life.phase,
        variants=tuple(
            VariantReading(
                variant=variant.name,
                allocator=variant.allocator,
                stats=machine.stats(),
                digest=life.digest(variant) if digest else None,
            )
            for variant, machine in life.machines.items()
        ),
    )
