"""Each alert has one page, in four parts, and Grafana shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboards import runbook_board


def pages() -> list[Path]:
    """The runbook pages."""
    return sorted(runbook_board.RUNBOOKS.glob("*.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_page_has_the_four_parts(page: Path) -> None:
    """Somebody woken at night finds the same four headings on every page, in one order."""
    headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert ["Meaning", "Impact", "Diagnosis", "Mitigation"] == headings


def test_every_page_is_a_panel() -> None:
    """The board has a panel for each page, titled as the alert and without the heading again."""
    (row,) = runbook_board.dashboard().rows

    assert [page.stem for page in pages()] == [panel.title for panel in row.panels]
    for panel, page in zip(row.panels, pages(), strict=True):
        body = page.read_text(encoding="utf-8").partition("\n")[2].strip()
        assert {"content": body, "mode": "markdown"} == panel.json["options"]


def test_wrong_heading_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page whose heading is not its file's name is named with what was expected."""
    (tmp_path / "SomeAlert.md").write_text("# Another\n")
    monkeypatch.setattr(runbook_board, "RUNBOOKS", tmp_path)

    with pytest.raises(ValueError, match="line 1 is '# Another', expected '# SomeAlert'"):
        runbook_board.dashboard()
