"""A real kernel's trace to try things on, and how it is imported.

The sample is 2.2 seconds (44,000 events) out of the life of a Linux 6.1 machine with
320 MiB and two cpus that swapped over NBD, around the moment when its emergency reserve
was drawn deepest. ``nbd-swap-proc`` holds files of that machine's /proc and /sys, taken half
a minute before; how many pages were free when the sample begins was recorded
beside the trace (the last reading before its first event).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
TRACE: Final = FOLDER / "nbd-swap-excerpt.ftrace.xz"
PROC: Final = FOLDER / "nbd-swap-proc"
GROUND_TRUTH: Final = FOLDER / "nbd-swap-excerpt.groundtruth.xz"
"""What was recorded beside it: free pages each 25 ms, attempts at pages below min."""
FREE_PAGES: Final = "DMA=278,DMA32=566"
CLOCK: Final = "mono"
SOURCE: Final = "nbd-swap"


def import_arguments() -> tuple[str, ...]:
    """What follows ``pfmemd import`` to import the sample, ``-o OUT`` left out."""
    return (
        *("ftrace", str(TRACE), "--proc", str(PROC), "--free-pages", FREE_PAGES),
        *("--clock", CLOCK, "--source", SOURCE),
    )
