"""Pages that left per-cpu lists unseen."""

from __future__ import annotations

import pytest

from tracegen.kernel_trace.bulk_pages import BulkPages


@pytest.mark.parametrize(
    ("left", "found"),
    [
        ([], []),
        ([40], [0]),
        ([40, 44], [0, 0]),
        ([40, 44, 44], [0, 0, 4]),
        ([40, 44, 52, 48], [0, 0, 4, 4]),
        ([40, 60, 44, 44], [0, 0, 4, 0]),
        ([47, 40, 44, 44], [0, 0, 0, 4]),
    ],
)
def test_what_two_emptyings_agree_on_is_certain(left: list[int], found: list[int]) -> None:
    """Others fill lists while they are emptied, so one alone may show too much."""
    pages = BulkPages()
    made = []
    for on_lists in left:
        pages.on_lists = on_lists
        made.append(pages.emptied())

    assert found == made
