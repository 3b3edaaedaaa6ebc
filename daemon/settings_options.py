"""The settings as flags of a command, generated from the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from daemon.settings import DEFAULT_CONFIG, ENV_PREFIX, Settings, env_of, flag_of

F = TypeVar("F", bound=Callable[..., Any])

_METAVARS: Final = {
    "bind": "URL",
    "http": "HOST:PORT",
    "data_dir": "DIR",
    "keys_dir": "DIR",
    "http_certificate": "FILE",
    "http_key": "FILE",
    "http_password_file": "FILE",
    "variants": "ALLOCATOR-REVISION",
}


def settings_options(command: F) -> F:
    """Give ``command`` one flag for each setting, and ``--config``."""
    for name, field in reversed(Settings.model_fields.items()):
        command = _option(name, field)(command)
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar=f"{ENV_PREFIX}CONFIG",
        metavar="FILE",
        help=f"TOML file with settings.  [env: {ENV_PREFIX}CONFIG; default: {DEFAULT_CONFIG} if it"
        " is there]",
    )(command)


def given_flags(parameters: Mapping[str, object]) -> dict[str, object]:
    """Of a command's ``parameters``, the settings that were given as flags."""
    return {
        name: value
        for name, value in parameters.items()
        if name in Settings.model_fields and value is not None and value != ()
    }


def _option(name: str, field: FieldInfo) -> Callable[[F], F]:
    default = field.default
    shown = " ".join(default) if isinstance(default, tuple) else str(default).lower()
    meaning = " ".join((field.description or "").split())
    flag = flag_of(name)
    kind: click.ParamType[Any] | type = Path if default is None else type(default)
    metavar = _METAVARS.get(name)
    if isinstance(default, bool):
        flag = f"{flag}/--no-{name.replace('_', '-')}"
    elif isinstance(default, tuple):
        kind = str
        meaning += " Give the flag once for each."
    elif get_origin(field.annotation) is Literal:
        kind = click.Choice(get_args(field.annotation))
    elif metavar is None:
        metavar = "SECONDS" if isinstance(default, float) else "N"
    return click.option(
        flag,
        name,
        type=kind,
        default=None,
        multiple=isinstance(default, tuple),
        metavar=metavar,
        help=f"{meaning}  [env: {env_of(name)}; default: {shown}]",
    )
