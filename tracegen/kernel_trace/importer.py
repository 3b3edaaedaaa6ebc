"""From the text of a kernel trace to a trace of ours.

A regular file is read twice: first to learn what cannot be known in order (the caches'
names, what is freed that was allocated before the trace, who was reclaiming when it
began), then to write. A pipe is read once, and everything is learnt as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from allocator.config import CacheSpec, ConfigError, MachineConfig
from tracegen.batch import Batch, BatchMaker
from tracegen.errors import EXIT_BAD, PfmemdError, shown
from tracegen.header import Header, Made
from tracegen.kernel_trace.cache_names import (
    UNNAMED,
    UNNAMED_SIZES,
    CacheNames,
    CacheTable,
    NameSurvey,
)
from tracegen.kernel_trace.context import Contexts
from tracegen.kernel_trace.gfp_text import GfpText
from tracegen.kernel_trace.lines import Event, TraceText
from tracegen.kernel_trace.outbox import BATCH_EVENTS, Outbox
from tracegen.kernel_trace.pairing import Pairing
from tracegen.kernel_trace.population import (
    BEGIN_LABEL,
    Demand,
    Older,
    Plan,
    Population,
    ZoneUse,
    plan_unread,
)
from tracegen.kernel_trace.proc import ZONE_INDEX, Snapshot, machine_of_size, read_snapshot
from tracegen.kernel_trace.report import Report
from tracegen.kernel_trace.slab_pages import SlabPages
from tracegen.kernel_trace.text_input import TextInput, is_regular_file

FLAVOUR: Final = "v6.1"
"""Which kernel's gfp names and bit numbers are read."""
PAGES_PER_MIB: Final = 256
PIPE_PAGES: Final = 4096 * PAGES_PER_MIB
"""The machine of a pipe about which nothing is said: 4 GiB."""
_FILE_STEP: Final = 64 * PAGES_PER_MIB
"""The machine of a file about which nothing is said: its highest page, rounded up to this."""
_HIGHEST_MIB: Final = 1 << 23


class ImportFailedError(PfmemdError):
    """An input with nothing in it that could be imported, or one that ``--strict`` stops at."""


