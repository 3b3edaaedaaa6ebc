"""The worst events are found by number, and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.revision import parse_variant
from daemon.soak.moments import moments
from tests.daemon.reserve_trace import trace_bytes
from tests.e2e.traces import MIN_PAGES, PAGES, drained, drawn, write


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trace that drains a zone to its last page."""
    return str(write(tmp_path_factory.mktemp("dry") / "dry.pfmt", "dry", drained()))


def test_lowest_point_and_exhaustion_are_found(dry: str) -> None:
    """The events are those after which an eighth of min, and nothing, is free."""
    found = {moment.what: moment.event for moment in moments(dry, [parse_variant("slab-seed")])}

    eighth = found["less than an eighth of the reserve left in zone DMA32"]
    lowest = found[f"the lowest point of zone DMA32: 0 pages free of {MIN_PAGES}"]
    denied = found["the first denial; the first denial of a caller that the reserve is for"]
    # A page an event: just below an eighth of min first, the last page, and one too many.
    assert [MIN_PAGES // 8 - 1, 1] == [lowest - eighth, denied - lowest]
    assert lowest <= PAGES


def test_moment_is_told_and_can_be_asked_for_again(dry: str) -> None:
    """Each comes with its story and with the command that tells it."""
    moment = next(moments(dry, [parse_variant("slab-seed")]))

    assert f"pfmemd explain {dry} --event {moment.event} --variant slab-seed" == moment.command
    assert f"event {moment.event:,} of dry, epoch 1, under slab-seed" in moment.told


def test_flips_and_leaks_are_found(tmp_path: Path) -> None:
    """The first leak of each kind and the first wrong flip are among them."""
    path = str(write(tmp_path / "drawn.pfmt", "drawn", drawn(rounds=2)))

    what = " ".join(moment.what for moment in moments(path, [parse_variant("slab-seed")]))

    assert "the first leak by forced_refill" in what
    assert "pfmemalloc_active cleared too early" in what


def test_quiet_trace_has_none(tmp_path: Path) -> None:
    """Where nothing is denied, leaked or below min there is nothing to tell."""
    path = tmp_path / "quiet.pfmt"
    path.write_bytes(trace_bytes(events=()))

    assert [] == list(moments(str(path), [parse_variant("slub-seed")]))
