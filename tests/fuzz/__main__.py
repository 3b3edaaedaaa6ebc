"""``python -m tests.fuzz TARGET FOLDER [libFuzzer's options]``: look for inputs that break it.

Inputs that reach new code are put into FOLDER, and those of the corpus are begun from. With
``-max_total_time=60`` it stops after a minute; a failing input is left in the current folder.
``make fuzz`` does so for every target.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Final

try:
    import atheris
except ImportError:
    sys.exit("there is no atheris: it is a wheel for Linux on x86-64, Python 3.11 to 3.14")

CORPUS: Final = Path(__file__).parent / "corpus"


def main() -> None:
    """Fuzz one target."""
    name, found = sys.argv[1:3]
    Path(found).mkdir(parents=True, exist_ok=True)
    quiet = redirect_stderr(StringIO())  # a line for each module
    with quiet, atheris.instrument_imports(include=["daemon", "tracegen"]):
        import structlog  # noqa: PLC0415 - imports are instrumented here

        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - the same

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    arguments = [sys.argv[0], *sys.argv[3:], found, str(CORPUS / name)]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
