"""Answers: runs written short, and what differs between two of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracegen.rule_trace.answer import (
    MAX_RUN,
    Answer,
    Difference,
    RunError,
    compressed,
    differences,
    expanded,
)

members = st.builds(
    lambda before, number, after: f"{before}{number}{after}",
    st.sampled_from(["", "9216:", "7:"]),
    st.integers(0, 12),
    st.sampled_from(["", "*"]),
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("3..5", ("3", "4", "5")),
        ("5..3", ("5", "4", "3")),
        ("7..7", ("7",)),
        ("9216:0..2*", ("9216:0*", "9216:1*", "9216:2*")),
        ("WMARK_MIN", ("WMARK_MIN",)),
        ("9216:0*", ("9216:0*",)),
        ("..", ("..",)),
    ],
)
def test_a_run_stands_for_its_members(text: str, meant: tuple[str, ...]) -> None:
    """A run is every number between its ends; anything else is itself."""
    assert meant == expanded(text)


def test_a_run_has_a_longest_length() -> None:
    """A run that nobody can mean is refused before it is built."""
    assert MAX_RUN == len(expanded(f"1..{MAX_RUN}"))
    with pytest.raises(RunError, match="more than 4096 members"):
        expanded(f"0..{MAX_RUN}")


@given(st.lists(members, max_size=12))
def test_writing_short_loses_nothing(told: list[str]) -> None:
    """What is written short stands for exactly what was there."""
    assert told == [member for part in compressed(told) for member in expanded(part)]


def test_only_runs_of_three_are_written_short() -> None:
    """Two neighbours stay two words; a tag or another slab ends a run."""
    told = ["1", "2", "9:4*", "9:3*", "9:2*", "9:1", "8:0"]

    assert ["1", "2", "9:4..2*", "9:1", "8:0"] == compressed(told)


def test_what_is_not_stated_is_no_difference() -> None:
    """The answer may have more words and fields than are expected."""
    expected = Answer(("ok",), {"idx": ("0",)})
    got = Answer(("ok", "array_hit"), {"slab": ("9216",), "idx": ("0",)})

    assert [] == list(differences(expected, got, all_words=False))


def test_each_difference_is_named() -> None:
    """A wrong word, a wrong field and a field that is not there are told apart."""
    expected = Answer(("ok",), {"idx": ("1",), "slab": ("9", "10", "11"), "ret": ("0",)})
    got = Answer(("denied",), {"idx": ("2",), "slab": ("9", "10", "11")})

    assert [
        Difference("", "ok", "denied"),
        Difference("idx", "1", "2"),
        Difference("ret", "0", "nothing of that name"),
    ] == list(differences(expected, got, all_words=False))


def test_a_list_is_compared_whole() -> None:
    """Where the words are a list, one more at the end is a difference."""
    expected, got = Answer(("1:0",)), Answer(("1:0", "1:1"))

    assert [Difference("", "1:0", "1:0,1:1")] == list(differences(expected, got, all_words=True))


def test_flags_have_no_order() -> None:
    """alloc_flags are a set; other fields are lists."""
    one, other = ("HIGH", "HARDER"), ("HARDER", "HIGH")
    expected, got = Answer((), {"flags": one}), Answer((), {"flags": other})

    assert [] == list(differences(expected, got, all_words=False))
    expected, got = Answer((), {"full": one}), Answer((), {"full": other})
    assert 1 == len(list(differences(expected, got, all_words=False)))


def test_an_answer_is_written_as_in_a_trace() -> None:
    """Words, then fields; flags joined as the kernel writes them."""
    answer = Answer(("ok",), {"idx": ("3", "2", "1"), "flags": ("WMARK_MIN", "CPUSET")})

    assert "ok idx=3..1 flags=WMARK_MIN|CPUSET" == str(answer)
