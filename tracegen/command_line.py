"""How every ``pfmemd`` command ends: one line on standard error and an exit code.

A group of commands made with :class:`CommandGroup` turns what a user can cause
(:class:`~tracegen.errors.PfmemdError`, click's own complaints, a closed pipe, Ctrl-C)
into that. Anything else is a fault of the program and keeps its traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click

from tracegen.errors import EXIT_GOOD, EXIT_STOPPED, EXIT_USAGE, PfmemdError

EXIT_SIGNAL: Final = 128
"""Plus the number of the signal that ended the command, as shells have it."""
EXIT_INTERRUPTED: Final = EXIT_SIGNAL + signal.SIGINT


def fail(text: str, exit_code: int, command: str = "pfmemd") -> NoReturn:
    """End the process: ``text`` as one line on standard error, then ``exit_code``."""
    line = " ".join(text.split())
    print(f"{command}: {line}", file=sys.stderr)  # noqa: T201  # the one place that does
    sys.exit(exit_code)


class CommandGroup(click.Group):
    """The top of a command line, whose failures are told in one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # click's own
        super().__init__(*args, **kwargs)
        _keep_layout(self)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Register a command; see :meth:`click.Group.add_command`."""
        _keep_layout(cmd)
        super().add_command(cmd, name)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,  # noqa: ANN401  # click's own signature
    ) -> Any:  # noqa: ANN401
        """Run a command and exit with its code; see :mod:`tracegen.errors` for the codes."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        command = prog_name or self.name or "pfmemd"
        try:
            result = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(EXIT_USAGE)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx is not None else command
            fail(f"{error.format_message()} ({path} --help tells more)", EXIT_USAGE, path)
        except click.ClickException as error:
            fail(error.format_message(), error.exit_code, command)
        except PfmemdError as error:
            fail(str(error), error.exit_code, command)
        except (click.Abort, KeyboardInterrupt):
            fail("interrupted", EXIT_INTERRUPTED, command)
        except BrokenPipeError:
            # Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            fail("whoever read the output has gone", EXIT_STOPPED, command)
        sys.exit(result if isinstance(result, int) else EXIT_GOOD)


def _keep_layout(command: click.Command) -> None:
    r"""Give click the mark by which it leaves a paragraph of the help as it is laid out.

    The mark is the character ``\b``; in a raw docstring, which the linter asks for, it is
    a backslash and a letter.
    """
    if command.help is not None:
        command.help = command.help.replace("\\b", "\b")
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _keep_layout(inner)