class GuessedError(PfmemdError):
    """``--strict``, and something had to be guessed."""

    exit_code = EXIT_BAD


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says about the trace and its machine; None and 0 leave it open."""

    source: str
    epoch: int
    proc: Path | None = None
    free_pages: Mapping[tuple[int, str], int] | None = None
    """Free pages when the trace begins, by (node, name of the zone)."""
    mem_pages: int = 0
    cpus: int = 0
    min_free_kbytes: int = 0
    clock: str = "local"
    strict: bool = False


@dataclass(slots=True)
class _Machine:
    """The machine, and what is known of its beginning."""

    config: MachineConfig
    zones: tuple[ZoneUse, ...]
    caches: CacheTable
    snapshot: Snapshot | None


class Importer:
    """Imports one input; ``write`` takes the batches, ``progress`` bytes done and in all.

    :attr:`report` is good whatever comes, also when :meth:`run` raised.
    """

    def __init__(
        self,
        path: str,
        options: Options,
        write: Callable[[Batch], None],
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:
        self._path = path
        self._options = options
        self._write = write
        self._progress = progress
        self._twice = is_regular_file(path)
        self._done_before = 0
        self._outbox: Outbox | None = None
        self.report = Report()

    def run(self) -> Report:
        """Import the input.

        Raises :class:`ImportFailedError` if there is nothing to import or, with ``strict``,
        at the first line that cannot be read; :class:`GuessedError` at the end, with
        ``strict``, if anything was guessed.
        """
        snapshot = read_snapshot(self._options.proc) if self._options.proc is not None else None
        survey = self._survey(snapshot) if self._twice else None
        with TextInput(self._path) as text_input:
            self._done_before = text_input.size if self._twice else 0
            text = TraceText(self._bad_line)
            events = self._events(text, text_input)
            first = next(events, None)
            if first is None:
                raise self._nothing(text_input.name, text)
            machine = self._machine(snapshot, survey, text)
            self._import(first, events, text, machine, survey)
        if self._options.strict and self.report.guesses:
            what = ", ".join(f"{n:,} x {name}" for name, n in self.report.guessed.items() if n)
            raise GuessedError(f"{text_input.name}: guessed, which --strict forbids: {what}")
        return self.report

    def _events(self, text: TraceText, text_input: TextInput) -> Iterator[Event]:
        def pieces() -> Iterator[list[str]]:
            for lines in text_input.lines():
                yield lines
                if self._outbox is not None:
                    # A pipe may be silent for long: what is known goes on now.
                    self._outbox.flush()
                passes = 2 if self._twice else 1
                done = self._done_before + text_input.position
                self._progress(done, passes * text_input.size)

        return text.events(pieces())

    def _bad_line(self, number: int, line: str, expected: str) -> None:
        if self._options.strict:
            raise ImportFailedError(f"line {number}: {shown(line)}, expected {expected}")
        self.report.bad_line(number, line, expected)

    def _nothing(self, name: str, text: TraceText) -> ImportFailedError:
        what = f"{name} has no event in its {text.lines:,} lines, expected ftrace's text"
        if self.report.first_bad:
            number, line, expected = self.report.first_bad[0]
            what += f"; line {number} is {shown(line)}, expected {expected}"
        return ImportFailedError(what)

    # The first reading.

    def _survey(self, snapshot: Snapshot | None) -> _Survey:
        zones: tuple[ZoneUse, ...]
        if snapshot is not None:
            zones = snapshot.zones
        else:
            # Enough to tell the zones apart; how large the last one is shows at the end.
            _, zones = machine_of_size(self._options.mem_pages or _HIGHEST_MIB, 1, 0)
        names = NameSurvey()
        demand = Demand(zones)
        contexts = Contexts()
        cpus = self._options.cpus or (snapshot.machine.cpus if snapshot is not None else 0)
        with TextInput(self._path) as text_input:
            text = TraceText(self._bad_line_first)
            events = self._events(text, text_input)
            first = next(events, None)
            pairing = self._pairing(
                Outbox(None), demand, names, contexts, Report(), cpus or text.cpus or 1, 1, 0
            )
            if first is not None:
                pairing.feed(first)
            for event in events:
                pairing.feed(event)
            pairing.finish()
        return _Survey(
            names,
            demand.plan(),
            frozenset(contexts.found_reclaiming),
            pairing.highest_pfn,
            max(text.cpus, pairing.highest_cpu + 1),
        )

    def _bad_line_first(self, number: int, line: str, expected: str) -> None:
        """The second reading counts the line; --strict need not wait for it."""
        if self._options.strict:
            self._bad_line(number, line, expected)

    # The machine.

    def _machine(
        self, snapshot: Snapshot | None, survey: _Survey | None, text: TraceText
    ) -> _Machine:
        options = self._options
        if snapshot is not None:
            config, zones = snapshot.machine, snapshot.zones
            caches = snapshot.caches
            self.report.notes += snapshot.notes
        else:
            pages = options.mem_pages
            if not pages and survey is not None:
                pages = (survey.highest_pfn // _FILE_STEP + 1) * _FILE_STEP
            pages = pages or PIPE_PAGES
            cpus = options.cpus or (survey.cpus if survey is not None else 0) or text.cpus or 1
            try:
                config, zones = machine_of_size(pages, cpus, options.min_free_kbytes)
            except ConfigError as error:
                raise ImportFailedError(f"the machine of the trace: {error}") from None
            caches = CacheTable()
            self.report.notes.append(
                f"machine: {pages // PAGES_PER_MIB:,} MiB, {cpus} cpus; without --proc it is"
                " a guess, and begins empty but for what the trace frees later"
            )
        if options.min_free_kbytes:
            config = replace(config, min_free_kbytes=options.min_free_kbytes)
        if survey is None:
            for size in UNNAMED_SIZES:
                caches.add(UNNAMED.format(size=size), size)
        return _Machine(config, self._with_free(zones), caches, snapshot)

    def _with_free(self, zones: tuple[ZoneUse, ...]) -> tuple[ZoneUse, ...]:
        left = dict(self._options.free_pages or {})
        names = {index: name for name, index in ZONE_INDEX.items()}
        found = []
        for zone in zones:
            free = left.pop((zone.node, names[zone.zone]), zone.free)
            if free is not None and free > zone.managed:
                raise ImportFailedError(
                    f"zone {names[zone.zone]} of node {zone.node} has {zone.managed} pages,"
                    f" expected no more than that free, not {free}"
                )
            found.append(replace(zone, free=free))
        for node, name in left:
            has = ", ".join(f"{zone.node}/{names[zone.zone]}" for zone in zones)
            raise ImportFailedError(f"the machine has no zone {node}/{name}, expected one of {has}")
        return tuple(found)

    # The second reading.

    def _import(
        self,
        first: Event,
        events: Iterator[Event],
        text: TraceText,
        machine: _Machine,
        survey: _Survey | None,
    ) -> None:
        config = machine.config
        names = CacheNames(machine.caches, survey.names if survey is not None else None)
        plan = self._plan(machine, survey)
        slabs = SlabPages(FLAVOUR, config.cpus)
        self._name_all(machine, plan)
        population = Population(plan, machine.zones, machine.caches, slabs)
        maker = BatchMaker(self._options.source, self._options.epoch)
        self._write(maker.header(self._header(config, machine.caches.specs)))

        def deliver(records: bytes) -> None:
            self._write(maker.events(records))

        prelude = self._write_prelude(population, first[1], config.min_free_kbytes, deliver)
        outbox = Outbox(deliver)
        if not self._twice:
            self._outbox = outbox
        contexts = Contexts(survey.reclaiming if survey is not None else ())
        gfp = GfpText(FLAVOUR)
        pairing = self._pairing(
            outbox,
            population,
            names,
            contexts,
            self.report,
            config.cpus,
            len(config.nodes),
            population.last_handle,
            gfp=gfp,
        )
        self.report.names = text.names
        pairing.feed(first)
        for event in events:
            pairing.feed(event)
        pairing.finish()
        self._fill_report(text, names, contexts, gfp, pairing)
        self.report.written = {
            "events that set up what was in use before": prelude,
            "events of the trace": outbox.events,
        }

    def _plan(self, machine: _Machine, survey: _Survey | None) -> Plan:
        if survey is not None:
            return survey.plan
        snapshot = machine.snapshot
        active = snapshot.active if snapshot is not None else {}
        general = snapshot.general if snapshot is not None else {}
        return plan_unread(machine.zones, active, general)

    def _name_all(self, machine: _Machine, plan: Plan) -> None:
        """Caches that the trace only frees from have no size in it: leave their objects out."""
        for name in [name for name in plan.objects if machine.caches.find(name) is None]:
            del plan.objects[name]

    def _header(self, config: MachineConfig, caches: list[CacheSpec]) -> Header:
        made = Made(
            tool="pfmemd import ftrace",
            text=f"from {Path(self._path).name if self._twice else 'a pipe'}",
        )
        return Header(
            config, tuple(caches), FLAVOUR, self._options.clock, labels=(BEGIN_LABEL,), made=made
        )

    def _write_prelude(
        self,
        population: Population,
        ts_ns: int,
        min_free_kbytes: int,
        deliver: Callable[[bytes], None],
    ) -> int:
        written = 0
        records: list[bytes] = []
        for record in population.prelude(ts_ns, FLAVOUR, min_free_kbytes):
            records.append(record)
            if len(records) == BATCH_EVENTS:
                deliver(b"".join(records))
                records.clear()
            written += 1
        if records:
            deliver(b"".join(records))
        return written

    def _pairing(
        self,
        outbox: Outbox,
        older: Older,
        names: CacheNames | NameSurvey,
        contexts: Contexts,
        report: Report,
        cpus: int,
        nodes: int,
        last_handle: int,
        gfp: GfpText | None = None,
    ) -> Pairing:
        return Pairing(
            outbox,
            older,
            names,
            contexts,
            gfp if gfp is not None else GfpText(FLAVOUR),
            SlabPages(FLAVOUR, cpus),
            report,
            cpus,
            nodes,
            last_handle,
        )

    def _fill_report(
        self,
        text: TraceText,
        names: CacheNames,
        contexts: Contexts,
        gfp: GfpText,
        pairing: Pairing,
    ) -> None:
        report = self.report
        report.lines = text.lines
        report.lost_markers = text.lost_markers
        report.lost_events = text.lost_events
        report.inferred = {
            "PF_MEMALLOC, because kswapd asked": contexts.by_kswapd,
            "PF_MEMALLOC, because the task was in direct reclaim": contexts.by_reclaim,
            "TIF_MEMDIE, because the OOM killer had chosen the task": contexts.by_oom,
            "cache named by the event": names.by_event,
            "cache named by frees from the same call site and size": names.by_free,
            "objects freed under the name they were given": names.confirmed,
            "objects freed under another name": names.contradicted,
        }
        report.guessed = {
            "cache named by the majority of frees that disagree": names.by_vote,
            "cache named by size alone": names.by_size,
            "event on a cpu that the machine does not have": pairing.folded_cpus,
            "request for a node that the machine does not have": pairing.folded_nodes,
            "page taken for no slab's because too much waited": pairing.undecided.forced,
            "gfp names that the importer does not know, left out": len(gfp.unknown),
            "place where the kernel lost events": text.lost_markers,
        }


@dataclass(frozen=True, slots=True)
class _Survey:
    """What the first reading of a file found."""

    names: NameSurvey
    plan: Plan
    reclaiming: frozenset[int]
    highest_pfn: int
    cpus: int
