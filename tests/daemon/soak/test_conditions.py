"""Thresholds are read from a list, and say what crossed them."""

from __future__ import annotations

import pytest

from daemon.soak.conditions import COUNTED, ConditionError, parse_conditions
from daemon.soak.result import ModelResult

MODEL = ModelResult(
    source="a",
    variant="slab-seed",
    denied=10,
    exhausted_allocations=2,
    lowest_left=0.1,
    lowest_free=48,
    lowest_min=480,
    lowest_zone="zone DMA32 of node 0",
)


@pytest.mark.parametrize(
    ("text", "crossed"),
    [
        ("denied", True),
        ("denied>9", True),
        ("denied>10", False),
        ("reserve<10%", False),
        ("reserve<10.1%", True),
        ("reserve<11", True),
        ("reserve-exhausted", True),
        ("reserve-exhausted>2", False),
        ("leak", False),
        ("hang", False),
        ("slab-seed:denied", True),
    ],
)
def test_condition_is_kept_or_crossed(text: str, *, crossed: bool) -> None:
    """A count must not exceed its bound, the reserve must not be less than its own."""
    (condition,) = parse_conditions(text)

    assert condition.applies_to(MODEL)
    assert crossed is (condition.breach(MODEL) is not None)


def test_every_name_is_a_number_of_the_result() -> None:
    """Each condition looks at something that a model's result has."""
    for name, number in COUNTED.items():
        (condition,) = parse_conditions(f"{name}>3")
        assert condition.breach(MODEL.model_copy(update={number: 4})) is not None
        assert condition.breach(MODEL.model_copy(update={number: 3})) is None


def test_list_is_split_and_blanks_are_nothing() -> None:
    """Several conditions come in one list; an empty one asks for nothing."""
    assert ["leak", "denied>5"] == [c.text for c in parse_conditions(" leak, denied>5 ,")]
    assert () == parse_conditions("")


def test_a_condition_of_one_model_leaves_others_alone() -> None:
    """VARIANT: asks that model only."""
    (condition,) = parse_conditions("slub-seed:denied")

    assert not condition.applies_to(MODEL)


def test_exhaustion_says_how_low() -> None:
    """The words name the zone and its pages."""
    (condition,) = parse_conditions("reserve-exhausted")

    assert condition.breach(MODEL) == (
        "2 allocations left less than an eighth of min; the fewest free pages were 48 of 480 in"
        " zone DMA32 of node 0"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("leek", "there is no leek"),
        ("denied<5", "expected denied or denied>N"),
        ("reserve>5%", "expected reserve<P%"),
        ("reserve", "expected reserve<P%"),
        ("denied>many", "is no condition"),
        ("slob-seed:leak", "slob-seed"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, why: str) -> None:
    """One line says which, and what there is."""
    with pytest.raises(ConditionError, match=why):
        parse_conditions(text)
