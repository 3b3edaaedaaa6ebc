"""``pfmemd explain --line``: a kernel's own failure lines, for whoever has to act on them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Final

import click

from allocator.failure_line import (
    FailureLine,
    ZoneTest,
    mask_text,
    parse_line,
    parse_zones,
    read_cache,
    verdict,
    zone_tests,
)
from daemon.summary import Json
from tracegen.errors import EXIT_GOOD, PfmemdError

MOST_CHARACTERS: Final = 64 << 20
"""Of a log; what comes after is not read."""
_FORMS: Final = {
    "page": "a page allocation failed",
    "stall": "a page allocation stalled",
    "slub": "SLUB could not get a slab",
    "slab": "SLAB could not get a slab",
    "oom": "the OOM killer was called",
}
_KERNELS: Final = {
    "v3.3": "Linux 2.6.32 to 3.5, or a later one before 4.4",
    "v3.6": "Linux 3.6 to 4.3",
    "v4.4": "Linux 4.4 or 4.5",
    "v6.1": "Linux 4.6 or later, by the rules of 6.1",
}


class NoFailureLineError(PfmemdError):
    """Nothing in the text is a line about a failed allocation."""


def explain_lines(text: str, kernel: str | None, *, as_json: bool) -> int:
    """Decode a line, or with ``-`` every one on standard input; returns the exit code."""
    log = sys.stdin.read(MOST_CHARACTERS) if text == "-" else text
    found = list(_decode(log.splitlines(), kernel))
    if not found:
        raise NoFailureLineError(
            "no line of a failed allocation here; expected something like"
            " 'swapper: page allocation failure: order:0, mode:0x20'"
        )
    if as_json:
        click.echo(json.dumps([_to_json(line, tests) for line, tests in found], indent=2))
        return EXIT_GOOD
    # A log repeats itself: what reads the same is told once.
    times = Counter("\n".join(_rows(line, tests)) for line, tests in found)
    click.echo("\n\n".join(_told(text, count) for text, count in times.items()))
    return EXIT_GOOD


def _told(text: str, count: int) -> str:
    first, _, rest = text.partition("\n")
    return text if count == 1 else f"{first}, {count} times\n{rest}"


def _decode(lines: list[str], kernel: str | None) -> Iterator[tuple[FailureLine, list[ZoneTest]]]:
    """Every failure line, with the tests of the zones that are listed before the next one."""
    starts = [(at, line) for at, text in enumerate(lines) if (line := parse_line(text, kernel))]
    for index, (at, line) in enumerate(starts):
        end = starts[index + 1][0] if index + 1 < len(starts) else len(lines)
        for following in lines[at + 1 : at + 2]:
            read_cache(line, following)
        yield line, zone_tests(line, parse_zones(lines[at + 1 : end]))


def _rows(line: FailureLine, tests: list[ZoneTest]) -> Iterator[str]:
    who = f", asked for by {line.comm}" if line.comm else ""
    yield f"{_FORMS[line.form]}{who}"
    yield f"  mask       {mask_text(line)} ({line.mode:#x}); {_KERNELS[line.kernel]}"
    if line.unknown:
        yield f"  unknown    {' '.join(line.unknown)}: not a flag of that kernel, or of none known"
    for topic, sentence in verdict(line):
        yield f"  {topic:<9}  {sentence}"
    for test in tests:
        yield f"  {_zone_row(test)}"


def _zone_row(test: ZoneTest) -> str:
    zone = test.zone
    name = f"node {zone.node} {zone.zone}"
    if not test.allowed:
        return f"{name}: not for this mask"
    text = f"{name}: {test.free_pages:,} pages free"
    text += " > " if test.enough else " <= "
    text += f"{test.needed_pages:,} of its min"
    if test.reserve_pages:
        text += f" + {test.reserve_pages:,} lowmem reserve"
    if not test.enough:
        return f"{text}: refused"
    if not test.fits:
        return f"{text}, but no free block is large enough: refused"
    return f"{text}: would pass now; it was written down a moment after the failure"


def _to_json(line: FailureLine, tests: list[ZoneTest]) -> Json:
    return {
        "form": line.form,
        "comm": line.comm or None,
        "cache": line.cache or None,
        "order": line.order,
        "node": None if line.node < 0 else line.node,
        "mode": line.mode,
        "gfp_flags": mask_text(line),
        "flags": line.flags,
        "unknown": line.unknown,
        "kernel": line.kernel,
        "can_sleep": line.can_sleep,
        "reserve_by_mask": line.reserve_by_mask,
        "needs_of_min": line.needed_of(1000) / 1000,
        "verdict": dict(verdict(line)),
        "zones": [
            {
                "node": test.zone.node,
                "zone": test.zone.zone,
                "allowed": test.allowed,
                "free_pages": test.free_pages,
                "needed_pages": test.needed_pages,
                "lowmem_reserve_pages": test.reserve_pages,
                "enough": test.enough,
                "block_fits": test.fits,
            }
            for test in tests
        ],
    }
