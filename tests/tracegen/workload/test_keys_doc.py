"""docs/SCENARIOS.md is what the tables say."""

from __future__ import annotations

from pathlib import Path

from tracegen.workload.keys_doc import keys_text

DOC = Path(__file__).parents[3] / "docs" / "SCENARIOS.md"


def test_the_document_is_current() -> None:
    """``python -m tracegen.workload.keys_doc > docs/SCENARIOS.md`` changes nothing."""
    assert DOC.read_text("utf-8") == keys_text()


def test_every_key_has_a_meaning() -> None:
    """No row of the tables is without a text."""
    rows = [line for line in keys_text().splitlines() if line.startswith("| `")]

    assert 70 < len(rows)
    assert [] == [row for row in rows if not row.rsplit("|", 2)[1].strip()]
