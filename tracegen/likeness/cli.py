"""``pfmemd trace compare`` and ``pfmemd trace profile``: how alike two traces are."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

import click
from rich import box
from rich.console import Console
from rich.table import Table

from tracegen.errors import EXIT_BAD, EXIT_GOOD, PfmemdError, StoppedError
from tracegen.likeness.compare import Likeness, compare
from tracegen.likeness.portrait import Portrait, portray
from tracegen.likeness.profile import count, read_rates, write_profile
from tracegen.likeness.walk import Part

_NANOSECONDS: Final = 1e9


class PartOf(click.ParamType[Part]):
    """``START:END`` in seconds; either may be left out."""

    name = "part"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Part:
        """The part."""
        if isinstance(value, Part):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)?:(\d+(?:\.\d+)?)?", str(value))
        if found is None:
            self.fail(
                f"{value!r}, expected START:END in seconds, such as :32.5 or 32.5:", param, ctx
            )
        part = Part(float(found[1] or 0), None if found[2] is None else float(found[2]))
        if part.until is not None and part.until <= part.start:
            self.fail(f"{value!r}, expected the end after the start", param, ctx)
        return part


@click.command("compare")
@click.argument("real")
@click.argument("generated")
@click.option("--part", type=PartOf(), default=Part(), metavar="START:END", help="Of REAL, in s.")
@click.option(
    "--generated-part", type=PartOf(), default=Part(), metavar="START:END", help="Of GENERATED."
)
@click.option(
    "--at-most",
    type=click.FloatRange(0, 1),
    metavar="DISTANCE",
    help="End with exit code 1 if the mixes of events are further apart than this.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def compare_command(
    real: str,
    generated: str,
    part: Part,
    generated_part: Part,
    at_most: float | None,
    *,
    as_json: bool,
) -> int:
    r"""Measure how alike two traces are; 0 is alike, 1 has nothing in common.

    The mix of events is compared by operation, cache or order or size, class of gfp mask and
    context, together and each alone: the total variation distance. Lifetimes of pages and objects
    and the times between events: the Kolmogorov-Smirnov distance. Parts of one trace can be
    compared with one another, which says how near anything can come.

    \b
    Examples:
      pfmemd trace compare real.pfmt generated.pfmt
      pfmemd trace compare real.pfmt real.pfmt --part :32.5 --generated-part 32.5:
      pfmemd trace compare real.pfmt generated.pfmt --part 32.5: --at-most 0.05
    """
    first, second = _portrait(real, part), _portrait(generated, generated_part)
    likeness = compare(first, second)
    if as_json:
        click.echo(
            json.dumps({"real": real, "generated": generated, **likeness.to_json()}, indent=2)
        )
    else:
        _print(likeness, first, second)
    return EXIT_BAD if at_most is not None and likeness.mix > at_most else EXIT_GOOD


def _portrait(path: str, part: Part) -> Portrait:
    portrait = portray(path, part)
    if not portrait.events:
        raise PfmemdError(f"{path}: the part that was asked for has no events")
    return portrait


def _print(likeness: Likeness, first: Portrait, second: Portrait) -> None:
    console = Console()
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("distance of", "", "is"):
        table.add_column(name, justify="right" if name == "is" else "left")
    table.add_row("mix of events", "total variation", f"{likeness.mix:.4f}")
    for aspect, distance in likeness.aspects.items():
        table.add_row(f"  by {aspect}", "total variation", f"{distance:.4f}")
    for name, distance in (
        ("lifetimes of pages", likeness.page_lives),
        ("lifetimes of objects", likeness.object_lives),
        ("times between events", likeness.gaps),
    ):
        table.add_row(name, "Kolmogorov-Smirnov", f"{distance:.4f}")
    console.print(table)
    for told, portrait in (("real", first), ("generated", second)):
        seconds = portrait.span_ns / _NANOSECONDS
        rate = portrait.events / seconds if seconds else 0.0
        console.print(
            f"{told}: {portrait.events:,} events in {seconds:.1f} s, {rate:,.0f} a second"
        )
    worst = Table(title="where the mixes differ most", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("share of real", "of generated", "event"):
        worst.add_column(name, justify="left" if name == "event" else "right")
    for difference in likeness.worst:
        worst.add_row(
            f"{difference.first:.2%}",
            f"{difference.second:.2%}",
            difference.event.replace("|", " "),
        )
    console.print(worst)


@click.command("profile")
@click.argument("trace")
@click.option("--part", type=PartOf(), default=Part(), metavar="START:END", help="Of TRACE, in s.")
@click.option(
    "--minus",
    type=click.Path(exists=True, dir_okay=False),
    metavar="TRACE",
    help="A trace of the scenario that the profile is for: what it makes by itself is left out.",
)
@click.option(
    "--plus",
    type=click.Path(exists=True, dir_okay=False),
    metavar="PROFILE",
    help="The profile that this trace was made with, for another round.",
)
@click.option("--about", default="a trace", metavar="TEXT", help="What it was made of, for people.")
@click.option("-o", "--output", default="-", metavar="FILE|-", help="Where to.  [default: -]")
def profile_command(
    trace: str, part: Part, minus: str | None, plus: str | None, about: str, output: str
) -> None:
    r"""Reduce a trace to rates and lifetimes, for a scenario's load of kind profile.

    One row for each class of requests: how many in a second, how long they lived, in which
    context they were freed. A scenario that has mechanisms of its own leaves to the profile
    what they do not make: generate a trace with it, take that away, and repeat.

    \b
    Examples:
      pfmemd trace profile real.pfmt --part :32.5 -o mine.toml
      pfmemd trace profile real.pfmt --minus generated.pfmt --plus mine.toml -o next.toml
    """
    without = None if minus is None else count(minus, Part())
    before = None if plus is None else read_rates(plus)
    text = write_profile(count(trace, part), without, before, about)
    if output == "-":
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text, "utf-8")
    except OSError as error:
        raise StoppedError(f"cannot write {output}: {error.strerror}") from error
