"""What is in the wheel: the four packages, whole, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("allocator", "tracegen", "daemon", "dashboards")
LITTER = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", ".*")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel from a copy of the checkout, without the network."""
    copy = tmp_path_factory.mktemp("checkout")
    for room in ROOMS:
        shutil.copytree(ROOT / room, copy / room, ignore=LITTER)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel"], cwd=copy, check=True
    )
    (path,) = (copy / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_file_of_the_rooms_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    """Modules, typing markers, samples, dashboards and rules: what is in a room is shipped."""
    expected = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    }
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert expected == shipped


@pytest.mark.parametrize("room", ROOMS)
def test_types_are_shipped(wheel: zipfile.ZipFile, room: str) -> None:
    """Each package tells type checkers that it is typed (PEP 561)."""
    assert f"{room}/py.typed" in wheel.namelist()


def test_the_wheel_is_plain_python_unless_asked(wheel: zipfile.ZipFile) -> None:
    """Without the build hook the wheel runs on any supported Python and machine."""
    assert wheel.filename is not None
    assert wheel.filename.endswith("-py3-none-any.whl")


def test_the_command_and_the_licence_are_declared(wheel: zipfile.ZipFile) -> None:
    """The wheel installs ``pfmemd`` and names and carries the licence."""
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = HeaderParser().parsestr(wheel.read(f"{info}/METADATA").decode())
    commands = wheel.read(f"{info}/entry_points.txt").decode()

    assert "GPL-2.0-only" == metadata["License-Expression"]
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert "pfmemd = daemon.cli:main" in commands
