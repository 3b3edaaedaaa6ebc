"""Scenarios as traces to play: the machine of each is simulated once, before the soak begins.

The traces are left beside the report, so that what it says of an event can be asked again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.soak.result import MachineResult
from tracegen.errors import PfmemdError, StoppedError
from tracegen.trace_file import TraceWriter
from tracegen.workload.cli import plan_for
from tracegen.workload.generate import Generated, Limits, generate
from tracegen.workload.generate_cli import name_of
from tracegen.workload.scenario_file import read_scenario, scenario_names
from tracegen.workload.sinks import FileSink, Metronome


class NothingToPlayError(PfmemdError):
    """What is to be played is neither a trace nor a scenario."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the simulated machines are like."""

    name: tuple[str, str]
    """The variant's name, and what of the series goes with it."""
    changes: Mapping[str, object]
    """Keys of every scenario that are changed."""
    seed: int

    @property
    def text(self) -> str:
        """As it is given on the command line."""
        return ":".join(part for part in self.name if part)

    def command(self, scenario: str) -> str:
        """What simulates the same machine again, and tells more."""
        words = ["pfmemd", "simulate", scenario, "--variant", self.text]
        for key, value in self.changes.items():
            words += ["--set", f"{key}={value}"]
        if self.seed:
            words += ["--seed", str(self.seed)]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Playable:
    """What is played: a trace, and the machine that was simulated for it, if one was."""

    trace: str
    machine: MachineResult | None = None


def is_scenario(name: str) -> bool:
    """Whether a name is a scenario's; raises :class:`NothingToPlayError` if it is no trace either.

    A file is a trace unless it is called ``.toml``.
    """
    if name.endswith(".toml"):
        return True
    if Path(name).is_file():
        return False
    if name in scenario_names():
        return True
    raise NothingToPlayError(
        f"{name} is no file, and no scenario: there are {', '.join(scenario_names())}"
        if name != "-"
        else "a soak plays its traces several times, so it cannot take one from a pipe"
    )


def simulated(
    name: str, kernel: Kernel, folder: Path, progress: Callable[[Generated], None]
) -> Playable:
    """Simulate a scenario's machine for one life and write its trace into the folder.

    What ``progress`` raises ends it.
    """
    plan = plan_for(read_scenario(name, dict(kernel.changes)), kernel.name, kernel.seed)
    source = name_of(name)
    path = folder / f"{source}.pfmt.zst"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoppedError(f"cannot make the folder {folder}: {error.strerror}") from None
    with TraceWriter(str(path)) as writer:
        sink = FileSink(writer, Metronome(None), lambda: False)
        done = generate(plan, [source], sink, Limits(), progress=progress)
    machine = MachineResult(
        scenario=name,
        kernel=kernel.text,
        seed=kernel.seed,
        seconds=done.seconds,
        events=done.events,
        hung=done.hangs > 0,
        command=kernel.command(name),
    )
    return Playable(str(path), machine)
