"""Write the dashboards as JSON: ``python -m dashboards.build [--check]``.

The JSON is committed, so that Grafana is provisioned from a checkout without
Python; ``--check`` says whether it is what the code makes now.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from dashboards import denied, ingest, real_host, reserve, runbook_board, slab_slub, variants
from dashboards.panels import Dashboard, to_json

OUTPUT: Final = Path(__file__).parent / "grafana" / "dashboards"

DASHBOARDS: Final[dict[str, Callable[[], Dashboard]]] = {
    "reserve.json": reserve.dashboard,
    "denied.json": denied.dashboard,
    "slab-slub.json": slab_slub.dashboard,
    "variants.json": variants.dashboard,
    "ingest.json": ingest.dashboard,
    "real-host.json": real_host.dashboard,
    "runbooks.json": runbook_board.dashboard,
}
"""File name to what makes it. A file of the folder that is not here is left over."""


def stale(folder: Path = OUTPUT) -> list[str]:
    """What is wrong with the folder's JSON, one line a file; empty when it is current."""
    complaints = []
    for name, make in DASHBOARDS.items():
        path = folder / name
        if not path.exists():
            complaints.append(f"{path} is missing")
        elif path.read_text(encoding="utf-8") != to_json(make()):
            complaints.append(f"{path} is not what the code makes now")
    complaints.extend(
        f"{path} is made by no dashboard"
        for path in sorted(folder.glob("*.json"))
        if path.name not in DASHBOARDS
    )
    return complaints


def write(folder: Path = OUTPUT) -> list[Path]:
    """Write every dashboard and remove what none makes; returns the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        if path.name not in DASHBOARDS:
            path.unlink()
    written = []
    for name, make in DASHBOARDS.items():
        path = folder / name
        path.write_text(to_json(make()), encoding="utf-8")
        written.append(path)
    return written


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file is not current.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=OUTPUT,
    show_default="the package's own folder",
    help="Folder of the JSON files.",
)
@click.pass_context
def main(context: click.Context, check: bool, output: Path) -> None:
    """Write the Grafana dashboards as JSON, or check that they are current."""
    if not check:
        for path in write(output):
            click.echo(path)
        return
    complaints = stale(output)
    for complaint in complaints:
        click.echo(complaint, err=True)
    if complaints:
        click.echo("python -m dashboards.build writes them anew", err=True)
        context.exit(1)


if __name__ == "__main__":
    main()
