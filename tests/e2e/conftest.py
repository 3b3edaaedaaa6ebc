"""Gives the tests here the programs of programs.py, ended with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import programs
from tests.e2e.programs import Alertmanager, Daemon, Processes, Prometheus
from tracegen import samples


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    """Gives the tests eventually()."""
    return programs.eventually


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes; none of them outlives the test."""
    with Processes(tmp_path) as started:
        yield started


@pytest.fixture
def pfmemd(processes: Processes) -> Callable[..., None]:
    """Runs ``pfmemd`` with arguments to its good end."""
    return processes.pfmemd


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged trace of a real machine that swaps over NBD, imported."""
    folder = tmp_path_factory.mktemp("sample")
    with Processes(folder) as processes:
        processes.pfmemd("import", *samples.import_arguments(), "-o", "nbd-swap.pfmt")
    return folder / "nbd-swap.pfmt"


@pytest.fixture
def serve(processes: Processes) -> Callable[..., Daemon]:
    """Starts the daemon."""
    return partial(programs.start_daemon, processes)


@pytest.fixture
def prometheus(processes: Processes) -> Callable[..., Prometheus]:
    """Starts Prometheus."""
    return partial(programs.start_prometheus, processes)


@pytest.fixture
def node_exporter(processes: Processes) -> Callable[..., str]:
    """Starts node_exporter."""
    return partial(programs.start_node_exporter, processes)


@pytest.fixture
def alertmanager(processes: Processes) -> Callable[..., Alertmanager]:
    """Starts Alertmanager."""
    return partial(programs.start_alertmanager, processes)
