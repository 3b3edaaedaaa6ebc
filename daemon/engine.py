"""The engine: every source's batches, in order, onto every variant, all or none.

One thread feeds it; others read. One lock is held for each batch, so a reading
never shows half of one. What cannot be applied is refused by :meth:`Engine.admit`
before anything changes; a model that fails in :meth:`Engine.apply` is a fault of
the program, after which nothing it would show could be trusted: the engine stops.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from allocator.revision import Variant
from daemon.fair_lock import FairLock
from daemon.reading import Reading
from daemon.sources import (
    Admitted,
    MachineFactory,
    MachineImages,
    ModelledMachine,
    Source,
    SourceImage,
    Verdict,
)
from tracegen.batch import Batch
from tracegen.errors import BatchError


class TooManySourcesError(BatchError):
    """A further source than the daemon may follow."""

    def __init__(self, name: str, max_sources: int) -> None:
        super().__init__(
            f"source {name} would be one more than the {max_sources} that are followed",
            reason=TOO_MANY_SOURCES,
        )


TOO_MANY_SOURCES = "too_many_sources"


class Engine:
    """All sources and their machines."""

    def __init__(
        self,
        variants: Sequence[Variant],
        max_sources: int,
        machine_factory: MachineFactory,
        wall_clock: Callable[[], float] = time.time,
        max_live_handles: int | None = None,
    ) -> None:
        self.variants = tuple(variants)
        self.max_sources = max_sources
        self.max_live_handles = max_live_handles
        self.connected: frozenset[str] = frozenset()
        """The sources that have a sender now; whoever receives keeps it."""
        self._machine_factory = machine_factory
        self._wall_clock = wall_clock
        self._lock = FairLock()
        self._sources: dict[str, Source] = {}
        self._messages_refused: dict[str, int] = {}

    def source(self, name: str) -> Source | None:
        """What is known of the source; only for the thread that feeds."""
        return self._sources.get(name)

    def has_room_for(self, names: frozenset[str]) -> bool:
        """Whether all of ``names`` can be followed beside the sources there are."""
        return len(names | self._sources.keys()) <= self.max_sources

    def admit(self, batch: Batch, data: bytes, *, bounded: bool = True) -> Admitted | Verdict:
        """Decide on a batch, ``data`` as it came, see :meth:`Source.admit`; count the decision.

        ``bounded`` False is for batches that were admitted before, by whatever bounds there
        were then. Raises :class:`BatchError` for a batch that is refused, after counting it.
        """
        source = self._sources.get(batch.source)
        if bounded and source is None and not self.has_room_for(frozenset((batch.source,))):
            self.refuse_message(TOO_MANY_SOURCES)
            raise TooManySourcesError(batch.source, self.max_sources)
        known = source or Source(batch.source)
        try:
            verdict = known.admit(
                batch,
                data,
                self.variants,
                self._machine_factory,
                self.max_live_handles if bounded else None,
            )
        except BatchError as error:
            self.refuse_batch(batch.source, error.reason, len(data))
            raise
        with self._lock:
            known.bytes_received += len(data)
            if verdict is Verdict.DUPLICATE:
                known.batches_duplicate += 1
            elif verdict is Verdict.GAP:
                known.batches_gapped += 1
            else:
                self._sources[batch.source] = known  # a source counts from its first header on
        return verdict

    def abandon(self, group: Sequence[Admitted]) -> None:
        """Forget batches that were admitted and will not be applied: they may come again."""
        with self._lock:
            for admitted in group:
                admitted.source.abandon()
                if admitted.source.life is None:
                    self._sources.pop(admitted.source.name, None)

    def apply(self, admitted: Admitted, at: float | None = None) -> None:
        """Carry out an admitted batch, which came ``at`` a Unix time, None is now.

        Raises :class:`~daemon.sources.ModelFaultError`, or WorkerError for a machine in a worker.
        """
        started = time.perf_counter()
        with self._lock:
            admitted.source.apply(admitted)
            admitted.source.last_batch_at = self._wall_clock() if at is None else at
            finished = time.perf_counter()
            admitted.source.apply_seconds.observe(finished - started)
            admitted.source.age_seconds.observe(finished - admitted.admitted_at)

    def refuse_batch(self, name: str, reason: str, size: int) -> None:
        """Count a batch that ``name`` sent and that was refused."""
        with self._lock:
            source = self._sources.get(name)
            if source is not None:
                source.bytes_received += size
                source.refuse(reason)
                return
        self.refuse_message(reason)

    def refuse_message(self, reason: str) -> None:
        """Count a message that cannot be put down to a source."""
        with self._lock:
            self._messages_refused[reason] = self._messages_refused.get(reason, 0) + 1

    def images(self, images: MachineImages) -> list[SourceImage]:
        """Everything that outlives the process; only for the thread that feeds."""
        found = (source.image(images) for source in self._sources.values())
        return [image for image in found if image is not None]

    def adopt(self, sources: Sequence[SourceImage], images: MachineImages) -> None:
        """Begin with these sources, see :meth:`Source.from_image` for what it raises."""
        made = {
            image.name: Source.from_image(image, self.variants, self._machine_factory, images)
            for image in sources
        }
        with self._lock:
            self._sources = made

    def machines(self) -> list[tuple[str, str]]:
        """(Source, variant) of every machine there is."""
        with self._lock:
            return [
                (name, variant.name)
                for name, source in self._sources.items()
                if source.life is not None
                for variant in source.life.machines
            ]

    def ask(
        self, source: str, variant: str, question: Callable[[ModelledMachine], str]
    ) -> str | None:
        """Ask one machine, between two batches; None if there is none of these names."""
        with self._lock:
            known = self._sources.get(source)
            if known is None or known.life is None:
                return None
            for own, machine in known.life.machines.items():
                if own.name == variant:
                    return question(machine)
            return None

    def read(self, *, digest: bool = False) -> Reading:
        """Everything at one moment. ``digest`` also digests every machine, which reads it whole."""
        with self._lock:
            return Reading(
                sources=tuple(
                    source.read(source.life, connected=name in self.connected, digest=digest)
                    for name, source in self._sources.items()
                    if source.life is not None
                ),
                messages_refused=self._messages_refused.copy(),
            )
