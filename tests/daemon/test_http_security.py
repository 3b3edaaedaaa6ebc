"""TLS and a password on the HTTP side: nobody reads without, nobody waits for a silent one."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.http import HttpServer, Request, Response
from daemon.http_security import HttpSecurityError, Password, tls_context

SECONDS = 10


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=pfmemd", "-addext"),
            *("subjectAltName=IP:127.0.0.1", "-out", paths[0], "-keyout", paths[1]),
        ],
        check=True,
        capture_output=True,
    )
    return paths


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """A file with a password."""
    path = tmp_path / "password"
    path.write_text("prometheus:secret: with a colon\n")
    path.chmod(0o600)
    return path


def hello(request: Request) -> Response:
    """A route."""
    del request
    return Response(b"hello\n")


@pytest.fixture
def server(certificate: tuple[Path, Path], password_file: Path) -> Iterator[HttpServer]:
    """A server of two workers that wants both."""
    server = HttpServer(
        ("127.0.0.1", 0),
        {"/metrics": hello, "/healthz": hello, "/readyz": hello},
        workers=2,
        timeout_seconds=SECONDS,
        tls=tls_context(*certificate),
        password=Password(password_file),
    )
    server.start()
    yield server
    server.stop()


def get(
    server: HttpServer, certificate: Path, path: str = "/metrics", credentials: str | None = None
) -> int:
    """The status of a request over TLS."""
    context = ssl.create_default_context(cafile=certificate)
    connection = http.client.HTTPSConnection(
        "127.0.0.1", server.server_port, timeout=SECONDS, context=context
    )
    headers = {}
    if credentials is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_right_password_over_tls(server: HttpServer, certificate: tuple[Path, Path]) -> None:
    """The certificate is the one that was given, and the password lets in."""
    assert server.url.startswith("https://127.0.0.1:")
    assert 200 == get(server, certificate[0], credentials="prometheus:secret: with a colon")
    assert 0 == server.unauthorized


@pytest.mark.parametrize(
    "credentials", [None, "", "prometheus:secret", "prometheus", "x:secret: with a colon"]
)
def test_anything_else_is_refused_and_counted(
    server: HttpServer, certificate: tuple[Path, Path], credentials: str | None
) -> None:
    """401, whatever the path's answer would be."""
    assert 401 == get(server, certificate[0], credentials=credentials)
    assert 401 == get(server, certificate[0], "/nothing", credentials)
    assert 2 == server.unauthorized


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_password(
    server: HttpServer, certificate: tuple[Path, Path], path: str
) -> None:
    """Whoever watches over the process need not know it."""
    assert 200 == get(server, certificate[0], path)


def test_plain_http_is_not_answered(server: HttpServer) -> None:
    """With a certificate nothing goes out in plain text."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=SECONDS) as plain:
        plain.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = plain.makefile("rb").read()

    assert b"HTTP" not in answer


def test_silent_connections_do_not_keep_a_scrape_out(
    server: HttpServer, certificate: tuple[Path, Path]
) -> None:
    """A client that never begins its handshake holds a worker, and gives it up."""
    silent = [
        socket.create_connection(("127.0.0.1", server.server_port), timeout=SECONDS)
        for _ in range(6)
    ]

    assert 200 == get(server, certificate[0], "/healthz")

    for connection in silent:
        connection.close()


def test_handshake_has_a_deadline(certificate: tuple[Path, Path]) -> None:
    """A connection that says nothing is cut off in the end."""
    server = HttpServer(("127.0.0.1", 0), {}, 1, 0.1, tls_context(*certificate))
    server.start()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=SECONDS) as silent:
        assert silent.recv(1) == b""
    server.stop()


class TestFiles:
    """A wrong file is one clear line."""

    @pytest.mark.parametrize(
        ("text", "mode", "expected"),
        [
            ("user:password\n", 0o644, "chmod 600"),
            ("user:password\n", 0o620, "chmod 600"),
            ("password\n", 0o600, "does not hold one line USER:PASSWORD"),
            (":password\n", 0o600, "does not hold one line USER:PASSWORD"),
            ("user:\n", 0o600, "does not hold one line USER:PASSWORD"),
            ("user:a\nuser:b\n", 0o600, "does not hold one line USER:PASSWORD"),
            (None, 0, "No such file"),
        ],
    )
    def test_password_file(
        self, tmp_path: Path, text: str | None, mode: int, expected: str
    ) -> None:
        """Which file, and what is wrong with it."""
        path = tmp_path / "password"
        if text is not None:
            path.write_text(text)
            path.chmod(mode)

        with pytest.raises(HttpSecurityError, match=expected) as caught:
            Password(path)
        assert str(path) in str(caught.value)

    def test_certificate_and_key(self, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
        """Missing, swapped, and no certificate at all."""
        for pair in (
            (tmp_path / "absent", certificate[1]),
            (certificate[1], certificate[0]),
            (Path(os.devnull), certificate[1]),
        ):
            with pytest.raises(HttpSecurityError, match="cannot"):
                tls_context(*pair)

    def test_encrypted_key_is_refused(self, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
        """Nobody is there to ask for its passphrase."""
        encrypted = tmp_path / "key.pem"
        subprocess.run(
            [
                *("openssl", "ec", "-in", certificate[1], "-out", encrypted),
                *("-aes128", "-passout", "pass:x"),
            ],
            check=True,
            capture_output=True,
        )

        with pytest.raises(HttpSecurityError, match="without a passphrase"):
            tls_context(certificate[0], encrypted)
