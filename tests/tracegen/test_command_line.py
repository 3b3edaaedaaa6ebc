"""What every command of the program has in common."""

from __future__ import annotations

import click
from click.testing import CliRunner

from tracegen.command_line import CommandGroup


def test_examples_keep_their_lines() -> None:
    r"""A paragraph of the help marked with ``\b`` is shown as it is laid out."""

    @click.group(cls=CommandGroup)
    def main() -> None:
        r"""Do things.

        \b
        One example:
          main --all
        """

    @main.group()
    def inner() -> None:
        """Do inner things."""

    @inner.command()
    def deepest() -> None:
        r"""Do the deepest thing.

        \b
        Another example:
          main inner deepest
        """

    main.add_command(inner)

    for arguments, example in (
        ([], "  One example:\n    main --all\n"),
        (["inner", "deepest"], "  Another example:\n    main inner deepest\n"),
    ):
        result = CliRunner().invoke(main, [*arguments, "--help"])
        assert 0 == result.exit_code
        assert example in result.output
