"""The repository keeps its own rules: imports, sizes, names, and no litter."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("allocator", "tracegen", "daemon", "dashboards")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "allocator": ("allocator",),
    "tracegen": ("tracegen", "allocator"),
    "daemon": ("daemon", "tracegen", "allocator"),
    "dashboards": ("dashboards", "daemon.metric_table"),
}
"""What of ours each room may import: the direction in which the house is built."""

IMPURE = {
    *("asyncio", "datetime", "logging", "multiprocessing", "os", "pathlib", "random", "secrets"),
    *("select", "signal", "socket", "subprocess", "sys", "tempfile", "threading", "time"),
    *("prometheus_client", "structlog", "zmq", "msgpack", "zstandard", "click", "rich"),
    *("librt.random", "librt.threading", "librt.time"),
}
"""I/O, clocks, randomness and threads: the model has none of them."""

MAX_FUNCTION_LINES = 80
LONG_FUNCTIONS: dict[str, str] = {
    "allocator/linux3/page_alloc.py:_alloc_pages_slowpath": (
        "is read side by side with the kernel's own, which is one loop with as many exits"
    ),
}
"""Functions over the limit, each with the reason why it is not split."""

FORBIDDEN = re.compile(
    r"""
    /(?:home|root|work|workspace|Users)/\w    # somebody's own folder
    | --(?:extra-)?index-url | --find-links    # where one machine gets its packages
    | ://[^/\s]+/simple\b
    | \bTODO\b | \bFIXME\b | \bXXX\b
    """,
    re.VERBOSE,
)
"""Places that exist on one machine only, and work left lying about."""


def sources(*rooms: str) -> list[Path]:
    """Return every Python file below the named folders of the checkout."""
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    """Return a path as the test ids and messages show it."""
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything that a file imports, at any depth."""
    package = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{stem}.{alias.name}"


def is_within(name: str, module: str) -> bool:
    """Tell whether a dotted name is a module or something inside it."""
    return name == module or name.startswith(module + ".")


def tracked_files() -> list[Path]:
    """Return the files that git tracks, or skip: an unpacked release has no list of them."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout: there is no list of the repository's own files")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room: str) -> None:
    """A room imports of ours only what stands below it."""
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for path in sources(room)
        for line, name in imports(path)
        if name.split(".")[0] in {*ROOMS, "tests", "benchmarks"}
        and not any(is_within(name, allowed) for allowed in MAY_IMPORT[room])
    ]

    assert [] == wrong


def test_the_model_is_pure() -> None:
    """The model imports no I/O, clock, randomness, thread, log or metric library."""
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for path in sources("allocator")
        for line, name in imports(path)
        if any(is_within(name, module) for module in IMPURE)
    ]

    assert [] == wrong


def test_the_names_of_the_metrics_come_without_a_metrics_library() -> None:
    """``daemon.metric_table`` imports nothing that dashboards should not need."""
    wrong = [
        name
        for _, name in imports(ROOT / "daemon" / "metric_table.py")
        if any(is_within(name, module) for module in ("prometheus_client", "zmq", "structlog"))
    ]

    assert [] == wrong


def test_every_module_says_what_it_is_for() -> None:
    """Every Python file opens with a docstring."""
    silent = [
        name_of(path)
        for path in sources(*ROOMS, "tests", "benchmarks")
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]

    assert [] == silent


def test_every_test_states_the_behaviour_it_holds() -> None:
    """Every test function has a docstring."""
    silent = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in sources("tests")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert [] == silent


def test_functions_stay_short_enough_to_read() -> None:
    """No function is longer than the limit, but those named above with a reason."""
    too_long = {
        f"{name_of(path)}:{node.name}"
        for path in sources(*ROOMS, "tests", "benchmarks")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MAX_FUNCTION_LINES
    }

    assert set(LONG_FUNCTIONS) == too_long


def test_no_compiled_code_lies_in_the_rooms() -> None:
    """A .so beside a .py would hide every later edit of the .py."""
    litter = [name_of(path) for room in ROOMS for path in (ROOT / room).rglob("*.so")]
    litter += [name_of(path) for path in ROOT.glob("*.so")]

    assert [] == litter


def test_the_repository_speaks_of_itself_alone() -> None:
    """No tracked text names a place on one machine, a package host, or unfinished work."""
    found = []
    for path in tracked_files():
        if path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a binary file: traces, pictures
        found += [
            f"{name_of(path)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if FORBIDDEN.search(line)
        ]

    assert [] == found


def test_links_between_the_documents_lead_somewhere() -> None:
    """Every relative link in a Markdown file names a file that is there."""
    broken = [
        f"{name_of(path)}: {target}"
        for path in tracked_files()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text("utf-8"))
        if "://" not in target and not (path.parent / target).exists()
    ]

    assert [] == broken


def test_no_large_file_is_tracked() -> None:
    """A file over 4 MiB in git stays in every clone for ever."""
    large = [name_of(path) for path in tracked_files() if path.stat().st_size > 4 << 20]

    assert [] == large
