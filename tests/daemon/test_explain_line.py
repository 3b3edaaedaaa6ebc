"""``pfmemd explain --line``: a real kernel's log, and what an operator is told of it."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from daemon.explain_cli import explain_command

LOG = Path(__file__).parent.parent / "data" / "logs" / "nbd-swap-6.1.dmesg"
"""Of the machine of the sample trace: Linux 6.1, 320 MiB, swapping over NBD."""


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(explain_command, list(arguments), input=stdin)


def test_classic_line_in_words() -> None:
    """The line everybody has met: what it may use, what it needed, what follows."""
    result = invoke("--line", "swapper: page allocation failure: order:0, mode:0x20")

    lines = [" ".join(line.split()) for line in result.output.splitlines()]

    assert 0 == result.exit_code
    assert "a page allocation failed, asked for by swapper" == lines[0]
    assert lines[1].startswith("mask GFP_ATOMIC (0x20); Linux 2.6.32 to 3.5")
    assert any(line.endswith("3/8 of min") for line in lines)


def test_a_log_s_own_numbers_agree_with_its_failures() -> None:
    """On the real machine's log the watermark test, done again, refuses as the kernel did."""
    result = invoke("--line", "-", stdin=LOG.read_text("ascii"))

    lines = [" ".join(line.split()) for line in result.output.splitlines()]

    assert 0 == result.exit_code
    assert "node 0 DMA: 259 pages free <= 11 of its min + 250 lowmem reserve: refused" in lines
    assert "node 0 DMA32: 172 pages free <= 182 of its min: refused" in lines


def test_what_a_log_repeats_is_told_once() -> None:
    """Many equal lines are one paragraph with a count."""
    result = invoke("--line", "-", stdin=LOG.read_text("ascii"))

    heads = [line for line in result.output.splitlines() if line and not line.startswith(" ")]

    assert [
        "a page allocation failed, asked for by swapper/0",
        "SLUB could not get a slab, 10 times",
    ] == heads


def test_kernel_can_be_said() -> None:
    """The same number means another mask in another kernel."""
    line = "x: page allocation failure: order:0, mode:0x2000"

    known = invoke("--line", line)
    told = invoke("--line", line, "--kernel", "v6.1")

    assert "__GFP_MEMALLOC (0x2000)" in known.output
    assert "__GFP_NOWARN (0x2000)" in told.output


def test_json_has_numbers_for_programs() -> None:
    """Flags, right, share of min, zones with their arithmetic."""
    result = invoke("--line", "-", "--json", stdin=LOG.read_text("ascii"))

    first = json.loads(result.output)[0]

    assert ("page", "swapper/0", 0, False, 0.375) == (
        first["form"],
        first["comm"],
        first["order"],
        first["can_sleep"],
        first["needs_of_min"],
    )
    assert {
        "node": 0,
        "zone": "DMA32",
        "allowed": True,
        "free_pages": 172,
        "needed_pages": 182,
        "lowmem_reserve_pages": 0,
        "enough": False,
        "block_fits": True,
    } == first["zones"][1]


def test_text_without_such_a_line_is_refused() -> None:
    """Said with what was expected, for a line and for a whole log."""
    for stdin, text in ((None, "all is well"), ("nothing\nhere\n", "-")):
        result = invoke("--line", text, stdin=stdin)

        assert isinstance(result.exception, Exception)
        assert "no line of a failed allocation" in str(result.exception)
