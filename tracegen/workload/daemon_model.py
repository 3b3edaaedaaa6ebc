"""A daemon's model as the one that answers a simulated machine: the closed loop over a wire.

Nothing is asked twice: the events themselves are the questions. What needs no answer waits in
the recorder; as soon as an answer is needed, all of it goes to the daemon as one batch.
"""

from __future__ import annotations

from allocator.outcome import WOKE_KSWAPD
from tracegen.header import Header
from tracegen.protocol import Answer
from tracegen.workload.footprint import Want
from tracegen.workload.recorder import Recorder


class DaemonModel:
    """Answers by what the daemon says to the batches that ``recorder`` delivers."""

    __slots__ = ("_answer", "_header", "_recorder")

    def __init__(self, header: Header, recorder: Recorder, answer: Answer) -> None:
        """``answer`` is the one to the header: how the memory stands after boot."""
        self._header = header
        self._recorder = recorder
        self._answer = answer

    def hear(self, answer: Answer) -> None:
        """Take what was said to the batch that was sent last."""
        self._answer = answer

    def ask(self, handle: int, want: Want, cpu: int, ctx: int, now: int) -> int:
        """The outcome of the request that was recorded last."""
        del handle, want, cpu, ctx, now
        return self._now().outcomes[-1] & ~WOKE_KSWAPD

    def free(self, handle: int, cpu: int, now: int) -> None:
        """It is recorded, and needs no answer."""
        del handle, cpu, now

    def free_pages(self) -> int:
        """Free pages of all zones."""
        return self._now().free_pages

    def watermarks(self) -> tuple[int, int, int]:
        """The sums of min, low and high over all zones."""
        answer = self._now()
        return answer.min_pages, answer.low_pages, answer.high_pages

    def drain(self, cpu: int) -> None:
        """A trace has no event for ``drain_all_pages``: the daemon's model does not do it."""
        del cpu

    def is_boosted(self) -> bool:
        """Whether a zone's watermarks are boosted (Linux 5.0 and later)."""
        return self._now().boosted

    def min_free_kbytes(self) -> int:
        """``min_free_kbytes``, which a simulated machine's configuration always names."""
        return self._header.machine.min_free_kbytes

    def set_min_free_kbytes(self, kbytes: int) -> None:
        """It is recorded, and needs no answer."""
        del kbytes

    @property
    def woke_kswapd(self) -> bool:
        """Whether the last request woke kswapd."""
        return self._answer.outcomes[-1] & WOKE_KSWAPD != 0

    def _now(self) -> Answer:
        """The answer to all that has been recorded."""
        self._recorder.flush()
        return self._answer
