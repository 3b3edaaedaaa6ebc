"""Traces in files and pipes: what is written comes back, what is broken is named."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.tracegen.fakes import HEADER, encoded, make_batches, record
from tracegen.batch import Batch, BatchMaker, EventBatch, HeaderBatch, encode
from tracegen.errors import BatchError, StoppedError
from tracegen.limits import MAX_BATCH_BYTES, BatchLimits
from tracegen.trace_file import MAX_TRACE_SOURCES, FileError, StreamOrder, TraceReader, TraceWriter


def _write(path: Path, batches: list[Batch], *, readable: bool = False) -> None:
    with TraceWriter(str(path), readable=readable) as writer:
        for batch in batches:
            writer.write(batch)


def _read(path: Path | str, limits: BatchLimits | None = None) -> list[Batch]:
    with TraceReader(str(path), limits=limits or BatchLimits()) as reader:
        return [entry.batch for entry in reader]


@pytest.mark.parametrize("readable", [False, True], ids=["packed", "readable"])
@pytest.mark.parametrize("name", ["t.trace", "t.trace.zst"])
def test_a_trace_comes_back(tmp_path: Path, name: str, readable: bool) -> None:
    """What a writer wrote, a reader reads: plain or compressed, packed or readable."""
    path = tmp_path / name

    _write(path, make_batches(), readable=readable)

    assert make_batches() == _read(path)


def test_compression_is_known_by_content(tmp_path: Path) -> None:
    """A compressed trace under any name is read, and its suffix really compresses it."""
    _write(tmp_path / "t.zst", make_batches(batches=100))
    (tmp_path / "renamed").write_bytes((tmp_path / "t.zst").read_bytes())

    assert make_batches(batches=100) == _read(tmp_path / "renamed")
    assert (tmp_path / "t.zst").read_bytes().startswith(b"\x28\xb5\x2f\xfd")


def test_an_entry_carries_the_bytes_where_they_stand(tmp_path: Path) -> None:
    """Number, offset and bytes of each entry are those of the file."""
    path = tmp_path / "t.trace"
    _write(path, make_batches())
    content = path.read_bytes()

    with TraceReader(str(path)) as reader:
        entries = list(reader)

    assert [1, 2, 3, 4] == [entry.number for entry in entries]
    assert content == b"".join(entry.data for entry in entries)
    assert all(
        content[entry.offset : entry.offset + len(entry.data)] == entry.data for entry in entries
    )
    assert all(entry.header == HEADER for entry in entries)


def test_a_trace_larger_than_a_chunk_comes_back(tmp_path: Path) -> None:
    """Batches that straddle the reader's chunks are put together again."""
    maker = BatchMaker("a", 1)
    batches: list[Batch] = [maker.header(HEADER)]
    batches += [maker.events(record(i + 1) * 5000) for i in range(10)]
    for name in ("t.trace", "t.zst"):
        _write(tmp_path / name, batches)

        assert batches == _read(tmp_path / name)


def test_a_cut_plain_trace_is_an_error_at_every_byte(tmp_path: Path) -> None:
    """A cut inside a batch names the batch and its offset; one between batches cannot be seen."""
    whole = [encode(batch) for batch in make_batches()]
    starts = [sum(map(len, whole[:i])) for i in range(len(whole) + 1)]
    path = tmp_path / "cut.trace"

    for size in range(starts[-1]):
        path.write_bytes(b"".join(whole)[:size])
        if size in starts[1:]:
            assert starts.index(size) == len(_read(path))
            continue
        with pytest.raises(BatchError) as caught:
            _read(path)
        assert caught.value.reason == "truncated"
        if size > 0:
            batch = max(i for i, start in enumerate(starts) if start < size)
            assert (batch + 1, starts[batch]) == (caught.value.batch, caught.value.start)


def test_a_cut_compressed_trace_is_an_error_at_every_byte(tmp_path: Path) -> None:
    """A zstd file that is not whole is never taken for a shorter trace."""
    _write(tmp_path / "t.zst", make_batches())
    whole = (tmp_path / "t.zst").read_bytes()
    path = tmp_path / "cut.zst"

    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(BatchError):
            _read(path)


def test_joined_compressed_files_are_one_trace(tmp_path: Path) -> None:
    """``cat a.zst b.zst`` is a trace when a then b is."""
    _write(tmp_path / "a.zst", make_batches("a"))
    _write(tmp_path / "b.zst", make_batches("b"))
    joined = tmp_path / "ab.zst"
    joined.write_bytes((tmp_path / "a.zst").read_bytes() + (tmp_path / "b.zst").read_bytes())

    assert [*make_batches("a"), *make_batches("b")] == _read(joined)


