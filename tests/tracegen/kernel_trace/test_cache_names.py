"""From which cache an object came."""

from __future__ import annotations

from allocator.config import CacheSpec
from allocator.events import KMALLOC, OBJ_ALLOC
from tracegen.kernel_trace.cache_names import (
    BY_EVENT,
    BY_FREE,
    BY_SIZE,
    BY_VOTE,
    GENERAL,
    CacheTable,
    NamesLater,
    NamesNow,
)
from tracegen.kernel_trace.kernel_event import Key


def table() -> CacheTable:
    """Two caches whose slots have the same size, and a larger one."""
    caches = CacheTable([CacheSpec(0, "filp", 256), CacheSpec(1, "biovec-max", 4096)])
    caches.add("skbuff_head_cache", 256, 64, 0, asked=232)
    return caches


def key(index: int = 0, asked: int = 232, size: int = 256, name: str = "") -> Key:
    """A place that objects come from."""
    return Key(index, "f+0x1/0x2", asked, size, name)


def settled(*keys: Key, frees: tuple[str, ...] = ()) -> NamesLater:
    """Allocate one object of each key, free the first key's under these names, settle."""
    names = NamesLater()
    for one in keys:
        names.allocated(one)
        assert (OBJ_ALLOC, one.index) == (one.op, one.arg)
    for name in frees:
        names.freed(keys[0], keys[0].arg, name)
    names.settle(keys, table())
    return names


def test_a_key_is_named_by_what_its_objects_were_freed_to() -> None:
    """Also those that were allocated before the first free."""
    one = key()
    names = settled(one, frees=("skbuff_head_cache",))

    assert (OBJ_ALLOC, 2) == (one.op, one.arg)
    assert (1, 0, 1) == (names.by[BY_FREE], names.by[BY_SIZE], names.confirmed)


def test_frees_that_disagree_are_decided_by_majority_and_counted_as_such() -> None:
    """It is a guess, and told as one."""
    one = key()
    names = settled(one, frees=("filp", "skbuff_head_cache", "skbuff_head_cache"))

    assert 2 == one.arg
    assert (0, 1) == (names.by[BY_FREE], names.by[BY_VOTE])
    assert (2, 1) == (names.confirmed, names.contradicted)


def test_without_a_free_the_sizes_decide() -> None:
    """The slot's size and, where it is known, the object's own; else the first of that size."""
    one, other = key(0), key(1, asked=256)
    names = settled(one, other)

    assert [2, 0] == [one.arg, other.arg]
    assert 2 == names.by[BY_SIZE]


def test_a_size_that_no_cache_has_gets_a_cache_made_up_for_it() -> None:
    """The header is written last, so it has room for that."""
    one = key(asked=90, size=96)
    names, caches = NamesLater(), table()
    names.allocated(one)
    names.settle([one], caches)

    assert ("unnamed-96", 96) == (caches.specs[one.arg].name, caches.specs[one.arg].size)


def test_the_event_itself_may_say_the_name() -> None:
    """Then nothing is guessed; what it names is made if need be."""
    one, other = key(name="filp"), key(1, name="new_cache")
    names = settled(one, other)

    assert (0, 3, 2) == (one.arg, other.arg, names.by[BY_EVENT])


def test_objects_of_general_caches_are_asked_by_size() -> None:
    """kmem_cache_free names them too."""
    one = key()
    settled(one, frees=("kmalloc-256",))

    assert (KMALLOC, 232) == (one.op, one.arg)


def test_a_live_trace_learns_names_as_it_goes() -> None:
    """Until the first free, the size decides; a name that the header lacks teaches nothing."""
    names = NamesNow(table())
    one = key(asked=256)
    names.allocated(one)
    first = one.arg
    names.freed(one, first, "never heard of")
    names.freed(one, first, "skbuff_head_cache")
    names.allocated(one)

    assert (0, 2) == (first, one.arg)
    assert (1, 1, 1) == (names.by[BY_SIZE], names.by[BY_FREE], names.contradicted)


def test_a_live_trace_counts_what_frees_confirm_and_what_they_disagree_on() -> None:
    """A second name makes all later ones of the key a majority's guess."""
    names = NamesNow(table())
    one = key()
    names.allocated(one)
    names.freed(one, one.arg, "skbuff_head_cache")
    names.allocated(one)
    names.freed(one, one.arg, "filp")
    names.allocated(one)

    assert [1, 1, 1] == [names.by[way] for way in (BY_SIZE, BY_FREE, BY_VOTE)]
    assert (1, 1, 0) == (names.confirmed, names.contradicted, one.arg)


def test_a_live_trace_without_the_size_takes_the_next_larger_cache() -> None:
    """There is no room in the header any more; beyond all caches, a general one."""
    names = NamesNow(table())
    one, other, named = key(size=300), key(size=5000), key(name="filp")
    for each in (one, other, named):
        names.allocated(each)

    assert (OBJ_ALLOC, 1) == (one.op, one.arg)
    assert (KMALLOC, 232) == (other.op, other.arg)
    assert (OBJ_ALLOC, 0) == (named.op, named.arg)


def test_the_allocators_own_caches_are_left_to_the_model() -> None:
    """kmem_cache and kmem_cache_node."""
    assert GENERAL == table().add("kmem_cache", 256)


def test_a_name_that_no_header_may_have_is_spelt_as_it_may() -> None:
    """Only a damaged line has one; two that come to the same spelling are one cache."""
    caches = table()

    first = caches.add("fi\0lp", 256)

    assert "fi?lp" == caches.specs[first].name
    assert first == caches.add("fi\0lp", 256) == caches.add("fi\nlp", 256)
