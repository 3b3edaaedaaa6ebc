"""TLS and a password for the HTTP side, from files."""

from __future__ import annotations

import base64
import hmac
import ssl
from pathlib import Path
from typing import Final

from tracegen.errors import PfmemdError
from tracegen.private_file import is_private

_SCHEME: Final = "Basic "


class HttpSecurityError(PfmemdError):
    """A certificate, key or password file that cannot be used: says which and why."""


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What serves TLS 1.2 and later with that certificate; raises :class:`HttpSecurityError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (certificate, key):
        try:
            path.open("rb").close()  # for a reason that names the file
        except OSError as error:
            raise HttpSecurityError(f"cannot read {path}: {error.strerror}") from None
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise HttpSecurityError(
            f"cannot use the certificate {certificate} with the key {key}: {error}"
        ) from None
    return context


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted, expected one without a passphrase")


class Password:
    """The one user and password that requests must carry."""

    def __init__(self, path: Path) -> None:
        """Read it; raises :class:`HttpSecurityError`."""
        try:
            private = is_private(path)
            line = path.read_text("utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise HttpSecurityError(f"cannot read {path}: {reason}") from None
        if not private:
            raise HttpSecurityError(
                f"{path} can be read by others than its owner: chmod 600 {path}"
            )
        user, separator, password = line.partition(":")
        if not user or not separator or not password or "\n" in line:
            raise HttpSecurityError(f"{path} does not hold one line USER:PASSWORD")
        self._expected = base64.b64encode(line.encode())

    def admits(self, authorization: str) -> bool:
        """Whether that Authorization header carries it, in a time that tells nothing."""
        given = authorization.removeprefix(_SCHEME).strip() if authorization else ""
        return hmac.compare_digest(given.encode(), self._expected)
