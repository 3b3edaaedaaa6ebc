"""What the kernel prints into ``trace_pipe``, while it records and until all of it was read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from tracegen.capture.instance import Instance
from tracegen.errors import StoppedError
from tracegen.kernel_trace.text_input import whole_lines

PAUSE: Final = 0.05
"""Seconds between two looks at a buffer that was empty. Waking for each event would cost the
traced machine more than the events do."""
_PIECE: Final = 256 << 10


class LiveText:
    """Records for as long as somebody iterates over :meth:`pieces`.

    ``over`` is asked whether to stop recording, ``stopped`` is called when that is done, ``idle``
    while there is nothing to read; ``raw`` gets the text as it comes.
    """

    def __init__(
        self,
        instance: Instance,
        over: Callable[[], bool],
        stopped: Callable[[], None] = lambda: None,
        idle: Callable[[], None] = lambda: None,
        raw: BinaryIO | None = None,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._instance = instance
        self._over = over
        self._stopped = stopped
        self._idle = idle
        self._raw = raw
        self._pause = pause
        self._clock = clock
        self.position = 0
        self.seconds = 0.0
        """How long it recorded."""
        self.lost: dict[int, int] = {}
        """When it is over: for each cpu, the events that its buffer had no room for."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return str(self._instance.folder / "trace_pipe")

    @property
    def size(self) -> int:
        """Nobody knows."""
        return 0

    def pieces(self) -> Iterator[bytes]:
        """Record; yield whole lines as they come, and nothing now and then when none come.

        Raises what the instance raises, and :class:`StoppedError` if ``raw`` cannot be written.
        """
        return whole_lines(self._reads())

    def _reads(self) -> Iterator[bytes]:
        self._instance.start()
        began = self._clock()
        while not self._over():
            yield self._read()
        self._instance.stop()
        self.seconds = self._clock() - began
        self._stopped()
        while piece := self._read():
            yield piece
        self.lost = self._instance.lost()

    def _read(self) -> bytes:
        """What is there, up to a piece; after a pause, nothing."""
        parts: list[bytes] = []
        size = 0
        while size < _PIECE and (part := self._instance.read()):
            parts.append(part)
            size += len(part)
        piece = b"".join(parts)
        self.position += size
        if not piece:
            self._idle()
            self._pause(PAUSE)
        elif self._raw is not None:
            try:
                self._raw.write(piece)
            except OSError as error:
                raise StoppedError(f"cannot keep the text: {error.strerror}") from error
        return piece
