"""Key files: secret ones stay secret, and a wrong file is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracegen.keys import (
    KEY_LENGTH,
    KeyFileError,
    new_keys,
    read_public_key,
    read_secret_key,
    sender_keys,
)


def test_pair_is_written_and_read(tmp_path: Path) -> None:
    """The public file holds the public key alone; the secret one is its owner's."""
    public, secret = new_keys(tmp_path / "new", "host-a")

    assert ("host-a.key", "host-a.key_secret") == (public.name, secret.name)
    assert (0o644, 0o600) == (public.stat().st_mode & 0o777, secret.stat().st_mode & 0o777)
    own = read_secret_key(secret)
    assert own[0] == read_public_key(public)
    assert [KEY_LENGTH] * 2 == [len(key) for key in own]
    assert own[1] not in public.read_bytes()


def test_pair_is_never_replaced(tmp_path: Path) -> None:
    """Somebody may still need the one that is there."""
    public, _ = new_keys(tmp_path, "host-a")
    before = public.read_bytes()

    with pytest.raises(KeyFileError, match=r"host-a\.key is there already"):
        new_keys(tmp_path, "host-a")

    assert before == public.read_bytes()


def test_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """It is no secret any more; the line says what to do."""
    _, secret = new_keys(tmp_path, "host-a")
    secret.chmod(0o640)

    with pytest.raises(KeyFileError, match="chmod 600"):
        read_secret_key(secret)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is no key file"),
        ('curve\n    public-key = "short"\n', "a key of 5 characters, not 40"),
        (None, "No such file"),
    ],
)
def test_other_file_is_refused(tmp_path: Path, text: str | None, expected: str) -> None:
    """What it is, and which file."""
    path = tmp_path / "x.key"
    if text is not None:
        path.write_text(text)

    with pytest.raises(KeyFileError, match=expected) as caught:
        read_public_key(path)
    assert str(path) in str(caught.value)


def test_public_key_is_no_secret_one(tmp_path: Path) -> None:
    """Mixed up files are told apart."""
    public, secret = new_keys(tmp_path, "host-a")

    with pytest.raises(KeyFileError, match="holds no secret key"):
        sender_keys(public, secret)
