"""Adds up what the models say at each look, over plays that each start the machines anew."""

from __future__ import annotations

from collections import Counter
from typing import Final

from daemon import findings
from daemon.live_state import State, Variant
from daemon.soak.result import ModelResult, Sample

MAX_SAMPLES: Final = 1200
"""More looks than this are drawn together in pairs: a night's timeline is as long as an
hour's, and no dip is lost by it."""


class Timeline:
    """A bounded line of samples."""

    def __init__(self, max_samples: int = MAX_SAMPLES) -> None:
        self._max = max_samples
        self.samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Append a sample; make room if there is none."""
        self.samples.append(sample)
        if len(self.samples) > self._max:
            pairs = zip(self.samples[0::2], self.samples[1::2], strict=False)
            odd = self.samples[-1:] if len(self.samples) % 2 else []
            self.samples = [_together(first, second) for first, second in pairs] + odd


def _together(first: Sample, second: Sample) -> Sample:
    """Two samples as one that stands for both: the lower reserve, all that were denied."""
    denied = Counter(first.denied)
    denied.update(second.denied)
    return Sample(
        seconds=second.seconds,
        events=second.events,
        phase=second.phase,
        left={
            variant: min(first.left.get(variant, 1.0), second.left.get(variant, 1.0))
            for variant in first.left.keys() | second.left.keys()
        },
        denied=dict(denied),
    )


class Tally:
    """The results so far. A play begins with :meth:`begin` and is looked at until its end."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self._done: dict[tuple[str, str], ModelResult] = {}
        """Of the plays that are over."""
        self._now: dict[tuple[str, str], ModelResult] = {}
        """Of the play that is going on."""
        self._before: dict[tuple[str, str], Variant] = {}
        self._epochs: dict[str, int] = {}
        self._denied: Counter[str] = Counter()

    def begin(self, state: State | None) -> None:
        """A play begins; ``state`` is what stood before it, and does not count."""
        for key, model in self._now.items():
            self._done[key] = added(self._done.get(key), model)
        self._now.clear()
        self._before.clear()
        if state is not None:
            self._epochs = {name: source.epoch for name, source in state.sources.items()}

    def look(self, state: State, sources: set[str], seconds: float, events: int) -> None:
        """Take in how the models of these sources stand."""
        left: dict[str, float] = {}
        phase = None
        for name, source in state.sources.items():
            if name not in sources or source.epoch == self._epochs.get(name):
                continue  # another's, or still the machines of the play before
            phase = source.phase or phase
            for variant_name, variant in source.variants.items():
                least = findings.least_left(self._before.get((name, variant_name)), variant)
                left[variant_name] = min(left.get(variant_name, 1.0), least)
                self._look(name, variant_name, variant)
        if not left:
            return
        denied: Counter[str] = Counter()
        for model in self.models():
            denied[model.variant] += model.denied
        since = {variant: denied[variant] - self._denied[variant] for variant in left}
        self._denied = denied
        self.timeline.add(
            Sample(seconds=seconds, events=events, phase=phase, left=left, denied=since)
        )

    def _look(self, name: str, variant_name: str, variant: Variant) -> None:
        key = (name, variant_name)
        model = result_of(name, variant_name, variant)
        before = self._before.get(key)
        hung = before is not None and findings.hangs(before, variant)
        model.hangs = (self._now[key].hangs if key in self._now else 0) + int(hung)
        self._now[key] = model
        self._before[key] = variant

    def models(self) -> list[ModelResult]:
        """Every model's numbers, the play that is going on included."""
        keys = dict.fromkeys([*self._done, *self._now])
        return [
            added(self._done.get(key), self._now[key]) if key in self._now else self._done[key]
            for key in keys
        ]


def result_of(source: str, name: str, variant: Variant) -> ModelResult:
    """One model's numbers in one play."""
    zone = min(variant.zones, key=findings.lowest_left, default=None)
    return ModelResult(
        source=source,
        variant=name,
        plays=1,
        allocations=variant.ok + variant.denied + variant.stalled,
        ok=variant.ok,
        denied=variant.denied,
        stalled=variant.stalled,
        entitled_denied=findings.entitled_denied(variant),
        leaked=findings.leaked(variant),
        leaks=variant.leaks,
        denied_by_reason=variant.denied_by_reason,
        exhausted_allocations=findings.exhausted(variant),
        below_min_allocations=sum(zone.below_min_allocations for zone in variant.zones),
        lowest_left=1.0 if zone is None else findings.lowest_left(zone),
        lowest_free=0 if zone is None else zone.lowest_free,
        lowest_min=0 if zone is None else zone.min,
        lowest_zone="" if zone is None else f"zone {zone.zone} of node {zone.node}",
        activations=variant.pfmemalloc_activations,
        deactivations=variant.pfmemalloc_deactivations,
        wrong_deactivations=variant.pfmemalloc_wrong_deactivations,
        trace_errors=variant.unknown_frees + variant.reused_handles,
    )


_SUMMED: Final = (
    *("plays", "allocations", "ok", "denied", "stalled", "entitled_denied", "leaked"),
    *("exhausted_allocations", "below_min_allocations", "activations", "deactivations"),
    *("wrong_deactivations", "hangs", "trace_errors"),
)


def added(first: ModelResult | None, second: ModelResult) -> ModelResult:
    """Two plays as one: counts add up, of the lowest points the lower one stays."""
    if first is None:
        return second
    lower = first if first.lowest_left <= second.lowest_left else second
    return lower.model_copy(
        update={
            **{name: getattr(first, name) + getattr(second, name) for name in _SUMMED},
            "leaks": dict(Counter(first.leaks) + Counter(second.leaks)),
            "denied_by_reason": dict(
                Counter(first.denied_by_reason) + Counter(second.denied_by_reason)
            ),
        }
    )
