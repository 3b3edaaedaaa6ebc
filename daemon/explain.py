"""Why an event came to what it came to: its story, the numbers it met, and where they come from.

Three passes at most. The first, if the event is not given by number, looks for it by what
came of it. The second stops at the event and has the model tell of it. The third goes there
again and watches the flagged slabs that the story is about: which event drew their pages,
and who was given objects of them since. The model itself remembers nothing of this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from allocator.effect import ACTIVATED, DEACTIVATED, LEAK_MASK, MARKED, WRONGLY
from allocator.machine import Machine, Request
from allocator.outcome import FIRST_DENIED, FIRST_STALLED, OUTCOME_NAMES
from allocator.revision import Variant
from allocator.stats import MachineStats
from allocator.story import Story
from daemon.event_text import Event, event_of
from daemon.trace_pass import Life, NoSuchEventError, Stretch, TracePasses

DENIED: Final = "denied"
STALLED: Final = "stalled"
LEAK: Final = "leak"
FLIP: Final = "flip"
DRAWN: Final = "drawn"

MOST_SLABS: Final = 8
"""So many flagged slabs are followed at a time."""
MOST_DRAWS: Final = 8
"""So many of a slab's latest objects are listed."""
MOST_FIRST: Final = 3
"""So many numbers of each kind of event an overview names."""

_INTERESTING_OUTCOME: Final = bytes(1 if code >= FIRST_DENIED else 0 for code in range(256))
_INTERESTING_EFFECT: Final = bytes(1 if effects else 0 for effects in range(256))


@dataclass(frozen=True, slots=True)
class Where:
    """Which model, and which life of the trace; None is the first there is."""

    variant: Variant
    source: str | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which events are meant, other than by number."""

    kind: str
    by: str | None = None
    """A reason of denials or stalls, a way of leaks, ``to_1`` or ``to_0`` of flips."""
    cache: str | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that makes an event worth asking about."""

    number: int
    kind: str
    by: str
    cache: str
    entitled: bool
    """Whether the reserve is for whoever asked."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An event, and what the model said of it."""

    number: int
    event: Event
    outcome: int
    effects: int


@dataclass(slots=True)
class Drawn:
    """An object of a watched slab that was given to somebody, or its page."""

    number: int
    event: Event
    request: Request
    freed_by: int | None = None


@dataclass(slots=True)
class SlabHistory:
    """A flagged slab: which event drew its page, and who got objects of it since."""

    cache: str
    pfn: int
    drawn_by: Drawn | None = None
    given: int = 0
    given_plain: int = 0
    """Those of them that went to callers without entitlement."""
    latest: deque[Drawn] = field(default_factory=lambda: deque(maxlen=MOST_DRAWS))

    def begin(self, drawn_by: Drawn) -> None:
        """The page was drawn: whatever was known of it before is of another slab."""
        self.drawn_by = drawn_by
        self.given = self.given_plain = 0
        self.latest.clear()


@dataclass(slots=True)
class Explanation:
    """Everything that is told of one event."""

    life: Life
    variant: Variant
    number: int
    event: Event
    request: Request | None
    """None for an event that asks for nothing."""
    before: MachineStats
    after: MachineStats
    leading: list[Seen]
    """The events before it, the latest last."""
    story: Story
    slabs: list[SlabHistory]
    more_slabs: int
    """Flagged slabs concerned that are not followed."""


@dataclass(slots=True)
class Tally:
    """How often something happened, and at which events."""

    count: int = 0
    first: list[int] = field(default_factory=list)
    last: int = 0


def happenings(trace: TracePasses, where: Where) -> Iterator[Happening]:
    """Everything in a life that makes an event worth asking about, in order."""
    machine: Machine | None = None
    for stretch in trace.life_stretches("looking", where.source, where.epoch):
        if machine is None:
            machine = stretch.life.boot(where.variant)
        told = machine.observe(stretch.records)
        yield from _happenings(machine, stretch, told)


