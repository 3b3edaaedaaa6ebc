"""Scenarios as traces: the same bytes every time, life after life, several machines at once."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from allocator.events import MARK, RECORD_SIZE
from tests.tracegen.fakes import RouterDaemon, Storage
from tests.tracegen.workload.machines import TINY, scenario
from tracegen.batch import EventBatch, HeaderBatch
from tracegen.cli import main
from tracegen.trace_file import TraceReader
from tracegen.workload.cli import plan_for
from tracegen.workload.generate import Limits, generate, source_names

SLOWLY = ("--set", "load.0.page_us=50")
"""Fewer events in a tenth of a second, which is the least that a machine lives on."""
DIGEST = "7b12c3e4"
"""Of 20,000 events of the tiny machine: the same in every process, and in both build modes."""


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """The tiny scenario as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


class Batches:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.headers: list[HeaderBatch] = []
        self.events: list[EventBatch] = []
        self.waited: list[float] = []

    def open(self, batch: HeaderBatch) -> None:
        """Begin a life."""
        self.headers.append(batch)

    def send(self, batch: EventBatch) -> None:
        """Keep a batch."""
        self.events.append(batch)

    def wait_until(self, seconds: float) -> None:
        """Note the moment."""
        self.waited.append(seconds)

    @property
    def records(self) -> bytes:
        """Everything, in the order in which it came."""
        return b"".join(batch.records for batch in self.events)


def made(
    limits: Limits, machines: int = 1, seed: int = 0, kernel: str = "slub-v3.6", page_us: int = 50
) -> Batches:
    """What a sink gets of the tiny scenario, cut short."""
    sink = Batches()
    short = scenario(duration_seconds=0.2, load__0__passes=0, load__0__page_us=page_us)
    plan = plan_for(short, (kernel, ""), seed)
    generate(plan, source_names("tiny", machines), sink, limits)
    return sink


def run(*arguments: str) -> Result:
    """Run the tracegen command."""
    return CliRunner().invoke(main, list(arguments))


def test_a_seed_gives_the_same_bytes_in_every_process_and_build_mode() -> None:
    """Held against a digest that was stored: nothing depends on hashes, clocks or addresses."""
    made_now = made(Limits(events=20_000), seed=5)

    assert DIGEST == hashlib.sha256(made_now.records).hexdigest()[:8]


def test_another_seed_gives_other_bytes() -> None:
    """The seed is the only difference between two runs of a scenario."""
    one, other = (made(Limits(events=5000), seed=seed) for seed in (1, 2))

    assert one.records != other.records


def test_events_are_cut_off_exactly() -> None:
    """Over all machines together."""
    sink = made(Limits(events=12_345), machines=2)

    assert 12_345 * RECORD_SIZE == len(sink.records)
    assert ["tiny-1", "tiny-2"] == [header.source for header in sink.headers]


def test_machines_differ_from_one_another_and_run_side_by_side() -> None:
    """Each has a seed of its own; none runs ahead by more than a tenth of a second."""
    sink = made(Limits(seconds=0.2), machines=2)

    one, two = (
        b"".join(batch.records for batch in sink.events if batch.source == source)
        for source in ("tiny-1", "tiny-2")
    )
    assert one != two
    order = [batch.source for batch in sink.events]
    assert order.index("tiny-2") < len(order) - 1 - order[::-1].index("tiny-1")


def test_a_life_that_is_over_is_followed_by_another() -> None:
    """As a new epoch, with a seed of its own, until the limit is reached."""
    sink = made(Limits(seconds=0.5))

    assert [1, 2, 3] == [header.epoch for header in sink.headers]
    lives = [
        b"".join(batch.records for batch in sink.events if batch.epoch == epoch) for epoch in (1, 2)
    ]
    assert lives[0] != lives[1]
    assert sink.waited == sorted(sink.waited)


def test_without_a_limit_there_is_one_life() -> None:
    """The scenario's own end."""
    assert [1] == [header.epoch for header in made(Limits()).headers]


def test_a_hang_ends_a_life_and_stands_in_the_trace() -> None:
    """As the label that a MARK carries."""
    sink = made(Limits(), kernel="slub-unpatched", page_us=1)

    (header,) = sink.headers
    last = sink.records[-RECORD_SIZE:]
    label = int.from_bytes(last[20:24], "little")
    assert (MARK, "the machine hangs") == (last[28], header.header.labels[label])


def test_a_trace_is_written_and_can_be_read(tiny: str, tmp_path: Path) -> None:
    """Whole, numbered and in order; the summary counts what is in it."""
    path = tmp_path / "tiny.pfmt.zst"

    result = run("generate", tiny, "--events", "9000", "-o", str(path), "--json", *SLOWLY)

    assert 0 == result.exit_code
    with TraceReader(str(path)) as reader:
        batches = [entry.batch for entry in reader]
    assert 9000 == sum(batch.events for batch in batches if isinstance(batch, EventBatch))
    said = json.loads(result.stdout)
    assert (9000, len(batches), {"tiny": 1}) == (said["events"], said["batches"], said["epochs"])


def test_the_same_batches_reach_a_daemon(tiny: str, tmp_path: Path) -> None:
    """Every source on a connection of its own; all of it acknowledged."""
    path = tmp_path / "tiny.pfmt"
    storage = Storage()
    daemon = RouterDaemon(storage).start()
    arguments = ("generate", tiny, "--events", "9000", "--machines", "2", *SLOWLY)
    try:
        sent = run(*arguments, "--connect", daemon.address, "--pace", "max")
    finally:
        daemon.close()

    assert 0 == sent.exit_code
    assert 0 == run(*arguments, "-o", str(path)).exit_code
    with TraceReader(str(path)) as reader:
        written = [entry.batch for entry in reader]
    for source in ("tiny-1", "tiny-2"):
        (epoch,) = [epoch for name, epoch in storage.stored if name == source]
        assert [
            batch.records
            for batch in written
            if isinstance(batch, EventBatch) and batch.source == source
        ] == [
            batch.records
            for batch in storage.batches(source, epoch)
            if isinstance(batch, EventBatch)
        ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected -o FILE or --connect URL"),
        (("-o", "x", "--connect", "tcp://127.0.0.1:1"), "expected -o FILE or --connect URL"),
        (("-o", "x", "--for", "soon"), "expected a time such as 30s, 15m or 8h, not 'soon'"),
        (("-o", "x", "--pace", "0x"), "expected a factor such as 1x or 10x, or max, not '0x'"),
        (("-o", "x", "--source", "a b"), "expected 1 to 64 of the characters"),
        (("-o", "x", "--machines", "100"), "100 is not in the range 1<=x<=64"),
        (("--connect", "nowhere"), "cannot connect to 'nowhere'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tiny: str, arguments: tuple[str, ...], expected: str
) -> None:
    """And nothing is written."""
    result = run("generate", tiny, *arguments)

    assert 2 == result.exit_code
    assert expected in result.stderr
    assert not Path("x").exists()


def test_a_signal_ends_it_between_two_batches_and_leaves_a_whole_trace(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was generated by then can be read; the exit code is a shell's."""
    path = tmp_path / "tiny.pfmt"
    monkeypatch.setattr(
        "tracegen.workload.sinks.FileSink.wait_until",
        lambda _self, _seconds: signal.raise_signal(signal.SIGTERM),
    )

    result = run("generate", tiny, "--for", "8h", "-o", str(path), *SLOWLY)

    assert 128 + signal.SIGTERM == result.exit_code
    with TraceReader(str(path)) as reader:
        assert len(list(reader)) > 1
