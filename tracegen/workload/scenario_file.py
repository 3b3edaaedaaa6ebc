"""Scenario files: read, changed from the command line, validated.

A scenario that cannot be is refused with the line of the key that is to blame.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from allocator.config import ConfigError
from tracegen.workload.errors import ScenarioError
from tracegen.workload.scenario import Scenario
from tracegen.workload.source_lines import SourceLines

_FOLDER: Final = resources.files("tracegen.workload") / "scenarios"


def scenario_names() -> list[str]:
    """The built-in scenarios."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in _FOLDER.iterdir()
        if entry.name.endswith(".toml")
    )


def scenario_text(name: str) -> str:
    """The file of a built-in scenario; raises :class:`ScenarioError` if there is none."""
    if name not in scenario_names():
        raise ScenarioError(f"no scenario {name!r}; there are {', '.join(scenario_names())}")
    return (_FOLDER / f"{name}.toml").read_text("utf-8")


def read_scenario(name_or_path: str, changes: Mapping[str, object] | None = None) -> Scenario:
    """A built-in scenario by its name, or one from a file, with some keys changed.

    ``changes`` are dotted keys and their values: ``{"server.loss": 0.1, "load.0.passes": 2}``.
    Raises :class:`ScenarioError`.
    """
    if name_or_path in scenario_names():
        return parse_scenario(scenario_text(name_or_path), name_or_path, changes)
    try:
        text = Path(name_or_path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ScenarioError(
            f"cannot read scenario {name_or_path}: {reason};"
            f" built in are {', '.join(scenario_names())}"
        ) from error
    return parse_scenario(text, name_or_path, changes)


def parse_scenario(text: str, name: str, changes: Mapping[str, object] | None = None) -> Scenario:
    """The scenario in a TOML text; ``name`` is for errors.

    Raises :class:`ScenarioError` with the line and the reason.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: {error}") from error
    source = SourceLines(name, text, frozenset(changes or ()))
    for key, value in (changes or {}).items():
        _change(table, key, value)
    try:
        scenario = Scenario.model_validate(table).came_from(source)
        scenario.machine_config(memalloc_socks=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise source.blame(_keys_only(first["loc"]), _reason(first)) from error
    except ConfigError as error:
        raise source.blame(("machine",), f"cannot be: {error}") from error
    if scenario.reserve_pages * 2 > scenario.memory_pages:
        raise source.blame(
            ("machine", "min_free_kbytes"),
            f"makes a reserve of {scenario.reserve_pages} pages in a memory of"
            f" {scenario.memory_pages}, expected half of it at most",
        )
    return scenario


def _change(table: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key of a table; raises :class:`ScenarioError` if nothing is there to hold it."""
    *way, last = key.split(".")
    place: object = table
    for step in way:
        place = _inside(place, step, key)
    if isinstance(place, list):
        _inside(place, last, key)
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise ScenarioError(f"--set {key}: {'.'.join(way)} is no table")


def _inside(place: object, step: str, key: str) -> object:
    if isinstance(place, dict):
        return place.setdefault(step, {})
    if isinstance(place, list) and step.isdigit() and int(step) < len(place):
        return place[int(step)]
    raise ScenarioError(f"--set {key}: there is no {step}")


_KIND: Final = 2
"""Where pydantic puts the kind of a load into an error's path: load, number, KIND, key."""


def _keys_only(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The path of an error as the keys of the file."""
    if loc[:1] == ("load",) and len(loc) > _KIND:
        return (*loc[:_KIND], *loc[_KIND + 1 :])
    return loc


def _reason(error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    kind: str = error["type"]
    if kind == "extra_forbidden":
        return "is no key of a scenario"
    if kind == "missing":
        return "is missing"
    message: str = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = error["input"]
    return f"is {value!r}: {message}" if isinstance(value, str | int | float) else f"- {message}"
