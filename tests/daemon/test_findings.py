"""What is wrong with a model is judged the same way everywhere."""

from __future__ import annotations

import pytest

from daemon import findings
from tests.daemon.soak.states import variant, zone


def test_left_is_a_part_of_min() -> None:
    """Free pages above min do not count: the reserve is whole."""
    assert 0.25 == findings.left(zone(120))
    assert 1.0 == findings.left(zone(9999))
    assert 0.125 == findings.lowest_left(zone(480, lowest=60))


def test_a_zone_without_a_reserve_has_nothing_to_lose() -> None:
    """A zone whose min is 0 is never low."""
    assert 1.0 == findings.left(zone(0, least=0))
    assert 1.0 == findings.left_of(variant([zone(0, least=0)]))


def test_the_worst_zone_speaks_for_the_machine() -> None:
    """Of several zones the one drawn deepest counts."""
    zones = [zone(400), zone(48), zone(500)]

    assert zones[1] == findings.worst(variant(zones))
    assert 0.1 == findings.left_of(variant(zones))


def test_entitled_are_told_from_the_others() -> None:
    """Denials of callers that the reserve is for are counted apart."""
    assert 3 == findings.entitled_denied(variant(denied=10, entitled_denied=3))


@pytest.mark.parametrize(
    ("free", "denied_since", "freed_since", "expected"),
    [
        (10, 1, 0, True),
        (10, 1, 1, False),  # something is given back: it goes on
        (10, 0, 0, False),  # nobody who could free memory is refused
        (480, 1, 0, False),  # a refusal for want of a large block, not of memory
    ],
)
def test_a_hang_is_three_things_at_once(
    free: int, denied_since: int, freed_since: int, *, expected: bool
) -> None:
    """Entitled callers refused, nothing freed, the reserve exhausted: two are not enough."""
    before = variant([zone(10)], denied=5, entitled_denied=5, frees=7)
    now = variant([zone(free)], denied=9, entitled_denied=5 + denied_since, frees=7 + freed_since)

    assert expected is findings.hangs(before, now)
