"""CURVE keys: who a sender is, and how it knows its daemon.

Each side has a pair of keys. ``NAME.key`` is public and travels to the other side;
``NAME.key_secret`` stays where it was made, readable by its owner alone. The files are
ZeroMQ certificates, as czmq and pyzmq write them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracegen.errors import PfmemdError
from tracegen.private_file import OTHERS, is_private

PUBLIC_SUFFIX: Final = ".key"
SECRET_SUFFIX: Final = ".key_secret"  # noqa: S105 - the name of a file, as pyzmq has it
KEY_LENGTH: Final = 40
"""Characters of a key in Z85."""


class KeyFileError(PfmemdError):
    """A key file that cannot be used: says which and why."""


@dataclass(frozen=True, slots=True)
class SenderKeys:
    """What a sender needs for a daemon that wants keys; each in Z85."""

    public: bytes
    secret: bytes
    daemon: bytes
    """The daemon's public key: an impostor has not the secret one to it."""


def new_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Draw a pair of keys; the paths of the public and of the secret one.

    Raises :class:`KeyFileError`; a pair that is there is never replaced.
    """
    from zmq.auth import create_certificates  # noqa: PLC0415 - only those who want keys pay for it

    public = folder / f"{name}{PUBLIC_SUFFIX}"
    secret = folder / f"{name}{SECRET_SUFFIX}"
    for path in (public, secret):
        if path.exists():
            raise KeyFileError(f"{path} is there already; remove it first if it is of no more use")
    mask = os.umask(OTHERS)  # pyzmq would let everybody read the secret
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_certificates(folder, name)
        public.chmod(0o644)
    except OSError as error:
        raise KeyFileError(f"cannot write {public}: {error.strerror}") from None
    finally:
        os.umask(mask)
    return public, secret


def read_public_key(path: Path) -> bytes:
    """The public key of a file, in Z85; raises :class:`KeyFileError`."""
    return _read(path)[0]


def read_secret_key(path: Path) -> tuple[bytes, bytes]:
    """The public and the secret key of a file, in Z85.

    Raises :class:`KeyFileError`, also when others than its owner may read it.
    """
    public, secret = _read(path)
    if secret is None:
        raise KeyFileError(f"{path} holds no secret key, expected a {SECRET_SUFFIX} file")
    if not is_private(path):
        raise KeyFileError(f"{path} can be read by others than its owner: chmod 600 {path}")
    return public, secret


def sender_keys(own: Path, daemon: Path) -> SenderKeys:
    """Read both files; raises :class:`KeyFileError`."""
    public, secret = read_secret_key(own)
    return SenderKeys(public, secret, read_public_key(daemon))


def _read(path: Path) -> tuple[bytes, bytes | None]:
    from zmq.auth import load_certificate  # noqa: PLC0415 - as above

    try:
        path.open("rb").close()  # for a reason that says more than pyzmq's
        public, secret = load_certificate(path)
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise KeyFileError(f"{path} is no key file, expected one of pfmemd keys new") from None
    for key in (public, secret):
        if key is not None and len(key) != KEY_LENGTH:
            raise KeyFileError(f"{path} holds a key of {len(key)} characters, not {KEY_LENGTH}")
    return public, secret
