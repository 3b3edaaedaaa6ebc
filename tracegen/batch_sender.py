"""Sends batches to a daemon as they are made: what ``TraceWriter`` is for a file."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tracegen.batch import Batch, HeaderBatch, encode
from tracegen.keys import SenderKeys
from tracegen.sender import DEFAULT_TIMEOUT, Sender


class BatchSender:
    """Sends the lives of one source; leaving the ``with`` block waits until all is acknowledged.

    What is written when an exception ends the block is left as far as it came. Everything
    that waits raises what :class:`~tracegen.sender.Sender` raises.
    """

    def __init__(
        self,
        url: str,
        source: str,
        *,
        agent: str,
        timeout: float | None = DEFAULT_TIMEOUT,
        keys: SenderKeys | None = None,
    ) -> None:
        self._sender = Sender(url, source, timeout=timeout, keys=keys, agent=agent)
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        failure: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            if failure is None and self._opened:
                self._sender.flush()
        finally:
            self._sender.close()
