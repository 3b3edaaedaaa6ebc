"""The bounds of the trace format, checked before anything is built.

The format's own maxima are constants; what a reader accepts may be set lower
with :class:`BatchLimits`, never higher than a writer of version 1 may send.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

U64_MAX: Final = (1 << 64) - 1

MAX_BATCH_BYTES: Final = 1 << 20
"""Bytes of one encoded batch, whatever its form: 1 MiB."""
MAX_BATCH_EVENTS: Final = 16384
"""Events of one batch; 512 KiB in packed form."""

MAX_CACHES: Final = 1024
"""Caches that a header declares."""
MAX_NAME_LENGTH: Final = 64
"""Characters of a cache's name."""

MAP_BYTES: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
"""First bytes of a msgpack map, and so of every batch: fixmap, map 16, map 32."""

MAX_SOURCE_LENGTH: Final = 64
"""Characters of a source name."""
SOURCE_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z", re.ASCII)
"""What names a source: it becomes a metric label, a file name and a log field."""
SOURCE_EXPECTED: Final = (
    "1 to 64 of the characters A-Z a-z 0-9 . _ : - beginning with a letter or a digit"
)

FIRST_SEQ: Final = 1
"""The number of the header batch, the first of an epoch; 0 means none yet."""


def is_source_name(name: str) -> bool:
    """Tell whether ``name`` may name a source."""
    return SOURCE_PATTERN.match(name) is not None


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What a reader of batches accepts."""

    max_bytes: int = MAX_BATCH_BYTES
    max_events: int = MAX_BATCH_EVENTS
