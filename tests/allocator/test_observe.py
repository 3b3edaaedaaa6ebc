"""Observing and telling change nothing, and what is told adds up to what the machine counts."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from allocator.effect import ACTIVATED, DEACTIVATED, LEAK_MASK, MARKED, WRONGLY
from allocator.events import MIN_FREE, OBJ_ALLOC, RECORD_SIZE
from allocator.machine import Machine
from allocator.outcome import OUTCOME_NAMES, WOKE_KSWAPD
from allocator.revision import parse_variant, variant_names
from tests.allocator.machines import CACHES, RandomStream, random_config, record

EVENTS = 600


def machines(seed: int, variant: str) -> tuple[list[Machine], bytes]:
    """Four machines of one random configuration, and a stream that draws their reserve."""
    random = Random(seed)
    config = random_config(random)
    stream = RandomStream(random, config, variant)
    made = [Machine(config, parse_variant(variant), CACHES) for _ in range(4)]
    events = [stream.step() for _ in range(EVENTS)]
    all_kbytes = sum(last - first for first, last in config.nodes) * 4
    for at in (EVENTS // 4, EVENTS // 2):  # from there on every zone is below min
        events[at] = record(MIN_FREE, arg=all_kbytes)
    return made, b"".join(events)


@pytest.mark.parametrize("variant", variant_names())
@pytest.mark.parametrize("seed", range(4))
def test_observing_and_telling_change_nothing(variant: str, seed: int) -> None:
    """Applied, answered, observed or told event by event: the same state, the same outcomes."""
    (applied, observed, told, answered), records = machines(seed, variant)

    applied.apply(records)
    seen = observed.observe(records)
    answers = answered.answered(records)
    stories = [
        told.tell(records[at : at + RECORD_SIZE]) for at in range(0, len(records), RECORD_SIZE)
    ]

    assert applied.digest() == observed.digest() == told.digest() == answered.digest()
    assert seen[0::2] == bytes(answer & ~WOKE_KSWAPD for answer in answers)
    woke = sum(1 for answer in answers if answer & WOKE_KSWAPD)
    assert (applied.stats().kswapd_wakeups > 0) == (woke > 0)
    assert seen == bytes(byte for story in stories for byte in (story.outcome, story.effects))


@pytest.mark.parametrize("variant", variant_names())
@pytest.mark.parametrize("seed", range(4))
def test_what_is_observed_adds_up(variant: str, seed: int) -> None:
    """Outcomes, leaks by way, marks and flips: the sum over events is what stats() counts."""
    (machine, *_), records = machines(seed, variant)

    seen = machine.observe(records)

    stats = machine.stats()
    outcomes = Counter(OUTCOME_NAMES[code] for code in seen[0::2] if code)
    counted: Counter[tuple[str, str]] = Counter()
    for outcome in stats.outcomes:
        counted[outcome.result, outcome.path] += outcome.count
    assert counted == outcomes
    effects = seen[1::2]
    assert stats.pfmemalloc_activations == sum(1 for e in effects if e & ACTIVATED)
    assert stats.pfmemalloc_deactivations == sum(1 for e in effects if e & DEACTIVATED)
    assert stats.pfmemalloc_wrong_deactivations == sum(1 for e in effects if e & WRONGLY)
    assert (stats.pfmemalloc_marks > 0) == any(e & MARKED for e in effects)
    ways = machine.objects.leak_ways()
    leaks = Counter(ways[(e & LEAK_MASK) - 1] for e in effects if e & LEAK_MASK)
    total: Counter[str] = Counter()
    for cache in stats.caches:
        total.update(cache.leaks)
    assert leaks <= +total  # a slab's own descriptor may leak in the same event
    assert bool(leaks) == bool(+total)


@pytest.mark.parametrize("variant", variant_names())
def test_flagged_slabs_are_those_that_stats_count(variant: str) -> None:
    """``flagged_slabs`` names as many slabs of each cache as ``cache_stats`` counts."""
    found = 0
    for seed in range(4):
        (machine, *_), records = machines(seed, variant)
        machine.apply(records)

        by_cache = Counter(number for number, _ in machine.objects.flagged_slabs())

        counted = {
            number: cache.pfmemalloc_slabs
            for number, cache in enumerate(machine.stats().caches)
            if cache.pfmemalloc_slabs
        }
        assert counted == dict(by_cache)
        for _, pfn in machine.objects.flagged_slabs():
            assert machine.page_pfmemalloc(pfn)
        found += sum(by_cache.values())
    assert found > 0 or variant.endswith("unpatched")


def test_slab_of_a_live_object() -> None:
    """A live object's cache and slab; nothing for pages, for the denied and for the unknown."""
    config = random_config(Random(3))
    machine = Machine(config, parse_variant("slub-seed"), CACHES)
    machine.apply(record(OBJ_ALLOC, handle=1, gfp=0xD0, arg=0))

    number, pfn = machine.slab_of(1)

    assert "cache-24" == machine.objects.cache_name(number)
    assert pfn in {first for first, _ in machine.objects.slab_pages()}
    assert (-1, -1) == machine.slab_of(2)


def test_request_is_read_as_it_would_be_applied() -> None:
    """Caller, right and cache of a record, in the revision's own terms."""
    config = random_config(Random(3))
    machine = Machine(config, parse_variant("slab-seed"), CACHES, "v6.1")
    memalloc = record(OBJ_ALLOC, handle=1, gfp=0x20000 | 0xA20, arg=1)

    request = machine.request(memalloc)

    assert ("pf_memalloc", True, "cache-200", True) == (
        request.caller,
        request.entitled,
        request.cache,
        request.memalloc_lent,
    )
    assert 0x20 == request.gfp
