"""Records that wait on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracegen.errors import StoppedError
from tracegen.kernel_trace.spool import PIECE, Spool


def test_what_was_written_comes_back_in_pieces(tmp_path: Path) -> None:
    """And no file is left, nor seen while it is there."""
    with Spool(tmp_path) as spool:
        spool.write(b"a" * (PIECE + 32))
        spool.write(b"b" * 32)
        seen = list(tmp_path.iterdir())
        size = spool.size
        pieces = list(spool.pieces())

    assert ([PIECE, 64], PIECE + 64) == ([len(piece) for piece in pieces], size)
    assert ([], []) == (seen, list(tmp_path.iterdir()))


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path) -> None:
    """Exit code 3: the disk gave way, not the input."""
    with pytest.raises(StoppedError, match=f"in {tmp_path}/nowhere: No such file") as caught:
        Spool(tmp_path / "nowhere")

    assert 3 == caught.value.exit_code
