"""Counts add up over plays, the lowest point stays, and a night's timeline is bounded."""

from __future__ import annotations

from daemon.soak.result import Sample
from daemon.soak.tally import Tally, Timeline
from tests.daemon.soak.states import state, variant, zone

SOURCES = {"a"}


def test_plays_add_up() -> None:
    """Each play has fresh machines: their counts are summed, the lower of two low points stays."""
    tally = Tally()
    tally.begin(None)
    tally.look(state(variant([zone(480, lowest=100)], ok=50, denied=4), epoch=1), SOURCES, 1, 10)
    first = state(variant([zone(480, lowest=90)], ok=90, denied=5, leaked=1), epoch=1)
    tally.look(first, SOURCES, 2, 20)
    tally.begin(first)
    second = state(variant([zone(480, lowest=200)], ok=60, denied=2, leaked=3), epoch=2)
    tally.look(second, SOURCES, 3, 30)

    (model,) = tally.models()
    assert (2, 150, 7, 4) == (model.plays, model.ok, model.denied, model.leaked)
    assert (90, 90 / 480) == (model.lowest_free, model.lowest_left)
    assert {"fast_path": 4} == model.leaks


def test_machines_of_the_play_before_do_not_count() -> None:
    """A look that finds the old epoch still there is no look at the new play."""
    tally = Tally()
    tally.begin(None)
    first = state(variant(denied=5), epoch=1)
    tally.look(first, SOURCES, 1, 10)
    tally.begin(first)
    tally.look(first, SOURCES, 2, 10)

    (model,) = tally.models()
    assert (1, 5) == (model.plays, model.denied)
    assert 1 == len(tally.timeline.samples)


def test_sources_of_others_do_not_count() -> None:
    """A daemon may have other sources than those that the soak plays."""
    tally = Tally()
    tally.begin(None)
    tally.look(state(variant(denied=5), source="somebody"), SOURCES, 1, 10)

    assert [] == tally.models()


def test_sample_has_what_is_left_and_what_was_denied_since() -> None:
    """Each sample says how the reserve stands and what was denied since the one before."""
    tally = Tally()
    tally.begin(None)
    tally.look(state(variant([zone(120)], denied=3), phase="outage"), SOURCES, 1, 10)
    tally.look(state(variant([zone(480)], denied=8)), SOURCES, 2, 20)

    first, second = tally.timeline.samples
    assert ({"slab-seed": 0.25}, {"slab-seed": 3}, "outage") == (
        first.left,
        first.denied,
        first.phase,
    )
    assert ({"slab-seed": 1.0}, {"slab-seed": 5}) == (second.left, second.denied)


def test_new_low_point_between_two_looks_shows() -> None:
    """A play's lowest point stands in the sample after it, and in no later one."""
    tally = Tally()
    tally.begin(None)
    for at, now in enumerate((zone(480, lowest=240), zone(480, lowest=240), zone(360, lowest=60))):
        tally.look(state(variant([now])), SOURCES, at, 10)

    assert [0.5, 1.0, 0.125] == [sample.left["slab-seed"] for sample in tally.timeline.samples]


def test_hang_between_two_looks_is_counted() -> None:
    """Nothing freed, entitled callers refused, the reserve gone: that is one."""
    tally = Tally()
    tally.begin(None)
    for entitled in (1, 2, 2, 3):
        dry = variant([zone(0)], denied=9, entitled_denied=entitled, frees=7)
        tally.look(state(dry), SOURCES, entitled, 10)

    (model,) = tally.models()
    assert 2 == model.hangs


def test_long_timeline_keeps_its_dips() -> None:
    """Beyond the bound samples are drawn together: the lower reserve and all denials stay."""
    timeline = Timeline(max_samples=16)
    for at in range(1000):
        left = 0.03 if at == 333 else 1.0
        timeline.add(Sample(seconds=at, events=at, left={"v": left}, denied={"v": 1}))

    assert len(timeline.samples) <= 16
    assert 0.03 == min(sample.left["v"] for sample in timeline.samples)
    assert 1000 == sum(sample.denied["v"] for sample in timeline.samples)
    assert 999 == timeline.samples[-1].seconds
