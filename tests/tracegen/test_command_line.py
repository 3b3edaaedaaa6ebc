"""How commands end: one line on standard error, and the exit code that DESIGN promises."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from tracegen.command_line import CommandGroup
from tracegen.errors import PfmemdError, StoppedError


@click.group(cls=CommandGroup)
def _group() -> None:
    pass


@_group.command()
@click.argument("way")
@click.option("--number", type=int)
def end(way: str, number: int | None) -> int | None:
    """End in the way that the test asks for."""
    del number
    if way == "badly":
        return 1
    endings: dict[str, BaseException] = {
        "input": PfmemdError("the input\nis bad"),
        "outside": StoppedError("the disk is full"),
        "interrupt": KeyboardInterrupt(),
        "click": click.ClickException("click says no"),
        "exit": click.exceptions.Exit(7),
        "fault": ZeroDivisionError("a bug"),
    }
    if way in endings:
        raise endings[way]
    return None


@pytest.mark.parametrize(
    ("arguments", "exit_code", "stderr"),
    [
        (["end", "well"], 0, ""),
        (["end", "badly"], 1, ""),
        (["end", "exit"], 7, ""),
        (["end", "input"], 2, "pfmemd: the input is bad\n"),
        (["end", "outside"], 3, "pfmemd: the disk is full\n"),
        (["end", "click"], 1, "pfmemd: click says no\n"),
        (["end", "interrupt"], 130, "\npfmemd: interrupted\n"),  # after the terminal's ^C
        (["no-such"], 2, "pfmemd: No such command 'no-such'. (pfmemd --help tells more)\n"),
        (["end"], 2, "pfmemd end: Missing argument 'WAY'. (pfmemd end --help tells more)\n"),
        (
            ["end", "x", "--number", "y"],
            2,
            (
                "pfmemd end: Invalid value for '--number': 'y' is not a valid integer."
                " (pfmemd end --help tells more)\n"
            ),
        ),
    ],
)
def test_a_command_ends_in_one_line(arguments: list[str], exit_code: int, stderr: str) -> None:
    """Each kind of ending has its code, and never more than one line."""
    result = CliRunner().invoke(_group, arguments, prog_name="pfmemd")

    assert (exit_code, stderr) == (result.exit_code, result.stderr)
    assert result.stdout == ""


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    """What no user can cause is not dressed up as a message."""
    result = CliRunner().invoke(_group, ["end", "fault"], prog_name="pfmemd")

    assert isinstance(result.exception, ZeroDivisionError)


def test_no_command_is_answered_with_help() -> None:
    """Called with nothing, it says what there is."""
    result = CliRunner().invoke(_group, [], prog_name="pfmemd")

    assert result.exit_code == 2
    assert "Commands:" in result.stderr
