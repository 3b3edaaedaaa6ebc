"""Draws docs/img/top.svg: ``python -m tests.docs.picture_of_top``; takes half a minute.

The packaged trace is replayed to a daemon, and the screen is taken while the reserve is drawn.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from functools import partial
from pathlib import Path

from daemon import findings
from daemon.live_state import read_state
from daemon.top.app import TopApp
from tests.e2e.programs import Processes, start_daemon
from tracegen import samples

OUTPUT = Path(__file__).parents[2] / "docs" / "img" / "top.svg"
VARIANTS = ("slab-seed", "slub-seed", "slab-unpatched", "slub-v6.1")
DEEP = 0.4
PATIENCE_SECONDS = 90


async def screen(address: str) -> str:
    """The screen as SVG, once the reserve is drawn deep."""
    app = TopApp(partial(read_state, address, 2000), address="127.0.0.1:9571", interval=0.5)
    async with app.run_test(size=(128, 34)) as pilot:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not deep(app):
            await pilot.pause(0.5)
        await pilot.pause(1.5)
        return app.export_screenshot(title="pfmemd top")


def deep(app: TopApp) -> bool:
    """Whether the first model's reserve is drawn deep now."""
    sources = app.now.state.sources.values() if app.now else ()
    models = [model for source in sources for model in source.variants.values()]
    return bool(models) and findings.left_of(models[0]) < DEEP


def main() -> None:
    """Run it all and write the picture."""
    with tempfile.TemporaryDirectory() as name, Processes(Path(name)) as processes:
        trace = processes.folder / "nbd-swap.pfmt"
        processes.pfmemd("import", *samples.import_arguments(), "-o", trace)
        flags = [word for variant in VARIANTS for word in ("--variant", variant)]
        daemon = start_daemon(processes, *flags)
        speed = ("--speed", "0.1x", "--batch-events", "100")
        processes.pfmemd("send", trace, "--connect", daemon.receiving, *speed, wait=False)
        picture = asyncio.run(screen(daemon.http))
    # The same text for the same screen: its classes have a number of their own each time.
    OUTPUT.write_text(re.sub(r"terminal-\d+", "terminal-1", picture), "utf-8")


if __name__ == "__main__":
    main()
