"""Page numbers of mappings, and the lists that pages stand on."""

from __future__ import annotations

from tracegen.workload.pages import MAPPED_DIRTY, NO_LIST, ON_INACTIVE, UNTOUCHED, Pages


def test_page_numbers_of_a_mapping_that_is_gone_are_used_again() -> None:
    """Processes come and go for hours, and the arrays do not grow."""
    pages = Pages(8)
    first = pages.map(4)
    pages.unmap(first)

    assert first == pages.map(4)
    assert 4 == len(pages.state)


def test_page_numbers_under_writeback_are_not_used_again_yet() -> None:
    """Their write is still to end."""
    pages = Pages(8)
    first = pages.map(2)
    pages.state[first[0]] = MAPPED_DIRTY
    pages.unmap(first)

    assert range(2, 4) == pages.map(2)
    pages.state[first[0]] = UNTOUCHED
    assert first == pages.map(2)


def test_the_list_forgets_pages_that_have_gone() -> None:
    """Without reclaim nobody would take them off it."""
    pages = Pages(8)
    area = pages.map(100)
    for _ in range(200):
        for page in area:
            pages.enlist(page)
        for page in area:
            pages.on_list[page] = NO_LIST
        pages.unmap(area)
        assert area == pages.map(100)

    assert len(pages.inactive) < 5000


def test_a_page_stands_on_the_list_once() -> None:
    """However often it is enlisted."""
    pages = Pages(8)
    (page,) = pages.map(1)
    pages.enlist(page)
    pages.enlist(page)

    assert [page] == list(pages.inactive)
    assert ON_INACTIVE == pages.on_list[page]


def test_slots_are_given_in_turn_until_swap_is_full() -> None:
    """A slot that was dropped is found again."""
    pages = Pages(2)
    one, two, three = pages.map(3)

    assert [True, True, False] == [pages.take_slot(page) for page in (one, two, three)]
    pages.drop_slot(one)
    assert pages.take_slot(three)
    assert (0, 2) == (pages.slot_of[three], pages.slots_used)
