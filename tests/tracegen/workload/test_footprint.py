"""What the steps of a kernel ask for, and how rights to the reserve are spelt."""

from __future__ import annotations

import pytest

from allocator.config import CacheSpec
from allocator.events import CTX_PF_MEMALLOC, CTX_SOFTIRQ, OBJ_ALLOC
from allocator.gfp import FLAVOURS
from allocator.revision import REVISIONS
from tracegen.workload.footprint import Footprint
from tracegen.workload.series import default_series, parse_series

NONE = parse_series("none")
WHOLE = parse_series("whole")
MEMALLOC = FLAVOURS["v3.6"]["__GFP_MEMALLOC"]


@pytest.mark.parametrize("revision", list(REVISIONS.values()), ids=list(REVISIONS))
def test_every_kernel_has_every_step(revision: object) -> None:
    """The two tables name the same steps, so that a scenario runs on any kernel."""
    found = REVISIONS[getattr(revision, "name", "")]
    steps = Footprint(found, default_series(found))

    assert steps.step("receive_buffer")
    assert set(Footprint(REVISIONS["seed"], NONE)._steps) == set(steps._steps)


def test_a_right_is_a_gfp_bit_where_there_is_one() -> None:
    """Linux 3.6 has __GFP_MEMALLOC."""
    (page,) = Footprint(REVISIONS["v3.6"], WHOLE).step("socket_page")

    assert page.gfp & MEMALLOC
    assert 0 == page.add


def test_a_right_is_the_tasks_flag_where_there_is_no_bit() -> None:
    """The seed's kernel knows PF_MEMALLOC alone, and not in a softirq (P1)."""
    (page,) = Footprint(REVISIONS["seed"], WHOLE).step("socket_page")

    assert CTX_PF_MEMALLOC == page.add
    assert 0 == page.keep & CTX_SOFTIRQ


def test_without_the_series_nobody_asks_for_the_reserve() -> None:
    """Whatever the kernel could do."""
    steps = Footprint(REVISIONS["v3.6"], NONE)

    wants = [want for step in steps._steps.values() for want in step]
    assert not any(want.entitled or want.add or want.gfp & MEMALLOC for want in wants)


def test_the_socket_is_privileged_by_the_swap_device_alone() -> None:
    """Patch 7 lets a socket ask; only patch 13 makes the device's one of those."""
    (page,) = Footprint(REVISIONS["v3.6"], parse_series("gfp-memalloc+sock-memalloc")).step(
        "socket_page"
    )

    assert not page.entitled


def test_an_skbs_data_is_asked_for_without_the_reserve_first() -> None:
    """kmalloc_reserve(): what then comes of the reserve marks the packet."""
    head, data = Footprint(REVISIONS["v3.6"], WHOLE).step("receive_buffer")

    assert head.then is None
    assert not data.marks
    assert data.gfp & FLAVOURS["v3.6"]["__GFP_NOMEMALLOC"]
    assert data.then is not None
    assert data.then.marks
    assert data.then.entitled


def test_caches_beside_the_kernels_are_numbered_after_them_and_once() -> None:
    """A name that is there keeps its cache."""
    steps = Footprint(REVISIONS["seed"], NONE)
    count = len(steps.caches)
    steps.add_caches([CacheSpec(0, "mine", 200), CacheSpec(0, "dentry", 999)])

    assert [cache.id for cache in steps.caches] == list(range(count + 1))
    assert {"mine": 200, "dentry": 192} == {
        cache.name: cache.size for cache in steps.caches if cache.name in {"mine", "dentry"}
    }
    steps.number_caches(lambda name: 100 + len(name))
    assert (count, 104) == (
        steps.request(OBJ_ALLOC, "mine", 0).arg,
        steps.request(OBJ_ALLOC, "mine", 0).number,
    )
