"""``pfmemd journal`` tells what is kept, finds damage, and gives the trace back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.files import OsFolder
from daemon.health import Health
from daemon.intake import Intake
from daemon.journal.layout import SEGMENT_HEADER_SIZE, segment_name
from daemon.journal.reader import JournalReader
from daemon.journal.writer import JournalRules
from daemon.snapshots import snapshot_name
from daemon.storage import SnapshotRules, open_storage
from tests.daemon.fakes import allocations, events_batch, header_batch, new_engine
from tests.daemon.journal.journals import InlineExecutor, open_journal
from tests.simulation.world import HashImages, HashMachine
from tracegen.batch import Batch, encode
from tracegen.trace_file import TraceReader

BATCHES: list[Batch] = [
    header_batch("a"),
    events_batch(2, allocations(3), source="a"),
    header_batch("b", epoch=9),
    events_batch(3, allocations(2, 9), source="a"),
    events_batch(2, allocations(1), source="b", epoch=9),
    header_batch("a", epoch=6),
]
EVENTS = 6


def keep(path: Path, batches: list[Batch], segment_bytes: int = 1 << 20) -> None:
    """A data folder in which each batch was a group, with snapshots after the 2nd and 4th."""
    with OsFolder(path, make=True) as folder:
        engine = new_engine(HashMachine)
        storage = open_storage(
            folder,
            engine,
            HashImages(),
            JournalRules(segment_bytes=segment_bytes),
            SnapshotRules(),
            "1.2.3",
            lambda _: None,
            (InlineExecutor(), InlineExecutor()),
        )
        intake = Intake(engine, storage, Health())
        for number, batch in enumerate(batches, start=1):
            intake.admit(batch, encode(batch))
            intake.commit()
            if number in {2, 4}:
                storage._begin_snapshot(engine)
                storage._finish_snapshot()
        storage.close(None)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with two sources, three epochs, two snapshots."""
    path = tmp_path / "data"
    keep(path, BATCHES)
    return path


def journal(*arguments: str | Path) -> Result:
    """Run ``pfmemd journal``."""
    return CliRunner().invoke(main, ["journal", *map(str, arguments)], prog_name="pfmemd")


def exported(path: Path) -> list[bytes]:
    """The batches of a trace, byte for byte."""
    with TraceReader(str(path)) as reader:
        return [entry.data for entry in reader]


class TestInfo:
    """What is there."""

    def test_people_are_told_everything(self, data: Path) -> None:
        """Segments, sources and snapshots have a line each."""
        done = journal("info", data)

        assert 0 == done.exit_code
        assert "1 segments" in done.stdout
        assert "from its beginning" in done.stdout
        assert "a epoch 5, batches 1 to 3, 5 events" in done.stdout
        assert "a epoch 6, batches 1 to 1, 0 events" in done.stdout
        assert f"{snapshot_name(2)}" in done.stdout
        assert "slab-seed slub-seed" in done.stdout
        assert "torn" not in done.stdout

    def test_programs_get_json(self, data: Path) -> None:
        """The same, with names."""
        with (data / segment_name(1)).open("ab") as file:
            file.write(b"torn")

        found = json.loads(journal("info", data, "--json").stdout)

        assert (True, EVENTS) == (found["complete"], found["events"])
        assert 4 == found["torn_tail"]["bytes"]
        (segment,) = found["segments"]
        assert (6, 6) == (segment["groups"], segment["batches"])
        assert [("a", 5, 1, 3), ("b", 9, 1, 2), ("a", 6, 1, 1)] == [
            (s["source"], s["epoch"], s["first_seq"], s["last_seq"]) for s in found["sources"]
        ]
        newest = found["snapshots"][0]
        assert {"a": 3, "b": 1} == {n: s["seq"] for n, s in newest["sources"].items()}

    def test_damaged_snapshot_is_shown(self, data: Path) -> None:
        """It does not keep the rest from being told."""
        (data / snapshot_name(2)).write_bytes(b"x")

        done = journal("info", data)

        assert 0 == done.exit_code
        assert "of no use: it has 1 bytes" in done.stdout

    def test_folder_without_a_journal(self, tmp_path: Path) -> None:
        """One line, exit code 2."""
        done = journal("info", tmp_path)

        assert (2, f"pfmemd: there is no journal in {tmp_path}\n") == (done.exit_code, done.stderr)

    def test_missing_folder(self, tmp_path: Path) -> None:
        """One line, exit code 3, and nothing is made."""
        done = journal("info", tmp_path / "absent")

        assert 3 == done.exit_code
        assert "No such file or directory" in done.stderr
        assert not (tmp_path / "absent").exists()


