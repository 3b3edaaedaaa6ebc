"""Scenario files: what is read, and how what cannot be is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracegen.workload.errors import ScenarioError
from tracegen.workload.scenario import default_min_free_kbytes
from tracegen.workload.scenario_file import (
    parse_scenario,
    read_scenario,
    scenario_names,
    scenario_text,
)

GOOD = """\
title = "small"
duration_seconds = 1
[machine]
memory_mib = 16
cpus = 2
[swap]
size_mib = 64
[server]
bandwidth_mbit = 1000
[[server.change]]
at_seconds = 2
up = false
[[cache]]
name = "mine"
size = 200
[[load]]
kind = "mappers"
passes = 1
[[load]]
kind = "objects"
cache = "mine"
per_second = 10
"""


def refused(text: str, changes: dict[str, object] | None = None) -> str:
    """The one line that a text is refused with."""
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, "mine.toml", changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("cpus = 2", "cpus = 5000", "line 5: machine.cpus is 5000: input should be less than"),
        ("cpus = 2", "cpus = 0", "line 5: machine.cpus is 0: input should be greater than"),
        ("mbit = 1000", "mbit = 0", "line 9: server.bandwidth_mbit is 0: input should be greater"),
        ("size = 200", "size = 0", "line 15: cache.0.size is 0: input should be greater than"),
        ("size = 200", "size = 200\nalign = 3", "line 13: cache.0 - align 3 is no power of two"),
        ("passes = 1", "passes = -1", "line 18: load.0.passes is -1: input should be greater"),
        ("passes = 1", "pases = 1", "line 18: load.0.pases is no key of a scenario"),
        ("memory_mib = 16\n", "", "line 3: machine.memory_mib is missing"),
        ('"mappers"', '"mapper"', "line 16: load.0 - input tag 'mapper' found"),
        ("cpus = 2", "min_free_kbytes = 9000", "line 5: machine.min_free_kbytes makes a reserve"),
        ("at_seconds = 2", "at_seconds = -2", "line 11: server.change.0.at_seconds is -2"),
        ("cpus = 2", "cpus =", "Invalid value (at line 5, column 7)"),
        ("title", "titel", "mine.toml: title is missing"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_with_line_and_reason(
    old: str, new: str, expected: str
) -> None:
    """One line: the file, the line, the key, what is wrong."""
    assert expected in refused(GOOD.replace(old, new, 1))


def test_changes_of_a_server_must_ascend() -> None:
    """Time does not go back."""
    text = GOOD.replace("up = false", "up = false\n[[server.change]]\nat_seconds = 1\nup = true")

    assert "mine.toml: line 8: server - the at_seconds of its changes must ascend" == refused(text)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"server.loss": 2}, "mine.toml: --set server.loss is 2: input should be less than 1"),
        ({"load.7.passes": 1}, "--set load.7.passes: there is no 7"),
        ({"load.0.passes.x": 1}, "--set load.0.passes.x: load.0.passes is no table"),
        ({"macine.cpus": 1}, "mine.toml: --set macine is no key of a scenario"),
    ],
)
def test_a_change_that_cannot_be_is_named_instead_of_a_line(
    changes: dict[str, object], expected: str
) -> None:
    """The file is not to blame."""
    assert expected == refused(GOOD, changes)


def test_keys_are_changed_by_their_dotted_names() -> None:
    """Tables that are not written out are made, elements of arrays have numbers."""
    changed = parse_scenario(
        GOOD, "mine.toml", {"network.rx_ring": 16, "load.0.passes": 5, "machine.cpus": 1}
    )

    assert 16 == changed.network.rx_ring
    assert 5 == changed.load[0].model_dump()["passes"]
    assert (0,) == changed.machine_config(memalloc_socks=True).cpu_node


def test_a_scaled_machine_keeps_the_reserve_of_its_full_size() -> None:
    """Only memory, page cache and swap shrink."""
    scenario = parse_scenario(GOOD, "mine.toml", {"machine.memory_mib": 2048, "machine.scale": 32})

    assert (16384, 5792, 512) == (
        scenario.memory_pages,
        scenario.min_free_kbytes,
        scenario.swap_pages,
    )


@pytest.mark.parametrize(
    ("mib", "kbytes"), [(512, 2896), (1024, 4096), (2048, 5792), (4096, 8192), (1 << 20, 65536)]
)
def test_the_reserve_is_that_of_the_kernels_table(mib: int, kbytes: int) -> None:
    """The table in the comment of init_per_zone_wmark_min(), mm/page_alloc.c."""
    assert kbytes == default_min_free_kbytes(mib)


@pytest.mark.parametrize("name", scenario_names())
def test_every_built_in_scenario_can_be(name: str) -> None:
    """They are files like any other."""
    assert read_scenario(name).title


def test_the_scenarios_that_the_docs_promise_are_there() -> None:
    """Their names are part of the command line."""
    promised = {
        *("idle", "emergency-overflow", "gorman", "gorman-nfs", "latency-spike"),
        *("outage-and-return", "receive-flood", "fork-storm"),
    }

    assert promised <= set(scenario_names())


def test_a_file_is_read_like_a_built_in_scenario(tmp_path: Path) -> None:
    """What ``pfmemd scenarios gorman`` prints is a scenario."""
    path = tmp_path / "mine.toml"
    path.write_text(scenario_text("gorman"))

    assert read_scenario("gorman").model_dump() == read_scenario(str(path)).model_dump()


def test_a_file_that_is_not_there_is_named_with_what_is() -> None:
    """And with the built-in ones."""
    with pytest.raises(ScenarioError, match=r"cannot read scenario no\.toml: No such file"):
        read_scenario("no.toml")
