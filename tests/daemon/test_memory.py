"""The daemon stops before the system stops it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from daemon import memory
from daemon.memory import INTERVAL_SECONDS, MemoryLimitError, MemoryWatch, available_bytes

MIB = 1 << 20


class Process:
    """A process whose memory the test sets, and its clock."""

    def __init__(self) -> None:
        self.resident = 0
        self.now = 0.0
        self.looks = 0

    def read(self) -> int:
        """Its memory."""
        self.looks += 1
        return self.resident


def test_growth_beyond_the_limit_is_a_stop() -> None:
    """The one line names both numbers and the setting."""
    process = Process()
    watch = MemoryWatch(100 * MIB, process.read, lambda: process.now)
    process.resident = 100 * MIB
    watch.turn()
    process.resident += 1
    process.now = INTERVAL_SECONDS

    with pytest.raises(
        MemoryLimitError, match=r"104,857,601 bytes .* --max-memory-bytes"
    ) as caught:
        watch.turn()
    assert 3 == caught.value.exit_code


def test_memory_is_looked_at_now_and_then() -> None:
    """Not at every turn: it costs a system call."""
    process = Process()
    watch = MemoryWatch(100 * MIB, process.read, lambda: process.now)
    for _ in range(10):
        watch.turn()
        process.now += INTERVAL_SECONDS / 5

    assert 2 == process.looks


def test_default_leaves_a_tenth() -> None:
    """Without a setting the limit follows from what there is."""
    assert int(0.9 * available_bytes()) == MemoryWatch().limit


@pytest.mark.parametrize(
    ("text", "expected"), [("1048576\n", MIB), ("max\n", None), ("9" * 18, None), (None, None)]
)
def test_control_group_counts_if_it_has_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, expected: int | None
) -> None:
    """A container's limit, unless there is none or it is more than the machine has."""
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", ())
    machine = available_bytes()
    path = tmp_path / "memory.max"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (path,))

    assert (expected or machine) == available_bytes()


def test_own_memory_is_known() -> None:
    """A Python process has some megabytes."""
    assert 4 * MIB < memory.resident_bytes() < available_bytes()


def test_memory_that_cannot_be_read_is_no_end() -> None:
    """Strangers may have taken every file there is: it is looked at again a second later."""
    now = [0.0]
    answers = iter((OSError(errno.EMFILE, "Too many open files"), 2 * MIB))

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    watch = MemoryWatch(MIB, read, lambda: now[0])
    watch.turn()

    now[0] = INTERVAL_SECONDS
    with pytest.raises(MemoryLimitError):
        watch.turn()
