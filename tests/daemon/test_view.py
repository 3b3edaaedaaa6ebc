"""``pfmemd view`` and the live views: the kernel's files, and the tools that read them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from allocator.machine import Machine
from allocator.revision import parse_variant
from allocator.views import PROC_FILES, slab_text
from daemon.engine import Engine
from daemon.http import HttpServer
from daemon.service import new_machine
from daemon.view_cli import view_command
from daemon.view_route import view_routes
from tests.daemon.fakes import Machines, offer
from tests.daemon.reserve_trace import EVENTS, HEADER, trace_bytes
from tracegen.batch import EventBatch, HeaderBatch
from tracegen.errors import PfmemdError

SECONDS = 20


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """The reserve drawn, kept and leaked, four events a batch."""
    path = tmp_path / "trace.pfmt"
    path.write_bytes(trace_bytes())
    return str(path)


def invoke(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(view_command, list(arguments))


def machine_after(number: int, variant: str = "slab-seed") -> Machine:
    """The machine after so many of the events."""
    machine = Machine(HEADER.machine, parse_variant(variant), HEADER.caches, HEADER.gfp)
    machine.apply(b"".join(EVENTS[:number]))
    return machine


@pytest.mark.parametrize("number", [0, 1, 4, 5, 8, len(EVENTS)])
@pytest.mark.parametrize("name", list(PROC_FILES))
def test_view_is_of_the_machine_after_that_event(trace: str, number: int, name: str) -> None:
    """Any event, at the edges of batches and within; 0 is just booted."""
    result = invoke(trace, name, "--at", str(number))

    assert 0 == result.exit_code, result.output
    assert PROC_FILES[name](machine_after(number)) == result.output


def test_default_is_the_end_and_a_pipe_will_do() -> None:
    """Without --at the last event; standard input is read once, as a whole command shows."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "view", "-", "slabinfo", "--variant", "slub-seed"],
        input=trace_bytes(),
        capture_output=True,
        check=False,
        timeout=SECONDS,
    )

    whole = PROC_FILES["slabinfo"](machine_after(len(EVENTS), "slub-seed"))
    assert (0, whole) == (done.returncode, done.stdout.decode())


def test_slab_folder_of_slub(trace: str) -> None:
    """All caches, or one; SLAB has no such folder, and no machine has a cache of that name."""
    whole = invoke(trace, "slab", "--variant", "slub-seed")
    one = invoke(trace, "slab", "dentry", "--variant", "slub-seed")
    slab = invoke(trace, "slab")
    unknown = invoke(trace, "slab", "nothing", "--variant", "slub-seed")

    machine = machine_after(len(EVENTS), "slub-seed")
    assert slab_text(machine) == whole.output
    assert slab_text(machine, "dentry") == one.output
    assert "slab-seed has no /sys/kernel/slab" in str(slab.exception)
    assert "slub-seed has no cache 'nothing'" in str(unknown.exception)


def test_output_writes_a_tree_like_a_kernel_s(trace: str, tmp_path: Path) -> None:
    """Each file where the kernel has it."""
    folder = tmp_path / "views"

    result = invoke(trace, "-o", str(folder), "--variant", "slub-seed")

    assert 0 == result.exit_code, result.output
    machine = machine_after(len(EVENTS), "slub-seed")
    for name, show in PROC_FILES.items():
        assert show(machine) == (folder / "proc" / name).read_text("utf-8")
    assert "256\n" == (folder / "sys/kernel/slab/skbuff_head_cache/object_size").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "a VIEW or --output is wanted"),
        (("slabinfo", "-o", "x"), "and not both"),
        (("slabinfo", "dentry"), "belongs to the view slab"),
        (("meminfo",), "is not one of"),
        (("slabinfo", "--variant", "slob-seed"), "no variant 'slob-seed'"),
    ],
)
def test_wrong_use_is_told(trace: str, arguments: tuple[str, ...], complaint: str) -> None:
    """Exit code 2, and what was expected."""
    result = invoke(trace, *arguments)

    assert 2 == result.exit_code
    assert complaint in result.output


