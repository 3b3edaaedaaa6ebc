"""Rates, tables and troubles come out of two readings."""

from __future__ import annotations

import pytest

from daemon.live_state import Cache, State, Variant
from daemon.top.rows import (
    BUSY,
    CACHE_COLUMNS,
    Moment,
    cache_rows,
    events_rate,
    rate,
    size_text,
    troubles,
    variant_rows,
)
from tests.daemon.soak.states import state, variant, zone


def cache(name: str, allocations: int = 0, *, active: int = 10, frees: int = 0) -> Cache:
    """A cache of 20 objects in two slabs."""
    return Cache(
        name=name,
        allocations=allocations,
        denied=0,
        stalled=0,
        frees=frees,
        object_size=512,
        slabs=2,
        objects=20,
        active_objects=active,
        pfmemalloc_slabs=1,
        preserved_objects=3,
    )


def reading(at: float, model: Variant, *caches: Cache, epoch: int = 1, events: int = 0) -> Moment:
    """A reading of one source with these caches."""
    full = model.model_copy(update={"caches": list(caches)})
    found: State = state(full, epoch=epoch)
    found.sources["a"].events = events
    return Moment(at, found)


def test_rates_are_growth_a_second() -> None:
    """Counts of two readings, the time between them."""
    before = reading(10.0, variant(ok=100, denied=4), cache("dentry", 50, frees=5), events=1000)
    now = reading(12.0, variant(ok=160, denied=10), cache("dentry", 70, frees=6), events=3000)

    (model,) = variant_rows("a", now, before)
    (dentry,) = cache_rows("a", "slab-seed", now, before, column=0, reverse=False, wanted="")
    assert (30.0, 3.0) == (model.ok_rate, model.denied_rate)
    assert (10.0, 0.5) == (dentry.allocations_rate, dentry.frees_rate)
    assert 1000.0 == events_rate("a", now, before)


def test_a_new_life_has_no_rate_yet() -> None:
    """Counters that began anew are not compared with those of the life before."""
    before = reading(10.0, variant(ok=10), cache("dentry", 5), epoch=1, events=10)
    now = reading(12.0, variant(ok=160), cache("dentry", 70), epoch=2, events=3000)

    (model,) = variant_rows("a", now, before)
    assert (0.0, 0.0) == (model.ok_rate, events_rate("a", now, before))
    assert 0.0 == rate(5, 9, 1.0)
    assert 0.0 == rate(5, None, 1.0)


def names(column: int, *, reverse: bool, wanted: str = "") -> list[str]:
    """The caches in the order of a column."""
    caches = (cache("dentry", 5), cache("bio", 50, active=20), cache("kmalloc-64", 50, active=1))
    now = reading(1.0, variant(), *caches)
    rows = cache_rows(
        "a", "slab-seed", now, reading(0.0, variant(), cache("dentry"), cache("bio"),
        cache("kmalloc-64")), column=column, reverse=reverse, wanted=wanted,
    )  # fmt: skip
    return [row.name for row in rows]


def test_caches_are_sorted_by_any_column() -> None:
    """Names from A on, numbers from the largest on; equal ones by name."""
    in_use = [column.title for column in CACHE_COLUMNS].index("in use")

    assert ["bio", "dentry", "kmalloc-64"] == names(0, reverse=False)
    assert ["bio", "kmalloc-64", "dentry"] == names(BUSY, reverse=True)
    assert ["kmalloc-64", "dentry", "bio"] == names(in_use, reverse=False)


def test_caches_are_filtered_by_a_part_of_the_name() -> None:
    """Whatever the case."""
    assert ["kmalloc-64"] == names(0, reverse=False, wanted="MALLOC")
    assert [] == names(0, reverse=False, wanted="nothing")


def test_cells_are_short() -> None:
    """A share in percent, memory in K and M."""
    now = reading(1.0, variant(), cache("dentry", active=5))
    (row,) = cache_rows("a", "slab-seed", now, None, column=0, reverse=False, wanted="")

    cells = {column.title: column.cell(row) for column in CACHE_COLUMNS}
    assert ("25%", "10.0K", "512") == (cells["use"], cells["memory"], cells["size"])
    assert ["512", "1.5M", "2.0G"] == [size_text(n) for n in (512, 3 << 19, 2 << 30)]


def told(model: Variant, before: Variant | None = None) -> list[tuple[bool, str]]:
    """What is wrong with a model."""
    then = None if before is None else reading(0.0, before)
    found = troubles("a", "slab-seed", reading(1.0, model), then)
    return [(trouble.critical, trouble.text) for trouble in found]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (variant(), []),
        (
            variant([zone(59)]),
            [(True, "zone DMA32 of node 0: reserve exhausted, 59 of 480 pages")],
        ),
        (
            variant([zone(239)]),
            [(False, "zone DMA32 of node 0: below half of min, 239 of 480 pages")],
        ),
        (
            variant([zone(480, exhausted=3)]),
            [(False, "zone DMA32 of node 0: 3 allocations exhausted it")],
        ),
        (
            variant(leaked=7, denied=2, entitled_denied=2),
            [
                (True, "2 denials to callers that the reserve is for"),
                (False, "7 objects of the reserve leaked: fast_path 7"),
            ],
        ),
    ],
)
def test_troubles_are_told_the_worst_first(
    model: Variant, expected: list[tuple[bool, str]]
) -> None:
    """A model in which nothing is wrong has none."""
    assert expected == told(model)


def test_hang_is_the_first_of_all() -> None:
    """Nothing freed, entitled callers refused, the reserve gone."""
    before = variant([zone(0)], denied=1, entitled_denied=1)
    now = variant([zone(0)], denied=2, entitled_denied=2)

    assert (True, "hang: entitled callers are refused and nothing is freed") == told(now, before)[0]
