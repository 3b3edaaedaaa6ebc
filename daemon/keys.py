"""Who may send as which source: the daemon's own key, and the public keys that it knows.

A keys folder holds ``daemon.key_secret`` (with ``daemon.key`` for the senders) and, under
``allowed/``, one public key for each client with the sources that it may speak for.
The folder is looked at again whenever it has changed: allowing and denying a client
need no restart, though a denied one keeps a connection that it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from tracegen.errors import PfmemdError
from tracegen.keys import PUBLIC_SUFFIX, SECRET_SUFFIX, KeyFileError, read_public_key
from tracegen.limits import SOURCE_EXPECTED, is_source_name

log = structlog.get_logger()

DAEMON: Final = "daemon"
"""The name of the daemon's own pair."""
ALLOWED: Final = "allowed"
"""The folder of the clients' public keys."""
ANY_SOURCE: Final = "*"
"""Of a client that may speak for every source."""

_SOURCES: Final = re.compile(r'^\s+sources\s*=\s*"([^"]*)"\s*$', re.MULTILINE)
_TEMPLATE: Final = """\
#   Written by pfmemd keys allow: this client may send as these sources.

metadata
    sources = "{sources}"

curve
    public-key = "{key}"
"""


class NoSuchClientError(PfmemdError):
    """A client that is not allowed anyway."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client that may connect."""

    name: str
    key: str
    """Its public key in Z85."""
    sources: frozenset[str]

    def may_speak_for(self, source: str) -> bool:
        """Whether it may send as ``source``."""
        return source in self.sources or ANY_SOURCE in self.sources


def daemon_key_path(folder: Path) -> Path:
    """The daemon's secret key in a keys folder."""
    return folder / f"{DAEMON}{SECRET_SUFFIX}"


def allow(folder: Path, public: Path, name: str, sources: frozenset[str]) -> Client:
    """Let the holder of ``public`` in, as ``name``, for ``sources``. Raises KeyFileError."""
    for source in sources - {ANY_SOURCE}:
        if not is_source_name(source):
            raise KeyFileError(f"{source!r} is no source, expected {SOURCE_EXPECTED}, or *")
    key = read_public_key(public).decode("ascii")
    path = folder / ALLOWED / f"{name}{PUBLIC_SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(_TEMPLATE.format(sources=" ".join(sorted(sources)), key=key), "ascii")
        part.replace(path)  # a daemon may be reading
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from None
    return Client(name, key, sources)


def deny(folder: Path, name: str) -> None:
    """Let the client in no more; raises :class:`NoSuchClientError`."""
    path = folder / ALLOWED / f"{name}{PUBLIC_SUFFIX}"
    try:
        path.unlink()
    except FileNotFoundError:
        raise NoSuchClientError(f"{folder} allows no client {name}") from None
    except OSError as error:
        raise KeyFileError(f"cannot remove {path}: {error.strerror}") from None


def clients(folder: Path) -> list[Client]:
    """Every client that is allowed, by name. Raises KeyFileError for a file that is none."""
    found = []
    for path in sorted((folder / ALLOWED).glob(f"*{PUBLIC_SUFFIX}")):
        key = read_public_key(path).decode("ascii")
        sources = _SOURCES.search(path.read_text("utf-8"))
        if sources is None:
            raise KeyFileError(f"{path} names no sources, expected a file of pfmemd keys allow")
        found.append(
            Client(path.name.removesuffix(PUBLIC_SUFFIX), key, frozenset(sources[1].split()))
        )
    return found


class AllowedClients:
    """The clients of a folder, as they are now."""

    def __init__(self, folder: Path) -> None:
        """Read them; raises KeyFileError."""
        self._folder = folder
        self._seen: int | None = self._changed_at()
        self._by_key = _by_key(clients(folder))

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the holder of ``key`` (Z85) may connect: what pyzmq's authenticator asks."""
        del domain
        return key.decode("ascii") in self._now()

    def may_speak_for(self, key: str | None, source: str) -> bool:
        """Whether a connection that was made with ``key`` may send as ``source``."""
        client = self._now().get(key or "")
        return client is not None and client.may_speak_for(source)

    def _now(self) -> Mapping[str, Client]:
        changed_at = self._changed_at()
        if changed_at != self._seen:
            try:
                self._by_key = _by_key(clients(self._folder))
            except (KeyFileError, OSError) as error:
                # Whoever was allowed stays so, and nobody else is, until it is put right.
                log.warning("allowed clients cannot be read", why=str(error))
            self._seen = changed_at
        return self._by_key

    def _changed_at(self) -> int | None:
        try:
            return (self._folder / ALLOWED).stat().st_mtime_ns
        except OSError:
            return None


def _by_key(allowed: list[Client]) -> dict[str, Client]:
    return {client.key: client for client in allowed}
