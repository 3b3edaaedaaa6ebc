"""No input gets more out of a reader than a refusal.

The corpus holds what was written by hand, what once went wrong, and what a fuzzer found to
reach code that nothing else reaches. ``make fuzz`` looks for more.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog

from tests.fuzz.targets import TARGETS

CORPUS: Final = Path(__file__).parent / "corpus"
ROOT: Final = Path(__file__).parents[2]
RUNS: Final = {
    "batch": 10_000,
    "message": 20_000,
    "sessions": 500,
    "sender": 3_000,
    "journal": 2_000,
    "snapshot": 1_000,
    "ftrace": 600,
}
"""About a second of each."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is refused is logged, a thousand times."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def inputs(target: str) -> list[Path]:
    """The corpus of a target."""
    return sorted((CORPUS / target).iterdir())


@pytest.mark.parametrize("target", TARGETS)
def test_corpus_is_taken_or_refused(target: str) -> None:
    """Every input of the corpus, without a fuzzer."""
    found = inputs(target)
    assert found
    for path in found:
        try:
            TARGETS[target](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.name}: {error}") from error


@pytest.mark.parametrize("target", TARGETS)
def test_fuzzer_finds_nothing(target: str, tmp_path: Path) -> None:
    """A short run from the corpus on, the same in every run; the input that fails is shown."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("no atheris for this Python or machine: it is a wheel for Linux on x86-64")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz", target, tmp_path / "found"),
            *(f"-runs={RUNS[target]}", "-seed=1"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    failing = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert (0, []) == (done.returncode, failing), done.stderr[-3000:]
