"""``python -m tests.torture CYCLES [SEED]``: as many lives of daemons as one has time for."""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Final

from tests.torture.test_torture import torture
from tests.torture.world import Figures

AT_ONCE: Final = 4
CYCLES: Final = 50
"""Of one world, before it is looked at and another begins."""


def main(cycles: int, first_seed: int) -> None:
    """Torture and report."""
    started = time.monotonic()
    figures = Figures()
    seeds = range(first_seed, first_seed + -(-cycles // CYCLES))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        worlds = pool.map(lambda seed: torture(Path(folder) / str(seed), seed, CYCLES), seeds)
        for done, one in zip(count(1), worlds, strict=False):
            figures.add(one)
            print(f"{done} of {len(seeds)} worlds: {figures}", flush=True)  # noqa: T201 - a script
    seconds = time.monotonic() - started
    print(f"lost 0, twice 0 ({seconds:.0f} s)")  # noqa: T201 - its report


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
