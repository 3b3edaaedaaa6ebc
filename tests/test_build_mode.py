"""The model under test is the build that was meant to be tested.

A checkout on the path shadows an installed, compiled model without a word; so each run
says in EXPECT_COMPILED what it means to test.
"""

from __future__ import annotations

import importlib
import os
import pkgutil

import pytest

import allocator
from tracegen.kernel_trace import importer

EXPECTED = os.environ.get("EXPECT_COMPILED")


BESIDE_THE_MODEL = ("tracegen.row_packing",)
"""What is compiled with it, see pyproject.toml."""


def model_modules() -> list[str]:
    """Return the name of every module of the model but ``allocator`` itself."""
    return sorted(
        module.name for module in pkgutil.walk_packages(allocator.__path__, prefix="allocator.")
    )


@pytest.mark.skipif(EXPECTED is None, reason="EXPECT_COMPILED is not set: any build will do")
@pytest.mark.parametrize("name", [*model_modules(), *BESIDE_THE_MODEL])
def test_the_model_runs_in_the_mode_that_was_asked_for(name: str) -> None:
    """These are native code if and only if EXPECT_COMPILED is 1: the model, and those beside it."""
    path = importlib.import_module(name).__file__

    assert path is not None
    assert EXPECTED == ("1" if path.endswith(".so") else "0"), path


def test_compiled_says_what_the_modules_are() -> None:
    """``allocator.COMPILED`` is what the modules' own files say."""
    modules = [importlib.import_module(name) for name in model_modules()]
    native = {(module.__file__ or "").endswith(".so") for module in modules}

    assert {allocator.COMPILED} == native


def test_the_imports_hot_part_is_compiled_with_the_model() -> None:
    """One build makes both, or neither."""
    assert allocator.COMPILED == importer.COMPILED
