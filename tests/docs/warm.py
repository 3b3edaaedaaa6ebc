"""``pfmemd`` without the time that importing it takes: a server that forks a process a command.

A page of the docs has dozens of commands, and most of a short command's time is Python's
imports. ``serve`` imports once and forks for each command. The client hands over its arguments,
folder, environment and standard streams, passes signals on, and ends as the command ends.
It is started as ``python -IS warm.py SOCKET ARGUMENT...`` and imports next to nothing.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys
import traceback

STREAMS = (0, 1, 2)
MAX_REQUEST = 1 << 20
LOST = 70
"""The command ended without a word: it was killed."""
DEFAULT_PORTS = {"5571": "PFMEMD_BIND", "9571": "PFMEMD_HTTP"}
"""Ports that commands talk to when nothing is said, and the setting that moves the daemon's."""


def client(path: str, arguments: list[str]) -> int:
    """Have a command run; return its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109 - no pathlib: it is slow to import
        body = json.dumps(request).encode()
        streams = array.array("i", STREAMS)
        head = len(body).to_bytes(4, "big")
        connection.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        connection.sendall(body)
        answers = connection.makefile("rb")
        process = int(answers.readline() or b"0")

        def pass_on(number: int, _: object) -> None:
            os.kill(process, number)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, pass_on)
        answer = answers.readline()
    return int(answer) if answer else LOST


def serve(path: str) -> None:
    """Fork for each client until killed."""
    from daemon.cli import main  # noqa: PLC0415 - the client must not import it

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _take_over(connection, main)
            connection.close()


def _take_over(connection: socket.socket, main: object) -> None:
    """Become the command that the client asks for."""
    head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(4 * len(STREAMS)))
    streams = array.array("i")
    streams.frombytes(ancillary[0][2])
    size = int.from_bytes(head, "big")
    body = b""
    while len(body) < size:
        body += connection.recv(MAX_REQUEST)
    request = json.loads(body)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for there, here in zip(streams, STREAMS, strict=True):
        os.dup2(there, here)
        os.close(there)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    connection.sendall(f"{os.getpid()}\n".encode())
    code = _run(main, request["arguments"])
    connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _run(main: object, arguments: list[str]) -> int:
    import click  # noqa: PLC0415 - the client must not import it

    assert isinstance(main, click.Group)
    _move_ports(main)
    code = 1
    try:
        main(arguments, prog_name="pfmemd")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - shown as Python would show it
        traceback.print_exc()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 1
    return code


def _move_ports(command: object) -> None:
    """Let what talks to the usual ports talk to those that the test's daemon has."""
    for parameter in getattr(command, "params", ()):
        for port, setting in DEFAULT_PORTS.items():
            default = parameter.default
            if isinstance(default, str) and default.endswith(f":{port}"):
                moved = os.environ[setting].rpartition(":")[2]
                parameter.default = default.removesuffix(port) + moved
    for inner in getattr(command, "commands", {}).values():
        _move_ports(inner)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    sys.exit(client(sys.argv[1], sys.argv[2:]))
