"""docs/TRACE_FORMAT.md and docs/PROTOCOL.md say what the code does, and the examples work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from allocator.events import CTX_NAMES, OP_NAMES
from allocator.gfp import FLAVOURS
from tracegen import header, limits, protocol, trace_file
from tracegen.batch import decode, encode
from tracegen.cli import main
from tracegen.errors import BATCH_ERROR_REASONS
from tracegen.trace_file import TraceReader

DOCS = Path(__file__).parents[2] / "docs"
FORMAT = (DOCS / "TRACE_FORMAT.md").read_text("utf-8")
PROTOCOL = (DOCS / "PROTOCOL.md").read_text("utf-8")
EXAMPLE = DOCS / "examples" / "example.pfmt"


def _table(text: str, titles: str) -> list[list[str]]:
    """The rows of the table whose first columns have these titles."""
    start = text.index(f"\n\n| {titles} |") + 2
    lines = text[start : text.index("\n\n", start)].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_dump_in_the_docs_is_the_dump_of_the_example() -> None:
    """Every byte of the example file stands in the docs, annotated by the code."""
    result = CliRunner().invoke(main, ["trace", "dump", str(EXAMPLE)])
    blocks = re.findall(r"```\n(batch \d.*?)\n```", FORMAT, re.DOTALL)

    assert result.exit_code == 0
    assert result.stdout == "".join(block + "\n" for block in blocks)


def test_the_encoder_makes_the_same_bytes() -> None:
    """The events of the example, encoded here, are the example's bytes."""
    with TraceReader(str(EXAMPLE)) as reader:
        opened, readable, packed = reader

    assert readable.data == encode(readable.batch, readable=True)
    assert packed.data == encode(packed.batch)
    assert opened.batch == decode(encode(opened.batch))


def test_the_python_example_writes_the_example() -> None:
    """examples/write_trace.py needs a msgpack library only."""
    done = subprocess.run(
        [sys.executable, EXAMPLE.with_name("write_trace.py")], capture_output=True, check=True
    )

    assert done.stdout == EXAMPLE.read_bytes()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on the path")
@pytest.mark.skipif(sys.byteorder != "little", reason="the example is for little-endian machines")
def test_the_c_example_writes_the_example(tmp_path: Path) -> None:
    """examples/write_trace.c needs no library at all."""
    program = tmp_path / "write_trace"
    source = EXAMPLE.with_name("write_trace.c")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    done = subprocess.run([program], capture_output=True, check=True)

    assert done.stdout == EXAMPLE.read_bytes()


def test_ops_and_contexts_are_all_there() -> None:
    """The tables name every op and every bit by number and name."""
    assert {str(op): name for op, name in OP_NAMES.items()} == {
        row[0]: row[1] for row in _table(FORMAT, "op")
    }
    assert {str(bit): name for bit, name in CTX_NAMES.items()} == {
        row[0]: row[1] for row in _table(FORMAT, "bit")
    }


def test_limits_are_those_of_the_code() -> None:
    """The table of limits and the numbers in the header's tables are the code's."""
    assert [
        str(limits.MAX_BATCH_BYTES),
        str(limits.MAX_BATCH_EVENTS),
        str(header.MAX_HEADER_BYTES),
        str(limits.MAX_SOURCE_LENGTH),
        str(trace_file.MAX_TRACE_SOURCES),
    ] == [row[1] for row in _table(FORMAT, "what")]
    for what in (
        f"| `caches` | array of maps | yes | up to {limits.MAX_CACHES} |",
        f"| up to {header.MAX_LABELS}, each 1 to {header.MAX_LABEL_LENGTH} characters |",
        f"| `name` | string | yes | 1 to {limits.MAX_NAME_LENGTH} characters",
        f"| `reserved` | array of pairs | no | up to {header.MAX_RESERVED} |",
        f"each optional and up to {header.MAX_MADE_LENGTH}\ncharacters",
        ", ".join(f"`{clock}`" for clock in header.CLOCKS),
        ", ".join(f"`{flavour}`" for flavour in sorted(FLAVOURS)),
    ):
        assert what in FORMAT


def test_the_headers_keys_are_all_there() -> None:
    """Every key of the schema has its row, required or not as the code has it."""
    section = FORMAT[FORMAT.index("## The header") : FORMAT.index("## Limits")]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (yes|no) \|", section, re.MULTILINE)

    expected = [
        (name, "yes" if field.is_required() else "no")
        for model in (header._Header, header._Machine, header._Cache)
        for name, field in model.model_fields.items()
    ]
    assert sorted(expected) == sorted(rows)


def test_reasons_are_all_there() -> None:
    """The closed set of reasons is the documented one."""
    cells = " ".join(row[0] for row in _table(FORMAT, "reason"))

    assert set(BATCH_ERROR_REASONS) == set(re.findall(r"`(\w+)`", cells))


def test_messages_are_all_there() -> None:
    """Every control message stands with its fields in their order on the wire."""
    documented = {row[0].strip("`"): row[2] for row in _table(PROTOCOL, "message")}
    del documented["batch"]

    assert documented == {kind: ", ".join(checks) for kind, checks in protocol._LAYOUT.values()}


def test_codes_are_all_there() -> None:
    """Every code of REJECT is documented, with whether to try again."""
    documented = {row[0].strip("`"): row[2] for row in _table(PROTOCOL, "code | meaning")}

    assert documented == {
        code: "yes" if code in protocol.RETRYABLE_CODES else "no" for code in protocol.REJECT_CODES
    }


def test_the_example_frames_are_frames() -> None:
    """Each hexadecimal frame decodes to the message it stands for, and encodes again."""
    start = PROTOCOL.index("## Example frames")
    frames = re.findall(r"^\| ([A-Z_]+) \| `([0-9a-f ]+)` \|$", PROTOCOL[start:], re.MULTILINE)

    assert [kind for kind, _ in frames] == [kind for kind, _ in protocol._LAYOUT.values()]
    for kind, text in frames:
        frame = bytes.fromhex(text)
        message = protocol.decode(frame)
        assert kind == protocol._LAYOUT[type(message)][0]
        assert frame == protocol.encode(message)
