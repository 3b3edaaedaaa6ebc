"""Reading a journal back: whole, torn, damaged in every place."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.files import OsFolder
from daemon.journal.errors import CorruptJournalError, JournalError
from daemon.journal.layout import (
    GROUP_HEADER_SIZE,
    SEGMENT_HEADER_SIZE,
    Position,
    SegmentHeader,
    decode_segment_header,
    encode_group,
    encode_segment_header,
    segment_name,
)
from daemon.journal.reader import JournalReader
from tests.daemon.journal.journals import groups_in, write_journal

GROUPS = ((b"one",), (b"two", b"and more of it"), (b"", b"three"))
FIRST = segment_name(1)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of three groups in one segment."""
    write_journal(tmp_path, *GROUPS)
    return tmp_path


def read(path: Path) -> JournalReader:
    """A reader that came to the end, or raised."""
    with OsFolder(path) as folder:
        reader = JournalReader(folder)
        for at, group in enumerate(reader.groups()):
            assert GROUPS[at] == group.batches
        return reader


def ends(path: Path) -> list[int]:
    """Where each group ends."""
    with OsFolder(path) as folder:
        return [group.end.offset for group in JournalReader(folder).groups()]


def test_groups_come_back_as_they_were_written(journal: Path) -> None:
    """Batches, their order and their grouping survive, whatever bytes they are."""
    assert list(GROUPS) == groups_in(journal)
    assert read(journal).torn is None


def test_reading_can_begin_between_two_groups(journal: Path) -> None:
    """A snapshot names such a place."""
    with OsFolder(journal) as folder:
        reader = JournalReader(folder)
        second = list(reader.groups())[1]
        rest = [group.batches for group in reader.groups(second.position)]

    assert list(GROUPS[1:]) == rest


def test_empty_folder_is_an_empty_journal(tmp_path: Path) -> None:
    """Nothing is there, and nothing is wrong."""
    with OsFolder(tmp_path) as folder:
        reader = JournalReader(folder)

        assert ([], True, None) == (reader.segments, reader.complete, reader.journal)
        assert [] == list(reader.groups())


def test_every_cut_is_a_torn_tail(journal: Path) -> None:
    """Wherever the last segment ends, what is whole before comes back, the rest is the tail."""
    data = (journal / FIRST).read_bytes()
    whole = [SEGMENT_HEADER_SIZE, *ends(journal)]
    for size in range(SEGMENT_HEADER_SIZE, len(data)):
        (journal / FIRST).write_bytes(data[:size])

        reader = read(journal)

        good = max(end for end in whole if end <= size)
        if size == good:
            assert reader.torn is None
        else:
            assert reader.torn is not None
            assert Position(1, good) == reader.torn.position
            assert size - good == reader.torn.size


def test_every_flipped_bit_is_seen(journal: Path) -> None:
    """Before the last group it is damage with its place; in the last group it may be a tear."""
    data = (journal / FIRST).read_bytes()
    starts = [SEGMENT_HEADER_SIZE, *ends(journal)]
    for at in range(len(data)):
        for bit in range(8):
            spoilt = bytearray(data)
            spoilt[at] ^= 1 << bit
            (journal / FIRST).write_bytes(spoilt)
            if at >= starts[-2]:
                reader = read(journal)
                assert reader.torn is not None
                assert Position(1, starts[-2]) == reader.torn.position
                continue
            with pytest.raises(CorruptJournalError) as caught:
                read(journal)
            group = max((start for start in starts if start <= at), default=None)
            expected = 1 if group is None else Position(1, group)
            assert expected == caught.value.where


def test_zeros_behind_the_last_group_are_a_torn_tail(journal: Path) -> None:
    """A length that reached the disk before the bytes did is what power loss leaves."""
    with (journal / FIRST).open("ab") as file:
        file.write(bytes(500))

    reader = read(journal)

    assert reader.torn is not None
    assert 500 == reader.torn.size


def test_torn_groups_that_were_never_safe_do_not_make_damage(tmp_path: Path) -> None:
    """With fsync never, any of the last groups may be missing in front of whole ones."""
    write_journal(tmp_path, GROUPS[0], fsync="never")
    write_journal(tmp_path, GROUPS[1], GROUPS[2], fsync="never")  # the start made group 1 safe
    starts = [SEGMENT_HEADER_SIZE, *ends(tmp_path)]
    data = bytearray((tmp_path / FIRST).read_bytes())
    data[starts[1] + 50] ^= 1
    (tmp_path / FIRST).write_bytes(data)

    reader = read(tmp_path)

    assert reader.torn is not None
    assert Position(1, starts[1]) == reader.torn.position
    data[starts[0] + 50] ^= 1
    (tmp_path / FIRST).write_bytes(data)
    with pytest.raises(CorruptJournalError):
        read(tmp_path)


