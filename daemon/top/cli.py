"""The ``top`` command."""

from __future__ import annotations

from functools import partial
from typing import Final

import click

from daemon.live_state import read_state
from daemon.settings import split_address
from daemon.top.alerts import firing

MOST_CACHES: Final = 2000
"""Asked for; a kernel has a few hundred."""


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
def top_command(address: str, alertmanager: str | None, interval: float) -> None:
    r"""Watch a running daemon in the terminal, in the manner of slabtop and htop.

    Above: each zone's free pages against min, low and high, and what is wrong with the model
    that is shown. In the middle: every model of the source. Below: its caches, with what they
    hold, how busy they are, and how much of it is the reserve's.

    \b
    v, Tab   the next model            < >  sort the caches by another column
    s        the next source           r    the other way round
    Space    pause                     /    only caches whose name contains ...
    q        quit                      Esc  all caches again

    The mouse works: a click on a heading sorts. `pfmemd watch` shows less and works in a pipe.
    """
    read = partial(read_state, address, MOST_CACHES)
    read()  # if nothing answers, one line says so, and no screen is opened
    # Not at the head: every pfmemd command would take longer to start.
    from daemon.top.app import TopApp  # noqa: PLC0415

    alerts = None if alertmanager is None else partial(firing, alertmanager)
    TopApp(read, alerts, address=address, interval=interval).run()
