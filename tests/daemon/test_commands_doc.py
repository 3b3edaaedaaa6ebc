"""docs/COMMANDS.md is what the commands say, and their examples could be typed."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from daemon.cli import main
from daemon.commands_doc import commands_markdown

PAGE = Path(__file__).parents[2] / "docs" / "COMMANDS.md"


def test_docs_are_current() -> None:
    """docs/COMMANDS.md is what ``make docs`` writes: run it after changing any command."""
    assert PAGE.read_text("utf-8") == commands_markdown()


def every(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group, after pfmemd."""
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from every(inner, (*path, name))


def command_at(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that these words name, and the words after its name."""
    command: click.Command = main
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def examples(text: str) -> list[str]:
    """Every pfmemd command of a help text's examples, without what its output is piped to."""
    shown = [part for part in inspect.cleandoc(text).split("\n\n") if part.startswith("\b")]
    lines = re.sub(r"\\\n\s*", " ", "\n".join(shown)).splitlines()
    parts = [part.strip() for line in lines for part in re.split(r" [|&]+(?: |$)", line)]
    return [part for part in parts if part.startswith("pfmemd ")]


EXAMPLES = [
    example for path in every(main) for example in examples(command_at(list(path))[0].help or "")
]


def test_every_command_shows_its_place() -> None:
    """Each command is told of under its own name, with what it does."""
    page = commands_markdown()

    for path in every(main):
        assert re.search(rf"^###? {' '.join(('pfmemd', *path))}$", page, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_of_the_help_is_understood(example: str) -> None:
    """The command of every example exists, and so do its options and the words for them."""
    command, words = command_at(shlex.split(example.replace(" ...", ""))[1:])
    assert not isinstance(command, click.Group)
    context = click.Context(command)

    given, _, _ = command.make_parser(context).parse_args(words)

    for parameter in command.params:
        value = given.get(parameter.name or "")
        if isinstance(parameter.type, click.Choice) and isinstance(value, str | list):
            parameter.type_cast_value(context, value)


def test_every_command_has_an_example() -> None:
    """Help teaches by example."""
    silent = [
        path
        for path in every(main)
        if not isinstance(command_at(list(path))[0], click.Group)
        and not examples(command_at(list(path))[0].help or "")
    ]

    assert [] == silent
