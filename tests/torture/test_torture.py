"""Real processes, killed again and again: nothing acknowledged is lost, nothing applied twice.

``make torture`` does the same for thousands of cycles.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.torture.world import Figures, Nursery, World

WORLDS: Final = (
    {"fsync": "always"},
    {"fsync": "interval", "journal_retention_bytes": 0},
    {"fsync": "never", "sources": 1},
    {"fsync": "always", "journal_retention_bytes": 0, "sources": 3},
)
CYCLES: Final = 52
"""In each of the worlds: more than 200 in all."""
WORKERS: Final = {"fsync": "never", "workers": 2}
WORKER_CYCLES: Final = 4
"""Workers take their time to start."""


def torture(
    folder: Path, seed: int, cycles: int, settings: Mapping[str, object] | None = None
) -> Figures:
    """One world, with these settings or those that its seed says."""
    folder.mkdir()
    kind = dict(settings or WORLDS[seed % len(WORLDS)])
    sources = kind.pop("sources", 2)
    assert isinstance(sources, int)
    with Nursery() as nursery, World(folder, nursery, seed, sources, **kind) as world:
        return world.torture(cycles)


def test_nothing_acknowledged_is_lost_and_nothing_is_applied_twice(tmp_path: Path) -> None:
    """Whatever is killed and when, every promise holds and every state is exact."""
    figures = Figures()
    with ThreadPoolExecutor(len(WORLDS)) as pool:
        for one in pool.map(
            lambda seed: torture(tmp_path / f"world-{seed}", seed, CYCLES), range(len(WORLDS))
        ):
            figures.add(one)

    assert len(WORLDS) * CYCLES == figures.cycles == figures.daemon_kills
    assert figures.kills_at_steps > figures.cycles / 5
    assert figures.sender_kills > figures.cycles / 8
    assert figures.batches > figures.cycles


def test_models_in_workers_lose_nothing_either(tmp_path: Path) -> None:
    """The daemon is killed with its models in processes of their own; the next one has them all."""
    figures = torture(tmp_path / "world", 1, WORKER_CYCLES, WORKERS)

    assert WORKER_CYCLES == figures.daemon_kills
