"""docs/examples/soak.yml is a workflow whose commands are ours."""

from __future__ import annotations

import shlex
from typing import Any

import click
import yaml

from daemon.cli import main
from daemon.soak.conditions import parse_conditions
from tests.docs.pages import ROOT

WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / "docs/examples/soak.yml").read_text("utf-8"))
STEPS = {step.get("name"): step for step in WORKFLOW["jobs"]["soak"]["steps"]}


def test_soak_is_called_as_it_wants_to_be() -> None:
    """Every option of the step exists, and its thresholds are thresholds."""
    line = STEPS["Soak"]["run"].replace("${{ inputs.duration || '5h' }}", "5h")
    program, name, *words = shlex.split(line)
    command = main.commands[name]

    given, _, _ = command.make_parser(click.Context(command)).parse_args(words)

    assert "pfmemd" == program
    assert ("5h", "soak-report") == (given["seconds"], given["out"])
    names = [condition.name for condition in parse_conditions(given["fail_on"])]
    assert ["reserve-exhausted", "hang", "entitled-denied"] == names


def test_report_is_kept_whatever_the_verdict_is() -> None:
    """The folder that the soak writes is uploaded, also after a failure."""
    keep = STEPS["Keep the report"]

    assert "soak-report" == keep["with"]["path"]
    assert "${{ !cancelled() }}" == keep["if"]
