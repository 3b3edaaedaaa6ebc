"""``pfmemd simulate`` and ``pfmemd scenarios`` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.tracegen.workload.machines import TINY
from tracegen.cli import main
from tracegen.workload.scenario_file import scenario_names, scenario_text
from tracegen.workload.series import SWITCH_NAMES


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """The tiny scenario as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


def run(*arguments: str) -> Result:
    """Run the tracegen command."""
    return CliRunner().invoke(main, list(arguments))


def test_a_hang_is_told_with_its_moment_and_who_waits_for_what(tiny: str) -> None:
    """Variants stand side by side; one that hangs makes the exit code 1."""
    result = run("simulate", tiny, "--variant", "slub-unpatched", "--variant", "slub-seed")

    assert 1 == result.exit_code
    assert "four mappers for each cpu" in result.stdout
    (outcome,) = [line.split() for line in result.stdout.splitlines() if "outcome" in line]
    assert ["outcome", "deadlocked", "survived"] == outcome
    assert "slub-unpatched deadlocked at 0.0 s, event " in result.stdout
    assert "nbd0" in result.stdout
    assert "waits for an element of the bio pool" in result.stdout


def test_a_machine_that_survives_ends_with_0_and_json_has_everything(tiny: str) -> None:
    """For programs: one object for each run."""
    result = run("simulate", tiny, "--variant", "slub-seed:whole", "--seed", "7", "--json")

    assert 0 == result.exit_code
    (verdict,) = json.loads(result.stdout)["runs"]
    assert ("slub-seed", "whole", 7, "survived") == (
        verdict["variant"],
        verdict["series"],
        verdict["seed"],
        verdict["outcome"],
    )
    assert [] == verdict["waiters"]
    assert 256 == verdict["min_pages"]


def test_a_key_is_changed_on_the_command_line(tiny: str) -> None:
    """The value is TOML, or else a text."""
    result = run(
        *("simulate", tiny, "--variant", "slub-seed", "--json"),
        *("--set", "machine.min_free_kbytes=2048", "--set", "title=mine"),
    )

    answer = json.loads(result.stdout)
    assert ("mine", 512) == (answer["title"], answer["runs"][0]["min_pages"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("gorman", "--variant", "slob-seed"), "no variant 'slob-seed'"),
        (("gorman", "--variant", "slub-seed:thr"), "no switch 'thr' in the series"),
        (("gorman", "--set", "cpus"), "'cpus', expected KEY=VALUE"),
        (("gorman", "--set", "machine.cpus=0"), "gorman: --set machine.cpus is 0"),
        (("nothing.toml",), "cannot read scenario nothing.toml"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments: tuple[str, ...], expected: str) -> None:
    """Nothing is simulated."""
    result = run("simulate", *arguments)

    assert 2 == result.exit_code
    assert expected in result.stderr
    assert "" == result.stdout


def test_the_scenarios_are_listed_and_printed() -> None:
    """Each with its title; one by name, as it is."""
    listed = run("scenarios").stdout

    assert list(scenario_names()) == [line.split()[0] for line in listed.splitlines()]
    assert scenario_text("idle") == run("scenarios", "idle").stdout
    assert 2 == run("scenarios", "nothing").exit_code


def test_the_keys_and_the_switches_are_explained() -> None:
    """Where a scenario and a series are made."""
    assert "## `[machine]`" in run("scenarios", "--keys").stdout
    told = run("scenarios", "--series").stdout.splitlines()
    assert list(SWITCH_NAMES) == told[::3]