class TestVerify:
    """Whether it is sound."""

    def test_sound_journal(self, data: Path) -> None:
        """Exit code 0 and how much was looked at."""
        done = journal("verify", data)

        assert 0 == done.exit_code, done.output
        assert "sound: 1 segments" in done.stdout
        assert "6 batches, 6 events, 2 snapshots" in done.stdout

    def test_torn_tail_is_sound(self, data: Path) -> None:
        """It was promised to nobody."""
        with (data / segment_name(1)).open("ab") as file:
            file.write(b"torn")

        done = journal("verify", data)

        assert 0 == done.exit_code
        assert f"a torn tail of 4 bytes at {segment_name(1)}, byte " in done.stdout

    def test_damage_is_named_with_its_place(self, data: Path) -> None:
        """Exit code 1: the thing asked about is bad."""
        segment = data / segment_name(1)
        spoilt = bytearray(segment.read_bytes())
        spoilt[SEGMENT_HEADER_SIZE + 50] ^= 1
        segment.write_bytes(spoilt)

        done = journal("verify", data)

        assert 1 == done.exit_code
        assert f"{segment_name(1)}, byte {SEGMENT_HEADER_SIZE}: the checksum" in done.stderr

    def test_damaged_snapshot_is_bad(self, data: Path) -> None:
        """Though a start would pass it over."""
        (data / snapshot_name(1)).write_bytes(b"x")

        done = journal("verify", data)

        assert 1 == done.exit_code
        assert snapshot_name(1) in done.stderr

    @pytest.mark.parametrize("cut", [1, 2])
    def test_snapshot_that_the_journal_does_not_reach_is_bad(self, data: Path, cut: int) -> None:
        """The journal has lost its end, by a whole group or within one."""
        segment = data / segment_name(1)
        with OsFolder(data) as folder:
            groups = list(JournalReader(folder).groups())
        segment.write_bytes(segment.read_bytes()[: groups[3].end.offset - cut])

        done = journal("verify", data)

        assert 1 == done.exit_code
        assert f"{snapshot_name(2)} stands at" in done.stderr

    def test_batches_out_of_turn_are_bad(self, data: Path) -> None:
        """A segment that was put together by hand shows."""
        other = data.parent / "other"
        keep(other, [BATCHES[0], events_batch(2, b"", source="a")])
        with OsFolder(other) as folder:
            folder.remove(snapshot_name(1))
            twisted = open_journal(folder)
            twisted.append([encode(events_batch(4, b"", source="a"))])
            twisted.close()

        done = journal("verify", other)

        assert 1 == done.exit_code
        assert "batch 4 of a, epoch 5, follows batch 2" in done.stderr


class TestExport:
    """The way back to a trace."""

    def test_trace_holds_what_was_received(self, data: Path, tmp_path: Path) -> None:
        """Byte for byte, in the order of the journal."""
        out = tmp_path / "out.pfmt"

        done = journal("export", data, "-o", out)

        assert (0, "") == (done.exit_code, done.stderr)
        assert [encode(batch) for batch in BATCHES] == exported(out)

    def test_trace_can_be_run(self, data: Path, tmp_path: Path) -> None:
        """It is an ordinary one, compressed too."""
        out = tmp_path / "out.pfmt.zst"
        journal("export", data, "-o", out)

        done = CliRunner().invoke(main, ["run", str(out), "--json"], prog_name="pfmemd")

        assert 0 == done.exit_code, done.output
        assert {"a", "b"} == set(json.loads(done.stdout)["sources"])

    def test_one_source_alone(self, data: Path, tmp_path: Path) -> None:
        """The others are left out."""
        out = tmp_path / "out.pfmt"

        journal("export", data, "-o", out, "--source", "b")

        assert [encode(BATCHES[2]), encode(BATCHES[4])] == exported(out)

    def test_epoch_without_its_beginning_is_left_out(self, tmp_path: Path) -> None:
        """What retention has taken away is named; the rest is a sound trace."""
        path = tmp_path / "data"
        keep(path, BATCHES, segment_bytes=SEGMENT_HEADER_SIZE + 1)
        (path / segment_name(1)).unlink()
        out = tmp_path / "out.pfmt"

        done = journal("export", path, "-o", out)

        assert 0 == done.exit_code
        assert "left out: a epoch 5, batches 2 to 3, 5 events: it has lost" in done.stderr
        assert [encode(batch) for batch in BATCHES if batch.epoch != 5] == exported(out)

    def test_nothing_to_export(self, data: Path, tmp_path: Path) -> None:
        """No empty trace is left behind."""
        out = tmp_path / "out.pfmt"

        done = journal("export", data, "-o", out, "--source", "c")

        assert 1 == done.exit_code
        assert "no epoch of c is there" in done.stderr
        assert [data] == list(tmp_path.iterdir())
