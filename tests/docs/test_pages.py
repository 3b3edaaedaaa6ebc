"""Every command of every page runs, and prints what the page says that it prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, Example, examples, first_not_found, page_examples
from tests.docs.workshop import Warm, Workshop

GIVEN: dict[str, tuple[str, ...]] = {
    "docs/howto/soak.md": ("nbd.pfmt",),
    "README.md": ("trace.txt", "trace.pfmt"),
    "docs/IMPORT.md": ("trace.txt.xz", "part.txt", "before"),
}
"""What a page takes as the reader's own; here it is the packaged trace of a real machine."""

NOT_RUN = {
    r"^make\b": "what CI runs, or takes minutes",
    r"^perf\b|/sys/kernel/tracing": "a machine that may be traced",
    r"^pfmemd capture\b": "root, and a machine that may be traced",
    r"^pfmemd simulate gorman (--variant slub-unpatched --variant|--set machine.scale=1 )": (
        "minutes; benchmarks/ has the experiment"
    ),
    r"\bdocker compose\b": "a container engine; tests/e2e runs what is inside without one",
    r"-m venv|pip install": "the network; tests/packaging installs the wheel",
    r"^dmesg\b": "the log of whatever machine this is",
    r"^\.venv-dev/": "the tools of a checkout that `make` has been run in",
    r"conformance altered\.jsonl": "a recording altered by hand, as the page says",
}
"""Commands that are not run here, with the reason."""

FOLLOWS = "test_every_command_of_the_page"
PAGES_AT_ONCE = 3
WITH_COMMANDS = [page for page in PAGES if page_examples(page)]


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Runs every pfmemd of the pages."""
    server = Warm(tmp_path_factory.mktemp("warm"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    """The packaged trace, imported."""
    shop = Workshop(tmp_path_factory.mktemp("sample"), warm)
    done = shop.run_line(IMPORT)
    assert 0 == done.returncode, done.stderr
    return shop.folder / "nbd.pfmt"


IMPORT = next(each.command for each in page_examples("docs/PATCH.md"))


def reason_not_to_run(example: Example) -> str | None:
    """Why a command is not run; None if it is."""
    found = (reason for pattern, reason in NOT_RUN.items() if re.search(pattern, example.command))
    return next(found, None)


@pytest.fixture(scope="session")
def followed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    warm: Warm,
    sample: Path,
) -> Iterator[dict[str, Future[set[str]]]]:
    """Every chosen page while its commands are run; several at once, as most of them wait."""
    pages = [
        str(item.callspec.params["page"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == FOLLOWS
    ]
    folders = {page: tmp_path_factory.mktemp("page") for page in pages}
    with ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
        yield {page: pool.submit(follow, page, folders[page], warm, sample) for page in pages}


def follow(page: str, folder: Path, warm: Warm, sample: Path) -> set[str]:
    """Run the commands of a page in order; returns the programs that are not on this machine."""
    shop = Workshop(folder, warm)
    for name in GIVEN.get(page, ()):
        shop.give(name, sample)
    try:
        for example in page_examples(page):
            if reason_not_to_run(example) is None:
                shop.run(example)
    finally:
        shop.close()
    return shop.missing


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_every_command_of_the_page(page: str, followed: dict[str, Future[set[str]]]) -> None:
    """From the first to the last, in one folder, as a reader does it."""
    missing = followed[page].result()
    if missing:
        pytest.skip(f"ran, but for what needs {', '.join(sorted(missing))}")


def test_every_exception_is_one() -> None:
    """A reason why something is not run stands for a command that some page has."""
    every = [example.command for page in PAGES for example in page_examples(page)]

    unused = [p for p in NOT_RUN if not any(re.search(p, command) for command in every)]

    assert [] == unused
    assert set(GIVEN) <= set(WITH_COMMANDS)


def test_a_line_that_is_not_printed_is_noticed() -> None:
    """The check itself can fail: a wrong line, a wrong order, something left out in silence."""
    printed = ["one 1", "two", "three"]

    assert first_not_found(["one …", "two", "three"], printed) is None
    assert first_not_found(["...", "two", "..."], printed) is None
    assert "four" == first_not_found(["...", "four", "..."], printed)
    assert "one 1" == first_not_found(["...", "two", "...", "one 1"], printed)
    assert "three" == first_not_found(["one 1", "three"], printed)
    assert "(the end)" == first_not_found(["one 1", "two"], printed)


def test_commands_are_found_with_their_places() -> None:
    """Commands, continued ones too, and the lines below them, by the line of the page."""
    text = "# T\n\n```console\n$ one \\\n    more\nshown\n$ two\n```\n"

    first, second = examples("p.md", text)

    assert ("p.md:4", "one more", ["shown"]) == (first.place, first.command, first.lines)
    assert ("p.md:7", "two") == (second.place, second.command)
