"""The dashboard "Runbooks": the pages of ``runbooks/`` where Grafana's reader already is.

One panel per alert, so that an alert's ``runbook_url`` and a panel's link open
the page in the same Grafana, with nothing to look up in a repository.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dashboards.panels import RUNBOOKS_ROW, RUNBOOKS_UID, Dashboard, Panel, Row, text

RUNBOOKS: Final = Path(__file__).parent / "runbooks"
_LINE_CHARACTERS: Final = 150
"""What fits on a line of a full-width panel."""


def dashboard() -> Dashboard:
    """The dashboard of every page, in alphabetical order."""
    pages = sorted(RUNBOOKS.glob("*.md"))
    return Dashboard(
        uid=RUNBOOKS_UID,
        title="Runbooks",
        description="For each alert: what it means, what it does, how to find out, what to do.",
        rows=(Row(RUNBOOKS_ROW, tuple(_page(path) for path in pages)),),
        refresh="",
        tags=("pfmemd", "runbook"),
    )


def _page(path: Path) -> Panel:
    """A page without its heading, which the panel's title says."""
    heading, _, body = path.read_text(encoding="utf-8").partition("\n")
    if heading != f"# {path.stem}":
        raise ValueError(f"{path}: line 1 is {heading!r}, expected '# {path.stem}'")
    lines = sum(1 + len(line) // _LINE_CHARACTERS for line in body.splitlines())
    return text(
        path.stem,
        f"Runbook of the alert {path.stem}.",
        body.strip(),
        height=3 + lines,
    )
