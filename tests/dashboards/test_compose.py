"""docker-compose.yml is valid, hangs together, and opens nothing that it need not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OF_SERVICE = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def test_file_follows_the_compose_specification() -> None:
    """No unknown key, no wrong type, no unknown network: merged, as an engine sees it."""
    compose_spec = pytest.importorskip(
        "compose_spec", reason="no compose_spec on this machine (PyPI package compose-spec has it)"
    )
    # As an engine does it before it looks: what the environment gives, or what stands for it.
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", yaml.safe_dump(COMPOSE))
    compose = compose_spec.PyCompose.from_yaml(text)
    compose.validate_networks()


def test_older_docker_compose_takes_it(docker_compose: Callable[..., str]) -> None:
    """The last docker-compose written in Python, which Debian ships, reads the file too."""
    docker_compose("--file", CHECKOUT / "docker-compose.yml", "config", "--quiet")


def test_everything_comes_up_together() -> None:
    """One command brings the daemon, a replay, a simulated machine, and all that shows it."""
    started = {name for name, service in SERVICES.items() if "profiles" not in service}

    assert {"pfmemd", "replay", "generate", "prometheus", "alertmanager", "grafana"} == started


def test_a_soak_runs_on_demand() -> None:
    """The profile "soak" plays the same file against the daemon here and keeps its report."""
    service = SERVICES["soak"]

    assert ["soak"] == service["profiles"]
    assert ["${TRACE:-./trace.pfmt}:/trace:ro", "soak-report:/report"] == service["volumes"]
    assert "--connect tcp://pfmemd:5571 --http pfmemd:9571" in service["command"]
    assert service["command"].endswith("--out /report")


def test_a_file_is_replayed_on_demand() -> None:
    """The profile "file" sends the trace that the environment names, read-only."""
    service = SERVICES["replay-file"]

    assert ["file"] == service["profiles"]
    assert ["${TRACE:-./trace.pfmt}:/trace:ro"] == service["volumes"]
    assert service["command"].startswith("send /trace ")


@OF_SERVICE
def test_what_is_waited_for_has_a_health_check(service: dict[str, Any]) -> None:
    """A service waits only for services that exist and can say that they are healthy."""
    for name, condition in service.get("depends_on", {}).items():
        assert {"condition": "service_healthy"} == condition
        assert "healthcheck" in SERVICES[name]


@OF_SERVICE
def test_networks_and_volumes_exist(service: dict[str, Any]) -> None:
    """Networks and named volumes are defined, and files mounted from the checkout are there."""
    assert set(service["networks"]) - set(COMPOSE["networks"]) == set()
    for volume in service.get("volumes", []):
        source, target, *mode = volume.replace("${TRACE:-./trace.pfmt}", "$TRACE").split(":")
        assert target.startswith("/")
        if source == "$TRACE":
            assert ["ro"] == mode, volume
        elif source.startswith("."):
            assert (CHECKOUT / source).is_dir(), source
            assert ["ro"] == mode, volume
        else:
            assert source in COMPOSE["volumes"]


def test_no_volume_or_network_is_left_over() -> None:
    """What is defined is used."""
    networks = {name for service in SERVICES.values() for name in service["networks"]}
    volumes = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith("$")
    }

    assert set(COMPOSE["networks"]) - networks == set()
    assert set(COMPOSE["volumes"]) - volumes == set()


@OF_SERVICE
def test_image_is_pinned(service: dict[str, Any]) -> None:
    """Every image is named with a full version: the same file brings up the same things."""
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])


@OF_SERVICE
def test_ports_are_on_loopback(service: dict[str, Any]) -> None:
    """Only this machine reaches a published port."""
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@OF_SERVICE
def test_only_what_is_published_has_a_way_out(service: dict[str, Any]) -> None:
    """A service without ports is on the inner network alone, which leads nowhere."""
    assert {"internal": True} == COMPOSE["networks"]["inside"]
    assert ("published" in service["networks"]) == ("ports" in service)


@OF_SERVICE
def test_container_has_no_more_than_it_needs(service: dict[str, Any]) -> None:
    """Read-only, not root, without capabilities, bounded in memory, processes, files and logs."""
    uid, _, _ = service["user"].partition(":")

    assert service["read_only"] is True
    assert ["/tmp"] == service["tmpfs"]  # noqa: S108 - the container's, not this machine's
    assert ["ALL"] == service["cap_drop"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert int(uid) > 0
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["ulimits"]["nofile"]
    assert {"max-size", "max-file"} == set(service["logging"]["options"])


def test_versions_agree() -> None:
    """The daemon and whatever sends to it run the one image that this file builds."""
    assert "." == SERVICES["pfmemd"]["build"]
    ours = {s["image"] for s in SERVICES.values() if s["image"].startswith("pfmemd:")}
    assert {SERVICES["pfmemd"]["image"]} == ours


def test_volumes_belong_to_those_who_write_them() -> None:
    """The image makes the folders of the daemon and of the soak for the user that both run as."""
    (data,) = SERVICES["pfmemd"]["volumes"]
    _, report = SERVICES["soak"]["volumes"]
    folders = [volume.split(":")[1] for volume in (data, report)]
    dockerfile = (CHECKOUT / "Dockerfile").read_text("utf-8")

    assert SERVICES["pfmemd"]["user"] == SERVICES["soak"]["user"]
    assert f"chown {SERVICES['pfmemd']['user']} {' '.join(folders)}\n" in dockerfile
    assert f"--data-dir {folders[0]} " in SERVICES["pfmemd"]["command"]


def test_addresses_agree() -> None:
    """Prometheus scrapes, alerts and is asked where the services really listen."""
    prometheus = yaml.safe_load(
        (CHECKOUT / "dashboards/prometheus/prometheus.yml").read_text("utf-8")
    )
    job, hosts = prometheus["scrape_configs"]
    (alertmanager,) = prometheus["alerting"]["alertmanagers"]
    sources = CHECKOUT / "dashboards/grafana/provisioning/datasources/prometheus.yml"
    (source,) = yaml.safe_load(sources.read_text("utf-8"))["datasources"]

    assert [{"targets": ["pfmemd:9571"]}] == job["static_configs"]
    assert [{"files": ["hosts.yml"]}] == hosts["file_sd_configs"]
    assert "--http 0.0.0.0:9571" in SERVICES["pfmemd"]["command"]
    assert "--bind tcp://0.0.0.0:5571" in SERVICES["pfmemd"]["command"]
    for service in ("replay", "generate"):
        assert "--connect tcp://pfmemd:5571" in SERVICES[service]["command"]
    assert [{"targets": ["alertmanager:9093"]}] == alertmanager["static_configs"]
    assert "http://prometheus:9090" == source["url"]


def test_grafana_finds_what_is_mounted() -> None:
    """The provider's folder and the home dashboard are in the volumes that Grafana is given."""
    grafana = SERVICES["grafana"]
    mounts = dict(volume.split(":")[1::-1] for volume in grafana["volumes"])
    provider = CHECKOUT / "dashboards/grafana/provisioning/dashboards/pfmemd.yml"
    (dashboards,) = yaml.safe_load(provider.read_text("utf-8"))["providers"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert "./dashboards/grafana/dashboards" == mounts[dashboards["options"]["path"]]
    assert (CHECKOUT / mounts[str(home.parent)] / home.name).is_file()
