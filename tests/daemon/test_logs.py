"""Log lines are one event each, on standard error, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from daemon.logs import LINES_A_MINUTE, MINUTE, Throttle, configure_logs


@pytest.fixture(autouse=True)
def _default_logs_afterwards() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_line_is_an_object(capfd: pytest.CaptureFixture[str]) -> None:
    """Event, level, time and fields are keys; standard output stays free for results."""
    configure_logs("info", "json")

    structlog.get_logger().info("ready", http="http://127.0.0.1:1")

    out, err = capfd.readouterr()
    entry = json.loads(err)
    assert out == ""
    assert ("ready", "info", "http://127.0.0.1:1") == (
        entry["event"],
        entry["level"],
        entry["http"],
    )
    assert entry["timestamp"].endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_less_severe_lines_are_left_out(capfd: pytest.CaptureFixture[str], log_format: str) -> None:
    """Lines below the level are not written."""
    configure_logs("warning", log_format)

    log = structlog.get_logger()
    log.info("quiet")
    log.warning("loud")

    err = capfd.readouterr().err
    assert "quiet" not in err
    assert "loud" in err


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_exception_is_logged_with_its_traceback(
    capfd: pytest.CaptureFixture[str], log_format: str
) -> None:
    """A fault of the program leaves its traceback in the log."""
    configure_logs("info", log_format)

    try:
        int("free list is not sorted")
    except ValueError:
        structlog.get_logger().exception("a model failed")

    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "free list is not sorted" in err


def test_what_others_provoke_is_not_logged_without_end(capfd: pytest.CaptureFixture[str]) -> None:
    """Each event has so many lines a minute; others are not held back by it."""
    configure_logs("info", "json")
    log = structlog.get_logger()
    for number in range(LINES_A_MINUTE + 5):
        log.warning("message refused", number=number)
    log.info("ready")

    events = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert ["message refused"] * LINES_A_MINUTE + ["ready"] == events


def test_next_line_tells_how_many_were_left_out() -> None:
    """Nothing is lost unseen."""
    now = [0.0]
    throttle = Throttle(2, lambda: now[0])
    let_through = []
    for second in (0, 1, 2, 3, MINUTE, MINUTE + 1, 3 * MINUTE):
        now[0] = second
        try:
            let_through.append(throttle(None, "", {"event": "refused", "at": second}))
        except structlog.DropEvent:
            continue

    assert [0, 1, MINUTE, MINUTE + 1, 3 * MINUTE] == [entry["at"] for entry in let_through]
    assert [None, None, 2, None, None] == [e.get("left_out_before") for e in let_through]
