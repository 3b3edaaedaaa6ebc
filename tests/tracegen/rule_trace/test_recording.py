"""A rule trace against a recording: whatever is not the kernel's is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracegen.conformance.vector_file import VectorFile
from tracegen.rule_trace.parser import parse_rule_trace
from tracegen.rule_trace.recording import Comparison, compare

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "tests" / "conformance" / "vectors"
SWAP = (ROOT / "tests" / "rules" / "A4-swap.rule").read_text("utf-8")


def compared(text: str, recording: str = "l2/tiny-a4-swap-seed") -> Comparison:
    """Hold a trace's text against a recording."""
    trace = parse_rule_trace(text, Path("x.rule"))
    return compare(trace, trace.variants[0], VectorFile(VECTORS / f"{recording}.jsonl.gz"))


def test_what_agrees_is_counted() -> None:
    """Every stated word and field is one answer of the kernel's."""
    result = compared(SWAP)

    assert ([], 39) == (result.wrong, result.confirmed)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("slab=9216 idx=0", "slab=9217 idx=0", "line 11: slab is stated as 9217, the kernel"),
        ("denied preserved", "ok", "result is stated as ok, the kernel answered denied"),
        ("9219:0* 9216:0", "9219:0 9216:0", "the kernel answered 9219:0*,9216:0,"),
        ("size=4096", "size=2048", "size is 2048, recorded was 4096 (op 1)"),
        ("cpus=2", "cpus=4", "the machine is MachineConfig("),
        ("a big-4k GFP_KERNEL", "a big-4k GFP_NOFS", "gfp GFP_NOFS is 0x50, recorded was 0xd0"),
        ("GFP_NOIO PF_MEMALLOC", "GFP_NOIO", "ctx is 0, recorded was 1 (op 5)"),
        ("free     c1 a b", "free     a c1 b", "'a' is not what was freed then (op 8, id 3)"),
        ("min_free 41000", "tick 1", "'tick', recorded was min_free (op 4)"),
        ("variants  slab-seed", "variants  slub-seed", "is of slab-seed"),
        ("variants  slab-seed", "variants  slab-v3.6", "is of seed"),
        ("idx=0 reserve=0", "idx=0 cpu=0", "cpu is stated as 0, the kernel answered nothing"),
    ],
)
def test_what_is_not_the_kernels_is_told(old: str, new: str, why: str) -> None:
    """A stated answer, an argument or a machine that is not the recorded one is named."""
    assert old in SWAP

    result = compared(SWAP.replace(old, new, 1))

    assert any(why in wrong for wrong in result.wrong)


def test_names_of_paths_are_the_models() -> None:
    """No kernel says array_swap, so it is not held against one."""
    assert [] == compared(SWAP.replace("ok array_swap", "ok by_magic")).wrong


def test_a_look_needs_a_recorded_state() -> None:
    """Where the file does not hold the kernel's state, nothing can be said of it."""
    early = SWAP.replace("min_free 41000", "array    big-4k -> empty\nmin_free 41000", 1)

    assert ["line 13: the kernel's state is not recorded here"] == compared(early).wrong


def test_more_than_was_recorded_must_be_marked() -> None:
    """An operation after the recording's end is an error, unless it stands beyond."""
    more = f"{SWAP}reap cpu=0\n"
    marked = f"{SWAP}beyond the recording\nreap cpu=0 -> ok active=7\n"

    assert ["line 27: the recording has ended"] == compared(more).wrong
    assert [] == compared(marked).wrong


def test_what_only_the_model_counts_is_left_out() -> None:
    """Leaks are the model's own count; no kernel tells them."""
    assert [] == compared(f"{SWAP}leaks big-4k -> node_path=99\n").wrong
