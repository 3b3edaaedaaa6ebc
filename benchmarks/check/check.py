"""Hold the instructions that an event, a series or a line takes against what they were.

    python benchmarks/check/check.py [--update]

Runs each part over a fixed stream under valgrind's callgrind, and takes off what a run
without the part needs. Counts vary with the compiler and with Python's version, so the bound
is generous: it is there to catch a hot path that fell back to the interpreter, or work that is
done twice. The pfmemd that is installed beside this interpreter is measured; it must be
compiled (`make bench-check` sees to it). Exit code 1 is a part beyond its bound.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected.json"
WORK = HERE / "work.py"
BOUND = 1.4
"""So many times the expected instructions are let through."""
PARTS = {
    "slab-seed": "nothing",
    "slub-seed": "nothing",
    "check": "nothing",
    "decode-packed": "nothing",
    "decode-readable": "nothing",
    "journal": "nothing",
    "scrape": "scrape-ready",
    "import": "import-ready",
}
"""Each part, and the run without it."""


def instructions(part: str) -> tuple[int, int]:
    """Instructions of a whole run with ``part``, and how many events, series or lines it had."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [sys.executable, "-P", "-S", str(WORK), part]
    # Without -S the site module would be most of the run; so the path is handed on.
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return int(found[1]), int(done.stdout)


def main() -> None:
    """Count, compare, and say so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--update", action="store_true", help="take these counts as expected")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is needed: it counts the instructions")
    bases = {base: instructions(base) for base in dict.fromkeys(PARTS.values())}
    counted: dict[str, float] = {}
    for part, base in PARTS.items():
        total, units = instructions(part)
        ready, done = bases[base]
        counted[part] = round((total - ready) / (units - done), 1)
    if options.update:
        EXPECTED.write_text(json.dumps(counted, indent=2) + "\n", encoding="utf-8")
    expected: dict[str, float] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    bad = False
    for part, count in counted.items():
        ratio = count / expected[part]
        verdict = "ok" if ratio <= BOUND else f"TOO MANY, the bound is {BOUND}"
        bad |= ratio > BOUND
        print(f"{part:16} {count:8.1f} instructions, {ratio:.2f} of expected: {verdict}")
    sys.exit(bad)


if __name__ == "__main__":
    main()
