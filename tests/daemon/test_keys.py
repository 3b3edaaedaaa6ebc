"""Strangers at the senders' port: no key, an unknown key, the right key for another source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.keys import AllowedClients, NoSuchClientError, allow, clients, deny
from tests.daemon.fakes import allocations, events_batch, header_batch, new_engine
from tests.daemon.test_receiver import Running, settings_for
from tracegen.batch import encode
from tracegen.keys import KeyFileError, SenderKeys, new_keys, read_public_key, sender_keys
from tracegen.sender import LostConnectionError, Sender
from tracegen.sender_state import RejectedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A keys folder with the daemon's pair."""
    folder = tmp_path / "keys"
    new_keys(folder, "daemon")
    return folder


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    """A receiver that wants keys."""
    running = Running(settings_for(keys_dir=folder), new_engine())
    yield running
    running.finish()


def client(folder: Path, name: str, *sources: str) -> SenderKeys:
    """The keys of a client; without sources it is not allowed."""
    public, secret = new_keys(folder.parent, name)
    if sources:
        allow(folder, public, name, frozenset(sources))
    return sender_keys(secret, folder / "daemon.key")


def send(running: Running, keys: SenderKeys | None, source: str = "a") -> None:
    """Send two batches and see them acknowledged."""
    header = encode(header_batch(source))
    with Sender(running.endpoint, source, timeout=1.0, keys=keys) as sender:
        sender.open(5, header)
        sender.send(1, header)
        sender.send(2, encode(events_batch(2, allocations(3), source=source)), 3)
        sender.flush()


def test_allowed_key_sends_as_its_source(running: Running, folder: Path) -> None:
    """Everything is as without keys."""
    send(running, client(folder, "host-a", "a"))

    assert 3 == running.engine.read().sources[0].life.events
    assert 0 == running.connections.refused["key"]


def test_key_of_one_source_cannot_send_as_another(running: Running, folder: Path) -> None:
    """The source is bound to the key, not to what the sender says."""
    keys = client(folder, "host-a", "a")

    with pytest.raises(RejectedError, match="this key may not send as b") as caught:
        send(running, keys, "b")

    assert "forbidden" == caught.value.code
    assert () == running.engine.read().sources
    assert {"forbidden": 1} == running.engine.read().messages_refused


@pytest.mark.parametrize("sources", [("a", "b"), ("*",)])
def test_key_may_speak_for_several_sources(
    running: Running, folder: Path, sources: tuple[str, ...]
) -> None:
    """Those that are named, or any."""
    keys = client(folder, "gateway", *sources)
    for source in ("a", "b"):
        send(running, keys, source)

    assert ["a", "b"] == [source.name for source in running.engine.read().sources]


def test_unknown_key_is_refused_and_counted(running: Running, folder: Path) -> None:
    """It gets no further than the handshake, and its owner is told what to do."""
    keys = client(folder, "stranger")

    with pytest.raises(LostConnectionError, match="pfmemd keys allow"):
        send(running, keys)

    assert running.connections.refused["key"] > 0
    assert () == running.engine.read().sources


def test_sender_without_a_key_is_refused_and_counted(running: Running) -> None:
    """Nothing of it is read."""
    with pytest.raises(LostConnectionError):
        send(running, None)

    assert running.connections.refused["handshake"] > 0
    assert () == running.engine.read().sources


def test_sender_does_not_talk_to_an_impostor(running: Running, folder: Path) -> None:
    """Whoever has not the daemon's secret key gets nothing."""
    _, secret = new_keys(folder.parent, "host-a")
    other, _ = new_keys(folder.parent, "impostor")
    allow(folder, folder.parent / "host-a.key", "host-a", frozenset("a"))

    with pytest.raises(LostConnectionError):
        send(running, sender_keys(secret, other))


def test_allowing_and_denying_need_no_restart(running: Running, folder: Path) -> None:
    """The folder is looked at again when it has changed."""
    keys = client(folder, "host-a")
    with pytest.raises(LostConnectionError):
        send(running, keys)

    allow(folder, folder.parent / "host-a.key", "host-a", frozenset("a"))
    send(running, keys)

    deny(folder, "host-a")
    with pytest.raises(LostConnectionError):
        send(running, keys)


def test_broken_allow_list_admits_nobody_new(folder: Path) -> None:
    """Whoever was allowed stays so until it is put right."""
    keys = client(folder, "host-a", "a")
    allowed = AllowedClients(folder)
    (folder / "allowed" / "broken.key").write_text("x")
    other = client(folder, "host-b")

    assert allowed.may_speak_for(keys.public.decode(), "a")
    assert not allowed.callback("", other.public)


def test_missing_daemon_key_is_one_clear_line(tmp_path: Path) -> None:
    """Before anything is bound."""
    with pytest.raises(KeyFileError, match=r"cannot read .*daemon\.key_secret: No such file"):
        Running(settings_for(keys_dir=tmp_path), new_engine())


class TestCommands:
    """``pfmemd keys``."""

    def keys(self, *arguments: str | Path) -> Result:
        """Run it."""
        return CliRunner().invoke(main, ["keys", *map(str, arguments)], prog_name="pfmemd")

    def test_a_sender_is_made_allowed_listed_and_denied(self, folder: Path) -> None:
        """The whole life of a key."""
        made = self.keys("new", "host-a", "--dir", folder.parent)
        assert (0, 2) == (made.exit_code, len(made.stdout.splitlines()))
        public = folder.parent / "host-a.key"

        allowed = self.keys("allow", folder, public)
        assert "host-a may send as host-a\n" == allowed.stdout
        more = self.keys("allow", folder, public, "--source", "x", "--source", "y")
        assert "host-a may send as x y\n" == more.stdout

        (listed,) = clients(folder)
        assert frozenset("xy") == listed.sources
        assert self.keys("list", folder).stdout.startswith(f"host-a  {listed.key}  x y")
        as_json = json.loads(self.keys("list", folder, "--json").stdout)
        assert {
            "host-a": {"key": read_public_key(public).decode(), "sources": ["x", "y"]}
        } == as_json

        assert 0 == self.keys("deny", folder, "host-a").exit_code
        assert [] == clients(folder)

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("deny", "{folder}", "nobody"), "allows no client nobody"),
            (("allow", "{folder}", "{folder}/absent.key"), "cannot read"),
            (("allow", "{folder}", "{folder}/daemon.key", "--source", "a b"), "'a b' is no source"),
            (("new", "daemon", "--dir", "{folder}"), "is there already"),
        ],
    )
    def test_mistakes_are_one_line(
        self, folder: Path, arguments: tuple[str, ...], expected: str
    ) -> None:
        """Exit code 2."""
        done = self.keys(*(argument.format(folder=folder) for argument in arguments))

        assert 2 == done.exit_code
        (line,) = done.stderr.splitlines()
        assert expected in line

    def test_denying_twice_is_a_mistake(self, folder: Path) -> None:
        """There is nobody to deny."""
        with pytest.raises(NoSuchClientError):
            deny(folder, "host-a")
