"""What became of a simulated machine: survived, hung or deadlocked, with the figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from tracegen.workload.engine import SECOND
from tracegen.workload.hang import Waiter
from tracegen.workload.series import told
from tracegen.workload.simulation import Simulation

SURVIVED = "survived"
HUNG = "hung"
DEADLOCKED = "deadlocked"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One run of one variant."""

    variant: str
    series: str
    seed: int
    outcome: str
    """``survived``, ``deadlocked`` (nothing can change any more) or ``hung`` (nothing has)."""
    seconds: float
    """Simulated time: of the last sign of life, or of the end of a run that survived."""
    event: int
    """Requests and frees by then."""
    work_done: int
    """Steps of programs: pages touched, lookups, forks, packets read."""
    all_work_done: bool | None
    """Every load with an end came to it; None if there is none."""
    pages_out: int
    pages_in: int
    min_pages: int
    """The reserve."""
    lowest_free: int
    """The fewest free pages that were seen."""
    requests: int
    denied: int
    stalled: int
    direct_reclaims: int
    throttled: int
    oom_kills: int
    missed: int
    """Frames that found no buffer in the card's ring."""
    dropped: int
    """Packets of the reserve that their socket may not have."""
    waiters: tuple[Waiter, ...]
    """Who waits for what, of one that did not survive."""
    facts: tuple[str, ...]

    @property
    def survived(self) -> bool:
        """Whether the machine still did its work at the end."""
        return self.outcome == SURVIVED

    def to_json(self) -> dict[str, object]:
        """Everything, as plain data."""
        return asdict(self)


def judge(simulation: Simulation) -> Verdict:
    """The verdict on a simulation that has run."""
    hang = simulation.hang
    memory, swap, reclaim = simulation.memory, simulation.swap, simulation.reclaim
    outcome = SURVIVED
    if hang is not None:
        outcome = DEADLOCKED if hang.is_deadlock else HUNG
    return Verdict(
        variant=simulation.plan.variant.name,
        series=told(simulation.plan.series),
        seed=simulation.plan.seed,
        outcome=outcome,
        seconds=round((simulation.engine.now if hang is None else hang.at_ns) / SECOND, 3),
        event=memory.events if hang is None else hang.event,
        work_done=simulation.work.done,
        all_work_done=simulation.work.is_done if simulation.work.has_end else None,
        pages_out=swap.pages_out,
        pages_in=swap.pages_in,
        min_pages=memory.wmark_min,
        lowest_free=memory.lowest_free,
        requests=memory.requests,
        denied=memory.denied,
        stalled=memory.stalled,
        direct_reclaims=reclaim.direct_reclaims,
        throttled=reclaim.throttled,
        oom_kills=reclaim.oom_kills,
        missed=simulation.nic.missed,
        dropped=simulation.nic.dropped,
        waiters=() if hang is None else hang.waiters,
        facts=() if hang is None else hang.facts,
    )
