"""The last step of a trace that is read whole: records get what was not known before.

While it was read, records were written with numbers in place of what only the whole trace
tells: the key of an object for its cache, a ledger's handle for an older thing, a slot for
a task that may have been in reclaim from the start. When kswapd's rounds ended is known only
afterwards too, so the records that say so are put in here.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from typing import Final

from librt.strings import BytesWriter, read_i64_le, write_i64_le
from mypy_extensions import i64

from allocator.events import (
    CTX_PF_MEMALLOC,
    GFP_AT,
    HANDLE_AT,
    MIN_FREE,
    OBJ_ALLOC,
    RECORD_SIZE,
)
from tracegen.kernel_trace.context import MAX_SLOTS
from tracegen.kernel_trace.kernel_event import Key
from tracegen.kernel_trace.ledger import FIRST_HANDLE

_CPU_AT: Final = 24
_OP_SHIFT: Final = 32
_CTX_SHIFT: Final = 40
_SLOT_SHIFT: Final = 48
_BYTE: Final = 0xFF
_U32: Final = 0xFFFFFFFF
_ANY_NODE: Final = 0xFFFF << 16
_NEVER: Final = (1 << 63) - 1


class Settling:
    """Settles records, piece by piece.

    ``handles`` are the ledger's, ``shift`` is what all other handles move up by, to make room
    for the prelude's. At each of ``round_ends`` kswapd was last seen at work in a round of its.
    """

    def __init__(
        self,
        handles: array[int],
        shift: int,
        keys: Iterable[Key],
        was_reclaiming: Iterable[int],
        round_ends: Iterable[int] = (),
    ) -> None:
        self._handles = handles.tobytes()
        self._shift = shift
        keys = list(keys)
        self._ops = array("Q", (key.op for key in keys)).tobytes()
        self._args = array("Q", (key.arg for key in keys)).tobytes()
        reclaiming = bytearray(MAX_SLOTS + 1)
        for slot in was_reclaiming:
            reclaiming[slot] = 1
        self._reclaiming = bytes(reclaiming)
        self._round_ends = deque(round_ends)
        self.kswapd_told = 0
        """Records that were put in."""
        self.dropped = 0
        """Frees that nothing could be found for."""
        self.by_reclaim = 0
        """Allocations that got PF_MEMALLOC because their task was in reclaim from the start."""

    def settle(self, records: bytes) -> bytes:
        """The records as they are to be."""
        handles = self._handles
        shift: i64 = self._shift
        writer = BytesWriter()
        round_end: i64 = self._round_ends[0] if self._round_ends else _NEVER
        at: i64 = 0
        size: i64 = len(records)
        while at < size:
            if read_i64_le(records, at) > round_end:
                self._end_round(writer, self._round_ends.popleft())
                round_end = self._round_ends[0] if self._round_ends else _NEVER
                continue
            handle = read_i64_le(records, at + HANDLE_AT)
            what = read_i64_le(records, at + GFP_AT)
            how = read_i64_le(records, at + _CPU_AT)
            if handle >= FIRST_HANDLE:
                handle = read_i64_le(handles, (handle - FIRST_HANDLE) * 8)
                if handle == 0:
                    self.dropped += 1
                    at += RECORD_SIZE
                    continue
            elif handle != 0:
                handle += shift
            op: i64 = how >> _OP_SHIFT & _BYTE
            if op == OBJ_ALLOC:
                key: i64 = what >> 32 & _U32
                what = (what & _U32) | read_i64_le(self._args, key * 8) << 32
                op = read_i64_le(self._ops, key * 8)
                how = (how & ~(_BYTE << _OP_SHIFT)) | op << _OP_SHIFT
            slot: i64 = how >> _SLOT_SHIFT & MAX_SLOTS
            if slot != 0:
                how &= (1 << _SLOT_SHIFT) - 1
                if self._reclaiming[slot] != 0:
                    how |= CTX_PF_MEMALLOC << _CTX_SHIFT
                    self.by_reclaim += 1
            write_i64_le(writer, read_i64_le(records, at))
            write_i64_le(writer, handle)
            write_i64_le(writer, what)
            write_i64_le(writer, how)
            at += RECORD_SIZE
        return writer.getvalue()

    def _end_round(self, writer: BytesWriter, ts_ns: i64) -> None:
        """Say that kswapd's work is done."""
        self.kswapd_told += 1
        write_i64_le(writer, ts_ns)
        write_i64_le(writer, 0)
        write_i64_le(writer, 0)
        write_i64_le(writer, _ANY_NODE | MIN_FREE << _OP_SHIFT | CTX_PF_MEMALLOC << _CTX_SHIFT)
