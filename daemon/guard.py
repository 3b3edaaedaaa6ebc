"""The guard at the senders' port: CURVE keys, asked of the allow list at each handshake.

Every connection is encrypted and made with a key; a key that is not allowed gets no
further than the handshake. Whose key it was comes with each message.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import zmq

from daemon.keys import AllowedClients, daemon_key_path
from tracegen.keys import read_secret_key

_DOMAIN: Final = "pfmemd"
"""pyzmq keeps the callback by domain: a socket with another one, or none, refuses everybody."""
_KEY_PROPERTY: Final = "User-Id"
"""What pyzmq's authenticator tells of a connection: the client's public key in Z85."""


class Guard:
    """Stands before one socket, in a thread of its own."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        socket: zmq.Socket[bytes],
        folder: Path,
    ) -> None:
        """Have ``socket``, which is not bound yet, want keys. Raises KeyFileError."""
        from zmq.auth.thread import ThreadAuthenticator  # noqa: PLC0415 - asyncio, for few

        public, secret = read_secret_key(daemon_key_path(folder))
        self.clients = AllowedClients(folder)
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(_DOMAIN, self.clients)
        socket.curve_publickey = public
        socket.curve_secretkey = secret
        socket.curve_server = True
        socket.zap_domain = _DOMAIN.encode()

    def close(self) -> None:
        """Stop; the socket must not be used any more."""
        self._authenticator.stop()


def key_of(frame: zmq.Frame) -> str:
    """The public key, in Z85, of the client that the frame came from."""
    key = frame.get(_KEY_PROPERTY)
    return key if isinstance(key, str) else ""
