"""docs/README.md leads to every page."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
LINKED = {
    (DOCS / target.partition("#")[0]).resolve()
    for target in re.findall(r"\]\(([^)]+)\)", (DOCS / "README.md").read_text("utf-8"))
    if "://" not in target
}


def test_every_page_is_listed() -> None:
    """Whoever writes a page says on the index what it is for."""
    pages = {path.resolve() for path in DOCS.rglob("*.md")} - {(DOCS / "README.md").resolve()}

    assert set() == pages - LINKED
