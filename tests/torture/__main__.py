"""``python -m tests.torture CYCLES [SEED]``: as many lives of daemons as one has time for.

One in forty has its models in workers, which take their time to start.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from tests.torture.test_torture import WORKERS, torture
from tests.torture.world import Figures

AT_ONCE: Final = 4
CYCLES: Final = 50
"""Of one world, before it is looked at and another begins."""
WITH_WORKERS: Final = 40


def main(cycles: int, first_seed: int) -> None:
    """Torture and report."""
    started = time.monotonic()
    figures = Figures()
    seeds = range(first_seed, first_seed + -(-cycles // CYCLES))
    with_workers = -(-cycles // WITH_WORKERS)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(AT_ONCE) as pool:
        folder = Path(name)
        worlds = [pool.submit(torture, folder / str(seed), seed, CYCLES) for seed in seeds]
        worlds.append(pool.submit(torture, folder / "w", first_seed, with_workers, WORKERS))
        for done, one in enumerate(as_completed(worlds), 1):
            figures.add(one.result())
            print(f"{done} of {len(worlds)} worlds: {figures}", flush=True)  # noqa: T201 - a script
    seconds = time.monotonic() - started
    print(f"{figures}: lost 0, twice 0 ({seconds:.0f} s)")  # noqa: T201 - its report


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