def test_event_that_is_not_there_is_told(trace: str) -> None:
    """Past the end: how many there are."""
    result = invoke(trace, "slabinfo", "--at", "12")

    assert isinstance(result.exception, PfmemdError)
    assert "there is no event 12, the last is 11" in str(result.exception)


class TestTools:
    """Programs that Debian ships read the views as they read a kernel's files."""

    @pytest.fixture
    def views(self, trace: str, tmp_path: Path) -> Path:
        """The views of a machine, written to files."""
        folder = tmp_path / "views"
        assert 0 == invoke(trace, "-o", str(folder), "--variant", "slub-v3.6").exit_code
        return folder

    def in_place_of_slabinfo(self, views: Path, *command: str) -> list[list[str]]:
        """Run a command that finds the view at /proc/slabinfo, in a mount namespace of its own."""
        if shutil.which(command[0]) is None or shutil.which("unshare") is None:
            pytest.skip(f"{command[0]} or unshare is not installed (Debian: procps, util-linux)")
        script = 'mount --bind "$0" /proc/slabinfo && exec "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, str(views / "proc/slabinfo"), *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if "unshare" in done.stderr or "mount:" in done.stderr:
            pytest.skip(f"no mount namespace to be had here: {done.stderr.strip()}")
        assert 0 == done.returncode, done.stderr
        return [line.split() for line in done.stdout.splitlines()]

    def test_slabtop_reads_slabinfo(self, views: Path) -> None:
        """Objects, active, size, slabs, objects a slab of a cache."""
        rows = self.in_place_of_slabinfo(views, "slabtop", "--once", "--sort=n")

        (row,) = [row for row in rows if row and row[-1] == "skbuff_head_cache"]
        assert ["16", "16", "100%", "0.25K", "1", "16", "4K"] == row[:-1]

    def test_vmstat_reads_slabinfo(self, views: Path) -> None:
        """``vmstat -m``: active, total, size, objects a page."""
        rows = self.in_place_of_slabinfo(views, "vmstat", "-m")

        assert ["skbuff_head_cache", "16", "16", "256", "16"] in rows

    def test_node_exporter_reads_them_all(self, views: Path) -> None:
        """The exporter that most machines run: three collectors, every number as it should be."""
        program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
        if program is None:
            pytest.skip("node_exporter is not installed (Debian: prometheus-node-exporter)")
        machine = machine_after(len(EVENTS), "slub-v3.6")
        zone = machine.stats().zones[0]

        with exporter(program, views) as metrics:
            values = dict(
                line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#")
            )

        for collector in ("slabinfo", "zoneinfo", "buddyinfo"):
            assert "1" == values[f'node_scrape_collector_success{{collector="{collector}"}}']
        assert "16" == values['node_slabinfo_objects{slab="skbuff_head_cache"}']
        assert "256" == values['node_slabinfo_object_size_bytes{slab="skbuff_head_cache"}']
        labels = '{node="0",zone="DMA32"}'
        assert zone.free_pages == int(float(values[f"node_zoneinfo_nr_free_pages{labels}"]))
        assert zone.min_pages == int(float(values[f"node_zoneinfo_min_pages{labels}"]))
        assert zone.high_pages == int(float(values[f"node_zoneinfo_high_pages{labels}"]))
        blocks = [
            int(float(values[f'node_buddyinfo_blocks{{node="0",size="{order}",zone="DMA32"}}']))
            for order in range(11)
        ]
        assert zone.free_blocks == blocks


