"""The commands of the docs' pages, and what the pages say that they print."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("dashboards/**/*.md"),
        *ROOT.glob("benchmarks/**/*.md"),
    )
)
"""Every page that somebody may read a command from."""

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = "$ "
_LEFT_OUT = "..."
_SOMETHING = "…"
"""Within a line: whatever is there at this run."""


@dataclass(slots=True)
class Example:
    """A command of a page, and the lines that the page says it prints."""

    page: str
    number: int
    """The line it stands on."""
    command: str
    lines: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Where it stands, as editors open it."""
        return f"{self.page}:{self.number}"


def examples(page: str, text: str) -> list[Example]:
    r"""Every command of the page, in order; a ``\`` at the end of a line goes on in the next."""
    found: list[Example] = []
    for block in _BLOCK.finditer(text):
        number = text.count("\n", 0, block.start(1))
        for line in block[1].splitlines():
            number += 1
            if found and found[-1].command.endswith("\\"):
                found[-1].command = f"{found[-1].command[:-1].rstrip()} {line.strip()}"
            elif line.startswith(_PROMPT):
                found.append(Example(page, number, line.removeprefix(_PROMPT)))
            else:
                found[-1].lines.append(line)
    return found


def page_examples(page: str) -> list[Example]:
    """Every command of a page of the checkout."""
    return examples(page, (ROOT / page).read_text("utf-8"))


def matches(expected: str, line: str) -> bool:
    """Whether a printed line is the page's; how wide a table's columns are does not matter."""
    words = " ".join(expected.split())
    pattern = ".*".join(re.escape(part) for part in words.split(_SOMETHING))
    return re.fullmatch(pattern, " ".join(line.split())) is not None


def first_not_found(expected: list[str], printed: list[str]) -> str | None:
    """The first line of the page that is not printed where it should be; None if all are.

    Lines follow one another as on the page; ``...`` stands for any number of others.
    """
    at = 0
    free = False
    for line in expected:
        if line.strip() == _LEFT_OUT:
            free = True
            continue
        while at < len(printed) and free and not matches(line, printed[at]):
            at += 1
        if at == len(printed) or not matches(line, printed[at]):
            return line
        at += 1
        free = False
    return None if free or at == len(printed) else "(the end)"
