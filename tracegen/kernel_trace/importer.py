"""From the text of a kernel trace to a trace of ours.

*Whole*: the text is read to its end before the trace is written, because much is known only
then: the caches' names, what was allocated before the trace began, who was reclaiming
when it did. Records wait on disk meanwhile. *Live*: everything is decided as it comes, and
passed on at once. A regular file is imported whole, a pipe live, unless one says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from allocator.config import CacheSpec, ConfigError, MachineConfig
from allocator.events import KMALLOC, OBJ_ALLOC
from tracegen.batch import Batch, BatchMaker
from tracegen.errors import EXIT_BAD, PfmemdError, StoppedError, shown
from tracegen.header import Header, Made
from tracegen.kernel_trace import scan
from tracegen.kernel_trace.balance import Balance
from tracegen.kernel_trace.cache_names import (
    BY_EVENT,
    BY_FREE,
    BY_SIZE,
    BY_VOTE,
    UNNAMED,
    UNNAMED_SIZES,
    CacheTable,
    Names,
    NamesLater,
    NamesNow,
)
from tracegen.kernel_trace.context import Contexts
from tracegen.kernel_trace.gfp_text import FLAVOUR
from tracegen.kernel_trace.kernel_event import Event
from tracegen.kernel_trace.ledger import Ledger
from tracegen.kernel_trace.lines import TraceText
from tracegen.kernel_trace.older import Older, Plan, ZoneUse
from tracegen.kernel_trace.outbox import MAX_WAITING, MAX_WAITING_WHOLE, Outbox
from tracegen.kernel_trace.pairing import Pairing
from tracegen.kernel_trace.population import BEGIN_LABEL, Population, plan_spare, plan_unread
from tracegen.kernel_trace.proc import ZONE_INDEX, Snapshot, machine_of_size, read_snapshot
from tracegen.kernel_trace.report import LOST, MAX_TOLD, UNMATCHED, Report
from tracegen.kernel_trace.scan import Scanner
from tracegen.kernel_trace.settle import Settling
from tracegen.kernel_trace.slab_pages import SlabPages
from tracegen.kernel_trace.spool import PIECE, Spool
from tracegen.kernel_trace.text_input import TextInput, TextSource, is_regular_file

COMPILED: Final = not (scan.__file__ or "").endswith(".py")
"""Whether the modules that see every event run as native code."""
PAGES_PER_MIB: Final = 256
LIVE_PAGES: Final = 4096 * PAGES_PER_MIB
"""The machine of a live trace about which nothing is said: 4 GiB."""
_FILE_STEP: Final = 64 * PAGES_PER_MIB
"""The machine of a whole trace about which nothing is said: its highest page, rounded up."""
_HIGHEST_MIB: Final = 1 << 23
LONGEST_WAIT_NS: Final = 1_000_000_000
"""How long a live trace waits, in its own time, to see what a page was for."""
MAX_CPUS: Final = 1024


FreePages: TypeAlias = Mapping[tuple[int, str], int]
"""Free pages by (node, name of the zone)."""


class ImportFailedError(PfmemdError):
    """An input with nothing in it that could be imported, or one that ``--strict`` stops at."""


class GuessedError(PfmemdError):
    """``--strict``, and something had to be guessed."""

    exit_code = EXIT_BAD


class InterruptedImportError(StoppedError):
    """A file was not read to its end, so there is no trace of it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says about the trace and its machine; None and 0 leave it open."""

    source: str
    epoch: int
    proc: Path | None = None
    free_pages: FreePages | Callable[[int], FreePages] | None = None
    """Free pages when the trace begins, or what finds them for that time in ns."""
    mem_pages: int = 0
    cpus: int = 0
    min_free_kbytes: int = 0
    kernel: tuple[int, int] = (0, 0)
    """(major, minor) of the traced kernel."""
    clock: str = "local"
    strict: bool = False
    whole: bool | None = None
    spool: Path | None = None
    """Folder for records that wait."""
    tool: str = "pfmemd import"


@dataclass(slots=True)
class _Machine:
    """The machine, and what is known of its beginning."""

    config: MachineConfig
    zones: tuple[ZoneUse, ...]
    caches: CacheTable


class Importer:
    """Imports one input; ``write`` takes the batches, ``progress`` bytes done and in all.

    ``source`` is the path of a file, ``-``, or text that comes from elsewhere.

    ``interrupted`` is asked now and then: it ends a pipe, and a file's import altogether.
    ``bad_line`` is told each line that cannot be read, with number and expectation.
    :attr:`report` is good whatever comes, also when :meth:`run` raised.
    """

    def __init__(
        self,
        source: str | TextSource,
        options: Options,
        write: Callable[[Batch], None],
        progress: Callable[[int, int], None] = lambda _done, _all: None,
        interrupted: Callable[[], bool] = lambda: False,
        bad_line: Callable[[int, str, str], None] = lambda _number, _line, _expected: None,
    ) -> None:
        self._source = source
        self._options = options
        self._write = write
        self._progress = progress
        self._interrupted = interrupted
        self._tell_bad_line = bad_line
        self._file = Path(source) if isinstance(source, str) and is_regular_file(source) else None
        self._maker = BatchMaker(options.source, options.epoch)
        self._snapshot: Snapshot | None = None
        self._text = TraceText(self._bad_line)
        self._first_ns = 0
        self._older: Older | None = None
        self._told = 0
        """Events of no known meaning that were told one by one."""
        self._events: list[Event] = []
        """Those that are being paired."""
        self.report = Report()
        self.balance: Balance | None = None
        """Where the kernel's pages went, if there is one before :meth:`run`."""

    def run(self) -> Report:
        """Import the input.

        Raises :class:`ImportFailedError` if there is nothing to import or, with ``strict``,
        at the first line that cannot be read; :class:`GuessedError` at the end, with
        ``strict``, if anything was guessed.
        """
        options = self._options
        if options.proc is not None:
            self._snapshot = read_snapshot(options.proc)
        kernel = options.kernel
        if self._snapshot is not None and kernel == (0, 0):
            kernel = self._snapshot.kernel
        self._text = TraceText(self._bad_line, kernel)
        self.report.names = self._text.shapes.names
        if isinstance(self._source, str):
            with TextInput(self._source, self._interrupted) as text_input:
                self._import(text_input)
        else:
            self._import(self._source)
        return self.report

    def _import(self, text: TextSource) -> None:
        options = self._options
        whole = self._file is not None if options.whole is None else options.whole
        pieces = self._pieces(text)
        if whole:
            self._import_whole(pieces, text.name)
        else:
            self._import_live(pieces, text.name)
        if options.strict and self.report.guesses:
            what = ", ".join(f"{n:,} x {name}" for name, n in self.report.guessed.items() if n)
            raise GuessedError(f"{text.name}: guessed, which --strict forbids: {what}")

    def _pieces(self, text: TextSource) -> Iterator[list[Event]]:
        """Events, as many together as one read brought; none while a pipe is silent."""
        read = self._reader()
        for piece in text.pieces():
            events = read(piece)
            if events and not self._first_ns:
                self._first_ns = events[0][1]
            self._events = events
            if self._older is not None:
                self._older.events_lost = self._text.lost_markers > 0
            yield events
            self._progress(text.position, text.size)
        if self._file is not None and self._interrupted():
            raise InterruptedImportError(f"interrupted while reading {text.name}")

    def _reader(self) -> Callable[[bytes], list[Event]]:
        if COMPILED:
            return Scanner(self._text).events
        read = self._text.events
        return lambda piece: read(piece.decode("utf-8", "backslashreplace").split("\n")[:-1])

    def _bad_line(self, number: int, line: str, expected: str) -> None:
        if self._options.strict:
            raise ImportFailedError(f"line {number}: {shown(line)}, expected {expected}")
        self.report.bad_line(number, line, expected)
        self._tell_bad_line(number, line, expected)

    def _stray(self, event: Event) -> None:
        """An event of no known meaning: tell its line."""
        shape, ts_ns, _, address = event
        if self._older is not None and self._older.events_lost:
            self.report.of(shape.kind)[LOST] += 1
            return
        self.report.of(shape.kind)[UNMATCHED] += 1
        if self._told >= MAX_TOLD:
            return
        self._told += 1
        # Equal, not the same: compiled code makes tuples anew.
        index = self._events.index(event)
        number = self._text.line_of(index)
        what = (
            f"{ts_ns / 1e9:.6f} {self._text.shapes.names[shape.kind]} of {address:#x} from"
            f" {shape.site or 'somewhere'}"
        )
        self.report.stray(number, what)
        self._tell_bad_line(number, what, "an allocation since the last free of that address")

    def _nothing(self, name: str) -> ImportFailedError:
        what = f"{name} has no event in its {self._text.lines:,} lines, expected a kernel trace"
        if self.report.first_bad:
            number, line, expected = self.report.first_bad[0]
            what += f"; line {number} is {shown(line)}, expected {expected}"
        return ImportFailedError(what)

    # Whole.

    def _import_whole(self, pieces: Iterator[list[Event]], name: str) -> None:
        zones = self._known_zones()
        ledger = Ledger(self.report, zones)
        names = NamesLater()
        contexts = Contexts(self._text.thread, slots=True)
        cpus = self._known_cpus()
        slabs = self._slabs(cpus)
        with Spool(self._options.spool) as spool:
            outbox = Outbox(spool.write, MAX_WAITING_WHOLE)
            pairing = self._pairing(outbox, ledger, names, contexts, slabs, cpus, 0)
            for events in pieces:
                pairing.feed(events)
            pairing.finish()
            if not self._first_ns:
                raise self._nothing(name)
            machine = self._machine(pairing)
            names.settle(self._text.shapes.keys, machine.caches)
            plan = ledger.plan(machine.caches)
            self._plan_spare(plan, machine.caches)
            population = self._population(plan, machine, slabs)
            if population.used_more:
                self.report.notes.append(
                    f"{population.used_more:,} more pages were in use when the trace began than"
                    " the files say, for it frees them"
                )
            prelude = self._open(population, machine)
            handles = ledger.settle(population)
            if self.balance is not None:
                self.balance.settle(ledger.slab_pages(handles), machine.caches.specs, plan.bulk)
            settling = Settling(
                handles,
                population.last_handle,
                self._text.shapes.keys,
                contexts.was_reclaiming,
                pairing.round_ends,
            )
            for piece in spool.pieces():
                self._write(self._maker.events(settling.settle(piece)))
        contexts.by_reclaim += settling.by_reclaim
        pairing.kswapd_told += settling.kswapd_told
        written = outbox.events - settling.dropped + settling.kswapd_told
        self._fill_report(names, contexts, pairing, prelude, written)

    # Live.

    def _import_live(self, pieces: Iterator[list[Event]], name: str) -> None:
        first = next((events for events in pieces if events), None)
        if first is None:
            raise self._nothing(name)
        machine = self._machine(None)
        names = NamesNow(machine.caches)
        contexts = Contexts(self._text.thread, slots=False)
        slabs = self._slabs(machine.config.cpus)
        population = self._population(self._plan_unread(machine), machine, slabs)
        prelude = self._open(population, machine)
        outbox = Outbox(self._deliver, MAX_WAITING)
        pairing = self._pairing(
            outbox,
            population,
            names,
            contexts,
            slabs,
            machine.config.cpus,
            population.last_handle,
            len(machine.config.nodes),
        )
        for events in chain([first], pieces):
            pairing.feed(events)
            if events:
                pairing.undecided.give_up_before(events[-1][1] - LONGEST_WAIT_NS)
            else:
                pairing.undecided.give_up_all()
            outbox.flush()
        pairing.finish()
        self._fill_report(names, contexts, pairing, prelude, outbox.events)

    def _plan_unread(self, machine: _Machine) -> Plan:
        snapshot = self._snapshot
        if snapshot is None:
            return plan_unread(machine.zones, {}, {})
        plan = plan_unread(machine.zones, snapshot.uses, snapshot.general)
        if not snapshot.of_slab:
            plan_spare(plan, snapshot.uses, snapshot.general, snapshot.machine.cpus)
        return plan

    def _plan_spare(self, plan: Plan, caches: CacheTable) -> None:
        """Let the slabs that the trace allocates from begin half empty, as far as is known."""
        snapshot = self._snapshot
        if snapshot is None or snapshot.of_slab:
            return
        keys = self._text.shapes.keys
        named = {caches.specs[key.arg].name for key in keys if key.op == OBJ_ALLOC}
        sizes = {key.size for key in keys if key.op == KMALLOC}
        uses = {name: use for name, use in snapshot.uses.items() if name in named}
        general = {size: use for size, use in snapshot.general.items() if size in sizes}
        plan_spare(plan, uses, general, snapshot.machine.cpus)

    def _deliver(self, records: bytes) -> None:
        for at in range(0, len(records), PIECE):
            self._write(self._maker.events(records[at : at + PIECE]))

    # The machine.

    def _known_zones(self) -> tuple[ZoneUse, ...]:
        if self._snapshot is not None:
            return self._snapshot.zones
        # Enough to tell the zones apart; how large the last one is shows at the end.
        _, zones = machine_of_size(self._options.mem_pages or _HIGHEST_MIB, 1, 0)
        return zones

    def _min_free_kbytes(self) -> int:
        """The reserve, 0 if nothing says how large it is."""
        if self._options.min_free_kbytes or self._snapshot is None:
            return self._options.min_free_kbytes
        return self._snapshot.machine.min_free_kbytes

    def _known_cpus(self) -> int:
        """How many cpus the machine has, 0 if that is to be seen."""
        if self._snapshot is not None:
            return self._snapshot.machine.cpus
        return self._options.cpus

    def _slabs(self, cpus: int) -> SlabPages:
        snapshot = self._snapshot
        if snapshot is None:
            return SlabPages(cpus)
        return SlabPages(cpus, snapshot.orders(), of_slab=snapshot.of_slab)

    def _machine(self, pairing: Pairing | None) -> _Machine:
        """The machine; ``pairing`` has read the whole trace, if it is imported whole."""
        options = self._options
        snapshot = self._snapshot
        if snapshot is not None:
            config, zones, caches = snapshot.machine, snapshot.zones, snapshot.caches
            self.report.notes += snapshot.notes
        else:
            pages = options.mem_pages
            if not pages and pairing is not None:
                pages = (pairing.highest_pfn // _FILE_STEP + 1) * _FILE_STEP
            pages = pages or LIVE_PAGES
            seen = pairing.highest_cpu + 1 if pairing is not None else 1
            cpus = options.cpus or max(self._text.cpus, seen)
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
        if pairing is None:
            for size in UNNAMED_SIZES:
                caches.add(UNNAMED.format(size=size), size)
        return _Machine(config, self._with_free(zones), caches)

    def _with_free(self, zones: tuple[ZoneUse, ...]) -> tuple[ZoneUse, ...]:
        given = self._options.free_pages
        left = dict(given(self._first_ns) if callable(given) else given or {})
        names = {index: name for name, index in ZONE_INDEX.items()}
        found = []
        for zone in zones:
            free = left.pop((zone.node, names[zone.zone]), zone.free)
            if free is not None and free > zone.managed:
                raise ImportFailedError(
                    f"zone {names[zone.zone]} of node {zone.node} has {zone.managed} pages,"
                    f" expected no more than that free, not {free}"
                )
            pcp = zone.pcp
            if free is not None and zone.free and free < zone.free:
                # The files are older than the trace; under pressure the lists are drained.
                pcp = pcp * free // zone.free
            found.append(replace(zone, free=free, pcp=pcp))
        for node, name in left:
            has = ", ".join(f"{zone.node}/{names[zone.zone]}" for zone in zones)
            raise ImportFailedError(f"the machine has no zone {node}/{name}, expected one of {has}")
        return tuple(found)

    # What is written first.

    def _population(self, plan: Plan, machine: _Machine, slabs: SlabPages) -> Population:
        return Population(
            self.report, plan, machine.zones, machine.caches, slabs, machine.config.cpus
        )

    def _open(self, population: Population, machine: _Machine) -> int:
        """Write the header and the prelude; return how many events that has."""
        self._write(self._maker.header(self._header(machine.config, machine.caches.specs)))
        prelude = Outbox(self._deliver)
        population.prelude(prelude, self._first_ns, machine.config.min_free_kbytes)
        prelude.flush()
        return prelude.events

    def _header(self, config: MachineConfig, caches: list[CacheSpec]) -> Header:
        made = Made(
            tool=self._options.tool,
            text=f"from {'a pipe' if self._file is None else self._file.name}",
        )
        return Header(
            config, tuple(caches), FLAVOUR, self._options.clock, labels=(BEGIN_LABEL,), made=made
        )

    def _pairing(
        self,
        outbox: Outbox,
        older: Older,
        names: Names,
        contexts: Contexts,
        slabs: SlabPages,
        cpus: int,
        last_handle: int,
        nodes: int = 0,
    ) -> Pairing:
        self._older = older
        if not nodes:
            nodes = len(self._snapshot.machine.nodes) if self._snapshot is not None else 1
        return Pairing(
            outbox,
            older,
            names,
            contexts,
            slabs,
            self.report,
            cpus or MAX_CPUS,
            nodes,
            last_handle,
            self._min_free_kbytes(),
            self.balance,
            self._stray,
        )

    def _fill_report(
        self, names: Names, contexts: Contexts, pairing: Pairing, prelude: int, written: int
    ) -> None:
        report = self.report
        text = self._text
        report.lines = text.lines
        report.form = text.form + ("" if text.has_flags else ", without a flags column")
        report.lost_markers = text.lost_markers
        report.lost_events = text.lost_events
        report.inferred = {
            "PF_MEMALLOC, because kswapd asked": contexts.by_kswapd,
            "PF_MEMALLOC, because the task was in direct reclaim": contexts.by_reclaim,
            "PF_MEMALLOC, because the task was compacting memory": contexts.by_compaction,
            "TIF_MEMDIE, because the OOM killer had chosen the task": contexts.by_oom,
            "cache named by the event": names.by[BY_EVENT],
            "cache named by frees from the same call site and size": names.by[BY_FREE],
            "objects freed under the name they were given": names.confirmed,
            "objects freed under another name": names.contradicted,
        }
        report.guessed = {
            "cache named by the majority of frees that disagree": names.by[BY_VOTE],
            "cache named by size alone": names.by[BY_SIZE],
            "allocation taken for the task's own, for interrupts do not show": contexts.blind,
            "pfn computed from the address of a page": text.shapes.pfn_from_pointer,
            "event on a cpu that the machine does not have": pairing.folded_cpus,
            "request for a node that the machine does not have": pairing.folded_nodes,
            "page taken for no slab's because too much waited": pairing.undecided.forced,
            "gfp names that the importer does not know, left out": len(text.shapes.gfp.unknown),
            "gfp masks that are printed as nothing": text.shapes.gfp.missing,
            "place where the kernel lost events": text.lost_markers,
        }
        report.written = {
            "events that set up what was in use before": prelude,
            "events of the trace": written - pairing.kswapd_told,
            "events that tell of kswapd's work": pairing.kswapd_told,
        }
