"""Files that hold a secret: whether they keep it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def is_private(path: Path) -> bool:
    """Whether nobody but the owner may read or write ``path``.

    A file of somebody else's (a secret that a container is given, say) need only be one
    that not everybody may write: who reads it is not this user's to say. Raises OSError.
    """
    status = path.stat()
    if status.st_uid == os.geteuid():
        return not status.st_mode & OTHERS
    return not status.st_mode & stat.S_IWOTH
