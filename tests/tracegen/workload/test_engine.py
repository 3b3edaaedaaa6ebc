"""Virtual time: order, waiting, and whether anything can still change."""

from __future__ import annotations

from tracegen.workload.engine import SECOND, Engine, Steps, Task, Tries, Wait, WaitQueue


def test_what_is_due_at_the_same_time_happens_in_the_order_of_scheduling() -> None:
    """A run is the same every time."""
    engine = Engine(1)
    seen: list[object] = []
    for name in "abc":
        engine.at(5, seen.append, name)
    engine.at(1, seen.append, "first")

    engine.run(10)

    assert ["first", "a", "b", "c"] == seen
    assert 10 == engine.now


def test_a_task_that_is_woken_does_not_wake_again_by_its_timeout() -> None:
    """The timeout of a wait that has ended is void."""
    engine = Engine(1)
    queue = WaitQueue("a word")
    woken: list[int] = []

    def body() -> Steps:
        yield Wait(queue, "a word", timeout=100)
        woken.append(engine.now)
        yield Wait(queue, "another word")

    engine.spawn(Task("sleeper", 0, kernel=False), body())
    engine.at(40, lambda _: engine.wake(queue))
    engine.run(1000)

    assert [40] == woken
    assert ["sleeper"] == [task.name for task in queue.sleepers]


def test_one_wake_up_wakes_the_one_who_has_waited_longest() -> None:
    """``wake_one`` is fair."""
    engine = Engine(1)
    queue = WaitQueue("a turn")
    done: list[str] = []

    def body(name: str) -> Steps:
        yield Wait(queue, "a turn")
        done.append(name)

    for number, name in enumerate(("early", "late")):
        engine.spawn(Task(name, 0, kernel=False), body(name), delay=number)
    engine.at(10, lambda _: engine.wake_one(queue))
    engine.run(20)

    assert ["early"] == done


def test_a_cpu_works_for_one_after_another() -> None:
    """Two jobs on one cpu take as long as both."""
    engine = Engine(2)

    assert (30, 50, 5) == (engine.busy(0, 30), engine.busy(0, 20), engine.busy(1, 5))


def _stuck(engine: Engine) -> Task:
    """A task that looks again every 5 s for what never comes."""
    queue = WaitQueue("an element")

    def body() -> Steps:
        while True:
            yield Wait(queue, "an element", timeout=5 * SECOND)

    return engine.spawn(Task("stuck", 0, kernel=False), body())


def test_nothing_can_change_once_all_have_tried_again_in_vain() -> None:
    """A whole try must lie in the silence: two ends of tries after the last sign of life."""
    engine = Engine(1)
    _stuck(engine)

    states = []
    for second in (1, 6, 11):
        engine.run(second * SECOND)
        states.append(engine.nothing_can_change_since(0))

    assert [False, False, True] == states


def test_what_is_due_and_can_change_something_is_waited_for() -> None:
    """A packet on the wire is hope, however long it takes; what only takes is none."""
    engine = Engine(1)
    _stuck(engine)
    engine.at(100 * SECOND, lambda _: None)
    engine.at(200 * SECOND, lambda _: None, None, 0)

    states = []
    for second in (99, 101):
        engine.run(second * SECOND)
        states.append(engine.nothing_can_change_since(0))

    assert [False, True] == states


def test_a_retry_of_a_card_counts_like_one_of_a_task() -> None:
    """Whoever has a retry due must have tried in vain; whoever has none is not waited for."""
    engine = Engine(1)
    tries = Tries()
    engine.retriers += [tries, Tries()]

    def again(_: object) -> None:
        engine.retry(2 * SECOND, again, None, tries)

    again(None)
    states = []
    for second in (3, 5):
        engine.run(second * SECOND)
        states.append(engine.nothing_can_change_since(SECOND))

    assert [False, True] == states
    assert 0 == engine.hopeful


def test_a_task_that_reclaims_is_no_hope_by_running() -> None:
    """Only what it frees is progress."""
    engine = Engine(1)

    def body() -> Steps:
        while True:
            yield SECOND

    task = Task("reclaimer", 0, kernel=True)
    task.seeks_memory = True
    engine.spawn(task, body())
    engine.run(3 * SECOND)

    assert 0 == engine.hopeful
    assert not engine.nothing_can_change_since(0)  # it has not said yet that a try is over
    task.tries.note(2 * SECOND)
    task.tries.note(3 * SECOND)
    assert engine.nothing_can_change_since(0)
