"""From which cache an object came."""

from __future__ import annotations

from allocator.config import CacheSpec
from tracegen.kernel_trace.cache_names import GENERAL, CacheNames, CacheTable, NameSurvey

KEY = ("f+0x1/0x2", "232", "256")
OTHER = ("g+0x1/0x2", "256", "256")


def table() -> CacheTable:
    """Two caches whose slots have the same size, and a larger one."""
    caches = CacheTable([CacheSpec(0, "filp", 256), CacheSpec(1, "biovec-max", 4096)])
    caches.add("skbuff_head_cache", 256, 64, 0, asked=232)
    return caches


def test_a_survey_names_objects_by_what_their_key_was_freed_under() -> None:
    """Also those that come before the first free."""
    survey = NameSurvey()
    survey.allocated(KEY)
    survey.freed(KEY, "skbuff_head_cache")
    names = CacheNames(table(), survey)

    assert 2 == names.of(KEY, None)
    assert (1, 0) == (names.by_free, names.by_size)


def test_frees_that_disagree_are_decided_by_majority_and_counted_as_such() -> None:
    """It is a guess, and told as one."""
    survey = NameSurvey()
    for name in ("filp", "skbuff_head_cache", "skbuff_head_cache"):
        survey.freed(KEY, name)
    names = CacheNames(table(), survey)

    assert 2 == names.of(KEY, None)
    assert (0, 1) == (names.by_free, names.by_vote)


def test_without_a_free_the_sizes_decide() -> None:
    """The slot's size and, where it is known, the object's own; else the first of that size."""
    survey = NameSurvey()
    survey.allocated(KEY)
    survey.allocated(OTHER)
    names = CacheNames(table(), survey)

    assert [2, 0] == [names.of(KEY, None), names.of(OTHER, None)]
    assert 2 == names.by_size


def test_a_size_that_no_cache_has_gets_a_cache_made_up_for_it() -> None:
    """The header is written after the survey, so it has room for that."""
    survey = NameSurvey()
    survey.allocated(("f", "90", "96"))
    caches = table()
    names = CacheNames(caches, survey)

    cache = caches.specs[names.of(("f", "90", "96"), None)]
    assert ("unnamed-96", 96) == (cache.name, cache.size)


def test_a_pipe_learns_names_as_it_goes() -> None:
    """Until the first free, the size decides; a name that the header lacks teaches nothing."""
    names = CacheNames(table(), None)
    first = names.of(OTHER, None)
    names.freed(OTHER, first, "skbuff_head_cache")
    names.freed(OTHER, first, "never heard of")
    second = names.of(OTHER, None)

    assert (0, 2) == (first, second)
    assert (1, 1, 1) == (names.by_size, names.by_free, names.contradicted)


def test_a_pipe_puts_what_fits_nowhere_into_the_next_larger_cache() -> None:
    """Or into the general caches when there is none."""
    names = CacheNames(table(), None)

    assert 1 == names.of(("f", "300", "304"), None)
    assert GENERAL == names.of(("f", "9000", "9000"), None)


def test_a_name_in_the_event_is_believed() -> None:
    """Kernels from 6.4 on print it; the general caches are the model's own."""
    names = CacheNames(table(), None)

    assert 2 == names.of(OTHER, "skbuff_head_cache")
    assert GENERAL == names.of(OTHER, "kmalloc-256")
    assert 2 == names.by_event
