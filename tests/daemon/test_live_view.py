"""The terminal view draws what the daemon says, and fits a small terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, ConsoleDimensions

from daemon.live_state import Cache, Results, Source, State, Variant, Zone
from daemon.live_view import Rates, level, reserve_drawn, state_lines, state_view, zone_bar


def zone(free: int, name: str = "DMA32") -> Zone:
    """Return a zone with the watermarks of a machine with min_free_kbytes 2048."""
    return Zone(node=0, zone=name, free=free, min=483, low=603, high=723, lowest_free=47)


def variant() -> Variant:
    """Return a model with every kind of caller and more caches than are shown."""
    callers = ("plain", "atomic", "interrupt", "memdie", "pf_memalloc", "gfp_memalloc")
    return Variant(
        ok=965,
        denied=30,
        stalled=5,
        pfmemalloc_active=True,
        pfmemalloc_activations=3,
        pfmemalloc_deactivations=2,
        by_caller={caller: Results(ok=8, denied=2, stalled=3) for caller in callers},
        denied_by_reason={"watermark": 11, "preserved": 1},
        stalled_by_reason={},
        leaks={"fast_path": 0},
        zones=[zone(2000, "DMA"), zone(47)],
        caches=[
            Cache(
                name=f"cache-{number}",
                allocations=number,
                denied=0,
                stalled=0,
                active_objects=1,
                pfmemalloc_slabs=0,
                preserved_objects=0,
            )
            for number in range(19, -1, -1)
        ],
    )


def state(*models: str) -> State:
    """Return what a daemon with one source and these models says."""
    source = Source(seq=12, events=44000, phase="dip", variants=dict.fromkeys(models, variant()))
    return State(sources={"nbd-swap": source})


def drawn(what: State, width: int, height: int) -> str:
    """Return the view as a terminal of this size would show it."""
    out = io.StringIO()
    console = Console(file=out, width=width, height=height)
    console.print(state_view(what, Rates({"nbd-swap": 1000.0}), ConsoleDimensions(width, height)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("free", "word"),
    [
        (723, "above high"),
        (722, "below high"),
        (602, "below low"),
        (483, "below low"),
        (482, "reserve 0% drawn"),
        (47, "reserve 90% drawn"),
        (0, "reserve 100% drawn"),
    ],
)
def test_a_zone_is_named_by_the_watermark_it_is_under(free: int, word: str) -> None:
    """The word changes where the kernel's own decisions change: high, low, min."""
    assert word == level(zone(free))[0]


def test_the_reserve_is_what_lies_below_min() -> None:
    """Drawn is min less free over min: 0 at min and above, 1 with nothing left."""
    assert [0.0, 0.0, pytest.approx(1 / 3), 1.0] == [
        reserve_drawn(zone(free)) for free in (5000, 483, 322, 0)
    ]


def test_a_bar_shows_free_pages_against_the_marks() -> None:
    """Free pages fill the bar from the left; m, l and h stand at the watermarks."""
    assert "█·········m·l··h··············" == zone_bar(zone(47)).plain
    assert "██████████m█l██h██████████████" == zone_bar(zone(5000)).plain
    assert "··········m·l··h··············" == zone_bar(zone(0)).plain


def test_one_model_fits_a_terminal_of_80_by_24() -> None:
    """Nothing is cut off on the smallest usual terminal; the busiest caches are shown."""
    lines = drawn(state("slab-seed"), 80, 24).splitlines()

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert any("reserve 90% drawn" in line for line in lines)
    assert any("denied watermark 11, denied preserved 1" in line for line in lines)
    assert ["cache-19", "cache-18"] == [
        name for line in lines for name in line.split() if name in ("cache-19", "cache-18")
    ]


def test_models_that_do_not_fit_are_told_in_a_line() -> None:
    """The second model is a panel where there is room and a line where there is none."""
    narrow = drawn(state("slab-seed", "slub-seed"), 80, 24)
    wide = drawn(state("slab-seed", "slub-seed"), 160, 24)

    assert "slub-seed: DMA free 2,000" in narrow
    assert "─ slub-seed ─" in wide


def test_a_line_says_how_each_model_stands() -> None:
    """A pipe or a log gets the same numbers as text, one line a model."""
    (line,) = state_lines(state("slub-seed"), Rates({}))

    assert (
        "nbd-swap 44,000 events 0/s | slub-seed: DMA free 2,000 (min 483, lowest 47);"
        " DMA32 free 47 (min 483, lowest 47); pfmemalloc active; ok 965 denied 30 stalled 5"
    ) == line


def test_a_daemon_without_sources_says_what_to_do() -> None:
    """An empty daemon is shown as such, not as an empty screen."""
    assert "pfmemd send TRACE" in drawn(State(sources={}), 80, 24)
