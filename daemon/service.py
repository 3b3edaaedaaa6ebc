"""The service: wires settings, engine, HTTP and receiver together, and runs them.

Order of a life: HTTP first (so that /readyz can say no), then the recovery of what the
data folder keeps, then the receiver or the trace, then ready; a stop closes the receiver
first, then the storage, then HTTP. SIGTERM and SIGINT end it cleanly within two seconds.
"""

from __future__ import annotations

import resource
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from ssl import SSLContext
from typing import Final

import structlog

from allocator import COMPILED, snapshot
from allocator.config import CacheSpec, MachineConfig
from allocator.machine import Machine
from allocator.revision import Variant, parse_variant
from daemon.collector import MetricsPage, SubsystemCollector
from daemon.collectors.allocations import AllocationsCollector
from daemon.collectors.build import BuildCollector
from daemon.collectors.caches import CachesCollector
from daemon.collectors.ingest import IngestCollector
from daemon.collectors.limits import LimitsCollector
from daemon.collectors.samples import LabelBounds
from daemon.collectors.storage import StorageCollector
from daemon.collectors.zones import ZonesCollector
from daemon.connections import ConnectionCounts
from daemon.engine import Engine
from daemon.feed import TraceFeed
from daemon.files import Folder, OsFolder
from daemon.health import Health
from daemon.http import HttpServer, Request, Response, json_response
from daemon.http_security import Password, tls_context
from daemon.intake import Intake
from daemon.journal.writer import JournalRules
from daemon.memory import MemoryWatch, resident_bytes
from daemon.receiver import Receiver
from daemon.recovery import Recovered
from daemon.settings import Settings, unknown_environment
from daemon.sources import MachineFactory, MachineImages, ModelFaultError, ModelledMachine
from daemon.state import state_of
from daemon.stop_signal import StopSignal
from daemon.storage import SnapshotRules, Storage, StorageReading, open_storage
from daemon.summary import BUSIEST
from daemon.view_route import view_routes
from daemon.workers import WorkerPool
from tracegen.limits import BatchLimits

log = structlog.get_logger()

IDLE_SECONDS: Final = 1.0
"""How often the main loop turns when a trace is done and only HTTP is served."""
MAX_CACHES_DIGITS: Final = 6
"""A machine has not a million caches."""
SWITCH_SECONDS: Final = 0.001
"""After so long a thread gives the interpreter lock to one that waits for it, not after Python's
5 ms: a scrape comes to take it some ten times, and each time the feeding thread has it."""
PROGRESS_SECONDS: Final = 5.0
"""How often a recovery says in the log how far it is."""


class _StoppedRecoveringError(Exception):
    """A stop was asked for during the recovery."""


def new_machine(
    config: MachineConfig, variant: Variant, caches: Sequence[CacheSpec], gfp_flavour: str | None
) -> ModelledMachine:
    """The model itself."""
    return Machine(config, variant, caches, gfp_flavour)


class ModelImages:
    """The model's own images of itself."""

    def save(self, machine: ModelledMachine) -> bytes:
        """The machine's state."""
        return snapshot.save(_own(machine))

    def restore(self, machine: ModelledMachine, image: bytes) -> None:
        """Give the machine that state; SnapshotError, a ValueError, if it does not fit."""
        snapshot.restore(_own(machine), image)


def _own(machine: ModelledMachine) -> Machine:
    if not isinstance(machine, Machine):
        raise TypeError(f"no image of a {type(machine).__name__}")
    return machine


@contextmanager
def locked_folder(path: Path) -> Iterator[Folder]:
    """The data folder, for this process alone; raises FolderError."""
    with OsFolder(path, make=True) as folder:
        folder.lock()
        yield folder


def subsystem_collectors(
    settings: Settings,
    version: str,
    storage: Callable[[], StorageReading | None],
    connections: ConnectionCounts,
    memory: MemoryWatch,
) -> list[SubsystemCollector]:
    """Every collector of the daemon, in the order of /metrics."""
    return [
        ZonesCollector(),
        AllocationsCollector(),
        CachesCollector(),
        IngestCollector(settings.max_sources),
        StorageCollector(storage, settings.data_dir),
        LimitsCollector(connections, settings, memory),
        BuildCollector(version, settings.variants),
    ]


