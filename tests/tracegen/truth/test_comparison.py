"""A model's free pages against a machine's."""

from __future__ import annotations

from tracegen.truth.comparison import CAUSES, Comparison, Point, Spread

DMA32 = (0, "DMA32")
SECOND = 10**9


def comparison(*free: tuple[float, int, int]) -> Comparison:
    """Points of (seconds, free pages of the machine, of the model) in a zone with min 100."""
    made = Comparison("slub-v6.1")
    for seconds, real, model in free:
        causes = dict.fromkeys(CAUSES, 0) | {"unseen": model - real}
        made.points.append(
            Point(round(seconds * SECOND), {DMA32: real}, {DMA32: model}, {DMA32: 100}, causes)
        )
    return made


def test_a_spread_knows_amounts_and_sign() -> None:
    """Median, nine of ten, the most, and to which side."""
    assert Spread(3, 5, 6, 2.5) == Spread.of([-6, -4, -3, 2, 3, 3, 3, 5, -1, 4])
    assert Spread(7, 7, 7, -7) == Spread.of([-7])


def test_an_anchor_takes_away_what_was_there_before() -> None:
    """At the beginning of each span the distance is taken as known."""
    made = comparison((0, 100, 100), (0.5, 100, 110), (1.2, 100, 150), (1.9, 100, 155))

    assert Spread.of([0, 10, 50, 55]) == made.spread()
    assert Spread.of([0, 10, 0, 5]) == made.anchored(SECOND)


def test_lowest_and_below_min_are_counted_for_both() -> None:
    """And how often they are below together."""
    made = comparison((0, 90, 95), (1, 99, 101), (2, 100, 99), (3, 120, 130))

    assert (90, 95) == made.lowest(DMA32)
    assert (2, 2, 1) == made.below_min(DMA32)


def test_causes_have_spreads_of_their_own() -> None:
    """Named ones that do not matter are 0."""
    made = comparison((0, 90, 95), (1, 99, 101))

    assert {cause: (3.5, 3.5) if cause == "unseen" else (0, 0) for cause in CAUSES} == {
        cause: (spread.median, spread.bias) for cause, spread in made.causes().items()
    }
