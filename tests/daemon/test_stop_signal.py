"""A stop is a readable descriptor: signals end a poll at once."""

from __future__ import annotations

import os
import select
import signal

from daemon.stop_signal import StopSignal

MILLISECONDS = 10_000


def readable(stop: StopSignal) -> bool:
    """Whether the descriptor has become readable."""
    poll = select.poll()
    poll.register(stop.fd, select.POLLIN)
    return bool(poll.poll(MILLISECONDS))


def test_signal_makes_the_descriptor_readable() -> None:
    """SIGTERM does not end the process but asks for a stop."""
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)

        assert readable(stop)
        assert stop.requested


def test_request_is_a_stop_too() -> None:
    """A stop can be asked for without a signal."""
    with StopSignal() as stop:
        stop.request()

        assert readable(stop)
        assert stop.requested


def test_handlers_are_given_back() -> None:
    """After the block, signals do what they did before."""
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal():
        assert signal.getsignal(signal.SIGTERM) != before

    assert signal.getsignal(signal.SIGTERM) == before
