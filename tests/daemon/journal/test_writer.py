"""Writing the journal: groups, segments, full disks, retention, and what is made safe when."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest

from daemon.files import OsAppendFile, OsFolder
from daemon.journal.errors import JournalError, NoRoomError
from daemon.journal.layout import SEGMENT_HEADER_SIZE, Position, segment_name
from daemon.journal.reader import JournalReader
from daemon.journal.writer import Journal
from tests.daemon.journal.journals import groups_in, open_journal, write_journal
from tests.simulation.disk import Disk, SimulatedFolder

BATCH = b"x" * 100
ONE_GROUP_A_SEGMENT = SEGMENT_HEADER_SIZE + 1


def test_journal_goes_on_where_it_ended(tmp_path: Path) -> None:
    """A second process appends to the same segment."""
    write_journal(tmp_path, [b"one"])
    write_journal(tmp_path, [b"two"])

    assert [(b"one",), (b"two",)] == groups_in(tmp_path)
    assert [segment_name(1)] == [path.name for path in tmp_path.iterdir()]


def test_torn_tail_is_cut_off(tmp_path: Path) -> None:
    """What a crash left is gone before anything is appended, and its bytes are counted."""
    write_journal(tmp_path, [b"one"])
    with (tmp_path / segment_name(1)).open("ab") as file:
        file.write(b"torn")

    with OsFolder(tmp_path) as folder:
        journal = open_journal(folder)
        assert 4 == journal.counts.torn_bytes
        journal.append([b"two"])
        journal.close()

    assert [(b"one",), (b"two",)] == groups_in(tmp_path)


def test_unfinished_segment_is_removed(tmp_path: Path) -> None:
    """A segment that was never begun makes room for one that is."""
    write_journal(tmp_path, [b"one"], segment_bytes=ONE_GROUP_A_SEGMENT)
    (tmp_path / segment_name(2)).write_bytes(b"pfmemd")

    write_journal(tmp_path, [b"two"], segment_bytes=ONE_GROUP_A_SEGMENT)

    assert [(b"one",), (b"two",)] == groups_in(tmp_path)


def test_position_names_the_end(tmp_path: Path) -> None:
    """The end moves with each group, and into the next segment with the group after it."""
    with OsFolder(tmp_path) as folder:
        journal = open_journal(folder, segment_bytes=ONE_GROUP_A_SEGMENT)
        assert Position(1, SEGMENT_HEADER_SIZE) == journal.end
        journal.append([BATCH])
        first = journal.end
        journal.append([BATCH])
        second = journal.end
        journal.close()

        ends = [group.end for group in JournalReader(folder).groups()]
    assert [first, second] == ends
    assert [1, 2] == [end.segment for end in ends]


class TestFullDisk:
    """No room, and room again."""

    @pytest.mark.parametrize("room", [0, 1, 43, 44, 50, 147])
    def test_group_that_does_not_fit_leaves_nothing(self, room: int) -> None:
        """Whatever part of it was written is taken back; the journal goes on when there is room."""
        disk = Disk(Random(1))
        folder = SimulatedFolder(disk)
        journal = open_journal(folder)
        journal.append([BATCH])
        disk.capacity = disk.used + room

        with pytest.raises(NoRoomError, match="No space left on device"):
            journal.append([BATCH])

        assert not journal.has_room(200)
        assert 1 == journal.counts.refusals
        disk.capacity += 1000
        assert journal.has_room(200)
        journal.append([b"after"])
        assert [(BATCH,), (b"after",)] == [g.batches for g in JournalReader(folder).groups()]

    @pytest.mark.parametrize("room", [0, 30, SEGMENT_HEADER_SIZE])
    def test_segment_that_does_not_fit_leaves_nothing(self, room: int) -> None:
        """The old segment stays the last one, or the new one is whole."""
        disk = Disk(Random(1))
        folder = SimulatedFolder(disk)
        journal = open_journal(folder, segment_bytes=ONE_GROUP_A_SEGMENT)
        journal.append([BATCH])
        disk.capacity = disk.used + room

        for _ in range(3):
            with pytest.raises(NoRoomError):
                journal.append([BATCH])

        assert [(BATCH,)] == [g.batches for g in JournalReader(folder).groups()]
        disk.capacity += 1000
        journal.append([b"after"])
        assert [(BATCH,), (b"after",)] == [g.batches for g in JournalReader(folder).groups()]

    def test_first_segment_needs_room(self) -> None:
        """A daemon that cannot even begin says so."""
        with pytest.raises(NoRoomError, match="cannot go on with the journal in"):
            open_journal(SimulatedFolder(Disk(Random(1), capacity=10)))

    def test_real_disk_has_room(self, tmp_path: Path) -> None:
        """Asking for room changes nothing."""
        with OsFolder(tmp_path) as folder:
            journal = open_journal(folder)
            size = folder.size(segment_name(1))

            assert journal.has_room(1 << 20)
            assert size == folder.size(segment_name(1))
            journal.close()


class TestBrokenDisk:
    """What nobody can go on from."""

    def test_write_error_is_no_lack_of_room(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """EIO ends the daemon, with what the system says."""

        def fail(self: OsAppendFile, data: bytes) -> None:
            del self, data
            raise OSError(errno.EIO, "Input/output error")

        with OsFolder(tmp_path) as folder:
            journal = open_journal(folder)
            monkeypatch.setattr(OsAppendFile, "append", fail)

            with pytest.raises(JournalError, match=r"cannot write .*: Input/output"):
                journal.append([BATCH])

    def test_disk_that_failed_to_sync_is_not_asked_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A second fsync may report success for what the first one lost."""
        answers = [OSError(errno.EIO, "Input/output error")]

        def sync(self: OsAppendFile) -> None:
            del self
            if answers:
                raise answers.pop()

        with OsFolder(tmp_path) as folder:
            journal = open_journal(folder)
            monkeypatch.setattr(OsAppendFile, "sync", sync)
            journal.append([BATCH])

            for wait in (journal.wait_until_safe, journal.make_safe, journal.close):
                with pytest.raises(JournalError, match=r"the disk failed to keep journal-"):
                    wait()

    def test_segment_that_was_removed_is_noticed(self, tmp_path: Path) -> None:
        """What is written into a file without a name is not kept."""
        with OsFolder(tmp_path) as folder:
            journal = open_journal(folder)
            journal.append([BATCH])
            (tmp_path / segment_name(1)).unlink()

            with pytest.raises(JournalError, match="was removed from"):
                journal.append([BATCH])

    def test_renamed_folder_is_the_same_folder(self, tmp_path: Path) -> None:
        """The journal follows the folder, not its path."""
        before = tmp_path / "before"
        with OsFolder(before, make=True) as folder:
            journal = open_journal(folder, segment_bytes=ONE_GROUP_A_SEGMENT)
            journal.append([b"one"])
            before.rename(tmp_path / "after")
            journal.append([b"two"])
            journal.close()

        assert [(b"one",), (b"two",)] == groups_in(tmp_path / "after")


