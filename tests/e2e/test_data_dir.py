"""The commands as they are typed, with a data folder, over a kill -9."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen


def state(http: str) -> Any:  # noqa: ANN401 - JSON
    """What /state tells of the sources."""
    with urlopen(f"http://{http}/state", timeout=30) as answer:
        return json.load(answer)["sources"]


def test_killed_daemon_comes_back_as_it_was(
    serve: Callable[..., Any], pfmemd: Callable[..., None], sample: Path, tmp_path: Path
) -> None:
    """Served, sent, killed, served again: the same models; and the export is the trace."""
    data = tmp_path / "data"
    daemon = serve("--data-dir", str(data), "--variant", "slab-seed")
    pfmemd("send", sample, "--connect", daemon.receiving)
    before = state(daemon.http)
    daemon.process.popen.send_signal(signal.SIGKILL)
    daemon.process.popen.wait()

    daemon = serve("--data-dir", str(data), "--variant", "slab-seed")
    pfmemd("send", sample, "--connect", daemon.receiving)
    after = state(daemon.http)

    for source, told in before.items():
        for field in ("epoch", "seq", "events", "events_applied", "variants"):
            assert told[field] == after[source][field]
    pfmemd("journal", "verify", data)
    pfmemd("journal", "export", data, "-o", tmp_path / "out.pfmt")
    assert sample.read_bytes() == (tmp_path / "out.pfmt").read_bytes()
