"""A simulated machine that a daemon's model answers, with and without a socket between them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from allocator.events import RECORD_SIZE
from allocator.machine import Machine
from allocator.revision import parse_variant
from daemon.engine import Engine
from daemon.health import Health
from daemon.intake import Intake
from daemon.receiver import Receiver
from daemon.service import new_machine
from daemon.settings import load_settings
from daemon.sources import Admitted
from daemon.stop_signal import StopSignal
from tests.tracegen.fakes import RouterDaemon, Storage
from tests.tracegen.workload.machines import TINY, scenario
from tracegen.batch import EventBatch, HeaderBatch, encode
from tracegen.cli import main
from tracegen.protocol import Answer
from tracegen.workload.cli import plan_for
from tracegen.workload.generate import Generated, Limits, generate
from tracegen.workload.memory import OwnModel
from tracegen.workload.scenario import Scenario

VARIANTS = [parse_variant(name) for name in ("slub-unpatched", "slub-v3.6", "slub-v6.1")]
SHORT = {"duration_seconds": 0.02, "load__0__passes": 0, "load__0__page_us": 50}
"""Some thousand events."""


class EngineSink:
    """A daemon's engine without a socket: it applies each batch and gives the answer."""

    def __init__(self, wanted: str) -> None:
        self.engine = Engine(VARIANTS, 1, new_machine)
        self.records = bytearray()
        self.headers: list[HeaderBatch] = []
        self._wanted = wanted

    def open(self, batch: HeaderBatch) -> Answer | None:
        """Begin a life."""
        self.headers.append(batch)
        return self._apply(batch)

    def send(self, batch: EventBatch) -> Answer | None:
        """Apply a batch."""
        self.records += batch.records
        return self._apply(batch)

    def wait_until(self, seconds: float) -> None:
        """No pace."""

    def _apply(self, batch: HeaderBatch | EventBatch) -> Answer | None:
        admitted = self.engine.admit(batch, encode(batch))
        assert isinstance(admitted, Admitted)
        admitted.wanted = self._wanted
        self.engine.apply(admitted)
        return admitted.answer


def run(kernel: str, machine: Scenario, *, closed: bool) -> tuple[Generated, EngineSink]:
    """One life; when it is open, the engine's answers are not looked at."""
    sink = EngineSink(kernel)
    return generate(plan_for(machine, (kernel, ""), 0), ["a"], sink, Limits(), closed=closed), sink


@pytest.mark.parametrize("kernel", ["slub-v3.6", "slub-v6.1", "slub-unpatched"])
def test_a_daemons_model_gives_the_same_events_as_ones_own(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, for a model of one's own that is not told of what a trace cannot say."""
    monkeypatch.setattr(OwnModel, "drain", lambda _self, _cpu: None)
    machine = scenario(**SHORT)

    _, own = run(kernel, machine, closed=False)
    _, asked = run(kernel, machine, closed=True)

    assert len(own.records) > 0
    assert own.records == asked.records


def test_answers_change_nothing_in_the_models() -> None:
    """Every variant's digest is that of a model that applied the same records unasked."""
    _, asked = run("slub-unpatched", scenario(**SHORT), closed=True)

    (header,) = asked.headers
    for variant in VARIANTS:
        unasked = Machine(header.header.machine, variant, header.header.caches, header.header.gfp)
        unasked.apply(bytes(asked.records))
        assert unasked.digest() == asked.engine.ask("a", variant.name, lambda model: model.digest())


def test_a_closed_loop_ends_at_its_limit_exactly() -> None:
    """In the middle of whatever the machine was about to do, even while it is built."""
    for limit in (1, 3000):
        sink = EngineSink("slub-v3.6")
        plan = plan_for(scenario(**SHORT), ("slub-v3.6", ""), 0)

        done = generate(plan, ["a"], sink, Limits(events=limit), closed=True)

        assert limit * RECORD_SIZE == len(sink.records)
        assert limit == done.events


def test_the_daemons_variant_decides_whether_the_machine_hangs() -> None:
    """The tiny machine under mappers: unpatched it hangs, patched it survives."""
    unpatched, _ = run("slub-unpatched", scenario(), closed=True)
    patched, _ = run("slub-v3.6", scenario(), closed=True)

    assert (1, 0) == (unpatched.hangs, patched.hangs)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """The tiny scenario as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


@pytest.fixture
def served() -> Iterator[tuple[Engine, str]]:
    """A daemon's receiver around real models, and its address."""
    engine = Engine(VARIANTS, 4, new_machine)
    settings = load_settings({"bind": "tcp://127.0.0.1:0"})
    health, stop = Health(), StopSignal()
    receiver = Receiver(settings, Intake(engine, None, health), health, stop, "test")
    thread = threading.Thread(target=receiver.run)
    thread.start()
    yield engine, receiver.endpoint
    stop.request()
    thread.join()
    receiver.close()


def generated(tiny: str, url: str, *more: str) -> Result:
    """Run the command, with a machine that makes few events."""
    slowly = (f"--set={key.replace('__', '.')}={value}" for key, value in SHORT.items())
    arguments = ("generate", tiny, "--connect", url, "--closed", "--pace", "max")
    return CliRunner().invoke(main, [*arguments, *slowly, *more])


def test_answers_come_over_the_socket(tiny: str, served: tuple[Engine, str]) -> None:
    """What the daemon holds in the end is what it holds without a socket between."""
    engine, url = served
    _, expected = run("slub-v3.6", scenario(**SHORT), closed=True)

    result = generated(tiny, url, "--variant", "slub-v3.6", "--source", "a")

    assert 0 == result.exit_code
    for variant in VARIANTS:
        digest = engine.ask("a", variant.name, lambda model: model.digest())
        assert expected.engine.ask("a", variant.name, lambda model: model.digest()) == digest


def test_a_variant_that_the_daemon_has_not_is_refused(
    tiny: str, served: tuple[Engine, str]
) -> None:
    """In one line that names those it has; nothing is applied."""
    engine, url = served

    result = generated(tiny, url, "--variant", "slub-seed")

    assert 3 == result.exit_code
    expected = "no model of slub-seed answers here, expected slub-unpatched, slub-v3.6, slub-v6.1"
    assert expected in result.stderr
    assert engine.read().sources == ()


def test_a_lost_answer_ends_the_loop(tiny: str) -> None:
    """A daemon that acknowledges without an answer: one line, and what it keeps stays kept."""
    daemon = RouterDaemon(Storage()).start()
    try:
        result = generated(tiny, daemon.address)
    finally:
        daemon.close()

    assert 3 == result.exit_code
    assert "what its slub-v3.6 said to it is lost: a closed loop cannot go on" in result.stderr


def test_closed_without_a_daemon_is_wrong_use(tiny: str) -> None:
    """A file answers nothing."""
    result = CliRunner().invoke(main, ["generate", tiny, "-o", "x", "--closed"])

    assert 2 == result.exit_code
    assert "--closed goes with --connect URL" in result.stderr
