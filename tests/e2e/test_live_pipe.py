"""``pfmemd import ftrace - | pfmemd serve -``: a slow pipe is served as it drips."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from daemon.live_state import read_state
from tests.e2e.programs import PFMEMD, STOP_SECONDS, eventually
from tests.tracegen.kernel_trace.fakes import kfree, kmalloc, line


def test_lines_reach_the_models_before_the_next_ones_come(tmp_path: Path) -> None:
    """Each event is in the daemon's count while the pipe is still open."""
    log = tmp_path / "serve.log"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [*PFMEMD, "import", "ftrace", "-", "-o", "-", "--mem", "64M", "--source", "drip"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as importer,
        subprocess.Popen(
            [*PFMEMD, "serve", "-", "--http", "127.0.0.1:0"],
            stdin=importer.stdout,
            stdout=file,
            stderr=file,
        ) as daemon,
    ):
        assert importer.stdin is not None
        ready = eventually(
            "the daemon is ready",
            lambda: re.search(r"http://(127\.0\.0\.1:\d+)", log.read_text("utf-8", "replace")),
        )

        seen = [0]

        def more() -> int | None:
            source = read_state(ready[1]).sources.get("drip")
            return source.events if source is not None and source.events > seen[-1] else None

        try:
            for number in range(3):
                for event in (kmalloc(f"a{number}"), kfree(f"a{number}")):
                    importer.stdin.write(f"{line(event)}\n".encode())
                    importer.stdin.flush()
                    seen.append(eventually("the event is applied", more))
        except BaseException:
            importer.kill()
            daemon.kill()
            raise
        importer.stdin.close()
        assert 0 == importer.wait(timeout=STOP_SECONDS)
        daemon.terminate()
        daemon.wait(timeout=STOP_SECONDS)

    # Besides the prelude, which comes with the first.
    assert list(range(seen[1], seen[1] + 6)) == seen[1:]
