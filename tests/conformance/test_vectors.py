"""The model is the kernel: every vector file, every op, every digest.

One test per file. The answers are those of the kernel's own C code, described in
``vectors/README.md`` and ``vectors-6.1/README.md``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.revision import REVISIONS
from tracegen.conformance import report
from tracegen.conformance.runner import Status, run_file
from tracegen.conformance.vector_file import VectorFile

HERE = Path(__file__).resolve().parent
FILES = sorted(HERE.rglob("*.jsonl.gz"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HERE).as_posix())
def test_the_model_agrees_with_the_kernel(path: Path) -> None:
    """Boot, every answer and every digest of the file are the kernel's."""
    header = VectorFile(path).header
    if header.revision not in REVISIONS:
        pytest.skip(f"revision {header.revision} is not modelled yet")

    result = run_file(path)

    told = [report.file_line(result), *report.mismatch_lines(result, max_diff=20)]
    assert Status.PASSED == result.status, "\n".join(told)
    assert header.ops == result.ops


def test_the_vectors_are_there() -> None:
    """The suite runs over all files that belong to it: none got lost in packing."""
    counted = {
        (folder, level): len(list((HERE / folder / level).glob("*.jsonl.gz")))
        for folder in ("vectors", "vectors-6.1")
        for level in ("l1", "l2", "l3")
    }

    assert {
        ("vectors", "l1"): 12,
        ("vectors", "l2"): 34,
        ("vectors", "l3"): 22,
        ("vectors-6.1", "l1"): 10,
        ("vectors-6.1", "l2"): 15,
        ("vectors-6.1", "l3"): 13,
    } == counted
