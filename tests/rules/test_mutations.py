"""Every rule trace can fail: the rule is taken out of a copy of the model, and it does.

``mutants.toml`` says what is changed and which traces must notice. All copies are run in
one process of its own, interpreted, each with its own modules.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tracegen.rule_trace.trace import RULES

pytestmark = pytest.mark.incompatible_with_mypyc  # it changes the model's sources

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
UNCHANGED = "unchanged"
TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Mutant:
    """A change to one file of the model, and the traces that must notice it."""

    name: str
    rule: str
    file: str
    edits: tuple[tuple[str, str], ...]
    traces: tuple[str, ...]


def read_mutants() -> list[Mutant]:
    """Read ``mutants.toml``."""
    table = tomllib.loads((HERE / "mutants.toml").read_text("utf-8"))
    return [
        Mutant(
            entry["name"],
            entry["rule"],
            entry["file"],
            tuple((old, new) for old, new in entry["edits"]),
            tuple(entry["traces"]),
        )
        for entry in table["mutant"]
    ]


MUTANTS = read_mutants()
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
TRACES = sorted(path.stem for path in HERE.glob("*.rule"))


def mutate(mutant: Mutant, package: Path) -> str:
    """Apply a mutant's edits to a copy of the model; return what is wrong with them."""
    path = package / mutant.file
    text = path.read_text("utf-8")
    for old, new in mutant.edits:
        if (count := text.count(old)) != 1:
            return f"{old!r} stands in allocator/{mutant.file} {count} times, expected once"
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        stale.unlink()
    return ""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return for each mutant, and for the unchanged model, what its traces said."""
    tmp_path = tmp_path_factory.mktemp("mutants")
    asked = []
    found = {}
    for mutant in [Mutant(UNCHANGED, "", "", (), tuple(TRACES)), *MUTANTS]:
        package = tmp_path / mutant.name / "allocator"
        shutil.copytree(ROOT / "allocator", package, ignore=shutil.ignore_patterns("*.so"))
        wrong = mutate(mutant, package) if mutant.edits else ""
        if wrong:
            found[mutant.name] = [f"broken: {wrong}"]
        else:
            traces = [str(HERE / f"{trace}.rule") for trace in mutant.traces]
            asked.append({"name": mutant.name, "path": str(package.parent), "traces": traces})
    done = subprocess.run(
        [sys.executable, str(HERE / "run_mutants.py")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return {**found, **json.loads(done.stdout)}


def test_the_unchanged_model_passes(results: dict[str, list[str]]) -> None:
    """Every trace holds for the copy in which nothing was changed."""
    assert [] == results[UNCHANGED]


@pytest.mark.parametrize("name", BY_NAME)
def test_a_mutant_is_noticed(name: str, results: dict[str, list[str]]) -> None:
    """Each trace that is named for a mutant differs, by an answer and not by a crash."""
    told = results[name]

    assert [] == [line for line in told if line.startswith(("broken", "crash"))]
    silent = [
        trace
        for trace in BY_NAME[name].traces
        if not any(line.startswith(f"{trace}.rule ") for line in told)
    ]
    assert [] == silent


def test_every_rule_has_a_mutant() -> None:
    """No rule is shown by traces that nothing proves able to fail."""
    assert set(RULES) == {mutant.rule for mutant in MUTANTS}


def test_every_trace_notices_a_mutant() -> None:
    """No trace is there that has never been seen to fail."""
    assert TRACES == sorted({trace for mutant in MUTANTS for trace in mutant.traces})
