"""Wrong use of ``pfmemd soak`` is told in one line before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.cli import main


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["none.pfmt"], "none.pfmt is no file, and no scenario: there are "),
        (["gorman", "dry.pfmt", "none.pfmt"], "none.pfmt is no file"),
        (["none.toml"], "cannot read scenario none.toml"),
        (["gorman", "--set", "machine.wings=2"], "wings"),
        (["-"], "a soak plays its traces several times"),
        (["dry.pfmt", "--fail-on", "leek"], "there is no leek"),
        (["dry.pfmt", "--for", "soon"], "expected a time such as 30s"),
        (["dry.pfmt", "--for", "0h"], "expected a time such as 30s"),
        (["dry.pfmt", "--speed", "0x"], "expected a factor"),
        (["dry.pfmt", "--variant", "slob"], "slob"),
        (["dry.pfmt", "--key", "k"], "--key and --daemon-key go together"),
        (["dry.pfmt", "--key", "k", "--daemon-key", "d"], "--key is for a daemon"),
        (["dry.pfmt", "--baseline", "none.json"], "cannot read none.json"),
        (["dry.pfmt", "--connect", "tcp://127.0.0.1:1", "--http", "9571"], "expected HOST:PORT"),
        ([], "Missing argument"),
    ],
)
def test_wrong_use_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    why: str,
) -> None:
    """Exit code 2 and what was expected."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dry.pfmt").touch()

    with pytest.raises(SystemExit) as ended:
        main(["soak", *arguments], prog_name="pfmemd")

    said = capsys.readouterr().err
    assert 2 == ended.value.code
    assert why in said
    assert 1 == len(said.splitlines())
