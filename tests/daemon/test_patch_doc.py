"""docs/PATCH.md claims nothing without the command that shows it."""

from __future__ import annotations

import re

from allocator.leak import LEAK_WAYS
from tests.docs.pages import ROOT, page_examples

TEXT = (ROOT / "docs" / "PATCH.md").read_text("utf-8")


def test_every_command_shows_something() -> None:
    """Below each but the first, which makes the trace, stands what it prints."""
    silent = [
        each.place for each in page_examples("docs/PATCH.md")[1:] if set(each.lines) <= {"..."}
    ]

    assert [] == silent


def test_page_has_a_command_below_every_claim() -> None:
    """No section of the page that quotes the mail is without one."""
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)

    quoting = [section for section in sections if section.startswith('"')]

    assert 6 == len(quoting)
    for section in quoting:
        assert "$ pfmemd " in section


def test_page_names_every_way_with_its_trace() -> None:
    """The table has each way of the model, and the rule trace that shows it."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| (.*) \|$", TEXT, re.MULTILINE)

    assert set(LEAK_WAYS) == {way for way, _ in rows}
    for way, shown in rows:
        found = re.fullmatch(r"\[(\S+\.rule)\]\(\.\./tests/rules/\1\)", shown)
        if found is None:
            assert "the 6.1 vectors" == shown
            continue
        text = (ROOT / "tests" / "rules" / found[1]).read_text("utf-8")
        assert re.search(rf"^leak +.*\b{way}\b", text, re.MULTILINE)
