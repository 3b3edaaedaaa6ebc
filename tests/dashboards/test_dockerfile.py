"""The image is built from pinned parts, carries no compiler, and does not run as root."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

from tracegen import samples

CHECKOUT = Path(__file__).parents[2]
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text("utf-8")


def test_hadolint_has_nothing_to_say(hadolint: Callable[..., str]) -> None:
    """The linter of Dockerfiles, which reads the shell in them too, finds nothing."""
    hadolint(CHECKOUT / "Dockerfile")


def test_base_images_are_one_pinned_python() -> None:
    """The model runs on the very Python that it was compiled for, one that the project supports."""
    versions = re.findall(r"^FROM python:(\d+\.\d+\.\d+)(?:-slim)?-\w+", DOCKERFILE, re.MULTILINE)
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        supported = tomllib.load(file)["project"]["classifiers"]

    assert len(versions) == DOCKERFILE.count("\nFROM ") == 2
    assert 1 == len(set(versions))
    minor = versions[0].rpartition(".")[0]
    assert f"Programming Language :: Python :: {minor}" in supported


def test_model_is_compiled_and_that_is_checked() -> None:
    """The build compiles the model and stops if the result is not compiled."""
    builder, _, final = DOCKERFILE.rpartition("\nFROM ")

    assert "HATCH_BUILD_HOOKS_ENABLE=1" in builder
    assert "assert allocator.COMPILED" in builder
    assert "pip" not in final


def test_sample_is_imported_as_everywhere() -> None:
    """The trace that the image carries is imported as the demo and the tests import it."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    (line,) = re.findall(r"pfmemd import (.+) -o /opt/pfmemd/share/nbd-swap.pfmt", joined)

    assert [
        word.replace(f"{samples.FOLDER}/", "tracegen/samples/")
        for word in samples.import_arguments()
    ] == shlex.split(line)


def test_image_runs_as_a_numbered_user() -> None:
    """The user is a number above 0, the same as in docker-compose.yml."""
    assert "\nUSER 10001:10001\n" in DOCKERFILE
    assert 'user: "10001:10001"' in (CHECKOUT / "docker-compose.yml").read_text("utf-8")


def test_builder_gets_what_it_copies() -> None:
    """Each path that the Dockerfile copies is let through by .dockerignore, and no other is."""
    copied = {
        path.rstrip("/")
        for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE)
        for path in line.split()[:-1]
    }
    ignore = (CHECKOUT / ".dockerignore").read_text("utf-8").splitlines()
    let_through = {line[1:].rstrip("/") for line in ignore if line.startswith("!")}

    assert copied == let_through
    assert "*" in ignore
