"""Runs inside a mount namespace, on a file system of 200 KB: see test_faults."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path

from tests.torture.test_faults import Peaceful, eventually, not_ready
from tests.torture.world import Nursery


def main(folder: Path) -> None:
    """Fill the disk, kill the daemon on it, make room, and go on."""
    ballast = folder / "data" / "ballast"
    ballast.write_bytes(bytes(60_000))
    with Nursery() as nursery, Peaceful(folder, nursery, 1, 1) as world:
        world.settings |= {"snapshot_journal_bytes": 1 << 30, "segment_bytes": 50_000}
        for _ in range(2):
            http = world.begin()
            why = eventually("the disk is full", partial(not_ready, http))
            assert "No space left on device" in why, why
            world.end_daemon(signal.SIGKILL)
        world.begin()
        ballast.unlink()
        world.progress()
        world.end_daemon()
    sys.stdout.write("paused, and went on\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
