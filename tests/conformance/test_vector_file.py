"""Vector files are read whole and exactly; what is not understood is told with its line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allocator import events
from tracegen.conformance import vector_file
from tracegen.conformance.vector_file import DigestLine, Op, VectorError, VectorFile

Line = dict[str, Any]
Write = Callable[[list[Line]], Path]


def read(path: Path) -> list[Op | DigestLine]:
    """Return everything after the header."""
    return list(VectorFile(path))


def test_the_header_describes_the_machine(lines: list[Line], write: Write) -> None:
    """Configuration keys become a machine; keys about how the stream was drawn do not."""
    header = VectorFile(write(lines)).header

    assert ("L2", "slab-seed", "3.3.8+seed", 12) == (
        header.level,
        header.variant_name,
        header.kernel,
        header.ops,
    )
    assert (2, (0, 0), ((0, 10240),), (0, 10240, 10240), True, 32) == (
        header.config.cpus,
        header.config.cpu_node,
        header.config.nodes,
        header.config.zone_end_pfn,
        header.config.numa,
        header.config.min_free_kbytes,
    )
    assert (True, False, True) == (
        header.config.memalloc_socks,
        header.config.slub_merge,
        header.config.kmalloc,
    )


@pytest.mark.parametrize(
    ("allocator", "boot", "expected", "kmalloc"),
    [
        (None, {"slab_max_order": 1}, "slab", True),
        (None, {"slub_max_order": 3}, "slub", False),
        ("slub", {}, "slub", False),
        ("slab", {}, "slab", True),
    ],
)
def test_the_allocator_is_that_of_the_kernel_that_answered(
    allocator: str | None,
    boot: Line,
    expected: str,
    kmalloc: bool,
    lines: list[Line],
    write: Write,
) -> None:
    """L1 files tell by their boot keys; SLUB has kmalloc caches only where it is said."""
    lines[0].update(allocator=allocator, boot=boot)

    header = VectorFile(write(lines)).header

    assert (expected, kmalloc) == (header.allocator, header.config.kmalloc)


def test_flags_of_the_machine_are_taken(lines: list[Line], write: Write) -> None:
    """Zero and one, true and false say the same."""
    lines[0]["allocator"] = "slub"
    lines[0]["config"].update(memalloc_socks=0, slub_merge=True, kmalloc=1)

    config = VectorFile(write(lines)).header.config

    assert (False, True, True) == (config.memalloc_socks, config.slub_merge, config.kmalloc)


def test_ops_carry_their_fields(lines: list[Line], write: Write) -> None:
    """Numbers, context bits, note, and the kernel's answer as it stands."""
    op = read(write(lines))[1]

    assert isinstance(op, Op)
    assert (2, 3, "page_alloc", 1, 2, 16, 1, -1, "the first") == (
        op.n,
        op.line,
        op.name,
        op.id,
        op.order,
        op.gfp,
        op.cpu,
        op.node,
        op.note,
    )
    assert events.CTX_PF_MEMALLOC == op.ctx
    assert lines[2]["out"] == op.out


def test_digests_carry_their_state(lines: list[Line], write: Write) -> None:
    """Fingerprint, number of the op and state; a state may be absent."""
    del lines[9 + 1]["state"]  # of op 8

    digests = [entry for entry in read(write(lines)) if isinstance(entry, DigestLine)]

    assert [3, 8, 12] == [entry.n for entry in digests]
    assert [True, False, True] == [entry.state is not None for entry in digests]
    assert lines[4]["sha256"] == digests[0].sha256


def test_compressed_and_plain_files_read_the_same(lines: list[Line], write: Write) -> None:
    """Compression is recognised by content, not by name."""
    plain = write(lines)
    compressed = plain.with_suffix(".bin")
    compressed.write_bytes(gzip.compress(plain.read_bytes()))

    assert read(plain) == read(compressed)


def test_a_file_can_be_read_again(lines: list[Line], write: Write) -> None:
    """Each iteration begins at the first op."""
    vectors = VectorFile(write(lines))

    assert list(vectors) == list(vectors)


def change(line: int, **values: object) -> Callable[[list[Line]], None]:
    """Return a change of top-level keys of one line."""
    return lambda lines: lines[line].update(values)


def change_in(line: int, key: str, **values: object) -> Callable[[list[Line]], None]:
    """Return a change of keys of an object inside one line."""
    return lambda lines: lines[line][key].update(values)


