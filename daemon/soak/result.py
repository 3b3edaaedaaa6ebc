"""What a soak came to: plain records, written as JSON and read again as the last run."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from tracegen.errors import PfmemdError


class ModelResult(BaseModel):
    """One model of one source, over all plays of the trace."""

    source: str
    variant: str
    plays: int = 0
    allocations: int = 0
    ok: int = 0
    denied: int = 0
    stalled: int = 0
    entitled_denied: int = 0
    leaked: int = 0
    leaks: dict[str, int] = {}
    denied_by_reason: dict[str, int] = {}
    exhausted_allocations: int = 0
    below_min_allocations: int = 0
    lowest_left: float = 1.0
    """The least that was left of a zone's reserve, 0 to 1."""
    lowest_free: int = 0
    lowest_min: int = 0
    lowest_zone: str = ""
    activations: int = 0
    deactivations: int = 0
    wrong_deactivations: int = 0
    hangs: int = 0
    """How often, between two looks, nothing went forward."""
    trace_errors: int = 0


class Sample(BaseModel):
    """How the models stood at one look, or over several that were drawn together."""

    seconds: float
    """Since the soak began."""
    events: int
    phase: str | None = None
    left: dict[str, float]
    """By variant, the least that was left of the reserve."""
    denied: dict[str, int]
    """By variant, how many were denied since the sample before."""


class MachineResult(BaseModel):
    """A machine that was simulated to make a trace."""

    scenario: str
    kernel: str
    """What it ran: a variant, and what of the series went with it."""
    seed: int
    seconds: float
    """Simulated."""
    events: int
    hung: bool
    command: str
    """Tells how it went, and who waited for what."""


class Moment(BaseModel):
    """An event worth reading about."""

    variant: str
    source: str
    epoch: int
    event: int
    what: str
    told: str
    """As ``pfmemd explain`` tells it."""
    command: str


class Breach(BaseModel):
    """A threshold that was crossed."""

    condition: str
    source: str
    variant: str
    what: str


class SoakResult(BaseModel):
    """All of it."""

    format: int = 1
    version: str
    compiled: bool
    started: str
    """ISO 8601, UTC."""
    seconds: float
    traces: list[str]
    speed: str
    conditions: list[str]
    plays: int
    events: int
    interrupted: bool
    models: list[ModelResult]
    machines: list[MachineResult] = []
    breaches: list[Breach]
    timeline: list[Sample] = []
    moments: list[Moment] = []

    @property
    def events_per_second(self) -> float:
        """How fast the events went through."""
        return self.events / self.seconds if self.seconds else 0.0

    def model(self, source: str, variant: str) -> ModelResult | None:
        """That model's numbers, if it took part."""
        return next((m for m in self.models if (m.source, m.variant) == (source, variant)), None)


class BaselineError(PfmemdError):
    """The last run's result cannot be read."""


def read_result(path: Path) -> SoakResult:
    """A result that was written before; raises :class:`BaselineError`."""
    try:
        return SoakResult.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BaselineError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise BaselineError(f"{path} is no result of a soak: {where}: {first['msg']}") from None
