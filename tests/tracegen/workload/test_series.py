"""The switches of the series."""

from __future__ import annotations

import pytest

from allocator.revision import REVISIONS
from tracegen.errors import PfmemdError
from tracegen.workload.series import SWITCH_NAMES, default_series, parse_series, told


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("none", set()),
        ("whole", set(SWITCH_NAMES)),
        ("throttle", {"throttle"}),
        ("throttle+swap-memalloc", {"throttle", "swap-memalloc"}),
    ],
)
def test_a_series_is_read_and_told(text: str, names: set[str]) -> None:
    """Whole, none, or names joined with +."""
    assert names == parse_series(text)
    assert parse_series(text) == parse_series(told(parse_series(text)))


def test_a_switch_that_does_not_exist_is_refused() -> None:
    """With the ones that do."""
    with pytest.raises(PfmemdError, match="no switch 'throtle' in the series; there are gfp-"):
        parse_series("throtle")


def test_an_unpatched_kernel_has_nothing_of_the_series() -> None:
    """And each later one has all of it."""
    wholes = {name for name, revision in REVISIONS.items() if default_series(revision)}

    assert {"seed", "v3.6", "v6.1"} == wholes