def remove(line: int, *keys: str) -> Callable[[list[Line]], None]:
    """Return the removal of a key, the last of a path through a line."""

    def remove_key(lines: list[Line]) -> None:
        target = lines[line]
        for key in keys[:-1]:
            target = target[key]
        del target[keys[-1]]

    return remove_key


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(0, kind="footer"), 'line 1: expected a header, {"kind": "header", ...}'),
        (change(0, format=2), "line 1: format 2, expected 1"),
        (change(0, level="L4"), "line 1: level 'L4', expected one of L1, L2, L3"),
        (change(0, allocator="slob"), "line 1: allocator 'slob', expected null, slab or slub"),
        (change(0, allocator=[]), "line 1: allocator is [], expected a string"),
        (change(0, variant=6), "line 1: variant is 6, expected a string"),
        (change(0, pages="v6.1"), "line 1: pages 'v6.1' under 'seed': mixed kernels"),
        (change(0, colour="red"), "line 1: header has colour, which is not understood"),
        (change(0, ops="many"), "line 1: ops is 'many', expected an integer"),
        (change(0, boot=[]), "line 1: boot is [], expected an object"),
        (remove(0, "kernel"), "line 1: header lacks kernel"),
        (remove(0, "config", "cpus"), "line 1: config lacks cpus"),
        (change_in(0, "config", cpus=0), "line 1: config: cpus is 0, expected 1 to"),
        (change_in(0, "config", cpus=True), "line 1: config cpus is True, expected an integer"),
        (change_in(0, "config", cpu_node=3), "line 1: config cpu_node is 3, expected a list"),
        (change_in(0, "config", nodes=3), "line 1: config nodes is 3, expected a list"),
        (change_in(0, "config", nodes=[[1]]), "line 1: a node of config nodes is [1], expected ["),
        (change_in(0, "config", zone_end_pfn=[1]), "line 1: config zone_end_pfn is [1], expected"),
        (change_in(0, "config", numa=2), "line 1: config numa is 2, expected 0 or 1"),
        (change_in(0, "config", reserved=[]), "line 1: config has reserved, which is not under"),
        (change(1, op="fork"), "line 2: op 'fork', expected one of page_alloc, page_free,"),
        (change(1, op=[]), "line 2: op [], expected one of page_alloc, page_free,"),
        (change(1, n=2), "line 2: op number 2, expected 1"),
        (change(1, colour="red"), "line 2: cache_create has colour, which is not understood"),
        (change(1, cache=5), "line 2: cache is 5, expected a string"),
        (change(1, size=-1), "line 2: size is -1, expected 0 to 4294967295"),
        (remove(2, "order"), "line 3: page_alloc lacks order"),
        (change(2, order="two"), "line 3: order is 'two', expected an integer"),
        (change(2, order=1.5), "line 3: order is 1.5, expected an integer"),
        (change(2, cpu=2), "line 3: cpu 2, the machine has 2"),
        (change(2, node=1), "line 3: node 1, the machine has 1"),
        (change(2, node=-2), "line 3: node is -2, expected"),
        (change(2, ctx={"nice": 1}), "line 3: ctx has nice, which is not understood"),
        (change(2, ctx={"irq": "nmi"}), "line 3: ctx irq is 'nmi', expected one of soft, hard"),
        (change(2, ctx={"rt": "yes"}), "line 3: ctx rt is 'yes', expected 0 or 1"),
        (change(2, ctx=1), "line 3: ctx is 1, expected an object"),
        (change(2, out=1), "line 3: out is 1, expected an object"),
        (change(2, out={"res": "fine"}), "line 3: res is 'fine', expected one of null, ok, stall"),
        (change(2, out={}), "line 3: res is None, expected a string"),
        (change_in(2, "out", mood="good"), "line 3: out of page_alloc has mood, which is not und"),
        (change(2, cold=1), "line 3: page_alloc has cold, which is not understood"),
        (change(9, cold="icy"), "line 10: cold is 'icy', expected 0 or 1"),
        (change(4, n=2), "line 5: digest of op 2, expected of op 3"),
        (change(4, sha256="abc"), "line 5: sha256 has 3 digits, expected 64"),
        (change(4, state=[]), "line 5: state is [], expected an object"),
        (change(4, md5="abc"), "line 5: digest has md5, which is not understood"),
        (remove(4, "sha256"), "line 5: digest lacks sha256"),
        (change(0, ops=13), "ends after op 12, the header says 13 ops"),
    ],
)
def test_what_is_not_understood_is_told_with_its_line(
    damage: Callable[[list[Line]], None], message: str, lines: list[Line], write: Write
) -> None:
    """The error names the file, the line, what stands there and what was expected."""
    damage(lines)
    path = write(lines)

    with pytest.raises(VectorError) as caught:
        read(path)

    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty, expected a header line"),
        (b"[1]\n", "line 1: expected a JSON object"),
        (b'{"kind": header}\n', "line 1: not JSON at column 10: Expecting value"),
        (b'{"kind": "\xff"}\n', "line 1: not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"[" * 200_000, "line 1: not JSON: maximum recursion depth exceeded"),
        (b"\x1f\x8bnonsense", "Unknown compression method"),
        (gzip.compress(b"{}\n", mtime=0)[:11], "compressed data is damaged:"),
        (gzip.compress(b"{}\n", mtime=0)[:10] + b"\xff" * 30, "compressed data is damaged:"),
    ],
    ids=["empty", "list", "word", "bytes", "deep", "not-gzip", "cut-gzip", "bad-gzip"],
)
def test_what_is_no_vector_file_is_told_apart(content: bytes, message: str, tmp_path: Path) -> None:
    """Text, broken text and broken compression each have their own sentence."""
    path = tmp_path / "no.jsonl"
    path.write_bytes(content)

    with pytest.raises(VectorError) as caught:
        read(path)

    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_cut_compressed_file_is_no_shorter_file(lines: list[Line], write: Write) -> None:
    """Compressed data that ends early is an error, not an end."""
    path = write(lines)
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])

    with pytest.raises(VectorError, match="compressed data is damaged"):
        read(path)


def test_a_line_has_a_longest_length(
    monkeypatch: pytest.MonkeyPatch, lines: list[Line], write: Write
) -> None:
    """An endless line is refused before it fills the memory."""
    path = write(lines)
    longest = max(len(json.dumps(line)) for line in lines) + 1
    monkeypatch.setattr(vector_file, "MAX_LINE", longest)
    assert 15 == len(read(path))

    monkeypatch.setattr(vector_file, "MAX_LINE", longest - 1)

    with pytest.raises(VectorError, match=f"longer than {longest - 1} bytes"):
        read(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """The operating system's reason, with the path."""
    path = tmp_path / "none.jsonl"

    with pytest.raises(VectorError) as caught:
        VectorFile(path)

    assert f"{path}: No such file or directory" == str(caught.value)
