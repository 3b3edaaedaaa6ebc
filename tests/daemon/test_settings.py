"""Settings: one precedence, one validated object, errors that name the culprit."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.settings import Settings, SettingsError, load_settings, unknown_environment
from daemon.settings_doc import settings_markdown

DOCS = Path(__file__).parents[2] / "docs" / "SETTINGS.md"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_bind_to_loopback() -> None:
    """Without any input the daemon listens on loopback and runs both allocators at seed."""
    settings = load_settings({})

    assert settings.bind == "tcp://127.0.0.1:5571"
    assert settings.http_address == ("127.0.0.1", 9571)
    assert settings.variants == ("slab-seed", "slub-seed")


@pytest.mark.parametrize(
    ("flag", "env", "toml", "expected"),
    [
        (1, "2", 3, 1),
        (1, "2", None, 1),
        (1, None, 3, 1),
        (None, "2", 3, 2),
        (None, "2", None, 2),
        (None, None, 3, 3),
        (None, None, None, Settings.model_fields["credit"].default),
    ],
)
def test_precedence(
    monkeypatch: pytest.MonkeyPatch,
    flag: int | None,
    env: str | None,
    toml: int | None,
    expected: int,
) -> None:
    """A flag beats the environment, which beats the TOML file, which beats the default."""
    if env is not None:
        monkeypatch.setenv("PFMEMD_CREDIT", env)
    if toml is not None:
        Path("pfmemd.toml").write_text(f"credit = {toml}\n")

    settings = load_settings({} if flag is None else {"credit": flag})

    assert expected == settings.credit


def test_named_config_replaces_the_default_file(tmp_path: Path) -> None:
    """A file given with --config is read instead of ./pfmemd.toml."""
    Path("pfmemd.toml").write_text("credit = 3\n")
    other = tmp_path / "other.toml"
    other.write_text("max_sources = 5\n")

    settings = load_settings({}, other)

    assert (Settings.model_fields["credit"].default, 5) == (settings.credit, settings.max_sources)


def test_variants_in_the_environment_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PFMEMD_VARIANTS takes several names in one string."""
    monkeypatch.setenv("PFMEMD_VARIANTS", "slub-v3.6,slab-unpatched")

    assert load_settings({}).variants == ("slub-v3.6", "slab-unpatched")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"bind": "tcp://0.0.0.0:5571"}, "--insecure"),
        ({"bind": "tcp://*:5571"}, "--insecure"),
        ({"http": "10.1.2.3:9571"}, "--insecure"),
        ({"http": "[::]:9571"}, "--insecure"),
        ({"http": "build-host:9571"}, "--insecure"),
        ({"http": "9571"}, "--http: expected HOST:PORT, not '9571'"),
        ({"http": "127.0.0.1:65536"}, "--http: port 65536 is above 65535"),
        ({"http": "::1:9571"}, "--http: expected brackets"),
        ({"bind": "udp://127.0.0.1:1"}, "--bind: expected tcp://HOST:PORT or ipc://PATH"),
        ({"variants": ("slab-4.0",)}, "--variant: no variant 'slab-4.0'; there are slab-unpatched"),
        ({"variants": ("slab-seed", "slab-seed")}, "--variant: a variant is named twice"),
        ({"variants": ()}, "--variant: "),
        ({"max_sources": 0}, "--max-sources: input should be greater than or equal to 1, got 0"),
        ({"max_batch_bytes": 1 << 30}, "--max-batch-bytes: "),
        ({"log_level": "loud"}, "--log-level: input should be 'debug', 'info', 'warning'"),
    ],
)
def test_impossible_flag_is_refused(flags: dict[str, object], expected: str) -> None:
    """The one line names the flag, what is wrong, and what would be right."""
    with pytest.raises(SettingsError) as caught:
        load_settings(flags)

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:9571", "localhost:80"])
def test_loopback_addresses_are_allowed(address: str) -> None:
    """Anything that only this machine reaches needs no permission."""
    assert load_settings({"http": address}).http == address


def test_insecure_allows_every_address() -> None:
    """--insecure is the explicit permission to be reached from elsewhere."""
    settings = load_settings({"insecure": True, "bind": "tcp://0.0.0.0:1", "http": "0.0.0.0:2"})

    assert settings.http_address == ("0.0.0.0", 2)  # noqa: S104 - that is the point


def test_keys_allow_every_address_for_senders() -> None:
    """With keys, strangers get no further than the handshake."""
    settings = load_settings({"bind": "tcp://0.0.0.0:1", "keys_dir": "/keys"})

    assert "tcp://0.0.0.0:1" == settings.bind
    with pytest.raises(SettingsError, match="--http-certificate and --http-password-file"):
        load_settings({"http": "0.0.0.0:2", "keys_dir": "/keys"})


def test_certificate_and_password_allow_every_address_for_readers() -> None:
    """Both are needed: one without the other gives the password or the numbers away."""
    protection = {
        "http_certificate": "/c.pem",
        "http_key": "/k.pem",
        "http_password_file": "/password",
    }
    settings = load_settings({"http": "0.0.0.0:2", **protection})

    assert ("0.0.0.0", 2) == settings.http_address  # noqa: S104 - that is the point
    del protection["http_password_file"]
    with pytest.raises(SettingsError, match="nothing protects it"):
        load_settings({"http": "0.0.0.0:2", **protection})


def test_certificate_needs_its_key() -> None:
    """One alone is a mistake."""
    with pytest.raises(SettingsError, match="go together"):
        load_settings({"http_certificate": "/c.pem"})


def test_error_names_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad value is put down to the place it came from."""
    monkeypatch.setenv("PFMEMD_CREDIT", "many")

    with pytest.raises(SettingsError, match=r"^PFMEMD_CREDIT: .*got 'many'$"):
        load_settings({})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("credit = 0\n", "credit in pfmemd.toml: input should be"),
        ("credti = 1\n", "pfmemd.toml: there is no setting 'credti'; there are bind, http"),
        ("credit = \n", "pfmemd.toml is not TOML: "),
        ("\xff", "pfmemd.toml is not TOML: "),
    ],
)
def test_bad_toml_is_refused(text: str, expected: str) -> None:
    """A broken file, a misspelt name and a bad value are told apart, with the file's name."""
    Path("pfmemd.toml").write_text(text, encoding="latin-1")

    with pytest.raises(SettingsError) as caught:
        load_settings({})

    assert expected in str(caught.value)


def test_named_config_must_exist() -> None:
    """A settings file that was asked for and is not there is an error."""
    with pytest.raises(SettingsError, match=r"cannot read settings from .*: No such file"):
        load_settings({}, Path("absent.toml"))


def test_misspelt_environment_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PFMEMD_ variable that sets nothing is named; those that do are not."""
    monkeypatch.setenv("PFMEMD_CREDTI", "1")
    monkeypatch.setenv("PFMEMD_CREDIT", "1")
    monkeypatch.setenv("PFMEMD_CONFIG", "x")

    assert unknown_environment() == ["PFMEMD_CREDTI"]


def test_settings_cannot_be_changed() -> None:
    """What was validated stays as it is."""
    settings = load_settings({})

    with pytest.raises(ValueError, match="frozen"):
        settings.credit = 5


def test_docs_are_current() -> None:
    """docs/SETTINGS.md is what ``python -m daemon.settings_doc`` writes."""
    assert settings_markdown() == DOCS.read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    """Each setting carries a sentence that says what it does."""
    description = Settings.model_fields[name].description

    assert description is not None
    assert description.endswith(".")