def _gzipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb") as file:
        file.write(data)
    return out.getvalue()


NO_TRACES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty, expected a trace"),
    "empty-zstd": (zstandard.compress(b""), "empty, expected a trace"),
    "ftrace-text": (b"# tracer: nop\n#\n", "no trace: it looks like text; pfmemd import reads"),
    "gzip": (_gzipped(b"x" * 100), "no trace: it looks like gzip: decompress it first"),
    "xz": (b"\xfd7zXZ\x00\x00\x04", "no trace: it looks like xz"),
    "perf-data": (b"PERFILE2" + bytes(100), "no trace: it looks like a perf recording"),
    "trace-dat": (b"\x17\x08\x44tracing6\x00", "no trace: it looks like a trace-cmd recording"),
    "elf": (b"\x7fELF\x02\x01", "no trace: it begins with byte 0x7f, expected a msgpack map"),
    "zstd-of-text": (zstandard.compress(b"hello, world"), "no trace: it looks like text"),
    "zstd-broken": (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "broken zstd data"),
    "zstd-then-junk": (
        zstandard.compress(encode(make_batches()[0])) + b"junk and more",
        "broken zstd data",
    ),
}


@pytest.mark.parametrize(("content", "expected"), NO_TRACES.values(), ids=NO_TRACES.keys())
def test_what_is_no_trace_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    """The file and what it looks like are told in one line."""
    path = tmp_path / "t"
    path.write_bytes(content)

    with pytest.raises(BatchError) as caught:
        _read(path)

    assert str(caught.value).startswith(f"{path}: {expected}")
    assert "\n" not in str(caught.value)


def _raw(*batches: Batch | bytes) -> bytes:
    return b"".join(b if isinstance(b, bytes) else encode(b) for b in batches)


HEADER_BATCH, SECOND, THIRD, _ = make_batches()
AFTER_HEADER = len(encode(HEADER_BATCH))

BROKEN: dict[str, tuple[bytes, str, str]] = {
    "no-header": (_raw(SECOND), "no_header", "batch 1, byte 0: events of a, epoch 1, seq 2"),
    "gap": (_raw(HEADER_BATCH, THIRD), "sequence", "seq of a is 3, expected 2"),
    "twice": (_raw(HEADER_BATCH, SECOND, SECOND), "sequence", "seq of a is 2, expected 3"),
    "second-header": (
        _raw(HEADER_BATCH, SECOND, HEADER_BATCH),
        "sequence",
        "a header of a for epoch 1 after one for epoch 1, expected a later epoch",
    ),
    "earlier-epoch": (
        _raw(*make_batches(epoch=5), HEADER_BATCH),
        "sequence",
        "a header of a for epoch 1 after one for epoch 5",
    ),
    "events-of-the-last-epoch": (
        _raw(HEADER_BATCH, HeaderBatch("a", 2, HEADER), SECOND),
        "sequence",
        "events of a, epoch 1, after epoch 2 has begun",
    ),
    "events-of-a-later-epoch": (
        _raw(HEADER_BATCH, EventBatch("a", 2, 2, b"")),
        "no_header",
        "events of a, epoch 2, seq 2, without a header",
    ),
    "events-of-another-source": (
        _raw(HEADER_BATCH, EventBatch("b", 1, 2, b"")),
        "no_header",
        "events of b, epoch 1, seq 2, without a header",
    ),
    "bad-event": (
        _raw(HEADER_BATCH, EventBatch("a", 1, 2, record(1) + record(2, cpu=2))),
        "cpu",
        f"batch 2, byte {AFTER_HEADER}, event 1: PAGE_ALLOC: cpu is 2, expected 0 to 1",
    ),
    "junk-between": (
        _raw(HEADER_BATCH, b"\xc3", SECOND),
        "not_msgpack",
        f"batch 2, byte {AFTER_HEADER}: found byte 0xc3, expected the next batch",
    ),
    "reserved-byte": (_raw(HEADER_BATCH, b"\x81\xc1"), "not_msgpack", "batch 2, byte"),
    "nested": (_raw(HEADER_BATCH, b"\x81" + b"\x91" * 2000), "not_msgpack", "nested too deeply"),
    "huge-batch": (
        _raw(HEADER_BATCH, b"\x81\xa1v\xc6\x7f\xff\xff\xff" + bytes(2 * MAX_BATCH_BYTES)),
        "too_large",
        "the batch has more than 1048576 bytes",
    ),
    "other-version": (b"\x81\xa1v\x02", "version", "the batch is of version 2, expected 1"),
}


