"""All that was recorded is read, in whole lines, and nothing after the end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.tracegen.capture.fakes import EVENTS, FakeInstance, fake_tracefs
from tracegen.capture.instance import Recording
from tracegen.capture.live_text import LiveText
from tracegen.errors import StoppedError

RECORDING = Recording(EVENTS)


class FullDisk(io.BytesIO):
    """A file that cannot be written."""

    def write(self, _data: object) -> int:
        """Fail."""
        raise OSError(28, "No space left on device")


def test_what_is_left_in_the_buffer_at_the_end_is_read(tmp_path: Path) -> None:
    """Lines are whole, silence is handed on, and the raw text is what the kernel printed."""
    reads = [b"one\ntw", b"", b"o\nthree\n", b"", b"four\n"]
    raw = io.BytesIO()
    over = iter((False, False, True))
    with FakeInstance(fake_tracefs(tmp_path / "t"), RECORDING, reads) as instance:
        text = LiveText(instance, over.__next__, raw=raw, pause=lambda _seconds: None)
        pieces = list(text.pieces())
        switch = (instance.folder / "tracing_on").read_text()

    assert [b"one\n", b"two\nthree\n", b"four\n"] == pieces
    assert b"one\ntwo\nthree\nfour\n" == raw.getvalue()
    assert ("0", {0: 0, 1: 7}) == (switch, text.lost)


def test_idle_time_is_used(tmp_path: Path) -> None:
    """While nothing comes, whoever must be tended is; when it is over, that is told once."""
    calls: list[str] = []
    over = iter((False, False, True))
    with FakeInstance(fake_tracefs(tmp_path / "t"), RECORDING) as instance:
        text = LiveText(
            instance,
            over.__next__,
            lambda: calls.append("stopped"),
            lambda: calls.append("idle"),
            pause=lambda _seconds: None,
        )
        assert [b"", b""] == list(text.pieces())

    assert ["idle", "idle", "stopped", "idle"] == calls


def test_a_disk_that_is_full_ends_it(tmp_path: Path) -> None:
    """The raw text was asked for, so it must not be cut in silence."""
    with FakeInstance(fake_tracefs(tmp_path / "t"), RECORDING, [b"one\n"]) as instance:
        text = LiveText(instance, lambda: False, raw=FullDisk(), pause=lambda _seconds: None)
        with pytest.raises(StoppedError, match="cannot keep the text: No space left"):
            list(text.pieces())