@contextmanager
def exporter(program: str, views: Path) -> Iterator[str]:
    """A node_exporter over the views; what it says at /metrics."""
    process = subprocess.Popen(
        [
            program,
            f"--path.procfs={views / 'proc'}",
            "--collector.disable-defaults",
            *(f"--collector.{name}" for name in ("slabinfo", "zoneinfo", "buddyinfo")),
            "--web.listen-address=127.0.0.1:0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            address = next(  # it says where it listens
                found[1]
                for line in process.stderr
                if (found := re.search(r"Listening on.* address=(\S+)", line))
            )
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as response:
                yield response.read().decode()
        finally:
            process.kill()


class TestHttp:
    """The same from a running daemon."""

    @pytest.fixture
    def server(self) -> Iterator[HttpServer]:
        """A server of the views over an engine with one source and two variants."""
        engine = Engine(
            (parse_variant("slab-seed"), parse_variant("slub-seed")), 4, new_machine, lambda: 0.0
        )
        offer(engine, HeaderBatch("host-a", 7, HEADER))
        offer(engine, EventBatch("host-a", 7, 2, b"".join(EVENTS)))
        server = HttpServer(("127.0.0.1", 0), view_routes(engine), 2, SECONDS)
        server.start()
        yield server
        server.stop()

    def get(self, server: HttpServer, path: str) -> tuple[int, str]:
        """Status and body."""
        try:
            with urllib.request.urlopen(server.url + path, timeout=SECONDS) as response:  # noqa: S310 - our own
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    @pytest.mark.parametrize("name", list(PROC_FILES))
    @pytest.mark.parametrize("variant", ["slab-seed", "slub-seed"])
    def test_proc_files(self, server: HttpServer, variant: str, name: str) -> None:
        """/proc/SOURCE/VARIANT/NAME is the view of that machine."""
        told = self.get(server, f"/proc/host-a/{variant}/{name}")

        assert (200, PROC_FILES[name](machine_after(len(EVENTS), variant))) == told

    def test_slab_folder(self, server: HttpServer) -> None:
        """/sys/SOURCE/VARIANT/kernel/slab, whole and by cache."""
        machine = machine_after(len(EVENTS), "slub-seed")

        whole = self.get(server, "/sys/host-a/slub-seed/kernel/slab")
        one = self.get(server, "/sys/host-a/slub-seed/kernel/slab/dentry")

        assert (200, slab_text(machine)) == whole
        assert (200, slab_text(machine, "dentry")) == one

    def test_folders_list_what_is_in_them(self, server: HttpServer) -> None:
        """/proc/ names every file of every machine, /sys/ those that have SLUB."""
        whole = self.get(server, "/proc/")
        one = self.get(server, "/proc/host-a/slub-seed/")
        sys = self.get(server, "/sys/")

        names = "".join(f"/proc/host-a/slub-seed/{name}\n" for name in PROC_FILES)
        assert (200, names) == one
        assert whole[1].endswith(names)
        assert 2 * len(PROC_FILES) == len(whole[1].splitlines())
        assert (200, "/sys/host-a/slub-seed/kernel/slab\n") == sys

    @pytest.mark.parametrize(
        "path",
        [
            "/proc/host-a/slab-seed/meminfo",
            "/proc/host-b/slab-seed/slabinfo",
            "/proc/host-a/slab-v3.6/slabinfo",
            "/proc/host-a",
            "/sys/host-a/slab-seed/kernel/slab",
            "/sys/host-a/slub-seed/kernel/slab/nothing",
            "/sys/host-a/slub-seed/kernel/mm",
        ],
    )
    def test_what_is_not_there_is_404(self, server: HttpServer, path: str) -> None:
        """One line says what was missed or where there is a list."""
        status, body = self.get(server, path)

        assert 404 == status
        assert 1 == len(body.splitlines())

    def test_machines_of_another_kind_have_no_views(self) -> None:
        """A model that is not the machine itself: 404, not a failure."""
        engine = Engine((parse_variant("slab-seed"),), 4, Machines(), lambda: 0.0)
        offer(engine, HeaderBatch("host-a", 7, HEADER))
        server = HttpServer(("127.0.0.1", 0), view_routes(engine), 2, SECONDS)
        server.start()
        try:
            status, body = self.get(server, "/proc/host-a/slab-seed/slabinfo")
        finally:
            server.stop()

        assert (404, "no views of a FakeMachine\n") == (status, body)
