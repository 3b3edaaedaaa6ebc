"""The daemon's settings: one validated object, whatever they came from.

Precedence, highest first: flag, environment (``PFMEMD_`` and the setting's name),
TOML file (``--config``, else ``./pfmemd.toml`` if it is there), default. Each
setting has the same name in all of them; ``docs/SETTINGS.md`` is generated from
this model.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from allocator.revision import parse_variant
from tracegen.errors import PfmemdError
from tracegen.limits import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from tracegen.protocol import DEFAULT_CREDIT

ENV_PREFIX: Final = "PFMEMD_"
DEFAULT_CONFIG: Final = Path("pfmemd.toml")
MAX_PORT: Final = 65535


class SettingsError(PfmemdError, ValueError):
    """A setting that cannot be: says which, where it was given and what is expected."""


class Settings(BaseSettings):
    """Everything that can be set, with its default and its bounds."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    bind: str = "tcp://127.0.0.1:5571"
    """Where senders connect: tcp://HOST:PORT or ipc://PATH. Port 0 takes a free one and
    says which in the log."""
    http: str = "127.0.0.1:9571"
    """Where /metrics, /state, /healthz and /readyz are served: HOST:PORT. Port 0 takes a free
    one."""
    keys_dir: Path | None = None
    """Folder of keys, see `pfmemd keys`. With it senders must have a key that is allowed there,
    and all that they send is encrypted. Needed to bind to other addresses than loopback."""
    insecure: bool = False
    """Allow addresses other than loopback without keys and passwords: whoever reaches them may
    feed the model and read it."""
    variants: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("slab-seed", "slub-seed"), min_length=1, max_length=32
    )
    """The models that run side by side on every source: ALLOCATOR-REVISION. In the environment,
    separated by commas."""
    data_dir: Path | None = None
    """Folder that keeps the journal and the snapshots: what is acknowledged then outlives the
    daemon. Made if it is not there. Without it everything is in memory only."""
    fsync: Literal["always", "interval", "never"] = "always"
    """When what is acknowledged survives a loss of power, not only the end of the process:
    before its acknowledgement (always), within an interval after it, or when the operating
    system likes (never)."""
    fsync_interval_seconds: float = Field(default=1.0, gt=0, le=3600)
    """With fsync "interval": how much of the latest may be lost with the power."""
    segment_bytes: int = Field(default=64 << 20, ge=1 << 12, le=1 << 40)
    """A file of the journal that has grown so large is followed by another one."""
    journal_retention_bytes: int = Field(default=4 << 30, ge=0)
    """Files of the journal that no snapshot needs are removed, oldest first, when the journal is
    larger than this."""
    journal_retention_seconds: float = Field(default=7 * 86400.0, ge=0)
    """Files of the journal that no snapshot needs are removed when they are older than this."""
    snapshot_interval_seconds: float = Field(default=60.0, gt=0, le=86400)
    """A snapshot of all models is taken this often while batches arrive."""
    snapshot_journal_bytes: int = Field(default=256 << 20, ge=1 << 12)
    """A snapshot is taken earlier when the journal has grown by so much: it bounds what a start
    has to read."""
    workers: int = Field(default=0, ge=0, le=256)
    """Processes that hold the models, beside the one that receives: several sources and variants
    then use several cores. A source's variants need not be in the same one. 0 holds all models in
    the process that receives."""
    max_sources: int = Field(default=64, ge=1, le=4096)
    """The most sources held at once; a further one is refused."""
    max_live_handles: int = Field(default=20_000_000, ge=1)
    """The most things that a source may have allocated and not freed; a batch that could lead
    beyond is refused. One costs about 100 bytes of each model."""
    max_memory_bytes: int = Field(default=0, ge=0)
    """Resident memory at which the daemon stops itself, with exit code 3 and nothing lost. 0 is
    nine tenths of the memory of the machine, or of the control group."""
    max_batch_bytes: int = Field(default=MAX_BATCH_BYTES, ge=1 << 12, le=MAX_BATCH_BYTES)
    """The largest batch, in bytes; on a socket, a sender of a larger message is disconnected."""
    max_batch_events: int = Field(default=MAX_BATCH_EVENTS, ge=1, le=MAX_BATCH_EVENTS)
    """The most events in a batch; a batch with more is refused whole."""
    credit: int = Field(default=DEFAULT_CREDIT, ge=1, le=4096)
    """How many batches a source may send ahead of the last acknowledgement."""
    max_label_values: int = Field(default=200, ge=1, le=100_000)
    """The most values of a source, cache or phase label on /metrics, for each source and
    variant; the rest count under "other"."""
    http_certificate: Path | None = None
    """Certificate, with its chain, in PEM: HTTP is then served over TLS only."""
    http_key: Path | None = None
    """The certificate's private key, in PEM."""
    http_password_file: Path | None = None
    """File with one line USER:PASSWORD, readable by its owner only: HTTP requests must then carry
    it (basic authentication), but those for /healthz and /readyz."""
    http_workers: int = Field(default=8, ge=1, le=256)
    """HTTP connections served at once; a further one is closed at once."""
    http_timeout_seconds: float = Field(default=10.0, gt=0, le=3600)
    """How long one HTTP connection may take in all, from accepting it to the last byte."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log lines written to standard error."""
    log_format: Literal["text", "json"] = "text"
    """One log line as a person reads it (text) or as one JSON object (json)."""

    @field_validator("variants", mode="before")
    @classmethod
    def _split_variants(cls, value: object) -> object:
        return tuple(value.split(",")) if isinstance(value, str) else value

    @field_validator("variants")
    @classmethod
    def _known_variants(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            parse_variant(name)
        if len(set(value)) < len(value):
            raise ValueError(f"a variant is named twice: {', '.join(value)}")
        return value

    @field_validator("bind")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if separator and scheme == "ipc" and rest:
            return value
        if separator and scheme == "tcp":
            split_address(rest)
            return value
        raise ValueError("expected tcp://HOST:PORT or ipc://PATH")

    @field_validator("http")
    @classmethod
    def _address(cls, value: str) -> str:
        split_address(value)
        return value

    @model_validator(mode="after")
    def _loopback_unless_insecure(self) -> Settings:
        if self.insecure:
            return self
        if self.keys_dir is None and self.bind.startswith("tcp://"):
            _expect_loopback("bind", self.bind.removeprefix("tcp://"), "--keys-dir")
        if self.http_certificate is None or self.http_password_file is None:
            _expect_loopback("http", self.http, "--http-certificate and --http-password-file")
        return self

    @model_validator(mode="after")
    def _key_with_certificate(self) -> Settings:
        if (self.http_certificate is None) != (self.http_key is None):
            raise ValueError("--http-certificate and --http-key go together")
        return self

    @property
    def http_address(self) -> tuple[str, int]:
        """Host and port to serve HTTP on."""
        return split_address(self.http)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPV6]:PORT``; ValueError if it is neither."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"expected HOST:PORT, not {address!r}")
    if int(port) > MAX_PORT:
        raise ValueError(f"port {port} is above {MAX_PORT}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"expected brackets around an IPv6 address: [{host}]:{port}")
    return host, int(port)


def _expect_loopback(name: str, address: str, protection: str) -> None:
    host, _ = split_address(address)
    if not is_loopback(host):
        raise ValueError(
            f"{name} {address} can be reached from other machines and nothing protects it: use a"
            f" loopback address, protect it with {protection}, or allow it with --insecure"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``; a name other than localhost counts as no."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def flag_of(name: str) -> str:
    """The flag that gives the setting: ``--max-sources``; ``--variant`` is given repeatedly."""
    return "--variant" if name == "variants" else "--" + name.replace("_", "-")


def env_of(name: str) -> str:
    """The environment variable that gives the setting."""
    return ENV_PREFIX + name.upper()


def load_settings(flags: Mapping[str, object], config: Path | None = None) -> Settings:
    """Gather and validate the settings.

    ``flags`` holds only what was given on the command line. ``config`` None takes
    ``./pfmemd.toml`` if it is there; a file that is named must exist. Raises
    :class:`SettingsError` with one line for everything that is wrong.
    """
    path = config
    if path is None and DEFAULT_CONFIG.is_file():
        path = DEFAULT_CONFIG
    if path is not None:
        _check_toml(path)

    class Loaded(Settings):
        """The settings with the sources of this very call."""

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not a source here
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not a source here
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if path is None:
                return init_settings, env_settings
            toml = TomlConfigSettingsSource(settings_cls, toml_file=path)
            return init_settings, env_settings, toml

    values: dict[str, Any] = dict(flags)
    try:
        return Loaded(**values)
    except ValidationError as error:
        lines = [_explain(detail, flags, path) for detail in error.errors()]
        raise SettingsError("; ".join(lines)) from None


def unknown_environment() -> list[str]:
    """Names of ``PFMEMD_`` variables that set nothing: most likely misspelt."""
    known = {env_of(name) for name in Settings.model_fields} | {f"{ENV_PREFIX}CONFIG"}
    return sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)


def _check_toml(path: Path) -> None:
    try:
        with path.open("rb") as file:
            tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"cannot read settings from {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None


def _explain(detail: ErrorDetails, flags: Mapping[str, object], path: Path | None) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] != "value_error":  # pydantic's own words do not name the value
        message = f"{message[:1].lower()}{message[1:]}, got {detail['input']!r}"
    if not detail["loc"]:
        return message
    name = str(detail["loc"][0])
    if name not in Settings.model_fields:
        return f"{path}: there is no setting {name!r}; there are {', '.join(Settings.model_fields)}"
    if name in flags:
        origin = flag_of(name)
    elif any(env_of(name) == variable.upper() for variable in os.environ):
        origin = env_of(name)
    else:
        origin = f"{name} in {path}"
    return f"{origin}: {message}"
