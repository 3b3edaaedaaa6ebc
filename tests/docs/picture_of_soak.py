"""Draws docs/img/soak-report*.png: ``python -m tests.docs.picture_of_soak``; takes a minute.

A soak of the packaged trace is run twice, so that there is a run to compare with, and its report
is drawn by Chromium (Debian package ``chromium``): wide and light, and as on a phone in the dark.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.e2e.programs import PFMEMD, Processes
from tracegen import samples

IMAGES = Path(__file__).parents[2] / "docs" / "img"
VARIANTS = ("slab-seed", "slub-seed", "slub-v6.1")
FAIL_ON = "reserve-exhausted,leak,hang,denied>500,reserve<20%"
SOAK_FAILED = 1
LIGHT, DARK = 1, 0
"""Values of Blink's setting preferredColorScheme."""


def picture(page: Path, output: Path, width: int, height: int, scheme: int) -> None:
    """Draw one page."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-background-networking", "--hide-scrollbars"),
                f"--user-data-dir={profile}",
                f"--blink-settings=preferredColorScheme={scheme}",
                f"--window-size={width},{height}",
                f"--screenshot={output}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )


def main() -> None:
    """Run it all and write the pictures."""
    with tempfile.TemporaryDirectory() as name, Processes(Path(name)) as processes:
        trace = processes.folder / "nbd-swap.pfmt"
        processes.pfmemd("import", *samples.import_arguments(), "-o", trace)
        flags = [word for variant in VARIANTS for word in ("--variant", variant)]
        out = processes.folder / "report"
        for plays in ("1", "2"):
            command = [
                *(*PFMEMD, "soak", trace.name, "--plays", plays, "--speed", "0.3x"),
                *("--interval", "0.2", "--fail-on", FAIL_ON, "--out", out.name, *flags),
            ]
            done = subprocess.run(command, cwd=processes.folder, check=False)
            assert SOAK_FAILED == done.returncode
        picture(out / "report.html", IMAGES / "soak-report.png", 1100, 2000, LIGHT)
        picture(out / "report.html", IMAGES / "soak-report-phone.png", 500, 1500, DARK)


if __name__ == "__main__":
    main()
