"""A sender that was written from docs/PROTOCOL.md alone gets everything across, once."""

from __future__ import annotations

import ast
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from allocator.machine import Machine
from allocator.revision import parse_variant
from tests.daemon.fakes import HEADER
from tests.torture.stream import batch_of, records_of
from tests.torture.test_faults import Peaceful, status
from tests.torture.world import PATIENCE, ROOT, VARIANTS, Nursery

EXAMPLE: Final = ROOT / "docs" / "examples" / "send_trace.py"
LAST: Final = 150
EPOCHS: Final = (3, 4)
Start: TypeAlias = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Peaceful]:
    """A daemon, and no sender of ours."""
    with Nursery() as nursery, Peaceful(tmp_path, nursery, 1, sources=0) as world:
        yield world


@pytest.fixture
def sender(world: Peaceful) -> Iterator[Start]:
    """Starts the example with a trace; none of them outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(trace: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-I", str(EXAMPLE), str(trace), world.url]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def test_example_knows_nothing_of_ours() -> None:
    """It is made of ZeroMQ, msgpack and Python."""
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(EXAMPLE.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }

    assert {"msgpack", "zmq"} == {
        name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names
    }


def test_example_outlives_deaths_of_the_daemon_and_its_own(
    world: Peaceful, sender: Start, tmp_path: Path
) -> None:
    """Both are killed on the way, several times: the daemon has every batch of each epoch once."""
    trace = tmp_path / "two-epochs.pfmt"
    trace.write_bytes(
        b"".join(batch_of("third", e, seq) for e in EPOCHS for seq in range(1, LAST + 1))
    )
    example = sender(trace)
    for step in ("after apply", "mid write", "before answer"):
        world.daemon = world.spawn(
            "daemon", "daemon", settings=world.settings, kill={"step": step, "count": 12}
        )
        assert -signal.SIGKILL == world.forget_daemon()
        if step == "mid write":
            example.kill()
            example.communicate()
            example = sender(trace)
    http = world.begin()

    _, err = example.communicate(timeout=PATIENCE)

    assert (0, "") == (example.returncode, err)
    source = json.loads(status(f"{http}/state")[1])["sources"]["third"]
    assert (EPOCHS[-1], LAST, {}) == (source["epoch"], source["seq"], source["batches_refused"])
    for name in VARIANTS:
        machine = Machine(HEADER.machine, parse_variant(name), HEADER.caches, HEADER.gfp)
        for seq in range(2, LAST + 1):
            machine.apply(records_of("third", EPOCHS[-1], seq))
        assert machine.digest() == source["variants"][name]["digest"]
    world.end_daemon()


def test_example_says_why_it_is_refused(world: Peaceful, sender: Start, tmp_path: Path) -> None:
    """The daemon's own words, once the life of the source is over."""
    world.begin()
    later, earlier = tmp_path / "later", tmp_path / "earlier"
    later.write_bytes(batch_of("third", 4, 1))
    earlier.write_bytes(batch_of("third", 3, 1))
    assert "" == sender(later).communicate(timeout=PATIENCE)[1]

    refused = sender(earlier)
    _, err = refused.communicate(timeout=PATIENCE)

    assert 1 == refused.returncode
    assert "(fenced)" in err
    world.end_daemon()
