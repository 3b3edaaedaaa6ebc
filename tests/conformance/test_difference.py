"""States part where they part, and are named as a kernel engineer names them."""

from __future__ import annotations

from typing import Any

import pytest

from tracegen.conformance.difference import (
    ABSENT,
    canonical,
    differences,
    fingerprint,
    first_difference,
)

ZONES = [{"nid": 0, "zone": "DMA32", "free": 5}, {"nid": 1, "zone": "DMA32", "free": 7}]


def found(expected: object, got: object, *, stated_only: bool = False) -> list[tuple[Any, ...]]:
    """Return the differences as tuples."""
    return [
        (one.path, one.expected, one.got)
        for one in differences(expected, got, stated_only=stated_only)
    ]


def test_canonical_text_has_sorted_keys_and_no_spaces() -> None:
    """The form of which the vectors' fingerprints are taken; not only ASCII."""
    assert '{"a":[1,null],"b":"é"}'.encode() == canonical({"b": "é", "a": [1, None]})


def test_a_fingerprint_is_the_sha256_of_that_text() -> None:
    """The value is that of ``printf '{"a":1}' | sha256sum``."""
    expected = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"

    assert expected == fingerprint({"a": 1})


def test_equal_states_have_no_differences() -> None:
    """The order of keys does not matter."""
    assert [] == found({"a": 1, "b": ZONES}, {"b": ZONES, "a": 1})


def test_zones_and_caches_are_named() -> None:
    """A path names node and zone, or the cache, where the state has a list."""
    expected = {"zones": ZONES, "caches": [{"name": "skb", "x": 1}, {"name": "bio", "x": 1}]}
    got = {
        "zones": [ZONES[0], {**ZONES[1], "free": 6}],
        "caches": [{"name": "skb", "x": 1}, {"name": "bio", "x": 2}],
    }

    assert [("zones[node 1 DMA32].free", 7, 6), ("caches[bio].x", 1, 2)] == found(expected, got)


def test_a_cache_on_one_side_only_does_not_shift_the_others() -> None:
    """Caches are matched by name, not by index."""
    skb, bio, nbd = ({"name": name, "x": 1} for name in ("skb", "bio", "nbd"))

    assert [("caches[skb]", skb, ABSENT), ("caches[nbd]", ABSENT, nbd)] == found(
        {"caches": [skb, bio]}, {"caches": [bio, nbd]}
    )


def test_another_order_of_caches_is_a_difference() -> None:
    """The cache chain has an order; it is told once."""
    skb, bio = ({"name": name, "x": 1} for name in ("skb", "bio"))

    assert [("order of caches", ["skb", "bio"], ["bio", "skb"])] == found(
        {"caches": [skb, bio]}, {"caches": [bio, skb]}
    )


def test_a_kernel_list_is_one_place() -> None:
    """A missing page in a free list is one difference, with its key in brackets."""
    assert [("free_lists[0/2]", [1, 2, 3], [1, 3])] == found(
        {"free_lists": {"0/2": [1, 2, 3]}}, {"free_lists": {"0/2": [1, 3]}}
    )


def test_arrays_by_number_are_entered() -> None:
    """Cpus, nodes, per-type and alien lists differ at an index."""
    assert [("pcp[0].lists[1]", [7], [])] == found(
        {"pcp": [{"lists": [[1], [7], []]}]}, {"pcp": [{"lists": [[1], [], []]}]}
    )


def test_a_key_on_one_side_only_is_a_difference() -> None:
    """Unless only what is expected counts, as with the boot keys."""
    assert [("a", 1, ABSENT), ("b", ABSENT, 2)] == found({"a": 1}, {"b": 2})
    assert [("a", 1, ABSENT)] == found({"a": 1}, {"b": 2}, stated_only=True)


def test_a_boolean_is_not_a_number() -> None:
    """JSON writes them differently, so the fingerprint differs too."""
    assert [("pfm", 1, True)] == found({"pfm": 1}, {"pfm": True})
    assert [("list", [1], [True])] == found({"list": [1]}, {"list": [True]})


@pytest.mark.parametrize(
    ("expected", "got", "index"),
    [
        ([1, 2, 3], [1, 2, 4], 2),
        ([1, 2], [1, 2, 3], 2),
        ([1, 2], [1, 2], -1),
        ("3222", "3202", 2),
        ([1], "1", -1),
    ],
)
def test_the_first_member_that_differs_is_found(expected: object, got: object, index: int) -> None:
    """Lists and strings part at an index; values of other types do not have one."""
    assert index == first_difference(expected, got)
