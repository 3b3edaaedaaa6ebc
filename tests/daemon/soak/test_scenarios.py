"""A scenario is played like a trace, and its machine may hang."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from daemon.soak.conditions import parse_conditions
from daemon.soak.junit import junit_xml
from daemon.soak.report import html_report
from daemon.soak.result import MachineResult, SoakResult
from daemon.soak.scenarios import Kernel, NothingToPlayError, is_scenario, simulated
from tracegen.trace_file import TraceReader

TINY = Kernel(("slub-unpatched", ""), {"machine.scale": 96}, 0)
"""A machine of 21 MiB, which deadlocks in a tenth of a second."""


def hung_machine(kernel: str = "slub-unpatched:none", *, hung: bool = True) -> MachineResult:
    """A machine that was simulated."""
    return MachineResult(
        scenario="gorman",
        kernel=kernel,
        seed=0,
        seconds=10.2,
        events=16_086,
        hung=hung,
        command="pfmemd simulate gorman",
    )


def test_names_are_told_apart(tmp_path: Path) -> None:
    """A file is a trace, a name or a .toml file a scenario; anything else is refused."""
    trace = tmp_path / "gorman"
    trace.touch()

    assert [False, True, True] == [is_scenario(name) for name in (str(trace), "gorman", "my.toml")]
    with pytest.raises(NothingToPlayError, match="no file, and no scenario: there are emergency"):
        is_scenario("german")
    with pytest.raises(NothingToPlayError, match="cannot take one from a pipe"):
        is_scenario("-")


def test_scenario_becomes_a_trace_beside_the_report(tmp_path: Path) -> None:
    """One life of the machine, the changes taken; that it hung is known."""
    seen: list[int] = []

    playable = simulated("gorman", TINY, tmp_path / "out", lambda done: seen.append(done.events))

    machine = playable.machine
    assert machine is not None
    assert str(tmp_path / "out" / "gorman.pfmt.zst") == playable.trace
    assert (True, seen[-1]) == (machine.hung, machine.events)
    assert "pfmemd simulate gorman --variant slub-unpatched --set machine.scale=96" == (
        machine.command
    )
    with TraceReader(playable.trace) as reader:
        assert {"gorman"} == {entry.batch.source for entry in reader}


@pytest.mark.parametrize(
    ("condition", "machine", "crossed"),
    [
        ("hang", hung_machine(), True),
        ("hang", hung_machine(hung=False), False),
        ("denied", hung_machine(), False),
        ("slub-unpatched:hang", hung_machine(), True),
        ("slub-v3.6:hang", hung_machine(), False),
    ],
)
def test_hang_of_the_machine_is_a_hang(
    condition: str, machine: MachineResult, crossed: bool
) -> None:
    """Only the threshold on hangs asks, and only of the variant it names."""
    (parsed,) = parse_conditions(condition)

    assert crossed == (parsed.breach_of_machine(machine) is not None)


def test_report_and_junit_tell_of_the_machine() -> None:
    """A row of its own, and a test case that fails."""
    conditions = parse_conditions("hang,leak")
    result = SoakResult(
        version="1",
        compiled=True,
        started="2026-11-24T10:00:00+00:00",
        seconds=1,
        traces=["out/gorman.pfmt.zst"],
        speed="max",
        conditions=["hang", "leak"],
        plays=1,
        events=1,
        interrupted=False,
        models=[],
        machines=[hung_machine()],
        breaches=[],
    )

    page = html_report(result, conditions, None, "")
    (case,) = ET.fromstring(junit_xml(result, conditions)).iter("testcase")  # noqa: S314 - our own

    assert "<td>gorman</td><td>slub-unpatched:none</td>" in page
    assert ("simulated.gorman.slub-unpatched:none", "hang") == (
        case.get("classname"),
        case.get("name"),
    )
    failure = case.find("failure")
    assert failure is not None
    assert "hung within 10.2 s; pfmemd simulate gorman tells who waits" in (failure.text or "")
