"""The version of the installed distribution."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """The version of pfmemd, or ``0+unknown`` where it runs without having been installed."""
    try:
        return version("pfmemd")
    except PackageNotFoundError:
        return "0+unknown"
