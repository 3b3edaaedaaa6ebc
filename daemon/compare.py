"""Several variants on one trace: what each came to, and the events at which they part.

One pass counts. If the parting events are asked for, that pass looks at what every event
came to under every variant, two bytes each, a batch at a time; a second pass then goes as
far as the events to be shown and has each variant tell the story of them. Memory stays
constant on traces of any length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from allocator.effect import ACTIVATED, DEACTIVATED, LEAK_MASK, MARKED
from allocator.machine import Machine
from allocator.outcome import FIRST_DENIED, FIRST_STALLED
from allocator.revision import Variant
from allocator.stats import MachineStats
from allocator.story import Step, Story
from daemon.summary import summarize
from daemon.trace_pass import Life, Stretch, TracePasses

_BYTE: Final = range(256)
_ENTRY: Final = "P1"
"""The rule that every slow path begins with."""


class Detail(Enum):
    """In what variants must differ for an event to part them; each looks closer."""

    RESULT = "result"
    """Given, denied, stalled, or leaked."""
    RESERVE = "reserve"
    """Also whether the reserve was drawn, and flips of ``pfmemalloc_active``."""
    PATH = "path"
    """Also the way, the reason, the way of a leak."""


def _outcome_key(detail: Detail) -> bytes:
    """What stands for each outcome code."""
    if detail is Detail.PATH:
        return bytes(_BYTE)
    return bytes(
        0 if code == 0 else 1 if code < FIRST_DENIED else 2 if code < FIRST_STALLED else 3
        for code in _BYTE
    )


def _effect_key(detail: Detail) -> bytes:
    """What stands for each byte of effects."""
    if detail is Detail.PATH:
        return bytes(_BYTE)
    seen = 0 if detail is Detail.RESULT else MARKED | ACTIVATED | DEACTIVATED
    return bytes((1 if effects & LEAK_MASK else 0) | effects & seen for effects in _BYTE)


@dataclass(slots=True)
class Parting:
    """An event at which not all variants came to the same."""

    life: Life
    number: int
    record: bytes
    keys: dict[str, tuple[int, int]]
    """Per variant, what it came to, as far as it was looked at."""
    stories: dict[str, Story] = field(default_factory=dict)

    def parted_by(self, variant: str) -> list[str]:
        """The rules that decided under ``variant`` and not under the first, or the reverse.

        Empty for a variant that came to the same as the first.
        """
        first = next(iter(self.keys))
        if self.keys[variant] == self.keys[first]:
            return []
        own, others = self.stories[variant].rules(), self.stories[first].rules()
        rules = [rule for rule in own if rule not in others]
        rules += [rule for rule in others if rule not in own]
        # P1 is met by whoever takes the slow path: it parts only where nothing else does.
        return [rule for rule in rules if rule != _ENTRY] or rules


@dataclass(slots=True)
class Compared:
    """What became of one source: its last epoch, as in ``pfmemd run``."""

    life: Life
    epochs: int
    events: int
    numbers: dict[str, dict[str, int]]
    """Per variant, the numbers of :func:`numbers_of`."""


@dataclass(slots=True)
class Comparison:
    """Everything that was asked for."""

    variants: tuple[str, ...]
    sources: list[Compared]
    partings: list[Parting]
    parted: int | None
    """How many events part the variants; None if it was not asked."""


class _Lane:
    """The machines of one life, and how many epochs its source has had."""

    def __init__(self, life: Life, variants: Sequence[Variant], epochs: int) -> None:
        self.life = life
        self.epochs = epochs
        self.machines = {variant.name: life.boot(variant) for variant in variants}


class Comparer:
    """Runs the variants side by side over a trace."""

    def __init__(
        self,
        trace: TracePasses,
        variants: Sequence[Variant],
        shown: int = 0,
        detail: Detail = Detail.RESULT,
    ) -> None:
        """``shown`` is how many parting events are wanted; 0 does not look for any."""
        self._trace = trace
        self._variants = tuple(variants)
        self._shown = shown
        self._outcome_key = _outcome_key(detail)
        self._effect_key = _effect_key(detail)
        self._partings: list[Parting] = []
        self._parted = 0

    def run(self) -> Comparison:
        """Go through the trace; raises PfmemdError for one that is bad."""
        lanes: dict[str, _Lane] = {}
        for stretch in self._trace.stretches("comparing"):
            lane = lanes.get(stretch.life.source)
            if lane is None or lane.life is not stretch.life:
                epochs = 1 if lane is None else lane.epochs + 1
                lane = lanes[stretch.life.source] = _Lane(stretch.life, self._variants, epochs)
            if self._shown:
                self._observe(lane, stretch)
            else:
                for machine in lane.machines.values():
                    machine.apply(stretch.records)
        self._tell()
        return Comparison(
            variants=tuple(variant.name for variant in self._variants),
            sources=[_compared(lane) for lane in lanes.values()],
            partings=self._partings,
            parted=self._parted if self._shown else None,
        )

    def _observe(self, lane: _Lane, stretch: Stretch) -> None:
        told = {name: machine.observe(stretch.records) for name, machine in lane.machines.items()}
        outcomes = [seen[0::2].translate(self._outcome_key) for seen in told.values()]
        effects = [seen[1::2].translate(self._effect_key) for seen in told.values()]
        if all(x == outcomes[0] for x in outcomes) and all(x == effects[0] for x in effects):
            return
        keys = [list(zip(*pair, strict=True)) for pair in zip(outcomes, effects, strict=True)]
        for index, at_event in enumerate(zip(*keys, strict=True)):
            if all(key == at_event[0] for key in at_event):
                continue
            self._parted += 1
            if len(self._partings) < self._shown:
                number = stretch.first + index
                named = dict(zip(told, at_event, strict=True))
                parting = Parting(stretch.life, number, stretch.record(number), named)
                self._partings.append(parting)

    def _tell(self) -> None:
        """Go as far as the events to be shown once more, and have each variant tell of them."""
        wanted = list(self._partings)
        if not wanted:
            return
        machines: dict[str, Machine] = {}
        for stretch in self._trace.stretches("telling"):
            life = stretch.life
            if stretch.first == 1 and not stretch.records:
                machines |= {
                    f"{life.source} {variant.name}": life.boot(variant)
                    for variant in self._variants
                }
            own = [
                parting
                for parting in wanted
                if (parting.life.source, parting.life.epoch) == (life.source, life.epoch)
                and stretch.first <= parting.number < stretch.end
            ]
            for variant in self._variants:
                machine = machines[f"{life.source} {variant.name}"]
                for parting, story in _stories(machine, stretch, own):
                    parting.stories[variant.name] = story
            wanted = wanted[len(own) :]  # they are in the order of the trace
            if not wanted:
                return


def _stories(
    machine: Machine, stretch: Stretch, partings: Sequence[Parting]
) -> Iterator[tuple[Parting, Story]]:
    """Apply a stretch, stopping at each of the events to be told; the rest only if none is."""
    done = stretch
    for parting in partings:
        machine.apply(done.before(parting.number))
        yield parting, machine.tell(parting.record)
        done = Stretch(done.life, parting.number + 1, done.after(parting.number))
    machine.apply(done.records)


def deciding_step(story: Story) -> Step | None:
    """The step that says most of why: the last that cites a rule, else the last.

    A leak is where no rule looked, so there it is the last.
    """
    steps = [step for step in story.steps if step.rule != _ENTRY]
    ruled = [step for step in steps if step.rule and not story.leaks]
    found = ruled or steps
    return found[-1] if found else None


def _compared(lane: _Lane) -> Compared:
    stats = {name: machine.stats() for name, machine in lane.machines.items()}
    return Compared(
        life=lane.life,
        epochs=lane.epochs,
        events=next(iter(stats.values())).events,
        numbers={name: numbers_of(reading) for name, reading in stats.items()},
    )


_PLAIN: Final = (
    "pfmemalloc_marks",
    "pfmemalloc_pages",
    "pfmemalloc_slabs",
    "pfmemalloc_objects",
    "preserved_objects",
    "pfmemalloc_activations",
    "pfmemalloc_deactivations",
    "pfmemalloc_wrong_deactivations",
)


def numbers_of(stats: MachineStats) -> dict[str, int]:
    """What is compared, by dotted name: ``denied``, ``denied.watermark``, ``leaks.fast_path``.

    Reasons and ways are there only if the model counts them at all.
    """
    told = summarize(stats)
    numbers: dict[str, int] = {"allocations": told["allocations"], "ok": told["ok"]}
    for result in ("denied", "stalled"):
        numbers[result] = told[result]
        for reason, count in told[f"{result}_by_reason"].items():
            numbers[f"{result}.{reason}"] = count
    for zone in stats.zones:
        numbers[f"lowest_free.node{zone.node}.{zone.zone}"] = zone.lowest_free_pages
        numbers[f"min.node{zone.node}.{zone.zone}"] = zone.min_pages
    for name in _PLAIN:
        numbers[name] = told[name]
    numbers["leaks"] = sum(told["leaks"].values())
    for way, count in told["leaks"].items():
        numbers[f"leaks.{way}"] = count
    numbers["slab_pages"] = sum(sum(pages) for pages in stats.slab_pages)
    numbers["kswapd_wakeups"] = told["kswapd_wakeups"]
    return numbers
