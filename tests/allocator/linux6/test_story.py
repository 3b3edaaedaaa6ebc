"""The stories of Linux 6.1: what decided, with the kernel's own names and numbers."""

from __future__ import annotations

from random import Random

import pytest

from allocator.config import CacheSpec
from allocator.events import CTX_MEMDIE, CTX_PF_MEMALLOC, OBJ_ALLOC, OBJ_FREE, PAGE_ALLOC
from allocator.machine import Machine
from allocator.revision import parse_variant
from allocator.story import Story
from tests.allocator.linux6.driver import (
    ALL_MEMORY,
    GFP_ATOMIC,
    GFP_KERNEL,
    GFP_NOIO,
    NOFAIL,
    PLAIN,
    Driver,
)
from tests.allocator.machines import CACHES, RandomStream, random_config, record


def machine_below_min(variant: str) -> Machine:
    """A machine with one cache, all of whose memory is reserve."""
    config = Driver(variant).machine.config
    machine = Machine(config, parse_variant(variant), [CacheSpec(0, "skb", 256)])
    machine.set_min_free_kbytes(ALL_MEMORY)
    return machine


def steps(story: Story) -> list[str]:
    """The functions of a story, each once."""
    return list(dict.fromkeys(step.function for step in story.steps))


def text(story: Story, function: str) -> str:
    """What a function did last."""
    return [step.text for step in story.steps if step.function == function][-1]


def test_the_story_of_a_page_from_the_reserve() -> None:
    """Every walk with its flags, every watermark with its numbers, and the mark."""
    machine = machine_below_min("slub-v6.1")

    story = machine.tell(record(PAGE_ALLOC, handle=1, gfp=GFP_NOIO, ctx=CTX_PF_MEMALLOC))

    assert ["P1", "P3"] == story.rules()
    assert text(story, "zone_watermark_fast") == (
        "zone DMA32: 10240 free <= 262144: fails, which is ignored"
    )
    assert text(story, "get_page_from_freelist").endswith("with NO_WATERMARKS|KSWAPD")
    assert text(story, "gfp_to_alloc_flags").endswith("for GFP_NOIO (PF_MEMALLOC)")


@pytest.mark.parametrize(
    ("gfp", "ctx", "end"),
    [
        (PLAIN, 0, "nopage: reclaim found nothing, and __GFP_NORETRY"),
        (GFP_ATOMIC, 0, "nopage: the caller may not sleep"),
        (GFP_KERNEL, 0, "the kernel would go round again (oom); here it ends"),
        (GFP_KERNEL, CTX_MEMDIE, "nopage: an OOM victim does not wait for itself to die"),
    ],
)
def test_a_request_that_fails_says_why(gfp: int, ctx: int, end: str) -> None:
    """The slow path's exits are told."""
    machine = machine_below_min("slub-v6.1")

    story = machine.tell(record(PAGE_ALLOC, handle=1, gfp=gfp, ctx=ctx))

    assert end == text(story, "__alloc_pages_slowpath")


@pytest.mark.parametrize(
    ("variant", "way"), [("slub-v6.1", "fast_path"), ("slab-v6.1", "grow_fills_array")]
)
def test_a_leak_names_its_way_and_its_slab(variant: str, way: str) -> None:
    """The plain caller after an entitled one gets an object of the flagged slab."""
    machine = machine_below_min(variant)
    machine.tell(record(OBJ_ALLOC, handle=1, gfp=GFP_NOIO, ctx=CTX_PF_MEMALLOC))

    story = machine.tell(record(OBJ_ALLOC, handle=2, gfp=PLAIN))

    assert ([way], [("skb", 0)]) == (story.leaks, story.slabs)


def test_the_story_of_a_refusal_in_slab() -> None:
    """The flagged slab is skipped, and the caller is not entitled to it."""
    machine = machine_below_min("slab-v6.1")
    for handle in range(1, 17):
        machine.apply(record(OBJ_ALLOC, handle=handle, gfp=GFP_NOIO, ctx=CTX_PF_MEMALLOC))
    freed = machine.tell(record(OBJ_FREE, handle=1))

    story = machine.tell(record(OBJ_ALLOC, handle=17, gfp=PLAIN))

    assert steps(freed) == ["cache_free_pfmemalloc"]
    assert steps(story)[:3] == ["____cache_alloc", "get_valid_first_slab", "cache_alloc_pfmemalloc"]
    assert "fallback_alloc" in steps(story)
    assert ("skb", 0) in story.slabs


def test_a_caller_who_must_not_fail_has_his_own_steps() -> None:
    """__GFP_NOFAIL is told where it makes the difference."""
    machine = machine_below_min("slub-v6.1")

    story = machine.tell(record(OBJ_ALLOC, handle=1, gfp=GFP_KERNEL | NOFAIL))

    assert "out-of-memory path" in text(story, "__alloc_pages_may_oom")
    assert story.leaks == ["nofail"]


@pytest.mark.parametrize("variant", ["slab-v6.1", "slub-v6.1"])
def test_telling_changes_nothing(variant: str) -> None:
    """A machine whose every event is told ends where a silent one ends."""
    random = Random(11)
    config = random_config(random)
    stream = RandomStream(random, config, variant)
    silent = Machine(config, parse_variant(variant), CACHES)
    telling = Machine(config, parse_variant(variant), CACHES)

    for _ in range(400):
        event = stream.step()
        silent.apply(event)
        telling.tell(event)

    assert silent.digest() == telling.digest()
