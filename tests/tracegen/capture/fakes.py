"""A folder that does as tracefs does, where there is none or no permission to use it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tracegen.capture.events import NEEDED
from tracegen.capture.instance import Instance, Recording

EVENTS: Final = (*NEEDED, "oom/mark_victim")
"""What the kernel of the fake has."""
STATS: Final = "entries: 0\noverrun: {over}\ncommit overrun: 0\nbytes: 9\ndropped events: {drop}\n"


def fake_tracefs(root: Path) -> Path:
    """A tree with what a capture reads and writes outside of its instance."""
    (root / "instances").mkdir(parents=True)
    (root / "saved_cmdlines_size").write_text("128\n")
    for event in EVENTS:
        (root / "events" / event).mkdir(parents=True)
    return root


def make_instance(folder: Path) -> None:
    """What the kernel does when a folder is made below ``instances``."""
    folder.mkdir()
    (folder / "options").mkdir()
    for event in EVENTS:
        (folder / "events" / event).mkdir(parents=True)
    for cpu, (over, drop) in enumerate(((0, 0), (3, 4))):
        (folder / "per_cpu" / f"cpu{cpu}").mkdir(parents=True)
        stats = folder / "per_cpu" / f"cpu{cpu}" / "stats"
        stats.write_text(STATS.format(over=over, drop=drop))
    os.mkfifo(folder / "trace_pipe")


class FakeInstance(Instance):
    """An instance of the fake whose pipe brings what it is given, and then nothing."""

    def __init__(self, tracefs: Path, recording: Recording, reads: Iterable[bytes] = ()) -> None:
        super().__init__(tracefs, "pfmemd", recording, make_instance, shutil.rmtree)
        self._reads = iter(reads)

    def read(self) -> bytes:
        """The next of what was given."""
        return next(self._reads, b"")
