"""The ``top`` command."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Final

import click
from rich.console import Console

from daemon.live_state import read_state
from daemon.settings import split_address
from daemon.top.alerts import firing
from daemon.top.once import report
from daemon.top.rows import Moment

MOST_CACHES: Final = 2000
"""Asked for; a kernel has a few hundred."""
PIPE_WIDTH: Final = 130
"""Wide enough that nothing is cut."""


def _address(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    del ctx
    if value is None:
        return None
    try:
        split_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=parameter) from None
    return value


@click.command("top")
@click.option(
    "--http",
    "address",
    default="127.0.0.1:9571",
    show_default=True,
    metavar="HOST:PORT",
    callback=_address,
    help="The daemon's HTTP address.",
)
@click.option(
    "--alertmanager",
    metavar="HOST:PORT",
    callback=_address,
    help="Also show what this Alertmanager says is firing.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option(
    "--once",
    is_flag=True,
    help="Print one reading as text and end; so it does where there is no terminal.",
)
def top_command(address: str, alertmanager: str | None, interval: float, once: bool) -> None:
    r"""Watch a running daemon in the terminal, in the manner of slabtop and htop.

    Above: each zone's free pages against min, low and high, and what is wrong with the model
    that is shown. In the middle: every model of the source. Below: its caches, with what they
    hold, how busy they are, and how much of it is the reserve's.

    \b
    v, Tab   the next model            < >  sort the caches by another column
    s        the next source           r    the other way round
    Space    pause                     /    only caches whose name contains ...
    q        quit                      Esc  all caches again

    The mouse works: a click on a heading sorts. `pfmemd watch` shows less, and goes on in a pipe.

    \b
    Examples:
      pfmemd top
      pfmemd top --http 10.0.0.5:9571 --alertmanager 127.0.0.1:9093
      pfmemd top --once | tee reserve.txt
    """
    read = partial(read_state, address, MOST_CACHES)
    first = Moment(time.monotonic(), read())  # if nothing answers, no screen is opened
    alerts = None if alertmanager is None else partial(firing, alertmanager)
    if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        time.sleep(interval)  # rates are of two readings
        console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
        now = Moment(time.monotonic(), read())
        console.print(*report(now, first, alerts() if alerts is not None else []), sep="\n")
        return
    # Not at the head: every pfmemd command would take longer to start.
    from daemon.top.app import TopApp  # noqa: PLC0415

    TopApp(read, alerts, address=address, interval=interval).run()
