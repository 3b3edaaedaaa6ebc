"""The vector files agree with themselves, without any model.

That the fingerprints can be computed again from the states beside them shows that
the canonical form used here is the one that they were taken with.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tracegen.conformance.difference import fingerprint
from tracegen.conformance.vector_file import DigestLine, Op, VectorFile

HERE = Path(__file__).resolve().parent
FILES = sorted(HERE.rglob("*.jsonl.gz"))


def named(path: Path) -> str:
    """Return a file's name as a test id."""
    return path.relative_to(HERE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_the_file_is_what_it_says(path: Path) -> None:
    """Every line is understood, states have their fingerprints, the tally is the ops'."""
    vectors = VectorFile(path)
    tally: Counter[str] = Counter()
    wrong = []
    for entry in vectors:
        if isinstance(entry, Op):
            tally[f"{entry.name}:{entry.out['res']}"] += 1
        elif entry.state is not None and fingerprint(entry.state) != entry.sha256:
            wrong.append(entry.n)

    assert [] == wrong
    assert vectors.header.tally == tally
    assert vectors.header.ops == tally.total()


def test_states_are_stated_often_enough_to_show_something() -> None:
    """Every file with digests states the state in some of them."""
    without = []
    for path in FILES:
        digests = [entry for entry in VectorFile(path) if isinstance(entry, DigestLine)]
        if digests and not any(digest.state for digest in digests):
            without.append(named(path))

    assert [] == without
