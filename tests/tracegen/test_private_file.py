"""Whether a file keeps its secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracegen.private_file import is_private


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o600, True), (0o400, True), (0o640, False), (0o604, False), (0o620, False)],
)
def test_own_file_is_its_owners_alone(tmp_path: Path, mode: int, expected: bool) -> None:
    """Neither the group nor others may read or write it."""
    path = tmp_path / "secret"
    path.touch(mode)
    path.chmod(mode)

    assert expected is is_private(path)


@pytest.mark.parametrize(("mode", "expected"), [(0o444, True), (0o640, True), (0o666, False)])
def test_file_of_somebody_else_is_theirs_to_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, expected: bool
) -> None:
    """As long as not everybody could have put it there."""
    path = tmp_path / "secret"
    path.touch()
    path.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)

    assert expected is is_private(path)