@pytest.mark.parametrize(("content", "reason", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_trace_is_named_by_batch_and_byte(
    tmp_path: Path, content: bytes, reason: str, expected: str
) -> None:
    """The error says the file, the batch, the byte, and what was expected."""
    path = tmp_path / "t"
    path.write_bytes(content)

    with pytest.raises(BatchError) as caught:
        _read(path)

    assert reason == caught.value.reason
    assert str(caught.value).startswith(f"{path}: batch ")
    assert expected in str(caught.value)


def test_a_new_epoch_is_a_new_life(tmp_path: Path) -> None:
    """A header with a later epoch starts the source anew; sources may be mixed."""
    batches = [*make_batches(epoch=1), *make_batches("b", epoch=1), *make_batches(epoch=7)]
    _write(tmp_path / "t", batches)

    assert batches == _read(tmp_path / "t")


def test_a_trace_has_a_bounded_number_of_sources() -> None:
    """A reader remembers a header a source, so their number is limited."""
    order = StreamOrder()
    for i in range(MAX_TRACE_SOURCES):
        order.accept(HeaderBatch(f"s{i}", 1, HEADER))

    with pytest.raises(BatchError, match="one source too many, expected at most 256"):
        order.accept(HeaderBatch("one-more", 1, HEADER))


def test_a_bomb_is_read_within_bounds(tmp_path: Path) -> None:
    """A few kilobytes that inflate to gigabytes are refused after one batch's worth."""
    path = tmp_path / "bomb.zst"
    compressor = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        file.write(compressor.compress(b"\x81\xa1v\xc6\x7f\xff\xff\xff"))
        for _ in range(64):
            file.write(compressor.compress(bytes(1 << 20)))
        file.write(compressor.flush())

    with pytest.raises(BatchError, match="more than 1048576 bytes"):
        _read(path)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path / "absent", "No such file or directory"),
        (lambda path: path, "Is a directory"),
    ],
)
def test_an_unreadable_path_is_named(
    tmp_path: Path, make: Callable[[Path], Path], expected: str
) -> None:
    """What cannot be opened or read is told with the system's reason."""
    with pytest.raises(FileError, match=f"cannot read .*: {expected}"):
        _read(make(tmp_path))


def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    """What cannot be created is told with the system's reason."""
    with pytest.raises(FileError, match=r"cannot write .*: No such file or directory"):
        TraceWriter(str(tmp_path / "no" / "such" / "dir"))


def test_a_full_disk_stops_the_writer() -> None:
    """A write that fails in mid-trace is no fault of the input."""
    with (
        pytest.raises(StoppedError, match="cannot write /dev/full: No space left on device"),
        TraceWriter("/dev/full") as writer,
    ):
        writer.write(HEADER_BATCH)


def test_a_failed_trace_leaves_nothing(tmp_path: Path) -> None:
    """A file has its name only when it is whole, and an older one stays until then."""
    path = tmp_path / "t.trace"
    _write(path, make_batches())
    old = path.read_bytes()

    def fail_in_the_middle() -> None:
        with TraceWriter(str(path)) as writer:
            writer.write(HEADER_BATCH)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_in_the_middle()

    assert old == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_a_pipe_is_read_as_it_comes(tmp_path: Path) -> None:
    """Each batch is there as soon as it is whole, before the writer goes on."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    batches = make_batches()
    handed_over = threading.Semaphore(0)

    def feed() -> None:
        with fifo.open("wb", buffering=0) as pipe:
            for batch in batches:
                pipe.write(encode(batch))
                handed_over.acquire(timeout=30)

    feeder = threading.Thread(target=feed)
    feeder.start()
    got = []
    waited: list[int] = []
    with TraceReader(str(fifo), before_read=waited.append) as reader:
        for entry in reader:
            got.append(entry.batch)
            handed_over.release()
    feeder.join()

    assert batches == got
    assert len(waited) >= len(batches)


def test_standard_streams_carry_a_trace() -> None:
    """``-`` reads standard input and writes standard output."""
    program = (
        "from tracegen.trace_file import TraceReader, TraceWriter\n"
        "with TraceReader('-') as reader, TraceWriter('-', readable=True) as writer:\n"
        "    for entry in reader:\n"
        "        writer.write(entry.batch)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        input=encoded(make_batches()),
        capture_output=True,
        check=True,
    )

    assert b"".join(encode(batch, readable=True) for batch in make_batches()) == done.stdout


def test_events_need_not_be_checked(tmp_path: Path) -> None:
    """A reader whose peer checks the events may leave that out."""
    bad = EventBatch("a", 1, 2, record(1, op=77))
    (tmp_path / "t").write_bytes(_raw(HEADER_BATCH, bad))

    with TraceReader(str(tmp_path / "t"), check_events=False) as reader:
        assert [HEADER_BATCH, bad] == [entry.batch for entry in reader]
