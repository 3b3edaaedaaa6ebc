"""The README's table of seven kernels is what the models say of the sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon.cli import main
from tracegen.samples import import_arguments

README = Path(__file__).parents[2] / "README.md"
HEAD = "| | slub-unpatched |"
ROWS = {
    "denied": "denied",
    "stalled": "stalled",
    "fewest free pages of DMA32": "lowest_free.node0.DMA32",
    "allocations from the reserve": "pfmemalloc_marks",
    "reserve objects that others got": "leaks",
    "slabs of the reserve": "pfmemalloc_slabs",
    "pages in slabs": "slab_pages",
}
"""How a row begins, and the number of pfmemd compare that it has."""


def table() -> list[list[str]]:
    """The cells of the table, row by row."""
    rows: list[list[str]] = []
    for line in README.read_text().splitlines():
        if line.startswith(HEAD) or (rows and line.startswith("|")):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What pfmemd compare says of each of its columns."""
    trace = str(tmp_path_factory.mktemp("readme") / "nbd.pfmt")
    variants = [word for name in table()[0][1:] for word in ("--variant", name)]
    runner = CliRunner()
    assert 0 == runner.invoke(main, ["import", *import_arguments(), "-o", trace]).exit_code
    compared = runner.invoke(main, ["compare", trace, *variants, "--json"])
    found: dict[str, dict[str, int]] = json.loads(compared.stdout)["sources"]["nbd-swap"]["numbers"]
    return found


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_the_numbers_of_a_comparison(
    row: str, numbers: dict[str, dict[str, int]]
) -> None:
    """One for each kernel."""
    head, _, *rows = table()
    (cells,) = [cells for cells in rows if cells[0].startswith(row)]

    assert cells[1:] == [str(numbers[variant][ROWS[row]]) for variant in head[1:]]
    assert len(ROWS) == len(rows)
