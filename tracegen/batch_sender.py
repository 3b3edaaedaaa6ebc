"""Sends batches to a daemon as they are made: what ``TraceWriter`` is for a file."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from tracegen.batch import Batch, HeaderBatch, encode
from tracegen.keys import SenderKeys
from tracegen.sender import DEFAULT_TIMEOUT, InterruptedSendError, Sender

GRACE: Final = 5.0
"""Seconds for the last acknowledgements after an interruption."""


class BatchSender:
    """Sends the lives of one source; leaving the ``with`` block waits until all is acknowledged.

    What is written when an exception ends the block is left as far as it came. Everything
    that waits raises what :class:`~tracegen.sender.Sender` raises. ``interrupted`` is asked at
    every turn of a wait; behind it the daemon has a moment left to acknowledge.
    """

    def __init__(
        self,
        url: str,
        source: str,
        *,
        agent: str,
        timeout: float | None = DEFAULT_TIMEOUT,
        keys: SenderKeys | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sender = Sender(
            url, source, timeout=timeout, keys=keys, agent=agent, interrupted=interrupted
        )
        self._opened = False

    def write(self, batch: Batch) -> None:
        """Hand over a batch, waiting until there is credit for it."""
        data = encode(batch)
        if isinstance(batch, HeaderBatch):
            if self._opened:
                self._sender.flush()
            self._sender.open(batch.epoch, data)
            self._opened = True
            self._sender.send(batch.seq, data)
        else:
            self._sender.send(batch.seq, data, batch.events)

    def tend(self) -> None:
        """Keep the connection alive while there is nothing to send."""
        self._sender.turn(0)

    def wait_until(self, moment: float) -> None:
        """Keep the connection alive until the monotonic clock shows ``moment``."""
        self._sender.wait_until(moment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        failure: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        grace = 0.0
        try:
            if failure is None and self._opened:
                self._sender.flush()
        except InterruptedSendError:
            grace = GRACE  # the daemon is well: let it keep what it was given
        finally:
            self._sender.close(grace)