def _happenings(machine: Machine, stretch: Stretch, told: bytes) -> Iterator[Happening]:
    outcomes = told[0::2]
    effects = told[1::2]
    marks = bytes(
        a | b
        for a, b in zip(
            outcomes.translate(_INTERESTING_OUTCOME),
            effects.translate(_INTERESTING_EFFECT),
            strict=True,
        )
    )
    index = marks.find(1)
    while index >= 0:
        number = stretch.first + index
        event = event_of(stretch.record(number))
        request = machine.request(stretch.record(number)) if event.allocates else None
        cache = request.cache if request is not None else ""
        entitled = request is not None and request.entitled
        for kind, by in kinds_of(outcomes[index], effects[index], machine.objects.leak_ways()):
            yield Happening(number, kind, by, cache, entitled)
        index = marks.find(1, index + 1)


def kinds_of(outcome: int, effects: int, ways: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(Kind, reason or way) of everything that an event counts as."""
    if outcome >= FIRST_STALLED:
        yield STALLED, OUTCOME_NAMES[outcome][1]
    elif outcome >= FIRST_DENIED:
        yield DENIED, OUTCOME_NAMES[outcome][1]
    if effects & LEAK_MASK:
        yield LEAK, ways[(effects & LEAK_MASK) - 1]
    if effects & MARKED:
        yield DRAWN, "marked"
    if effects & ACTIVATED:
        yield FLIP, "to_1"
    if effects & DEACTIVATED:
        yield FLIP, "to_0_with_flagged_slabs_left" if effects & WRONGLY else "to_0"


def find(trace: TracePasses, where: Where, choice: Choice, nth: int) -> int:
    """The number of the ``nth`` event that was chosen, from 1; raises NoSuchEventError."""
    found = 0
    for happening in happenings(trace, where):
        if (
            happening.kind == choice.kind
            and choice.by in {None, happening.by}
            and choice.cache in {None, happening.cache}
        ):
            found += 1
            if found == nth:
                return happening.number
    words = " ".join(word for word in (choice.kind, choice.by) if word)
    words += f" in {choice.cache}" if choice.cache else ""
    raise NoSuchEventError(
        f"{trace.name}: {where.variant.name} has {found} events that are {words}; number {nth} was"
        " asked for"
    )


def overview(trace: TracePasses, where: Where) -> dict[tuple[str, str], Tally]:
    """How often each kind of event happened, by reason or way."""
    tallies: dict[tuple[str, str], Tally] = {}
    for happening in happenings(trace, where):
        tally = tallies.setdefault((happening.kind, happening.by), Tally())
        tally.count += 1
        tally.last = happening.number
        if len(tally.first) < MOST_FIRST:
            tally.first.append(happening.number)
    return tallies


def explain(trace: TracePasses, where: Where, number: int, leading: int) -> Explanation:
    """Explain one event, with ``leading`` events before it; raises NoSuchEventError."""
    machine: Machine | None = None
    recent: deque[Seen] = deque(maxlen=leading)
    for stretch in trace.life_stretches("going there", where.source, where.epoch):
        if machine is None:
            machine = stretch.life.boot(where.variant)
        if number >= stretch.end:
            _apply(machine, stretch, recent, number - leading)
            continue
        _apply(machine, Stretch(stretch.life, stretch.first, stretch.before(number)), recent, 0)
        return _explain(trace, where, machine, stretch, number, list(recent))
    events = machine.events if machine is not None else 0
    raise NoSuchEventError(f"{trace.name}: there is no event {number}, the last is {events}")


def _apply(machine: Machine, stretch: Stretch, recent: deque[Seen], wanted_from: int) -> None:
    """Apply a stretch; remember its last events if they reach to ``wanted_from``."""
    if stretch.end <= wanted_from or not recent.maxlen:
        machine.apply(stretch.records)
        return
    start = max(stretch.first, stretch.end - recent.maxlen)
    machine.apply(stretch.before(start))
    for number in range(start, stretch.end):
        record = stretch.record(number)
        outcome, effects = machine.observe(record)
        recent.append(Seen(number, event_of(record), outcome, effects))


def _explain(
    trace: TracePasses,
    where: Where,
    machine: Machine,
    stretch: Stretch,
    number: int,
    leading: list[Seen],
) -> Explanation:
    record = stretch.record(number)
    event = event_of(record)
    request = machine.request(record) if event.allocates else None
    before = machine.stats()
    story = machine.tell(record)
    concerned = _concerned(machine, event, story)
    followed = concerned[:MOST_SLABS]
    return Explanation(
        life=stretch.life,
        variant=where.variant,
        number=number,
        event=event,
        request=request,
        before=before,
        after=machine.stats(),
        leading=leading,
        story=story,
        slabs=_histories(trace, where, number, followed) if followed else [],
        more_slabs=len(concerned) - len(followed),
    )


def _concerned(machine: Machine, event: Event, story: Story) -> list[tuple[str, int]]:
    """The flagged slabs an event is about: (cache, first pfn)."""
    objects = machine.objects
    concerned = list(story.slabs)
    flagged = [(objects.cache_name(number), pfn) for number, pfn in objects.flagged_slabs()]
    if event.allocates:
        number, pfn = machine.slab_of(event.handle)
        if number >= 0 and (objects.cache_name(number), pfn) in flagged:
            concerned.append((objects.cache_name(number), pfn))
    if story.effects & DEACTIVATED:
        concerned += sorted(flagged)
    return list(dict.fromkeys(concerned))


def _histories(
    trace: TracePasses, where: Where, until: int, slabs: list[tuple[str, int]]
) -> list[SlabHistory]:
    """Follow slabs from the beginning up to and including event ``until``."""
    watch: _Watch | None = None
    for stretch in trace.life_stretches("looking back", where.source, where.epoch):
        if watch is None:
            watch = _Watch(stretch.life.boot(where.variant), slabs)
        for number in range(stretch.first, min(stretch.end, until + 1)):
            watch.step(number, stretch.record(number))
        if stretch.end > until:
            break
    return [] if watch is None else watch.histories


class _Watch:
    """Applies event after event and looks what became of some slabs."""

    def __init__(self, machine: Machine, slabs: list[tuple[str, int]]) -> None:
        self._machine = machine
        self.histories = [SlabHistory(cache, pfn) for cache, pfn in slabs]
        self._by_place = {
            (machine.cache_number(cache), pfn): history
            for (cache, pfn), history in zip(slabs, self.histories, strict=True)
        }
        self._marked = {pfn: False for _, pfn in slabs}
        self._holders: dict[int, Drawn] = {}
        """By handle: objects of the slabs that are in somebody's hands."""

    def step(self, number: int, record: bytes) -> None:
        """Apply the next event."""
        machine = self._machine
        event = event_of(record)
        live = event.handle in self._holders
        machine.apply(record)
        self._look_at_pages(number, record, event)
        if not event.allocates:
            held = self._holders.pop(event.handle, None)
            if held is not None:
                held.freed_by = number
            return
        history = self._by_place.get(machine.slab_of(event.handle))
        if history is None or live:
            return
        drawn = Drawn(number, event, machine.request(record))
        history.given += 1
        history.given_plain += 0 if drawn.request.entitled else 1
        history.latest.append(drawn)
        self._holders[event.handle] = drawn

    def _look_at_pages(self, number: int, record: bytes, event: Event) -> None:
        """See whether this event drew the page of a slab that is watched."""
        machine = self._machine
        for (_, pfn), history in self._by_place.items():
            marked = machine.page_pfmemalloc(pfn)
            if marked and not self._marked[pfn]:
                history.begin(Drawn(number, event, machine.request(record)))
            self._marked[pfn] = marked
