"""A network that is cut, and one that stands still: real processes, nothing lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.proxy import Proxy
from tests.torture.test_faults import Peaceful, eventually
from tests.torture.world import Nursery, Source

CUTS = 12


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Peaceful]:
    """A daemon behind TCP; sources are added when it is known where."""
    bind = "tcp://127.0.0.1:0"
    with Nursery() as nursery, Peaceful(tmp_path, nursery, 3, sources=0, bind=bind) as world:
        yield world


@pytest.fixture
def proxy(world: Peaceful) -> Iterator[Proxy]:
    """Two sources that reach the daemon through a network of ours."""
    world.begin()
    with Proxy(world.ready()[-1]["receiving"]) as proxy:
        world.url = proxy.url
        world.sources += [Source(world, f"host-{number}") for number in range(2)]
        yield proxy


def test_connections_are_cut_in_the_middle_of_whatever_they_carry(
    world: Peaceful, proxy: Proxy
) -> None:
    """Handshakes, batches and answers are torn at any byte, time and again."""
    for _ in range(CUTS):
        before = proxy.connections
        proxy.cut_after(world.random.randint(1, 3000))
        eventually("they connect again", lambda: proxy.connections > before + 1 or None)  # noqa: B023

    world.progress()
    world.settle()


def test_network_that_stands_still_is_given_up_and_what_it_held_comes_late(
    world: Peaceful, proxy: Proxy
) -> None:
    """No connection is closed, so heartbeats must tell; the old ones then speak out of turn."""
    world.progress()
    before = proxy.connections
    proxy.stand_still()
    eventually("they connect anew", lambda: proxy.connections > before + 1 or None)

    proxy.go_on()

    world.progress()
    world.settle()
