"""``pfmemd keys``: pairs of keys, and who may send as which source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from daemon import keys
from tracegen.keys import PUBLIC_SUFFIX, new_keys

_PATH: Final = click.Path(path_type=Path)
_FOLDER: Final = click.argument("folder", metavar="KEYS", type=_PATH)


@click.group("keys")
def keys_group() -> None:
    r"""Make keys for senders and daemons, and say who may send as which source.

    A daemon that is reached from other machines wants to know its senders: their traffic is
    encrypted with CURVE, and each key may speak for certain sources only. KEYS is the folder
    that the daemon is given by --keys-dir.

    \b
    On the daemon's machine:
      pfmemd keys new daemon --dir /etc/pfmemd/keys
    On a sender's machine:
      pfmemd keys new host-a
    Carry host-a.key to the daemon and daemon.key to the sender; they are public. Then:
      pfmemd keys allow /etc/pfmemd/keys host-a.key --source host-a
      pfmemd serve --keys-dir /etc/pfmemd/keys --bind tcp://0.0.0.0:5571 ...
      pfmemd send t.pfmt --connect tcp://daemon:5571 --key host-a.key_secret --daemon-key daemon.key
    """


@keys_group.command("new")
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=_PATH,
    default=Path(),
    metavar="DIR",
    help="Where to; made if it is not there.  [default: here]",
)
def new(name: str, folder: Path) -> None:
    r"""Draw a pair of keys: NAME.key to give away, NAME.key_secret to keep.

    \b
    Example:
      pfmemd keys new host-a
    """
    public, secret = new_keys(folder, name)
    click.echo(f"{public} is public: carry it to the other side")
    click.echo(f"{secret} is secret: it stays here")


@keys_group.command("allow")
@_FOLDER
@click.argument("public", metavar="NAME.key", type=_PATH)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="What it may send as; give it once for each, '*' is everything.  [default: NAME]",
)
def allow(folder: Path, public: Path, sources: tuple[str, ...]) -> None:
    r"""Let the holder of a key send. A running daemon sees it at once.

    \b
    Example:
      pfmemd keys allow /etc/pfmemd/keys host-a.key --source host-a
    """
    name = public.name.removesuffix(PUBLIC_SUFFIX)
    client = keys.allow(folder, public, name, frozenset(sources or (name,)))
    click.echo(f"{client.name} may send as {' '.join(sorted(client.sources))}")


@keys_group.command("deny")
@_FOLDER
@click.argument("name")
def deny(folder: Path, name: str) -> None:
    r"""Let a client connect no more. A connection that it has stays until it breaks.

    \b
    Example:
      pfmemd keys deny /etc/pfmemd/keys host-a
    """
    keys.deny(folder, name)
    click.echo(f"{name} may send no more")


@keys_group.command("list")
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_clients(folder: Path, *, as_json: bool) -> None:
    r"""Tell who may send as which source.

    \b
    Example:
      pfmemd keys list /etc/pfmemd/keys
    """
    allowed = keys.clients(folder)
    if as_json:
        found = {
            client.name: {"key": client.key, "sources": sorted(client.sources)}
            for client in allowed
        }
        click.echo(json.dumps(found, indent=2))
        return
    for client in allowed:
        click.echo(f"{client.name}  {client.key}  {' '.join(sorted(client.sources))}")
    if not allowed:
        click.echo(f"{folder} allows nobody", err=True)
