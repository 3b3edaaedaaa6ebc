"""What docker-compose.yml runs inside containers also runs outside them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from tests.e2e.programs import get

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text("utf-8"))
Start: TypeAlias = Callable[..., Any]


def command(service: str, **replaced: str) -> list[str]:
    """The service's command with addresses and paths of this machine."""
    text: str = COMPOSE["services"][service]["command"]
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return shlex.split(text)


def healthy(service: str, port: int, address: str, program: str | None = None) -> bool:
    """Whether the service's health check, asked of this address, says that it is well."""
    _, *test = COMPOSE["services"][service]["healthcheck"]["test"]
    here = [word.replace(f"127.0.0.1:{port}", address) for word in test]
    assert here != test
    found = program or shutil.which(here[0])
    if found is None:
        pytest.skip(f"no {here[0]} on this machine (Debian package {here[0]} has it)")
    return subprocess.run([found, *here[1:]], check=False).returncode == 0


def test_daemon_and_replay(
    tmp_path: Path, sample: Path, serve: Start, prometheus: Start, pfmemd: Start, eventually: Start
) -> None:
    """The daemon comes up healthy, the replay feeds it, Prometheus sees events from it."""
    _, *arguments = command(
        "pfmemd",
        **{
            "tcp://0.0.0.0:5571": "tcp://127.0.0.1:0",
            "0.0.0.0:9571": "127.0.0.1:0",
            "/var/lib/pfmemd": str(tmp_path / "data"),
        },
    )
    daemon = serve(*arguments)
    prom = prometheus(daemon.http)
    send = {"/opt/pfmemd/share/nbd-swap.pfmt": str(sample), "tcp://pfmemd:5571": daemon.receiving}
    pfmemd(*command("replay", **send), wait=False)

    assert healthy("pfmemd", 9571, daemon.http, sys.executable)
    assert healthy("prometheus", 9090, prom.address)
    eventually("events arrive", lambda: prom.value("sum(pfmemd_events_applied_total)") or None)


def test_generate(serve: Start, pfmemd: Start, eventually: Start) -> None:
    """A simulated machine feeds the daemon under its scenario's name."""
    daemon = serve("--variant", "slab-seed")
    send = {"${SCENARIO:-emergency-overflow}": "idle", "tcp://pfmemd:5571": daemon.receiving}
    pfmemd(*command("generate", **send), wait=False)

    eventually(
        "its events are there",
        lambda: "idle" in get(f"http://{daemon.http}/state")["sources"] or None,
    )


def test_replay_of_a_file(sample: Path, serve: Start, pfmemd: Start, eventually: Start) -> None:
    """The profile "file" sends whatever file is mounted, without a word on what it is."""
    daemon = serve("--variant", "slab-seed")
    send = {"/trace": str(sample), "tcp://pfmemd:5571": daemon.receiving, "--speed 1x": ""}
    pfmemd(*command("replay-file", **send), wait=False)

    eventually("the source is there", lambda: get(f"http://{daemon.http}/state")["sources"] or None)


def test_soak(tmp_path: Path, sample: Path, serve: Start, pfmemd: Start) -> None:
    """The profile "soak" plays the file against a running daemon and writes its report."""
    daemon = serve("--variant", "slab-seed")
    here = {
        "/trace": str(sample),
        "tcp://pfmemd:5571": daemon.receiving,
        "pfmemd:9571": daemon.http,
        "${SOAK_FOR:-8h}": "1s",
        "${SOAK_FAIL_ON:-reserve-exhausted,hang}": "reserve-exhausted,hang",
        "--out /report": f"--out {tmp_path / 'report'} --no-explain",
    }

    pfmemd(*command("soak", **here))

    assert {"report.html", "junit.xml", "result.json"} == {
        path.name for path in (tmp_path / "report").iterdir()
    }


def test_daemon_that_is_not_there_is_not_healthy() -> None:
    """The health check fails where nothing listens."""
    assert not healthy("pfmemd", 9571, "127.0.0.1:1", sys.executable)


def test_alertmanager(alertmanager: Start) -> None:
    """Alertmanager comes up healthy by its own health check."""
    assert healthy("alertmanager", 9093, alertmanager().address)
