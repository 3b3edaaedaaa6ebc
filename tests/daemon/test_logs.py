"""Log lines are one event each, on standard error, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from daemon.logs import configure_logs


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