class Service:
    """One daemon, from its settings to its end."""

    def __init__(
        self,
        settings: Settings,
        version: str,
        machine_factory: MachineFactory = new_machine,
        images: MachineImages | None = None,
        open_folder: Callable[[Path], AbstractContextManager[Folder]] = locked_folder,
        wall_clock_ns: Callable[[], int] = time.time_ns,
        workers: WorkerPool | None = None,
    ) -> None:
        """``workers`` hold the machines, in place of ``machine_factory`` and ``images``."""
        if workers is not None:
            machine_factory, images = workers.new_machine, workers
        self._workers = workers
        self._settings = settings
        self._version = version
        self._images = images or ModelImages()
        self._open_folder = open_folder
        self._wall_clock_ns = wall_clock_ns
        self._health = Health()
        variants = [parse_variant(name) for name in settings.variants]
        self._engine = Engine(
            variants,
            settings.max_sources,
            machine_factory,
            self._wall_clock,
            settings.max_live_handles,
        )
        self._storage: Storage | None = None
        self._memory = MemoryWatch(settings.max_memory_bytes, self._resident_bytes)
        self._connections = ConnectionCounts()

    def run(self, stop: StopSignal, trace: str | None, *, exit_when_done: bool) -> None:
        """Serve until a stop is asked for, from senders or from ``trace``.

        With ``exit_when_done`` the end of the trace is a stop. Raises PfmemdError for
        an address that cannot be had, a trace that is bad, a data folder that cannot be
        used, or a model that failed.
        """
        for name in unknown_environment():
            log.warning("environment variable names no setting", variable=name)
        _allow_many_files()
        sys.setswitchinterval(SWITCH_SECONDS)
        page = self._metrics_page(lambda: http.refused, lambda: http.unauthorized)
        http = HttpServer(
            self._settings.http_address,
            {
                "/metrics": partial(_metrics, page),
                "/state": self._state,
                "/healthz": self._healthz,
                "/readyz": self._readyz,
                **view_routes(self._engine),
            },
            self._settings.http_workers,
            self._settings.http_timeout_seconds,
            *_http_security(self._settings),
        )
        http.start()
        try:
            with self._intake(stop) as intake:
                if trace is None:
                    self._receive(stop, http, intake)
                else:
                    self._consume(stop, http, intake, trace, exit_when_done=exit_when_done)
        except _StoppedRecoveringError:
            pass
        except ModelFaultError:
            log.exception("a model failed")  # the one line at the end does not say where in it
            raise
        finally:
            self._health.waiting_for = "stopping"
            http.stop()
        log.info("stopped")

    def _metrics_page(
        self, connections_refused: Callable[[], int], requests_unauthorized: Callable[[], int]
    ) -> MetricsPage:
        settings = self._settings
        return MetricsPage(
            self._engine.read,
            subsystem_collectors(
                settings,
                self._version,
                lambda: None if self._storage is None else self._storage.read(),
                self._connections,
                self._memory,
            ),
            LabelBounds(settings.max_label_values),
            connections_refused,
            requests_unauthorized,
        )

    def _resident_bytes(self) -> int:
        workers = self._workers
        return resident_bytes() + (0 if workers is None else workers.resident_bytes())

    def _wall_clock(self) -> float:
        return self._wall_clock_ns() / 1e9

    def _ready(self, http: HttpServer, source: str) -> None:
        self._health.waiting_for = None
        log.info(
            "ready",
            receiving=source,
            kept_in=str(self._settings.data_dir or "memory only, --data-dir keeps it on disk"),
            http=http.url,
            variants=",".join(self._settings.variants),
            version=self._version,
            compiled=COMPILED,
        )

    @contextmanager
    def _intake(self, stop: StopSignal) -> Iterator[Intake]:
        """What takes batches; with a data folder, after its recovery."""
        settings = self._settings
        if settings.data_dir is None:
            yield self._new_intake(None, stop)
            return
        with (
            self._open_folder(settings.data_dir) as folder,
            ThreadPoolExecutor(1, "journal") as journal_executor,
            ThreadPoolExecutor(1, "snapshot") as snapshot_executor,
        ):
            self._health.take_time()  # a snapshot of large machines is read in one go
            storage = open_storage(
                folder,
                self._engine,
                self._images,
                _journal_rules(settings),
                SnapshotRules(settings.snapshot_interval_seconds, settings.snapshot_journal_bytes),
                self._version,
                _Progress(self._health, self._memory, stop),
                (journal_executor, snapshot_executor),
                wall_clock_ns=self._wall_clock_ns,
            )
            self._storage = storage
            intake = self._new_intake(storage, stop)
            try:
                yield intake
            finally:
                intake.close()

    def _new_intake(self, storage: Storage | None, stop: StopSignal) -> Intake:
        return Intake(
            self._engine,
            storage,
            self._health,
            lambda: stop.requested,
            self._memory,
            workers=self._workers,
        )

    def _receive(self, stop: StopSignal, http: HttpServer, intake: Intake) -> None:
        agent = f"pfmemd {self._version}"
        receiver = Receiver(self._settings, intake, self._health, stop, agent, self._connections)
        with closing(receiver):
            self._ready(http, receiver.endpoint)
            receiver.run()

    def _consume(
        self,
        stop: StopSignal,
        http: HttpServer,
        intake: Intake,
        trace: str,
        *,
        exit_when_done: bool,
    ) -> None:
        limits = BatchLimits(self._settings.max_batch_bytes, self._settings.max_batch_events)
        feed = TraceFeed(trace, limits, intake, self._health, stop)
        self._ready(http, "standard input" if trace == "-" else trace)
        if not feed.run():
            return
        log.info("trace done", events=sum(s.life.events for s in self._engine.read().sources))
        while not exit_when_done and not stop.requested:
            self._health.turn()
            intake.turn()
            select.select([stop.fd], [], [], IDLE_SECONDS)

    # Routes.

    def _state(self, request: Request) -> Response:
        wanted = request.query.get("caches", str(BUSIEST))
        if not wanted.isascii() or not wanted.isdigit() or len(wanted) > MAX_CACHES_DIGITS:
            text = f"caches={wanted}: expected how many of the busiest caches to list\n"
            return Response(text.encode(), status=HTTPStatus.BAD_REQUEST)
        reading = self._engine.read(digest=request.query.get("digest", "1") != "0")
        state = state_of(reading, self._version, self._health.not_ready, int(wanted))
        return json_response(state)

    def _healthz(self, request: Request) -> Response:
        del request
        problem = self._health.problem()
        if problem is not None:
            return Response(f"{problem}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"ok\n")

    def _readyz(self, request: Request) -> Response:
        del request
        not_ready = self._health.not_ready
        if not_ready is not None:
            return Response(f"{not_ready}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"ready\n")


def _metrics(page: MetricsPage, request: Request) -> Response:
    return Response(*page.render(request.accept))


def _http_security(settings: Settings) -> tuple[SSLContext | None, Password | None]:
    """Raises HttpSecurityError for files that cannot be used."""
    certificate, key = settings.http_certificate, settings.http_key
    path = settings.http_password_file
    return (
        None if certificate is None or key is None else tls_context(certificate, key),
        None if path is None else Password(path),
    )


def _allow_many_files() -> None:
    """Let the process open as many files as it may: each idle connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Progress:
    """Tells how far a recovery is: /readyz always, the log now and then."""

    def __init__(self, health: Health, memory: MemoryWatch, stop: StopSignal) -> None:
        self._health = health
        self._memory = memory
        self._stop = stop
        self._said_at = time.monotonic()

    def __call__(self, recovered: Recovered) -> None:
        if self._stop.requested:
            raise _StoppedRecoveringError
        self._health.turn()
        self._memory.turn()
        percent = 100 * recovered.bytes_done // max(1, recovered.bytes_total)
        self._health.waiting_for = (
            f"recovering: {percent} % of {recovered.bytes_total:,} bytes of the journal"
        )
        if time.monotonic() - self._said_at >= PROGRESS_SECONDS:
            self._said_at = time.monotonic()
            log.info(
                "recovering",
                percent=percent,
                bytes=recovered.bytes_total,
                batches=recovered.batches,
                events=recovered.events,
            )


def _journal_rules(settings: Settings) -> JournalRules:
    return JournalRules(
        fsync=settings.fsync,
        fsync_interval_seconds=settings.fsync_interval_seconds,
        segment_bytes=settings.segment_bytes,
        retention_bytes=settings.journal_retention_bytes,
        retention_seconds=settings.journal_retention_seconds,
    )
