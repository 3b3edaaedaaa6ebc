"""Real programs for the tests here: started on free ports, watched, and never left behind."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from dashboards.other_metrics import NODE_EXPORTER_FLAGS

CHECKOUT = Path(__file__).parents[2]
PFMEMD = (sys.executable, "-P", "-m", "daemon")
START_SECONDS = 60.0
RUN_SECONDS = 120.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05

T = TypeVar("T")


def eventually(
    what: str | Callable[[], str], probe: Callable[[], T | None], seconds: float = START_SECONDS
) -> T:
    """Ask again until there is an answer; fail saying ``what`` did not come about."""
    deadline = time.monotonic() + seconds
    while (answer := probe()) is None:
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            pytest.fail(f"not within {seconds:.0f} s: {text}")
        time.sleep(POLL_SECONDS)
    return answer


@dataclass
class Process:
    """A process and the file that holds what it says."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def said(self, pattern: str) -> re.Match[str]:
        """Wait until it has written a line that matches; fail at once if it ends before."""

        def probe() -> re.Match[str] | None:
            ended = self.popen.poll() is not None
            found = re.search(pattern, self.log.read_text("utf-8", "replace"))
            if found is None and ended:
                pytest.fail(f"{self.name} ended, exit code {self.popen.returncode}:\n{self.tail()}")
            return found

        return eventually(f"{self.name} says {pattern!r}", probe)

    def tail(self) -> str:
        """The end of what it said."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-20:])


@dataclass
class Processes:
    """Every process of one test."""

    folder: Path
    running: list[Process] = field(default_factory=list)

    def start(self, name: str, *command: str | Path) -> Process:
        """Start a command in the test's own folder."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        process = Process(name, popen, log)
        self.running.append(process)
        return process

    def pfmemd(self, *arguments: str | Path, wait: bool = True) -> None:
        """Run ``pfmemd`` with these arguments, to its good end or in the background."""
        process = self.start(f"pfmemd-{arguments[0]}", *PFMEMD, *arguments)
        if not wait:
            return
        code = process.popen.wait(timeout=RUN_SECONDS)
        assert code == 0, process.tail()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End them all, the newest first, by force if they do not go."""
        for process in reversed(self.running):
            process.popen.terminate()
        for process in reversed(self.running):
            try:
                process.popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()


@dataclass
class Daemon:
    """A running daemon and where it listens."""

    process: Process
    http: str
    receiving: str


def start_daemon(processes: Processes, *arguments: str) -> Daemon:
    """``pfmemd serve`` on free ports with further arguments."""
    ports = ("--bind", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json")
    process = processes.start("pfmemd-serve", *PFMEMD, "serve", *ports, *arguments)
    ready = json.loads(process.said(r'(?m)^\{.*"event": ?"ready".*\}$')[0])
    return Daemon(process, ready["http"].removeprefix("http://"), ready["receiving"])


@dataclass
class Prometheus:
    """A running Prometheus, asked as Grafana asks it."""

    address: str

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The series of an instant query, each with ``metric`` and ``value``."""
        result: list[dict[str, Any]] = self.api("query", query=promql)["result"]
        return result

    def value(self, promql: str) -> float | None:
        """The value of a query of one series; None while there is none."""
        result = self.query(promql)
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def by(self, promql: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The values of a query by these labels."""
        return {
            tuple(series["metric"][label] for label in labels): float(series["value"][1])
            for series in self.query(promql)
        }

    def api(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - whatever that path gives
        """The data of an answer of the HTTP API."""
        answer = get(f"http://{self.address}/api/v1/{path}?{urlencode(parameters)}")
        assert answer["status"] == "success", answer
        return answer["data"]


def start_prometheus(
    processes: Processes,
    pfmemd: str,
    alertmanager: str | None = None,
    node_exporter: str | None = None,
) -> Prometheus:
    """Prometheus as docker-compose.yml starts it, with addresses and paths of these processes."""
    program = installed("prometheus", "prometheus")
    source = CHECKOUT / "dashboards" / "prometheus"
    config = yaml.safe_load((source / "prometheus.yml").read_text("utf-8"))
    daemon, host = config["scrape_configs"]
    daemon["static_configs"][0]["targets"] = [pfmemd]
    if node_exporter is not None:
        hosts = processes.folder / "hosts.yml"
        hosts.write_text(yaml.safe_dump([{"targets": [node_exporter]}]))
        host["file_sd_configs"][0]["files"] = [str(hosts)]
    if alertmanager is None:
        del config["alerting"]
    else:
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    config["rule_files"] = [str(source / name) for name in config["rule_files"]]
    file = processes.folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    data = processes.folder / "tsdb"
    flags = compose_flags(
        "prometheus",
        {
            "--config.file=/etc/prometheus/prometheus.yml": f"--config.file={file}",
            "--storage.tsdb.path=/prometheus": f"--storage.tsdb.path={data}",
        },
    )
    listen = "--web.listen-address=127.0.0.1:0"
    process = processes.start("prometheus", program, *flags, listen)
    address = process.said(r'msg="Listening on".* address=(\S+)')[1]
    process.said("Server is ready to receive web requests")
    return Prometheus(address)


def start_node_exporter(processes: Processes, *arguments: str) -> str:
    """node_exporter with the flags that the alerts on hosts need, and further ones; its address."""
    program = installed("prometheus-node-exporter", "prometheus-node-exporter", "node_exporter")
    flags = (*NODE_EXPORTER_FLAGS, *arguments, "--web.listen-address=127.0.0.1:0")
    process = processes.start("node_exporter", program, *flags)
    return process.said(r'msg="Listening on" address=(\S+)')[1]


@dataclass
class Alertmanager:
    """A running Alertmanager."""

    address: str

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that it holds."""
        alerts: list[dict[str, Any]] = get(f"http://{self.address}/api/v2/alerts")
        return alerts


def start_alertmanager(processes: Processes, webhook: str | None = None) -> Alertmanager:
    """Alertmanager as docker-compose.yml starts it, with an address and paths of these processes.

    It tells ``webhook``, a URL, of every alert.
    """
    program = installed("prometheus-alertmanager", "prometheus-alertmanager", "alertmanager")
    source = CHECKOUT / "dashboards" / "alertmanager" / "alertmanager.yml"
    config = yaml.safe_load(source.read_text("utf-8"))
    if webhook is not None:
        config["receivers"][0]["webhook_configs"] = [{"url": webhook}]
    file = processes.folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    data = processes.folder / "alertmanager"
    flags = compose_flags(
        "alertmanager",
        {
            "--config.file=/etc/alertmanager/alertmanager.yml": f"--config.file={file}",
            "--storage.path=/alertmanager": f"--storage.path={data}",
        },
    )
    listen = "--web.listen-address=127.0.0.1:0"
    process = processes.start("alertmanager", program, *flags, listen)
    return Alertmanager(process.said(r'msg="Listening on".* address=(\S+)')[1])


def installed(package: str, *names: str) -> str:
    """The path of a program by the first of its names that is here; else the test is skipped."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no {names[-1]} on this machine (Debian package {package} has it)")
    return found


def compose_flags(service: str, replaced: dict[str, str]) -> list[str]:
    """The service's command in docker-compose.yml, with paths of this machine."""
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text("utf-8"))
    flags: list[str] = compose["services"][service]["command"]
    assert set(replaced) <= set(flags)
    return [replaced.get(flag, flag) for flag in flags]


def get(url: str) -> Any:  # noqa: ANN401 - JSON
    """The JSON that a URL on this machine answers."""
    with urlopen(url, timeout=10) as response:  # noqa: S310 - http, to a port of the test's own
        return json.load(response)