def test_batch_that_looks_like_a_group_proves_nothing(journal: Path) -> None:
    """Bytes that a sender chose cannot make a torn tail look like damage."""
    end = (journal / FIRST).stat().st_size
    torn = b"no group"
    forged = encode_group([b"x"], 12345, end + len(torn), end + len(torn), 0)
    with (journal / FIRST).open("ab") as file:
        file.write(torn + forged)

    reader = read(journal)

    assert reader.torn is not None
    assert Position(1, end) == reader.torn.position


def several_segments(path: Path) -> list[Path]:
    """A journal of one group a segment."""
    write_journal(path, *GROUPS, segment_bytes=SEGMENT_HEADER_SIZE + 1)
    files = sorted(path.glob("journal-*"))
    assert [segment_name(n) for n in (1, 2, 3)] == [file.name for file in files]
    return files


def test_groups_of_several_segments_follow_one_another(tmp_path: Path) -> None:
    """Where one segment ends the next one goes on."""
    several_segments(tmp_path)

    assert list(GROUPS) == groups_in(tmp_path)


def test_missing_segment_is_damage(tmp_path: Path) -> None:
    """A hole in the middle is named; a missing front is known, because retention makes those."""
    files = several_segments(tmp_path)
    files[1].rename(tmp_path / "aside")

    with (
        OsFolder(tmp_path) as folder,
        pytest.raises(CorruptJournalError, match=re.escape(f"{segment_name(2)} is missing")),
    ):
        JournalReader(folder)

    (tmp_path / "aside").rename(files[1])
    files[0].unlink()
    with OsFolder(tmp_path) as folder:
        assert not JournalReader(folder).complete


@pytest.mark.parametrize("size", [SEGMENT_HEADER_SIZE, SEGMENT_HEADER_SIZE + 3])
def test_segment_before_the_last_must_be_whole(tmp_path: Path, size: int) -> None:
    """A segment is finished before the next one begins: a short one has lost something."""
    files = several_segments(tmp_path)
    files[1].write_bytes(files[1].read_bytes()[:size])

    with OsFolder(tmp_path) as folder, pytest.raises(CorruptJournalError, match="it had"):
        list(JournalReader(folder).groups())


def test_segment_of_another_journal_is_damage(tmp_path: Path) -> None:
    """Files of two folders do not make a journal."""
    files = several_segments(tmp_path)
    data = files[2].read_bytes()
    header = decode_segment_header(data)
    assert isinstance(header, SegmentHeader)
    foreign = encode_segment_header(replace(header, journal=bytes(16)))
    files[2].write_bytes(foreign + data[SEGMENT_HEADER_SIZE:])

    with OsFolder(tmp_path) as folder, pytest.raises(CorruptJournalError, match="another journal"):
        JournalReader(folder)


@pytest.mark.parametrize("data", [b"", b"pfmemd jour", bytes(SEGMENT_HEADER_SIZE)])
def test_segment_that_was_never_begun_is_no_damage(tmp_path: Path, data: bytes) -> None:
    """A crash between the name and the header of a segment loses nothing."""
    several_segments(tmp_path)
    (tmp_path / segment_name(4)).write_bytes(data)

    with OsFolder(tmp_path) as folder:
        reader = JournalReader(folder)

        assert segment_name(4) == reader.unfinished
        assert list(GROUPS) == [group.batches for group in reader.groups()]


def test_other_version_is_named(journal: Path) -> None:
    """A journal of a later program is refused, not guessed at."""
    data = bytearray((journal / FIRST).read_bytes())
    data[16] = 9
    (journal / FIRST).write_bytes(data)

    with OsFolder(journal) as folder, pytest.raises(CorruptJournalError, match="of version 9"):
        JournalReader(folder)


def test_unreadable_segment_is_one_line(journal: Path) -> None:
    """What the system says is passed on with the file's name."""
    (journal / FIRST).unlink()
    (journal / FIRST).symlink_to("nowhere")

    with (
        OsFolder(journal) as folder,
        pytest.raises(JournalError, match=f"cannot read {FIRST} in .*: No such file"),
    ):
        JournalReader(folder)


def test_group_header_is_as_long_as_it_says() -> None:
    """Offsets in reports can be computed by hand."""
    assert (68, 44) == (SEGMENT_HEADER_SIZE, GROUP_HEADER_SIZE)
