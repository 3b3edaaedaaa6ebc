"""The service: wires settings, engine, HTTP and receiver together, and runs them.

Order of a life: HTTP first (so that /readyz can say no), then the receiver or the
trace, then ready; a stop closes the receiver first, then HTTP. SIGTERM and SIGINT
end it cleanly within two seconds.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from contextlib import closing
from http import HTTPStatus
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from allocator import COMPILED
from allocator.config import CacheSpec, MachineConfig
from allocator.machine import Machine
from allocator.revision import Variant, parse_variant
from daemon.collector import ModelCollector, SubsystemCollector
from daemon.collectors.allocations import AllocationsCollector
from daemon.collectors.build import BuildCollector
from daemon.collectors.caches import CachesCollector
from daemon.collectors.ingest import IngestCollector
from daemon.collectors.samples import LabelBounds
from daemon.collectors.zones import ZonesCollector
from daemon.engine import Engine, ModelFaultError
from daemon.feed import TraceFeed
from daemon.health import Health
from daemon.http import HttpServer, Request, Response, json_response
from daemon.receiver import Receiver
from daemon.settings import Settings, unknown_environment
from daemon.sources import MachineFactory, ModelledMachine
from daemon.state import state_of
from daemon.stop_signal import StopSignal
from tracegen.limits import BatchLimits

log = structlog.get_logger()

IDLE_SECONDS: Final = 1.0
"""How often the main loop turns when a trace is done and only HTTP is served."""


def new_machine(
    config: MachineConfig, variant: Variant, caches: Sequence[CacheSpec], gfp_flavour: str | None
) -> ModelledMachine:
    """The model itself."""
    return Machine(config, variant, caches, gfp_flavour)


def subsystem_collectors(
    max_sources: int, version: str, variants: Sequence[str]
) -> list[SubsystemCollector]:
    """Every collector of the daemon, in the order of /metrics."""
    return [
        ZonesCollector(),
        AllocationsCollector(),
        CachesCollector(),
        IngestCollector(max_sources),
        BuildCollector(version, variants),
    ]


class Service:
    """One daemon, from its settings to its end."""

    def __init__(
        self, settings: Settings, version: str, machine_factory: MachineFactory = new_machine
    ) -> None:
        self._settings = settings
        self._version = version
        self._health = Health()
        variants = [parse_variant(name) for name in settings.variants]
        self._engine = Engine(variants, settings.max_sources, machine_factory)
        self._registry = CollectorRegistry()

    def run(self, stop: StopSignal, trace: str | None, *, exit_when_done: bool) -> None:
        """Serve until a stop is asked for, from senders or from ``trace``.

        With ``exit_when_done`` the end of the trace is a stop. Raises PfmemdError for
        an address that cannot be had, a trace that is bad, or a model that failed.
        """
        for name in unknown_environment():
            log.warning("environment variable names no setting", variable=name)
        http = HttpServer(
            self._settings.http_address,
            {
                "/metrics": self._metrics,
                "/state": self._state,
                "/healthz": self._healthz,
                "/readyz": self._readyz,
            },
            self._settings.http_workers,
            self._settings.http_timeout_seconds,
        )
        self._register(http)
        http.start()
        try:
            if trace is None:
                self._receive(stop, http)
            else:
                self._consume(stop, http, trace, exit_when_done=exit_when_done)
        except ModelFaultError:
            log.exception("a model failed")  # the one line at the end does not say where in it
            raise
        finally:
            self._health.waiting_for = "stopping"
            http.stop()
        log.info("stopped")

    def _register(self, http: HttpServer) -> None:
        ProcessCollector(registry=self._registry)
        self._registry.register(
            ModelCollector(
                self._engine.read,
                subsystem_collectors(
                    self._settings.max_sources, self._version, self._settings.variants
                ),
                LabelBounds(self._settings.max_label_values),
                lambda: http.refused,
            )
        )

    def _ready(self, http: HttpServer, source: str) -> None:
        self._health.waiting_for = None
        log.info(
            "ready",
            receiving=source,
            http=http.url,
            variants=",".join(self._settings.variants),
            version=self._version,
            compiled=COMPILED,
        )

    def _receive(self, stop: StopSignal, http: HttpServer) -> None:
        agent = f"pfmemd {self._version}"
        receiver = Receiver(self._settings, self._engine, self._health, stop, agent)
        with closing(receiver):
            self._ready(http, receiver.endpoint)
            receiver.run()

    def _consume(
        self, stop: StopSignal, http: HttpServer, trace: str, *, exit_when_done: bool
    ) -> None:
        limits = BatchLimits(self._settings.max_batch_bytes, self._settings.max_batch_events)
        feed = TraceFeed(trace, limits, self._engine, self._health, stop)
        self._ready(http, "standard input" if trace == "-" else trace)
        if not feed.run():
            return
        log.info("trace done", events=sum(s.life.events for s in self._engine.read().sources))
        while not exit_when_done and not stop.requested:
            self._health.turn()
            select.select([stop.fd], [], [], IDLE_SECONDS)

    # Routes.

    def _metrics(self, request: Request) -> Response:
        encoder, content_type = choose_encoder(request.accept)
        return Response(encoder(self._registry), content_type)

    def _state(self, request: Request) -> Response:
        reading = self._engine.read(digest=request.query.get("digest", "1") != "0")
        return json_response(state_of(reading, self._version, self._health.waiting_for))

    def _healthz(self, request: Request) -> Response:
        del request
        problem = self._health.problem()
        if problem is not None:
            return Response(f"{problem}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"ok\n")

    def _readyz(self, request: Request) -> Response:
        del request
        waiting_for = self._health.waiting_for or self._health.problem()
        if waiting_for is not None:
            return Response(f"{waiting_for}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"ready\n")
