"""What the rule traces state is what the kernel's own code answered, whatever the model does.

No model runs here: the traces are held against the recorded answers of Linux 3.3, of 3.3
with the patch, and of 3.6.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from allocator.events import CTX_MEMDIE, CTX_PF_MEMALLOC
from tracegen.conformance.vector_file import Op, VectorFile
from tracegen.rule_trace.parser import read_rule_trace
from tracegen.rule_trace.recording import compare
from tracegen.rule_trace.trace import RuleTrace

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "conformance" / "vectors"
TRACES = {path.stem: read_rule_trace(path) for path in sorted(HERE.glob("*.rule"))}
RECORDED = [
    (name, variant)
    for name, trace in TRACES.items()
    for variant in trace.variants
    if trace.recording_of(variant)
]
SEEN = sorted({place for trace in TRACES.values() for place in trace.seen})


def vectors(recording: str) -> VectorFile:
    """Open a vector file by its name without suffixes."""
    return VectorFile(VECTORS / f"{recording}.jsonl.gz")


def recording_of(trace: RuleTrace, variant: str) -> VectorFile:
    """Open the recording of a trace."""
    return vectors(trace.recording_of(variant) or "")


@pytest.mark.parametrize(("name", "variant"), RECORDED)
def test_stated_answers_are_the_kernels(name: str, variant: str) -> None:
    """Every operation is the recorded one and every stated answer the recorded answer."""
    trace = TRACES[name]

    compared = compare(trace, variant, recording_of(trace, variant))

    assert [] == compared.wrong
    assert compared.confirmed > 0


@cache
def op_of(recording: str, number: int) -> Op:
    """Return an op of a vector file."""
    return next(
        entry for entry in vectors(recording) if isinstance(entry, Op) and entry.n == number
    )


@pytest.mark.parametrize(("recording", "number"), SEEN)
def test_what_is_said_to_be_seen_is_there(recording: str, number: int) -> None:
    """A caller without entitlement got an object of the reserve there, or the global fell."""
    op = op_of(recording, number)

    assert "obj_alloc" == op.name
    assert 0 == op.ctx & (CTX_PF_MEMALLOC | CTX_MEMDIE)
    assert "ok" == op.out["res"]
    assert 1 == op.out["pfm"] or (1, 0) == (
        op_of(recording, number - 1).out["pa"],
        op.out["pa"],
    )
