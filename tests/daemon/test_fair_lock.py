"""The fair lock excludes, and serves in order of arrival."""

from __future__ import annotations

import threading

from daemon.fair_lock import FairLock


def test_waiter_comes_before_whoever_releases() -> None:
    """A thread that releases and locks again at once has to let the waiter go first."""
    lock = FairLock()
    order: list[str] = []

    def wait_once() -> None:
        with lock:
            order.append("waiter")

    thread = threading.Thread(target=wait_once)
    with lock:
        thread.start()
        while lock.waiters == 0:
            pass
        order.append("first")
    with lock:
        order.append("again")
    thread.join()

    assert order == ["first", "waiter", "again"]


def test_excludes() -> None:
    """Increments under the lock are never lost, however many threads make them."""
    lock = FairLock()
    total = 0

    def count() -> None:
        nonlocal total
        for _ in range(2000):
            with lock:
                seen = total
                total = seen + 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert total == 8000
    assert lock.waiters == 0
