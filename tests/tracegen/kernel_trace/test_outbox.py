"""Records on their way, some of them held back."""

from __future__ import annotations

from tracegen.batch import rows
from tracegen.kernel_trace.outbox import FULL, Outbox


class Box:
    """An outbox and what came out of it: the times of the events."""

    def __init__(self, max_waiting: int = 64) -> None:
        self.pieces: list[bytes] = []
        self.outbox = Outbox(self.pieces.append, max_waiting)

    def put(self, *times: int) -> None:
        """Put events of these times."""
        for ts_ns in times:
            self.outbox.put(ts_ns, 1, 0xCC0, 64, 3, -1, 5, 4)

    def out(self) -> list[int]:
        """The times of all events that came out."""
        self.outbox.flush()
        return [row[1] for row in rows(b"".join(self.pieces))]


def test_an_event_keeps_all_its_fields() -> None:
    """To the last bit."""
    box = Box()
    box.outbox.put(2**63 - 1, 2**62, 0xFFFFFFFF, 2**30, 1023, -1, 4, 13)
    box.outbox.put(1, 2, 3, 4, 5, 6, 7, 8)
    box.outbox.flush()

    assert [
        (4, 2**63 - 1, 2**62, 0xFFFFFFFF, 2**30, 1023, -1, 13),
        (7, 1, 2, 3, 4, 5, 6, 8),
    ] == list(rows(b"".join(box.pieces)))


def test_what_comes_after_a_held_place_waits_behind_it() -> None:
    """What came before goes on."""
    box = Box()
    box.put(1)
    place = box.outbox.hold(1)
    box.put(2, 3)

    before = box.out()
    box.outbox.settle(place, keep=True)

    assert ([1], [1, 2, 3], 3) == (before, box.out(), box.outbox.events)


def test_held_records_may_be_dropped() -> None:
    """One or two of them, in any order, with others between."""
    box = Box()
    box.put(1)
    first = box.outbox.hold(2)
    box.put(2, 3, 4)
    second = box.outbox.hold(1)
    box.put(5, 6)
    box.outbox.settle(second, keep=False)
    waiting = box.out()
    box.outbox.settle(first, keep=False)

    assert ([1], [1, 4, 6], 3) == (waiting, box.out(), box.outbox.events)


def test_much_is_handed_on_unasked() -> None:
    """And not while a place is held, but right behind it."""
    box = Box()
    place = box.outbox.hold(1)
    count = FULL // 32
    box.put(*range(count))
    held = len(box.pieces)
    box.outbox.settle(place, keep=True)

    assert (0, 1, count * 32) == (held, len(box.pieces), len(box.pieces[0]))


def test_it_tells_when_too_much_waits() -> None:
    """The caller then has to settle what is held."""
    box = Box(max_waiting=64)
    box.outbox.hold(1)
    box.put(1)
    short = box.outbox.is_long
    box.put(2)

    assert (False, True) == (short, box.outbox.is_long)


def test_nothing_is_not_handed_on() -> None:
    """No empty batches."""
    box = Box()
    place = box.outbox.hold(1)
    box.put(1)
    box.outbox.settle(place, keep=False)

    assert ([], []) == (box.out(), box.pieces)
