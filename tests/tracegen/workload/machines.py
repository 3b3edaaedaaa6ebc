"""Small machines that tests can afford."""

from __future__ import annotations

from tracegen.workload.cli import plan_for
from tracegen.workload.memory import OwnModel
from tracegen.workload.scenario import Scenario
from tracegen.workload.scenario_file import parse_scenario
from tracegen.workload.simulation import Simulation

TINY = """\
title = "four mappers for each cpu, more than memory holds"
duration_seconds = 60
[machine]
memory_mib = 16
cpus = 2
min_free_kbytes = 1024
[swap]
size_mib = 128
queue_requests = 32
[network]
scatter_gather = false
rx_ring = 32
[[load]]
kind = "mappers"
per_cpu = 4
memory_ratio = 1.3
passes = 1
"""


def scenario(**changes: object) -> Scenario:
    """The tiny machine; ``server__loss=0.1`` is ``--set server.loss=0.1``."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return parse_scenario(TINY, "tiny", dotted)


def run(kernel: str, machine: Scenario | None = None, seed: int = 0) -> Simulation:
    """A simulation that has run; ``kernel`` is ``slub-seed`` or ``slub-seed:none``."""
    variant, _, series = kernel.partition(":")
    simulation = Simulation(plan_for(machine or scenario(), (variant, series), seed))
    simulation.run()
    assert isinstance(simulation.model, OwnModel)
    simulation.model.machine.verify()
    return simulation