class TestFsync:
    """What the modes promise, held against a disk that forgets."""

    @pytest.mark.parametrize(
        ("mode", "seconds", "kept"),
        [
            ("always", 0.0, 3),
            ("interval", 0.0, 0),
            ("interval", 2.0, 3),
            ("never", 2.0, 0),
        ],
    )
    def test_what_survives_the_machine(self, mode: str, seconds: float, kept: int) -> None:
        """Always: every group. Interval: those that are older than it. Never: no promise."""
        now = [0.0]
        disk = Disk(Random(1))
        folder = SimulatedFolder(disk)
        journal = open_journal(folder, fsync=mode, fsync_interval_seconds=1.0)
        journal._clock = lambda: now[0]
        journal._synced_at = 0.0
        for _ in range(3):
            journal.append([BATCH])
            journal.wait_until_safe()
        now[0] = seconds
        journal.turn()

        for inode in disk.names.values():  # the worst that can be
            inode.cached = bytearray(inode.durable)
        assert kept == sum(1 for _ in JournalReader(folder).groups())

    @pytest.mark.parametrize("mode", ["always", "interval", "never"])
    def test_segment_is_safe_before_the_next_one_begins(self, mode: str) -> None:
        """Only the last segment can be torn, in every mode."""
        disk = Disk(Random(1))
        folder = SimulatedFolder(disk)
        journal = open_journal(folder, fsync=mode, segment_bytes=ONE_GROUP_A_SEGMENT)
        journal.append([BATCH])
        journal.append([BATCH])

        first = disk.names[segment_name(1)]
        assert bytes(first.cached) == first.durable

    def test_waiting_times_are_counted(self, tmp_path: Path) -> None:
        """Each sync is in the histogram."""
        with OsFolder(tmp_path) as folder:
            journal = open_journal(folder)
            for _ in range(3):
                journal.append([BATCH])
                journal.wait_until_safe()
            journal.close()

        assert 3 == sum(journal.counts.sync_seconds.counts)


class TestRetention:
    """What is removed, and what never."""

    @pytest.fixture
    def folder(self) -> SimulatedFolder:
        """A disk."""
        return SimulatedFolder(Disk(Random(1)))

    def filled(self, folder: SimulatedFolder, **rules: object) -> Journal:
        """A journal of five segments, a few seconds apart."""
        journal = open_journal(folder, segment_bytes=ONE_GROUP_A_SEGMENT, **rules)
        for _ in range(5):
            journal.append([BATCH])
        return journal

    def test_nothing_that_is_needed_goes(self, folder: SimulatedFolder) -> None:
        """However small and young the journal should be, what a snapshot needs stays."""
        journal = self.filled(folder, retention_bytes=0, retention_seconds=0)

        assert 2 == journal.retain(Position(3, 100))

        assert [segment_name(n) for n in (3, 4, 5)] == folder.names()
        assert (3, 3) == (journal.oldest_segment, journal.counts.segments)
        assert sum(map(folder.size, folder.names())) == journal.counts.bytes

    def test_oldest_go_until_the_size_is_kept(self, folder: SimulatedFolder) -> None:
        """No more is removed than the size asks for."""
        journal = self.filled(folder, retention_bytes=4 * 220, retention_seconds=1e9)

        journal.retain(Position(5, 100))

        assert [segment_name(n) for n in (2, 3, 4, 5)] == folder.names()

    def test_old_ones_go_by_age(self, folder: SimulatedFolder) -> None:
        """A segment is as old as the beginning of the next one."""
        journal = self.filled(folder, retention_bytes=1 << 30, retention_seconds=5.5)

        journal.retain(Position(5, 100))

        # They began 0, 2, 4, 6 and 8 s after the first; it is second 10 now.
        assert [segment_name(n) for n in (3, 4, 5)] == folder.names()

    def test_journal_without_its_beginning_goes_on(self, folder: SimulatedFolder) -> None:
        """What is left can be read and appended to."""
        self.filled(folder, retention_bytes=0).retain(Position(4, 0))

        journal = open_journal(folder)
        journal.append([b"after"])

        reader = JournalReader(folder)
        assert [(BATCH,), (BATCH,), (b"after",)] == [g.batches for g in reader.groups()]
        assert not reader.complete
